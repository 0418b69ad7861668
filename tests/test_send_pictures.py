"""Pictures in a named pipe, and in a video output device by its bytes; lines of JSON on standard output."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import struct
import subprocess
import sys
import termios
import threading
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from sent import NAMES, person, scene, until

from rtsearch.errors import MissingDependencyError
from rtsearch.recording import json_line, object_records, scene_record, shown_records, text_bytes
from rtsearch.render.layout import Canvas
from rtsearch.render.painter import Painter
from rtsearch.send import Outlets, parse_address, require_outlet
from rtsearch.send.lines import LinesPeer
from rtsearch.send.planes import Planes
from rtsearch.send.v4l2 import CameraPeer
from rtsearch.types import Detections, Frame, Neighbours, Scene

COLOUR = 30, 200, 60
GCC = shutil.which("gcc") or shutil.which("cc") or shutil.which("g++")

pytestmark = pytest.mark.usefixtures("no_thread_is_left")


def picture(level: int, wh: tuple[int, int] = (64, 48)) -> np.ndarray:
    bgr = np.full((wh[1], wh[0], 3), level, np.uint8)
    bgr[: wh[1] // 2, :, 2] = 255
    return bgr


def outlets(text: str, ended=lambda: None) -> Outlets:
    address = parse_address(text)
    require_outlet(address)
    return Outlets([address], ended)


def test_pictures_in_a_pipe(tmp_path):
    path = tmp_path / "raw.bgr"
    with outlets(f"pipe:{path}") as out:
        out.put_picture(picture(0))
        until(lambda: out.reports()[0].problem)
        assert out.reports()[0].problem == "nobody reads it yet"
        with path.open("rb") as reader:  # the picture has waited for it
            got = np.frombuffer(reader.read(picture(0).nbytes), np.uint8).reshape(48, 64, 3)
            np.testing.assert_array_equal(got, picture(0))
            out.close()
            assert reader.read() == b""
    assert (out.reports()[0].sent, out.reports()[0].dropped) == (1, 0)


def test_a_reader_that_stalls_gets_whole_pictures(tmp_path):
    """A picture that was begun is finished; those that come meanwhile are dropped, but for the newest."""
    path = tmp_path / "raw.bgr"
    wh = (640, 480)  # ten times what a pipe holds
    levels: list[int] = []
    with outlets(f"pipe:{path}") as out, path.open("rb") as stream:
        for level in range(1, 6):
            out.put_picture(picture(level, wh))

        def read() -> None:
            while data := stream.read(wh[0] * wh[1] * 3):
                got = np.frombuffer(data, np.uint8).reshape(wh[1], wh[0], 3)
                levels.append(int(got[-1, 0, 0]))
                np.testing.assert_array_equal(got, picture(levels[-1], wh))

        thread = threading.Thread(target=read)
        thread.start()
        until(lambda: levels and levels[-1] == 5)
        out.close()
        thread.join()
    report = out.reports()[0]
    assert levels == sorted(levels)
    assert report.sent == len(levels)
    assert report.sent + report.dropped == 5


def test_a_picture_that_is_being_sent_is_not_painted_over(tmp_path):
    """A painter goes on while a pipe is full: each picture arrives as it was painted."""
    path, canvas = tmp_path / "raw.bgr", Canvas((1600, 1200), 600, 60, 1)  # a frame of more than a pipe holds
    painter, random = Painter(), np.random.default_rng(0)
    none = np.zeros((0, 0), np.float32)
    nobody = Detections(none.reshape(0, 4), none.reshape(0), np.zeros(0, np.int32), none), ()
    near = Neighbours(np.zeros((0, 0), np.int32), none)
    painted = []

    def paint(number: int) -> None:
        frame = Frame(number, 0.0, number / 25, random.integers(0, 256, (90, 160, 3), np.uint8))
        picture = painter.paint(Scene(frame, *nobody, near, 60, (), now_s=number / 25), canvas)
        painted.append(picture.tobytes())
        out.put_picture(picture)

    with outlets(f"pipe:{path}") as out, path.open("rb", buffering=0) as reader:
        paint(0)
        until(lambda: waiting_bytes(reader))  # its end is not written yet
        for number in range(1, 5):
            paint(number)
        with os.fdopen(reader.fileno(), "rb", closefd=False) as whole:
            arrived = [whole.read(len(painted[0])) for _ in range(2)]
    assert arrived == [painted[0], painted[4]]
    assert out.reports()[0].dropped == 3


def waiting_bytes(pipe) -> int:
    """Bytes in a pipe that were not read yet."""
    count = bytearray(4)
    fcntl.ioctl(pipe, termios.FIONREAD, count)
    return int.from_bytes(count, sys.byteorder)


def test_lines_are_the_records_of_their_scenes(capfd):
    """The texts of neighbours are kept from line to line: whatever comes next, they are the right ones."""
    other = OddLibrary()
    scenes = [
        scene(0, [person(1), person(2)]),
        scene(1, [person(1), person(2)], row=8),
        scene(2),
        scene(3, [person(1), person(3)], row=3, missed=1, library=other),
        scene(4, [person(1)], row=3, library=other),
        scene(5, [person(1)], row=8),
    ]
    far = scenes[1].neighbours.distance
    far[0] = np.inf, 0.123456789
    scenes[1].neighbours.row[1, 1] = -1
    peer = LinesPeer()
    peer.open()
    asked = []
    for each in scenes:
        other.seen_ns, other.asked = [1, each.number], []
        peer.send(each)
        asked += other.asked
        seen = each.detections.rows(slice(each.seen))
        near = Neighbours(each.neighbours.row[: each.seen], each.neighbours.distance[: each.seen])
        objects = object_records(seen, NAMES, near, each.library)
        shown = shown_records(each.detections, NAMES, each.strips, each.neighbours.row, each.seen)
        record = scene_record(each.number, each.t_s, each.wh, objects, shown)
        assert capfd.readouterr().out == text_bytes(json_line(record) + "\n").decode()
    assert asked == [[3, 4], [4]]


class OddLibrary:
    """Library of odd names, whose row 4 is of a memory and changes."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.seen_ns: list[int] = []

    def hits(self, rows):
        self.asked.append(rows.tolist())
        hit = {"photo": '"distance":null \udcff.jpg', "xyxy": [0.04, 0, 9, 9], "label": "a\nb", "folded": 1}
        return [{**hit, "seen_ns": self.seen_ns} if row == 4 else hit for row in rows.tolist()]


def test_lines_of_json_are_those_of_records(tmp_path, capfd):
    with outlets("-") as out:
        out.put_scene(scene(4, [person(1), person(2)], missed=1))
    (line,) = capfd.readouterr().out.splitlines()
    written = json.loads(line)
    assert list(written) == ["frame", "t_s", "wh", "objects", "shown"]
    assert [item["track"] for item in written["objects"]] == [1]
    assert [(item["track"], "xyxy" in item) for item in written["shown"]] == [(1, False), (2, True)]


def test_a_reader_of_lines_that_goes_ends_the_run(monkeypatch, tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    ended = threading.Event()
    with os.fdopen(writer, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with outlets("-", ended.set) as out:
            out.put_scene(scene(0, [person(1)]))
            assert ended.wait(20)
    assert out.reports()[0].problem == "whoever read standard output has gone"


# The video output device ------------------------------------------------------------------------------------

WRITE = """
import sys, numpy as np
from pathlib import Path
from rtsearch.send.v4l2 import CameraPeer
for device in sys.argv[1:]:
    peer = CameraPeer(Path(device))
    try:
        peer.open()
        for width in (8, 8, 7):
            bgr = np.full((4, width, 3), 200, np.uint8)
            bgr[:2, :, 2] = 255
            peer.send(bgr)
    except OSError as error:
        print(error)
    peer.close()
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory) -> Path:
    if GCC is None:
        pytest.skip("no C compiler is installed")
    library = tmp_path_factory.mktemp("shim") / "v4l2_shim.so"
    source = Path(__file__).with_name("v4l2_shim.c")
    flags = ["-x", "c", "-shared", "-fPIC", "-O1"]
    command = [GCC, *flags, source, "-o", library, "-ldl"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode and "linux/videodev2.h" in done.stderr:
        pytest.skip("the kernel's headers are not installed")
    assert done.returncode == 0, done.stderr
    return library


@pytest.mark.slow
def test_what_a_video_output_device_gets(shim, tmp_path):
    devices = [tmp_path / name for name in ("out.video", "camera.video", "small.video")]
    for device in devices:
        device.touch()
    done = subprocess.run(
        [sys.executable, "-c", WRITE, *map(str, devices)],
        env={**os.environ, "LD_PRELOAD": str(shim)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    said = done.stdout.splitlines()
    assert said[0].startswith("it is no output but a camera")
    assert said[1].startswith("the device takes no YU12 pictures of 8x4 px (but 320x4)")
    data = devices[0].read_bytes()
    bgr = np.full((4, 8, 3), 200, np.uint8)
    bgr[:2, :, 2] = 255
    whole = cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420).tobytes()
    cut = cv2.cvtColor(bgr[:, :6].copy(), cv2.COLOR_BGR2YUV_I420).tobytes()

    def written(width: int) -> bytes:
        # enum v4l2_buf_type, then at byte 8 struct v4l2_pix_format: the fields by their names in the header
        pix = struct.pack("=II4sIIIII", width, 4, b"YU12", 1, width, 6 * width, 8, 0)
        return b"F" + struct.pack("=II", 2, 0) + pix.ljust(200, b"\0")

    assert data == b"Q" + written(8) + (b"P" + whole) * 2 + written(6) + b"P" + cut


@pytest.mark.parametrize(
    ("device", "words"), [("/dev/null", "it is no video device"), ("/dev/none", "load the module")]
)
def test_devices_that_are_none(device, words):
    peer = CameraPeer(Path(device))
    with pytest.raises(OSError, match=words):
        peer.open()
    peer.close()


@pytest.mark.parametrize("wh", [(1280, 720), (66, 38), (65, 37), (2, 2), (40_000, 4)])
def test_planes_are_those_of_opencv(wh):
    colours = np.random.default_rng(0).integers(0, 256, (wh[1], wh[0], 3), np.uint8)
    even = np.ascontiguousarray(colours[: wh[1] // 2 * 2, : wh[0] // 2 * 2])
    assert (Planes().of(colours) == cv2.cvtColor(even, cv2.COLOR_BGR2YUV_I420)).all()


# NDI --------------------------------------------------------------------------------------------------------


def test_without_its_package_ndi_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "cyndilib.sender", None)
    monkeypatch.setitem(sys.modules, "cyndilib", None)
    with pytest.raises(MissingDependencyError, match=r"^ndi: needs cyndilib: pip install 'rtsearch\[ndi\]'$"):
        require_outlet(parse_address("ndi:rtsearch"))


@pytest.mark.slow
def test_pictures_over_ndi(tmp_path, monkeypatch):
    """NDI's own receiver gets them in their colours and in the size of the first."""
    sources = {"ndi": {"networks": {"ips": "127.0.0.1"}}}  # asked for directly, without mDNS
    (tmp_path / "ndi-config.v1.json").write_text(json.dumps(sources))
    monkeypatch.setenv("NDI_CONFIG_DIR", str(tmp_path))
    pytest.importorskip("cyndilib", reason="cyndilib is not installed: pip install 'rtsearch[ndi]'")
    from cyndilib.finder import Finder
    from cyndilib.receiver import ReceiveFrameType, Receiver
    from cyndilib.video_frame import VideoRecvFrame
    from cyndilib.wrapper.ndi_recv import RecvBandwidth, RecvColorFormat

    frame, video = VideoRecvFrame(), ReceiveFrameType.recv_video
    receiver = Receiver(color_format=RecvColorFormat.BGRX_BGRA, bandwidth=RecvBandwidth.highest)
    receiver.set_video_frame(frame)

    def arrives(out, picture, lit):
        """Tell whether a picture of 1280x720 arrives, so much of which is lit."""
        out.put_picture(picture)
        if not receiver.receive(video, 100) & video or (frame.xres, frame.yres) != (1280, 720):
            return False
        pixels = np.frombuffer(frame, np.uint8).reshape(720, 1280, 4)
        right = np.abs(pixels[360, 640, :3].astype(int) - COLOUR).max() <= 8  # planes of small ones: 25
        return right and abs((pixels[..., 1] > 100).mean() - lit) < 0.01

    large = np.full((720, 1280, 3), COLOUR, np.uint8)
    with outlets("ndi:rtsearch test") as out, Finder() as finder:
        out.put_picture(large)
        until(finder.update_sources)
        (name,) = finder.get_source_names()
        assert name.endswith("(rtsearch test)")
        receiver.set_source(finder.get_source(name))
        until(partial(arrives, out, large, 1.0))
        until(partial(arrives, out, large[:100, :101], 727 / 1280))
        assert out.reports()[0].problem == ""
