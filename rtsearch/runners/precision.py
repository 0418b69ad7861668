"""Choose between the float32 and the int8 file of a network by timing both on this machine.

int8 takes about 0.73 of the time where the processor multiplies bytes (VNNI), more than float32 elsewhere.
Flags of a processor do not tell how much a network gains, so a trial of two seconds does; its result is kept
beside the file and holds for one processor, version of onnxruntime and input size.
"""

from __future__ import annotations

import hashlib
import json
import logging
import platform
import statistics
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort

from rtsearch._util.atomic import write_atomic
from rtsearch._util.regular_files import read_regular
from rtsearch.errors import RunnerError
from rtsearch.runners.onnx import OnnxRunner
from rtsearch.types import F32Array

__all__ = ["LEAST_GAIN", "cpu_ms", "int8_pays", "time_both"]

LEAST_GAIN = 0.15
"""Least share of the time that int8 must save to be used by itself."""

_TRIAL_S = 2.0
_FEWEST_TURNS = 3
_MOST_BYTES = 1 << 16
_log = logging.getLogger(__name__)


def int8_pays(plain: Path, small: Path, wh: tuple[int, int], sha256: str) -> bool:
    """Tell whether the int8 file of a network saves enough time on this machine; timed once.

    Args:
        plain: prepared model in float32.
        small: the same network in int8.
        wh: width and height of the input, px.
        sha256: SHA-256 of the int8 file.

    Returns:
        False also where one of them cannot be run; whoever uses the other says what is wrong with it.
    """
    kept = small.with_suffix(".json")
    key = hashlib.sha256(
        json.dumps([sha256, wh, ort.__version__, _processor()]).encode(), usedforsecurity=False
    ).hexdigest()
    known = _known(kept)
    share = known.get(key)
    if share is None:
        try:
            before_ms, after_ms = time_both(plain, small, wh)
        except RunnerError as error:
            _log.warning("%s is left out: %s", small.name, error)
            return False
        share = after_ms / before_ms
        _log.info("%s takes %.2f of the time of %s here", small.name, share, plain.name)
        try:
            write_atomic(kept, json.dumps({**known, key: round(share, 3)}).encode())
        except OSError as error:  # then it is timed again at the next start
            _log.debug("cannot keep the time in %s: %s", kept, error)
    return share <= 1 - LEAST_GAIN


def time_both(plain: Path, small: Path, wh: tuple[int, int]) -> tuple[float, float]:
    """Return the median CPU times of a picture in float32 and in int8, ms, in turns and with one thread."""
    runners = [OnnxRunner(path, 1, wh) for path in (plain, small)]
    shape = (runners[0].batch or 1, 3, wh[1], wh[0])
    picture = np.random.default_rng(0).random(shape).astype(np.float32)
    times: list[list[float]] = [[], []]
    for runner in runners:
        runner.run(picture)
    end_s = time.monotonic() + _TRIAL_S
    while len(times[1]) < _FEWEST_TURNS or time.monotonic() < end_s:
        for runner, taken in zip(runners, times, strict=True):
            taken.append(cpu_ms(runner, picture))
    for runner in runners:
        runner.close()
    return statistics.median(times[0]), statistics.median(times[1])


def cpu_ms(runner: OnnxRunner, picture: F32Array) -> float:
    """Return the CPU time of one run with one thread, ms; other programs on the machine do not count."""
    start_s = time.thread_time()
    runner.run(picture)
    return (time.thread_time() - start_s) * 1000


def _processor() -> str:
    """Return the model and the flags of the processor, as far as the system tells them."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    lines = [line for line in text.split("\n\n")[0].splitlines() if line.startswith(("model name", "flags"))]
    return " ".join(lines) or platform.machine()


def _known(path: Path) -> dict[str, float]:
    try:
        values = json.loads(read_regular(path, _MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(values, dict):
        return {}
    return {key: share for key, share in values.items() if isinstance(share, float)}
