"""Analysis with the blob network: every photo once, whatever comes between."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import shutil
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from blobs import (
    BlobDescriber,
    BlobDetector,
    BlobPipeline,
    content,
    draw,
    expected_files,
    files,
    run,
    write_photos,
)

from rtsearch._util.memory_budget import MemoryBudget
from rtsearch.config import DetectSettings, Settings
from rtsearch.errors import FeatureSpaceError, LibraryBusyError, LibraryError, SourceError
from rtsearch.images.decode import read_photo
from rtsearch.images.headers import read_header
from rtsearch.jobs import photo_pipeline as look
from rtsearch.jobs.analyze import Progress, Upkeep, analyze
from rtsearch.library import Library, LibraryWriter, Manifest, PhotoState, check_library
from rtsearch.library.crops import encode_crop, scaled
from rtsearch.library.files import sha256_of
from rtsearch.library.index import remembered_settings
from rtsearch.library.manifest import StoredFile, fingerprint_of

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
    assert report.failed == [(path, "not a picture of a known kind") for path in sorted(failed)]
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
        found = pipeline.detector.detect([bgr], DetectSettings())[0]
        np.testing.assert_array_equal(rows["xyxy"][mine], found.xyxy)
        np.testing.assert_array_equal(rows["label"][mine], found.label)
        np.testing.assert_array_equal(rows["score"][mine], found.score)
        vector = pipeline.describer.describe(bgr, found).astype(np.float16)
        np.testing.assert_array_equal(rows["vector"][mine], vector)
        for row in np.flatnonzero(mine):
            pack = library.pack_paths[rows["pack"][row]].read_bytes()
            start = rows["thumb_offset"][row]
            thumb = pack[start : start + rows["thumb_bytes"][row]]
            crop = cv2.imdecode(np.frombuffer(thumb, np.uint8), cv2.IMREAD_COLOR)
            assert crop is not None
            high, wide = (side // 4 for side in crop.shape[:2])  # of the margin, which is black
            colour = crop[high : len(crop) - high, wide : crop.shape[1] - wide].mean((0, 1))
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
    assert (report.found, report.kept, report.changed, report.dropped) == (COUNT - 1, COUNT - 4, 2, 2)
    assert report.analysed == seen(pipeline) == 3
    run(photos, tmp_path / "fresh")
    assert content(tmp_path / "lib") == content(tmp_path / "fresh")
    assert files(tmp_path / "lib") == expected_files(tmp_path / "lib")
    assert check_library(Library.open(tmp_path / "lib")) == []


def test_another_date_alone_is_not_looked_at(tmp_path: Path, photos: Path) -> None:
    run(photos, tmp_path / "lib", commit_photos=4)
    objects = [path.stat().st_ino for path in Library.open(tmp_path / "lib").pack_paths]
    good = [path for path in sorted(photos.rglob("*.png")) if path.read_bytes() != b"not a picture"]
    for path in good:
        os.utime(path, ns=(10**18, 10**18))
    pipeline = BlobPipeline()
    report = run(photos, tmp_path / "lib", pipeline)
    assert (report.kept, report.changed, report.analysed, seen(pipeline)) == (COUNT, 0, 0, 0)
    assert [path.stat().st_ino for path in Library.open(tmp_path / "lib").pack_paths] == objects
    run(photos, tmp_path / "fresh")
    assert content(tmp_path / "lib") == content(tmp_path / "fresh")
    assert files(tmp_path / "lib") == expected_files(tmp_path / "lib")
    assert run(photos, tmp_path / "lib").analysed == 0


def test_another_date_and_content_of_the_same_size_is_looked_at(tmp_path: Path, photos: Path) -> None:
    run(photos, tmp_path / "lib")
    data = (photos / "002.png").read_bytes()
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    turned = picture[:, :, ::-1]
    other = cv2.imencode(".png", turned)[1].tobytes()
    size = max(len(data), len(other))
    (photos / "002.png").write_bytes(data.ljust(size, b" "))
    run(photos, tmp_path / "lib")
    (photos / "002.png").write_bytes(other.ljust(size, b" "))
    os.utime(photos / "002.png", ns=(1, 1))
    assert run(photos, tmp_path / "lib").changed == 1
    run(photos, tmp_path / "fresh")
    assert content(tmp_path / "lib") == content(tmp_path / "fresh")


def test_a_library_of_format_1_is_searched_and_brought_up_to_date(tmp_path: Path, photos: Path) -> None:
    for broken in (path for path in photos.rglob("*.png") if path.read_bytes() == b"not a picture"):
        broken.unlink()
    run(photos, tmp_path / "lib", commit_photos=8)
    before = content(tmp_path / "lib")
    make_format_1(tmp_path / "lib")
    assert {path: rows[1:] for path, rows in content(tmp_path / "lib").items()} == {
        path: rows[1:] for path, rows in before.items()
    }
    assert check_library(Library.open(tmp_path / "lib")) == []
    assert run(photos, tmp_path / "lib").analysed == 0
    os.utime(photos / "002.png", ns=(1, 1))
    assert run(photos, tmp_path / "lib").changed == 1  # no hash is known, so it is looked at
    os.utime(photos / "002.png", ns=(2, 2))
    assert run(photos, tmp_path / "lib").analysed == 0


def make_format_1(library: Path) -> None:
    """Turn a library into one of format 1, whose photo tables have no hash."""
    manifest = Manifest.read(library)
    fragments = []
    for fragment in manifest.fragments:
        path = fragment.path(library, "images")
        pq.write_table(pq.read_table(path).drop_columns(["sha256", "length_s"]), path)
        stored = StoredFile(bytes=path.stat().st_size, sha256=sha256_of(path))
        parts = fragment.files.model_copy(update={"images": stored})
        fragments.append(fragment.model_copy(update={"files": parts}))
    manifest.model_copy(update={"fragments": tuple(fragments)}).write(library)
    document = json.loads((library / "manifest.json").read_bytes())
    document["version"] = 1
    del document["checksum"]
    document["checksum"] = fingerprint_of(document)
    (library / "manifest.json").write_text(json.dumps(document))


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

    def fail(_progress: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        analyze(photos, tmp_path / "lib", BlobPipeline(), Settings(), progress=fail)
    assert set(threading.enumerate()) == before
    assert Library.open(tmp_path / "lib").photo_count == 1


def test_a_vector_that_is_not_finite_fails_its_photo_only(tmp_path: Path, photos: Path) -> None:
    class Broken(BlobDescriber):
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

        def detect(self, images, settings, *, pad_fully=False):
            if not self.seen:
                time.sleep(0.3)
            return super().detect(images, settings)

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
    real = MemoryBudget.take

    def take(self, amount_bytes: int, *, wait: bool) -> bool:
        granted = real(self, amount_bytes, wait=wait)
        held.append(self._used_bytes)
        return granted

    monkeypatch.setattr(look, "BUDGET_BYTES", budget_bytes)
    monkeypatch.setattr(MemoryBudget, "take", take)
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


def test_a_folder_that_lost_all_its_photos_keeps_them_until_they_are_dropped(
    tmp_path: Path, photos: Path
) -> None:
    run(photos, tmp_path / "lib")
    before = content(tmp_path / "lib")
    (photos / "sub").rename(tmp_path / "unmounted")
    for _ in range(2):  # without the folder, and with the empty place that it was mounted at
        report = run(photos, tmp_path / "lib")
        assert (report.missing, report.dropped, report.analysed) == ([("sub/", COUNT // 2)], 0, 0)
        assert content(tmp_path / "lib") == before
        (photos / "sub").mkdir(exist_ok=True)
    (photos / "sub" / "read me.jpg").write_bytes(b"mount the drive here")
    assert run(photos, tmp_path / "lib").missing == [("sub/", COUNT // 2)]
    (photos / "sub" / "read me.jpg").unlink()
    (photos / "sub").rmdir()
    (tmp_path / "unmounted").rename(photos / "sub")
    report = run(photos, tmp_path / "lib")
    assert (report.missing, report.dropped, report.analysed) == ([], 1, 0)


def test_a_folder_that_lost_all_its_photos_is_dropped_on_request(tmp_path: Path, photos: Path) -> None:
    run(photos, tmp_path / "lib")
    shutil.rmtree(photos / "sub")
    report = analyze(photos, tmp_path / "lib", BlobPipeline(), Settings(), upkeep=Upkeep(drop=True))
    assert (report.missing, report.dropped) == ([], COUNT // 2)
    run(photos, tmp_path / "fresh")
    assert content(tmp_path / "lib") == content(tmp_path / "fresh")


def test_what_is_excluded_now_is_dropped(tmp_path: Path, photos: Path) -> None:
    run(photos, tmp_path / "lib")
    report = run(photos, tmp_path / "lib", exclude=["sub", "000.*"])
    assert (report.missing, report.dropped) == ([], COUNT // 2 + 1)
    assert report.excluded == {"000.*": 1, "sub": 1}


def test_a_renamed_folder_leaves_nothing_behind(tmp_path: Path, photos: Path) -> None:
    for broken in (path for path in photos.rglob("*.png") if path.read_bytes() == b"not a picture"):
        broken.unlink()
    run(photos, tmp_path / "lib")
    (photos / "sub").rename(photos / "summer")
    report = run(photos, tmp_path / "lib", commit_photos=4)
    assert (report.missing, report.dropped) == ([], report.analysed)
    run(photos, tmp_path / "fresh")
    assert content(tmp_path / "lib") == content(tmp_path / "fresh")


def test_photos_that_can_be_listed_but_not_read_are_kept(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of mode 444, or a share that has lost its handles: names, but no sizes."""
    run(photos, tmp_path / "lib")
    before = content(tmp_path / "lib")
    real = Path.stat

    def stat(path: Path, **options: bool) -> os.stat_result:
        if path.parent.name == "sub":
            raise OSError(errno.ESTALE, "Stale file handle")
        return real(path, **options)

    monkeypatch.setattr(Path, "stat", stat)
    report = run(photos, tmp_path / "lib")
    assert ("sub/001.png", "cannot be read: Stale file handle") in report.refused
    assert (report.missing, report.dropped, report.analysed) == ([], 0, 0)
    assert content(tmp_path / "lib") == before


# What cannot be read ----------------------------------------------------------------------------------------


def test_what_fails_for_a_reason_outside_of_the_file_is_tried_again(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def opened(path: Path, *args: int, **options: int) -> int:
        if Path(path).name in refused:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, *args, **options)

    monkeypatch.setattr(os, "open", opened)
    refused = {"000.png", "001.png"}
    report = run(photos, tmp_path / "lib")
    assert report.failed[:1] == [("000.png", "cannot be read: Permission denied")]
    assert Library.open(tmp_path / "lib").photo_count == COUNT - 2
    before = files(tmp_path / "lib")
    assert run(photos, tmp_path / "lib").analysed == 0  # tried, and nothing written
    assert files(tmp_path / "lib") == before
    refused = set()
    assert run(photos, tmp_path / "lib").analysed == 2
    run(photos, tmp_path / "fresh")
    assert content(tmp_path / "lib") == content(tmp_path / "fresh")


def test_a_known_photo_that_cannot_be_read_now_keeps_its_objects(tmp_path: Path, photos: Path) -> None:
    run(photos, tmp_path / "lib")
    before = content(tmp_path / "lib")
    for path in photos.rglob("*.png"):
        path.write_bytes(path.read_bytes() + b"more")
    report = run(photos, tmp_path / "lib", max_photo_mp=0.01)
    assert len([reason for _, reason in report.failed if "megapixels" in reason]) == COUNT - 3
    assert {path: rows[1:] for path, rows in content(tmp_path / "lib").items()} == {
        path: rows[1:] for path, rows in before.items()
    }
    assert run(photos, tmp_path / "lib").changed == COUNT - 3


def test_a_larger_limit_is_tried(tmp_path: Path, photos: Path) -> None:
    run(photos, tmp_path / "lib", max_photo_mp=0.01)
    assert run(photos, tmp_path / "lib").analysed == COUNT - 3
    run(photos, tmp_path / "fresh")
    assert content(tmp_path / "lib") == content(tmp_path / "fresh")


def test_what_is_broken_is_tried_once(tmp_path: Path, photos: Path) -> None:
    assert len(run(photos, tmp_path / "lib").failed) == 3
    make_format_1(tmp_path / "lib")  # which does not tell why a photo has failed
    assert len(run(photos, tmp_path / "lib").failed) == 3
    assert run(photos, tmp_path / "lib").failed == []


@pytest.mark.parametrize("place", ["gone", "empty"])
def test_photos_that_go_away_in_the_middle_end_the_run(tmp_path: Path, place: str) -> None:
    photos = tmp_path / "photos"
    write_photos(photos, 80)

    def pull_out(now: Progress) -> None:
        if now.done == 5:
            photos.rename(tmp_path / "away")
            if place == "empty":
                photos.mkdir()

    with pytest.raises(SourceError, match=f"{photos} has gone away.*run the same command again"):
        analyze(photos, tmp_path / "lib", BlobPipeline(), Settings(), progress=pull_out)
    kept = Library.open(tmp_path / "lib").photo_count
    assert 5 <= kept < 80
    if place == "empty":
        photos.rmdir()
    (tmp_path / "away").rename(photos)
    assert run(photos, tmp_path / "lib").kept == kept
    run(photos, tmp_path / "fresh")
    assert content(tmp_path / "lib") == content(tmp_path / "fresh")


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
        run(photos, tmp_path / "lib", thumb_px=64, min_px=60)
    assert [m.partition(" was ")[2] for m in caplog.messages] == [
        "made with detect.min_px = 40; what is added now has 60",
        "made with analyze.thumb_px = 360; what is added now has 64",
    ]


def test_a_setting_that_an_older_build_did_not_know_is_no_other_one(
    tmp_path: Path, photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(photos, tmp_path / "lib", thumb_px=128, min_px=0)
    manifest = Library.open(tmp_path / "lib").manifest
    del manifest.settings["detect"]["min_px"], manifest.settings["analyze"]["thumb_px"]
    manifest.write(tmp_path / "lib")
    with caplog.at_level(logging.WARNING):
        run(photos, tmp_path / "lib", thumb_px=128, min_px=0)
        assert caplog.messages == []
        run(photos, tmp_path / "lib", thumb_px=64, min_px=0)
    assert [m.partition(" was ")[2] for m in caplog.messages] == [
        "made with analyze.thumb_px = 128; what is added now has 64"
    ]


def test_a_library_of_the_older_overlap_rule_keeps_its_objects_and_says_so(
    tmp_path: Path, photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(photos, tmp_path / "lib")
    manifest = Library.open(tmp_path / "lib").manifest
    del manifest.settings["detect"]["overlap"]
    manifest.settings["detect"]["max_overlap"] = 0.5
    manifest.write(tmp_path / "lib")
    before = content(tmp_path / "lib")
    with caplog.at_level(logging.WARNING):
        run(photos, tmp_path / "lib")
    assert sorted(m.partition(" was ")[2] for m in caplog.messages) == [
        "made with detect.max_overlap = 0.5; what is added now has 0.65",
        "made with detect.overlap = covered; what is added now has iou",
    ]
    assert content(tmp_path / "lib") == before


# Crops -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("xyxy", "wh"),
    [
        ((10, 20, 50, 40), (46, 23)),
        ((10.4, 20.6, 49.2, 39.1), (46, 23)),
        ((0, 0, 40, 20), (46, 23)),
        ((120, 100, 160, 120), (46, 23)),
        ((10, 0, 40, 120), (20, 80)),  # no room for a margin above and below
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


def test_a_crop_has_a_margin_within_its_photo() -> None:
    columns = np.arange(200, dtype=np.uint8)[None, :, None].repeat(100, 0).repeat(3, 2)
    for (x1, x2), (left, right) in {(50, 100): (46, 104), (0, 50): (0, 58), (150, 200): (142, 200)}.items():
        jpeg = encode_crop(columns, np.array([x1, 20, x2, 80], np.float32), 320)
        crop = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert crop is not None
        assert crop.shape[:2] == (70, 58)
        assert np.abs(crop[0, [0, -1], 0].astype(int) - (left, right - 1)).max() <= 2


def test_small_objects_stay_out_of_a_library(tmp_path: Path, photos: Path) -> None:
    for setting, least in (({}, 40), ({"min_px": 25}, 25)):
        pipeline = BlobPipeline()
        run(photos, tmp_path / f"lib{least}", pipeline, **setting)
        assert pipeline.detector.settings == DetectSettings(min_px=least)


@pytest.mark.parametrize("wh", [(30, 40), (90, 60), (100, 100)])
def test_a_crop_is_enlarged_a_half_at_most(wh: tuple[int, int]) -> None:
    crop = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    picture = scaled(crop, wh)
    assert picture.shape == (wh[1], wh[0], 3)
    width, height = min(wh[0], round(wh[0] * 1.5 / max(wh[0] / 40, wh[1] / 40))), 0
    height = min(wh[1], round(wh[1] * 1.5 / max(wh[0] / 40, wh[1] / 40)))
    x, y = (wh[0] - width) // 2, (wh[1] - height) // 2
    inner = picture[y : y + height, x : x + width]
    method = cv2.INTER_CUBIC if max(wh) > 40 else cv2.INTER_AREA
    np.testing.assert_array_equal(inner, cv2.resize(crop, (width, height), interpolation=method))
    around = picture.astype(int)
    around[y : y + height, x : x + width] = 0
    assert around.max() < 128  # darker than the crop


def test_files_of_networks_are_remembered_by_absolute_paths(tmp_path: Path, photos: Path) -> None:
    settings = Settings.model_validate(
        {"model": {"name": "nets/a.onnx"}, "describe": {"embedder": "b.onnx"}, "project": {"dim": 4}}
    )
    analyze(photos, tmp_path / "lib", BlobPipeline(), settings)
    remembered = remembered_settings(Library.open(tmp_path / "lib"))
    assert remembered["model"]["name"] == str(Path("nets/a.onnx").absolute())
    assert remembered["describe"]["embedder"] == str(Path("b.onnx").absolute())
