"""Moments of films that show what a photo shows: found, merged, limited, written, cut, shown."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import blobs
import cv2
import numpy as np
import pytest
from clips import FFMPEG, container_times, needs_ffmpeg
from test_films import barcode_film, look, write

from rtsearch.config import Settings, load_settings
from rtsearch.errors import PhotoError, RecordError
from rtsearch.jobs import moments as moments_module
from rtsearch.jobs.moments import cut_moments, find_moments, write_csv
from rtsearch.jobs.show import object_picture
from rtsearch.library import Library, hit_limit
from rtsearch.library.hit_limit import FALSE_HITS
from rtsearch.library.index import open_index
from rtsearch.library.narrowing import narrow

SETTINGS = load_settings(None, ["project.dim=6"])


def scene(kind: int) -> np.ndarray:
    return blobs.draw(1000 + kind, 1)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two films, ten seconds a scene, and a photo; scene 3 is in all of them, twice in the first film."""
    folder = tmp_path_factory.mktemp("moments")
    shows = {"sub/a.avi": [0, 3, 1, 4, 3], "b.avi": [5, 6, 3, 4]}
    for name, kinds in shows.items():
        write(folder / "films" / name, [scene(kinds[s // 10]) for s in range(10 * len(kinds))], 1)
    cv2.imwrite(str(folder / "films" / "photo.png"), scene(3))
    for other in range(20):
        cv2.imwrite(str(folder / "films" / f"other {other:02d}.png"), blobs.draw(other, 4))
    cv2.imwrite(str(folder / "query.png"), scene(3))
    look(folder / "films", folder / "lib")
    return folder


@pytest.fixture
def index(films):
    return open_index(Library.open(films / "lib"), SETTINGS)


def find(films: Path, index, **more):
    return find_moments(films / "query.png", blobs.as_pipeline(), index, Settings(), **more)


def test_every_moment_is_found_once_by_file_and_the_nearest_first(films, index):
    found = find(films, index)
    where = [(moment.photo, moment.from_s, moment.to_s) for moment in found.moments]
    assert sorted(where, key=str) == [
        ("b.avi", 20, 29),
        ("photo.png", None, None),
        ("sub/a.avi", 10, 19),
        ("sub/a.avi", 40, 49),
    ]
    names = [photo for photo, *_ in where]
    assert names.index("sub/a.avi") + 1 == len(names) - 1 - names[::-1].index("sub/a.avi")
    nearest = {name: min(m.distance for m in found.moments if m.photo == name) for name in names}
    assert list(dict.fromkeys(names)) == sorted(nearest, key=nearest.__getitem__)
    assert all(moment.distance <= found.limit for moment in found.moments)
    for moment in found.moments:
        assert moment.t_s is None or moment.from_s <= moment.t_s <= moment.to_s
        assert index.photo(moment.row) == moment.photo


def test_the_limit_is_that_of_pairs_in_other_files(films, index):
    found = find(films, index)
    rows = np.flatnonzero(index.labels == index.labels[found.moments[0].row]).astype(np.int32)
    points, photos = index.points(rows), index.photo_numbers[rows]
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)[photos[:, None] != photos[None]]
    assert found.pairs >= 200
    assert float((apart <= found.limit).mean()) == pytest.approx(FALSE_HITS, abs=0.004)


@pytest.mark.parametrize(
    ("pairs", "share"), [(20, 1 / 21), (80, 1 / 81), (99, 0.01), (198, 1 / 199), (199, 0.01), (999, 0.01)]
)
def test_the_limit_of_few_pairs_lets_as_many_through_as_it_says(pairs, share):
    """Of other pairs, as many lie within the limit as is said, on the average of many libraries."""
    rng, within = np.random.default_rng(0), []
    for _ in range(400):
        limit, known = hit_limit.hit_limit(
            rng.gamma(9, size=pairs).astype(np.float32), lambda: rng.random((5, 3), np.float32)
        )
        assert known == pairs
        within.append((rng.gamma(9, size=2000) <= limit).mean())
    assert hit_limit.false_hits(pairs) == pytest.approx(share)
    assert np.mean(within) == pytest.approx(share, rel=0.3)


def test_no_pairs_tell_nothing():
    looks = np.random.default_rng(0).normal(size=(500, 4)).astype(np.float32)
    limit, pairs = hit_limit.hit_limit(np.zeros(19, np.float32), lambda: looks)
    assert (pairs, limit) == (0, pytest.approx(0.7 * np.sqrt(2 * looks.var(axis=0).sum()), rel=1e-5))
    assert hit_limit.hit_limit(np.zeros(0, np.float32), lambda: looks[:0]) == (0.0, 0)
    assert hit_limit.false_hits(0) is None


def test_what_one_film_shows_at_a_time_is_different(tmp_path):
    """Twelve things of three colours at a time, then none for a while; those seen at a time are pairs."""
    pictures = [blobs.draw(s // 8, 12 if s % 8 < 4 else 0) for s in range(240)]
    write(tmp_path / "films" / "f.avi", pictures, 1)
    cv2.imwrite(str(tmp_path / "query.png"), blobs.draw(3, 12))
    look(tmp_path / "films", tmp_path / "lib")
    opened = open_index(Library.open(tmp_path / "lib"), SETTINGS)
    found = find_moments(tmp_path / "query.png", blobs.as_pipeline(), opened, Settings())
    assert found.pairs >= 200
    assert found.limit > 0
    assert all(moment.distance <= found.limit for moment in found.moments)


def test_the_nearest_are_named_where_nothing_lies_within_the_limit(films, index, monkeypatch):
    every = find(films, index)
    assert every.beyond == ()
    monkeypatch.setattr(moments_module, "_limit", lambda *_: (every.moments[0].distance / 2 - 1e-3, 200))
    found = find(films, index)
    assert found.moments == ()
    assert 1 <= len(found.beyond) <= 5
    distances = [moment.distance for moment in found.beyond]
    assert distances == sorted(distances)
    assert found.beyond[0] in every.moments


def test_only_some_files(films, index):
    def photos(**more) -> set[str]:
        wanted = narrow(index, SETTINGS.search.model_copy(update=more), distinct=True)
        return {moment.photo for moment in find(films, wanted).moments}

    assert photos() == {"photo.png", "b.avi", "sub/a.avi"}
    assert photos(folders=("sub",)) == {"sub/a.avi"}
    without = narrow(index, SETTINGS.search, distinct=False, leave_out=films / "films" / "photo.png")
    assert {moment.photo for moment in find(films, without).moments} == {"b.avi", "sub/a.avi"}
    early = narrow(index, SETTINGS.search, distinct=True, until="2990-01-01")
    assert len(find(films, early).moments) == 4


class WholeDetector(blobs.BlobDetector):
    """Finds the whole image, too, and is sure of it."""

    def _one(self, image):
        found = super()._one(image)
        height, width = image.shape[:2]
        box, one = np.array([[0, 0, width, height]], np.float32), np.ones(1, np.float32)
        return blobs.BlobsFound(
            *(np.concatenate([box, found.xyxy]), np.concatenate([one, found.score])),
            *(np.concatenate([-one, found.label]).astype(np.int32), np.concatenate([one > 0, found.whole])),
        )


@needs_ffmpeg
def test_dates_within_a_film(tmp_path):
    """What a film shows is dated by its container, photos and other films by their files."""
    plain = write(tmp_path / "plain.avi", [scene(s // 10) for s in range(30)], 1)
    (tmp_path / "films").mkdir()
    tags = {
        "zulu.mp4": ["-metadata", "creation_time=2024-05-01T10:00:00Z"],
        "apple.mov": [
            *("-movflags", "use_metadata_tags", "-metadata", "creation_time=2024-05-01T23:00:00Z"),
            *("-metadata", "com.apple.quicktime.creationdate=2024-05-01T13:00:00+0200"),
        ],
        "unset.mp4": ["-metadata", "creation_time=1970-01-01T00:00:00Z"],
        "none.mp4": [],
    }
    for name, tag in tags.items():
        command = [FFMPEG, "-v", "error", "-i", plain, "-c", "copy", *tag, tmp_path / "films" / name]
        subprocess.run(command, check=True)
        os.utime(tmp_path / "films" / name, (2e9, 2e9))  # 2033
    cv2.imwrite(str(tmp_path / "films" / "photo.png"), scene(1))
    cv2.imwrite(str(tmp_path / "query.png"), scene(1))
    os.utime(tmp_path / "films" / "photo.png", (1e9, 1e9))  # 2001
    look(tmp_path / "films", tmp_path / "lib")
    index = open_index(Library.open(tmp_path / "lib"), load_settings(None, ["project.dim=6"]))

    def between(since: str, until: str) -> dict[str, set[float]]:
        search = SETTINGS.search.model_copy(update={"since": since})
        some = narrow(index, search, distinct=False, until=until)
        found: dict[str, set[float]] = {}
        assert some.given is not None
        for row in np.flatnonzero(some.given).tolist():
            found.setdefault(index.photo(row), set()).add(float(np.nan_to_num(index.times_s[row, 1])))
        return found

    assert between("2024-05-01T10:00:12+00:00", "2024-05-01T10:00:18+00:00") == {"zulu.mp4": {10.0}}
    assert between("2024-05-01T10:00:21+00:00", "2024-05-01T11:00:05+00:00") == {
        "zulu.mp4": {20.0},
        "apple.mov": {0.0},
    }
    assert between("2033-01-01", "").keys() == {"unset.mp4", "none.mp4"}
    assert between("", "2002-01-01").keys() == {"photo.png"}
    found = find_moments(tmp_path / "query.png", blobs.as_pipeline(), index, Settings())
    moments = found.moments or found.beyond
    seen = {moment.photo: moment.seen for moment in moments}
    assert datetime.fromisoformat(seen["zulu.mp4"]).timestamp() == pytest.approx(
        datetime(2024, 5, 1, 10, 0, 14, tzinfo=UTC).timestamp(), abs=5
    )
    assert all(seen[name] == "" for name in seen.keys() & {"unset.mp4", "none.mp4", "photo.png"})


def test_a_thing_comes_before_the_whole_image(films, index):
    pipeline = blobs.as_pipeline(blobs.BlobPipeline(detector=WholeDetector()))
    found = find_moments(films / "query.png", pipeline, index, Settings())
    assert found.label in ("red", "green", "blue")
    assert found.others == ("whole image",)


def test_a_photo_without_such_an_object(films, index):
    with pytest.raises(PhotoError, match=r"query\.png shows no cat but (red|green|blue); try another class"):
        find(films, index, wanted="cat")


def test_a_table(films, index, tmp_path):
    moments = find(films, index).moments
    write_csv(moments, tmp_path / "moments.csv")
    lines = list(csv.DictReader((tmp_path / "moments.csv").read_text(encoding="utf-8").splitlines()))
    assert [line["photo"] for line in lines] == [moment.photo for moment in moments]
    assert [line["from_s"] for line in lines] == [
        "" if moment.from_s is None else str(moment.from_s) for moment in moments
    ]
    with pytest.raises(RecordError, match=r"moments\.csv cannot be written: No such file"):
        write_csv(moments, tmp_path / "missing" / "moments.csv")


@needs_ffmpeg
def test_clips_are_cut_without_encoding(films, index, tmp_path, monkeypatch):
    moments = find(films, index).moments
    clips = cut_moments(moments, index, tmp_path / "clips")
    assert [clip.name for clip in clips if clip.stem.startswith("b-")] == ["b-000019.0s.avi"]
    assert len(clips) == 3
    for clip in clips:
        assert 11 <= len(container_times(clip)) <= 13  # a second before, ten of the moment, one after
    clips[-1].write_bytes(b"mine")
    clips[0].unlink()
    with pytest.raises(RecordError, match="exists already; --overwrite replaces it"):
        cut_moments(moments, index, tmp_path / "clips")
    assert not clips[0].exists()  # where one is refused, none is cut
    assert clips[-1].read_bytes() == b"mine"
    assert cut_moments(moments, index, tmp_path / "clips", overwrite=True) == clips
    assert all(container_times(clip) for clip in clips)
    before = clips[0].read_bytes()
    monkeypatch.setattr("rtsearch.jobs.moments.find_ffmpeg", lambda: shutil.which("false"))
    with pytest.raises(RecordError, match="cannot be cut"):
        cut_moments(moments, index, tmp_path / "clips", overwrite=True)
    assert clips[0].read_bytes() == before
    assert sorted((tmp_path / "clips").iterdir()) == sorted(clips)


@needs_ffmpeg
def test_clips_of_films_with_like_names(tmp_path):
    """a/b.avi, a_b.avi and a/b.mkv show the same thing at the same time."""
    films = [tmp_path / "films" / name for name in ("a/b.avi", "a_b.avi", "A_B.avi", "a/b.mkv")]
    for film in films:
        write(film, [scene(3)] * 8, 1)
    for other in range(30):
        cv2.imwrite(str(tmp_path / "films" / f"{other}.png"), blobs.draw(other, 4))
    cv2.imwrite(str(tmp_path / "query.png"), scene(3))
    look(tmp_path / "films", tmp_path / "lib")
    opened = open_index(Library.open(tmp_path / "lib"), SETTINGS)
    found = find_moments(tmp_path / "query.png", blobs.as_pipeline(), opened, Settings())
    clips = cut_moments(found.moments, opened, tmp_path / "clips")
    assert len({clip.name.casefold() for clip in clips}) == len(films)
    assert all(container_times(clip) for clip in clips)


@needs_ffmpeg
def test_the_picture_of_an_object_is_that_of_its_time(tmp_path):
    film = barcode_film(tmp_path / "films" / "a.mp4")
    look(film.parent, tmp_path / "lib")
    opened = open_index(Library.open(tmp_path / "lib"), SETTINGS)
    for row in range(len(opened)):
        picture = object_picture(opened, row, Settings())
        x1, y1, x2, y2 = opened.boxes[row].astype(int)
        inside = picture[y1 + 4 : y2 - 4, x1 + 4 : x2 - 4].astype(int)
        assert (inside[..., 2] > 180).all()
        assert (inside[..., :2] < 80).all()


def test_the_picture_of_a_photo(films, index):
    row = int(np.flatnonzero(np.isnan(index.times_s[:, 0]))[0])
    picture = object_picture(index, row, Settings())
    assert picture.shape == (120, 160, 3)
    photo = cv2.imread(str(index.library.photo_path(index.photo(row))))
    assert photo is not None
    assert 0 < np.abs(picture.astype(int) - photo).mean() < 60


@pytest.mark.slow
def test_the_commands(cli, library, photos, tmp_path):
    photo = photos / "skimage-coffee.png"
    done = cli("find", library, photo, "--class", "cup", "--json", "--csv", "m.csv", "--sheet", "m.png")
    found = done.json
    assert (found["label"], found["false_hits"]) == ("cup", hit_limit.false_hits(found["pairs"]))
    assert found["moments"][0]["photo"] == photo.name
    assert len(Path("m.csv").read_text(encoding="utf-8").splitlines()) == 1 + len(found["moments"])
    assert cv2.imread("m.png") is not None
    said = cli("find", library, photo, "--class", "cup")
    assert f"{found['moments'][0]['distance']:.3f}  {photo.name}" in said.out
    assert "looked for the cup at" in said.err
    assert "the usual limit, as the library has too few of class cup to tell" in said.err
    itself = cli("find", library, photo, "--class", "cup", "--not-itself", "--json").json
    assert photo.name not in {moment["photo"] for moment in itself["moments"]}
    row = found["moments"][0]["row"]
    assert cli("show", library, row, "--out", "s.png").code == 0
    shown, whole = cv2.imread("s.png"), cv2.imread(str(photo))
    assert shown is not None
    assert whole is not None
    assert shown.shape == whole.shape
    assert "has no object 99999; its" in cli("show", library, 99999, "--out", "none.png").complaint
    assert "--until noon: expected a date" in cli("find", library, photo, "--until", "noon").complaint
    assert "is no file; --class" in cli("find", library, "red cup", "--class", "cup").complaint
    assert json.dumps(found)
