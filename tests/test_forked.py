"""Forked commands: what they see and how they end is what it is of commands that are started as ever."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import forked
import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux" or "RTSEARCH_LONG" in os.environ, reason="nothing is forked"),
]

SEES = """
import os, signal, sys
from pathlib import Path
import threading
parent = os.getppid()
print(sys.argv, Path.cwd(), __name__, [stream.encoding for stream in (sys.stdin, sys.stdout, sys.stderr)])
print([stream.line_buffering for stream in (sys.stdout, sys.stderr)], [os.isatty(i) for i in range(3)])
print(parent, os.getpgid(0) == os.getpid(), os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpgid(parent))
print([signal.getsignal(i) for i in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)])
print(len(list(Path("/proc/self/task").iterdir())), threading.active_count())
files = [os.path.realpath(f"/proc/self/fd/{i}") for i in os.listdir("/proc/self/fd")]
print(sum("libffi" not in file for file in files))  # newer ones keep their own file open
imports_set = ("OPENCV", "QT_", "ORT_", "LC_CTYPE", "LD_LIBRARY_PATH")
print(sorted((k, v) for k, v in os.environ.items() if not k.startswith(imports_set)))
print(sys.stdin.read(), file=sys.stderr)
"""
ENDS = {
    "falls through": "pass",
    "a code": "import sys; sys.exit(3)",
    "a word": "import sys; sys.exit('no')",
    "Ctrl-C": "raise KeyboardInterrupt",
    "an error": "1 / 0",
    "at exit": "import atexit; atexit.register(print, 'bye'); print('now')",
    "a thread": "import threading, time; threading.Timer(0.1, print, ['late']).start()",
    "at once": "import os; os._exit(4)",
    "a signal": "import os; os.kill(os.getpid(), 9)",
    "nobody reads": "import os; os.close(1); print('lost')",
}


def both(args: list[Any], **options: Any) -> list[subprocess.CompletedProcess[str]]:
    """What a forked command did, and one that was started as ever."""
    options |= {"capture_output": True, "text": True}
    return [forked.run(args, **options), subprocess.run(args, check=False, **options)]


@pytest.mark.skipif(
    "COVERAGE_PROCESS_CONFIG" in os.environ, reason="what forked processes run is not counted"
)
def test_it_is_forked() -> None:
    code = "import sys; print('onnxruntime' in sys.modules)"
    assert [done.stdout for done in both([sys.executable, "-c", code])] == ["True\n", "False\n"]


@pytest.mark.parametrize("options", [{}, {"process_group": 0}, {"start_new_session": True}])
def test_it_sees_the_same(tmp_path: Path, options: dict[str, Any]) -> None:
    options |= {"cwd": tmp_path, "input": "given", "env": os.environ | {"RTSEARCH_X": "\u00fc"}}
    mine, real = both([sys.executable, "-c", SEES, "\u00fc", "b"], **options)
    assert mine.stdout.splitlines() == real.stdout.splitlines()
    assert (mine.stderr, mine.returncode) == (real.stderr, 0)


@pytest.mark.parametrize("code", ENDS.values(), ids=ENDS)
def test_it_ends_the_same(code: str) -> None:
    mine, real = both([sys.executable, "-c", code])
    assert (mine.returncode, mine.stdout) == (real.returncode, real.stdout)
    assert mine.stderr.splitlines()[-1:] == real.stderr.splitlines()[-1:]


def test_scripts_and_the_command(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import sys, beside; print(sys.argv[1:], __file__, sys.path[0])\n")
    (tmp_path / "beside.py").touch()
    commands: list[list[Any]] = [
        [sys.executable, str(script), "a"],
        [forked.COMMAND, "--version"],
        [sys.executable, "-m", "rtsearch", "none"],
    ]
    for command in commands:
        mine, real = both(command)
        assert (mine.returncode, mine.stdout, mine.stderr) == (real.returncode, real.stdout, real.stderr)


def test_a_terminal() -> None:
    master, terminal = pty.openpty()
    code = "import sys; print(*(s.isatty() for s in (sys.stdin, sys.stdout, sys.stderr)))"
    with forked.Popen[bytes](
        [sys.executable, "-c", code], stdin=terminal, stdout=terminal, stderr=terminal
    ) as process:
        process.wait(60)
    assert os.read(master, 100) == b"True True True\r\n"
    os.close(master)
    os.close(terminal)


def test_it_is_killed_and_waited_for() -> None:
    with forked.Popen[str]([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        assert process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.1)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not Path(f"/proc/{process.pid}").exists()


@pytest.mark.parametrize(
    ("command", "env"),
    [
        ([sys.executable, "-S", "-c", "import sys; print('numpy' in sys.modules)"], None),
        ([sys.executable, "-c", "import sys; print('numpy' in sys.modules)"], {"OMP_NUM_THREADS": "1"}),
        (["echo", "False"], None),
    ],
)
def test_what_cannot_be_forked_is_started(command: list[str], env: dict[str, str] | None) -> None:
    done = forked.run(command, env=env and os.environ | env, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
