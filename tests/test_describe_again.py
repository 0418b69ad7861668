"""Boxes of a library described anew: in place, all or nothing, through kills, for photos and films."""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import blobs
import cv2
import forked
import numpy as np
import pytest
from test_films import blob_film
from test_import_vectors import compact, objects, stream
from test_import_vectors import photos as blob_photos

from rtsearch._util.metrics import Meter
from rtsearch.config import Settings, load_settings
from rtsearch.errors import FeatureSpaceError, LibraryError, SourceError
from rtsearch.images.decode import read_photo
from rtsearch.jobs.analyze import analyze
from rtsearch.jobs.describe_again import AgainReport, describe_again
from rtsearch.jobs.import_vectors import import_vectors
from rtsearch.jobs.query import query_photo
from rtsearch.library import Library, LibraryWriter, check_library
from rtsearch.library.index import open_index
from rtsearch.types import WHOLE_IMAGE_LABEL

__all__ = ["blob_photos"]  # the fixture of that file

SETTINGS = load_settings(None, ["project.dim=6", "analyze.commit_photos=2"])
OTHER = {"model": "blobs", "version": 2}
COUNT = 24


def exact_boxes() -> list[list[float]]:
    """Boxes of the photos as the blob network finds them."""
    found = []
    for photo in range(9):
        for x1, y1, x2, y2 in blobs.BlobDetector()._one(blobs.draw(photo, 1 + photo % 3)).xyxy.tolist():
            found.append([x1, y1, x2 - x1, y2 - y1])
    return found


@pytest.fixture
def imported(tmp_path: Path, blob_photos: Path) -> Path:
    """A library that was made of a vectors file."""
    file = tmp_path / "vectors.dat"
    file.write_bytes(stream(compact, features=True, crops=exact_boxes()))
    import_vectors(file, blob_photos, tmp_path / "old.lib", SETTINGS)
    return tmp_path / "old.lib"


@pytest.fixture
def analysed(tmp_path: Path) -> Path:
    """A library of another network, with photos that are empty or broken among its own."""
    blobs.write_photos(tmp_path / "pictures", COUNT)
    old = blobs.BlobPipeline(feature_space=OTHER)
    analyze(tmp_path / "pictures", tmp_path / "lib", old, SETTINGS)
    return tmp_path / "lib"


def again(library: Path, pipeline: blobs.BlobPipeline | None = None, **more) -> AgainReport:
    return describe_again(library, pipeline or blobs.BlobPipeline(), SETTINGS, **more)


def is_of(library: Path, recipe: dict[str, object]) -> bool:
    return Library.open(library).space.recipe == recipe


def named(content: dict[str, Any]) -> dict[str, list[Any]]:
    """What a library says of each photo, without its score: that of an imported box stays."""
    return {path: [part[:2] + part[3:] for part in known[1:]] for path, known in content.items()}


def test_imported_boxes_are_found_by_a_camera(imported, blob_photos, tmp_path):
    before = {path: known[0] for path, known in blobs.content(imported).items()}
    report = again(imported)
    assert (report.photos, report.objects, report.failed, report.replaced) == (
        9,
        len(exact_boxes()),
        [],
        True,
    )
    assert check_library(Library.open(imported)) == []
    assert blobs.files(imported) == blobs.expected_files(imported)
    after = blobs.content(imported)
    assert {path: known[0] for path, known in after.items()} == before
    blobs.run(blob_photos, tmp_path / "fresh", thumb_px=SETTINGS.analyze.thumb_px, min_px=0)
    assert named(after) == named(blobs.content(tmp_path / "fresh"))
    scores = np.concatenate([batch["score"] for batch in Library.open(imported).objects(("score",))])
    np.testing.assert_allclose(np.sort(scores), np.sort(objects()["scores"]), rtol=1e-6)
    index = open_index(Library.open(imported), SETTINGS)
    found = query_photo(blob_photos / "00.png", blobs.as_pipeline(), index, SETTINGS)
    assert all(item["neighbours"][0]["distance"] < 1e-3 for item in found.objects)
    assert analyze(blob_photos, imported, blobs.BlobPipeline(), SETTINGS).kept == 9


def test_a_library_of_this_network_stays_as_it_is(analysed):
    assert again(analysed).replaced
    before = (analysed / "manifest.json").read_bytes()
    report = again(analysed)
    assert (report.photos, report.kept, report.replaced) == (0, 0, False)
    assert (analysed / "manifest.json").read_bytes() == before


def test_a_stopped_run_goes_on(analysed):
    stop, told = threading.Event(), []

    def show(now) -> None:
        told.append(now)
        if now.done == 5:
            stop.set()

    first = again(analysed, progress=show, stop=stop)
    assert first.interrupted
    assert not first.replaced
    assert is_of(analysed, OTHER)
    total = told[-1].total
    second = again(analysed, progress=told.append)
    assert second.replaced
    assert second.kept == first.photos >= 5
    assert second.kept + second.photos == total == told[-1].total + first.photos
    assert second.photos == told[-1].done


def test_files_of_a_run_that_was_killed_at_its_very_end_are_removed(analysed):
    before = {path: path.read_bytes() for path in analysed.rglob("*.parquet")}
    again(analysed)
    gone = {path: data for path, data in before.items() if not path.exists()}
    assert gone
    for path, data in gone.items():  # as if the kill had come before they were removed
        path.write_bytes(data)
    again(analysed)
    assert blobs.files(analysed) == blobs.expected_files(analysed)


def test_kills_at_any_moment_lose_nothing(analysed):
    """The library is the old one or the new one after each, and the run that ends has described all."""
    before = blobs.content(analysed)
    code = (
        "import sys; from pathlib import Path; import blobs; from test_describe_again import again;"
        "pipeline = blobs.BlobPipeline(blobs.BlobDetector(0.05));"
        "again(Path(sys.argv[1]), pipeline, progress=lambda now: print(now.done, flush=True))"
    )
    command = [sys.executable, "-c", code, str(analysed)]
    rng, killed = random.Random(0), 0
    for _ in range(8):
        process = forked.Popen(command, cwd=Path(__file__).parent, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _ in range(rng.randint(1, 3)):  # photos are described, or all of them were
            process.stdout.readline()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(rng.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        process.stdout.close()
        assert check_library(Library.open(analysed)) == []
        if not is_of(analysed, OTHER):
            break
        assert blobs.content(analysed) == before
    assert killed >= 2
    again(analysed)
    after = blobs.content(analysed)
    assert {path: known[0] for path, known in after.items()} == {
        path: known[0] for path, known in before.items()
    }
    assert {path: len(known) for path, known in after.items()} == {
        path: len(known) for path, known in before.items()
    }
    assert blobs.files(analysed) == blobs.expected_files(analysed)
    assert check_library(Library.open(analysed)) == []


def test_photos_that_cannot_be_read_are_counted_before_they_are_dropped(analysed, tmp_path):
    pictures = tmp_path / "pictures"
    (pictures / "000.png").unlink()
    (pictures / "sub" / "001.png").write_bytes((pictures / "002.png").read_bytes())
    (pictures / "004.png").unlink()
    (tmp_path / "outside.png").write_bytes((pictures / "002.png").read_bytes())
    (pictures / "004.png").symlink_to(tmp_path / "outside.png")
    before = blobs.content(analysed)
    report = again(analysed)
    assert sorted(path for path, _ in report.failed) == ["000.png", "004.png", "sub/001.png"]
    reasons = dict(report.failed)
    assert "has changed since" in reasons["sub/001.png"]
    assert "leads out of" in reasons["004.png"]
    assert not report.replaced
    assert blobs.content(analysed) == before
    dropped = again(analysed, drop=True)
    assert dropped.replaced
    assert (dropped.photos, dropped.kept) == (0, report.photos)
    assert blobs.content(analysed).keys() == before.keys() - reasons.keys()


def test_refused_in_one_line(analysed, tmp_path):
    shutil.move(tmp_path / "pictures", tmp_path / "moved")
    with pytest.raises(
        SourceError, match=r"pictures, the folder of the photos of .*lib, is missing: mount it"
    ):
        again(analysed)
    assert again(analysed, photos=tmp_path / "moved").replaced
    assert Library.open(analysed).photo_root == tmp_path / "moved"
    empty = blobs.BlobPipeline(feature_space=OTHER)
    (tmp_path / "black").mkdir()
    cv2.imwrite(str(tmp_path / "black" / "a.png"), np.zeros((50, 50, 3), np.uint8))
    analyze(tmp_path / "black", tmp_path / "none", empty, SETTINGS)
    with pytest.raises(LibraryError, match="holds no boxes"):
        again(tmp_path / "none")
    assert list((tmp_path / "none").glob(".again-*")) == []


def test_what_another_run_has_left_is_not_mixed_in(analysed):
    """A stopped run of a third network, and one of the library as it was before, are thrown away."""
    stop = threading.Event()
    third = blobs.BlobPipeline(feature_space={"model": "blobs", "version": 3})
    again(analysed, third, progress=lambda now: stop.set(), stop=stop)
    [left] = analysed.glob(".again-*")
    report = again(analysed)
    assert (report.kept, report.replaced) == (0, True)
    assert not left.exists()


FOREIGN = [".again-photos/a.jpg", ".again-0123456789ab/a.jpg", ".again-0123456789ab/thumbs/000001.pack"]


@pytest.mark.parametrize("changed", [False, True], ids=["nothing to do", "another network"])
@pytest.mark.parametrize("name", FOREIGN)
def test_what_no_run_has_made_stays(analysed, name: str, changed: bool):
    file = analysed / name
    file.parent.mkdir(parents=True)
    file.write_bytes(b"mine")
    report = again(analysed) if changed else again(analysed, blobs.BlobPipeline(feature_space=OTHER))
    assert report.replaced == changed
    assert file.read_bytes() == b"mine"


def test_a_foreign_file_keeps_the_folder_of_a_run(analysed):
    stop = threading.Event()
    third = blobs.BlobPipeline(feature_space={"model": "blobs", "version": 3})
    again(analysed, third, progress=lambda now: stop.set(), stop=stop)
    [left] = analysed.glob(".again-*")
    (left / "thumbs/notes.txt").write_bytes(b"mine")
    assert again(analysed).replaced
    assert (left / "thumbs/notes.txt").read_bytes() == b"mine"
    assert (left / "manifest.json").exists()


def test_a_writer_waits_for_the_end(analysed):
    refused = []

    def busy(_) -> None:
        if not refused:
            space = Library.open(analysed).space
            with pytest.raises(LibraryError) as caught:
                LibraryWriter.open(analysed, space, photo_root=analysed.parent / "pictures")
            refused.append(str(caught.value))

    assert again(analysed, progress=busy).replaced
    assert refused


def test_classes_are_kept_by_name(analysed):
    def labels() -> dict[str, int]:
        library = Library.open(analysed)
        names = library.space.class_names
        found = np.concatenate([batch["label"] for batch in library.objects(("label",))])
        return {name: int((found == label).sum()) for label, name in enumerate(names)}

    before = labels()
    turned = blobs.BlobPipeline(class_names=("red", "blue", "green"))
    assert again(analysed, turned).replaced
    assert labels() == before


def test_films_are_described_where_their_crops_are(tmp_path):
    blob_film(tmp_path / "films" / "a.avi", 20)
    old = blobs.BlobPipeline(feature_space=OTHER)
    analyze(tmp_path / "films", tmp_path / "lib", old, SETTINGS)
    before: Any = blobs.content(tmp_path / "lib")["a.avi"]
    assert len(before) > 3
    report = again(tmp_path / "lib")
    assert (report.photos, report.objects, report.replaced) == (1, len(before) - 1, True)
    after: Any = blobs.content(tmp_path / "lib")["a.avi"]
    assert after[0] == before[0]
    places = [blobs.COLUMNS.index(name) for name in ("xyxy", "label", "times_s", "track")]
    assert [[known[i] for i in places] for known in after[1:]] == [
        [known[i] for i in places] for known in before[1:]
    ]
    vectors = [np.frombuffer(known[blobs.COLUMNS.index("vector")], np.float16) for known in after[1:]]
    was = [np.frombuffer(known[blobs.COLUMNS.index("vector")], np.float16) for known in before[1:]]
    # The crop's own picture decides now, not the mean of the track; of a scene that stands still, both agree.
    np.testing.assert_allclose(vectors, was, atol=0.03, rtol=0.03)
    (tmp_path / "films" / "a.avi").write_bytes(b"no film")
    third = blobs.BlobPipeline(feature_space={"model": "blobs", "version": 3})
    [(path, reason)] = again(tmp_path / "lib", third).failed
    assert (path, "has changed" in reason) == ("a.avi", True)


def test_own_boxes_get_the_vectors_that_detection_gave_them(pipeline, photos_of_library):
    """With the real network: what it finds is described the same when the boxes are given."""
    seen_some = 0
    settings = Settings().detect.model_copy(update={"whole_image": True})
    for photo in photos_of_library:
        bgr = read_photo(photo, 100.0)
        found = pipeline.backend.infer([bgr], settings, Meter())[0]
        given = pipeline.backend.describe_boxes(bgr, found.xyxy, found.label == WHOLE_IMAGE_LABEL, Meter())
        assert given.label.tolist() == found.label.tolist()
        np.testing.assert_allclose(given.vector, found.vector, atol=1e-3)
        np.testing.assert_allclose(given.score, found.score, atol=1e-6)
        seen_some += len(found) - 1
    assert seen_some > 20


@pytest.fixture
def photos_of_library(library: Path) -> list[Path]:
    opened = Library.open(library)
    return [opened.photo_path(path) for path in opened.photos().path[:20]]


def test_the_command(cli, imported, blob_photos, own_library, tmp_path):
    done = cli("analyze", imported, "--again", "--json")
    assert done.code == 0, done.err
    assert (done.json["photos"], done.json["replaced"]) == (9, True)
    assert "9 photos described by yolo26n" in done.err
    assert "described by yolo26n already" in cli("analyze", imported, "--again").err
    assert cli("query", imported, blob_photos / "00.png").code == 0
    assert "described by yolo26n already" in cli("analyze", tmp_path, own_library, "--again").err
    assert "--again goes without" in cli("analyze", imported, "--again", "--repair").complaint
    assert "is missing" in cli("analyze", tmp_path / "nothing", "--again").complaint


def test_the_command_refuses_to_lose_photos(cli, imported, blob_photos):
    (blob_photos / "00.png").unlink()
    done = cli("analyze", imported, "--again")
    assert "left out 00.png: cannot be read" in done.err
    assert "1 photo cannot be described, so" in done.complaint
    assert "continues, or leave their objects out with --drop" in done.complaint
    with pytest.raises(FeatureSpaceError):
        analyze(blob_photos, imported, blobs.BlobPipeline(), SETTINGS)
    shutil.rmtree(blob_photos / "sub")
    for path in blob_photos.glob("*.png"):
        path.write_bytes(b"")
    done = cli("analyze", imported, "--again", "--drop")
    assert done.code == 0, done.err  # eight are described already
    assert "8 by an earlier run" in done.err
