"""Recorded videos that are interrupted, killed, or find no room."""

from __future__ import annotations

import errno
import io
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forked
import pytest
from clips import needs_ffmpeg, paint
from recorded import record_clip, recorded, shown

from rtsearch import recording as record
from rtsearch.errors import RecordError
from rtsearch.recording import (
    VideoRecorder,
    open_record,
)
from rtsearch.recording import ffmpeg as ffmpeg_module
from rtsearch.recording import mp4 as video_module
from rtsearch.recording import parquet as table
from rtsearch.sources import VideoFile


class Interrupted:
    """A pipe into which so many bytes go; then, and whenever it is written to again, comes Ctrl-C."""

    def __init__(self, pipe: Any, left_bytes: int) -> None:
        self._pipe = pipe
        self._left_bytes = left_bytes

    def write(self, data: bytes | memoryview) -> None:
        whole = bytes(data)
        given = whole[: self._left_bytes]
        self._pipe.write(given)
        self._pipe.flush()
        self._left_bytes -= len(given)
        if len(given) < len(whole):
            raise KeyboardInterrupt

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipe, name)


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """Where a run writes its video; there is one already."""
    path = tmp_path / "run.mp4"
    path.write_text("an older one")
    return path


def record_until_ctrl_c(path: Path, monkeypatch: pytest.MonkeyPatch, after_bytes: int) -> None:
    """Record pictures through ffmpeg until Ctrl-C comes, so many bytes after its start."""
    started = ffmpeg_module._started

    def start(command: list[str], stdin: int) -> Any:
        process = started(command, stdin)
        if process.stdin is not None:
            process.stdin = Interrupted(process.stdin, after_bytes)  # type: ignore[assignment]
        return process

    monkeypatch.setattr(ffmpeg_module, "_started", start)
    with pytest.raises(KeyboardInterrupt):
        record_clip(path, [i / 10 for i in range(100)])


@needs_ffmpeg
@pytest.mark.parametrize("after_bytes", [0, 1, 100, 250, 10_000, paint(0).nbytes])
def test_ctrl_c_in_the_first_picture_leaves_the_older_video(
    after_bytes: int, older: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_until_ctrl_c(older, monkeypatch, after_bytes)
    assert older.read_text() == "an older one"
    assert list(older.parent.iterdir()) == [older]


@needs_ffmpeg
@pytest.mark.parametrize("pictures", [1.5, 2.5])
def test_ctrl_c_in_a_later_picture_leaves_those_before(
    pictures: float, older: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_until_ctrl_c(older, monkeypatch, int(pictures * paint(0).nbytes))
    assert [n for n, _ in shown(older)] == list(range(int(pictures)))
    assert list(older.parent.iterdir()) == [older]


@pytest.mark.parametrize(
    "where",
    [
        *(pytest.param(name, marks=needs_ffmpeg) for name in ("encodes_h264", "FfmpegSink")),
        *("VideoRecorder._fit", "PyavSink.write"),
    ],
)
def test_ctrl_c_on_the_way_to_the_first_picture_leaves_the_older_video(
    where: str, older: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def press(*_: object) -> None:
        raise KeyboardInterrupt

    if where == "PyavSink.write":
        monkeypatch.setattr(video_module, "find_ffmpeg", lambda: None)
    monkeypatch.setattr(f"rtsearch.recording.mp4.{where}", press)
    with pytest.raises(KeyboardInterrupt):
        record_clip(older, [0.0, 0.1])
    assert older.read_text() == "an older one"
    assert list(older.parent.iterdir()) == [older]


@needs_ffmpeg
@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_while_ffmpeg_finishes_names_no_half_video(
    presses: int, older: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last_words = ffmpeg_module._last_words
    calls: list[float] = []

    def press_first(process: Any, wait_s: float) -> str:
        calls.append(wait_s)
        if len(calls) <= presses:
            process.communicate()  # as in the run's last moment; nothing is left running
            raise KeyboardInterrupt
        return last_words(process, wait_s)

    monkeypatch.setattr(ffmpeg_module, "_last_words", press_first)
    with pytest.raises(KeyboardInterrupt):
        record_clip(older, [0.0, 0.1])
    if presses == 1:
        assert [n for n, _ in shown(older)] == [0, 1]
        assert list(older.parent.iterdir()) == [older]
    else:
        assert older.read_text() == "an older one"


def test_a_recorder_that_was_only_made_leaves_nothing(tmp_path: Path) -> None:
    VideoRecorder(tmp_path / "run.mp4", 10)
    open_record(tmp_path / "run.parquet")
    assert list(tmp_path.iterdir()) == []


def test_a_long_gap_is_shortened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_module, "_MAX_GAP_S", 2.0)
    record_clip(tmp_path / "run.mp4", [0.0, 0.1, 3600.0, 3600.1])
    assert shown(tmp_path / "run.mp4")[-2:] == [(2, 2.1), (3, 2.2)]


def test_no_picture_leaves_no_file(tmp_path: Path) -> None:
    record_clip(tmp_path / "run.mp4", [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("run.avi", "written as .mp4"),
        ("nowhere/run.mp4", "nowhere/run.mp4 cannot be written: there is no folder"),
    ],
)
def test_video_that_cannot_be_written(place: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=words):
        VideoRecorder(tmp_path / place, 10)


@pytest.mark.usefixtures("_video_writer")
def test_full_disk_stops_the_video_and_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    free = iter([10**9, 10**6])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=next(free, 10**6)))
    with pytest.raises(RecordError, match=r"run\.mp4: the disk is full"):
        record_clip(tmp_path / "run.mp4", [i / 10 for i in range(100)])
    assert [n for n, _ in shown(tmp_path / "run.mp4")] == list(range(30))


@pytest.mark.usefixtures("_video_writer")
@pytest.mark.parametrize("name", ["run.mp4", "run.parquet"])
def test_a_disk_that_is_full_from_the_start_is_told_in_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / name
    path.write_text("an older one")
    usage = shutil.disk_usage(tmp_path)._replace(free=10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    monkeypatch.setattr(table, "_GROUP_ROWS", 1)
    with pytest.raises(RecordError, match=rf"{name}: the disk is full; nothing was written; free some space"):
        record_clip(path, [0.0, 0.1]) if name.endswith("mp4") else recorded(path, 3)
    assert caplog.messages == []
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert path.read_text() == "an older one"


@needs_ffmpeg
def test_ffmpeg_that_fails_leaves_no_empty_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object) -> None:
        raise RecordError("ffmpeg could not finish the video: it has none")

    recorder = VideoRecorder(tmp_path / "run.mp4", 10)
    recorder.write(paint(0), 0.0)
    assert recorder._sink is not None
    recorder._sink.close()
    next(tmp_path.iterdir()).write_bytes(b"")
    monkeypatch.setattr(type(recorder._sink), "close", fail)
    with pytest.raises(RecordError, match=r"run\.mp4 cannot be written: ffmpeg could not finish"):
        recorder.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["run.jsonl", "run.csv"])
def test_lines_on_a_full_disk_leave_no_empty_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.BytesIO):
        def write(self, data: object) -> int:
            return 0

    place = tmp_path / name
    place.touch()
    monkeypatch.setattr(Path, "open", lambda *args, **kwargs: Full())
    with pytest.raises(RecordError, match=rf"{name}: the disk is full; nothing was written"):
        recorded(place, 3)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "map.png"
    record.save_picture(paint(1), path)
    before = path.read_bytes()
    (tmp_path / "link.png").symlink_to(path)
    record.save_picture(paint(2), tmp_path / "link.png")
    assert (tmp_path / "link.png").is_symlink()
    assert path.read_bytes() != before
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", fail)
    for name in ("map.png", "new.jpg"):
        with pytest.raises(RecordError, match=rf"{name}: the disk is full; nothing was written"):
            record.save_picture(paint(3), tmp_path / name)
    assert path.read_bytes() == before
    with pytest.raises(RecordError, match="there is no folder"):
        record.save_picture(paint(3), tmp_path / "nowhere" / "map.png")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link.png", "map.png"]


@needs_ffmpeg
def test_ffmpeg_that_dies_is_an_error(tmp_path: Path) -> None:
    def run() -> None:
        with VideoRecorder(tmp_path / "run.mp4", 10) as recorder:
            recorder.write(paint(0), 0.0)
            recorder._sink._process.kill()  # type: ignore[union-attr]
            for i in range(1, 100):
                recorder.write(paint(i), i / 10)

    with pytest.raises(RecordError, match="ffmpeg stopped writing the video"):
        run()


@pytest.mark.slow
@pytest.mark.parametrize("ffmpeg", [pytest.param(True, marks=needs_ffmpeg), False])
def test_ctrl_c_and_kill_leave_a_video_that_plays(ffmpeg: bool, tmp_path: Path) -> None:
    code = (
        "import os, sys, time; sys.path.insert(0, sys.argv[2])\n"
        f"os.environ['PATH'] = os.environ['PATH'] if {ffmpeg} else ''\n"
        "from pathlib import Path; from clips import paint\n"
        "from rtsearch.recording import VideoRecorder\n"
        "with VideoRecorder(Path(sys.argv[1]), 10) as recorder:\n"
        "    for i in range(10**6):\n"
        "        recorder.write(paint(i), i / 10); print(i, flush=True); time.sleep(0.001)\n"
    )
    for sent, finds in (
        (signal.SIGINT, lambda: tmp_path / "run.mp4"),
        (signal.SIGKILL, lambda: next(tmp_path.glob(".run.*.part.mp4"))),
    ):
        # The last second or so is lost where the one that encodes it is killed.
        least = 50 if ffmpeg or sent == signal.SIGINT else 30
        _interrupt(code, tmp_path / "run.mp4", sent)
        deadline_s = time.monotonic() + 30  # the file plays before ffmpeg has read all
        while not _plays(finds, least) and time.monotonic() < deadline_s:
            time.sleep(0.1)
        numbers = [n for n, _ in shown(finds())]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) >= least
        (tmp_path / "run.mp4").unlink(missing_ok=True)


@needs_ffmpeg
def test_a_video_plays_whatever_ends_its_writers(tmp_path: Path) -> None:
    """As when the power fails: this process and ffmpeg are gone in the same moment."""
    with VideoRecorder(tmp_path / "s3:run.mp4", 10) as recorder:
        for i in range(60):
            recorder.write(paint(i), i / 10)
        part = next(tmp_path.glob(".s3:run.*.part.mp4"))
        deadline_s = time.monotonic() + 20
        while part.stat().st_size < 20_000 and time.monotonic() < deadline_s:
            time.sleep(0.05)
        killed = shutil.copyfile(part, tmp_path / "killed.mp4")
    numbers = [n for n, _ in shown(killed)]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= 10
    with VideoFile(str(tmp_path / "s3:run.mp4")) as source:
        assert source.frames == 60  # the finished one is of one piece


def test_a_video_that_can_grow_no_further_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here for a limit of the process; a disk that is full fails in the same call."""
    monkeypatch.setattr(video_module, "find_ffmpeg", lambda: None)
    path = tmp_path / "run.mp4"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def run() -> None:
        with VideoRecorder(path, 10) as recorder:
            for i in range(1000):
                recorder.write(paint(i), i / 10)
                if i == 50:
                    part = next(tmp_path.glob(".run.*.part.mp4"))
                    resource.setrlimit(resource.RLIMIT_FSIZE, (part.stat().st_size + 1000, before[1]))

    try:
        with pytest.raises(RecordError, match=r"run\.mp4 cannot be written: File too large"):
            run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    numbers = [n for n, _ in shown(next(tmp_path.glob(".run.*.part.mp4")))]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= 30


def _interrupt(code: str, path: Path, sent: signal.Signals) -> None:
    """Run code until 50 pictures are written; then interrupt its group, as a terminal does, or kill it."""
    command = [sys.executable, "-c", code, str(path), str(Path(__file__).parent)]
    process = forked.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, process_group=0
    )
    assert process.stdout is not None
    while int(process.stdout.readline()) < 50:
        pass
    if sent == signal.SIGINT:
        subprocess.run(["kill", "-INT", "--", f"-{process.pid}"], check=True)
    else:
        process.send_signal(sent)
    process.stdout.close()
    process.wait()


def _plays(finds: Callable[[], Path], least: int = 1) -> bool:
    try:
        return len(shown(finds())) >= least
    except (OSError, StopIteration):
        return False
