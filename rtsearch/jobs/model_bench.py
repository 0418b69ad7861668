"""Time the networks of a folder on this machine, and keep the times beside them."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rtsearch._util.atomic import write_atomic
from rtsearch.errors import ModelError, RunnerError
from rtsearch.models import ModelSpec
from rtsearch.runners.onnx import OnnxRunner
from rtsearch.runners.precision import cpu_ms

__all__ = ["TimedModel", "known_times", "time_all"]

_FILE = "bench.json"
_MOST_BYTES = 1 << 20
_SECONDS = 2.0
_FEWEST = 3


@dataclass(frozen=True)
class TimedModel:
    """Time of one network.

    Attributes:
        name: name of the model.
        input_wh: width and height of the input, px.
        cpu_ms: median CPU time of a picture with one thread, ms.
        bytes: size of the file.
    """

    name: str
    input_wh: tuple[int, int]
    cpu_ms: float
    bytes: int


def time_all(
    folder: Path, progress: Callable[[str, float], None], seconds: float = _SECONDS
) -> list[TimedModel]:
    """Return the times of all prepared models in a folder, and keep them in it; other files are left out.

    Args:
        folder: folder of prepared models.
        progress: gets the name of the model that is timed, and the finished share.
        seconds: time for each.
    """
    paths = sorted(folder.glob("*.onnx"))
    timed = []
    for i, path in enumerate(paths):
        progress(path.stem, i / len(paths))
        try:
            timed.append(_time(path, seconds))
        except (ModelError, RunnerError):
            continue
    text = json.dumps({one.name: {"cpu_ms": one.cpu_ms, "bytes": one.bytes} for one in timed})
    if timed:
        write_atomic(folder / _FILE, text.encode())
    return timed


def known_times(folder: Path) -> dict[str, float]:
    """Return the kept CPU times in ms by name, of files that are still as large as they were."""
    path = folder / _FILE
    try:
        kept = json.loads(path.read_text(encoding="utf-8")) if path.stat().st_size < _MOST_BYTES else {}
    except (OSError, ValueError, RecursionError):
        return {}
    times = {}
    for name, entry in kept.items() if isinstance(kept, dict) else ():
        file = folder / f"{name}.onnx"
        taken = entry.get("cpu_ms") if isinstance(entry, dict) else None
        if isinstance(taken, float) and file.is_file() and file.stat().st_size == entry.get("bytes"):
            times[name] = taken
    return times


def _time(path: Path, seconds: float) -> TimedModel:
    spec = ModelSpec.read(path)
    width, height = spec.input_wh
    runner = OnnxRunner(path, 1, spec.input_wh)
    pictures = np.random.default_rng(0).random((spec.batch or 1, 3, height, width)).astype(np.float32)
    runner.run(pictures)
    times_ms: list[float] = []
    end_s = time.monotonic() + seconds
    while len(times_ms) < _FEWEST or time.monotonic() < end_s:
        times_ms.append(cpu_ms(runner, pictures) / len(pictures))
    runner.close()
    return TimedModel(path.stem, spec.input_wh, round(statistics.median(times_ms), 2), path.stat().st_size)
