"""Keep the newest messages for one viewer of the page, and give it no more than it can draw.

A viewer confirms what it has drawn, and gets no more than a few messages ahead of that, so that none wait in
the buffers of a slow network.
"""

from __future__ import annotations

import asyncio

from rtsearch.web.wire import MOST_WIDTH

__all__ = ["Viewer"]

_NOT_CONFIRMED = 2  # messages on their way to a viewer that confirms them


class Viewer:
    """One client of ``/ws``; belongs to the event loop.

    Args:
        confirms: the client confirms each message that it has drawn.

    Attributes:
        width: of the frames that it shows, px; larger ones are of no use to it.
    """

    def __init__(self, *, confirms: bool) -> None:
        self.width = MOST_WIDTH
        self._room = _NOT_CONFIRMED if confirms else None
        self._scenes: dict[int, bytes] = {}
        self._states: list[str] = []
        self._echo = ""
        self._changed = asyncio.Event()

    def offer(self, place: int, scene: bytes) -> None:
        """Leave the newest message about a source, in place of one that was not taken."""
        self._scenes[place] = scene
        self._changed.set()

    def tell(self, state: str) -> None:
        """Leave the newest state of the server."""
        self._states = [state]
        self._changed.set()

    def echo(self, text: str) -> None:
        """Send a text back, before anything else."""
        self._echo = text
        self._changed.set()

    def confirm(self) -> None:
        """Make room for one more message."""
        if self._room is not None:
            self._room = min(_NOT_CONFIRMED, self._room + 1)
            self._changed.set()

    async def take(self) -> bytes | str:
        """Wait for the next message."""
        while True:
            if self._echo:
                text, self._echo = self._echo, ""
                return text
            if self._states:
                return self._states.pop()
            if self._scenes and self._room != 0:
                if self._room is not None:
                    self._room -= 1
                return self._scenes.pop(next(iter(self._scenes)))
            self._changed.clear()
            await self._changed.wait()
