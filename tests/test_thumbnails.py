"""The thumbnail cache over packs written here."""

from __future__ import annotations

import logging
import os
import threading
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from rtsearch.library.thumbnails import GREY, OPEN_PACKS, ThumbCache, ThumbPlaces
from rtsearch.types import U8Array

SIDE_PX = 24
PICTURE_BYTES = SIDE_PX * SIDE_PX * 3


def picture(row: int) -> U8Array:
    """One plain colour per row: JPEG keeps it to within one or two steps."""
    return np.full((SIDE_PX, SIDE_PX, 3), (row * 37 % 256, row * 91 % 256, row * 53 % 256), np.uint8)


def places_in(folder: Path, counts: list[int]) -> ThumbPlaces:
    """One pack per count, with as many thumbnails; rows number on from pack to pack."""
    pack, offset, length, crc32, paths = [], [], [], [], []
    for number, count in enumerate(counts):
        data = b""
        for _ in range(count):
            jpeg = cv2.imencode(".jpg", picture(len(pack)), [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
            pack.append(number)
            offset.append(len(data))
            length.append(len(jpeg))
            crc32.append(zlib.crc32(jpeg))
            data += jpeg
        paths.append(folder / f"{number}.pack")
        paths[-1].write_bytes(data)
    return ThumbPlaces(
        np.array(pack, np.int32),
        np.array(offset, np.int64),
        np.array(length, np.int32),
        np.array(crc32, np.int64),
        tuple(paths),
    )


def is_picture(found: U8Array | None, row: int) -> bool:
    return found is not None and int(np.abs(found.astype(int) - picture(row)).max()) <= 3


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("counts", [[1], [3, 0, 5], [1] * (OPEN_PACKS + 20)])
def test_get(tmp_path: Path, counts: list[int]) -> None:
    cache = ThumbCache(places_in(tmp_path, counts), 10**6)
    for _ in range(2):
        for row in range(sum(counts)):
            assert is_picture(cache.get(row), row)


def test_few_packs_are_open_at_a_time(tmp_path: Path) -> None:
    cache = ThumbCache(places_in(tmp_path, [1] * (OPEN_PACKS + 50)), 10**6)
    before = open_files()
    cache.prefetch(range(OPEN_PACKS + 50))
    assert open_files() - before <= OPEN_PACKS
    cache.close()
    assert open_files() <= before


@pytest.mark.parametrize("height_px", [10, 12, 20, 24, 30, 90])
def test_a_height_is_kept_however_large_the_crop_is_stored(tmp_path: Path, height_px: int) -> None:
    cache = ThumbCache(places_in(tmp_path, [3]), 10**6)
    found = cache.get(2, height_px)
    assert found.shape == (height_px, height_px, 3)
    middle = found[height_px // 2, height_px // 2].astype(int)
    assert np.abs(middle - picture(2)[0, 0]).max() <= 3


@pytest.mark.parametrize(("side_px", "expected"), [(24, 24), (13, 24), (12, 12), (6, 6), (1, 6)])
def test_coarse_thumbnails_keep_a_side(tmp_path: Path, side_px: int, expected: int) -> None:
    cache = ThumbCache(places_in(tmp_path, [2, 2]), 10**6)
    found = cache.coarse([3, 0, 9], side_px)
    assert [one.shape[0] for one in found[:2]] == [expected] * 2
    assert np.abs(found[0].astype(int) - picture(3)[0, 0]).max() <= 3
    assert (found[2] == GREY).all()
    assert cache.cached_bytes == 0


def test_peek_never_decodes(tmp_path: Path) -> None:
    cache = ThumbCache(places_in(tmp_path, [2]), 10**6)
    assert cache.peek(0) is None
    cache.get(0)
    assert is_picture(cache.peek(0), 0)
    assert cache.peek(1) is None
    cache.close()
    assert cache.peek(0) is None
    assert is_picture(cache.get(0), 0)


def test_the_cache_is_bounded_in_bytes_and_keeps_what_was_used_last(tmp_path: Path) -> None:
    cache = ThumbCache(places_in(tmp_path, [10]), 3 * PICTURE_BYTES + 10)
    for row in (0, 1, 2, 0, 3):
        cache.get(row)
    assert [row for row in range(10) if cache.peek(row) is not None] == [0, 2, 3]
    assert cache.cached_bytes == 3 * PICTURE_BYTES
    too_small = ThumbCache(places_in(tmp_path, [1]), 10)
    assert is_picture(too_small.get(0), 0)
    assert too_small.cached_bytes == 0


def test_prefetch_passes_over_what_is_not_a_row(tmp_path: Path) -> None:
    cache = ThumbCache(places_in(tmp_path, [2, 3]), 10**6)
    cache.prefetch([])
    cache.prefetch([4, -1, 1, 1, 99])
    assert [cache.peek(row) is not None for row in range(5)] == [False, True, False, False, True]


def test_pictures_are_read_only(tmp_path: Path) -> None:
    cache = ThumbCache(places_in(tmp_path, [1]), 10**6)
    with pytest.raises(ValueError, match="read-only"):
        cache.get(0)[:] = 0


def damage_nothing(places: ThumbPlaces) -> int:
    return 7  # a row that is not there


def damage_length(places: ThumbPlaces) -> int:
    places.length[1] = 10**8
    return 1


def damage_offset(places: ThumbPlaces) -> int:
    places.offset[1] = -5
    return 1


def damage_number(places: ThumbPlaces) -> int:
    places.pack[1] = 3
    return 1


def damage_bytes(places: ThumbPlaces) -> int:
    data = bytearray(pack_of(places).read_bytes())
    start = int(places.offset[1])
    data[start : start + 40] = bytes(40)
    pack_of(places).write_bytes(data)
    return 1


def damage_end(places: ThumbPlaces) -> int:
    pack_of(places).write_bytes(pack_of(places).read_bytes()[: int(places.offset[1]) + 30])
    return 1


def pack_of(places: ThumbPlaces) -> Path:
    """The first pack of a library on disk."""
    pack = places.packs[0]
    assert isinstance(pack, Path)
    return pack


def damage_pack(places: ThumbPlaces) -> int:
    pack_of(places).unlink()
    return 1


def damage_size(places: ThumbPlaces) -> int:
    """The header claims 65535 x 65535 pixels: 12 GB."""
    data = bytearray(pack_of(places).read_bytes())
    frame = data.index(b"\xff\xc0", int(places.offset[1]))
    data[frame + 5 : frame + 9] = b"\xff" * 4
    pack_of(places).write_bytes(data)
    return 1


@pytest.mark.parametrize(
    "damage",
    [
        damage_nothing,
        damage_length,
        damage_offset,
        damage_number,
        damage_bytes,
        damage_end,
        damage_pack,
        damage_size,
    ],
)
def test_damage_is_grey_and_warned_of_once(tmp_path: Path, damage, caplog: pytest.LogCaptureFixture) -> None:
    places = places_in(tmp_path, [3])
    row = damage(places)
    cache = ThumbCache(places, 10**6)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert np.unique(cache.get(row)).tolist() == [96]
            cache.close()
    assert len(caplog.records) == 1
    if damage is not damage_pack:
        assert is_picture(cache.get(0), 0)


def test_any_flipped_bit_of_a_crop_is_seen(tmp_path: Path) -> None:
    places = places_in(tmp_path, [2])
    whole = pack_of(places).read_bytes()
    start, length = int(places.offset[1]), int(places.length[1])
    for bit in range(0, 8 * length, 11):
        data = bytearray(whole)
        data[start + bit // 8] ^= 1 << bit % 8
        pack_of(places).write_bytes(data)
        cache = ThumbCache(places, 10**6)
        assert np.unique(cache.get(1)).tolist() == [96], bit
        assert is_picture(cache.get(0), 0)


def test_threads_share_a_cache(tmp_path: Path) -> None:
    cache = ThumbCache(places_in(tmp_path, [20, 20]), 8 * PICTURE_BYTES)
    wrong: list[int] = []

    def work(seed: int) -> None:
        for row in np.random.default_rng(seed).integers(0, 40, 400).tolist():
            if not is_picture(cache.get(row), row):
                wrong.append(row)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert cache.cached_bytes <= 8 * PICTURE_BYTES


@pytest.mark.parametrize(
    ("wh", "height_px", "expected_wh"),
    [
        ((40, 40), 76, (76, 76)),
        ((128, 16), 60, (120, 60)),
        ((20, 100), 100, (33, 100)),
        ((64, 128), 64, (32, 64)),
    ],
)
def test_a_thumbnail_fits_its_strip(
    tmp_path: Path, wh: tuple[int, int], height_px: int, expected_wh: tuple[int, int]
) -> None:
    data = cv2.imencode(".jpg", np.full((wh[1], wh[0], 3), 90, np.uint8))[1].tobytes()
    path = tmp_path / "0.pack"
    path.write_bytes(data)
    first, length = np.zeros(1, np.int32), np.array([len(data)], np.int32)
    unknown = np.full(1, -1, np.int64)
    cache = ThumbCache(ThumbPlaces(first, first.astype(np.int64), length, unknown, (path,)), 10**6)
    fitted = cache.get(0, height_px)
    assert (fitted.shape[1], fitted.shape[0]) == expected_wh
    assert cache.peek(0, height_px) is fitted
    assert cache.peek(0) is None


def test_a_pipe_in_place_of_a_pack_is_not_waited_for(tmp_path: Path) -> None:
    places = places_in(tmp_path, [2])
    pack_of(places).unlink()
    os.mkfifo(pack_of(places))
    found = ThumbCache(places, 1 << 20).get(0)
    assert (found == GREY).all()
