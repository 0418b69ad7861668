"""Base class of sources: iterators of frames, context managers, with a few facts about themselves."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Literal, Self

from rtsearch._util.closing import Closing
from rtsearch._util.masking import masked
from rtsearch.types import Frame

__all__ = ["Source", "Status"]

Status = Literal["ok", "reconnecting"]


class Source(Closing):
    """Pictures, one after the other. Iterating blocks until the next one is there.

    ``close`` may be called from any thread, any number of times; it wakes an iteration that waits, which then
    ends.

    Attributes:
        live: True where pictures come by themselves and the newest counts (camera, stream, screen); False
            where the source waits for whoever reads it, so that every picture is seen (file, photo, folder).
        camera: True for a camera or a stream, before which people may stand who expect a mirror.
        slides: True where each picture is there to be looked at, for seconds (photos).
        paced: True where pictures are there already and the wall clock says when each is due.
        seekable: True where there is a timeline to seek in.
        loop: begin again at the end; only files and folders do.
        name: what to call it on the screen and in messages; secrets are masked.
        fps: nominal frames per second, or None.
        frames: how many frames there are, as the container promises, or None.
        wh: width and height of the first picture, px; later pictures may have another size.
        begins_s: presentation time of the first picture, s.
        sound: the file whose sound belongs to the pictures, at their presentation times, or None.
    """

    live: bool = False
    camera: bool = False
    slides: bool = False
    paced: bool = False
    seekable: bool = False
    loop: bool = False

    def __init__(
        self, name: str, *, fps: float | None = None, frames: int | None = None, wh: tuple[int, int] = (0, 0)
    ) -> None:
        self.name = masked(name)
        self.fps = fps
        self.frames = frames
        self.wh = wh
        self.begins_s = 0.0
        self.sound: Path | None = None

    @property
    def status(self) -> Status:
        """``reconnecting`` while the source is lost and looked for; its last good picture stays meanwhile."""
        return "ok"

    def __iter__(self) -> Self:
        return self

    @abstractmethod
    def __next__(self) -> Frame:
        """The next picture.

        Raises:
            StopIteration: the source has ended or was closed.
        """

    def seek(self, seconds: float) -> bool:
        """Go on with the first picture at or after a presentation time; False where there is no timeline."""
        return False

    def resume(self) -> None:  # only the wall clock has something to make up for
        """After a pause: go on from here as if no time had passed."""

    @abstractmethod
    def close(self) -> None:
        """Give back the device, file or connection; returns within a few seconds and leaves no thread."""
