"""Measure the CPU time that each outlet of signals takes per frame; prints one JSON object.

    python tools/bench/send.py LIB [--frames 200] [--rounds 5]

Each outlet sends scenes of eight objects with sixteen neighbours of the library LIB, whose boxes, nearest
photos and tracks change as those of a street do. Receivers are processes of their own: a bound socket,
Debian's mosquitto, a web server, and a reader of the pipe. Lines and the virtual camera are written to
/dev/null. ``cpu_ms`` is the CPU time a frame of the whole process, ms, less that of the same loop without an
outlet, ``thread_ms`` that of the outlet's own thread; medians of the rounds. The target is 0.5 ms. Pictures
are of 1280x720 px, and three in turn, as a run has them.

``floor`` is what no outlet can do without, at the same pace: a thread that wakes up (``wake``) and sends a
datagram of 1,000 bytes (``datagram``), and the conversion of pictures by one call of OpenCV in one thread,
and their bare writing (``i420``, ``pipe``).
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import multiprocessing
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rtsearch.config import load_settings
from rtsearch.library import Library
from rtsearch.library.index import SearchIndex, open_index, remembered_settings
from rtsearch.send import Outlet, SentScene, parse_address, require_outlet
from rtsearch.send.lines import LinesPeer
from rtsearch.send.outlets import picture_peer, scene_peer
from rtsearch.send.v4l2 import CameraPeer
from rtsearch.types import Detections, Neighbours, U8Array

OBJECTS, NEIGHBOURS = 8, 16
TARGET_MS = 0.5
FRAME_S = 0.01  # between two frames, so that each is sent
WH = (1280, 720)


def scenes(index: SearchIndex, frames: int) -> list[SentScene]:
    """Scenes in which everything moves, and each second one object gives way to another."""
    random = np.random.default_rng(0)
    track = np.arange(1, OBJECTS + 1)
    corner = random.uniform(0, 500, (OBJECTS, 2))
    row = random.integers(0, len(index), (OBJECTS, NEIGHBOURS)).astype(np.int32)
    made = []
    for number in range(frames):
        corner += random.normal(0, 2, corner.shape)
        row[random.integers(OBJECTS), 0] = random.integers(len(index))
        if number % 25 == 24:
            track[random.integers(OBJECTS)] = OBJECTS + number
        boxes = np.hstack([corner, corner + 120]).astype(np.float32)
        score = random.uniform(0.3, 1, OBJECTS).astype(np.float32)
        label = (np.arange(OBJECTS) % 3).astype(np.int32)
        found = Detections(boxes, score, label, np.zeros((OBJECTS, 0), np.float32), track.copy())
        near = Neighbours(row.copy(), random.uniform(0, 1, row.shape).astype(np.float32))
        made.append(
            SentScene(
                number=number,
                t_s=number / 25,
                at_s=number / 25,
                wh=WH,
                detections=found,
                neighbours=near,
                strips=tuple(range(OBJECTS)),
                seen=OBJECTS,
                results=NEIGHBOURS,
                class_names=index.library.space.class_names,
                library=index,
            )
        )
    return made


def spent_ms(put: Callable[[int], object], frames: int) -> float:
    """CPU ms a frame of handing frames to ``put``."""
    cpu_s = time.process_time()
    for number in range(frames):
        put(number)
        time.sleep(FRAME_S)
    return (time.process_time() - cpu_s) / frames * 1e3


def serve(port: int) -> None:
    """Answer every POST with 204."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def receivers() -> Iterator[dict[str, str]]:
    """Start a receiver for each kind of outlet; yield the addresses by kind."""
    with contextlib.ExitStack() as stack:
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", 0))  # never read: what does not fit its buffer is lost
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        web, port = free_port(), udp.getsockname()[1]
        server = multiprocessing.get_context("spawn").Process(target=serve, args=(web,), daemon=True)
        server.start()
        stack.callback(server.terminate)
        addresses = {"osc": f"osc://127.0.0.1:{port}", "tuio": f"tuio://127.0.0.1:{port}"}
        mosquitto = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
        if mosquitto is not None:
            broker = free_port()
            (folder / "conf").write_text(f"listener {broker} 127.0.0.1\nallow_anonymous true\n")
            process = subprocess.Popen([mosquitto, "-c", str(folder / "conf")], stderr=subprocess.DEVNULL)
            stack.callback(process.terminate)
            addresses["mqtt"] = f"mqtt://127.0.0.1:{broker}"
        addresses["http"] = f"http://127.0.0.1:{web}/#secret=key"
        addresses["pipe"] = f"pipe:{folder / 'raw'}"
        require_outlet(parse_address(addresses["pipe"]))
        # Open for writing as well, so that it outlives each outlet.
        reader = subprocess.Popen(
            ["sh", "-c", 'exec cat <>"$0"', str(folder / "raw")], stdout=subprocess.DEVNULL
        )
        stack.callback(reader.terminate)
        yield addresses


class Sleeper:
    """Peer that does nothing."""

    longest_wait_s = 1.0
    known_after = 1

    def open(self) -> None:
        """Do nothing."""

    def send(self, item: Any, /) -> None:
        """Do nothing."""

    def finish(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class Datagrams(Sleeper):
    """Peer that sends the same datagram for each item."""

    def open(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect(("127.0.0.1", 9))
        self._socket.setblocking(False)

    def send(self, item: Any, /) -> None:
        with contextlib.suppress(OSError):
            self._socket.send(bytes(1000))

    def close(self) -> None:
        self._socket.close()


def floors(pictures: Sequence[U8Array], pipe: str) -> dict[str, float]:
    """CPU ms a frame of what outlets are made of."""
    frames = len(pictures)

    def spent_by(peer: Sleeper) -> float:
        return measured(Outlet("floor", lambda _: peer, lambda: None), range(frames))["cpu_ms"]

    idle_ms = spent_ms(lambda _: None, frames)
    planes = np.empty((WH[1] * 3 // 2, WH[0]), np.uint8)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    descriptor = os.open(pipe, os.O_WRONLY)
    fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, 1 << 20)
    with os.fdopen(descriptor, "wb", buffering=0) as raw:
        works: dict[str, Callable[[int], object]] = {
            "i420": lambda number: cv2.cvtColor(pictures[number], cv2.COLOR_BGR2YUV_I420, planes),
            "pipe": lambda number: raw.write(pictures[number].data),
        }
        found = {name: spent_ms(work, frames) for name, work in works.items()}
    cv2.setNumThreads(threads)
    bare = {name: round(ms - idle_ms, 3) for name, ms in found.items()}
    return {"wake": spent_by(Sleeper()), "datagram": spent_by(Datagrams()), **bare}


class CameraToNowhere(CameraPeer):
    """Virtual camera whose device takes everything."""

    def open(self) -> None:
        self._descriptor = os.open(os.devnull, os.O_WRONLY)

    def _set_format(self, width: int, height: int) -> None:
        self._wh = width, height


class LinesToNowhere(LinesPeer):
    """Standard output that leads nowhere."""

    def open(self) -> None:
        self._descriptor = os.open(os.devnull, os.O_WRONLY)


def measured(outlet: Outlet[Any], items: Sequence[Any]) -> dict[str, float]:
    """Figures of an outlet that gets an item per frame; it is closed."""
    idle_ms = spent_ms(lambda _: None, len(items))
    with outlet:
        clock = time.pthread_getcpuclockid(outlet._thread.ident or 0)
        begun_s = time.clock_gettime(clock)
        spent = spent_ms(lambda number: outlet.put(items[number]), len(items))
        thread_ms = (time.clock_gettime(clock) - begun_s) / len(items) * 1e3
    report = outlet.report()
    figures = {"cpu_ms": round(spent - idle_ms, 3), "thread_ms": round(thread_ms, 3)}
    return {**figures, "sent": report.sent, "dropped": report.dropped}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("lib", type=Path)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    library = Library.open(given.lib)
    index = open_index(library, load_settings(None, (), remembered_settings(library)))
    drawn = [np.full((WH[1], WH[0], 3), level, np.uint8) for level in range(3)]
    pictures = [drawn[number % 3] for number in range(given.frames)]
    figures: dict[str, object] = {"objects": OBJECTS, "neighbours": NEIGHBOURS, "target_ms": TARGET_MS}
    with receivers() as addresses:
        rounds = [a_round(addresses, index, pictures, given.frames) for _ in range(given.rounds)]
    for kind in rounds[0]:
        each = [one[kind] for one in rounds]
        figures[kind] = {name: round(statistics.median(one[name] for one in each), 3) for name in each[0]}
    print(json.dumps(figures))


def a_round(
    addresses: dict[str, str], index: SearchIndex, pictures: Sequence[Any], frames: int
) -> dict[str, dict[str, float]]:
    """Figures of each outlet, and of the floor."""
    figures: dict[str, dict[str, float]] = {}
    for kind, text in addresses.items():
        address = parse_address(text)
        peer_of = picture_peer(address) if address.is_picture else scene_peer(address)
        outlet: Outlet[Any] = Outlet(address.name, peer_of, lambda: None)
        items: Sequence[Any] = pictures if address.is_picture else scenes(index, frames)
        figures[kind] = measured(outlet, items)
    lines: Outlet[Any] = Outlet("-", lambda _: LinesToNowhere(), lambda: None)
    figures["lines"] = measured(lines, scenes(index, frames))
    camera: Outlet[Any] = Outlet("v4l2", lambda _: CameraToNowhere(Path(os.devnull)), lambda: None)
    figures["v4l2"] = measured(camera, pictures)
    figures["floor"] = floors(pictures, parse_address(addresses["pipe"]).path)
    return figures


if __name__ == "__main__":
    main()
