"""Signals while a run records: its files are whole or not there, whatever comes, and however often."""

from __future__ import annotations

import os
import pty
import random
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import forked
import pyarrow.parquet as pq
import pytest
from clips import needs_ffmpeg, write_clip

from rtsearch._util.signals import hurry, stop_on_signal
from rtsearch.errors import RecordError
from rtsearch.recording.ffmpeg import Piece, add_sound
from rtsearch.sources.video import VideoFile

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

TAKES_TERMINAL = """
import fcntl, os, termios
from rtsearch.cli import main
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
main()
"""


class Recorded:
    """A command that records a long clip in every way, in a process of its own."""

    def __init__(
        self, library: Path, clip: Path, folder: Path, terminal: int | None = None, display: str = ""
    ) -> None:
        self.lines, self.table, self.video = (folder / f"o.{kind}" for kind in ("jsonl", "parquet", "mp4"))
        command = [Path(sys.executable).parent / "rtsearch", "run", library, "--source", clip]
        command += [] if display else ["--headless"]
        command += ["--record", self.lines, "--record", self.table, "--out", self.video]
        command += ["--set", "show.window_wh=640x360"]
        if terminal is not None:
            command[:1] = [sys.executable, "-c", TAKES_TERMINAL]
        self.process = forked.Popen[bytes](
            list(map(str, command)),
            stdin=terminal or subprocess.DEVNULL,
            stdout=terminal or subprocess.PIPE,
            stderr=terminal or subprocess.PIPE,
            env=os.environ | {"DISPLAY": display},
        )
        while not (self.lines.exists() and self.lines.read_bytes().count(b"\n") >= 5):
            assert self.process.poll() is None
            time.sleep(0.02)

    def check(self) -> None:
        """All files are whole, of the same frames, and none is left under a temporary name."""
        folder = self.lines.parent
        assert sorted(path.name for path in folder.iterdir()) == ["o.jsonl", "o.mp4", "o.parquet"]
        frames = self.lines.read_bytes().count(b"\n")
        assert pq.read_table(self.table).num_rows >= 0
        with VideoFile(str(self.video)) as source:
            assert sum(1 for _ in source) == frames


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_run_in_order(library: Path, long_clip: Path, folder: Path, number: int) -> None:
    recorded = Recorded(library, long_clip, folder)
    recorded.process.send_signal(number)
    _, err = recorded.process.communicate(timeout=60)
    assert recorded.process.returncode == 0, err
    assert b"Traceback" not in err
    recorded.check()


def test_many_signals_while_it_ends(library: Path, long_clip: Path, folder: Path) -> None:
    """As a closed terminal and an impatient supervisor send them."""
    rng = random.Random(7)
    recorded = Recorded(library, long_clip, folder)
    while recorded.process.poll() is None:
        recorded.process.send_signal(rng.choice(ENDING))
        time.sleep(0.005)
    _, err = recorded.process.communicate(timeout=60)
    assert recorded.process.returncode in (0, *(-number for number in ENDING)), (
        err
    )  # the latter: all was done
    recorded.check()


def test_a_terminal_that_is_closed(library: Path, long_clip: Path, folder: Path) -> None:
    """The kernel sends SIGHUP, and nothing can be said any more."""
    master, terminal = pty.openpty()
    recorded = Recorded(library, long_clip, folder, terminal)
    os.close(terminal)
    os.close(master)
    assert recorded.process.wait(60) == 0
    recorded.check()


@pytest.mark.window
@pytest.mark.skipif(shutil.which("Xvfb") is None, reason="no Xvfb: apt install xvfb")
def test_a_display_that_dies(library: Path, long_clip: Path, folder: Path) -> None:
    """Qt then ends the process on the spot, without a word to Python."""
    reads, writes = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writes), "-nolisten", "tcp", "-noreset"],
        pass_fds=[writes],
        stderr=subprocess.DEVNULL,
    )
    os.close(writes)
    with os.fdopen(reads) as said:
        number = said.readline().strip()  # Xvfb chooses a free one, and says so when it is ready
    try:
        recorded = Recorded(library, long_clip, folder, display=f":{number}")
    finally:
        server.kill()
        server.wait()
    _, err = recorded.process.communicate(timeout=60)
    assert recorded.process.returncode == 2, err
    assert b"the display has gone; what was recorded is finished" in err
    recorded.check()


@needs_ffmpeg
def test_a_second_signal_leaves_the_sound_out(tmp_path: Path) -> None:
    """Here for an ffmpeg that would take a minute."""
    slow = tmp_path / "ffmpeg"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(slow.stat().st_mode | stat.S_IXUSR)
    clip = write_clip(tmp_path / "clip.avi", range(3), 25)
    stop = threading.Event()
    begun_s = time.monotonic()
    with stop_on_signal(stop, finish=True):
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.is_set()
        assert not hurry.is_set()
        timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(RecordError, match="there was no time for it"):
            add_sound(str(slow), clip, clip, [Piece(0.0, 0.0)], 1.0, tmp_path / "out.mp4")
        timer.join()
    assert time.monotonic() - begun_s < 30
    with stop_on_signal(stop, finish=True):
        assert not hurry.is_set()
