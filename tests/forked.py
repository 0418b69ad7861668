"""Commands in processes of their own that need not import everything first: forked from a server that has.

``run`` and ``Popen`` are those of ``subprocess``. A command that starts this Python or the installed
``rtsearch`` becomes a child of the test's process like any other, with its own streams, environment, folder,
session and signals, two seconds of imports sooner. All other commands are started as ever, and so is what the
server cannot give: options of the interpreter, variables that are read by imports, coverage, other systems.
With RTSEARCH_LONG every command is started as ever.

Tests of the start and the end themselves, of imports, of memory, and of packages that are missing take
``subprocess``.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib
import inspect
import io
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import types
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, AnyStr

COMMAND = Path(sys.executable).parent / "rtsearch"
# What commands import. rtsearch keeps onnxruntime from starting a thread; OpenCV precedes PyAV.
IMPORTS = (
    *(
        "rtsearch",
        "cv2",
        "numba",
        "onnxruntime",
        "norfair",
        "pyarrow.parquet",
        "pyarrow.csv",
        "av",
        "scipy.optimize",
    ),
    *("rtsearch.cli.app", "rtsearch.cli.run", "rtsearch.cli.analyze", "rtsearch.cli.query"),
    *("rtsearch.jobs.analyze", "rtsearch.live", "rtsearch.memory", "rtsearch.pipeline", "rtsearch.recording"),
    *("rtsearch.runners.onnx", "rtsearch.sources", "rtsearch.ui.window"),
)
READ_AT_IMPORT = ("ARROW_", "LANG", "LC_", "LD_", "MKL_", "NUMBA_", "OMP_", "OPENBLAS_", "OPENCV_", "PYTHON")
_LENGTH = struct.Struct("<Q")
_CHILD_SUBREAPER = 36  # of prctl: processes whose parent has ended become children of this one


class Popen(subprocess.Popen[AnyStr]):
    """Starts a command as ``subprocess.Popen`` does, forked where that is possible."""

    def _execute_child(self, *given: Any) -> None:
        started = super()._execute_child  # type: ignore[misc]
        asked = inspect.signature(started).bind(*given).arguments
        request = _request(asked)
        if request is None:
            started(*given)
            return
        pipes = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        streams = [asked["p2cread"], asked["c2pwrite"], asked["errwrite"]]
        self.pid = _server().fork(request, [i if fd == -1 else fd for i, fd in enumerate(streams)])
        self._child_created = True
        self._close_pipe_fds(*(asked[name] for name in pipes))  # type: ignore[attr-defined]


def run(
    args: Any,
    *,
    input: Any = None,
    timeout: float | None = None,
    check: bool = False,
    capture_output: bool = False,
    **options: Any,
) -> subprocess.CompletedProcess[Any]:
    """Run a command as ``subprocess.run`` does."""
    if input is not None:
        options["stdin"] = subprocess.PIPE
    if capture_output:
        options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with Popen[Any](args, **options) as process:
        try:
            out, err = process.communicate(input, timeout=timeout)
        except BaseException:
            process.kill()
            raise
    done = subprocess.CompletedProcess(process.args, process.returncode, out, err)
    if check:
        done.check_returncode()
    return done


# What can be forked ----------------------------------------------------------------------------------------


def _request(asked: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the server is to run, or None where it cannot."""
    if sys.platform != "linux" or "COVERAGE_PROCESS_CONFIG" in os.environ or "RTSEARCH_LONG" in os.environ:
        return None
    args = asked["args"]
    args = [args] if isinstance(args, str | bytes | Path) else list(args)
    environment = dict(os.environ if asked["env"] is None else asked["env"])
    beyond = ("shell", "preexec_fn", "pass_fds", "executable", "gids")
    others = any(asked[name] not in (None, -1) for name in ("gid", "uid")) or asked["umask"] != -1
    if others or any(asked[name] for name in beyond) or _program(args) is None or not _same(environment):
        return None
    return {
        "args": [os.fsdecode(part) for part in args],
        "environment": environment,
        "folder": os.fsdecode(asked["cwd"] or Path.cwd()),
        "session": asked["start_new_session"],
        "group": asked["process_group"],
    }


def _same(environment: Mapping[str, str]) -> bool:
    """Whether all that is read at import is as the server has read it; folders of modules may be added."""
    server = _server().environment
    names = {name for name in environment.keys() | server.keys() if name.startswith(READ_AT_IMPORT)}
    return all(environment.get(name) == server.get(name) for name in names - {"PYTHONPATH"})


def _program(args: list[Any]) -> tuple[str, str, list[str]] | None:
    """Source, file name and ``sys.argv`` of what a command runs; None where it is not this Python's."""
    first, *rest = (os.fsdecode(part) for part in args)
    if first == str(COMMAND) or (first == sys.executable and rest[:2] == ["-m", "rtsearch"]):
        words = rest[2:] if first == sys.executable else rest
        return "from rtsearch.cli import main; main()", str(COMMAND), [str(COMMAND), *words]
    if first != sys.executable or not rest:
        return None
    if rest[0] == "-c":
        return rest[1], "<string>", ["-c", *rest[2:]]
    return (Path(rest[0]).read_text(encoding="utf-8"), rest[0], rest) if rest[0].endswith(".py") else None


# The server, as the tests see it ---------------------------------------------------------------------------


class _Server:
    def __init__(self) -> None:
        self.environment = dict(os.environ)
        self._socket, theirs = socket.socketpair()
        self._lock = threading.Lock()
        command = [sys.executable, __file__, str(theirs.fileno())]
        self._process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        theirs.close()
        atexit.register(self.stop)

    def fork(self, request: dict[str, Any], streams: list[int]) -> int:
        """Number of the new process, a child of this one."""
        body = json.dumps(request).encode()
        with self._lock, _taking_in_orphans():
            socket.send_fds(self._socket, [_LENGTH.pack(len(body))], streams)
            self._socket.sendall(body)
            return int(_LENGTH.unpack(_exactly(self._socket, _LENGTH.size))[0])

    def stop(self) -> None:
        """It ends when nobody can ask any more."""
        self._socket.close()
        self._process.wait()


@cache
def _server() -> _Server:
    return _Server()


@contextlib.contextmanager
def _taking_in_orphans() -> Iterator[None]:
    """A process whose parent ends meanwhile becomes a child of this one."""
    prctl = ctypes.CDLL(None).prctl
    prctl(_CHILD_SUBREAPER, 1)
    try:
        yield
    finally:
        prctl(_CHILD_SUBREAPER, 0)


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            raise EOFError("the server of forked processes has ended")
        data += part
    return data


# The server itself -----------------------------------------------------------------------------------------


def _serve(connection: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Answer requests with the number of a new process; returns in each of them, and None at the end."""
    while True:
        head, streams, *_ = socket.recv_fds(connection, _LENGTH.size, 3)
        if not head:
            return None
        request = json.loads(_exactly(connection, _LENGTH.unpack(head)[0]))
        reads, writes = os.pipe()
        between = os.fork()
        if between == 0:
            between = os.getpid()
            forked = os.fork()
            if forked:
                os.write(writes, _LENGTH.pack(forked))
                os._exit(0)
            while os.getppid() == between:  # until the test's process is the parent
                time.sleep(0.0005)
            for descriptor in (reads, writes):
                os.close(descriptor)
            connection.close()
            return request, streams
        os.close(writes)
        answer = os.read(reads, _LENGTH.size)
        os.waitpid(between, 0)
        for descriptor in (reads, *streams):
            os.close(descriptor)
        connection.sendall(answer)


def _become(request: dict[str, Any], streams: list[int], before: Mapping[str, str]) -> None:
    """Make this process what a new one would be."""
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        old = getattr(sys, name)
        mode, newline = ("w", "\n") if number else ("r", None)
        at_once = number > 0 and old.write_through  # PYTHONUNBUFFERED
        raw = os.fdopen(number, f"{mode}b", 0 if at_once else -1, closefd=False)
        lines = not at_once and (name == "stderr" or os.isatty(number))
        stream = io.TextIOWrapper(
            raw, old.encoding, old.errors, newline, line_buffering=lines, write_through=at_once
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    if request["session"]:
        os.setsid()
    if request["group"] not in (None, -1):
        os.setpgid(0, request["group"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    imported = {name: value for name, value in os.environ.items() if before.get(name) != value}
    os.environ.clear()
    os.environ.update(request["environment"] | imported)
    os.chdir(request["folder"])


def _main() -> None:
    sys.path.pop(0)  # the folder of the tests
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests
    before = dict(os.environ)
    for name in IMPORTS:
        importlib.import_module(name)
    importlib.import_module("rtsearch.cli.app").commands()
    gc.freeze()
    asked = _serve(socket.socket(fileno=int(sys.argv[1])))
    if asked is None:
        return
    request, streams = asked
    _become(request, streams, before)
    program = _program(request["args"])
    assert program is not None
    source, name, sys.argv = program
    folders = request["environment"].get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = ["" if name == "<string>" else str(Path(name).parent), *filter(None, folders)]
    module = types.ModuleType("__main__")
    if name != "<string>":
        module.__file__ = name
    sys.modules["__main__"] = module
    try:
        exec(compile(source, name, "exec"), module.__dict__)
    except SystemExit as end:
        if not isinstance(end.code, int | None):
            raise
        _end(end.code or 0)
    _end(0)


def _end(code: int) -> None:
    """Do what Python does at the end, but give no memory back, which takes 0.1 s where all is imported.

    What could still fail ends as ever: threads that go on, and streams that nobody reads.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError, ValueError):
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        if threading.active_count() == 1:
            os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    _main()
