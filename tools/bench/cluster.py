"""What a Ray cluster costs, and what a second machine brings: photos per second of whole analyses.

Plain ``analyze``, Ray on the same cores, and clusters of one and of two machines, all of them this one, with
a core each, look at the photos of the demo. Each analysis is a command of its own and takes its turn.

    python tools/bench/cluster.py [--photos 2000] [--turns 1]

Prints one JSON object. ``command_s`` is the time of a whole command, with Ray's start and the index.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rtsearch._util.cpu import usable_cores
from rtsearch.config import Settings
from rtsearch.jobs.demo import demo_clip, gather_photos
from rtsearch.models import default_folder, pull

NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 100 << 20, "include_dashboard": False}


def copies(folder: Path, count: int) -> Path:
    """So many photos: those of the demo, over and over."""
    gather_photos(folder / "demo", demo_clip())
    there = sorted(path for path in (folder / "demo").rglob("*") if path.is_file())
    (folder / "photos").mkdir()
    for i in range(count):
        source = there[i % len(there)]
        shutil.copyfile(source, folder / "photos" / f"{i:06d}{source.suffix}")
    return folder / "photos"


def analyze(photos: Path, *options: str) -> dict[str, float]:
    """Photos per second of the analysis, and seconds of the command."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "rtsearch",
            "analyze",
            str(photos),
            f"{folder}/lib",
            "--json",
            *options,
        ]
        start_s = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        command_s = time.perf_counter() - start_s
    if done.returncode:
        sys.exit(done.stderr)
    report = json.loads(done.stdout)
    return {"photos_per_s": report["analysed"] / report["seconds"], "command_s": command_s}


@contextmanager
def machines(count: int) -> Iterator[str]:
    """A cluster of so many machines with a core each; gives its address."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    try:
        for _ in range(count - 1):
            cluster.add_node(**NODE)
        yield cluster.address
    finally:
        cluster.shutdown()


def turn(photos: Path) -> dict[str, dict[str, float]]:
    found = {"plain": analyze(photos), "ray_local": analyze(photos, "--ray", "local")}
    for count in (1, 2):
        with machines(count) as address:
            found[f"machines_{count}"] = analyze(photos, "--ray", address)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--photos", type=int, default=2000)
    parser.add_argument("--turns", type=int, default=1)
    args = parser.parse_args()
    pull(Settings().model.name, default_folder())
    with tempfile.TemporaryDirectory() as folder:
        photos = copies(Path(folder), args.photos)
        turns = [turn(photos) for _ in range(args.turns)]
    medians = {
        way: {key: round(statistics.median(turn[way][key] for turn in turns), 2) for key in turns[0][way]}
        for way in turns[0]
    }
    rates = {way: values["photos_per_s"] for way, values in medians.items()}
    print(
        json.dumps(
            {
                "photos": args.photos,
                "cores": usable_cores(),
                **medians,
                "ray_overhead": round(1 - rates["ray_local"] / rates["plain"], 3),
                "second_machine": round(rates["machines_2"] / rates["machines_1"], 2),
            }
        )
    )


if __name__ == "__main__":
    main()
