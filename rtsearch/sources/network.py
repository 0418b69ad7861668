"""Streams of all protocols that FFmpeg speaks, by PyAV."""

from __future__ import annotations

import os
import threading
import time
from typing import cast

from av import FFmpegError

from rtsearch.sources.capture import LostError, Taken
from rtsearch.sources.converter import Converter
from rtsearch.sources.damage import Damage
from rtsearch.sources.decoder import Decoder, reason

__all__ = ["RemoteDecoder", "StreamCapture"]

# What comes from the network may name other addresses, but no local file, pipe or device: playlists do.
_PROTOCOLS = (
    "http,https,httpproxy,tls,tcp,udp,rtp,srtp,rtsp,rtsps,rtmp,rtmps,rtmpt,rtmpts,rtmpe,rtmpte,ffrtmphttp,"
)
_PROTOCOLS += "ffrtmpcrypt,srt,mmsh,mmst,crypto,data"
_ENVIRONMENT = "OPENCV_FFMPEG_CAPTURE_OPTIONS"  # of "key;value|key;value"; the name is known from OpenCV
# Pictures of a camera come whole by TCP; some cameras send by UDP only.
_OPTIONS = {"rtsp_flags": "prefer_tcp", "overrun_nonfatal": "1", "analyzeduration": "3000000"}
_SEGMENT_S = 30.0
"""HLS says nothing while a segment of it, often 2 to 10 s, is being recorded; see RFC 8216, 6.3.4."""
_JUMP_S = 10.0


class _Seconds:
    """A time limit that PyAV reads anew whenever packets are asked for."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __float__(self) -> float:
        return self.seconds


class RemoteDecoder(Decoder):
    """A decoder of a URL, whose limit of time for each read can be changed.

    Args:
        url: of a protocol that FFmpeg speaks.
        open_s: limit for opening, and for reading until another one is set.

    Raises:
        LostError: it cannot be opened; the message is the reason.
    """

    def __init__(self, url: str, open_s: float) -> None:
        self._limit = _Seconds(open_s)
        options = {"protocol_whitelist": _PROTOCOLS, **(_users_own() or _OPTIONS)}
        try:
            super().__init__(url, options=options, limits_s=(open_s, cast(float, self._limit)), threads=1)
        except FFmpegError as error:
            raise LostError(reason(error)) from None
        except LookupError as error:
            raise LostError(str(error)) from None

    @property
    def segmented(self) -> bool:
        """Tell whether the stream comes in segments, each as fast as the network is."""
        return self.container.format.name.startswith(("hls", "dash"))

    @property
    def finished(self) -> bool:
        """Tell whether the stream has a length, as a file on a server has."""
        if self.segmented:
            return self.container.duration is not None
        return (self.container.size or 0) > 0

    def limit(self, seconds: float) -> None:
        """Set the limit for each of the following reads."""
        if seconds != self._limit.seconds:
            self._limit.seconds = seconds
            self.ask_anew()


def _users_own() -> dict[str, str]:
    pairs = (pair.partition(";") for pair in os.environ.get(_ENVIRONMENT, "").split("|"))
    return {key: value for key, _, value in pairs if key}


class StreamCapture:
    """The pictures of a live stream as they come, those of a segmented one at their own speed.

    Args:
        decoder: opened; closed together with this.
        converter: of its pictures.
    """

    freezes = True

    def __init__(self, decoder: RemoteDecoder, converter: Converter) -> None:
        self.fps = decoder.fps
        self._decoder = decoder
        self._converter = converter
        self._damage = Damage()
        self._pace = _Pace() if decoder.segmented or decoder.finished else None
        self._stop = threading.Event()

    def read(self, limit_s: float) -> Taken:
        """See ``Capture``; returns without a picture after each packet that completes none."""
        self._decoder.limit(max(limit_s, _SEGMENT_S) if self._pace else limit_s)
        try:
            if not self._decoder.step():
                raise LostError("the stream has ended")
        except FFmpegError as error:
            raise LostError(reason(error)) from None
        frame = self._decoder.ready()
        if frame is None:
            return Taken(None)
        torn = self._damage.is_torn(frame, self._decoder)
        if self._pace is not None and frame.time is not None:
            self._stop.wait(self._pace.wait_s(frame.time, time.monotonic()))
        try:
            return Taken(self._converter.bgr(frame, self._decoder.pixel_aspect), torn)
        except FFmpegError:
            return Taken(None)

    def interrupt(self) -> None:
        """See ``Capture``; a read from the network goes on until its limit."""
        self._stop.set()

    def release(self) -> None:
        """See ``Capture``."""
        self._decoder.close()


class _Pace:
    """The wall clock of a stream that comes in bursts: after a gap all is as late as the latest picture."""

    def __init__(self) -> None:
        self._origin_s: float | None = None  # clock minus presentation time

    def wait_s(self, pts_s: float, now_s: float) -> float:
        """Return how long a picture has to wait until its time has come."""
        early_s = 0.0 if self._origin_s is None else self._origin_s + pts_s - now_s
        if self._origin_s is None or not 0 <= early_s < _JUMP_S:
            self._origin_s = now_s - pts_s
            return 0.0
        return early_s
