"""What kind of picture a file holds and how large it is, from its first bytes, before anything is decoded."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import BinaryIO

from rtsearch.errors import PhotoError

__all__ = ["Header", "read_header"]


@dataclass(frozen=True, slots=True)
class Header:
    """What the first bytes of a picture file say.

    Attributes:
        kind: ``JPEG``, ``PNG``, ``GIF``, ``WebP`` or ``BMP``.
        width, height: pixels, before EXIF orientation.
        alpha: pixels may be transparent.
        deep: 16 bits per channel.
    """

    kind: str
    width: int
    height: int
    alpha: bool = False
    deep: bool = False

    @property
    def decoding_bytes(self) -> int:
        """Memory that decoding takes at its peak: OpenCV hands over a copy of what it has decoded."""
        decoded = 3 if not self.alpha else 8 if self.deep else 4
        return self.width * self.height * decoded * 2


def read_header(file: BinaryIO) -> Header:
    """Read what kind of picture a file holds and how large it is; a few kilobytes are read.

    Raises:
        PhotoError: empty, of another kind, or the header is cut off; the message is the reason.
    """
    start = file.read(30)
    if not start:
        raise PhotoError("zero bytes")
    try:
        header = _header(start, file)
    except (struct.error, IndexError):
        raise PhotoError("truncated header") from None
    if header.width < 1 or header.height < 1:
        raise PhotoError(f"damaged {header.kind} header: {header.width} x {header.height} pixels")
    return header


def _header(start: bytes, file: BinaryIO) -> Header:
    if start.startswith(b"\xff\xd8\xff"):
        return _jpeg(file)
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png(start, file)
    if start.startswith((b"GIF87a", b"GIF89a")):
        width, height = struct.unpack_from("<HH", start, 6)
        return Header("GIF", width, height, alpha=True)
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return _webp(start)
    if start.startswith(b"BM"):
        return _bmp(start)
    raise PhotoError("not a JPEG, PNG, GIF, WebP or BMP picture")


_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Real photos have a few dozen segments and hardly any garbage; a file of zeros would be read to its end.
_MOST_STEPS = 10_000
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})


def _jpeg(file: BinaryIO) -> Header:
    """Walk the segments to the start of the frame (ITU-T T.81, B.1)."""
    file.seek(2)
    for _ in range(_MOST_STEPS):
        byte = file.read(1)[0]
        if byte != 0xFF:  # garbage between segments; decoders skip it, too
            continue
        while byte == 0xFF:
            byte = file.read(1)[0]
        if byte == 0 or byte in _WITHOUT_LENGTH:
            continue
        if byte in (0xD9, 0xDA):
            raise PhotoError("damaged JPEG: no frame header")
        (length,) = struct.unpack(">H", file.read(2))
        if byte in _START_OF_FRAME:
            height, width = struct.unpack_from(">HH", file.read(5), 1)
            return Header("JPEG", width, height)
        file.seek(max(length - 2, 0), os.SEEK_CUR)
    raise PhotoError("damaged JPEG: no frame header")


def _png(start: bytes, file: BinaryIO) -> Header:
    """IHDR, then the chunks before the pixels, where a palette's transparency would be (PNG, 11.2)."""
    width, height, depth, colour = struct.unpack_from(">IIBB", start, 16)
    alpha = colour in (4, 6)
    file.seek(8)
    for _ in range(_MOST_STEPS):
        length, kind = struct.unpack(">I4s", file.read(8))
        if alpha or kind in (b"IDAT", b"IEND"):
            break
        alpha = kind == b"tRNS"
        file.seek(length + 4, os.SEEK_CUR)
    return Header("PNG", width, height, alpha=alpha, deep=depth == 16)


def _webp(start: bytes) -> Header:
    """First chunk: lossy, lossless or extended (RFC 9649)."""
    kind = start[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", start, 26)
        return Header("WebP", width & 0x3FFF, height & 0x3FFF)
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", start, 21)
        return Header("WebP", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, alpha=bool(bits >> 28 & 1))
    if kind == b"VP8X":
        width, height = (int.from_bytes(start[i : i + 3], "little") + 1 for i in (24, 27))
        return Header("WebP", width, height, alpha=bool(start[20] & 0x10))
    raise PhotoError("damaged WebP: no picture chunk")


def _bmp(start: bytes) -> Header:
    (size,) = struct.unpack_from("<I", start, 14)
    width, height = struct.unpack_from("<HH" if size == 12 else "<ii", start, 18)
    return Header("BMP", width, abs(height))  # a negative height only means that the top row comes first
