"""The lines about a run beside the frame."""

from __future__ import annotations

import math
import time
from pathlib import Path

from rtsearch._util.metrics import Meter
from rtsearch._util.wording import counted
from rtsearch.library.index import SearchIndex
from rtsearch.memory.live_memory import LiveMemory
from rtsearch.sources import Source
from rtsearch.types import Frame

__all__ = ["NoteTimer", "run_lines", "source_lines"]

_NOTES_S = 0.5  # figures that change with every frame cannot be read; also by the time that frames are at


class NoteTimer:
    """Tells when the notes may change: twice a second, and where single pictures are looked at with each."""

    def __init__(self) -> None:
        self._by_clock_s = -math.inf
        self._by_source_s = 0.0

    def is_due(self, at_s: float, *, at_once: bool) -> bool:
        """Return True if the notes are to be written anew, and count from here.

        Args:
            at_s: time of the frame in its source.
            at_once: there is something that cannot wait.
        """
        now_s = time.monotonic()
        gone_s = max(now_s - self._by_clock_s, abs(at_s - self._by_source_s))
        if not at_once and gone_s < _NOTES_S:
            return False
        self._by_clock_s, self._by_source_s = now_s, at_s
        return True


def source_lines(source: Source, frame: Frame, length_s: float | None) -> list[str]:
    """Return the lines about a source: its name, where it is, and that it is lost."""
    lines = [Path(source.name).name or source.name]
    if frame.pts_s is not None and length_s is not None:
        lines[0] += f"    {_clock(frame.pts_s - source.begins_s)} of {_clock(length_s)}"
    if source.status != "ok":  # first: a small cell has room for one or two
        lines.append("connection lost, trying again")
    return lines


def run_lines(index: SearchIndex, meter: Meter, memory: LiveMemory | None) -> list[str]:
    """Return the lines about what is searched and how fast."""
    searched, photos = counted(len(index), "object"), counted(index.library.photo_count, "photo")
    lines = [f"{searched} from {photos}"] if len(index) or memory is None else []
    if memory is not None:
        lines.append(f"{counted(len(memory.recall), 'object')} remembered")
    if (fps := meter.fps()) > 0:
        lines.append(f"{fps:.1f} frames/s    {meter.quantiles_ms('latency')['p50']:.0f} ms")
    return lines


def _clock(seconds: float) -> str:
    """Minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
