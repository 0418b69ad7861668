"""Run a command and end it with an exit code and, after an error, one line on standard error."""

from __future__ import annotations

import re
import sys
from typing import Any, NoReturn

from rtsearch._util.dependencies import import_problem
from rtsearch._util.masking import masked_words
from rtsearch.cli import let_ctrl_c_end
from rtsearch.cli.printable import printable
from rtsearch.cli.streams import worded_output
from rtsearch.errors import RtsearchError

__all__ = ["run"]

_MOST_NAMED = 200  # characters of a message about extra arguments
_MOST_SAID = 2000
_INVALID = re.compile(r"^Invalid value(?: for (?P<name>.+?))?: ")  # of typer, before each reason
_PLAINER = (  # than pydantic's words, by which typer checks values
    ("Value error, ", ""),
    ("Input should be a valid integer, unable to parse string as an integer", "expected a whole number"),
    ("Input should be a valid number, unable to parse string as a number", "expected a number"),
    ("Input should be ", "expected a number "),
)


def run() -> None:
    """Run the command that the arguments name, and exit."""
    try:
        _run()
    except KeyboardInterrupt as error:
        _end_stopped(error)
    except Exception as error:
        # An interrupted import of a C++ module raises ImportError "initialization failed".
        if isinstance(error, ImportError) and isinstance(error.__cause__, KeyboardInterrupt):
            _end_stopped(error.__cause__)
        problem = import_problem(error)
        if not problem:
            raise
        _end(problem, 2)


def _run() -> None:
    from typer import Abort

    from rtsearch.cli.app import commands, wrong_use

    let_ctrl_c_end()
    try:
        with worded_output():
            code = commands()(prog_name="rtsearch", standalone_mode=False)
        sys.exit(code)
    except RtsearchError as error:
        _end(str(error), 2)
    except wrong_use as error:
        _end(_how_to_use(error), 2)
    except OSError as error:
        if "--install-completion" not in sys.argv:
            raise
        _end(f"completion cannot be installed: {error}", 2)
    except Abort as error:
        _end_stopped(error.__cause__)


def _end_stopped(error: BaseException | None) -> NoReturn:
    _end("stopped", getattr(error, "exit_code", 130))


def _end(message: str, code: int) -> NoReturn:
    if message:
        line = masked_words(" ".join(message.split()))  # an argument may be a URL in the wrong place
        line = line if len(line) <= _MOST_SAID else f"{line[:_MOST_SAID]}..."
        sys.stderr.write(f"rtsearch: {printable(line)}\n")
    sys.exit(code)


def _how_to_use(error: Any) -> str:
    """Return the message about wrong arguments, which names the help; "" where help was shown."""
    message = _INVALID.sub(_name_first, masked_words(error.format_message().rstrip(".")))
    for words, plainer in _PLAINER:
        message = message.replace(words, plainer)
    if "extra argument" in message and len(message) > _MOST_NAMED:
        message = (
            f"{message[:_MOST_NAMED]}..."  # it names all arguments, and a shell can expand *.jpg to thousands
        )
    command = error.ctx.command_path if error.ctx else "rtsearch"
    return f"{message}; see: {command} --help" if message else ""


def _name_first(invalid: re.Match[str]) -> str:
    """Return the name of an argument as other messages begin, such as ``--port: ``; "" for none."""
    name = (invalid["name"] or "").replace("'", "")
    return name and f"{name}: "
