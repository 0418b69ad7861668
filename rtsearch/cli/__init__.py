"""Run the command line, the only part that prints or exits.

main -> entry.run: turns errors into one line and exit code 2 -> app: the commands, one module each
"""

import os
import signal

__all__ = ["main"]


def main() -> None:
    """Run the ``rtsearch`` command."""
    _let_ctrl_c_end()  # first, as Ctrl-C during imports would fail, see ``_util.signals``
    from rtsearch.cli.entry import run

    run()


def _let_ctrl_c_end() -> None:
    """Let Ctrl-C end this process by the default action of the signal."""
    # Default actions do not end the first process of a container.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler and os.getpid() != 1:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
