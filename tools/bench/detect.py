"""The bare network on the CPU: wall and CPU time per picture, by size, threads, spinning, batch and callers.

Where the network has an int8 file (``rtsearch model quantize``), both files are timed side by side.

Each setting runs in a process of its own, in turns of a second, so that all see the same neighbours on the
machine. ``paced`` asks for a picture every 1/30 s, as a camera does; what threads burn in between counts.
``flat out`` asks as fast as it can, as an analysis does.

    python tools/bench/detect.py [--model yolo26n] [--turns 5] [--seconds 1]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rtsearch.models import ModelSpec, default_folder, int8_path, pull, resolve
from rtsearch.models.catalogue import CATALOGUE

if TYPE_CHECKING:
    import onnxruntime as ort

FRAME_S = 1 / 30


@dataclass(frozen=True)
class Setting:
    """One way to run the network."""

    width: int
    height: int
    threads: int
    spinning: bool
    batch: int
    paced: bool
    callers: int = 1


def settings(spec: ModelSpec) -> list[Setting]:
    """What is compared: one thing changed at a time."""
    width, height = spec.input_wh
    all_settings = [
        Setting(width, height, threads, spinning, 1, True)
        for threads, spinning in ((1, False), (2, False), (2, True))
    ]
    if spec.flexible:
        wide = -(-width * 9 // 16 // spec.multiple) * spec.multiple
        all_settings += [Setting(width, wide, threads, False, 1, True) for threads in (1, 2)]
        all_settings += [Setting(320, 320, 2, False, 1, True), Setting(640, 640, 2, False, 1, True)]
    batches = (1, 4, 8) if spec.batch is None else (spec.batch,)
    all_settings += [
        Setting(width, height, threads, False, batch, False) for threads in (1, 2) for batch in batches
    ]
    all_settings += [Setting(width, height, threads, False, batches[0], False, 2) for threads in (1, 2)]
    return all_settings


def serve(path: Path) -> None:
    """In the child: open what the first line says, then do one turn per line."""
    import onnxruntime as ort  # after rtsearch, which switches its telemetry off

    setting = Setting(**json.loads(sys.stdin.readline()))
    options = ort.SessionOptions()
    options.intra_op_num_threads = setting.threads
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(setting.spinning)))
    options.add_free_dimension_override_by_name("width", setting.width)
    options.add_free_dimension_override_by_name("height", setting.height)
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    shape = (setting.batch, 3, setting.height, setting.width)
    images = np.random.default_rng(0).random(shape, dtype=np.float32)
    session.run(None, {"images": images})
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(turn(session, images, setting, float(line))), flush=True)


def turn(
    session: ort.InferenceSession, images: np.ndarray, setting: Setting, seconds: float
) -> dict[str, float]:
    """Median wall ms of a call, pictures per second, and CPU ms per picture, waits between calls included."""
    walls_ms: list[float] = []
    start_s, cpu_s = time.perf_counter(), time.process_time()

    def call() -> None:
        while (begin_s := time.perf_counter()) - start_s < seconds:
            session.run(None, {"images": images})
            walls_ms.append((time.perf_counter() - begin_s) * 1e3)
            if setting.paced:
                time.sleep(max(0.0, start_s + len(walls_ms) * FRAME_S - time.perf_counter()))

    callers = [threading.Thread(target=call) for _ in range(setting.callers)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    pictures = len(walls_ms) * setting.batch
    return {
        "wall_ms": statistics.median(walls_ms),
        "pictures_per_s": pictures / (time.perf_counter() - start_s),
        "cpu_ms": (time.process_time() - cpu_s) * 1e3 / pictures,
    }


def bench(path: Path, turns: int, seconds: float) -> list[dict[str, object]]:
    """Median of the turns for every setting, the settings in turn."""
    files = [path, *([int8_path(path)] if int8_path(path).is_file() else [])]
    compared = [(setting, file) for setting in settings(ModelSpec.read(path)) for file in files]
    results: list[list[dict[str, float]]] = [[] for _ in compared]
    for _ in range(turns):
        for (setting, file), result in zip(compared, results, strict=True):
            command = [sys.executable, __file__, "--serve", str(file)]
            answer = subprocess.run(
                command,
                input=f"{json.dumps(vars(setting))}\n{seconds}\n",
                capture_output=True,
                text=True,
                check=True,
            )
            result.append(json.loads(answer.stdout.splitlines()[-1]))
    return [
        {"file": file.name}
        | vars(setting)
        | {key: round(statistics.median(one[key] for one in result), 2) for key in result[0]}
        for (setting, file), result in zip(compared, results, strict=True)
    ]


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="yolo26n", help="name or path of a prepared model")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one turn")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    if any(entry.name == options.model for entry in CATALOGUE):
        pull(options.model, default_folder())
    path = resolve(options.model, default_folder())
    runs = bench(path, options.turns, options.seconds)
    print(json.dumps({"model": path.name, "onnxruntime": version("onnxruntime"), "runs": runs}))


if __name__ == "__main__":
    main()
