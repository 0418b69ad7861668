"""One source of a run, put together of three parts, each of which belongs to one thread.

    capture side (capture thread) -> search side (search thread) -> view (main thread)
         ^ └─────────────────────────── newest frame ──────────────────^ │
         └──────────────────────────────── orders ───────────────────────┘

A single source fills the picture; several have a cell each, with strips of their own.
"""

from __future__ import annotations

import queue
from dataclasses import dataclass

from rtsearch.live.capture_side import CaptureSide, Orders
from rtsearch.live.live_frame import Latest, LiveFrame
from rtsearch.live.report import Tally
from rtsearch.live.search_side import SearchSide
from rtsearch.live.shared import Shared
from rtsearch.live.view import View
from rtsearch.sources import Source

__all__ = ["Channel", "open_channel"]


@dataclass(frozen=True, slots=True)
class Channel:
    """One source of a run.

    Attributes:
        source: opened.
        capture, search, view: its parts.
        newest: the frame that was read last.
        tally: of its frames.
    """

    source: Source
    capture: CaptureSide
    search: SearchSide
    view: View
    newest: Latest[LiveFrame]
    tally: Tally

    def drop(self, lost: LiveFrame) -> None:
        """Count a frame that was lost on its way, unless it makes way for another place in the source."""
        newest = self.newest.peek()
        if newest is not None and newest.epoch == lost.epoch:
            self.tally.add(dropped=1)


def open_channel(place: int, source: Source, shared: Shared) -> Channel:
    """Put the parts of a source together.

    Args:
        place: number of the source.
        source: opened.
        shared: with the other sources.
    """
    orders: Orders = queue.SimpleQueue()
    newest, tally = Latest[LiveFrame](), Tally()
    return Channel(
        source,
        CaptureSide(place, source, shared.controls, orders, newest, tally),
        SearchSide(shared.live_index, shared.search, live=source.live),
        View(place, source, shared, orders, newest, tally),
        newest,
        tally,
    )
