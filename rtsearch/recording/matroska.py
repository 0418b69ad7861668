"""Write raw pictures with their times as a minimal Matroska stream, which ffmpeg reads from a pipe.

Raw pictures alone have no times, so ffmpeg could only write a constant frame rate. Element names and numbers
follow RFC 9559.
"""

from __future__ import annotations

__all__ = ["picture_head", "stream_head"]

_TICK_NS = 1000
_UNTIL_THE_END = b"\x01" + b"\xff" * 7


def stream_head(wh: tuple[int, int], interval_s: float) -> bytes:
    """Return the bytes before the first picture.

    Args:
        wh: width and height of every picture, px; pixels are BGR with 8 bits per channel.
        interval_s: duration of the last picture.
    """
    video = _element("e0", _number("b0", wh[0]), _number("ba", wh[1]), _element("2eb524", b"BGR\x18"))
    track = _element(
        "ae",
        _number("d7", 1),  # TrackNumber
        _number("73c5", 1),  # TrackUID
        _number("83", 1),  # TrackType: video
        _number("23e383", round(interval_s * 1e9)),  # DefaultDuration
        _element("86", b"V_UNCOMPRESSED"),
        video,
    )
    begin = _element("1a45dfa3", _element("4282", b"matroska")) + bytes.fromhex("18538067") + _UNTIL_THE_END
    return begin + _element("1549a966", _number("2ad7b1", _TICK_NS)) + _element("1654ae6b", track)


def picture_head(t_s: float, size_bytes: int) -> bytes:
    """Return the bytes before one picture at ``t_s``, s: the head of a cluster with one block."""
    time = _number("e7", round(t_s * 1e9 / _TICK_NS))
    # Track 1, relative time 0, key frame.
    block = bytes.fromhex("a3") + _length(4 + size_bytes) + b"\x81\0\0\x80"
    return bytes.fromhex("1f43b675") + _length(len(time) + len(block) + size_bytes) + time + block


def _element(name: str, *content: bytes) -> bytes:
    data = b"".join(content)
    return bytes.fromhex(name) + _length(len(data)) + data


def _number(name: str, value: int) -> bytes:
    return _element(name, value.to_bytes(8, "big"))


def _length(count: int) -> bytes:
    return (count | 1 << 56).to_bytes(8, "big")
