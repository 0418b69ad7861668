"""Photos that cannot be read, libraries that are others, and crops."""

from __future__ import annotations

import errno
import io
import logging
import os
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from blobs import (
    BlobPipeline,
    content,
    draw,
    files,
    run,
    write_photos,
)
from test_analyze import COUNT, make_format_1

from rtsearch.config import DetectSettings, Settings, load_settings
from rtsearch.errors import FeatureSpaceError, LibraryBusyError, LibraryError, SourceError
from rtsearch.images.headers import read_header
from rtsearch.jobs.analyze import Progress, analyze
from rtsearch.library import Library, LibraryWriter
from rtsearch.library.crops import encode_crop, scaled
from rtsearch.library.index import remembered_settings

# What cannot be read ----------------------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    write_photos(tmp_path / "photos", COUNT)
    return tmp_path / "photos"


def test_other_settings_are_told_where_the_photos_are_not_refused(
    tmp_path: Path, photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(photos, tmp_path / "lib")
    detect = DetectSettings(threshold=0.4, classes=("cup", "wine glass"))
    others = Settings(detect=detect)
    write_photos(tmp_path / "others", 1)
    with pytest.raises(LibraryError, match="holds the photos of"):
        analyze(tmp_path / "others", tmp_path / "lib", BlobPipeline(), others)
    assert caplog.text == ""
    analyze(photos, tmp_path / "lib", BlobPipeline(), others)
    said = sorted(record.getMessage() for record in caplog.records)
    least, none = Settings().detect.threshold, "detect.classes=[]"
    assert said == [
        f"{tmp_path / 'lib'} was made with detect.classes = []; what is added now has "
        f'["cup", "wine glass"] (to keep it: --set \'{none}\')',
        f"{tmp_path / 'lib'} was made with detect.threshold = {least}; what is added now has 0.4 "
        f"(to keep it: --set detect.threshold={least})",
    ]
    for line in said:
        (given,) = re.findall(r"--set '?([^')]+)", line)
        section, key = given.partition("=")[0].split(".")
        kept = load_settings(None, [given])
        assert getattr(getattr(kept, section), key) == getattr(getattr(Settings(), section), key)


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
        "made with analyze.min_px = 40; what is added now has 60 (to keep it: --set analyze.min_px=40)",
        "made with analyze.thumb_px = 360; what is added now has 64 (to keep it: --set analyze.thumb_px=360)",
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
        "made with analyze.thumb_px = 128; what is added now has 64 (to keep it: --set analyze.thumb_px=128)"
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
        "made with detect.max_overlap = 0.5; what is added now has 0.65 "
        "(to keep it: --set detect.max_overlap=0.5)",
        "made with detect.overlap = covered; what is added now has iou "
        "(to keep it: --set detect.overlap=covered)",
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
