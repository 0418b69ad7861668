"""Memories of made-up objects: frames that a run could have seen, and a folder that keeps them.

python memories.py FOLDER SECONDS      remembers in a process to be killed, with a flush each second
"""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rtsearch.config import Settings, load_settings
from rtsearch.library import FeatureSpace
from rtsearch.library.crops import encode_crop
from rtsearch.memory import keeper
from rtsearch.memory.entry import Entry, with_path
from rtsearch.memory.folder import MemoryFolder
from rtsearch.memory.hours import write_hour
from rtsearch.memory.live_memory import LiveMemory
from rtsearch.types import Detections, F32Array, Frame, U8Array

DIM = 8
SPACE = FeatureSpace(recipe={"model": "made up"}, class_names=("person", "cup", "bag"), dim=DIM)
PERSON, CUP, BAG = range(3)
NS = 1_000_000_000
HOUR_NS = 3600 * NS


def settings(*overrides: str) -> Settings:
    return load_settings(None, ["memory.blind_s=0", "project.dim=4", *overrides])


def picture(seed: int) -> U8Array:
    """A sharp picture that no other seed has."""
    small = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), np.uint8)
    return np.asarray(cv2.resize(small, (320, 240), interpolation=cv2.INTER_NEAREST), np.uint8)


def described(seed: int) -> F32Array:
    return np.random.default_rng(seed).normal(size=DIM).astype(np.float32)


def entry(number: int, last_ns: int, label: int = CUP, source: str = "door", visit: int = -1) -> Entry:
    """An entry whose crop and vector no other number has."""
    box = np.array([10, 20, 110, 120], np.float32)
    jpeg = with_path(
        encode_crop(picture(number), box, 64), [(0.0, 10, 20, 110, 120), (1.0, 12, 20, 112, 120)]
    )
    return Entry(
        source=source,
        visit=number if visit < 0 else visit,
        label=label,
        score=0.8,
        xyxy=box,
        vector=described(number),
        jpeg=jpeg,
        wh=(320, 240),
        times_s=(1.5, 1.0, 3.0),
        seen_ns=(last_ns - 2 * NS, last_ns),
    )


def write(folder: Path, entries: list[Entry], hour: str) -> None:
    """Put entries into an hour of a memory, as a run that was killed would leave them."""
    memory = MemoryFolder.make(folder, SPACE, settings().model_dump(mode="json"))
    with write_hour(memory, hour) as writer:
        for each in entries:
            writer.add(each.photo(), each.objects(), [each.jpeg])
            writer.commit()


def opened(folder: Path, *overrides: str) -> LiveMemory:
    return LiveMemory.open(folder, SPACE, None, settings(*overrides))


def frame(seed: int, at_s: float) -> Frame:
    return Frame(round(at_s * 25), at_s, at_s, picture(seed))


def found(*objects: tuple[int, int, int]) -> Detections:
    """Objects by (track, label, seed of the description)."""
    n = len(objects)
    xyxy = np.array([[10 + 80 * i, 20, 70 + 80 * i, 120] for i in range(n)], np.float32).reshape(n, 4)
    return Detections(
        xyxy,
        np.full(n, 0.8, np.float32),
        np.array([label for _, label, _ in objects], np.int32),
        np.array([described(seed) for *_, seed in objects], np.float32).reshape(n, DIM),
        np.array([track for track, *_ in objects], np.int64),
    )


def watch(
    memory: LiveMemory, objects: Detections, seconds: float, *, begin_s: float = 0, now_ns: int = 0
) -> None:
    """Show objects for a while, then nothing for two seconds."""
    begin_ns = now_ns or time.time_ns()
    for i in range(round(seconds * 10)):
        at_ns = begin_ns + i * NS // 10
        memory.see(0, 0, "door", frame(i, begin_s + i / 10), objects, at_ns)
    gone_s = begin_s + seconds + 2
    memory.see(0, 0, "door", frame(0, gone_s), found(), begin_ns + round((seconds + 2) * NS))


def until(condition: Any, patience_s: float = 60) -> None:
    """Wait for what another thread does."""
    deadline_s = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def _remember(folder: Path, seconds: float) -> None:
    """Remember a new object every few milliseconds."""
    until_s = time.monotonic() + seconds
    keeper.FLUSH_S = 1.0
    with opened(folder) as memory:
        sys.stdout.write("begun\n")
        sys.stdout.flush()
        for number in itertools.count():
            watch(memory, found((number + 1, CUP, number)), 0.5, begin_s=10.0 * number)
            if time.monotonic() > until_s:
                return
            time.sleep(0.01)


if __name__ == "__main__":
    _remember(Path(sys.argv[1]), float(sys.argv[2]))
