"""Keep a run going: start it again after a crash, a hang or an error, and tell how it fares.

supervisor -> child: rtsearch run, in a process of its own
           <- heartbeat of the child's main loop, through a pipe
           <- standard error of the child, line by line
           -> status file -> rtsearch kiosk status

A child whose main loop stands still is ended like one that has crashed. The wait before the next start grows
with each failure, until a child has played for a minute.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import IO, Literal

from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from rtsearch._util.atomic import write_atomic
from rtsearch._util.heartbeat import VARIABLE
from rtsearch._util.paths import user_cache
from rtsearch._util.regular_files import read_regular
from rtsearch._util.wording import one_line
from rtsearch.errors import DisplayError, RtsearchError

__all__ = ["KioskLimits", "KioskStatus", "StatusFile", "Supervisor", "status_folder"]

_LOOK_S = 0.25
_MOST_STATUS_BYTES = 65_536
_STATUS_S = 5.0  # between two writings of a status in which only the heartbeat is new


@dataclass(frozen=True, slots=True)
class KioskLimits:
    """Time limits of a supervisor.

    Attributes:
        start_s: from the start of a child to the first turn of its main loop; the first run on a machine
            compiles the search.
        hang_s: between two heartbeats.
        stop_s: from the request to end to the end, for a child that finishes recordings.
        steady_s: time of playing after which a child counts as sound.
        first_wait_s: before the second start.
        longest_wait_s: before any start.
    """

    start_s: float = 600.0
    hang_s: float = 30.0
    stop_s: float = 20.0
    steady_s: float = 60.0
    first_wait_s: float = 1.0
    longest_wait_s: float = 60.0


@dataclass(frozen=True, slots=True)
class KioskStatus:
    """State of a kiosk.

    Attributes:
        state: ``starting``, ``playing``, ``waiting`` for the next start, or ``ended``.
        library: folder of the library.
        pid: process of the supervisor.
        child: process of the run; None while there is none.
        since: date and time of the supervisor's start.
        starts: number of runs that were started.
        crashes: number of those that ended by themselves with an error.
        hangs: number of those that were ended because their main loop stood still.
        last_end: reason of the last end; "" for none.
        last_beat: date and time of the last heartbeat; "" for none.
    """

    state: Literal["starting", "playing", "waiting", "ended"]
    library: str
    pid: int
    child: int | None = None
    since: str = ""
    starts: int = 0
    crashes: int = 0
    hangs: int = 0
    last_end: str = ""
    last_beat: str = ""


_STATUS = TypeAdapter(KioskStatus)


def status_folder() -> Path:
    """Return the folder of the status: in memory where the system has one for the user, else the cache.

    Raises:
        RtsearchError: there is neither.
    """
    in_memory = Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}")
    folder = in_memory / "rtsearch" if os.access(in_memory, os.W_OK) else user_cache()
    if folder is None:
        raise RtsearchError("there is no home folder to keep the state of the kiosk in; set HOME")
    return folder


class StatusFile:
    """Status of the kiosk of a user, which one process may write and all may read.

    Args:
        folder: is made where it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "kiosk.json"
        self._lock = FileLock(folder / "kiosk.lock")

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep other kiosks of the user away.

        Raises:
            RtsearchError: there is one already.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            known = self.read()
            pid = f" (process {known.pid})" if known else ""
            raise RtsearchError(
                f"a kiosk runs already{pid}; end it first, or look at: rtsearch kiosk status"
            ) from None
        try:
            yield
        finally:
            self._lock.release()

    def is_held(self) -> bool:
        """Tell whether a kiosk runs."""
        if not self._path.parent.is_dir():
            return False
        try:
            with self._lock.acquire(timeout=0):
                return False
        except Timeout:
            return True

    def write(self, status: KioskStatus) -> None:
        """Replace the status; a disk that is full does not end a kiosk."""
        with contextlib.suppress(OSError):
            write_atomic(self._path, json.dumps(asdict(status)).encode())

    def read(self) -> KioskStatus | None:
        """Return the last status, or None."""
        try:
            return _STATUS.validate_json(read_regular(self._path, _MOST_STATUS_BYTES))
        except (OSError, ValidationError):
            return None


class Supervisor:
    """Runs a command again and again.

    Args:
        command: of the child, which sends heartbeats.
        library: folder of the library, for the status.
        file: gets the status.
        tell: gets each line of the child's standard error, and what the supervisor does.
        display: returns the reason why no window can open any more, or "".
        limits: time limits.
    """

    def __init__(
        self,
        command: Sequence[str],
        library: Path,
        file: StatusFile,
        tell: Callable[[str], None],
        display: Callable[[], str] = lambda: "",
        limits: KioskLimits = KioskLimits(),
    ) -> None:
        self._command = list(command)
        self._file = file
        self._tell = tell
        self._display = display
        self._limits = limits
        self._status = KioskStatus("starting", str(library), os.getpid(), since=_now())
        self._said = ""  # last line of the child
        self._playing_s = math.inf  # time of its first heartbeat

    def run(self, stop: threading.Event) -> None:
        """Keep the command running until it ends in order, or ``stop`` is set.

        Raises:
            DisplayError: the display has gone; whoever has started the kiosk starts display and kiosk again.
            RtsearchError: another kiosk runs.
        """
        wait_s = self._limits.first_wait_s
        with self._file.held():
            try:
                while not stop.is_set():
                    why = self._play(stop)
                    if not why or stop.is_set():
                        return
                    problem = self._display()
                    if problem:
                        raise DisplayError(f"{problem}; the kiosk ends")
                    if time.monotonic() - self._playing_s > self._limits.steady_s:
                        wait_s = self._limits.first_wait_s
                    self._tell(f"the run ended: {why}; it starts again in {wait_s:.0f} s")
                    self._change(state="waiting", child=None, last_end=f"{_now()} {why}")
                    stop.wait(wait_s)
                    wait_s = min(2 * wait_s, self._limits.longest_wait_s)
            finally:
                self._change(state="ended", child=None)

    def _play(self, stop: threading.Event) -> str:
        """Run the command once; return why it has failed, "" where it ended in order."""
        reader, writer = os.pipe()
        with os.fdopen(reader, "rb", buffering=0) as beats:
            try:
                child = subprocess.Popen(
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    pass_fds=(writer,),
                    env={**os.environ, VARIABLE: str(writer)},
                    text=True,
                    errors="replace",
                )
            finally:
                os.close(writer)
            assert child.stderr is not None
            talker = threading.Thread(target=self._listen, args=(child.stderr,), name="child", daemon=True)
            self._said, self._playing_s = "", math.inf
            talker.start()
            self._change(state="starting", child=child.pid, starts=self._status.starts + 1)
            hangs = self._watch(child, beats, stop)
            talker.join(_LOOK_S)  # a process of its own may keep the pipe open
        if hangs:
            self._change(hangs=self._status.hangs + 1)
            return hangs
        if child.returncode == 0:
            return ""
        self._change(crashes=self._status.crashes + 1)
        return (self._said if child.returncode > 0 else "") or _ended_by(child.returncode)

    def _watch(self, child: subprocess.Popen[str], beats: IO[bytes], stop: threading.Event) -> str:
        """Wait for the end of a child; return why it had to be ended, or ""."""
        limit_s, written_s = self._limits.start_s, time.monotonic()
        last_s = written_s
        while child.poll() is None:
            now_s = time.monotonic()
            if stop.is_set():
                self._end(child)
                return ""
            if now_s - last_s > limit_s:
                self._end(child)
                return f"its picture stood still for {limit_s:.0f} s"
            ready = select.select([beats], [], [], _LOOK_S)[0]
            if ready and beats.read(4096):
                last_s, limit_s = now_s, self._limits.hang_s
                self._playing_s = min(self._playing_s, now_s)
                if self._status.state != "playing" or now_s - written_s > _STATUS_S:
                    written_s = now_s
                    self._change(state="playing", last_beat=_now())
            elif ready:  # the child has closed its end, and select does not wait any more
                stop.wait(_LOOK_S)
        return ""

    def _end(self, child: subprocess.Popen[str]) -> None:
        child.terminate()
        try:
            child.wait(self._limits.stop_s)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def _listen(self, lines: IO[str]) -> None:
        with lines:
            for line in lines:
                if line.strip():
                    self._said = one_line(line.strip()).removeprefix("rtsearch: ")
                    self._tell(line.rstrip("\n"))

    def _change(self, **values: object) -> None:
        self._status = replace(self._status, **values)  # type: ignore[arg-type]
        self._file.write(self._status)


def _ended_by(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")
