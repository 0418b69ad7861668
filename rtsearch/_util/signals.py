"""Handle signals that end a process: Ctrl-C (SIGINT), SIGTERM, and SIGHUP from a closed terminal.

    while a command starts        a word and the default action, which ends the process: ``cli.main``
    while a file is written       an exception, so that the file is removed: ``undo_on_signal``
    while it plays or analyses    an event, so that recordings are finished, photos stored: ``stop_on_signal``

Python turns Ctrl-C into an exception at any place of the main thread. During the import of C++ modules and
the compilation of kernels the exception is lost, crashes the process, or leaves an import lock that another
thread waits for without end: in 17 of 280 tries. So the exception is raised only where files must be removed.

A signal that the process was started to ignore (nohup, a script's background) stays ignored.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, TypeAlias

__all__ = ["Stopped", "hurry", "stop_on_signal", "undo_on_signal"]

_Handler: TypeAlias = Callable[[int, FrameType | None], None]

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP
_SIGNALS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
_UNHANDLED = (signal.SIG_DFL, signal.default_int_handler)

hurry = threading.Event()
"""Event set by the second signal while files are finished, which then skip optional parts."""


class Stopped(KeyboardInterrupt):
    """Exception for a signal.

    Attributes:
        exit_code: exit code for the signal by the convention of shells: 128 plus the signal's number.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = 128 + number


@contextlib.contextmanager
def undo_on_signal() -> Iterator[None]:
    """Raise Stopped for a signal whose default action would end the process."""

    def raise_stopped(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    with _handled(raise_stopped, lambda before: before in _UNHANDLED):
        yield


@contextlib.contextmanager
def stop_on_signal(stop: threading.Event, *, finish: bool = False) -> Iterator[None]:
    """Let the first signal set ``stop``.

    Args:
        stop: event that ends the work.
        finish: files must be finished in any case, and further signals set ``hurry``. Without it, the second
            signal acts as outside of the block.
    """
    hurry.clear()
    terminals = _terminals()

    def handle(number: int, frame: FrameType | None) -> None:
        _leave_closed(terminals)
        if finish and came.is_set():
            hurry.set()
        came.set()
        stop.set()
        if not finish:
            _restore(before)

    came = threading.Event()
    with _handled(handle, lambda before: True) as before:
        yield


def _terminals() -> set[int]:
    """Return the device numbers of the terminals of standard input, output and error."""
    return {os.fstat(descriptor).st_rdev for descriptor in (0, 1, 2) if os.isatty(descriptor)}


def _leave_closed(terminals: set[int]) -> None:
    """Redirect output to closed terminals to nowhere, so that it does not fail."""
    if not terminals or os.isatty(1) or os.isatty(2):
        return
    nowhere = os.open(os.devnull, os.O_RDWR)
    for entry in Path("/dev/fd").iterdir():  # includes copies, which ``quiet_decoders`` makes
        descriptor = int(entry.name)
        with contextlib.suppress(OSError):  # the descriptor of the listing is closed by now
            if os.fstat(descriptor).st_rdev in terminals and not os.isatty(descriptor):
                os.dup2(nowhere, descriptor)
    os.close(nowhere)


@contextlib.contextmanager
def _handled(handler: _Handler, replaces: Callable[[Any], bool]) -> Iterator[dict[int, Any]]:
    """Handle signals within the block, in the main thread only; yield the handlers before."""
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        now = {number: signal.getsignal(number) for number in _SIGNALS}
        before |= {n: h for n, h in now.items() if h not in (signal.SIG_IGN, None) and replaces(h)}
        for number in before:
            signal.signal(number, handler)
    try:
        yield before
    finally:
        _restore(before)


def _restore(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
