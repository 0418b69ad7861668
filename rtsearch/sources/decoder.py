"""Files and streams by PyAV: packets are read and decoded; damaged ones are counted and passed over.

    open -> demux -> decode -> deinterlace -> VideoFrame;   seek: to a keyframe before the time asked for

FFmpeg checks the limits of time itself, ten times a second while it waits for the network.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping
from fractions import Fraction

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from rtsearch._util.closing import Closing
from rtsearch.sources.capture import NOTHING_CAME
from rtsearch.sources.converter import MAX_PIXELS, mend_tags
from rtsearch.sources.deinterlace import Deinterlacer

__all__ = ["Decoder", "local", "reason"]

# Decoding in one thread costs the least CPU: 2.2 ms per 720p H.264 frame against 2.9 with one per core, and
# frame threads would add a delay of one frame each. Above Full HD one thread may be too slow for a file.
_ONE_THREAD_MAX_PX = 1920 * 1088

_MOST_ERRORS = 1000
"""Errors of a container in a row that are passed over; a file of noise has no end of them."""

av.logging.set_libav_level(-8)  # FFmpeg prints a line on stderr for each damaged picture otherwise


class Decoder(Closing):
    """The pictures of one video stream, in the order of their presentation.

    Args:
        address: a file as ``file:/path``, or a URL.
        options: of FFmpeg's demuxer and protocol.
        limits_s: seconds for opening, and for each read afterwards; None waits for ever.
        threads: of the decoder; 0 chooses by the size of the pictures.

    Attributes:
        container: opened by PyAV.
        stream: whose pictures are decoded.
        lost: packets that could not be decoded, about one picture each.
        marked: packets that are marked as damaged by the container.

    Raises:
        av.FFmpegError: it cannot be opened.
        LookupError: there is no video stream in it that can be decoded.
    """

    def __init__(
        self,
        address: str,
        *,
        options: Mapping[str, str],
        limits_s: tuple[float | None, float | None],
        threads: int = 0,
    ) -> None:
        largest = {"max_pixels": str(MAX_PIXELS)}
        self.container: InputContainer = av.open(
            address, "r", options={**largest, **options}, timeout=limits_s, metadata_errors="replace"
        )
        self.lost = self.marked = 0
        try:
            self.stream = _video_stream(self.container)
        except BaseException:
            self.container.close()
            raise
        for stream in self.container.streams:
            if stream.index != self.stream.index:
                stream.discard = Discard.all
        decoder = self.stream.codec_context
        decoder.options = largest
        pixels = decoder.width * decoder.height
        many = threads == 0 and pixels > _ONE_THREAD_MAX_PX
        decoder.thread_type = "AUTO" if many else "SLICE"
        decoder.thread_count = 0 if many else max(1, threads)
        self._packets: Iterator[Packet[VideoStream]] = self.container.demux(self.stream)
        self._frames: deque[VideoFrame] = deque()
        self._deinterlacer = Deinterlacer()
        self._ended = False

    @property
    def fps(self) -> float | None:
        """Nominal frames per second."""
        rates = (self.stream.guessed_rate, self.stream.average_rate)
        return next((float(rate) for rate in rates if rate and 0 < rate < 1000), None)

    @property
    def pixel_aspect(self) -> Fraction | None:
        """Width by height of the pixels, as the container says, or else what is decoded."""
        return self.stream.sample_aspect_ratio or self.stream.codec_context.sample_aspect_ratio

    @property
    def time_base(self) -> Fraction:
        """Seconds per unit of the stream's times."""
        return self.stream.time_base or Fraction(1, 1000)

    def grab(self) -> VideoFrame | None:
        """Return the next picture, not yet converted; None at the end.

        Raises:
            av.FFmpegError: nothing more can be read, or nothing came in time.
        """
        while not self._frames and self.step():
            pass
        return self.ready()

    def ready(self) -> VideoFrame | None:
        """Return the next picture that is decoded already, if there is one."""
        return self._frames.popleft() if self._frames else None

    def step(self) -> bool:
        """Read and decode one packet, unless pictures wait already; False at the end.

        Raises:
            av.FFmpegError: nothing more can be read, or nothing came in time.
        """
        if self._frames:
            return True
        packet = None if self._ended else self._read()
        if packet is not None:
            self._frames.extend(self._decode(packet))
            return True
        if not self._ended:
            self._ended = True
            self._frames.extend(self._deinterlacer.flush())
        return bool(self._frames)

    def ask_anew(self) -> None:
        """Let PyAV read the limits of time again, which it does when packets are asked for."""
        self._packets = self.container.demux(self.stream)

    def seek(self, seconds: float) -> bool:
        """Go on at the keyframe before a time of the container; False where it cannot be entered there."""
        self._frames.clear()
        self._deinterlacer = Deinterlacer()
        self._ended = False
        try:
            self.container.seek(int(seconds / self.time_base), stream=self.stream)
        except av.FFmpegError:
            return False
        self.ask_anew()
        return True

    def close(self) -> None:
        """Close the file or connection; no other thread may be inside of a call."""
        self._frames.clear()
        self.container.close()

    def _read(self) -> Packet[VideoStream] | None:
        for _ in range(_MOST_ERRORS):
            try:
                return next(self._packets, None)
            except av.error.InvalidDataError:
                self.lost += 1
                self.ask_anew()
        return None

    def _decode(self, packet: Packet[VideoStream]) -> list[VideoFrame]:
        self.marked += packet.is_corrupt
        try:
            frames = self.stream.codec_context.decode(packet)
        except av.FFmpegError:
            self.lost += 1
            return []
        for frame in frames:
            mend_tags(frame)
        return [ready for frame in frames for ready in self._deinterlacer.push(frame)]


def local(path: str) -> str:
    """Return the address of a local file, which is taken for nothing else: an option, a pattern, a URL."""
    return f"file:{os.path.abspath(path)}"  # noqa: PTH100  absolute() leaves ".." in


def reason(error: av.FFmpegError) -> str:
    """Return why FFmpeg has failed, without the address, which may hold a password."""
    if isinstance(error, av.error.ExitError):
        return NOTHING_CAME
    return error.strerror or type(error).__name__


def _video_stream(container: InputContainer) -> VideoStream:
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream) or stream.codec_context is None:
        raise LookupError("no video stream")
    if stream.disposition & Disposition.attached_pic:
        raise LookupError("no video stream but the picture of a cover")
    return stream
