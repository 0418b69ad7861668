"""JPEG pictures out of a stream of bytes, whatever stands between them, and decoded where they are whole.

Cameras disagree about multipart streams: lengths are missing or wrong, boundaries differ from what the header
says, the end marker is missing, or zeros and comments follow it. So the markers of JPEG itself are followed
(ITU-T T.81, B.1), and of the text between pictures only the length is believed, where it fits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BytesIO
from typing import cast

import av
import cv2
import numpy as np
from av.codec.context import CodecContext
from av.packet import Packet

from rtsearch.errors import PhotoError
from rtsearch.images.colour_profiles import to_srgb
from rtsearch.images.embedded import embedded
from rtsearch.images.headers import expect_plausible, expect_whole_chunks, read_header
from rtsearch.sources.converter import MAX_PIXELS
from rtsearch.types import U8Array

__all__ = ["Jpegs", "decode_picture"]

_START, _END = b"\xff\xd8", b"\xff\xd9"
_LENGTH = re.compile(rb"content-length:[ \t]*(\d{1,9})[ \t]*\r?\n", re.IGNORECASE)
_MARKER = re.compile(rb"\xff[^\x00\xff]")  # garbage before it is passed over, as decoders do
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # a marker that does not belong to the scan
_MOST_BYTES = 64 << 20
_MOST_BETWEEN = 64 << 10


class Jpegs:
    """Cuts a stream of bytes into JPEG pictures.

    A picture ends with its end marker, else with the bytes that its part is said to have, else where the next
    one begins.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self._place = 0  # up to where the picture at the beginning of the data is followed
        self._scan = False  # the place is inside of compressed data
        self._length: int | None = None  # of the picture, as the text before it says

    @property
    def missing(self) -> int:
        """Number of bytes that the picture lacks, where its part says how many it has."""
        return max(0, (self._length or 0) - len(self._data)) if self._place else 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Return the pictures that are complete with these bytes."""
        self._data += data
        while self._find_start():
            end = self._find_end()
            if end is None:
                if len(self._data) > _MOST_BYTES:  # no picture is so large
                    self._drop(len(self._data))
                return
            picture = bytes(self._data[:end])
            self._drop(end)
            yield picture if picture.endswith(_END) else picture + _END

    def _find_start(self) -> bool:
        if self._place:
            return True
        start = self._data.find(_START + b"\xff")
        if start < 0:
            if len(self._data) > _MOST_BETWEEN:
                del self._data[: -_MOST_BETWEEN // 2]
            return False
        lengths = _LENGTH.findall(self._data, 0, start)
        self._length = int(lengths[-1]) if lengths and int(lengths[-1]) <= _MOST_BYTES else None
        self._drop(start)
        self._place = 2
        return True

    def _drop(self, end: int) -> None:
        del self._data[:end]
        self._place, self._scan = 0, False

    def _find_end(self) -> int | None:
        """Return where the picture ends, or None where that is not known yet."""
        data, length = self._data, self._length or 0
        if length > len(data):
            return None
        if length and data.endswith(_END, 0, length):  # as of most cameras; following markers takes 0.5 ms
            return length
        while True:
            marker = _scan_end(data, self._place) if self._scan else _MARKER.search(data, self._place)
            if marker is None:
                self._place = max(self._place, len(data) - 1)
                return self._said_end()
            code = data[marker.end() - 1]
            if code == _END[1]:
                return marker.end()
            if code == _START[1]:  # of the next picture, this one has no end
                return self._trimmed(marker.start())
            if code == 0x01 or 0xD0 <= code <= 0xD7:
                self._place = marker.end()
                continue
            if len(data) < marker.end() + 2:
                return self._said_end()
            self._place = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")
            self._scan = code == 0xDA

    def _said_end(self) -> int | None:
        """Return the end of a picture without end marker, where its part is said to end."""
        if self._length is None or not self._scan:
            return None
        after = self._data[self._length : self._length + 2]
        return self._length if bytes(after) in (b"\r\n", b"--") else None

    def _trimmed(self, end: int) -> int:
        """Return where the text of a part's header begins, before the next picture."""
        boundary = self._data.rfind(b"\r\n--", max(0, end - 1000), end)
        return boundary if boundary > 0 else end


def _scan_end(data: bytearray, place: int) -> re.Match[bytes] | None:
    """Return the first marker after compressed data; a search for single bytes takes a fifth of the time."""
    while (place := data.find(b"\xff", place)) >= 0:
        if (marker := _AFTER_SCAN.match(data, place)) is not None:
            return marker
        place += 1
    return None


def decode_picture(data: bytes) -> U8Array | None:
    """Decode a picture that came over a network.

    Returns:
        (H, W, 3) uint8 BGR, colours of sRGB; None where it is damaged, ends early, or claims a size beyond
        reason.
    """
    try:
        header = read_header(BytesIO(data))
        expect_plausible(header, len(data))
        if header.kind == "PNG":
            expect_whole_chunks(data)
    except PhotoError:
        return None
    if header.width * header.height > MAX_PIXELS:
        return None
    try:
        bgr = cast(U8Array | None, cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))
    except cv2.error:
        return None
    if bgr is None or (header.kind == "JPEG" and _ends_flat(bgr) and not _is_complete(data)):
        return None
    if header.kind in ("JPEG", "PNG", "WebP") and (icc := embedded(data, header.kind).icc):
        to_srgb(bgr, icc)
    return bgr


def _ends_flat(bgr: U8Array) -> bool:
    """Return True where the last row has one colour only: so ends what libjpeg makes of half a picture."""
    return bool((bgr[-1] == bgr[-1, -1]).all())


def _is_complete(jpeg: bytes) -> bool:
    """Return False where the compressed data ends early, which FFmpeg tells and OpenCV does not."""
    decoder = CodecContext.create("mjpeg", "r")
    decoder.options = {"err_detect": "explode"}
    decoder.thread_count = 1
    try:
        return bool(decoder.decode(Packet(jpeg)))
    except av.error.PatchWelcomeError:
        return True  # a kind that FFmpeg does not decode
    except av.FFmpegError:
        return False
