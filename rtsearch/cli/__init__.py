"""The command line: the only place that prints or exits.

main -> entry.run: errors become one line and exit code 2 -> app: the commands, a file each
"""

import os
import signal

__all__ = ["main"]


def main() -> None:
    """Entry point of the ``rtsearch`` command."""
    _let_ctrl_c_end()  # first: an exception in the middle of imports is a traceback at best, see ``signals``
    from rtsearch.cli.entry import run

    run()


def _let_ctrl_c_end() -> None:
    """Let Ctrl-C end this process by the signal's default action, wherever it is."""
    # The first process of a container is not ended by default actions.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler and os.getpid() != 1:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
