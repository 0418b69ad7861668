"""Time the decoding of a file by PyAV beside OpenCV; prints one JSON object.

    python tools/bench/decode.py CLIP

Both decode in one thread and give BGR pictures; they take turns, so that a busy machine slows both alike.
Times are ms a picture, medians of the rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import cast

import cv2
import numpy as np

from rtsearch.sources import VideoFile
from rtsearch.types import U8Array

ROUNDS = 5


def by_opencv(clip: str) -> Iterator[U8Array]:
    capture = cv2.VideoCapture(clip, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    while (read := capture.read())[0]:
        yield cast(U8Array, read[1])


def by_pyav(clip: str) -> Iterator[U8Array]:
    with VideoFile(clip) as source:
        for frame in source:
            yield frame.bgr


def timed(pictures: Callable[[str], Iterator[U8Array]], clip: str) -> tuple[float, float]:
    """CPU and wall clock ms of a picture."""
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    count = sum(1 for _ in pictures(clip))
    return (time.process_time() - cpu_s) / count * 1e3, (time.perf_counter() - wall_s) / count * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clip")
    clip = parser.parse_args().clip
    same = [np.array_equal(a, b) for a, b in zip(by_opencv(clip), by_pyav(clip), strict=True)]
    if not same:
        sys.exit(f"{clip} holds no video")
    ways = {f"opencv {cv2.__version__}": by_opencv, f"pyav {version('av')}": by_pyav}
    rounds = [{name: timed(way, clip) for name, way in ways.items()} for _ in range(ROUNDS)]
    figures: dict[str, object] = {"pictures": len(same), "of the same pixels": sum(same)}
    for name in ways:
        cpu_ms, wall_ms = (statistics.median(each[name][i] for each in rounds) for i in (0, 1))
        figures[name] = {"cpu_ms": round(cpu_ms, 2), "wall_ms": round(wall_ms, 2)}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
