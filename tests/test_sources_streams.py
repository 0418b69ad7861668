"""Streams of all kinds: rare keyframes, losses, playlists, files on servers, Ctrl-C."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import forked
import numpy as np
import pytest
from clips import FFMPEG, ffmpeg, needs_ffmpeg, paint, read_number, write_clip
from servers import WebServer, jpeg, part, send
from test_sources_live import eventually, free_port, take, within

from rtsearch.config import LiveSettings
from rtsearch.errors import SourceError
from rtsearch.sources import Paced, VideoFile, open_source
from rtsearch.sources import live_capture as stream
from rtsearch.sources.network import _Pace

LIVE = LiveSettings()
pytestmark = pytest.mark.usefixtures("no_thread_is_left")


@pytest.fixture(autouse=True)
def _losses_are_found_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "READ_TIMEOUT_S", 1.0)


@contextlib.contextmanager
def sender(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """ffmpeg, in real time, until the context is left."""
    assert FFMPEG is not None
    with subprocess.Popen([FFMPEG, "-v", "quiet", "-re", *arguments], stdin=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def let_a_picture_go_by(port: int) -> None:
    """Take the datagrams of the first picture, up to the pause after them."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", port))
        receiver.settimeout(20)
        with contextlib.suppress(TimeoutError):
            while receiver.recv(2048):
                receiver.settimeout(0.04)


H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-pix_fmt", "yuv420p")

# FFmpeg's protocols -----------------------------------------------------------------------------------------


@needs_ffmpeg
def test_the_first_picture_comes_with_the_next_keyframe(tmp_path: Path) -> None:
    """A keyframe every 5 s, where a camera has 2 s to answer; that it is late is no loss afterwards."""
    clip = str(write_clip(tmp_path / "clip.mp4", range(600), fps=10))
    port = free_port()
    url = f"udp://127.0.0.1:{port}"
    rare = ("-g", "50", "-keyint_min", "50", "-sc_threshold", "0", "-f", "mpegts")
    with sender("-i", clip, *H264, *rare, f"{url}?pkt_size=1316"):
        let_a_picture_go_by(port)  # the first keyframe
        with open_source(url, LiveSettings(open_timeout_s=5.0)) as source:
            frames = take(source, 20)
    assert read_number(frames[0].bgr) % 50 == 0
    assert not any(frame.torn for frame in frames)


@needs_ffmpeg
def test_a_limit_of_its_own_ends_the_wait_for_a_keyframe(tmp_path: Path) -> None:
    clip = str(write_clip(tmp_path / "clip.mp4", range(600), fps=10))
    port = free_port()
    url = f"udp://127.0.0.1:{port}"
    with sender("-i", clip, *H264, "-g", "600", "-f", "mpegts", f"{url}?pkt_size=1316"):
        let_a_picture_go_by(port)
        with pytest.raises(SourceError, match="gives no picture within 1 s"):
            open_source(url, LiveSettings(picture_timeout_s=1.0))


@needs_ffmpeg
def test_interlaced_streams_give_their_pictures(tmp_path: Path) -> None:
    """Each picture twice, which makes two fields of it."""
    clip = str(write_clip(tmp_path / "clip.mp4", range(400), fps=25))
    url = f"udp://127.0.0.1:{free_port()}"
    fields = ("-vf", "setfield=tff", "-c:v", "mpeg2video", "-q:v", "2", "-flags", "+ilme+ildct", "-g", "10")
    with (
        sender("-i", clip, *fields, "-pix_fmt", "yuv420p", "-f", "mpegts", f"{url}?pkt_size=1316"),
        open_source(url, LIVE) as source,
    ):
        for frame in take(source, 20):
            assert np.abs(frame.bgr.astype(int) - paint(read_number(frame.bgr))).mean() < 8


class Relay:
    """Passes datagrams on, and leaves some out while ``loses`` is set."""

    def __init__(self) -> None:
        self.loses = False
        self.port, self.to = free_port(), free_port()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", self.port))
        self._socket.settimeout(0.1)
        self._halt = threading.Event()
        self._thread = threading.Thread(target=self._run, name="test-relay")

    def _run(self) -> None:
        for number in itertools.count():
            if self._halt.is_set():
                return
            with contextlib.suppress(TimeoutError):
                data = self._socket.recv(65536)
                if not (self.loses and number % 7 == 3):
                    self._socket.sendto(data, ("127.0.0.1", self.to))

    def __enter__(self) -> Relay:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._halt.set()
        self._thread.join()
        self._socket.close()


@needs_ffmpeg
def test_pictures_with_parts_missing_are_told(tmp_path: Path) -> None:
    wh = (640, 360)
    clip = str(write_clip(tmp_path / "clip.mp4", range(900), fps=30, wh=wh))
    with (
        Relay() as relay,
        sender(
            *("-i", clip, *H264, "-b:v", "3M", "-g", "15", "-f", "mpegts"),
            f"udp://127.0.0.1:{relay.port}?pkt_size=1316",
        ),
        open_source(f"udp://127.0.0.1:{relay.to}", LIVE) as source,
    ):
        assert not any(frame.torn for frame in take(source, 20))
        relay.loses = True
        frames = take(source, 60)
        relay.loses = False
        within(10, source, lambda frame: not frame.torn)
    assert any(frame.torn for frame in frames)
    for frame in frames:
        if not frame.torn:
            assert np.abs(frame.bgr.astype(int) - paint(read_number(frame.bgr), wh)).mean() < 8


# Playlists, and files on servers ----------------------------------------------------------------------------


def folder(path: Path, kind: str = "application/octet-stream", *, length: bool = True) -> WebServer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        file = path / handler.path.lstrip("/").partition("?")[0]
        if not file.is_file():
            handler.send_error(404)
        else:
            send(handler, kind, file.read_bytes(), length=length)

    return WebServer(answer)


@needs_ffmpeg
def test_a_live_playlist_plays_at_its_own_speed(tmp_path: Path) -> None:
    """Segments come in bursts; the pictures do not, and nothing is played twice."""
    (tmp_path / "hls").mkdir()
    clip = str(write_clip(tmp_path / "clip.mp4", range(900), fps=30))
    segments = ("-f", "hls", "-hls_time", "1", "-hls_list_size", "5", "-hls_flags", "delete_segments")
    with (
        sender("-i", clip, *H264, "-g", "30", *segments, str(tmp_path / "hls" / "live.m3u8")),
        folder(tmp_path / "hls", "application/vnd.apple.mpegurl") as web,
    ):
        eventually(20, lambda: len(list((tmp_path / "hls").glob("*.ts"))) > 4)
        with open_source(f"{web.address}/live.m3u8", LIVE) as source:
            assert source.live
            begun_s, frames = time.monotonic(), []
            while time.monotonic() < begun_s + 5:
                frames += take(source, 1)
            assert source.status == "ok"
    numbers = [read_number(frame.bgr) for frame in frames]
    assert numbers == sorted(set(numbers))
    played_s = (numbers[-1] - numbers[0]) / 30
    assert played_s == pytest.approx(frames[-1].captured_s - frames[0].captured_s, abs=1.5)


def test_a_stream_in_bursts_is_as_late_as_its_latest_picture() -> None:
    pace = _Pace()
    arrivals = [
        (0.0, 100.0),
        (0.1, 100.0),
        (0.2, 100.1),
        (0.3, 101.0),
        (0.4, 101.0),
        (60.0, 101.1),
        (60.1, 101.1),
    ]
    waits = [pace.wait_s(pts_s, now_s) for pts_s, now_s in arrivals]
    assert waits == pytest.approx([0.0, 0.1, 0.1, 0.0, 0.1, 0.0, 0.1])


@needs_ffmpeg
@pytest.mark.parametrize("name", ["clip", "video.php?id=1", "vod.m3u8"])
def test_a_finished_video_on_a_server_is_a_file(name: str, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", range(40), fps=20)
    (tmp_path / "video.php").write_bytes(clip.read_bytes())
    playlist = (
        "-c:v",
        "libx264",
        "-pix_fmt",
        "yuv420p",
        "-g",
        "20",
        "-f",
        "hls",
        "-hls_time",
        "1",
        "-hls_list_size",
        "0",
    )
    ffmpeg("-i", str(clip), *playlist, out=tmp_path / "vod.m3u8")
    clip.rename(tmp_path / "clip")
    with folder(tmp_path) as web, open_source(f"{web.address}/{name}", LIVE) as source:
        assert isinstance(source, VideoFile)
        assert not source.live
        assert [read_number(frame.bgr) for frame in source] == list(range(40))
        source.seek(source.begins_s + 1.0)
        assert read_number(next(source).bgr) == 20
        with Paced(source) as player:
            player.seek(source.begins_s)
            begun_s = time.monotonic()
            assert read_number(list(player)[-1].bgr) == 39
            assert time.monotonic() - begun_s >= 39 / 20 - 0.01


@needs_ffmpeg
def test_a_video_without_an_end_is_live(tmp_path: Path) -> None:
    """It is connected to again where the server pauses."""
    clip = str(write_clip(tmp_path / "clip.mp4", range(900), fps=30))
    pause = threading.Event()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        send(handler, "video/mp4", length=False)
        fragments = ("-movflags", "frag_keyframe+empty_moov+default_base_moof", "-f", "mp4", "-")
        command = [str(FFMPEG), "-v", "quiet", "-re", "-i", clip, *H264, "-g", "15", *fragments]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            with contextlib.suppress(OSError):
                while not pause.is_set() and (data := process.stdout.read(4096)):
                    handler.wfile.write(data)
            process.kill()

    with WebServer(answer) as web, open_source(f"{web.address}/api/stream.mp4?src=cam", LIVE) as source:
        assert (source.live, source.camera) == (True, True)
        take(source, 5)
        pause.set()
        eventually(10, lambda: source.status == "reconnecting")
        pause.clear()
        eventually(10, lambda: source.status == "ok")


LOCAL = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXTINF:1.0,\n{}\n#EXT-X-ENDLIST\n"


@needs_ffmpeg
@pytest.mark.parametrize("prefix", ["file://", "file:", "", "concat:", "subfile,,start,0,end,0,,:", "pipe:"])
def test_a_playlist_on_a_server_reads_no_local_file(prefix: str, tmp_path: Path) -> None:
    secret = ffmpeg("-f", "lavfi", "-i", "testsrc2=d=1", "-c:v", "mpeg2video", out=tmp_path / "secret.ts")
    playlist = LOCAL.format(f"{prefix}{secret}").encode()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if "m3u8" in handler.path:
            send(handler, "application/vnd.apple.mpegurl", playlist)
        else:
            handler.send_error(404)

    with (
        WebServer(answer) as web,
        pytest.raises(SourceError, match=r"cannot be opened|holds no video|gives no"),
    ):
        open_source(f"{web.address}/list.m3u8", LiveSettings(open_timeout_s=3, picture_timeout_s=3))


def test_a_redirection_leads_to_the_web_only(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", range(3))

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", f"file://{clip}")
        handler.end_headers()

    with WebServer(answer) as web, pytest.raises(SourceError, match="cannot be opened"):
        open_source(f"{web.address}/clip", LIVE)


# Secrets ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec",
    [
        "rtsp://127.0.0.1:1/user=admin&password=geheim&channel=1",
        "http://127.0.0.1:1/v.cgi?user=a&pwd=geheim",
        "http://a:geheim@127.0.0.1:1/x.mp4",
        "http://a:geheim@127.0.0.1:1/x.m3u8?token=geheim",
        "rtmp://a:geheim@127.0.0.1:1/x",
        "rtsp://a:ge#heim@127.0.0.1:1/x",
        "rtsp://a:ge/heim@127.0.0.1:1/x",
        "rtps://a:geheim@127.0.0.1:1/x",
        "a:geheim@127.0.0.1:1/x",
    ],
)
def test_no_error_tells_a_secret(spec: str) -> None:
    with pytest.raises(SourceError) as caught:
        open_source(spec, LiveSettings(open_timeout_s=1.0))
    error: BaseException | None = caught.value
    while error is not None:  # what a traceback would show
        assert "heim" not in str(error) + repr(error)
        error = error.__context__ if not error.__suppress_context__ else None
    if "#" in spec or "ge/" in spec:
        assert "must be percent-encoded" in str(caught.value)


# Ctrl-C -----------------------------------------------------------------------------------------------------

STALLED = """
import sys, threading, time
from rtsearch.config import LiveSettings
from rtsearch.sources import open_source
try:
    source = open_source(sys.argv[1], LiveSettings(open_timeout_s=60, picture_timeout_s=60))
    print("open", flush=True)
    with source:
        list(source)
except KeyboardInterrupt:
    print("stopped", flush=True)
"""


@pytest.mark.parametrize("protocol", ["http", "rtsp", "udp", "mjpeg", "file"])
def test_ctrl_c_ends_a_wait_for_the_network(protocol: str, tmp_path: Path) -> None:
    """Also where the read itself cannot be ended: its thread does not hold up the process."""
    waits = threading.Event()
    clip = write_clip(tmp_path / "clip.avi", range(100)).read_bytes()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if protocol == "mjpeg":
            send(handler, "multipart/x-mixed-replace; boundary=frame", length=False)
            handler.wfile.write(part(jpeg(1)))
        elif protocol == "file":
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(clip)))
            handler.end_headers()
            handler.wfile.write(clip[: len(clip) // 2])
            handler.wfile.flush()
            if len(web.paths) < 2:
                return
        waits.set()
        web.halt.wait(30)

    with WebServer(answer) as web, socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = {
            "rtsp": f"rtsp://127.0.0.1:{silent.getsockname()[1]}/",
            "udp": f"udp://127.0.0.1:{free_port()}",
        }
        url = address.get(protocol, f"{web.address}/x")
        command = [sys.executable, "-c", STALLED, url]
        with forked.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
            assert process.stdout is not None
            if protocol in address:
                time.sleep(2.5)
            else:
                assert waits.wait(20)
                time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            begun_s = time.monotonic()
            said, _ = process.communicate(timeout=20)
            took_s = time.monotonic() - begun_s
            web.halt.set()
    assert said.endswith("stopped\n")
    assert process.returncode == 0
    assert took_s < 5  # about 1
