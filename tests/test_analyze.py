"""Analysis with the blob network: every photo once, whatever comes between."""

from __future__ import annotations

import io
import logging
import os
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from blobs import (
    BlobDetector,
    BlobPipeline,
    content,
    draw,
    expected_files,
    files,
    run,
    write_photos,
)

from rtsearch import look
from rtsearch.analysis import Progress, analyze
from rtsearch.config import Settings
from rtsearch.errors import FeatureSpaceError, LibraryBusyError, LibraryError, SourceError
from rtsearch.headers import read_header
from rtsearch.library import Library, LibraryWriter, PhotoState, check_library
from rtsearch.library.crops import encode_crop
from rtsearch.pictures import read_photo

COUNT = 30


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    write_photos(tmp_path / "photos", COUNT)
    return tmp_path / "photos"


def seen(pipeline: BlobPipeline) -> int:
    return pipeline.detector.seen


def test_no_photos(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(SourceError, match="no photos"):
        run(tmp_path / "photos", tmp_path / "lib")
    assert not (tmp_path / "lib").exists()


def test_every_photo_is_looked_at_once(tmp_path: Path, photos: Path) -> None:
    pipeline = BlobPipeline()
    report = run(photos, tmp_path / "lib", pipeline, commit_photos=7)
    failed = [f"{'sub/' if i % 2 else ''}{i:03d}.png" for i in range(COUNT) if i % 11 == 5]
    assert report.found == report.analysed == COUNT
    assert seen(pipeline) == COUNT - len(failed)
    assert report.failed == [(path, "not a JPEG, PNG, GIF, WebP or BMP picture") for path in sorted(failed)]
    assert (report.kept, report.changed, report.dropped, report.interrupted) == (0, 0, 0, False)
    library = Library.open(tmp_path / "lib")
    info = library.info()
    empty = [i for i in range(COUNT) if i % 7 == 3 and i % 11 != 5]
    assert (info["photos"], info["failed"], info["no_objects"]) == (COUNT, len(failed), len(empty))
    assert info["objects"] == report.objects
    assert len(library.fragments) == 5
    assert library.photos().path == sorted(library.photos().path)
    assert check_library(library) == []
    assert files(tmp_path / "lib") == expected_files(tmp_path / "lib")


def test_what_is_stored_is_what_the_network_said(tmp_path: Path, photos: Path) -> None:
    run(photos, tmp_path / "lib", thumb_px=32)
    library = Library.open(tmp_path / "lib")
    table = library.photos()
    pipeline = BlobPipeline()
    rows = {name: np.concatenate([b[name] for b in library.objects()]) for name in next(library.objects())}
    for number, path in enumerate(table.path):
        mine = rows["photo"] == number
        if table.state[number] != PhotoState.OK:
            assert not mine.any()
            continue
        bgr = read_photo(photos / path)
        assert (table.width[number], table.height[number]) == (160, 120)
        found = pipeline.detector.detect([bgr])[0]
        np.testing.assert_array_equal(rows["xyxy"][mine], found.xyxy)
        np.testing.assert_array_equal(rows["label"][mine], found.label)
        np.testing.assert_array_equal(rows["score"][mine], found.score)
        vector = pipeline.describer.describe(bgr, found).astype(np.float16)
        np.testing.assert_array_equal(rows["vector"][mine], vector)
        for row in np.flatnonzero(mine):
            pack = library.pack_paths[rows["pack"][row]].read_bytes()
            start = rows["thumb_offset"][row]
            thumb = pack[start : start + rows["thumb_bytes"][row]]
            colour = cv2.imdecode(np.frombuffer(thumb, np.uint8), cv2.IMREAD_COLOR).mean((0, 1))
            x1, y1, x2, y2 = rows["xyxy"][row].astype(int)
            assert np.abs(colour - bgr[y1:y2, x1:x2].mean((0, 1))).max() < 4
            header = read_header(io.BytesIO(thumb))
            assert max(header.width, header.height) <= 32


def test_a_second_run_looks_at_nothing(tmp_path: Path, photos: Path) -> None:
    run(photos, tmp_path / "lib")
    before, stamp = content(tmp_path / "lib"), Library.open(tmp_path / "lib").stamp
    pipeline = BlobPipeline()
    report = run(photos, tmp_path / "lib", pipeline)
    assert (report.kept, report.analysed, seen(pipeline)) == (COUNT, 0, 0)
    assert content(tmp_path / "lib") == before
    assert Library.open(tmp_path / "lib").stamp == stamp


def test_new_changed_and_deleted_photos(tmp_path: Path, photos: Path) -> None:
    run(photos, tmp_path / "lib", commit_photos=4)
    (photos / "000.png").unlink()  # had objects
    (photos / "sub" / "005.png").unlink()  # had failed
    (photos / "002.png").write_bytes(cv2.imencode(".png", draw(99))[1].tobytes())
    (photos / "016.png").write_bytes(cv2.imencode(".png", draw(98))[1].tobytes())  # had failed
    os.utime(photos / "004.png", ns=(1, 1))  # same bytes, another date
    (photos / "new").mkdir()
    (photos / "new" / "a.png").write_bytes(cv2.imencode(".png", draw(97))[1].tobytes())
    pipeline = BlobPipeline()
    report = run(photos, tmp_path / "lib", pipeline)
    assert (report.found, report.kept, report.changed, report.dropped) == (COUNT - 1, COUNT - 5, 3, 2)
    assert report.analysed == seen(pipeline) == 4
    run(photos, tmp_path / "fresh")
    assert content(tmp_path / "lib") == content(tmp_path / "fresh")
    assert files(tmp_path / "lib") == expected_files(tmp_path / "lib")
    assert check_library(Library.open(tmp_path / "lib")) == []


@pytest.mark.parametrize("commit_photos", [1, 4, 100])
def test_stop_commits_and_the_next_run_goes_on(tmp_path: Path, photos: Path, commit_photos: int) -> None:
    stop = threading.Event()
    settings = Settings.model_validate({"analyze": {"commit_photos": commit_photos}})

    def progress(now: Progress) -> None:
        assert now.total == COUNT
        if now.done == 10:
            stop.set()

    first = analyze(photos, tmp_path / "lib", BlobPipeline(), settings, progress=progress, stop=stop)
    assert first.interrupted
    assert first.analysed == Library.open(tmp_path / "lib").photo_count == 10
    second = run(photos, tmp_path / "lib")
    assert not second.interrupted
    assert (second.kept, second.analysed) == (10, COUNT - 10)
    run(photos, tmp_path / "fresh")
    assert content(tmp_path / "lib") == content(tmp_path / "fresh")


def test_progress(tmp_path: Path, photos: Path) -> None:
    told: list[Progress] = []
    analyze(photos, tmp_path / "lib", BlobPipeline(), Settings(), progress=told.append)
    assert [p.done for p in told] == list(range(1, COUNT + 1))
    assert told[0].left_s is None
    assert told[-1].left_s == 0
    assert told[-1].failed == 3
    assert told[-1].objects == Library.open(tmp_path / "lib").object_count


def test_a_network_that_fails_keeps_what_was_done(tmp_path: Path, photos: Path) -> None:
    pipeline = BlobPipeline()
    pipeline.detector.fail_at = 20
    before = set(threading.enumerate())
    with pytest.raises(RuntimeError, match="melted"):
        run(photos, tmp_path / "lib", pipeline)
    assert set(threading.enumerate()) == before
    assert Library.open(tmp_path / "lib").photo_count >= 10
    run(photos, tmp_path / "lib")
    run(photos, tmp_path / "fresh")
    assert content(tmp_path / "lib") == content(tmp_path / "fresh")


def test_a_progress_that_fails_leaves_no_thread(tmp_path: Path, photos: Path) -> None:
    before = set(threading.enumerate())
    with pytest.raises(ZeroDivisionError):
        analyze(photos, tmp_path / "lib", BlobPipeline(), Settings(), progress=lambda _: 1 // 0)
    assert set(threading.enumerate()) == before
    assert Library.open(tmp_path / "lib").photo_count == 1


def test_a_vector_that_is_not_finite_fails_its_photo_only(tmp_path: Path, photos: Path) -> None:
    class Broken(type(BlobPipeline().describer)):
        def describe(self, bgr, found):
            vector = super().describe(bgr, found)
            return vector * np.nan if len(vector) == 2 else vector

    report = run(photos, tmp_path / "lib", BlobPipeline(describer=Broken()))
    table = Library.open(tmp_path / "lib").photos()
    reasons = [table.reason[i] for i in range(COUNT) if "NaN" in table.reason[i]]
    assert reasons
    assert len(report.failed) == len(reasons) + 3
    assert report.objects == Library.open(tmp_path / "lib").object_count


@pytest.mark.parametrize(
    ("batch", "callers", "most"),
    [(1, 1, 1), (3, 1, 3), (None, 1, look.PHOTOS_PER_CALL), (None, 3, 1)],
)
def test_photos_per_call(tmp_path: Path, photos: Path, batch: int | None, callers: int, most: int) -> None:
    class Slow(BlobDetector):
        """While it is at its first photo, more of them are decoded than any call takes."""

        def detect(self, images):
            if not self.seen:
                time.sleep(0.3)
            return super().detect(images)

    for bad in range(5, COUNT, 11):  # they would make a full call one smaller
        next(photos.rglob(f"{bad:03d}.png")).unlink()
    pipeline = BlobPipeline(Slow(0.01), batch=batch, callers=callers)
    run(photos, tmp_path / "lib", pipeline)
    assert pipeline.detector.largest_batch == most
    assert pipeline.detector.most_callers == callers
    run(photos, tmp_path / "fresh")
    assert content(tmp_path / "lib") == content(tmp_path / "fresh")


@pytest.mark.parametrize("budget_bytes", [1, 7 * 160 * 120 * 3])
def test_a_small_budget_slows_but_does_not_stop(
    tmp_path: Path, photos: Path, budget_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []
    real = look.Budget.take

    def take(self, amount_bytes: int, *, wait: bool) -> bool:
        granted = real(self, amount_bytes, wait=wait)
        held.append(self._used_bytes)
        return granted

    monkeypatch.setattr(look, "BUDGET_BYTES", budget_bytes)
    monkeypatch.setattr(look.Budget, "take", take)
    run(photos, tmp_path / "lib", workers=4)
    assert Library.open(tmp_path / "lib").photo_count == COUNT
    assert max(held) <= max(budget_bytes, 2 * 160 * 120 * 3 + 10_000)  # more is granted to one that is alone


def test_fragments_close_by_time_too(tmp_path: Path, photos: Path) -> None:
    run(photos, tmp_path / "lib", BlobPipeline(BlobDetector(0.02)), commit_s=0.1)
    assert len(Library.open(tmp_path / "lib").fragments) >= 3


def test_giant_photos_are_refused_with_the_reason(tmp_path: Path, photos: Path) -> None:
    report = run(photos, tmp_path / "lib", max_photo_mp=0.01)
    assert report.objects == 0
    assert ("000.png", "0.0 megapixels, more than analyze.max_photo_mp = 0.01") in report.failed


def test_a_folder_that_cannot_be_read_keeps_its_photos(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(photos, tmp_path / "lib")
    before = content(tmp_path / "lib")
    real = os.scandir

    def scandir(folder: Path) -> object:
        if Path(folder).name == "sub":
            raise PermissionError(13, "Permission denied")
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    report = run(photos, tmp_path / "lib")
    assert report.refused == [("sub/", "cannot be read: Permission denied")]
    assert (report.dropped, report.analysed) == (0, 0)
    assert content(tmp_path / "lib") == before


# Which library ---------------------------------------------------------------------------------------------


def test_another_feature_space_changes_nothing(tmp_path: Path, photos: Path) -> None:
    run(photos, tmp_path / "lib")
    before = content(tmp_path / "lib")
    with pytest.raises(FeatureSpaceError, match='model: "blobs", this run "better"'):
        run(photos, tmp_path / "lib", BlobPipeline(feature_space={"model": "better", "version": 1}))
    assert content(tmp_path / "lib") == before


def test_a_busy_library(tmp_path: Path, photos: Path) -> None:
    run(photos, tmp_path / "lib")
    space = Library.open(tmp_path / "lib").space
    with (
        LibraryWriter.open(tmp_path / "lib", space, photo_root=photos),
        pytest.raises(LibraryBusyError, match="try again"),
    ):
        run(photos, tmp_path / "lib")


def test_photos_that_moved_are_not_looked_at_again(tmp_path: Path, photos: Path) -> None:
    run(photos, tmp_path / "lib")
    photos.rename(tmp_path / "moved")
    report = run(tmp_path / "moved", tmp_path / "lib")
    assert (report.kept, report.analysed) == (COUNT, 0)
    assert Library.open(tmp_path / "lib").photo_root == tmp_path / "moved"


def test_other_photos_do_not_empty_a_library(tmp_path: Path, photos: Path) -> None:
    run(photos, tmp_path / "lib")
    before = content(tmp_path / "lib")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x.png").write_bytes((photos / "000.png").read_bytes())
    with pytest.raises(LibraryError, match=f"0 in {COUNT}: give that folder, or another"):
        run(tmp_path / "other", tmp_path / "lib")
    assert content(tmp_path / "lib") == before
    assert Library.open(tmp_path / "lib").photo_root == photos


def test_other_settings_are_warned_of(tmp_path: Path, photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    run(photos, tmp_path / "lib")
    with caplog.at_level(logging.WARNING):
        run(photos, tmp_path / "lib", commit_photos=3)
        assert caplog.messages == []
        run(photos, tmp_path / "lib", thumb_px=64)
    assert [m.partition(" was ")[2] for m in caplog.messages] == [
        "made with analyze.thumb_px = 128; what is added now has 64"
    ]


def test_a_setting_that_an_older_build_did_not_know_is_no_other_one(
    tmp_path: Path, photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(photos, tmp_path / "lib")
    manifest = Library.open(tmp_path / "lib").manifest
    del manifest.settings["detect"]["min_px"], manifest.settings["analyze"]["thumb_px"]
    manifest.write(tmp_path / "lib")
    with caplog.at_level(logging.WARNING):
        run(photos, tmp_path / "lib")
        assert caplog.messages == []
        run(photos, tmp_path / "lib", thumb_px=64)
    assert [m.partition(" was ")[2] for m in caplog.messages] == [
        "made with analyze.thumb_px = 128; what is added now has 64"
    ]


# Crops -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("xyxy", "wh"),
    [
        ((10, 20, 50, 40), (40, 20)),
        ((10.4, 20.6, 49.2, 39.1), (40, 20)),
        ((0, 0, 160, 120), (80, 60)),
        ((-5, -5, 300, 300), (80, 60)),
        ((159.5, 119.5, 160, 120), (1, 1)),
        ((160, 120, 160, 120), (1, 1)),
        ((5, 5, 5, 5), (1, 1)),
        ((0, 7, 160, 8), (80, 1)),
    ],
)
def test_crops(xyxy: tuple[float, ...], wh: tuple[int, int]) -> None:
    jpeg = encode_crop(draw(1), np.array(xyxy, np.float32), 80)
    header = read_header(io.BytesIO(jpeg))
    assert (header.kind, header.width, header.height) == ("JPEG", *wh)
