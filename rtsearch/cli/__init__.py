"""Run the command line, the only part that prints or exits.

main -> entry.run: turns errors into one line and exit code 2 -> app: the commands, one module each
"""

import os
import signal
import sys
from types import FrameType

__all__ = ["let_ctrl_c_end", "main"]


def main() -> None:
    """Run the ``rtsearch`` command."""
    _handle_ctrl_c()  # first, as Ctrl-C during imports would fail, see ``_util.signals``
    _open_closed_streams()
    from rtsearch.cli.entry import run

    run()


def _open_closed_streams() -> None:
    """Put nothing in the place of standard streams that are closed, or a file would get their numbers.

    Writing to a closed standard output stays an error, for an answer is lost.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_WRONLY if name == "stderr" else os.O_RDONLY)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            setattr(sys, name, os.fdopen(number, "r" if name == "stdin" else "w", closefd=False))


def _handle_ctrl_c() -> None:
    """Let Ctrl-C end this process with a word, without an exception."""
    # Default actions do not end the first process of a container.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler and os.getpid() != 1:
        signal.signal(signal.SIGINT, _say_stopped)


def _say_stopped(number: int, frame: FrameType | None) -> None:
    os.write(2, b"rtsearch: stopped\n")
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def let_ctrl_c_end() -> None:
    """Let Ctrl-C end this process by the default action, also in calls of libraries that take minutes."""
    if signal.getsignal(signal.SIGINT) is _say_stopped:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
