"""What goes wrong in the field, through the live loop: it ends or recovers in time, loses no line, leaves no
thread.

Longer variants run in ``make soak``.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import blobs
import pyarrow.parquet as pq
import pytest
from barcode import number_of, picture
from clips import needs_ffmpeg, write_clip
from playing import SETTINGS, Given, Watcher, lines, run
from servers import FfmpegPusher, MjpegServer
from test_live_stops import press_ctrl_c
from test_sources_live import free_port

from rtsearch.config import LiveSettings
from rtsearch.errors import StageError
from rtsearch.library.thumbnails import ThumbCache
from rtsearch.live import LiveReport, Outputs, play
from rtsearch.recording import Recording
from rtsearch.sources import Source, open_source
from rtsearch.sources import live_capture as stream

ENDS_WITHIN_S = 5.0
long = pytest.mark.skipif("RTSEARCH_LONG" not in os.environ, reason="takes long: make soak")
threads_end = pytest.mark.usefixtures("no_thread_is_left")


class Script:
    """A screen whose run is told by a generator: it yields what to wait for, one condition after the other.

    The run ends after the last one. A condition that does not come true in time fails the test.
    """

    def __init__(self, steps: Callable[[Script], Iterator[Callable[[], bool]]]) -> None:
        self.ids: list[int] = []
        self.shapes: list[tuple[int, int]] = []
        self.numbers: list[int] = []
        self.notes: list[tuple[str, ...]] = []
        self.waited_s: list[float] = []
        self._steps = steps(self)
        self._wanted = next(self._steps)
        self._since_s = time.monotonic()

    def show(self, scene: Any, _picture: Any) -> None:
        self.notes.append(scene.notes)
        if self.ids[-1:] == [scene.frame.id]:  # drawn again, while its source is lost
            return
        self.ids.append(scene.frame.id)
        self.shapes.append(scene.frame.bgr.shape[1::-1])
        self.numbers.append(number_of(scene.frame.bgr) if self.shapes[-1] == (320, 240) else -1)

    def pump(self) -> bool:
        took_s = time.monotonic() - self._since_s
        if self._wanted():
            self.waited_s.append(took_s)
            self._since_s = time.monotonic()
            try:
                self._wanted = next(self._steps)
            except StopIteration:
                return False
        elif took_s > 30:
            pytest.fail(f"waited {took_s:.0f} s for step {len(self.waited_s)}")
        return True


def play_blobs(source: Source, index: Any, outputs: Outputs, sleep_s: float = 0) -> LiveReport:
    pipeline: Any = blobs.BlobPipeline(blobs.BlobDetector(sleep_s))
    return play(source, pipeline, index, SETTINGS, outputs)


def check_lines(path: Path, report: LiveReport) -> None:
    with Recording(path) as recording:
        assert len(recording) == report.frames_shown


# Streams ---------------------------------------------------------------------------------------------------


@threads_end
def test_a_bad_day_of_a_camera(barcode_index: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stalls, sends garbage and halves of pictures, hangs up, goes away, and is back each time.

    Of a stream that is back the next picture is on screen within 5 s. To find the loss takes as long as the
    time limit of a read, here 1 s.
    """
    monkeypatch.setattr(stream, "READ_TIMEOUT_S", 1.0)
    monkeypatch.setattr(stream, "_WAITS_S", (0.25, 0.5, 1.0))
    size = (320, 240)

    def taken(tick: int) -> Any:
        bgr = picture(tick % 256)
        return bgr if size == (320, 240) else bgr[: size[1], : size[0]]

    with MjpegServer(taken) as server:
        source = open_source(server.url, LiveSettings())

        def playing_again(before: int) -> bool:
            return len(screen.ids) > before + 5 and source.status == "ok"

        def shown_as(size: tuple[int, int]) -> bool:
            return screen.shapes[-1] == size

        def day(screen: Script) -> Iterator[Callable[[], bool]]:
            nonlocal size
            yield lambda: len(screen.ids) > 10
            for fault in ("stall", "garbage", "half", "refuse", "stop"):
                server.mode = fault
                if fault == "stop":
                    server.stop()
                yield lambda: source.status == "reconnecting"
                if fault == "stop":
                    server.start()
                server.mode, before = "play", len(screen.ids)
                yield partial(playing_again, before)
            for size in ((160, 100), (320, 240)):
                yield partial(shown_as, size)

        screen = Script(day)
        begun_s = time.monotonic()
        report = play_blobs(source, barcode_index, Outputs(screen, records=(tmp_path / "o.jsonl",)))
        stopped_s = time.monotonic() - begun_s - sum(screen.waited_s)
    back_s = [screen.waited_s[i] for i in (2, 4, 6, 8, 10, 11, 12)]
    assert max(back_s) < ENDS_WITHIN_S, screen.waited_s
    assert stopped_s < ENDS_WITHIN_S
    assert screen.ids == sorted(screen.ids)
    assert any("connection lost, trying again" in notes for notes in screen.notes)
    check_lines(tmp_path / "o.jsonl", report)
    shape = dict(zip(screen.ids, screen.shapes, strict=True))
    for line in lines(tmp_path / "o.jsonl"):  # no picture that was cut off was taken for a whole one
        if shape.get(line["frame"]) == (320, 240):
            assert [item["label"] for item in line["objects"]] == ["red"]


@threads_end
@needs_ffmpeg
@pytest.mark.parametrize("protocol", ["udp", pytest.param("rtsp", marks=long)])
def test_a_sender_that_dies_and_returns(
    barcode_index: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    """MPEG-TS over UDP; RTSP announced by ffmpeg to a source that listens, for want of a server of it."""
    monkeypatch.setattr(stream, "READ_TIMEOUT_S", 1.0)
    if protocol == "rtsp":
        options = "rtsp_flags;listen|listen_timeout;8|fflags;nobuffer"
        monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", options)
    clip = write_clip(tmp_path / "clip.mp4", range(300))
    url = f"{protocol}://127.0.0.1:{free_port()}" + ("/live" if protocol == "rtsp" else "")
    with contextlib.ExitStack() as stack:
        sender = stack.enter_context(FfmpegPusher(clip, url))
        source = open_source(url, LiveSettings())

        def loss(screen: Script) -> Iterator[Callable[[], bool]]:
            yield lambda: len(screen.ids) > 5
            sender.stop()
            yield lambda: source.status == "reconnecting"
            stack.enter_context(FfmpegPusher(clip, url))
            before = len(screen.ids)
            yield lambda: len(screen.ids) > before + 5 and source.status == "ok"

        screen = Script(loss)
        report = play_blobs(source, barcode_index, Outputs(screen, records=(tmp_path / "o.jsonl",)))
    assert screen.waited_s[-1] < 2 * ENDS_WITHIN_S, screen.waited_s  # ffmpeg itself takes a while to begin
    check_lines(tmp_path / "o.jsonl", report)


# Stages ----------------------------------------------------------------------------------------------------


@threads_end
@pytest.mark.parametrize("live", [False, True])
def test_a_detector_that_raises_keeps_what_was_recorded(blob_index: Any, tmp_path: Path, live: bool) -> None:
    records = tuple(tmp_path / name for name in ("o.jsonl", "o.csv", "o.parquet"))
    pipeline = blobs.BlobPipeline()
    pipeline.detector.fail_at = 20
    begun_s = time.monotonic()
    with pytest.raises(StageError, match="detect: the network has melted"):
        run(
            Given(list(range(10_000)), live=live, every_s=0.005),
            blob_index,
            Outputs(records=records),
            pipeline,
        )
    assert time.monotonic() - begun_s < ENDS_WITHIN_S
    written = lines(records[0])
    assert len(written) >= (10 if live else 19)
    objects = sum(len(line["objects"]) for line in written)
    assert pq.read_table(records[2]).num_rows == objects
    assert len(records[1].read_text(encoding="utf-8").splitlines()) == 1 + 5 * objects


@pytest.mark.parametrize(
    ("live", "ends"),
    [
        (False, "Ctrl-C"),
        (True, "the user leaves"),
        pytest.param(False, "the user leaves", marks=long),
        pytest.param(True, "Ctrl-C", marks=long),
    ],
)
def test_a_disk_that_stalls_holds_nobody_up(
    blob_index: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any, live: bool, ends: str
) -> None:
    stall, stalled, real = threading.Event(), threading.Event(), ThumbCache.prefetch

    def prefetch(self: ThumbCache, *args: Any) -> None:
        if len(screen.scenes) >= 5:
            stalled.set()
            stall.wait(120)
        real(self, *args)

    def goes_on(screen: Watcher) -> bool:
        if not stalled.is_set() or ends == "the user leaves":
            return not stalled.is_set()
        press_ctrl_c()
        return True

    monkeypatch.setattr(ThumbCache, "prefetch", prefetch)
    screen = Watcher(goes_on)
    source = Given(list(range(10_000)), live=live, every_s=0.02)
    outputs = Outputs(screen, tmp_path / "o.mp4", (tmp_path / "o.jsonl",))
    begun_s = time.monotonic()
    with caplog.at_level(logging.WARNING):
        report = run(source, blob_index, outputs)
    assert time.monotonic() - begun_s < 120  # the disk still holds its thread
    check_lines(tmp_path / "o.jsonl", report)
    assert (tmp_path / "o.mp4").is_file()
    stall.set()
    deadline_s = time.monotonic() + 60  # the one thread that the disk holds goes when the disk is back
    while any(thread.name in ("thumbs", "search") for thread in threading.enumerate()):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


@threads_end
@pytest.mark.parametrize("live", [False, True])
def test_full_queues_at_quit(blob_index: Any, live: bool) -> None:
    """A screen that takes its time, so that every stage before it waits with its hands full."""
    screen = Watcher(lambda screen: time.sleep(0.1) or len(screen.scenes) < 6)
    source = Given(list(range(10_000)), live=live, every_s=0.001 if live else 0)
    begun_s = time.monotonic()
    report = run(source, blob_index, Outputs(screen))
    assert time.monotonic() - begun_s < ENDS_WITHIN_S
    assert report.frames_shown == 6


# Ctrl-C ----------------------------------------------------------------------------------------------------


def forget(screen: Watcher) -> bool:
    """A run whose Ctrl-C is lost is to fail this test, not to fill the memory."""
    screen.scenes.clear()
    screen.pictures.clear()
    return True


CTRL_CS = 100 if "RTSEARCH_LONG" in os.environ else 40  # five of each kind
MOMENTS = random.Random(5)


@threads_end
def test_many_ctrl_cs_at_random_moments(blob_index: Any, tmp_path: Path) -> None:
    """While it starts, while it plays, with and without a window, a table or a video."""
    kinds = itertools.cycle(itertools.product((False, True), (False, True), (".jsonl", ".parquet")))
    longest_s, begun, within_s = 0.0, 0, 0.1
    for i, (live, window, suffix) in zip(range(CTRL_CS), kinds, strict=False):
        record = tmp_path / f"{i}{suffix}"
        video = tmp_path / f"{i}.mp4" if i % 10 == 0 else None
        source = Given(list(range(100_000)), live=live, every_s=0.002 if live else 0)
        pressed_s = []

        def press(pressed_s: list[float] = pressed_s) -> None:
            pressed_s.append(time.monotonic())
            press_ctrl_c()

        timer = threading.Timer(MOMENTS.uniform(0, within_s), press)
        outputs = Outputs(Watcher(forget) if window else None, video, (record,))
        try:
            timer.start()
            report = run(source, blob_index, outputs)
        except KeyboardInterrupt:  # before the loop was there to take it
            timer.join()
            within_s *= 1.1  # a slow machine takes longer to begin
            continue
        timer.join()
        longest_s = max(longest_s, time.monotonic() - pressed_s[0])
        assert source.closed.is_set()
        assert report.frames_shown < 100_000
        begun += report.frames_shown > 0
        within_s *= 1 if report.frames_shown else 1.1
        if suffix == ".parquet":
            assert pq.read_table(record).num_rows == report.objects
        else:
            assert len(lines(record)) == report.frames_shown
        if video is not None and report.frames_shown:
            assert video.is_file()
    assert longest_s < ENDS_WITHIN_S
    assert begun > CTRL_CS // 2  # the others had not come to their first frame
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(
    "after_s", [0.3, 1.5, *(pytest.param(s, marks=long) for s in (0.05, 0.6, 1.0, 2.0, 2.5, 3.0, None))]
)
def test_ctrl_c_on_the_command_line(
    library: Path, long_clip: Path, tmp_path: Path, after_s: float | None
) -> None:
    """While the command is imported, while the network is opened, while it plays (None)."""
    record = tmp_path / "o.jsonl"
    # As the installed command does it; a line says that Python has started, whose start is not ours.
    main = "from rtsearch.cli import main; print('started', flush=True); main()"
    command = [sys.executable, "-c", main, "run", str(library), "--source", str(long_clip)]
    command += ["--headless", "--record", str(record)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    if after_s is None:
        while not (record.exists() and record.stat().st_size > 300):
            assert process.poll() is None
            time.sleep(0.02)
    else:
        time.sleep(after_s)
    begun_s = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - begun_s < ENDS_WITHIN_S
    assert "Traceback" not in err
    assert process.returncode in (0, -signal.SIGINT)
    assert after_s is not None or process.returncode == 0
    if record.exists():
        for line in record.read_text(encoding="utf-8").splitlines():
            json.loads(line)
