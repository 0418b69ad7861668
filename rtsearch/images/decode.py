"""Photo files to arrays: size known from the header first, then decoded as a viewer would show them.

EXIF orientation is honoured; grey, palette, CMYK and 16-bit pictures become 8-bit BGR; transparency is laid
over white, as most transparent pictures are made to stand on; of an animation the first picture counts. What
a file is, its first bytes say, not its name.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import cv2
import numpy as np

from rtsearch._util.regular_files import open_regular
from rtsearch.errors import PhotoError, UnreadPhotoError
from rtsearch.images.headers import Header, expect_plausible, expect_whole_chunks, read_header
from rtsearch.types import U8Array

__all__ = ["decode_photo", "photo_bytes", "photo_header", "quiet_decoders", "read_photo"]

_NO_MEMORY = "needs more memory than there is"
_STRIP_ROWS = 64
_ORIENTATION = 0x0112  # EXIF tag
_PILLOW_PIXELS = 80_000_000
_pillow_limit = threading.Lock()


def read_photo(path: Path, max_mp: float = 120.0) -> U8Array:
    """Decode a photo.

    Args:
        path: of the file.
        max_mp: larger pictures are refused before memory is taken, millions of pixels.

    Returns:
        (H, W, 3) uint8 BGR.

    Raises:
        PhotoError: it cannot be read; the message has the path and the reason.
    """
    try:
        header = photo_header(path, max_mp)
        return decode_photo(photo_bytes(path), header)
    except PhotoError as error:
        raise PhotoError(f"{path}: {error}") from None


def photo_header(path: Path, max_mp: float) -> Header:
    """Look at a photo's header, and refuse what should not be decoded.

    Raises:
        PhotoError: empty, no picture, or not one of that size; the message is the reason without the path.
        UnreadPhotoError: the disk refuses, or the picture is too large.
    """
    try:
        with open_regular(path) as file:
            header = read_header(file)
            size_bytes = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise UnreadPhotoError(f"cannot be read: {error.strerror or error}") from None
    megapixels = header.width * header.height / 1e6
    if megapixels > max_mp:
        raise UnreadPhotoError(f"{megapixels:.1f} megapixels, more than analyze.max_photo_mp = {max_mp:g}")
    expect_plausible(header, size_bytes)
    return header


def photo_bytes(path: Path, most_bytes: int = -1) -> bytes:
    """Read a photo's file, or its first ``most_bytes``.

    Raises:
        UnreadPhotoError: the disk or the memory refuses; the message is the reason without the path.
    """
    try:
        with open_regular(path) as file:
            return file.read(most_bytes)
    except OSError as error:
        raise UnreadPhotoError(f"cannot be read: {error.strerror or error}") from None
    except MemoryError:
        raise UnreadPhotoError(_NO_MEMORY) from None


def decode_photo(data: bytes, header: Header) -> U8Array:
    """Decode a photo whose header was found good.

    Args:
        data: the file's bytes.
        header: what ``photo_header`` said of it.

    Returns:
        (H, W, 3) uint8 BGR.

    Raises:
        PhotoError: the message is the reason without the path.
        UnreadPhotoError: memory does not suffice.
    """
    try:
        if header.kind == "PNG":
            expect_whole_chunks(data)
        if header.alpha or header.kind == "BMP":
            return _in_strips(data, header.width * header.height)
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except PhotoError:
        raise
    except OSError:
        raise PhotoError(f"truncated or damaged {header.kind}") from None
    except MemoryError:
        raise UnreadPhotoError(_NO_MEMORY) from None
    except Exception as error:  # on damaged files decoders raise nearly everything there is
        raise PhotoError(f"cannot be decoded: {' '.join(str(error).split())[:200]}") from None
    if bgr is None:
        raise PhotoError(f"truncated or damaged {header.kind}")
    return cast(U8Array, bgr)


def _in_strips(data: bytes, pixels: int) -> U8Array:
    """A picture by Pillow, transparency laid over white strip by strip.

    OpenCV holds a PNG with transparency twice, and a BMP three times: 0.9 GB for 100 megapixels.
    """
    from PIL import Image

    with _pillow_takes(pixels), Image.open(io.BytesIO(data)) as picture:
        orientation = picture.getexif().get(_ORIENTATION, 1)
        picture.load()
        width, height = picture.size
        bgr: U8Array = np.empty((height, width, 3), np.uint8)
        for top in range(0, height, _STRIP_ROWS):
            strip = picture.crop((0, top, width, min(top + _STRIP_ROWS, height)))
            _blend(np.asarray(strip.convert("RGBA")), bgr[top : top + _STRIP_ROWS])
    return _upright(bgr, orientation)


@contextlib.contextmanager
def _pillow_takes(pixels: int) -> Iterator[None]:
    """Let Pillow open a picture of so many pixels; its limit is the whole process's, and is given back.

    Pictures that may need a higher limit than Pillow's own (89 million) go one at a time.
    """
    from PIL import Image

    if pixels <= _PILLOW_PIXELS:
        yield
        return
    with _pillow_limit:
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = max(before or 0, pixels)
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _blend(rgba: U8Array, bgr: U8Array) -> None:
    """Lay (h, w, 4) over white, into (h, w, 3)."""
    alpha = cv2.cvtColor(rgba[:, :, 3], cv2.COLOR_GRAY2BGR)
    over = cv2.multiply(cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGR), alpha, scale=1 / 255)
    cv2.add(over, cv2.bitwise_not(alpha), dst=bgr)  # white, times what alpha leaves of it


def _upright(bgr: U8Array, orientation: int) -> U8Array:
    turns = {
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: a[::-1].transpose(1, 0, 2),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: a[:, ::-1].transpose(1, 0, 2),
    }
    return np.ascontiguousarray(turns.get(orientation, lambda a: a)(bgr))


@contextlib.contextmanager
def quiet_decoders() -> Iterator[None]:
    """Keep what OpenCV, libjpeg and libpng write to file descriptor 2 off the terminal while the block runs.

    Python's own ``sys.stderr`` goes on as before. libjpeg has no other switch: it writes a line for every
    photo with stray bytes, right through a progress bar. The reason of a failure is in the PhotoError. Any
    number of threads may be inside at a time; the last one out turns the noise on again.
    """
    with _quiet.lock:
        _quiet.inside += 1
        if _quiet.inside == 1:
            _quiet.undo = _silence()
    try:
        yield
    finally:
        with _quiet.lock:
            _quiet.inside -= 1
            if _quiet.inside == 0:
                _quiet.undo.close()


class _Quiet:
    """Who is inside ``quiet_decoders`` now, in all threads: a process has one descriptor 2."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside = 0
        self.undo = contextlib.ExitStack()


_quiet = _Quiet()


def _silence() -> contextlib.ExitStack:
    """Send descriptor 2 nowhere; closing what is returned brings it back."""
    sys.stderr.flush()
    with contextlib.ExitStack() as stack:
        kept = os.dup(2)
        stack.callback(os.close, kept)
        if _descriptor(sys.stderr) == 2:
            own = stack.enter_context(open(kept, "w", buffering=1, errors="backslashreplace", closefd=False))
            stack.enter_context(contextlib.redirect_stderr(own))
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        stack.callback(os.dup2, kept, 2)
        return stack.pop_all()


def _descriptor(stream: object) -> int | None:
    try:
        return cast(BinaryIO, stream).fileno()
    except (AttributeError, OSError, ValueError):
        return None
