"""An engine is built by another process while this one goes on with what it has."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

from rtsearch.engines.build import Order
from rtsearch.engines.flavour import FlavourName

__all__ = ["BackgroundBuild", "start_build"]

_NICE = 10  # pictures come first
_END_S = 5.0


class BackgroundBuild:
    """A build that goes on elsewhere.

    Attributes:
        error: one line that says why there will be no engine; "" as long as there is hope.
    """

    def __init__(self, command: list[str]) -> None:
        self.error = ""
        self._path: Path | None = None
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
        """Whether the outcome is still open."""
        return self._process is not None

    def poll(self) -> Path | None:
        """The engine's file once it is there; never waits, never raises. See ``error`` too."""
        if self._process is not None and self._process.poll() is not None:
            self._finish(self._process.returncode)
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

    def _finish(self, code: int) -> None:
        said, complained = (self._text(file) for file in (self._said, self._complained))
        self._end()
        try:
            self._path = Path(json.loads(said)["engines"][0]["file"]) if code == 0 else None
        except (ValueError, LookupError, TypeError):
            self._path = None
        if self._path is None:
            lines = complained.splitlines() or [f"the build ended with code {code}"]
            self.error = lines[-1].removeprefix("rtsearch: ")[:300]

    @staticmethod
    def _text(file: IO[bytes]) -> str:
        file.seek(0)
        return file.read(1 << 20).decode(errors="replace")

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
            *("--batch", str(order.batch), "--precision", order.precision, "--flavour", flavour, "--json"),
        ]
    )
