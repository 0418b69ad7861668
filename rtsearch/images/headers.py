"""Read kind and size of a picture from a file's first bytes, before anything is decoded.

A header may claim anything. ``expect_plausible`` holds its claim against the length of the file, and
``expect_whole_chunks`` the lengths that a PNG claims inside, since decoders take the memory first.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import BinaryIO

from rtsearch.errors import PhotoError
from rtsearch.images.formats import START_BYTES, kind_of

__all__ = [
    "HEADER_KINDS",
    "Header",
    "expect_plausible",
    "expect_whole_chunks",
    "read_header",
]

HEADER_KINDS = ("JPEG", "PNG", "GIF", "WebP", "BMP")
"""Kinds whose headers are read here."""

# OpenCV refuses longer sides, too. A PNG of 1 x 119,999,999 pixels would take 1 GB for its table of rows.
_MOST_SIDE_PX = 1 << 20
# What a byte can hold at most. JPEG: a bit for each block of 8 x 8 pixels is 512. PNG: pixels of one bit,
# packed 1032 to one as deflate does at best. GIF: codes of 12 bits that stand for 4096 pixels each.
_MOST_PIXELS_PER_BYTE = {"JPEG": 1024, "PNG": 8 * 1032, "GIF": 4096}
# Four channels of 32 bits, and room for a film behind the picture, such as telephones put there.
_MOST_BYTES_PER_PIXEL, _MOST_OTHER_BYTES = 16, 256 << 20
_MOST_TEXTS = 64


@dataclass(frozen=True, slots=True)
class Header:
    """Kind, size and orientation that the first bytes of a picture file claim.

    Attributes:
        kind: name of a ``formats.Kind``.
        width, height: pixels, before EXIF orientation.
        alpha: pixels may be transparent.
        deep: 16 bits per channel.
        inks: pixels are cyan, magenta, yellow and black.
    """

    kind: str
    width: int
    height: int
    alpha: bool = False
    deep: bool = False
    inks: bool = False

    @property
    def megapixels(self) -> float:
        """Millions of pixels."""
        return self.width * self.height / 1e6

    @property
    def decoding_bytes(self) -> int:
        """Memory that decoding takes at its peak: OpenCV hands over a copy of what it has decoded."""
        decoded = 3 if not self.alpha else 8 if self.deep else 4
        return self.width * self.height * decoded * 2


def read_header(file: BinaryIO) -> Header:
    """Read what kind of picture a file holds and how large it is; a few kilobytes are read.

    The file is one of ``HEADER_KINDS``.

    Raises:
        PhotoError: empty, of another kind, or the header is cut off; the message is the reason.
    """
    start = file.read(START_BYTES)
    if not start:
        raise PhotoError("zero bytes")
    try:
        header = _header(start, file)
    except (struct.error, IndexError):
        raise PhotoError("truncated header") from None
    if header.width < 1 or header.height < 1:
        raise PhotoError(f"damaged {header.kind} header: {header.width} x {header.height} pixels")
    return header


def expect_plausible(header: Header, size_bytes: int) -> None:
    """Hold a header against the length of its file.

    Raises:
        PhotoError: no picture of that size fits in, or no picture takes so much; the message is the reason.
    """
    pixels = header.width * header.height
    claim = f"damaged {header.kind}: {header.width} x {header.height} pixels"
    if max(header.width, header.height) > _MOST_SIDE_PX:
        raise PhotoError(f"{header.width} x {header.height} pixels, a side of more than {_MOST_SIDE_PX}")
    if pixels > size_bytes * _MOST_PIXELS_PER_BYTE.get(header.kind, pixels):
        raise PhotoError(f"{claim} in {size_bytes} bytes")
    if size_bytes > pixels * _MOST_BYTES_PER_PIXEL + _MOST_OTHER_BYTES:
        raise PhotoError(f"{claim} in {size_bytes / 1e9:.1f} GB")


def expect_whole_chunks(png: bytes) -> None:
    """Hold the lengths of a PNG's chunks against the file: OpenCV takes as much memory as one claims.

    Packed texts are counted: OpenCV unpacks each, 20 ms for one of 4 kB.

    Raises:
        PhotoError: a chunk is longer than what is left, or texts are too many; the message is the reason.
    """
    at, kind, texts = 8, b"", 0
    while kind != b"IEND":
        if at + 12 > len(png):
            raise PhotoError("truncated or damaged PNG")
        length, kind = struct.unpack_from(">I4s", png, at)
        at += length + 12
        texts += kind in (b"zTXt", b"iTXt")
        if texts > _MOST_TEXTS:
            raise PhotoError(f"more than {_MOST_TEXTS} packed texts in a PNG")


def _header(start: bytes, file: BinaryIO) -> Header:
    kind = kind_of(start)
    if kind is None or kind.name not in HEADER_KINDS:
        raise PhotoError("not a picture of a known kind")
    return _READERS[kind.name](start, file)


_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Real photos have a few dozen segments and hardly any garbage; a file of zeros would be read to its end.
_MOST_STEPS = 10_000
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})


def _jpeg(_start: bytes, file: BinaryIO) -> Header:
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
            height, width, components = struct.unpack(">xHHB", file.read(6))
            return Header("JPEG", width, height, inks=components == 4)
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


def _gif(start: bytes, file: BinaryIO) -> Header:
    """Screen and first picture, which may be larger than the screen: decoders then make room for it."""
    width, height = struct.unpack_from("<HH", start, 6)
    palette = start[10]
    file.seek(13 + (3 * 2 ** ((palette & 7) + 1) if palette & 0x80 else 0))
    for _ in range(_MOST_STEPS):
        block = file.read(1)
        if block == b",":
            left, top, w, h = struct.unpack("<HHHH", file.read(8))
            return Header("GIF", max(width, left + w), max(height, top + h), alpha=True)
        if block != b"!":
            break
        length = file.read(2)[1]
        while length:
            file.seek(length, os.SEEK_CUR)
            length = file.read(1)[0]
    raise PhotoError("damaged GIF: no picture in it")


def _webp(start: bytes, _file: BinaryIO) -> Header:
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


def _bmp(start: bytes, _file: BinaryIO) -> Header:
    (size,) = struct.unpack_from("<I", start, 14)
    width, height = struct.unpack_from("<HH" if size == 12 else "<ii", start, 18)
    return Header("BMP", width, abs(height))  # a negative height only means that the top row comes first


_READERS = dict(zip(HEADER_KINDS, (_jpeg, _png, _gif, _webp, _bmp), strict=True))
