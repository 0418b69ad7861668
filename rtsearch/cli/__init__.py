"""Run the command line, the only part that prints or exits.

main -> entry.run: turns errors into one line and exit code 2 -> app: the commands, one module each
"""

import os
import signal
import sys

__all__ = ["main"]


def main() -> None:
    """Run the ``rtsearch`` command."""
    _let_ctrl_c_end()  # first, as Ctrl-C during imports would fail, see ``_util.signals``
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


def _let_ctrl_c_end() -> None:
    """Let Ctrl-C end this process by the default action of the signal."""
    # Default actions do not end the first process of a container.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler and os.getpid() != 1:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
