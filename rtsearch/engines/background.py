"""Build an engine in another process while this process continues.

The other process writes lines of JSON to a file: its progress, and at the end the result. ``poll`` reads the
new lines. A pipe would fill up and stop the build when nobody polls.
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

_NICE = 10  # the build must not slow the running program
_END_S = 5.0
_MOST_BYTES = 1 << 20  # limit of the output that is read; a build writes a hundredth of it


class BackgroundBuild:
    """Build of an engine in another process.

    Attributes:
        error: reason for a failed build, one line; "" while the build runs and after it has succeeded.
        what: current step at the last ``poll``; "" before the first step.
        share: finished share of the build at the last ``poll``, 0..1.
    """

    def __init__(self, command: list[str]) -> None:
        self.error = ""
        self.what, self.share = "", 0.0
        self._path: Path | None = None
        self._offset = 0
        self._heard = b""  # the beginning of a line that is not complete yet
        self._last: dict[str, Any] = {}
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed by _end
        self._complained = tempfile.TemporaryFile()  # noqa: SIM115
        self._process: subprocess.Popen[bytes] | None = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=self._complained,
            start_new_session=True,  # Ctrl-C reaches only this process, which then cancels the build
        )
        with contextlib.suppress(OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, self._process.pid, _NICE)

    @property
    def running(self) -> bool:
        """Tell whether the build is still running."""
        return self._process is not None

    def poll(self) -> Path | None:
        """Return the path of the finished engine, else None; never waits and never raises, see ``error``."""
        if self._process is not None:
            code = self._process.poll()  # before the output is read, so that no line is missed
            self._hear()
            if code is not None:
                self._finish(code)
        return self._path

    def cancel(self) -> None:
        """Stop the build if it still runs; an unfinished engine leaves no files."""
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
        """Read the new lines of JSON; other lines are ignored."""
        at = self._offset
        came = os.pread(self._said.fileno(), _MOST_BYTES, at)
        self._offset = at + len(came)
        *lines, self._heard = (self._heard + came).split(b"\n")
        for line in lines:
            with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
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
    """Start to build an engine in another process, into the default folder.

    Args:
        order: the engine; its input is square, or the only size that the model takes.
        flavour: library that builds it.

    Returns:
        the running build, to be polled or cancelled.
    """
    width, height = order.input_wh
    return BackgroundBuild(
        [
            # -P keeps files of the current folder from being imported.
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
