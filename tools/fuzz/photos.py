"""Fuzz photos: headers of all kinds, EXIF orientation, colour profiles, and the pixels of small ones."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from made import own_folder
from PIL import Image, ImageCms

from rtsearch.errors import RtsearchError
from rtsearch.images.decode import decode_photo, photo_bytes, photo_header, quiet_decoders

__all__ = ["Target"]

_MOST_MP = 0.1  # decoding a picture of this size takes well below the limit of memory
_ORIENTATION = 0x0112
_SUFFIXES = (
    ".jpg",
    ".png",
    ".gif",
    ".webp",
    ".bmp",
    ".tif",
    ".avif",
    ".jp2",
    ".ppm",
    ".heic",
    ".dng",
    ".jxl",
)


class Target:
    """Reads a photo as an analysis does; the first byte of an input chooses the suffix of the file."""

    most_bytes = 1 << 13
    mutate = None

    def __init__(self) -> None:
        folder = own_folder()
        self._paths = [folder / f"photo{suffix}" for suffix in _SUFFIXES]
        self.seeds = [bytes([_SUFFIXES.index(suffix)]) + data for suffix, data in _pictures()]

    def __call__(self, data: bytes) -> None:
        path = self._paths[(data[0] if data else 0) % len(self._paths)]
        path.write_bytes(data[1:])
        try:
            with quiet_decoders():
                decode_photo(photo_bytes(path), photo_header(path, _MOST_MP))
        except RtsearchError as error:
            str(error).encode()


def _pictures() -> list[tuple[str, bytes]]:
    rng = np.random.default_rng(0)
    rgb = Image.fromarray(rng.integers(0, 255, (10, 12, 3), np.uint8))
    exif = Image.Exif()
    exif[_ORIENTATION] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    made = [
        (".jpg", _saved(rgb, "JPEG", exif=exif, icc_profile=profile)),
        (".jpg", _saved(rgb.convert("CMYK"), "JPEG", progressive=True)),
        (".png", _saved(rgb.convert("RGBA"), "PNG", exif=exif, icc_profile=profile)),
        (".png", _saved(rgb.convert("P"), "PNG", transparency=0)),
        (".gif", _saved(rgb, "GIF")),
        (".webp", _saved(rgb, "WEBP", exif=exif, icc_profile=profile)),
        (".webp", _saved(rgb.convert("RGBA"), "WEBP", lossless=True)),
        (".bmp", _saved(rgb, "BMP")),
        (".tif", _saved(rgb, "TIFF", compression="tiff_lzw")),
        (".tif", _saved(rgb.convert("F"), "TIFF")),
        (".avif", _saved(rgb, "AVIF")),
        (".jp2", _saved(rgb, "JPEG2000")),
        (".ppm", _saved(rgb, "PPM")),
    ]
    text = b"Raw profile type exif\0\0" + zlib.compress(
        b"\nexif\n 14\n" + b"4d4d002a000000080000".hex().encode()
    )
    chunk = struct.pack(">I4s", len(text), b"zTXt") + text + struct.pack(">I", zlib.crc32(b"zTXt" + text))
    png = made[3][1]
    return [*made, (".png", png[:33] + chunk + png[33:])]


def _saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()
