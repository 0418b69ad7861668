"""Photos of coloured rectangles on black, and a network that finds them: analysis without a model.

What the blob network says of a photo depends on its pixels alone, so two libraries of the same photos must
agree to the bit, however often the making of one was interrupted.

    python blobs.py PHOTOS LIB COMMIT_PHOTOS SLEEP_S      analyses in a process of its own, to be killed
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rtsearch.config import DetectSettings, Settings
from rtsearch.jobs.analyze import AnalyzeReport, analyze
from rtsearch.library import Library
from rtsearch.perception.backend import CpuBackend
from rtsearch.types import F32Array, I32Array, U8Array

DIM = 8
PARTS = {"images": ".parquet", "objects": ".parquet", "thumbs": ".pack"}
COLUMNS = ("xyxy", "label", "score", "whole", "vector", "times_s", "track")


@dataclass(frozen=True)
class BlobsFound:
    xyxy: F32Array
    score: F32Array
    label: I32Array
    whole: NDArray[np.bool_]


class BlobDetector:
    """Finds what is not black; the strongest colour is the class."""

    def __init__(self, sleep_s: float = 0) -> None:
        self.sleep_s = sleep_s
        self.seen = 0
        self.largest_batch = 0
        self.callers = self.most_callers = 0
        self._lock = threading.Lock()
        self.fail_at: int | None = None
        self.settings: DetectSettings | None = None  # of the last call, and so is this:
        self.pad_fully: bool | None = None

    def close(self) -> None:
        pass

    def detect(
        self, images: Sequence[U8Array], settings: DetectSettings, *, pad_fully: bool = False
    ) -> list[BlobsFound]:
        self.settings, self.pad_fully = settings, pad_fully
        with self._lock:
            self.largest_batch = max(self.largest_batch, len(images))
            self.callers += 1
            self.most_callers = max(self.most_callers, self.callers)
            self.seen += len(images)
            melts = self.fail_at is not None and self.seen >= self.fail_at
        time.sleep(self.sleep_s * len(images))
        found = [self._one(image) for image in images]
        with self._lock:
            self.callers -= 1
        if melts:
            raise RuntimeError("the network has melted")
        return found

    def at_boxes(self, image: U8Array, xyxy: F32Array, whole: NDArray[np.bool_]) -> BlobsFound:
        with self._lock:
            self.seen += 1
        time.sleep(self.sleep_s)
        colours = np.array([mean_colour(image, box) for box in xyxy], np.float32).reshape(-1, 3)
        label = np.where(whole, -1, colours.argmax(1)).astype(np.int32)
        return BlobsFound(xyxy, np.ones(len(xyxy), np.float32), label, whole)

    def _one(self, image: U8Array) -> BlobsFound:
        mask = (image.max(2) > 100).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(mask)
        boxes = stats[1:]
        xyxy = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:4]], axis=1).astype(np.float32)
        colours = np.array([mean_colour(image, box) for box in xyxy], np.float32).reshape(-1, 3)
        n = len(xyxy)
        score = boxes[:, 4].astype(np.float32) / np.float32(image.shape[0] * image.shape[1])
        return BlobsFound(xyxy, score, colours.argmax(1).astype(np.int32), np.zeros(n, bool))


class BlobDescriber:
    dim = DIM

    def describe(self, bgr: U8Array, found: BlobsFound) -> F32Array:
        rows = [np.r_[mean_colour(bgr, box) / 255, box[2:] - box[:2], box[:2], 1] for box in found.xyxy]
        return np.array(rows, np.float32).reshape(-1, DIM)


def mean_colour(bgr: U8Array, box: F32Array) -> NDArray[np.float64]:
    x1, y1, x2, y2 = box.astype(int)
    return bgr[y1:y2, x1:x2].mean((0, 1))


@dataclass
class BlobPipeline:
    detector: BlobDetector = field(default_factory=BlobDetector)
    describer: BlobDescriber = field(default_factory=BlobDescriber)
    class_names: tuple[str, ...] = ("blue", "green", "red")
    feature_space: dict[str, Any] = field(default_factory=lambda: {"model": "blobs", "version": 1})
    batch: int | None = None
    callers: int = 1

    def __post_init__(self) -> None:
        self.backend = CpuBackend(self.detector, self.describer, batch=self.batch, callers=self.callers)


def as_pipeline(pipeline: BlobPipeline | None = None) -> Any:
    """The same, or a new one, for what asks for a ``rtsearch.pipeline.Pipeline``."""
    return pipeline or BlobPipeline()


def draw(seed: int, objects: int = 3, wh: tuple[int, int] = (160, 120)) -> U8Array:
    """A black picture with at most so many rectangles in a grid of four by three, which never touch."""
    rng = np.random.default_rng(seed)
    bgr = np.zeros((wh[1], wh[0], 3), np.uint8)
    cell_w, cell_h = wh[0] // 4, wh[1] // 3
    for cell in rng.permutation(12)[:objects]:
        x, y = cell % 4 * cell_w + 2, cell // 4 * cell_h + 2
        w, h = rng.integers(cell_w // 4, cell_w - 4), rng.integers(cell_h // 4, cell_h - 4)
        bgr[y : y + h, x : x + w] = rng.integers(0, 60, 3)
        bgr[y : y + h, x : x + w, rng.integers(0, 3)] = rng.integers(150, 256)
    return bgr


def write_photos(root: Path, count: int) -> None:
    """Photos 000.png, sub/001.png, 002.png, ...; every seventh is empty, every eleventh is no picture."""
    for i in range(count):
        path = root / ("sub" if i % 2 else "") / f"{i:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        data = cv2.imencode(".png", draw(i, 0 if i % 7 == 3 else 1 + i % 4))[1].tobytes()
        path.write_bytes(b"not a picture" if i % 11 == 5 else data)


def run(
    photos: Path, library: Path, pipeline: BlobPipeline | None = None, **analyze_settings: Any
) -> AnalyzeReport:
    settings = Settings.model_validate({"analyze": analyze_settings})
    return analyze(photos, library, pipeline or BlobPipeline(), settings)


def content(folder: Path) -> dict[str, tuple[object, ...]]:
    """All that a library says of each photo: state, reason, and the objects with their thumbnails."""
    library = Library.open(folder)
    photos = library.photos()
    packs = [
        pack.read_bytes()
        if isinstance(pack, Path)
        else pack.read(0, pack.size_bytes)
        if pack.size_bytes
        else b""
        for pack in library.packs
    ]
    objects: dict[int, list[tuple[bytes, ...]]] = {i: [] for i in range(len(photos))}
    for batch in library.objects():
        for i, number in enumerate(batch["photo"].tolist()):
            offset, length = int(batch["thumb_offset"][i]), int(batch["thumb_bytes"][i])
            thumb = packs[batch["pack"][i]][offset : offset + length]
            values = [batch[c][i].tobytes() for c in COLUMNS]
            objects[number].append((*values, thumb))
    return {photos.path[i]: (photos.row(i), *objects[i]) for i in range(len(photos))}


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def expected_files(folder: Path) -> set[str]:
    """What a library folder may hold: what its manifest names, the manifest and the lock."""
    named = {
        f"{part}/{fragment.name}{suffix}"
        for fragment in Library.open(folder).fragments
        for part, suffix in PARTS.items()
    }
    return named | {"manifest.json", "lock"}


if __name__ == "__main__":
    photos, library, commit_photos, sleep_s = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
    pipeline = BlobPipeline(BlobDetector(float(sleep_s)), callers=2)
    done = run(photos, library, pipeline, commit_photos=int(commit_photos))
    sys.stdout.write(f"{'interrupted' if done.interrupted else 'complete'} {done.analysed}\n")
