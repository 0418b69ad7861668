"""Analysis with the blob network: every photo once, whatever comes between."""

from __future__ import annotations

import io
import json
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
from rtsearch.errors import SourceError
from rtsearch.images.decode import read_photo
from rtsearch.images.headers import read_header
from rtsearch.jobs import photo_pipeline as look
from rtsearch.jobs.analyze import Progress, Upkeep, analyze
from rtsearch.library import Library, Manifest, PhotoState, check_library
from rtsearch.library.files import sha256_of
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
