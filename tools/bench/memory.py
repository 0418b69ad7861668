"""A memory of a week: search beside a large library, resident size, start, disk, and live frame rate.

    python tools/bench/memory.py [--entries 840000] [--hours 168] [--library 376459] [--keep FOLDER]

Entries have synthetic vectors in the feature space of the default network, and crops of objects that it finds
in the demo's clip. Each step is a process of its own; prints one JSON object:

    hour_s           one hour is written and becomes a block
    bytes_per_entry  all files of the memory
    start_s          opening the memory, until it has answered for the first time
    search_ms        one object's 16 nearest among library and memory: p50, p99, p99 of the CPU time; ``wide``
                     its 64 nearest, as a strip asks for; ``library`` those of the library alone
    resident_mb      with network, library and memory, after all these searches, in millions of bytes;
                     ``private``: no mapped files
    fps              frames per second of the clip, every frame detected, without and with the memory; medians
    cpu_ms           the same, CPU time of the process per frame
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
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from vectors import Scenes

from rtsearch._util.metrics import Meter
from rtsearch.config import SearchSettings, Settings, load_settings
from rtsearch.jobs.demo import demo_clip
from rtsearch.library import FeatureSpace
from rtsearch.library.crops import encode_crop
from rtsearch.library.index_files import PhotoPaths, empty_table
from rtsearch.library.search_index import SearchIndex
from rtsearch.live import Outputs, play
from rtsearch.memory.block import remove_block, runs_to_join, write_block
from rtsearch.memory.entry import Entry, with_path
from rtsearch.memory.folder import MemoryFolder, hour_of
from rtsearch.memory.hours import Rows, read_hour, write_hour
from rtsearch.memory.learning import load_projection, save_projection
from rtsearch.memory.live_memory import LiveMemory
from rtsearch.models import default_folder, pull
from rtsearch.pipeline import Pipeline, open_pipeline
from rtsearch.search import KDTree
from rtsearch.search.projection import Projection, stored_points
from rtsearch.sources import VideoFile

HOUR_NS = 3600 * 1_000_000_000
SETTINGS = load_settings(None, ["memory.keep_days=30", "memory.keep_gb=1000", "memory.blind_s=0"])
SAMPLE = 20_000
QUERIES = 2000
SCENES = Scenes(0)
PATH = [(i * 5.0, 100.0 + i, 120.0, 300.0 + i, 400.0) for i in range(12)]


def space_of(pipeline: Pipeline) -> FeatureSpace:
    return FeatureSpace(
        recipe=dict(pipeline.feature_space), class_names=pipeline.class_names, dim=pipeline.backend.dim
    )


def vectors(n: int, dim: int, seed: int) -> np.ndarray:
    """(n, dim) float16 descriptions that cluster as real ones do."""
    rng = np.random.default_rng(seed)
    features = SCENES.features(SCENES.latents(n, rng), rng)
    missing = max(0, dim - features.shape[1])
    noise = np.abs(rng.standard_normal((n, missing), np.float32)) * 0.1
    return np.concatenate([features[:, :dim], noise], axis=1).astype(np.float16)


def crops(pipeline: Pipeline) -> list[bytes]:
    """Crops of the objects in the demo's clip, with paths."""
    found = []
    with VideoFile(str(demo_clip())) as clip:
        for frame in clip:
            seen = pipeline.backend.infer([frame.bgr], Settings().detect, Meter())[0]
            found += [with_path(encode_crop(frame.bgr, box, 128), PATH) for box in seen.xyxy]
    return found


def fill(folder: Path, entries: int, hours: int) -> dict[str, Any]:
    """Write a memory: one hour as a run does, the others as copies; blocks have new vectors."""
    with open_pipeline(Settings()) as pipeline:
        space, jpegs = space_of(pipeline), crops(pipeline)
    memory = MemoryFolder.make(folder, space, SETTINGS.model_dump(mode="json"))
    blocks = memory.description_blocks
    projection = Projection.fit([vectors(SAMPLE, space.dim, 1)], SETTINGS.project, blocks)
    save_projection(memory, projection)
    begin_ns = (time.time_ns() // HOUR_NS // 24 * 24 - hours) * HOUR_NS
    names = [hour_of(begin_ns + h * HOUR_NS) for h in range(hours)]
    start = time.perf_counter()
    write_one(memory, names[0], begin_ns, [jpegs[i % len(jpegs)] for i in range(entries // hours)])
    hour = read_hour(memory, names[0])
    write_block(memory, projection, projection.apply(hour.vectors), hour.rows)
    hour_s = time.perf_counter() - start
    remove_block(next(memory.index.iterdir()))
    for name in names[1:]:
        shutil.copytree(memory.hour(names[0]), memory.hour(name), copy_function=os.link)
    runs = runs_to_join([(1, len(hour.rows))] * hours)
    alone = [[place] for place in range(hours) if not any(place in run for run in runs)]
    for run in [*runs, *alone]:
        write_joined(memory, projection, hour.rows, names[run[0] : run[-1] + 1], run[0])
    return {"crop_bytes": round(statistics.mean(map(len, jpegs))), "hour_s": round(hour_s, 2)}


def write_one(memory: MemoryFolder, name: str, at_ns: int, jpegs: list[bytes]) -> None:
    described = vectors(len(jpegs), memory.space.dim, 7)
    with write_hour(memory, name) as writer:
        for i, jpeg in enumerate(jpegs):
            last_ns = at_ns + HOUR_NS * i // len(jpegs)
            one = Entry(
                source=f"camera-{i % 8}",
                visit=i,
                label=i % len(memory.space.class_names),
                score=0.7,
                xyxy=np.array([100, 120, 300, 400], np.float32),
                vector=described[i].astype(np.float32),
                jpeg=jpeg,
                wh=(1280, 720),
                times_s=(1.0, 0.0, 8.0),
                seen_ns=(last_ns - 8_000_000_000, last_ns),
            )
            writer.add(one.photo(), one.objects(), [one.jpeg])
        writer.commit()


def write_joined(
    memory: MemoryFolder, projection: Projection, rows: Rows, names: list[str], seed: int
) -> None:
    """Write the block of some hours, which are copies of one."""
    parts = [
        projection.apply(vectors(len(rows), memory.space.dim, 100 + seed + h)) for h in range(len(names))
    ]
    columns = {name: np.concatenate([column] * len(names)) for name, column in rows.columns.items()}
    columns["pack"] = np.repeat(np.arange(len(names), dtype=np.int32), len(rows))
    packs = tuple(rows.packs[0]._replace(hour=name) for name in names)
    write_block(memory, projection, np.concatenate(parts), Rows(packs, rows.sources, columns))
    sys.stderr.write(f"{names[-1]}\n")


def library_index(folder: Path, projection: Projection, n: int, live: LiveMemory) -> SearchIndex:
    """An index of n objects without photos, its tree mapped as that of a library is."""
    if not (folder / "kdtree.bin").exists():
        points = np.concatenate(
            [
                projection.apply(vectors(min(SAMPLE, n - at), len(projection.matrix), at))
                for at in range(0, n, SAMPLE)
            ]
        )
        KDTree.build(stored_points(points)).save(folder)
    table = {name: np.zeros((n, *column.shape[1:]), column.dtype) for name, column in empty_table(0).items()}
    table |= {"leader": np.arange(n, dtype=np.int32), "photo": np.arange(n, dtype=np.int32)}
    paths = PhotoPaths(np.zeros(0, np.uint8), np.zeros(n, np.int64))
    return SearchIndex(live.recall.memory.library, projection, KDTree.load(folder), table, paths)


def times_ms(search: Any, points: np.ndarray) -> dict[str, float]:
    """Search with each point by itself, in an order that no cache has seen."""
    spent = []
    for point in points:
        start, cpu = time.perf_counter(), time.thread_time()
        search(point[None])
        spent.append(((time.perf_counter() - start) * 1e3, (time.thread_time() - cpu) * 1e3))
    (p50, _), (p99, cpu_p99) = np.quantile(spent, (0.5, 0.99), axis=0).round(3).tolist()
    return {"p50": p50, "p99": p99, "cpu_p99": cpu_p99}


def search(folder: Path, library: int) -> dict[str, Any]:
    """Start, search, and tell how much memory that takes."""
    with open_pipeline(Settings()) as pipeline:
        pipeline.warm_up()
        space = space_of(pipeline)
        projection = load_projection(MemoryFolder.open(folder))
        assert projection is not None
        KDTree.build(np.zeros((64, 4), np.float32)).query(np.zeros((1, 4), np.float32), 4)  # compiled before
        start = time.perf_counter()
        with LiveMemory.open(folder, space, projection, SETTINGS) as live:
            points = projection.apply(vectors(3 * QUERIES, space.dim, 5))
            live.recall.near(points[:1], 16)
            start_s = time.perf_counter() - start
            base = library_index(folder.parent / "library", projection, library, live)
            index = live.beside(base, SearchSettings())
            for k in (16, 64):
                index.near(points[:1], k), base.near(points[:1], k)
            first, second, third = np.split(points, 3)
            return {
                "start_s": round(start_s, 2),
                "search_ms": times_ms(lambda point: index.near(point, 16), first),
                "wide_ms": times_ms(lambda point: index.near(point, 64), second),
                "library_ms": times_ms(lambda point: base.near(point, 16), third),
                "private_mb": resident_mb("RssAnon"),
                "resident_mb": resident_mb("VmHWM"),
                "findable": live.recall.findable,
            }


def resident_mb(what: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(round(int(line.split()[1]) * 1024 / 1e6) for line in lines if line.startswith(what))


def frame_rate(folder: Path, library: int, rounds: int) -> dict[str, Any]:
    """Play the clip as fast as it goes, without and with the memory in turn."""
    fps: dict[str, list[float]] = {"without": [], "with": []}
    cpu_ms: dict[str, list[float]] = {"without": [], "with": []}
    entries = 0
    with open_pipeline(Settings(), cut_padding=True) as pipeline:
        projection = load_projection(MemoryFolder.open(folder))
        assert projection is not None
        space = space_of(pipeline)
        for turn in range(2 * rounds + 2):
            with LiveMemory.open(folder, space, projection, SETTINGS) as live:
                base = library_index(folder.parent / "library", projection, library, live)
                kind = "with" if turn % 2 else "without"
                memory = live if turn % 2 else None
                report = play(VideoFile(str(demo_clip())), pipeline, base, SETTINGS, Outputs(), memory=memory)
                if turn >= 2:  # the first of each warms up
                    fps[kind].append(report.fps)
                    cpu_ms[kind].append(report.cpu_ms["all"])
                entries += report.memory.entries if report.memory else 0
    medians = {kind: round(statistics.median(each), 2) for kind, each in fps.items()}
    return {
        "fps": medians,
        "cpu_ms": {kind: round(statistics.median(each), 2) for kind, each in cpu_ms.items()},
        "fps_share": round(medians["with"] / medians["without"], 4),
        "kept_while_playing": entries,
    }


STEPS: dict[str, Callable[..., dict[str, Any]]] = {"fill": fill, "search": search, "frame_rate": frame_rate}


def in_process(step: str, *arguments: object) -> dict[str, Any]:
    """Run a step in a process of its own."""
    command = [sys.executable, __file__, "--step", step, json.dumps([str(arguments[0]), *arguments[1:]])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def measure(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    entries = args.entries // args.hours * args.hours
    place = folder / "memory"
    result: dict[str, Any] = {"entries": entries, "hours": args.hours, "library": args.library}
    if not (place / "manifest.json").exists():
        result |= in_process("fill", place, entries, args.hours)
    result["bytes_per_entry"] = round(bytes_in(place) / entries)
    in_process("search", place, args.library)  # the library's tree is built, and kernels are compiled
    result |= in_process("search", place, args.library)
    return result | in_process("frame_rate", place, args.library, args.rounds)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--entries", type=int, default=840_000)
    parser.add_argument("--hours", type=int, default=168)
    parser.add_argument("--library", type=int, default=376_459, help="objects of the library beside it")
    parser.add_argument("--rounds", type=int, default=5, help="of the clip, with and without the memory")
    parser.add_argument("--keep", type=Path, help="folder for the memory; default: a temporary one")
    parser.add_argument("--step", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step:
        first, *rest = json.loads(args.step[1])
        print(json.dumps(STEPS[args.step[0]](Path(first), *rest)))
        return
    pull(Settings().model.name, default_folder())
    with tempfile.TemporaryDirectory(prefix="rtsearch-") as name:
        folder = args.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        print(json.dumps(measure(folder, args)))


if __name__ == "__main__":
    main()
