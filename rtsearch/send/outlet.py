"""Send the newest scene or picture to a peer, in a thread of its own.

put(newest) -> room for one -> thread: open peer, send, send, ... -> peer
                                 └── failed: close, wait (longer each time), open again

``put`` never waits. What is replaced before it is sent, and what fails, is dropped and counted.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from rtsearch._util.closing import Closing
from rtsearch._util.wording import one_line
from rtsearch.errors import SendError

__all__ = ["Outlet", "OutletReport", "Peer", "ReaderGoneError"]

_log = logging.getLogger(__name__)

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)

_FIRST_WAIT_S = 0.5
_JOIN_S = 3.0  # a peer that stalls may hold its thread for as long as a request takes
_MOST_SAID = 200


class ReaderGoneError(SendError):
    """The reader of standard output has gone; nothing more can be sent."""


class Peer(Protocol[T_contra]):
    """Receiver of scenes or pictures; belongs to the thread of its outlet.

    Attributes:
        longest_wait_s: longest time between two tries to open it.
        known_after: number of sends without an error after which it is known that they arrive.
    """

    longest_wait_s: float
    known_after: int

    def open(self) -> None:
        """Connect.

        Raises:
            OSError: it cannot be reached, or refuses.
        """
        ...

    def send(self, newest: T_contra, /) -> None:
        """Send a scene or picture.

        Raises:
            OSError: it cannot be sent; the peer is closed and opened again.
        """
        ...

    def finish(self) -> None:
        """Say that nothing more will come; called once, at the end of a run, while the peer is open."""
        ...

    def close(self) -> None:
        """Disconnect; also after a failed ``open``, and repeatedly."""
        ...


@dataclass(frozen=True, slots=True)
class OutletReport:
    """Figures of an outlet.

    Attributes:
        name: its address, without secrets.
        sent: scenes or pictures that were sent.
        dropped: scenes or pictures that came too fast, or could not be sent.
        problem: the reason why nothing can be sent at the moment; "" for none.
    """

    name: str
    sent: int
    dropped: int
    problem: str


class Outlet(Closing, Generic[T]):
    """Thread that sends the newest scene or picture to a peer.

    Args:
        name: address without secrets.
        peer_of: makes the peer, which shortens its waits when the event is set: the run ends.
        ended: called when the peer can never be sent to again.
    """

    def __init__(
        self, name: str, peer_of: Callable[[threading.Event], Peer[T]], ended: Callable[[], None]
    ) -> None:
        self.name = name
        self._closing = threading.Event()
        self._peer = peer_of(self._closing)
        self._ended = ended
        self._changed = threading.Condition()
        self._newest: T | None = None
        self._sent = self._dropped = 0
        self._problem = ""
        self._thread = threading.Thread(target=self._work, name=f"send {name}", daemon=True)
        self._thread.start()

    def put(self, newest: T) -> None:
        """Send this next, in place of what was not sent yet; returns at once."""
        with self._changed:
            self._dropped += self._newest is not None
            self._newest = newest
            self._changed.notify()

    def report(self) -> OutletReport:
        """Return its figures so far."""
        with self._changed:
            return OutletReport(self.name, self._sent, self._dropped, self._problem)

    def close(self) -> None:
        """Send what waits, say good-bye and end the thread; one that its peer holds up is left behind."""
        self._closing.set()
        with self._changed:
            self._changed.notify()
        self._thread.join(_JOIN_S)
        if self._thread.is_alive():
            _log.warning("%s does not answer; what was not sent is left out", self.name)
        with self._changed:
            self._dropped += self._newest is not None
            self._newest = None

    def _work(self) -> None:
        wait_s = _FIRST_WAIT_S
        while True:
            before = self._sent
            try:
                self._send_all()
                return
            except ReaderGoneError as error:
                self._tell(error)
                self._ended()
                return
            except OSError as error:
                self._tell(error)
            except Exception as error:
                _log.debug("outlet %s failed", self.name, exc_info=True)
                self._tell(error, ends=True)
                return
            finally:
                self._peer.close()
            wait_s = _FIRST_WAIT_S if self._sent > before else wait_s
            if self._closing.wait(min(wait_s, self._peer.longest_wait_s)):
                return
            wait_s *= 2

    def _send_all(self) -> None:
        """Send until the outlet is closed."""
        self._peer.open()
        before = self._sent
        while (newest := self._take()) is not None:
            try:
                self._peer.send(newest)
            except BaseException:
                with self._changed:
                    self._dropped += 1
                raise
            with self._changed:
                self._sent += 1
                works = bool(self._problem) and self._sent - before >= self._peer.known_after
                self._problem = "" if works else self._problem
            if works:
                _log.warning("%s: works again", self.name)
        self._peer.finish()

    def _take(self) -> T | None:
        """Wait for something to send; None once the outlet is closed and nothing waits."""
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not None or self._closing.is_set())
            newest, self._newest = self._newest, None
            return newest

    def _tell(self, error: Exception, *, ends: bool = False) -> None:
        """Keep the problem, and log it unless it is the one that was logged last."""
        what = (error.strerror if isinstance(error, OSError) else None) or one_line(error, _MOST_SAID)
        problem = what or type(error).__name__
        with self._changed:
            known, self._problem = self._problem, problem
        if isinstance(error, ReaderGoneError) or problem == known:
            return
        again = "nothing more is sent there" if ends else "trying again"
        _log.warning("%s: %s; %s", self.name, problem, again)
