"""The capture thread's part of a source: frames are read, in a pause only those that are asked for."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import TypeAlias, cast

import cv2

from rtsearch._util.metrics import Meter
from rtsearch.live.controls import Controls
from rtsearch.live.live_frame import Latest, LiveFrame
from rtsearch.live.report import Tally
from rtsearch.sources import Source
from rtsearch.types import Frame, U8Array

__all__ = ["CaptureSide", "GoTo", "NextAfter", "Order", "Orders"]

_POLL_S = 0.02  # how often a source that stands still looks whether it may go on


@dataclass(frozen=True, slots=True)
class GoTo:
    """Read on at a time, s from the beginning of the source; frames from there on carry this epoch."""

    epoch: int
    to_s: float


@dataclass(frozen=True, slots=True)
class NextAfter:
    """Read one more frame in a pause, unless one after that of this number has been read already."""

    frame_id: int


Order: TypeAlias = GoTo | NextAfter
Orders: TypeAlias = "queue.SimpleQueue[Order]"


class CaptureSide:
    """Reads the frames of one source; belongs to its capture thread.

    Args:
        place: number of the source.
        source: opened.
        controls: of the run.
        orders: from the main thread.
        newest: gets every frame that was read.
        tally: counts them, and those that the source left out.
    """

    def __init__(
        self,
        place: int,
        source: Source,
        controls: Controls,
        orders: Orders,
        newest: Latest[LiveFrame],
        tally: Tally,
    ) -> None:
        self._place = place
        self._source = source
        self._controls = controls
        self._orders = orders
        self._newest = newest
        self._tally = tally
        self._epoch = 0
        self._read_id = -1  # number of the frame read last
        self._skips = False  # the frame read last is torn
        self._expected_id: int | None = None  # number of the next frame if none is left out; None: any

    def frames(self, meter: Meter, halt: threading.Event) -> Generator[LiveFrame]:
        """Read frames until the source ends.

        Args:
            meter: gets the time of each read as stage ``capture``.
            halt: ends the standing still of a pause.
        """
        while True:
            self._obey(halt)
            self._source.loop = self._controls.now.loop
            with meter.stage("capture"):
                frame = next(self._source, None)
            if frame is None:
                return
            read = self._handed_on(frame)
            self._skips = frame.torn  # a torn picture is shown, but not searched
            if not frame.torn:
                yield read

    def _obey(self, halt: threading.Event) -> None:
        """Go where the user wants to; in a pause, stand still until a frame is asked for.

        A file that is played by the wall clock stands still, but for torn pictures, which a step passes over;
        a camera goes on.
        """
        wanted = self._take_orders()
        if self._skips or not (self._source.paced and self._controls.now.paused):
            return
        while self._controls.now.paused and not wanted and not halt.is_set():
            wanted = self._take_orders(_POLL_S)
        self._source.resume()
        self._expected_id = None

    def _take_orders(self, wait_s: float = 0) -> bool:
        """Carry out the orders that are there; return True if one more frame is to be read in a pause."""
        wanted, goes = False, None
        try:
            order = self._orders.get(timeout=wait_s) if wait_s else self._orders.get_nowait()
            while True:
                if isinstance(order, GoTo):
                    wanted, goes = True, order  # of several places the last one counts
                else:
                    wanted = wanted or order.frame_id >= self._read_id
                order = self._orders.get_nowait()
        except queue.Empty:
            pass
        if goes is not None:
            self._source.seek(self._source.begins_s + goes.to_s)
            self._epoch = goes.epoch
            self._expected_id = None
        return wanted

    def _handed_on(self, frame: Frame) -> LiveFrame:
        left_out = 0 if self._expected_id is None else frame.id - self._expected_id
        self._tally.add(frames_in=1, dropped=left_out)
        self._read_id, self._expected_id = frame.id, frame.id + 1
        mirrored = self._controls.now.mirror and self._source.camera
        if mirrored:
            frame = replace(frame, bgr=cast(U8Array, cv2.flip(frame.bgr, 1)))
        read = LiveFrame(self._place, self._epoch, frame, mirrored)
        self._newest.put(read)
        return read
