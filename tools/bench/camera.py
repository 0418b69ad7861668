"""A camera for the benches: a process that plays a clip as 30 JPEGs a second over HTTP, at 1280x720.

Every picture carries its number as a bar code at the lower edge, so whoever shows it knows when it was sent.
On request the camera misbehaves.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
from numpy.typing import NDArray

import rtsearch.sources  # noqa: F401  quietens FFmpeg before the first capture
from rtsearch.config import Settings
from rtsearch.jobs.analyze import analyze
from rtsearch.jobs.demo import demo_clip, gather_photos
from rtsearch.pipeline import open_pipeline
from rtsearch.types import U8Array

__all__ = ["FAULTS", "FPS", "WH", "Camera", "camera", "make_library", "quantiles"]

FPS = 30.0
WH = (1280, 720)
FAULTS = ("stall", "garbage", "hang up")
"""Connected but silent; bytes that are no picture; connections closed and none accepted."""
_BITS = 12
_CODE_PX = 8
_CLIP_FRAMES = 300


class Camera:
    """What is known of a running camera.

    Attributes:
        url: where it is.
    """

    def __init__(self, port: int, begun_s: float, count: int, orders: IO[str]) -> None:
        self.url = f"http://127.0.0.1:{port}/camera.mjpg"
        self._begun_s, self._count, self._orders = begun_s, count, orders

    def sent_s(self, bgr: U8Array) -> float:
        """When a picture was sent, monotonic s."""
        now = int((time.monotonic() - self._begun_s) * FPS)
        return float(self._begun_s + (now - (now - _number_of(bgr)) % self._count) / FPS)

    def order(self, mode: str) -> None:
        """``play``, or one of FAULTS."""
        self._orders.write(mode + "\n")
        self._orders.flush()


@contextmanager
def camera(clip: Path) -> Iterator[Camera]:
    """A camera that sees a clip, to and fro."""
    command = [sys.executable, __file__, str(clip)]
    pipe = subprocess.PIPE
    # In a session of its own: Ctrl-C is for whoever watches it.
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, start_new_session=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            port, begun_s, count = json.loads(child.stdout.readline())
            yield Camera(port, begun_s, count, child.stdin)
        finally:
            child.kill()


def make_library(folder: Path) -> Path:
    """A small library of the demo's pictures."""
    gather_photos(folder / "photos", demo_clip())
    with open_pipeline(Settings()) as pipeline:
        analyze(folder / "photos", folder / "library", pipeline, Settings())
    return folder / "library"


def quantiles(values: Sequence[float] | NDArray[np.float64]) -> dict[str, float]:
    """Median and 99th percentile."""
    p50, p99 = np.percentile(values, (50, 99))
    return {"p50": round(float(p50), 1), "p99": round(float(p99), 1)}


# The child -------------------------------------------------------------------------------------------------


class _Server:
    def __init__(self, clip: str) -> None:
        capture = cv2.VideoCapture(clip)
        frames: list[Any] = []
        while len(frames) < _CLIP_FRAMES and (bgr := capture.read()[1]) is not None:
            frames.append(bgr)
        frames += frames[-2:0:-1]  # to and fro, so that there is no cut
        self.jpegs = [cv2.imencode(".jpg", _coded(bgr, i))[1].tobytes() for i, bgr in enumerate(frames)]
        self.begun_s = time.monotonic()
        self.mode = "play"

    def run(self) -> None:
        """Say the port, the first picture's time and their number, then play to who comes."""
        threading.Thread(target=self._obey, daemon=True).start()
        with socket.create_server(("127.0.0.1", 0)) as server:
            print(json.dumps([server.getsockname()[1], self.begun_s, len(self.jpegs)]), flush=True)
            while True:
                client, _ = server.accept()
                if self.mode == "hang up":
                    client.close()
                else:
                    threading.Thread(target=self._send, args=(client,), daemon=True).start()

    def _obey(self) -> None:
        for line in sys.stdin:
            self.mode = line.strip()

    def _send(self, client: socket.socket) -> None:
        """Every picture when its time has come, as long as the client takes them."""
        with client:
            try:
                client.recv(4096)
                head = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n"
                client.sendall(head)
                tick = int((time.monotonic() - self.begun_s) * FPS)
                while self.mode != "hang up":
                    time.sleep(max(0.0, self.begun_s + tick / FPS - time.monotonic()))
                    body = self.jpegs[tick % len(self.jpegs)]
                    if self.mode == "garbage":
                        body = bytes(reversed(body))
                    if self.mode != "stall":
                        part = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n"
                        client.sendall(part % (len(body), body))
                    tick += 1
            except OSError:
                return


def _coded(bgr: U8Array, number: int) -> U8Array:
    """The picture with a number in its lowest rows, one square per bit."""
    bgr = np.asarray(cv2.resize(bgr, WH), np.uint8)
    for bit in range(_BITS):
        bgr[-_CODE_PX:, bit * _CODE_PX : (bit + 1) * _CODE_PX] = 255 * ((number >> bit) & 1)
    return bgr


def _number_of(bgr: U8Array) -> int:
    row = bgr[-_CODE_PX // 2, _CODE_PX // 2 : _BITS * _CODE_PX : _CODE_PX, 0] > 127
    return int((row << np.arange(_BITS)).sum())


if __name__ == "__main__":
    _Server(sys.argv[1]).run()
