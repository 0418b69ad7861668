"""Make the small library that several targets change."""

from __future__ import annotations

import atexit
import shutil
import tempfile
import zlib
from pathlib import Path

import cv2
import numpy as np

from rtsearch.library import FeatureSpace, LibraryWriter, ObjectRows, PhotoRow, PhotoState

__all__ = ["BLOCKS", "DIM", "make_library", "own_folder"]

BLOCKS = [{"kind": "class", "width": 2}, {"kind": "deep32", "width": 6}]
DIM = 8
_PHOTOS = 6


def own_folder() -> Path:
    """Return a folder that lasts as long as this process."""
    memory = Path("/dev/shm")  # where a file that is synced costs nothing
    folder = Path(tempfile.mkdtemp(prefix="rtsearch-fuzz-", dir=memory if memory.is_dir() else None))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def make_library(folder: Path) -> None:
    """Write a library of two fragments, with real crops."""
    recipe = {"model": "m", "model_sha256": "0" * 64, "input_wh": [416, 416], "describe": {"blocks": BLOCKS}}
    space = FeatureSpace(recipe=recipe, class_names=("cat", "dog"), dim=DIM)
    settings = {"model": {"name": "yolo26n", "size": 416}, "describe": {"embedder": ""}}
    with LibraryWriter.open(folder, space, photo_root=folder, settings=settings) as writer:
        for i in range(_PHOTOS):
            path, date = f"é/{i} a.jpg", 10**18 + i
            rows = None if i == 1 else _objects(i % 3 + 1, i)
            state = PhotoState.EMPTY if i == 1 else PhotoState.OK
            crops = [_crop(i) for _ in range(len(rows) if rows else 0)]
            sha256 = f"{zlib.crc32(path.encode()):064x}"
            writer.add(PhotoRow(path, 1000 + i, date, 640, 480, state, sha256=sha256), rows, crops)
            if i == _PHOTOS // 2:
                writer.add(PhotoRow("bad.png", 1, date, 0, 0, PhotoState.FAILED, "zero bytes"))
                writer.commit()
        writer.commit()


def _objects(n: int, seed: int) -> ObjectRows:
    rng = np.random.default_rng(seed)
    return ObjectRows(
        xyxy=rng.uniform(0, 400, (n, 4)).astype(np.float32),
        label=rng.integers(-1, 2, n).astype(np.int32),
        score=rng.uniform(0, 1, n).astype(np.float32),
        whole=rng.uniform(0, 1, n) > 0.5,
        vector=rng.normal(size=(n, DIM)).astype(np.float32),
    )


def _crop(seed: int) -> bytes:
    bgr = np.full((12, 16, 3), 40 * seed, np.uint8)
    return cv2.imencode(".jpg", bgr)[1].tobytes()
