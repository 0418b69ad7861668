"""Photo files to arrays: size known from the header first, then decoded as a viewer would show them.

    first bytes -> kind (formats) -> size (headers; decoders) -> JPEG, PNG, WebP: OpenCV; others: decoders

EXIF orientation is honoured; grey, palette, CMYK and 16-bit pictures become 8-bit BGR; transparency is laid
over white, as most transparent pictures are made to stand on; of an animation the first picture counts. What
a file is, its first bytes say, not its name.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import cv2

from rtsearch._util.cpu import usable_cores
from rtsearch._util.regular_files import open_regular
from rtsearch._util.wording import one_line
from rtsearch.errors import PhotoError, UnreadPhotoError
from rtsearch.images.colour_profiles import profile_space, to_srgb
from rtsearch.images.decoders import by_pillow, by_rawpy, pillow_header, upright
from rtsearch.images.embedded import Embedded, embedded
from rtsearch.images.formats import KINDS, START_BYTES, kind_of
from rtsearch.images.headers import HEADER_KINDS, Header, expect_plausible, expect_whole_chunks, read_header
from rtsearch.images.truncated import by_opencv, without_end
from rtsearch.types import U8Array

__all__ = [
    "Decoded",
    "decode_photo",
    "header_of",
    "photo_bytes",
    "photo_header",
    "quiet_decoders",
    "read_photo",
]

_log = logging.getLogger(__name__)

_NO_MEMORY = "needs more memory than there is"
_OPENCV_KINDS = ("JPEG", "PNG", "WebP")
_KINDS = {kind.name: kind for kind in KINDS}
# Pillow reads most of these files whole to learn their size.
_MOST_FOREIGN_BYTES = 1 << 30

if usable_cores() < cv2.getNumThreads():  # OpenCV counts cores without the quota of a cgroup of version 2
    cv2.setNumThreads(usable_cores())


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
        decoded = decode_photo(photo_bytes(path), header)
    except PhotoError as error:
        raise PhotoError(f"{path}: {error}") from None
    if decoded.note:
        _log.info("%s %s", path, decoded.note)
    return decoded.bgr


def photo_header(path: Path, max_mp: float) -> Header:
    """Look at a photo's header, and refuse what should not be decoded.

    Raises:
        PhotoError: empty, no picture, or not one of that size; the message is the reason without the path.
        UnreadPhotoError: the disk refuses, or the picture is too large.
    """
    try:
        with open_regular(path) as file:
            size_bytes = os.fstat(file.fileno()).st_size
            header = _header(file, path.suffix, size_bytes, int(max_mp * 1e6))
    except OSError as error:
        raise UnreadPhotoError(f"cannot be read: {error.strerror or error}") from None
    if header.megapixels > max_mp:
        raise UnreadPhotoError(
            f"{header.megapixels:.1f} megapixels, more than analyze.max_photo_mp = {max_mp:g}"
        )
    expect_plausible(header, size_bytes)
    return header


def header_of(data: bytes, max_mp: float) -> Header:
    """Look at the header of a photo that has no file, and refuse what should not be decoded.

    Raises:
        PhotoError: empty, or no picture; the message is the reason.
        UnreadPhotoError: the picture is too large.
    """
    header = _header(io.BytesIO(data), "", len(data), int(max_mp * 1e6))
    if header.megapixels > max_mp:
        raise UnreadPhotoError(f"{header.megapixels:.1f} megapixels are too large; at most {max_mp:g}")
    expect_plausible(header, len(data))
    return header


def _header(file: BinaryIO, suffix: str, size_bytes: int, most_pixels: int) -> Header:
    kind = kind_of(file.read(START_BYTES), suffix)
    file.seek(0)
    if kind is None or kind.name in HEADER_KINDS:
        return read_header(file)
    if size_bytes > _MOST_FOREIGN_BYTES:
        raise PhotoError(f"damaged {kind.name}: {size_bytes / 1e9:.1f} GB")
    try:
        return pillow_header(file, kind, most_pixels)
    except PhotoError:
        raise
    except OSError as error:
        if error.errno is not None:
            raise
        raise PhotoError(f"damaged {kind.name}, or of a kind that is not understood") from None
    except Exception as error:
        raise _undecodable(error) from None


def _undecodable(error: Exception) -> PhotoError:
    """Word what a decoder raises; on damaged files, that is nearly everything there is."""
    if isinstance(error, ImportError):  # of an extra, such as a library of the system that is missing
        return UnreadPhotoError(f"cannot be read, as a package does not load: {one_line(error)}")
    return PhotoError(f"cannot be decoded: {one_line(error)}")


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


class Decoded(NamedTuple):
    """A decoded photo.

    Attributes:
        bgr: (H, W, 3) uint8, upright, colours of sRGB.
        note: what is wrong with the file, although it could be decoded; else "".
    """

    bgr: U8Array
    note: str = ""


def decode_photo(data: bytes, header: Header) -> Decoded:
    """Decode a photo whose header was found good.

    Args:
        data: the file's bytes.
        header: what ``photo_header`` said of it.

    Raises:
        PhotoError: the message is the reason without the path.
        UnreadPhotoError: memory does not suffice.
    """
    try:
        if header.kind == "PNG":
            expect_whole_chunks(data)
        if header.kind == "RAW":
            return _decode_raw(data, header)
        carried = embedded(data, header.kind) if header.kind in _OPENCV_KINDS else Embedded()
        by_inks = header.inks and profile_space(carried.icc) == "CMYK"
        if header.alpha or by_inks or header.kind not in _OPENCV_KINDS:
            return Decoded(by_pillow(data, _KINDS[header.kind], header.width * header.height))
        return _with_opencv(data, header.kind, carried)
    except PhotoError:
        raise
    except OSError:
        raise PhotoError(f"truncated or damaged {header.kind}") from None
    except MemoryError:
        raise UnreadPhotoError(_NO_MEMORY) from None
    except Exception as error:
        raise _undecodable(error) from None


def _with_opencv(data: bytes, kind: str, carried: Embedded) -> Decoded:
    bgr, note = by_opencv(data), ""
    if bgr is None and kind == "JPEG":
        bgr, note = without_end(data)
    if bgr is None:
        raise PhotoError(f"truncated or damaged {kind}")
    if carried.icc:
        to_srgb(bgr, carried.icc)
    return Decoded(upright(bgr, carried.orientation), note)


def _decode_raw(data: bytes, header: Header) -> Decoded:
    picture = by_rawpy(data)
    if not isinstance(picture, bytes):
        return Decoded(picture)
    inner = read_header(io.BytesIO(picture))
    expect_plausible(inner, len(picture))
    if inner.kind != "JPEG" or inner.width * inner.height > 2 * header.width * header.height:
        raise PhotoError("damaged RAW: its preview is larger than its picture")
    return decode_photo(picture, inner)


@contextlib.contextmanager
def quiet_decoders() -> Iterator[None]:
    """Keep what OpenCV, libjpeg, libpng and Pillow say off the terminal while the block runs.

    Python's own ``sys.stderr`` goes on as before, but for Pillow's warnings. libjpeg has no other switch: it
    writes a line for every photo with stray bytes, right through a progress bar. The reason of a failure is
    in the PhotoError. Any number of threads may be inside at a time; the last one out turns the noise on
    again.
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
    """Count of the threads inside ``quiet_decoders``: a process has one descriptor 2."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside = 0
        self.undo = contextlib.ExitStack()


_quiet = _Quiet()


def _silence() -> contextlib.ExitStack:
    """Send descriptor 2 nowhere; closing what is returned brings it back."""
    sys.stderr.flush()
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", module=r"(PIL|pi_heif|pillow_jxl)\b")
        log = logging.getLogger("PIL")
        stack.callback(log.setLevel, log.level)
        log.setLevel(logging.CRITICAL)
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
