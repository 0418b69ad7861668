"""A large library: time to build its index, time from opening it to the first answer, memory of a live run.

Its vectors are drawn around as many centres as there are photos, in the feature space of the default network,
so that every part of the real path is used: Parquet fragments, projection, tree, thumbnail packs.

    python tools/bench/library.py [--objects 100000] [--keep FOLDER] [--clip CLIP]

Prints one JSON object. Each step is a process of its own; memory is the largest resident size of each.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from rtsearch.config import Settings
from rtsearch.jobs.demo import demo_clip
from rtsearch.library import FeatureSpace, LibraryWriter, ObjectRows, PhotoRow, PhotoState
from rtsearch.models import default_folder, pull
from rtsearch.pipeline import open_pipeline

OBJECTS_PER_PHOTO = 8
PHOTOS_PER_FRAGMENT = 4096

REBUILD = """
import sys; from pathlib import Path
from rtsearch.config import Settings; from rtsearch.library.index import build_index
from rtsearch.library import Library
build_index(Library.open(Path(sys.argv[1])), Settings())
"""

OPEN = """
import sys, time; start = time.perf_counter()
import numpy as np; from pathlib import Path
from rtsearch.config import Settings; from rtsearch.library.index import open_index
from rtsearch.library import Library
imported = time.perf_counter()
index = open_index(Library.open(Path(sys.argv[1])), Settings())
index.search(np.zeros((1, index.library.dim), np.float32), 16)
print(imported - start, time.perf_counter() - imported)
"""


def write_library(folder: Path, objects: int) -> None:
    """A library of so many objects; nothing to do if it is there."""
    if (folder / "manifest.json").exists():
        return
    random = np.random.default_rng(0)
    with open_pipeline(Settings()) as pipeline:
        space = FeatureSpace(
            recipe=pipeline.feature_space, class_names=pipeline.class_names, dim=pipeline.backend.dim
        )
    thumbs = [_jpeg(random.integers(0, 255, (4, 4, 3), np.uint8)) for _ in range(64)]
    with LibraryWriter.open(folder, space, photo_root=folder, settings={}) as writer:
        for photo in range(-(-objects // OBJECTS_PER_PHOTO)):
            n = min(OBJECTS_PER_PHOTO, objects - photo * OBJECTS_PER_PHOTO)
            row = PhotoRow(f"{photo // 1000}/{photo:08d}.jpg", 1, 1, 640, 480, PhotoState.OK)
            centre = random.standard_normal(space.dim)
            rows = ObjectRows(
                xyxy=np.tile(np.array([10, 10, 100, 100], np.float32), (n, 1)),
                label=random.integers(0, len(space.class_names), n).astype(np.int32),
                score=np.full(n, 0.5, np.float32),
                whole=np.zeros(n, bool),
                vector=(centre + 0.5 * random.standard_normal((n, space.dim))).astype(np.float16),
            )
            writer.add(row, rows, [thumbs[(photo + i) % len(thumbs)] for i in range(n)])
            if writer.open_photos >= PHOTOS_PER_FRAGMENT:
                writer.commit()
        writer.commit()


def _jpeg(seed: np.ndarray) -> bytes:
    picture = cv2.resize(seed, (96, 128), interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()


def run(command: list[str]) -> tuple[str, float, float]:
    """Output, seconds and largest resident size (MB) of a process."""
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL)
        peak_kb = 0
        while process.poll() is None:
            peak_kb = max(peak_kb, _resident_kb(process.pid))
            time.sleep(0.02)
        seconds = time.perf_counter() - start
        out.seek(0)
        if process.returncode:
            sys.exit(f"{' '.join(command)[:80]} failed with {process.returncode}")
        return out.read(), seconds, peak_kb / 1024


def _resident_kb(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def measure(folder: Path, objects: int, clip: Path) -> dict[str, object]:
    write_library(folder, objects)
    python = [sys.executable, "-c"]
    for _ in range(2):  # the first one fills the compile cache
        _, rebuild_s, rebuild_mb = run([*python, REBUILD, str(folder)])
    opened = [[float(x) for x in run([*python, OPEN, str(folder)])[0].split()] for _ in range(5)]
    rtsearch = str(Path(sys.executable).with_name("rtsearch"))
    out, _, run_mb = run([rtsearch, "run", str(folder), "--source", str(clip), "--headless", "--json"])
    return {
        "objects": objects,
        "index_build_s": round(rebuild_s, 2),
        "index_build_mb": round(rebuild_mb),
        "open_to_first_answer_s": round(statistics.median(o[1] for o in opened), 3),
        "imports_s": round(statistics.median(o[0] for o in opened), 3),
        "run_mb": round(run_mb),
        "run_fps": json.loads(out)["fps"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--keep", type=Path, help="folder for the library; default: a temporary one")
    parser.add_argument("--clip", type=Path, help="what the live run plays; default: the demo's clip")
    args = parser.parse_args()
    pull(Settings().model.name, default_folder())
    clip = args.clip or demo_clip()
    if args.keep:
        result = measure(args.keep, args.objects, clip)
    else:
        with tempfile.TemporaryDirectory(prefix="rtsearch-") as folder:
            result = measure(Path(folder), args.objects, clip)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
