"""Videos whose pictures claim to be huge: refused before memory is taken for them, at any place in a file."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import cast

import av
import pytest
from av.video.stream import VideoStream
from clips import paint

SIDE = 20_000  # 400 megapixels, 1.2 GB; FFmpeg itself would take it
MOST_MB = 150
PLAYS = """
import json, resource, sys
from rtsearch.config import LiveSettings
from rtsearch.errors import SourceError
from rtsearch.sources import open_source

for path in sys.argv[1:]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with open_source(path, LiveSettings()) as source:
            said = [frame.bgr.shape[1::-1] for frame in source]
    except SourceError as error:
        said = str(error)
    print(json.dumps([said, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024]))
"""


def write(path: Path, codec: str, pix_fmt: str) -> bytes:
    """Eight pictures of 160 x 120 pixels; returns the file's bytes."""
    with av.open(str(path), "w") as container:
        stream = cast(VideoStream, container.add_stream(codec, rate=10))
        stream.width, stream.height, stream.pix_fmt = 160, 120, pix_fmt
        for i in range(8):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(paint(i, (160, 120)), format="bgr24")))
        container.mux(stream.encode(None))
    return path.read_bytes()


def claim(data: bytes, sizes: str, places: Iterable[int]) -> bytes:
    """Change the size where it stands for the n-th time, for some n."""
    order = (160, 120) if sizes == "<II" else (120, 160)
    honest, forged = struct.pack(sizes, *order), struct.pack(sizes, SIDE, SIDE)
    parts = data.split(honest)
    assert len(parts) > max(places) + 1
    joined = [forged if i in places else honest for i in range(len(parts) - 1)]
    return parts[0] + b"".join(size + part for size, part in zip(joined, parts[1:], strict=True))


@pytest.mark.slow
def test_no_memory_is_taken_for_what_a_picture_claims(tmp_path: Path) -> None:
    jpegs = write(tmp_path / "jpeg.avi", "mjpeg", "yuvj420p")
    files = {
        "first.avi": claim(jpegs, ">HH", [0]),
        "all.avi": claim(jpegs, ">HH", range(8)),
        "later.avi": claim(jpegs, ">HH", [4]),
        "header.avi": claim(write(tmp_path / "huff.avi", "huffyuv", "yuv422p"), "<II", [0, 1]),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    paths = [str(tmp_path / name) for name in files]
    done = subprocess.run([sys.executable, "-c", PLAYS, *paths], capture_output=True, text=True, check=True)
    said = dict(zip(files, map(json.loads, done.stdout.splitlines()), strict=True))
    assert max(mb for _, mb in said.values()) < MOST_MB
    assert said["first.avi"][0] == said["later.avi"][0] == [[160, 120]] * 7
    for name in ("all.avi", "header.avi"):
        assert "no video that can be decoded" in said[name][0], name
