"""Cameras and streams, against real servers and stand-ins: losses are found and mended, no thread is left."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import needs_ffmpeg, paint, read_number, write_clip
from playing import three_chances
from servers import FfmpegPusher, MjpegServer

from rtsearch.config import LiveSettings
from rtsearch.errors import SourceError
from rtsearch.sources import Source, open_source, require_one
from rtsearch.sources import live_capture as stream
from rtsearch.sources.capture import Limits, LostError, Taken
from rtsearch.sources.jpegs import decode_picture
from rtsearch.sources.live_capture import READ_TIMEOUT_S, LiveCapture
from rtsearch.types import Frame

LIVE = LiveSettings(open_timeout_s=8.0)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    eventually(10, lambda: set(threading.enumerate()) <= before)  # a read from a network ends at its limit


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def within(seconds: float, source: Source, wanted: Callable[[Frame], bool]) -> Frame:
    """The first frame that is as wanted; fails when none comes in time."""
    timer = threading.Timer(seconds, source.close)
    timer.start()
    try:
        return next(frame for frame in source if wanted(frame))
    except StopIteration:
        pytest.fail(f"nothing of the kind within {seconds} s; status {source.status}")
    finally:
        timer.cancel()
        timer.join()


def take(source: Source, count: int, seconds: float = 60.0) -> list[Frame]:
    """The next frames; fails when they do not come in time."""
    return [within(seconds, source, lambda _: True) for _ in range(count)]


@pytest.fixture
def losses_are_found_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read that gets nothing is given up after 1 s instead of 3."""
    monkeypatch.setattr(stream, "READ_TIMEOUT_S", 1.0)


def eventually(seconds: float, wanted: Callable[[], bool]) -> None:
    end_s = time.monotonic() + seconds
    while not wanted():
        assert time.monotonic() < end_s, f"not within {seconds} s"
        time.sleep(0.02)


# A stand-in for a camera ------------------------------------------------------------------------------------


class FakeCapture:
    """Gives numbered pictures at a pace until told otherwise."""

    freezes = True

    def __init__(self, camera: FakeCamera) -> None:
        self.fps: float | None = 30.0
        self._camera = camera

    def read(self, limit_s: float) -> Taken:
        time.sleep(0.002)
        camera = self._camera
        camera.limits.append(limit_s)
        if camera.fails is not None:
            raise camera.fails
        if not camera.there:
            raise LostError("no picture came")
        if not camera.frozen:
            camera.number += 1
        return Taken(paint(camera.number, camera.wh))

    def interrupt(self) -> None:
        self._camera.interrupted += 1

    def release(self) -> None:
        self._camera.released += 1


class FakeCamera:
    def __init__(self) -> None:
        self.there, self.frozen, self.number, self.wh = True, False, 0, (64, 48)
        self.fails: Exception | None = None
        self.connected = self.released = self.interrupted = 0
        self.limits: list[float] = []

    def open(self, *, patient: bool = False) -> LiveCapture:
        limits = Limits(2.0, 2.0)
        return LiveCapture("camera 0", self._connect, limits=limits, hint="plug it in", patient=patient)

    def _connect(self, timeout_s: float) -> FakeCapture:
        if not self.there:
            raise LostError("there is no camera 0")
        self.connected += 1
        return FakeCapture(self)


def test_only_the_newest_picture_is_kept_and_gaps_count_what_was_missed() -> None:
    camera = FakeCamera()
    with camera.open() as source:
        assert (source.live, source.fps, source.wh, source.status) == (True, 30.0, (64, 48), "ok")
        first = next(source)
        eventually(5, lambda: camera.number > first.id + 20)
        second = next(source)
        assert second.id > first.id + 10
        assert read_number(second.bgr) == second.id + 1
        assert second.captured_s > first.captured_s
        assert second.pts_s is None
    assert camera.released == camera.connected == 1
    assert list(source) == []


def test_camera_that_is_not_there_is_an_error_at_once() -> None:
    camera = FakeCamera()
    camera.there = False
    with pytest.raises(SourceError, match="camera 0 cannot be opened: there is no camera 0; plug it in"):
        camera.open()
    assert camera.released == camera.connected


def test_camera_that_comes_back_goes_on() -> None:
    camera = FakeCamera()
    with camera.open() as source:
        next(source)
        camera.there = False
        eventually(2, lambda: source.status == "reconnecting")
        eventually(5, lambda: source._attempts >= 2)  # tries again and again
        camera.there, gone = True, camera.number
        assert read_number(within(5, source, lambda f: f.id >= gone).bgr) > gone
        eventually(5, lambda: source.status == "ok")
    assert camera.released == camera.connected


def test_slow_cameras_have_more_time_for_a_picture() -> None:
    camera = FakeCamera()
    with camera.open():
        eventually(5, lambda: len(camera.limits) > 20)
    first, last = camera.limits[:2], camera.limits[-1]
    assert first == [2.0, 2.0]  # picture_timeout_s
    assert last == min(2.0, READ_TIMEOUT_S)
    slow = LiveCapture("slow", lambda _: Slow(), limits=Limits(60.0, 60.0), hint="")
    with slow:
        eventually(20, lambda: len(Slow.limits) > 3)
    assert Slow.limits[-1] > 4.0  # four intervals of more than a second


class Slow:
    """A camera that gives a picture every 1.1 s."""

    freezes = True
    limits: list[float] = []  # noqa: RUF012
    fps: float | None = None

    def __init__(self) -> None:
        self._stop = threading.Event()

    def read(self, limit_s: float) -> Taken:
        self.limits.append(limit_s)
        if self._stop.wait(1.1):
            raise LostError("closed")
        return Taken(paint(len(self.limits), (64, 48)))

    def interrupt(self) -> None:
        self._stop.set()

    def release(self) -> None:
        pass


def test_of_several_sources_one_is_enough(caplog: pytest.LogCaptureFixture) -> None:
    dead, alive = FakeCamera(), FakeCamera()
    dead.there = False
    with dead.open(patient=True) as first, alive.open(patient=True) as second:
        require_one([first, second])
        assert next(second).id >= 0
        eventually(5, lambda: first.problem() != "" and first._attempts >= 2)
        assert first.status == "reconnecting"
        lines = [record.getMessage() for record in caplog.records]
        assert lines == ["camera 0 gives no picture: there is no camera 0; trying until it does"]
        dead.there = True
        assert next(first).id >= 0  # a camera leaves frames out that nobody takes in time
        assert first.status == "ok"


def test_of_several_sources_none_is_an_error() -> None:
    cameras = FakeCamera(), FakeCamera()
    for camera in cameras:
        camera.there = False
    with (
        cameras[0].open(patient=True) as first,
        cameras[1].open(patient=True) as second,
        pytest.raises(SourceError, match="camera 0 cannot be opened: there is no camera 0; plug it in"),
    ):
        require_one([first, second])


def test_waits_grow_from_one_attempt_to_the_next() -> None:
    assert list(stream._WAITS_S) == sorted(stream._WAITS_S)
    assert stream._WAITS_S[-1] <= 3


def test_frozen_picture_is_a_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_FROZEN_S", 0.3)
    camera = FakeCamera()
    with camera.open() as source:
        camera.frozen = True
        eventually(3, lambda: camera.connected >= 2)
        camera.frozen, stood = False, camera.number
        assert read_number(within(3, source, lambda f: read_number(f.bgr) > stood).bgr) > stood
        eventually(5, lambda: source.status == "ok")


def test_a_still_scene_is_no_loss_for_minutes() -> None:
    judge = stream._Still()
    still = np.zeros((32, 32, 3), np.uint8)
    assert not any(judge.too_long(still, float(t)) for t in range(120))


def test_true_still_is_tried_ever_more_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_FROZEN_S", 1.0)
    still, moved = np.zeros((32, 32, 3), np.uint8), np.ones((32, 32, 3), np.uint8)
    judge = stream._Still()
    losses = [t for t in range(40) if judge.too_long(still, float(t))]
    assert losses == [1, 3, 7, 15, 31]
    assert stream._FROZEN_MAX_S >= 3600
    assert not judge.too_long(moved, 40.0)
    assert judge.too_long(moved, 41.0)


def test_reader_that_fails_is_reported_to_whoever_iterates() -> None:
    camera = FakeCamera()
    with camera.open() as source:
        camera.fails = RuntimeError("driver says no")
        with pytest.raises(SourceError, match="driver says no"):
            list(source)
    assert camera.released == camera.connected


def test_close_wakes_whoever_waits() -> None:
    camera = FakeCamera()
    source = camera.open()
    camera.there = False
    timer = threading.Timer(0.3, source.close)
    timer.start()
    list(source)
    timer.join()
    source.close()
    assert next(source, None) is None


# HTTP -------------------------------------------------------------------------------------------------------


@three_chances
def test_mjpeg_over_http_is_fresh() -> None:
    with MjpegServer(paint) as server, open_source(server.url, LIVE) as source:
        assert (source.live, source.camera, source.frames, source.wh) == (True, True, None, (320, 240))
        assert source.fps is None  # FFmpeg says 25 to each such stream
        for _ in range(10):
            time.sleep(0.1)  # a slow reader
            number = read_number(within(5, source, lambda f: True).bgr)
            assert server.tick() - number <= 8


@pytest.mark.usefixtures("losses_are_found_soon")
@pytest.mark.parametrize("fault", ["stall", "refuse", "half", "garbage", "stop"])
def test_stream_that_fails_and_returns_goes_on(fault: str) -> None:
    with MjpegServer(paint) as server, open_source(server.url, LIVE) as source:
        within(5, source, lambda f: f.id > 3)
        if fault == "stop":
            server.stop()
        else:
            server.mode = fault
        eventually(8, lambda: source.status == "reconnecting")
        if fault == "stop":
            server.start()
        server.mode = "play"
        back = server.tick()
        assert read_number(within(5, source, lambda f: read_number(f.bgr) >= back).bgr) < back + 150
        eventually(5, lambda: source.status == "ok")


def test_garbage_does_not_end_a_stream() -> None:
    with MjpegServer(paint) as server, open_source(server.url, LIVE) as source:
        within(5, source, lambda f: f.id > 3)
        server.mode = "garbage"
        time.sleep(1.0)
        server.mode = "play"
        back = server.tick()
        assert read_number(within(5, source, lambda f: read_number(f.bgr) >= back).bgr) < back + 300


def test_stream_that_changes_size_goes_on() -> None:
    sizes = itertools.cycle([(320, 240), (640, 360), (160, 120)])
    size = next(sizes)
    with MjpegServer(lambda tick: paint(tick, size)) as server, open_source(server.url, LIVE) as source:
        for _ in range(3):
            size = next(sizes)
            back = server.tick()
            frame = within(5, source, lambda f: f.bgr.shape[:2] == (size[1], size[0]))  # noqa: B023
            assert back - 1 <= read_number(frame.bgr) < back + 150


def test_a_header_that_claims_a_giant_takes_no_memory() -> None:
    _, encoded = cv2.imencode(".jpg", np.zeros((48, 64, 3), np.uint8))
    jpeg = bytearray(encoded.tobytes())
    place = jpeg.index(b"\xff\xc0") + 5
    picture = decode_picture(bytes(jpeg))
    assert picture is not None
    assert picture.shape == (48, 64, 3)
    jpeg[place : place + 4] = b"\x7f\xff\x7f\xff"
    assert decode_picture(bytes(jpeg)) is None


def test_nothing_but_garbage_is_an_error_in_time() -> None:
    with MjpegServer(paint) as server:
        server.mode = "garbage"
        begun_s = time.monotonic()
        with pytest.raises(SourceError, match="gives no picture within 1 s"):
            open_source(server.url, LiveSettings(picture_timeout_s=1.0))
        assert time.monotonic() - begun_s < 6


def test_server_that_never_answers_is_an_error_in_time() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(SourceError, match="gives no answer within 1 s"):
            open_source(f"http://127.0.0.1:{silent.getsockname()[1]}/", LiveSettings(open_timeout_s=1.0))


@pytest.mark.usefixtures("losses_are_found_soon")
@pytest.mark.parametrize("mode", ["play", "stall"])
def test_close_returns_soon(mode: str) -> None:
    with MjpegServer(paint) as server:
        source = open_source(server.url, LIVE)
        server.mode = mode
        time.sleep(0.2)
        begun_s = time.monotonic()
        source.close()
        assert time.monotonic() - begun_s < 6  # a read that gets nothing takes 1


# What ffmpeg sends ------------------------------------------------------------------------------------------


@needs_ffmpeg
def test_mpeg_ts_over_udp(tmp_path: Path) -> None:
    """Its losses are in test_faults.py."""
    clip = write_clip(tmp_path / "clip.mp4", range(300))
    url = f"udp://127.0.0.1:{free_port()}"
    with FfmpegPusher(clip, url), open_source(url, LIVE) as source:
        numbers = [read_number(within(5, source, lambda f: True).bgr) for _ in range(20)]
        assert numbers == sorted(numbers)


@needs_ffmpeg
def test_rtsp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an RTSP server at hand the source listens and ffmpeg announces the stream to it."""
    monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_flags;listen|listen_timeout;8|fflags;nobuffer")
    clip = write_clip(tmp_path / "clip.mp4", range(300))
    url = f"rtsp://127.0.0.1:{free_port()}/live"
    with FfmpegPusher(clip, url), open_source(url, LIVE) as source:
        numbers = [read_number(within(5, source, lambda f: True).bgr) for _ in range(20)]
    assert numbers == sorted(numbers)
    assert numbers[-1] > 0
