"""Crops of the library's objects, decoded on demand and kept while there is room.

    row -> place in a pack of JPEGs -> decoded picture, in an LRU cache bounded in bytes

A place that is damaged gives a grey picture and one warning, never an error: a strip with a hole is better
than a live picture that stops.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import threading
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from cachetools import LRUCache

from rtsearch._util.regular_files import open_descriptor
from rtsearch.errors import PhotoError, ServiceError, StorageError
from rtsearch.images.headers import Header, read_header
from rtsearch.library.crops import scaled
from rtsearch.library.remote import RemotePack
from rtsearch.types import I32Array, I64Array, U8Array

__all__ = ["LEAST_ASPECT", "MAX_JPEG_BYTES", "MOST_ASPECT", "ThumbCache", "ThumbPlaces"]

_log = logging.getLogger(__name__)

# Thumbnails are at most 640 px on their longer side (analyze.thumb_px); larger ones are not ours.
MAX_SIDE_PX = 768
GREY = 96
# In a strip, one very wide crop must not push the other neighbours out.
MOST_ASPECT = 2.0
LEAST_ASPECT = 1 / 3
GREY_SIDE_PX = 64
# Most packs held open. A large library has hundreds, and a process may open 1024 files by default.
OPEN_PACKS = 128
_AT_A_TIME = 16  # crops that are fetched from object storage
MAX_JPEG_BYTES = 4 << 20
_NO_ROWS = np.zeros(0, np.int32)
_HALF, _QUARTER = cv2.IMREAD_REDUCED_COLOR_2, cv2.IMREAD_REDUCED_COLOR_4


@dataclass(frozen=True, slots=True)
class ThumbPlaces:
    """Places of thumbnails in their packs; n rows.

    Attributes:
        pack: (n,) int32, number in ``packs``.
        offset: (n,) int64, first byte in the pack.
        length: (n,) int32, bytes.
        crc32: (n,) int64, of those bytes; -1 where it is not known.
        packs: JPEGs end to end, in files or on object storage.
        fetch: gives the JPEG of any row instead, over a network; None where they lie in packs.
    """

    pack: I32Array
    offset: I64Array
    length: I32Array
    crc32: I64Array
    packs: tuple[Path | RemotePack, ...]
    fetch: Callable[[int], bytes] | None = None

    @classmethod
    def fetched(cls, fetch: Callable[[int], bytes]) -> ThumbPlaces:
        """Return places of rows that a server keeps.

        Args:
            fetch: gives the JPEG of a row; raises a ServiceError where it cannot be had now.
        """
        return cls(_NO_ROWS, _NO_ROWS.astype(np.int64), _NO_ROWS, _NO_ROWS.astype(np.int64), (), fetch)

    def __len__(self) -> int:
        return len(self.pack)


class ThumbCache:
    """Decoded thumbnails by row; safe to use from several threads.

    Args:
        places: where they lie.
        cache_bytes: most memory for decoded pictures.
        mark: draws on the scaled crop of a row, such as the time of a film.
        beside: gives the JPEG of a row that has no place, None where it is gone.
    """

    def __init__(
        self,
        places: ThumbPlaces,
        cache_bytes: int,
        mark: Callable[[int, U8Array], None] | None = None,
        beside: Callable[[int], bytes | None] | None = None,
    ) -> None:
        self._places = places
        self._beside = beside
        self._mark = mark
        self._lock = threading.Lock()
        self._cache: LRUCache[tuple[int, int], U8Array] = LRUCache(
            cache_bytes, getsizeof=lambda picture: picture.nbytes
        )
        self._packs: LRUCache[int, _Pack] = LRUCache(OPEN_PACKS)
        self._warned = False

    @property
    def cached_bytes(self) -> int:
        """Bytes of the decoded pictures held now."""
        return int(self._cache.currsize)

    def peek(self, row: int, height_px: int = 0) -> U8Array | None:
        """The thumbnail of a row if it is ready, else None; never touches the disk. See ``get``."""
        with self._lock:
            return self._cache.get((row, height_px))

    def get(self, row: int, height_px: int = 0) -> U8Array:
        """The thumbnail of a row.

        Args:
            row: of the library.
            height_px: scaled to this height, its sides cut where it is very wide; 0 leaves it as stored.

        Returns:
            (h, w, 3) uint8 BGR, read-only; a grey square where the pack is damaged.
        """
        picture = self.peek(row, height_px)
        if picture is None:
            try:
                picture = self._decode(row, lambda header: header.height // height_px if height_px else 1)
            except ServiceError:  # it is asked for again
                return _grey()
            if height_px:
                picture = _fitted(picture, height_px)
                if self._mark is not None:
                    self._mark(row, picture)
            picture.flags.writeable = False
            with self._lock:
                if picture.nbytes <= self._cache.maxsize:
                    self._cache[row, height_px] = picture
        return picture

    def coarse(self, rows: Sequence[int], side_px: int) -> list[U8Array]:
        """The thumbnails of some rows, at a half or a quarter where their shorter sides keep ``side_px``.

        They are decoded anew each time.

        Returns:
            (h, w, 3) uint8 BGR of each row; grey squares where a pack is damaged.
        """

        def decode(row: int) -> U8Array:
            return self._decode(row, lambda header: min(header.width, header.height) // side_px)

        return self._of_each(rows, decode)

    def prefetch(self, rows: Iterable[int], height_px: int = 0) -> None:
        """Decode the thumbnails of some rows (negative ones are passed over), in the order of their packs."""
        n = len(self._places)
        wanted = [row for row in set(rows) if row >= 0 and self.peek(row, height_px) is None]
        missing = np.array([row for row in wanted if row < n], np.int64)
        order = np.lexsort((self._places.offset[missing], self._places.pack[missing]))
        elsewhere = self._beside is not None or self._places.fetch is not None
        others = [row for row in wanted if row >= n and elsewhere]
        rows_in_order = missing[order].tolist() + others
        self._of_each(rows_in_order, lambda row: self.get(row, height_px))

    def _of_each(self, rows: Sequence[int], get: Callable[[int], U8Array]) -> list[U8Array]:
        far = any(isinstance(pack, RemotePack) for pack in self._places.packs[:1])
        if far or (self._places.fetch is not None and rows):
            with ThreadPoolExecutor(_AT_A_TIME, "thumbs") as pool:  # each waits for the network
                return list(pool.map(get, rows))
        return [get(row) for row in rows]

    def jpeg(self, row: int) -> bytes | None:
        """Return the thumbnail of a row as it is stored; None where it is damaged or missing."""
        try:
            jpeg, problem = self._stored(row)
        except ServiceError:
            return None
        if problem:
            self._warn(problem)
        return jpeg

    def forget(self, first: int) -> None:
        """Let go of the pictures of rows from ``first`` on: their marks say something else by now."""
        with self._lock:
            for key in [key for key in self._cache if key[0] >= first]:
                del self._cache[key]

    def close(self) -> None:
        """Let go of pictures and packs."""
        with self._lock:
            self._cache.clear()
            self._packs.clear()

    def _decode(self, row: int, shrinks: Callable[[Header], int]) -> U8Array:
        jpeg, problem = self._stored(row)
        if jpeg is None:
            return self._grey(problem)
        picture = cv2.imdecode(
            np.frombuffer(jpeg, np.uint8), _reduced(shrinks(read_header(io.BytesIO(jpeg))))
        )
        if picture is None:
            return self._grey(f"the crop of row {row} is damaged")
        return cast(U8Array, picture)

    def _stored(self, row: int) -> tuple[bytes | None, str]:
        """Return the JPEG of a row, or None and what is wrong."""
        places = self._places
        if self._beside is not None and row >= len(places):
            jpeg = self._beside(row)
            return (jpeg, "") if jpeg and _is_thumb(jpeg) else (None, f"the crop of row {row} is gone")
        if places.fetch is not None:
            jpeg = places.fetch(row)
            return (jpeg, "") if _is_thumb(jpeg) else (None, f"the crop of row {row} is no picture")
        if not 0 <= row < len(places):
            return None, f"there is no thumbnail for row {row}: there are {len(places)} rows"
        number = int(places.pack[row])
        if not 0 <= number < len(places.packs):
            return None, f"row {row} names thumbnail pack {number} of {len(places.packs)}"
        pack = places.packs[number]
        try:
            jpeg = self._pack(number, pack).read(int(places.offset[row]), int(places.length[row]))
        except (OSError, ValueError, StorageError) as error:
            return None, f"cannot read thumbnails from {pack}: {error}"
        # A JPEG with one wrong bit mostly decodes, to another picture. The checksum of 4 kB takes 1 us.
        sound = places.crc32[row] in (-1, zlib.crc32(jpeg)) and _is_thumb(jpeg)
        return (jpeg, "") if sound else (None, f"{pack} is damaged")

    def _pack(self, number: int, place: Path | RemotePack) -> _Pack | RemotePack:
        if isinstance(place, RemotePack):
            return place
        with self._lock:
            pack = self._packs.get(number)
            if pack is None:
                pack = self._packs[number] = _Pack(place)
            return pack

    def _warn(self, why: str) -> None:
        with self._lock:
            if not self._warned:
                _log.warning("%s; it and others like it are shown grey; run rtsearch library check", why)
            self._warned = True

    def _grey(self, why: str) -> U8Array:
        self._warn(why)
        return _grey()


def _grey() -> U8Array:
    return np.full((GREY_SIDE_PX, GREY_SIDE_PX, 3), GREY, np.uint8)


def _fitted(picture: U8Array, height_px: int) -> U8Array:
    """Scaled to a height, at most MOST_ASPECT times as wide (the middle stays) and at least a third."""
    height, width = picture.shape[:2]
    cut_px = max(0, width - round(height * MOST_ASPECT)) // 2
    picture = picture[:, cut_px : width - cut_px]
    scaled_px = max(round(height_px * LEAST_ASPECT), round(picture.shape[1] * height_px / height))
    return scaled(picture, (scaled_px, height_px))


def _reduced(most: int) -> int:
    """Return how to decode a JPEG that may become smaller by a factor: to a half, a quarter, or as it is."""
    return cv2.IMREAD_COLOR if most < 2 else _HALF if most < 4 else _QUARTER


class _Pack:
    """An open pack, closed when the last thread that reads it lets go.

    Reads instead of a memory map: a page fault holds Python's lock while the disk seeks, which stops the live
    picture, and a file that shrinks under a map kills the process. Warm, 3.9 us instead of 2.3 in front of a
    decode of 50.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = open_descriptor(path)
        self._bytes = os.fstat(self._descriptor).st_size

    def read(self, start: int, length: int) -> bytes:
        if start < 0 or length <= 0 or start + length > self._bytes:
            raise ValueError(f"bytes {start} to {start + length} of {self._bytes}")
        return os.pread(self._descriptor, length, start)

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # it could not be opened
            os.close(self._descriptor)


def _is_thumb(jpeg: bytes) -> bool:
    """Tell whether bytes are a JPEG of a thumbnail's size; a damaged header may claim gigabytes."""
    try:
        header = read_header(io.BytesIO(jpeg))
    except PhotoError:
        return False
    return header.kind == "JPEG" and max(header.width, header.height) <= MAX_SIDE_PX
