"""Tells which pictures of a damaged video are torn, and how many are lost."""

from __future__ import annotations

from av.video.frame import VideoFrame

from rtsearch.sources.decoder import Decoder

__all__ = ["Damage"]

_HEALS = 300
"""Pictures after which a video without keyframes, refreshed part by part, is taken to be whole again."""


class Damage:
    """Follows the errors of a decoder from picture to picture.

    A picture of which parts are missing is torn, and so are those that are predicted from it: all until the
    next keyframe.

    Attributes:
        torn: number of torn pictures so far.
    """

    def __init__(self) -> None:
        self.torn = 0
        self._packets = 0
        self._since: int | None = None  # pictures since the last error, or None where all is well

    def is_torn(self, frame: VideoFrame, decoder: Decoder) -> bool:
        """Look at the next picture of a decoder."""
        before, self._packets = self._packets, decoder.lost + decoder.marked
        if frame.key_frame and not frame.is_corrupt:  # what was lost before it does not matter any more
            self._since = None
        elif self._packets > before or frame.is_corrupt:
            self._since = 0
        elif self._since is not None:
            self._since = self._since + 1 if self._since < _HEALS else None
        self.torn += self._since is not None
        return self._since is not None
