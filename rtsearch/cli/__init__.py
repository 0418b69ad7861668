"""The command line: the only place that prints or exits.

``app`` gathers the commands; ``main`` turns every error that rtsearch raises on purpose into one line on
standard error and exit code 2.
"""

from __future__ import annotations

import sys

from rtsearch.errors import RtsearchError

__all__ = ["main"]


def main() -> None:
    """Entry point of the ``rtsearch`` command."""
    from rtsearch.cli.app import app

    try:
        app(prog_name="rtsearch")
    except RtsearchError as error:
        sys.stderr.write(f"rtsearch: {error}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write("rtsearch: stopped\n")
        sys.exit(130)
    except BrokenPipeError:  # whoever read our output has seen enough
        sys.stderr.close()
        sys.exit(141)
