"""Kinds of picture files: how their bytes begin, how their names end, what reads them.

The name makes a file a candidate; its first bytes say what it is. Analysis, sources and messages ask here.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

__all__ = [
    "FILM_SUFFIXES",
    "KINDS",
    "PHOTO_SUFFIXES",
    "START_BYTES",
    "Kind",
    "kind_of",
    "kind_of_suffix",
    "way_out",
]

START_BYTES = 32
"""First bytes of a file that ``kind_of`` wants."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of picture file.

    Attributes:
        name: ``JPEG``.
        suffixes: of file names, in lower case, the usual one first.
        pillow: name of Pillow's reader; "" where rawpy reads it.
        module: optional package that is imported to read it; "" where none is needed.
        extra: extra of rtsearch that brings the package.
    """

    name: str
    suffixes: tuple[str, ...]
    pillow: str
    module: str = ""
    extra: str = ""

    @property
    def way_out(self) -> str:
        """Command that brings what reads it; "" where it can be read."""
        if not self.module or importlib.util.find_spec(self.module):
            return ""
        return f"pip install 'rtsearch[{self.extra}]'"


_RAW = (
    *(".dng", ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".erf", ".fff", ".iiq", ".kdc", ".mef", ".mos"),
    *(".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"),
)
_JPEG = Kind("JPEG", (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"), "JPEG")
_PNG = Kind("PNG", (".png", ".apng"), "PNG")
_GIF = Kind("GIF", (".gif",), "GIF")
_WEBP = Kind("WebP", (".webp",), "WEBP")
_BMP = Kind("BMP", (".bmp", ".dib"), "BMP")
_TIFF = Kind("TIFF", (".tif", ".tiff"), "TIFF")
_AVIF = Kind("AVIF", (".avif",), "AVIF")
_JPEG_2000 = Kind("JPEG 2000", (".jp2", ".j2k", ".jpf", ".jpx"), "JPEG2000")
_NETPBM = Kind("Netpbm", (".ppm", ".pgm", ".pbm", ".pnm"), "PPM")
_HEIF = Kind("HEIF", (".heic", ".heif", ".hif"), "HEIF", "pi_heif", "heic")
_CAMERA_RAW = Kind("RAW", _RAW, "", "rawpy", "raw")
_JPEG_XL = Kind("JPEG XL", (".jxl",), "JXL", "pillow_jxl", "jxl")

KINDS = (
    *(_JPEG, _PNG, _GIF, _WEBP, _BMP, _TIFF, _AVIF, _JPEG_2000, _NETPBM),
    *(_HEIF, _CAMERA_RAW, _JPEG_XL),
)
"""All kinds; those that need an extra come last."""

_BY_SUFFIX = {suffix: kind for kind in KINDS for suffix in kind.suffixes}
PHOTO_SUFFIXES = frozenset(_BY_SUFFIX)
"""Suffixes of file names, in lower case with their dot, that a picture may have."""

_STARTS = (
    (b"\xff\xd8\xff", _JPEG),
    (b"\x89PNG\r\n\x1a\n", _PNG),
    (b"GIF87a", _GIF),
    (b"GIF89a", _GIF),
    (b"BM", _BMP),
    (b"\0\0\0\x0cjP  \r\n\x87\n", _JPEG_2000),
    (b"\xff\x4f\xff\x51", _JPEG_2000),
    (b"\0\0\0\x0cJXL \r\n\x87\n", _JPEG_XL),
    (b"\xff\x0a", _JPEG_XL),
    # Olympus, Panasonic, Fujifilm, Sigma, Minolta, Canon
    *((start, _CAMERA_RAW) for start in (b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FUJIFILMCCD-RAW")),
    *((start, _CAMERA_RAW) for start in (b"FOVb", b"\0MRM", b"II\x1a\0\0\0HEAPCCDR")),
)
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BRANDS = {  # of files that begin with a box "ftyp" (ISO/IEC 14496-12, 23008-12)
    **dict.fromkeys((b"avif", b"avis"), _AVIF),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), _HEIF),
    b"crx ": _CAMERA_RAW,
}

FILM_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in (
        *("mp4", "mov", "m4v", "mkv", "avi", "webm", "mpg", "mpeg", "mts", "m2ts", "ts", "3gp", "3g2", "wmv"),
        *("flv", "f4v", "ogv", "vob", "mxf", "asf", "divx", "dv"),
    )
)
"""Suffixes of file names, in lower case with their dot, that films have."""

_WAYS_OUT = {
    **dict.fromkeys((".psd", ".psb", ".xcf", ".ai", ".eps", ".svg", ".exr", ".hdr"), "export them as PNG"),
    **dict.fromkeys((".ico", ".tga", ".pcx", ".qoi", ".bpg", ".jxr", ".wdp"), "convert them to PNG"),
    # Most files that end in .ts are programs.
    **dict.fromkeys(FILM_SUFFIXES - {".ts"}, "analyze.videos=true looks at films"),
}


def kind_of(start: bytes, suffix: str = "") -> Kind | None:
    """Tell what kind of picture bytes begin.

    Args:
        start: the first ``START_BYTES`` of a file.
        suffix: of its name: it tells the raw files of cameras from other TIFF files.

    Returns:
        None for what is no picture of a known kind.
    """
    if start.startswith(_TIFF_STARTS):
        raw = start[8:10] == b"CR" or kind_of_suffix(suffix) is _CAMERA_RAW
        return _CAMERA_RAW if raw else _TIFF
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return _WEBP
    if start[4:8] == b"ftyp":
        brands = [start[8:12], *(start[at : at + 4] for at in range(16, START_BYTES, 4))]
        if brands[0] in (b"mif1", b"msf1") and not {b"avif", b"avis"}.isdisjoint(brands):
            return _AVIF
        return _BRANDS.get(brands[0])
    if start[:1] == b"P" and start[1:2] in b"123456" and start[2:3].isspace():
        return _NETPBM
    return next((kind for begins, kind in _STARTS if start.startswith(begins)), None)


def kind_of_suffix(suffix: str) -> Kind | None:
    """Tell what kind of picture a file name promises; None where it promises none."""
    return _BY_SUFFIX.get(suffix.lower())


def way_out(suffix: str) -> str:
    """Say what can be done about files of a suffix that are not read; "" where they are no pictures."""
    kind = kind_of_suffix(suffix)
    return kind.way_out if kind else _WAYS_OUT.get(suffix.lower(), "")
