"""Real servers for the tests of live sources: HTTP MJPEG in this process, UDP and RTSP from ffmpeg.

Nothing here needs pytest, so that the bench can serve its clips with it too.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType

import cv2
from clips import paint

from rtsearch.types import U8Array

FFMPEG = shutil.which("ffmpeg")
_BOUNDARY = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: "


class MjpegServer:
    """Serves ``picture(n)`` at ``fps`` to each client, every client from the current tick on.

    ``mode`` may be changed while it runs: ``play``; ``stall`` (connection open, no bytes); ``garbage`` (bytes
    that are no JPEG where pictures belong); ``half`` (closes in the middle of a picture, again and again);
    ``refuse`` (closes what is open, answers 503). ``stop()`` and ``start()`` take the port away and bring it
    back.
    """

    def __init__(self, picture: Callable[[int], U8Array], fps: float = 30.0) -> None:
        self.picture = picture
        self.fps = fps
        self.mode = "play"
        self.connections = 0
        self.port = 0
        self.begun_s = time.monotonic()
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self._halt = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/video.mjpg"

    def start(self) -> MjpegServer:
        self._halt.clear()
        self._server = _Server(("127.0.0.1", self.port), _handler(self))
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="test-mjpeg")
        self._thread.start()
        return self

    def stop(self) -> None:
        if self._server is None or self._thread is None:
            return
        self._halt.set()
        self._server.shutdown()
        self._server.server_close()  # waits for the handlers
        self._thread.join()
        self._server = None

    def __enter__(self) -> MjpegServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def tick(self) -> int:
        """Number of the picture that is due now."""
        return int((time.monotonic() - self.begun_s) * self.fps)

    def stream(self, write: Callable[[bytes], object]) -> None:
        tick = self.tick()
        while self.mode != "refuse":
            due = self.begun_s + tick / self.fps
            if self._halt.wait(max(0.0, due - time.monotonic())):
                return
            if self.mode in ("play", "garbage"):
                body = self._body(tick)
                write(_BOUNDARY + str(len(body)).encode() + b"\r\n\r\n" + body + b"\r\n")
            elif self.mode == "half":
                body = self._body(tick)
                write(_BOUNDARY + str(len(body)).encode() + b"\r\n\r\n" + body[: len(body) // 2])
                return
            tick += 1

    def _body(self, tick: int) -> bytes:
        if self.mode == "garbage":
            return bytes((tick * 37 + i * 91) % 251 for i in range(3000))
        return cv2.imencode(".jpg", self.picture(tick), [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    allow_reuse_address = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is what these servers are for; say nothing."""


def _handler(owner: MjpegServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if owner.mode == "refuse":
                self.send_error(503)
                return
            owner.connections += 1
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            owner.stream(self.wfile.write)

        def log_message(self, format: str, *args: object) -> None:
            """Keep the output of the tests clean."""

    return Handler


class FfmpegPusher:
    """ffmpeg playing ``clip`` over and over in real time to a ``udp://`` address or a listening ``rtsp://``
    one.

    It starts again when it ends early, as it does until somebody listens on the RTSP address.
    """

    def __init__(self, clip: Path, url: str) -> None:
        assert FFMPEG is not None
        command = [
            FFMPEG,
            "-v",
            "quiet",
            "-re",
            "-stream_loop",
            "-1",
            "-i",
            str(clip),
            "-an",
            "-c:v",
            "libx264",
        ]
        command += ["-preset", "ultrafast", "-tune", "zerolatency", "-g", "15", "-pix_fmt", "yuv420p"]
        command += ["-f", "rtsp" if url.startswith("rtsp") else "mpegts", url]
        self._command = command
        self._halt = threading.Event()
        self._thread = threading.Thread(target=self._run, name="test-pusher")
        self._thread.start()

    def _run(self) -> None:
        while not self._halt.wait(0.1):
            process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL)
            while process.poll() is None and not self._halt.wait(0.05):
                pass
            process.kill()
            process.wait()

    def stop(self) -> None:
        self._halt.set()
        self._thread.join()

    def __enter__(self) -> FfmpegPusher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class WebServer:
    """Answers every request by calling ``answer`` with its handler, until the context is left."""

    def __init__(self, answer: Callable[[BaseHTTPRequestHandler], None]) -> None:
        self.paths: list[str] = []
        self.halt = threading.Event()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                owner.paths.append(self.path)
                answer(self)

            def log_message(self, format: str, *args: object) -> None:
                """Keep the output of the tests clean."""

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="test-web")
        self._thread.start()

    def __enter__(self) -> WebServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.halt.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def send(handler: BaseHTTPRequestHandler, kind: str, body: bytes = b"", *, length: bool = True) -> None:
    """Answer a request with a header, and with what is there of the body; parts of it on request."""
    begin, end = 0, len(body)
    ranged = handler.headers.get("Range", "") if length else ""
    if ranged.startswith("bytes="):
        first, _, last = ranged[6:].partition("-")
        begin, end = int(first), min(end, int(last) + 1) if last else end
    handler.send_response(206 if ranged else 200)
    handler.send_header("Content-Type", kind)
    if length:
        handler.send_header("Accept-Ranges", "bytes")
        handler.send_header("Content-Length", str(end - begin))
    if ranged:
        handler.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(body)}")
    handler.end_headers()
    handler.wfile.write(body[begin:end])


def jpeg(number: int, wh: tuple[int, int] = (320, 240)) -> bytes:
    """Return a picture that carries a number, as JPEG."""
    return cv2.imencode(".jpg", paint(number, wh))[1].tobytes()


def part(body: bytes) -> bytes:
    """Return a part of a multipart stream as most cameras send it."""
    return b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n" % (len(body), body)
