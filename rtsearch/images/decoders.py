"""Pictures that OpenCV does not read, or not well: by Pillow, its plugins and rawpy.

OpenCV holds a PNG with transparency twice, and a BMP three times: 0.9 GB for 100 megapixels.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import cv2
import numpy as np

from rtsearch.errors import PhotoError, UnreadPhotoError
from rtsearch.images.colour_profiles import cmyk_to_rgb, to_srgb
from rtsearch.images.formats import KINDS, Kind
from rtsearch.images.headers import Header, read_header
from rtsearch.types import U8Array

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["by_pillow", "by_rawpy", "pillow_header", "upright"]

_STRIP_ROWS = 64
_ORIENTATION = 0x0112  # EXIF tag
_DNG_VERSION = 50706  # TIFF tag: the first picture inside may be a thumbnail of a raw one
# Pillow warns of larger pictures, and refuses those of twice as many pixels.
_PILLOW_PIXELS = 89_478_485
_pillow_limit = threading.Lock()
_TURNS: dict[int, Callable[[U8Array], Any]] = {
    2: lambda a: cv2.flip(a, 1),
    3: lambda a: cv2.rotate(a, cv2.ROTATE_180),
    4: lambda a: cv2.flip(a, 0),
    5: cv2.transpose,
    6: lambda a: cv2.rotate(a, cv2.ROTATE_90_CLOCKWISE),
    7: lambda a: cv2.flip(cv2.transpose(a), -1),
    8: lambda a: cv2.rotate(a, cv2.ROTATE_90_COUNTERCLOCKWISE),
}
_LEAST_WHITE = 1e-9  # of a picture of floating-point numbers that is black throughout
_PREVIEW_PX = 1000  # least longer side of a raw file's JPEG that shows its objects
_CAMERA_RAW = next(kind for kind in KINDS if kind.name == "RAW")


def pillow_header(file: BinaryIO, kind: Kind, most_pixels: int) -> Header:
    """Read the size of a picture that only Pillow or a plugin of it knows.

    Args:
        file: the file, at its beginning.
        kind: what it is.
        most_pixels: Pillow refuses pictures of more than twice as many.

    Raises:
        PhotoError: damaged, or not understood; the message is the reason.
        UnreadPhotoError: what reads this kind is not installed, or the picture is too large.
    """
    if kind.way_out:
        raise UnreadPhotoError(f"{kind.name} is read by an extra: {kind.way_out}")
    if not kind.pillow:
        return _raw_header(file)
    with _pillow_takes(most_pixels), _opened(file, kind) as picture:
        if kind.pillow == "TIFF" and _DNG_VERSION in picture.tag_v2:  # type: ignore[attr-defined]
            return _raw_header(file)
        return Header(kind.name, *picture.size, alpha=True, deep=True)


def by_pillow(data: bytes, kind: Kind, pixels: int) -> U8Array:
    """Decode a picture by Pillow, transparency laid over white strip by strip.

    Args:
        data: the file's bytes.
        kind: what they are.
        pixels: that the header promises.

    Returns:
        (H, W, 3) uint8 BGR, upright, colours of sRGB.
    """
    with _pillow_takes(pixels), _opened(io.BytesIO(data), kind) as picture:
        width, height = picture.size
        if width * height > pixels:
            raise PhotoError(f"damaged {kind.name}: {width} x {height} pixels, its header promises fewer")
        picture.load()
        orientation = picture.getexif().get(_ORIENTATION, 1)  # of a TIFF, loading has turned it upright
        icc = picture.info.get("icc_profile") or b""
        bgr: U8Array = np.empty((height, width, 3), np.uint8)
        whitest = _whitest(picture)
        for top in range(0, height, _STRIP_ROWS):
            strip = picture.crop((0, top, width, min(top + _STRIP_ROWS, height)))
            if whitest:
                strip = _of_8_bits(strip, whitest)
            if strip.mode == "CMYK":
                strip = cmyk_to_rgb(strip, icc)
            _blend(np.asarray(strip.convert("RGBA")), bgr[top : top + _STRIP_ROWS])
    to_srgb(bgr, icc)
    return upright(bgr, orientation)


def by_rawpy(data: bytes) -> bytes | U8Array:
    """Take the picture out of a camera's raw file.

    Returns:
        the JPEG that the camera has put beside the sensor's values (LibRaw sees to its EXIF orientation);
        where there is none, or a small one: those values as (H, W, 3) uint8 BGR, upright, at half their size.
    """
    import rawpy

    with rawpy.imread(io.BytesIO(data)) as raw:
        try:
            thumb = raw.extract_thumb()
            if thumb.format == rawpy.ThumbFormat.JPEG and _longer_side(thumb.data) >= _PREVIEW_PX:
                return bytes(thumb.data)
        except (rawpy.LibRawNoThumbnailError, rawpy.LibRawUnsupportedThumbnailError):
            pass
        rgb = raw.postprocess(use_camera_wb=True, half_size=True)
    return cast(U8Array, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))


def upright(bgr: U8Array, orientation: int) -> U8Array:
    """Turn a picture as its EXIF orientation (1..8) says; others leave it as it is."""
    turn = _TURNS.get(orientation)
    return bgr if turn is None else cast(U8Array, turn(bgr))


def _raw_header(file: BinaryIO) -> Header:
    if _CAMERA_RAW.way_out:
        raise UnreadPhotoError(f"RAW is read by an extra: {_CAMERA_RAW.way_out}")
    import rawpy

    file.seek(0)
    with rawpy.imread(file) as raw:
        return Header("RAW", raw.sizes.width, raw.sizes.height, alpha=True, deep=True)


def _longer_side(jpeg: bytes) -> int:
    header = read_header(io.BytesIO(jpeg))
    return max(header.width, header.height)


@contextlib.contextmanager
def _opened(file: BinaryIO, kind: Kind) -> Iterator[Image]:
    """Open a picture by the one reader of Pillow that is meant for it, which may be a plugin."""
    from PIL import Image

    if kind.module:
        plugin = importlib.import_module(kind.module)
        if hasattr(plugin, "register_heif_opener"):
            plugin.register_heif_opener()
    with Image.open(file, formats=(kind.pillow,)) as picture:
        yield picture


@contextlib.contextmanager
def _pillow_takes(pixels: int) -> Iterator[None]:
    """Let Pillow open a picture of so many pixels; its limit is the whole process's, and is given back.

    Pictures that may need a higher limit than Pillow's own go one at a time.
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


def _whitest(picture: Image) -> float:
    """Return the value that stands for white in a picture of one deep channel; 0 for pictures of 8 bits."""
    if picture.mode.startswith("I"):
        return 65535.0
    if picture.mode == "F":
        values = np.asarray(picture)
        return max(float(values.max(initial=0, where=np.isfinite(values))), _LEAST_WHITE)
    return 0.0


def _of_8_bits(strip: Image, whitest: float) -> Image:
    from PIL import Image

    values = np.nan_to_num(np.asarray(strip), nan=0, posinf=whitest, neginf=0)
    return Image.fromarray((values / whitest * 255).clip(0, 255).astype(np.uint8))


def _blend(rgba: U8Array, bgr: U8Array) -> None:
    """Lay (h, w, 4) over white, into (h, w, 3)."""
    alpha = cv2.cvtColor(rgba[:, :, 3], cv2.COLOR_GRAY2BGR)
    over = cv2.multiply(cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGR), alpha, scale=1 / 255)
    cv2.add(over, cv2.bitwise_not(alpha), dst=bgr)  # white, times what alpha leaves of it
