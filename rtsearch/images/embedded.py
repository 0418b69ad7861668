"""Read EXIF orientation and colour profile of picture files.

OpenCV gives no profile, and overlooks the orientation of a WebP whose EXIF begins like a JPEG's, and of a PNG
that keeps it as text, as ImageMagick writes it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Embedded", "embedded"]

_EXIF, _ICC = b"Exif\0\0", b"ICC_PROFILE\0"
_ORIENTATION = 0x0112
_MOST_BYTES = 4 << 20  # of a profile, unpacked: those of presses have 2 MB
_MOST_ENTRIES = 1000
_WITHOUT_LENGTH = frozenset({0x00, 0x01, 0xFF, *range(0xD0, 0xD9)})  # JPEG markers; FF fills up


class Embedded(NamedTuple):
    """Orientation and colour profile of a picture file.

    Attributes:
        orientation: of EXIF, 1..8; 1 is upright.
        icc: colour profile; b"" for none.
    """

    orientation: int = 1
    icc: bytes = b""


def embedded(data: bytes, kind: str) -> Embedded:
    """Read orientation and profile out of a file's bytes; what is damaged counts as not there.

    Args:
        data: the file.
        kind: ``JPEG``, ``PNG`` or ``WebP``.
    """
    try:
        return {"JPEG": _jpeg, "PNG": _png, "WebP": _webp}[kind](data)
    except (struct.error, IndexError, ValueError, zlib.error):
        return Embedded()


def _jpeg(data: bytes) -> Embedded:
    exif, profile = b"", []
    for marker, body in _segments(data):
        if marker == 0xE1 and body.startswith(_EXIF) and not exif:
            exif = body
        elif marker == 0xE2 and body.startswith(_ICC):
            profile.append(body[len(_ICC) :])
    parts = sorted(profile, key=lambda part: part[:1])  # each begins with its number and their count
    return Embedded(_orientation(exif), b"".join(part[2:] for part in parts)[:_MOST_BYTES])


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Markers and bodies up to the pixels (ITU-T T.81, B.1)."""
    at = data.find(b"\xff", 2)
    while 0 <= at < len(data) - 4 and data[at + 1] != 0xDA:
        marker, length = struct.unpack_from(">xBH", data, at)
        if marker in _WITHOUT_LENGTH:
            length = -1 if marker == 0xFF else 0
        else:
            yield marker, data[at + 4 : at + 2 + length]
        at = data.find(b"\xff", at + 2 + length)  # garbage between segments is skipped, as decoders do


def _png(data: bytes) -> Embedded:
    exif, icc = b"", b""
    at, kind = 8, b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"eXIf":
            exif = data[at + 8 : at + 8 + length]
        elif kind == b"iCCP" and not icc:  # there is one at most, and decoders take the first
            packed = data[at + 8 : at + 8 + length].partition(b"\0")[2][1:]
            icc = zlib.decompressobj().decompress(packed, _MOST_BYTES)
        elif kind in (b"tEXt", b"zTXt") and not exif:
            exif = _exif_in_text(kind, data[at + 8 : at + 8 + length])
        at += length + 12
    return Embedded(_orientation(exif), icc)


def _exif_in_text(kind: bytes, body: bytes) -> bytes:
    """EXIF in hexadecimal digits, after its name and length, as ImageMagick writes it."""
    name, _, text = body.partition(b"\0")
    if name not in (b"Raw profile type exif", b"Raw profile type APP1"):
        return b""
    if kind == b"zTXt":
        text = zlib.decompressobj().decompress(text[1:], _MOST_BYTES)
    return bytes.fromhex(b"".join(text.split()[2:]).decode("ascii"))


def _webp(data: bytes) -> Embedded:
    exif, icc, at = b"", b"", 12
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        body = data[at + 8 : at + 8 + length] if kind in (b"EXIF", b"ICCP") else b""
        exif, icc = (body, icc) if kind == b"EXIF" else (exif, body or icc)
        at += 8 + length + length % 2
    return Embedded(_orientation(exif), icc[:_MOST_BYTES])


def _orientation(exif: bytes) -> int:
    """Read the orientation in the first directory of a TIFF header (EXIF 2.32, 4.5)."""
    tiff = exif.removeprefix(_EXIF)
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    (at,) = struct.unpack_from(order + "I", tiff, 4)
    (count,) = struct.unpack_from(order + "H", tiff, at)
    for entry in range(at + 2, at + 2 + 12 * min(count, _MOST_ENTRIES), 12):
        tag, _, _, value = struct.unpack_from(order + "HHIH", tiff, entry)
        if tag == _ORIENTATION:
            return int(value)
    return 1
