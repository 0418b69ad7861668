"""Moving pictures that are kept in the files of photos: GIF, PNG and WebP of several frames."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np

from rtsearch._util.regular_files import open_regular, read_regular
from rtsearch.errors import PhotoError, SourceError
from rtsearch.images.colour_profiles import to_srgb
from rtsearch.images.decoders import upright
from rtsearch.images.embedded import Embedded, embedded
from rtsearch.images.headers import Header, read_header
from rtsearch.sources.base import Source
from rtsearch.sources.converter import MAX_PIXELS
from rtsearch.sources.timeline import Timeline
from rtsearch.types import Frame, U8Array

__all__ = ["WebpAnimation", "animated_kind", "carried_by", "is_heif_photo"]

# libwebp and Pillow keep 16 bytes of each pixel at a time; a frame of 4096 x 4096 takes 0.4 GB in all.
_MOST_WEBP_PIXELS = 4096 * 4096
_USUAL_WEBP_PIXELS = 2048 * 2048  # so large are frames that a few bytes make, such as blank ones
_MOST_PIXELS_PER_BYTE = 4096
_USUAL_FPS = 10.0  # of frames that say no time; browsers do so
_ON_ITS_SIDE = frozenset({5, 6, 7, 8})  # orientations of EXIF
_MOST_BYTES = 1 << 30
_WEBP_START = 30
_HEIF_PHOTOS = frozenset({b"avif", b"heic", b"heix", b"heim", b"heis", b"mif1", b"mif2", b"miaf"})


def is_heif_photo(path: Path) -> bool:
    """Return True for a photo in AVIF or HEIC; FFmpeg takes its first tile for a video."""
    with path.open("rb") as file:
        start = file.read(12)
    return start[4:8] == b"ftyp" and start[8:12] in _HEIF_PHOTOS


def animated_kind(path: Path) -> str:
    """Return ``GIF``, ``PNG`` or ``WebP`` for a file of several frames of a size within reason, else "".

    Raises:
        SourceError: it is an animation in WebP whose frames are too large.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with open_regular(path) as file:
            header = read_header(file)
            file.seek(0)
            moves = _webp_moves(file.read(_WEBP_START))
        if header.kind == "WebP" and moves:
            _expect_playable(path, header)
        if header.width * header.height > MAX_PIXELS or header.kind not in ("GIF", "PNG", "WebP"):
            return ""
        with Image.open(path) as picture:
            return header.kind if getattr(picture, "is_animated", False) else ""
    except SourceError:
        raise
    except (PhotoError, UnidentifiedImageError, OSError, ValueError, SyntaxError):
        return ""  # whoever reads it as a photo says why


def carried_by(path: Path, kind: str) -> Embedded:
    """Return orientation and colour profile of an animation, which hold for all frames; a GIF has none."""
    if kind not in ("PNG", "WebP"):
        return Embedded()
    try:
        return embedded(read_regular(path, _MOST_BYTES), kind)
    except OSError:
        return Embedded()  # whoever opens it says why


def _webp_moves(start: bytes) -> bool:
    """Return the mark of an animation in a header (RFC 9649, 2.7); Pillow takes memory before it says so."""
    return start[12:16] == b"VP8X" and bool(start[20] & 2)


def _expect_playable(path: Path, header: Header) -> None:
    """Hold the frames of a WebP against its bytes, and refuse those that take too much memory."""
    pixels, size_bytes = header.width * header.height, path.stat().st_size
    wh = f"{header.width} x {header.height} pixels"
    if pixels > _MOST_WEBP_PIXELS:
        raise SourceError(f"{path}: frames of {wh} are too large to be played")
    if pixels > max(_USUAL_WEBP_PIXELS, size_bytes * _MOST_PIXELS_PER_BYTE):
        raise SourceError(f"{path} is damaged: it claims frames of {wh} in {size_bytes} bytes")


class WebpAnimation(Source):
    """An animation in WebP, by Pillow, as FFmpeg does not decode it; transparency is laid over white.

    Args:
        path: of the file.
        loop: start again at the end.

    Raises:
        SourceError: it cannot be read.
    """

    seekable = True

    def __init__(self, path: Path, *, loop: bool = False) -> None:
        from PIL import Image

        self._lock = threading.Lock()
        self._closed = False
        self._next_id = self._turn = 0
        self._target_s: float | None = None
        self._timeline = Timeline(_USUAL_FPS)
        self._carried = carried_by(path, "WebP")
        try:
            self._picture = Image.open(path)
            self._count: int = self._picture.n_frames  # type: ignore[attr-defined]
        except (OSError, ValueError) as error:
            raise SourceError(f"{path} cannot be played: {error}") from None
        width, height = self._picture.size
        wh = (height, width) if self._carried.orientation in _ON_ITS_SIDE else (width, height)
        super().__init__(str(path), frames=self._count, wh=wh)
        self.loop = loop

    def __next__(self) -> Frame:
        with self._lock:
            while not self._closed:
                if self._turn == self._count and self.loop and self._target_s is None:
                    self._begin()
                if self._turn >= self._count:
                    break
                pts_s, bgr = self._read()
                if self._target_s is not None and pts_s < self._target_s:
                    continue
                self._target_s = None
                self._next_id += 1
                return Frame(self._next_id - 1, time.monotonic(), pts_s, bgr)
            raise StopIteration

    def seek(self, seconds: float) -> bool:
        """Go on with the first frame at or after a time; all before it are decoded."""
        with self._lock:
            self._begin()
            self._target_s = seconds - 0.0005
            return not self._closed

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._closed = True
            self._picture.close()

    def _begin(self) -> None:
        self._turn, self._timeline = 0, Timeline(_USUAL_FPS)

    def _read(self) -> tuple[float, U8Array]:
        try:
            self._picture.seek(self._turn)
            rgba = np.asarray(self._picture.convert("RGBA"))
        except (OSError, EOFError, ValueError) as error:
            raise SourceError(f"{self.name} cannot be read any further: {error}") from None
        self._turn += 1
        alpha = rgba[:, :, 3:].astype(np.uint16)
        over = (rgba[:, :, 2::-1] * alpha + 255 * (255 - alpha) + 127) // 255
        bgr: U8Array = np.ascontiguousarray(over, dtype=np.uint8)
        to_srgb(bgr, self._carried.icc)
        bgr = upright(bgr, self._carried.orientation)
        return self._timeline.mend(self._picture.info.get("timestamp", 0) / 1000), bgr
