"""Encode H.264 in this process, by PyAV, where ffmpeg is not installed.

The file grows in fragments as that of ffmpeg does, and plays up to the last one whatever ends the process.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

from rtsearch.errors import RecordError
from rtsearch.recording.ffmpeg import FRAGMENT_US, TICKS_PER_S, file_url
from rtsearch.types import U8Array

if TYPE_CHECKING:
    from av import VideoFrame
    from av.video.stream import VideoStream

__all__ = ["PyavSink"]

_CODEC = "libx264"


class PyavSink:
    """H.264 with the pictures' own times. A frame of 1280x720 costs as much CPU as in ffmpeg, but here.

    Args:
        path: the .mp4 to write.
        wh: width and height of the pictures, px; even.
        crf: constant rate factor, 0 to 51.

    Raises:
        RecordError: this build of PyAV has no H.264 encoder, or the file cannot be written.
    """

    def __init__(self, path: Path, wh: tuple[int, int], crf: int) -> None:
        import av  # a second where it is imported first

        if _CODEC not in av.codecs_available:
            raise RecordError(f"{path}: this build of PyAV has no H.264 encoder: install ffmpeg")
        in_fragments = {
            "movflags": "+empty_moov+default_base_moof",
            "frag_duration": str(FRAGMENT_US),
            "flush_packets": "1",
        }
        self._av = av
        self._container = av.open(file_url(path), "w", format="mp4", options=in_fragments)
        stream = self._container.add_stream(_CODEC, options={"preset": "ultrafast", "crf": str(crf)})
        self._stream = cast("VideoStream", stream)
        self._stream.width, self._stream.height = wh
        self._stream.pix_fmt = "yuv420p"
        self._tick_s = Fraction(1, TICKS_PER_S)
        self._stream.time_base = self._stream.codec_context.time_base = self._tick_s
        # Ctrl-C in the main thread must not come between an encoded picture and the file.
        self._worker = ThreadPoolExecutor(1, "encode")
        self._finished: list[Future[None]] = []

    def write(self, bgr: U8Array, t_s: float) -> None:
        """Append a contiguous picture at a time later than that of the previous picture."""
        frame = self._av.VideoFrame.from_ndarray(bgr, format="bgr24")
        frame.time_base = self._tick_s
        frame.pts = round(t_s * TICKS_PER_S)
        self._worker.submit(self._mux, frame).result()

    def close(self) -> None:
        """Finish the file; may be called again after an interruption by Ctrl-C."""
        if not self._finished:
            self._finished = [
                self._worker.submit(self._mux, None),
                self._worker.submit(self._container.close),
            ]
        for step in self._finished:
            step.result()
        self._worker.shutdown()

    def abort(self) -> None:
        """Close the file as it is."""
        self._worker.submit(self._container.close).result()
        self._worker.shutdown()

    def _mux(self, frame: VideoFrame | None) -> None:
        for packet in self._stream.encode(frame):
            self._container.mux(packet)
