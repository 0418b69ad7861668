"""Ctrl-C, SIGTERM and SIGHUP: they end every command at once, undo what is half written, or let it finish."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rtsearch._util.atomic import write_atomic
from rtsearch._util.signals import Stopped, stop_on_signal, undo_on_signal
from rtsearch.cli import _handle_ctrl_c, common, let_ctrl_c_end

ALL = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# As the installed command does it; a line says that Python has started, whose start is not ours.
COMMAND = "from rtsearch.cli import main; print('started', flush=True); main()"


@pytest.fixture
def defaults() -> Iterator[None]:
    """Signals as a shell starts a command with them."""
    before = {number: signal.getsignal(number) for number in ALL}
    for number in ALL[1:]:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("after_s", [0.05, 0.4, 0.8, 1.2])
@pytest.mark.parametrize("command", ["query", "doctor"])
def test_ctrl_c_while_a_command_starts(
    library: Path, photos: Path, tmp_path: Path, command: str, after_s: float
) -> None:
    """It dies of the signal, which a shell tells as 130, unless it was done before."""
    sheet = tmp_path / "sheet.png"
    args = [library, photos / "skimage-coffee.png", "--out", sheet] if command == "query" else []
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, command, *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    time.sleep(after_s)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT or "cpu" in out or sheet.exists()
    # On a quick machine the query is done before the signal comes; on a slow one it comes during imports.
    assert err in ("", "rtsearch: stopped\n", f"sheet: {sheet}\n")


def test_ctrl_c_at_the_very_beginning_is_told():
    """It comes while the commands are imported."""
    stop = (
        "import os, signal, sys, rtsearch.cli as c; c._handle_ctrl_c(); os.kill(os.getpid(), signal.SIGINT)"
    )
    done = subprocess.run([sys.executable, "-c", stop], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "rtsearch: stopped\n")


def test_a_signal_that_is_ignored_stays_ignored(model: Path) -> None:
    """As in a script's background, or under nohup."""
    ignores = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    process = subprocess.Popen(
        [sys.executable, "-c", ignores + COMMAND, "model", "info"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "yolo26n" in out


def test_ctrl_c_ends_at_once_from_now_on():
    _handle_ctrl_c()
    let_ctrl_c_end()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _handle_ctrl_c()
    let_ctrl_c_end()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@pytest.mark.usefixtures("defaults")
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_what_is_half_written_is_removed(tmp_path, monkeypatch, number, code):
    """The signal comes when the file is complete, but still has its temporary name."""
    monkeypatch.setattr("os.fsync", lambda _: os.kill(os.getpid(), number))
    with pytest.raises(Stopped) as caught:
        write_atomic(tmp_path / "file", b"content")
    assert caught.value.exit_code == code
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.usefixtures("defaults")
@pytest.mark.parametrize("number", ALL)
def test_the_first_signal_sets_the_event_and_the_second_does_not(number):
    stop = threading.Event()
    with stop_on_signal(stop):
        with undo_on_signal():  # what is inside leaves the signal to the one that finishes
            os.kill(os.getpid(), number)
        assert stop.is_set()
        with undo_on_signal(), pytest.raises(Stopped):
            os.kill(os.getpid(), number)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


@pytest.mark.parametrize("context", [undo_on_signal, lambda: stop_on_signal(threading.Event())])
def test_outside_the_main_thread_signals_are_left_alone(context: Callable) -> None:
    seen: list[object] = []

    def work() -> None:
        with context():
            seen.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def test_the_exit_code_tells_the_signal(cli, monkeypatch):
    def stopped() -> None:
        raise Stopped(signal.SIGTERM)

    monkeypatch.setattr("rtsearch.cli.entry._run", stopped)
    done = cli("doctor")
    assert (done.code, done.err) == (143, "rtsearch: stopped\n")


@pytest.mark.parametrize("bar", [lambda: common.count_bar("photos"), common.bytes_bar, common.share_bar])
def test_a_bar_leaves_the_cursor_as_it_is(monkeypatch, bar):
    """A signal that ends the process beside it could not bring the cursor back."""
    terminal = io.StringIO()
    monkeypatch.setattr(common, "_messages", common._Messages(file=terminal, force_terminal=True))
    with bar():
        pass
    assert terminal.getvalue()
    assert "\x1b[?25" not in terminal.getvalue()
