"""Interlaced video as whole pictures: FFmpeg's bwdif, for frames that are marked as interlaced only."""

from __future__ import annotations

import av
from av.filter import Graph
from av.video.frame import VideoFrame

__all__ = ["Deinterlacer"]


class Deinterlacer:
    """Passes frames through until the first interlaced one; from then on each waits for the one after it.

    A picture of two fields shows moving things as combs, and swscale refuses it: OpenCV 4.13 and 4.14 return
    junk memory in its place.
    """

    def __init__(self) -> None:
        self._graph: Graph | None = None
        self._shape: tuple[object, ...] = ()

    def push(self, frame: VideoFrame) -> list[VideoFrame]:
        """Return the frames that are ready now."""
        if self._graph is None and not frame.interlaced_frame:
            return [frame]
        ready = []
        shape = (frame.width, frame.height, frame.format.name, frame.colorspace, frame.color_range)
        if shape != self._shape:
            ready, self._graph, self._shape = self.flush(), _graph(frame), shape
        assert self._graph is not None
        self._graph.vpush(frame)
        return ready + self._pull()

    def flush(self) -> list[VideoFrame]:
        """Return the frame that waited for one after it; nothing may be pushed any more."""
        if self._graph is None:
            return []
        self._graph.vpush(None)
        ready = self._pull()
        self._graph, self._shape = None, ()
        return ready

    def _pull(self) -> list[VideoFrame]:
        ready = []
        while self._graph is not None:
            try:
                ready.append(self._graph.vpull())
            except (av.error.BlockingIOError, av.error.EOFError):
                break
        return ready


def _graph(frame: VideoFrame) -> Graph:
    graph = Graph()
    graph.threads = 1
    source = graph.add(
        "buffer",
        video_size=f"{frame.width}x{frame.height}",
        pix_fmt=frame.format.name,
        time_base=str(frame.time_base),
        colorspace=str(int(frame.colorspace)),
        range=str(int(frame.color_range)),
    )
    graph.link_nodes(
        source, graph.add("bwdif", mode="send_frame", deint="interlaced"), graph.add("buffersink")
    )
    graph.configure()
    return graph
