"""RTSP from a real server, GStreamer's: TCP, UDP, passwords, a server that goes and comes back."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from clips import paint, read_number
from test_sources_live import eventually, free_port

from rtsearch.config import LiveSettings
from rtsearch.errors import SourceError
from rtsearch.recording import VideoRecorder
from rtsearch.sources import live_capture as stream
from rtsearch.sources import open_source

LIVE = LiveSettings()
PYTHON = "/usr/bin/python3"  # the system's, which has GStreamer's bindings
FPS, PICTURES = 10, 400
HOW = "apt-get install gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-good"
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


LOOKS = """
import gi
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstRtspServer
Gst.init(None)
raise SystemExit(not all(map(Gst.ElementFactory.find, ("qtdemux", "rtph264pay"))))
"""


def is_there() -> bool:
    try:
        done = subprocess.run([PYTHON, "-c", LOOKS], check=False, env=ENVIRONMENT, capture_output=True)
    except OSError:
        return False
    return done.returncode == 0


class Server:
    """The server as a process, and its URLs."""

    def __init__(self, clip: Path) -> None:
        self._clip = clip
        self.port = free_port()
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        script = Path(__file__).with_name("gst_rtsp.py")
        command = [PYTHON, str(script), str(self._clip), str(self.port)]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=ENVIRONMENT
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "serving\n"

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def url(self, place: str, password: str = "pass") -> str:
        return f"rtsp://me:{password}@127.0.0.1:{self.port}/{place}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if not is_there():
        pytest.skip(f"GStreamer's RTSP server is not installed: {HOW}")
    clip = tmp_path_factory.mktemp("rtsp") / "clip.mp4"
    with VideoRecorder(clip, FPS) as recorder:
        for i in range(PICTURES):
            recorder.write(paint(i % 200), i / FPS)
    made = Server(clip)
    made.start()
    yield made
    made.stop()


pytestmark = pytest.mark.usefixtures("no_thread_is_left")


@pytest.mark.parametrize("place", ["tcp", "udp"])
def test_pictures_come_by_what_a_camera_offers(server: Server, place: str) -> None:
    with open_source(server.url(place), LIVE) as source:
        numbers = [read_number(next(source).bgr) for _ in range(5)]
        assert source.fps == FPS
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize(
    ("place", "password", "words"),
    [("any", "geheim", "401 Unauthorized"), ("nowhere", "pass", "404 Not Found")],
)
def test_what_the_server_refuses_is_said_without_the_password(
    server: Server, place: str, password: str, words: str
) -> None:
    with pytest.raises(SourceError, match=words) as refused:
        open_source(server.url(place, password), LIVE)
    assert "geheim" not in str(refused.value)
    assert "pass@" not in str(refused.value)


def test_a_server_that_is_restarted_is_found_again(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here one that is asked for UDP."""
    monkeypatch.setattr(stream, "READ_TIMEOUT_S", 1.0)
    monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;udp")
    with open_source(server.url("any"), LIVE) as source:
        next(source)
        server.stop()
        eventually(20, lambda: source.status == "reconnecting")
        server.start()
        eventually(20, lambda: source.status == "ok")
        assert 0 <= read_number(next(source).bgr) < 200
