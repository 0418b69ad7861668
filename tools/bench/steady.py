"""How steady are the strips? The same clips with and without tracks, pooled queries and neighbours that stay.

    python tools/bench/steady.py LIB CLIP [CLIP ...]

Prints one JSON object per clip. ``without`` searches the neighbours of each object in each frame and shows
objects in the order of their confidence, as detection gives them.

    row_changes_per_minute    objects that are in another strip than in the frame before
    changed                   share of the crops on screen that differ from the frame before
    farther                   mean distance of what is shown, by that of the pooled query's true neighbours
    farther_own               the same for the query of the frame alone
    skipped                   share of the searches that were left out, their answer being proved
    misses                    how often a track was missed and seen again, and after up to 2 and 5 frames
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from rtsearch._util.metrics import Meter
from rtsearch.config import LiveSettings, Settings
from rtsearch.library import Library
from rtsearch.library.index import SearchIndex, open_index
from rtsearch.live.stabilizer import Stabilizer
from rtsearch.pipeline import Pipeline, open_pipeline
from rtsearch.render.layout import canvas_of
from rtsearch.sources import open_source

FPS = 30
Cells = dict[tuple[int, int], int]


class Changes:
    """Counts what differs from frame to frame."""

    def __init__(self) -> None:
        self.crops: Cells | None = None
        self.rows: dict[int, int] = {}
        self.changed = self.cells = self.jumps = 0

    def frame(
        self, rows: dict[int, int], neighbours: list[list[int]], strips: list[int], visible: int
    ) -> None:
        """The strip of each track, and for all shown objects the neighbours and the strip."""
        now = {
            (strip, place): row
            for strip, near in zip(strips, neighbours, strict=True)
            if strip < visible
            for place, row in enumerate(near)
        }
        if self.crops is not None:
            self.cells += len(now)
            self.changed += sum(self.crops.get(cell) != row for cell, row in now.items())
            self.jumps += sum(self.rows.get(track, strip) != strip for track, strip in rows.items())
        self.crops, self.rows = now, rows

    def figures(self, frames: int) -> dict[str, float]:
        return {
            "row_changes_per_minute": round(self.jumps / (frames / FPS / 60), 1),
            "changed": round(self.changed / max(1, self.cells), 4),
        }


def measure(clip: Path, pipeline: Pipeline, index: SearchIndex, settings: Settings) -> dict[str, Any]:
    canvas = canvas_of(settings.show)
    visible, k = canvas.most_strips, canvas.crops
    steady, without, with_ = Stabilizer(index, settings.search), Changes(), Changes()
    farther: list[float] = []
    farther_own: list[float] = []
    cpu_ms: list[float] = []
    last_seen: dict[int, int] = {}
    misses: list[int] = []
    frames, meter = 0, Meter()
    with open_source(str(clip), LiveSettings()) as source:
        for frame in source:
            frames += 1
            found = pipeline.backend.infer([frame.bgr], settings.detect, meter, index.projection)[0]
            points = found.vector
            begun_s = time.thread_time()
            seen = steady.update(frame, found, k, visible)
            cpu_ms.append((time.thread_time() - begun_s) * 1e3)
            bare = index.near(points, k, exact=True)
            tracks = seen.detections.track.tolist()[: len(found)]
            gone = [frames - last_seen.get(track, frames - 1) - 1 for track in tracks]
            misses += [gap for gap in gone if gap]
            last_seen |= dict.fromkeys(tracks, frames)
            without.frame(
                dict(zip(tracks, range(len(tracks)), strict=True)),
                bare.row.tolist(),
                list(range(len(found))),
                visible,
            )
            with_.frame(
                dict(zip(tracks, seen.strips, strict=False)),
                seen.neighbours.row.tolist(),
                list(seen.strips),
                visible,
            )
            for i, track in enumerate(tracks):
                rows = seen.neighbours.row[i]
                query = steady.query_of(track)
                true = index.near(query[None], k, exact=True).distance.mean()
                farther.append(float(seen.neighbours.distance[i].mean() / max(true, 1e-6)))
                own = np.linalg.norm(index.points(rows) - points[i], axis=1).mean()
                farther_own.append(float(own / max(bare.distance[i].mean(), 1e-6)))
    return {
        "clip": clip.name,
        "frames": frames,
        "without": without.figures(frames),
        "with": with_.figures(frames),
        "farther": round(statistics.mean(farther), 4),
        "farther_own": round(statistics.mean(farther_own), 4),
        "skipped": round(1 - steady.searched / max(1, steady.asked), 4),
        "misses": [len(misses), *(sum(gap <= most for gap in misses) for most in (2, 5))],
        "cpu_ms": round(statistics.median(cpu_ms), 3),
    }


def main() -> None:
    """One JSON object per clip."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("library", type=Path)
    parser.add_argument("clips", type=Path, nargs="+")
    options = parser.parse_args()
    settings = Settings()
    with open_pipeline(settings, cut_padding=True) as pipeline:
        index = open_index(Library.open(options.library), settings)
        for clip in options.clips:
            print(json.dumps(measure(clip, pipeline, index, settings)), flush=True)


if __name__ == "__main__":
    main()
