"""Object storage beside a disk: rate of an analysis, time to open a large library, bytes and requests.

The storage is a real S3 server on this machine, which takes its share of the cores; analyses of both kinds
take turns in one process, so that both see the same neighbours.

    python tools/bench/scale.py [--photos FOLDER] [--copies 4] [--turns 5] [--objects 100000] [--keep FOLDER]

Prints one JSON object. Without a folder, the demo's photos are used, each as many times as ``--copies`` says.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from library import OPEN, write_library

from rtsearch.config import Settings
from rtsearch.jobs.analyze import analyze
from rtsearch.jobs.demo import demo_clip, gather_photos
from rtsearch.library import Library
from rtsearch.library.index import open_index
from rtsearch.library.merge import merge_libraries
from rtsearch.library.photos import find_photos
from rtsearch.models import default_folder, pull
from rtsearch.pipeline import Pipeline, open_pipeline
from rtsearch.storage import open_store
from rtsearch.storage.address import Address

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests"))
from object_storage import S3Server

OPENINGS = 5


def upload(photos: Path, address: str) -> None:
    """Put all photos of a folder below an address."""
    parsed = Address.parse(address)
    assert parsed is not None
    for photo in find_photos(photos).photos:
        open_store(parsed).write(photo.path, photos / photo.path)


def analysis(pipeline: Pipeline, photos: Path, folder: Path, turns: int) -> dict[str, object]:
    """Turns of disk and storage; a turn's ratio is that of its own two analyses."""
    upload(photos, "s3://bench/photos")
    rates: dict[str, list[float]] = {"disk": [], "s3": []}
    for turn in range(turns):
        for kind in ("disk", "s3") if turn % 2 else ("s3", "disk"):
            there = photos if kind == "disk" else Path("s3://bench/photos")
            library = folder / f"{turn}.lib" if kind == "disk" else Path(f"s3://bench/{turn}.lib")
            report = analyze(there, library, pipeline, Settings())
            rates[kind].append(report.analysed / report.seconds)
    ratios = [s3 / disk for s3, disk in zip(rates["s3"], rates["disk"], strict=True)]
    return {
        "photos": len(find_photos(photos).photos),
        "photos_per_s": {kind: round(statistics.median(values), 1) for kind, values in rates.items()},
        "s3_share_of_disk": round(statistics.median(ratios), 3),
    }


def openings(folder: Path, objects: int) -> dict[str, object]:
    """Seconds from opening a library to its first answer, in a new process each time, imports left out."""
    write_library(folder, objects)
    open_index(Library.open(folder), Settings())
    merge_libraries(Path("s3://bench/large.lib"), [folder])
    open_index(Library.open(Path("s3://bench/large.lib")), Settings(), remember=True)
    entries = list(open_store(Address("s3", "bench", "large.lib")).entries())
    stored = {
        kind: sum(entry.size_bytes for entry in entries if entry.key.startswith(f"{kind}/"))
        for kind in ("images", "objects", "index")
    }
    with tempfile.TemporaryDirectory(prefix="rtsearch-") as cache:
        cold = [_opening("s3://bench/large.lib", f"{cache}/{i}") for i in range(OPENINGS)]
        cached = [_opening("s3://bench/large.lib", f"{cache}/0") for _ in range(OPENINGS)]
    return {
        "objects": objects,
        "bytes_per_object": {kind: round(size / objects) for kind, size in stored.items()},
        "open_s": {
            "disk": statistics.median(_opening(str(folder)) for _ in range(OPENINGS)),
            "s3_cold": statistics.median(cold),
            "s3_cached": statistics.median(cached),
        },
    }


def _opening(library: str, cache: str = "") -> float:
    environment = {**os.environ, **({"XDG_CACHE_HOME": cache} if cache else {})}
    command = [sys.executable, "-c", OPEN, library]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return round(float(done.stdout.split()[1]), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--copies", type=int, default=4)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--keep", type=Path, help="folder for the large library; default: a temporary one")
    args = parser.parse_args()
    pull(Settings().model.name, default_folder())
    with tempfile.TemporaryDirectory(prefix="rtsearch-") as name:
        folder = Path(name)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        server = S3Server(folder / "s3").start()
        try:
            os.environ.update(server.environment())
            server.make_bucket("bench")
            photos = args.photos or _photos(folder / "photos", args.copies)
            with open_pipeline(Settings()) as pipeline:
                pipeline.warm_up()
                result = analysis(pipeline, photos, folder, args.turns)
            result |= openings(args.keep or folder / "large.lib", args.objects)
        finally:
            server.stop()
    print(json.dumps(result))


def _photos(folder: Path, copies: int) -> Path:
    gather_photos(folder / "0", demo_clip())
    for number in range(1, copies):
        shutil.copytree(folder / "0", folder / str(number), copy_function=os.link)
    return folder


if __name__ == "__main__":
    main()
