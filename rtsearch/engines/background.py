"""An engine is built by another process while this one goes on with what it has.

The other process writes lines of JSON to a file, how far it is and at last what it has made; ``poll`` reads
what has come. A pipe would stop the build when nobody polls.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

from rtsearch.engines.build import Order
from rtsearch.engines.flavour import FlavourName

__all__ = ["BackgroundBuild", "start_build"]

_NICE = 10  # pictures come first
_END_S = 5.0
_MOST_BYTES = 1 << 20  # of what is said; a build says a hundredth of it


class BackgroundBuild:
    """A build that goes on elsewhere.

    Attributes:
        error: one line that says why there will be no engine; "" as long as there is hope.
        what: is being done, as the last ``poll`` found it; "" before anything is known.
        share: of all that is done, 0..1.
    """

    def __init__(self, command: list[str]) -> None:
        self.error = ""
        self.what, self.share = "", 0.0
        self._path: Path | None = None
        self._offset = 0
        self._heard = b""  # lines that are whole have been taken out
        self._last: dict[str, Any] = {}
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed by _end; a pipe nobody reads can fill up
        self._complained = tempfile.TemporaryFile()  # noqa: SIM115
        self._process: subprocess.Popen[bytes] | None = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=self._complained,
            start_new_session=True,  # Ctrl-C in the terminal is for this process, which then cancels
        )
        with contextlib.suppress(OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, self._process.pid, _NICE)

    @property
    def running(self) -> bool:
        """Tell whether the build is still running."""
        return self._process is not None

    def poll(self) -> Path | None:
        """The engine's file once it is there; never waits, never raises. See ``error`` too."""
        if self._process is not None:
            code = self._process.poll()  # first: what it said before its end is there then
            self._hear()
            if code is not None:
                self._finish(code)
        return self._path

    def cancel(self) -> None:
        """End the build, if it still runs. What it has not finished leaves no trace."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self.error = "cancelled"
            self._end()
        else:
            self.poll()

    def _hear(self) -> None:
        """Take in the lines that have come since the last time; what is no line of JSON is left out."""
        at = self._offset
        came = os.pread(self._said.fileno(), _MOST_BYTES, at)
        self._offset = at + len(came)
        *lines, self._heard = (self._heard + came).split(b"\n")
        for line in lines:
            with contextlib.suppress(ValueError, TypeError, KeyError):
                said = json.loads(line)
                self._last = said if "engines" in said else self._last
                self.what, self.share = str(said["what"]), min(1.0, max(self.share, float(said["share"])))

    def _finish(self, code: int) -> None:
        complained = self._text(self._complained)
        self._end()
        try:
            self._path = Path(self._last["engines"][0]["file"]) if code == 0 else None
        except (ValueError, LookupError, TypeError):
            self._path = None
        if self._path is None:
            lines = complained.splitlines() or [f"the build ended with code {code}"]
            self.error = lines[-1].removeprefix("rtsearch: ")[:300]

    @staticmethod
    def _text(file: IO[bytes]) -> str:
        file.seek(0)
        return file.read(_MOST_BYTES).decode(errors="replace")

    def _end(self) -> None:
        self._process = None
        self._said.close()
        self._complained.close()


def start_build(order: Order, flavour: FlavourName) -> BackgroundBuild:
    """Build an engine in another process, into the default folder; poll or cancel what comes back.

    Args:
        order: what is to be built; its input is square, or the only one that the model takes.
        flavour: what builds it.
    """
    width, height = order.input_wh
    return BackgroundBuild(
        [
            # -P: what lies in the current folder is nobody's module.
            *(sys.executable, "-P", "-m", "rtsearch", "engine", "build", str(order.model.absolute())),
            *(("--size", str(width)) if width == height else ()),
            *(
                "--batch",
                str(order.batch),
                "--precision",
                order.precision,
                "--flavour",
                flavour,
                "--json",
                "--progress",
            ),
        ]
    )
