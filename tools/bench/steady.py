"""Measure how calm the picture is.

    python tools/bench/steady.py LIB CLIP [CLIP ...] [--set NAME=VALUE]

Prints one JSON object per clip.

    jumps          how often a minute the frame has another place or size at once
    glides         how often a minute it moves there softly
    crops_per_s    crops on screen that change, a second; those of objects that come or go do not count
    strip_changes  objects that leave a strip in sight for another one, a minute
    dark           share of the screen that is empty ground, mean of the frames
    twice          share of the crops that are on screen twice
    same_photo     share of the crops of whose photo the strip shows another one
    farther        mean distance of what is shown, by that of the pooled query's true neighbours
    skipped        share of the searches that were left out, their answer being proved
    in_sight       of each class: share of the objects found that have a strip in sight, share of the frames
                   with such objects in which a strip in sight shows one, and the number of objects
    misses         how often a track was missed and seen again, and after up to 2 and 5 frames
    search_ms      CPU of tracks, neighbours and strips per frame, median
    draw_ms        CPU of the picture per frame, median and 99th percentile
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rtsearch._util.metrics import Meter
from rtsearch.config import LiveSettings, Settings, load_settings
from rtsearch.library import Library
from rtsearch.library.index import SearchIndex, open_index
from rtsearch.library.likeness import largest_distance
from rtsearch.library.thumbnails import ThumbCache
from rtsearch.live.compositor import Appearance, Compositor, crop_height
from rtsearch.live.room import room_of
from rtsearch.live.stabilizer import Stabilizer, Steadied
from rtsearch.pipeline import Pipeline, open_pipeline
from rtsearch.render import theme
from rtsearch.render.layout import canvas_of
from rtsearch.render.plan import Plan
from rtsearch.sources import open_source
from rtsearch.types import F32Array, U8Array, class_name


class Calm:
    """Counts what changes from picture to picture, and what is on each."""

    def __init__(self, index: SearchIndex) -> None:
        self._index = index
        self._frame: tuple[int, ...] = ()
        self._moved = False
        self._rows: dict[Any, int] = {}
        self._strips: dict[int, int] = {}
        self.jumps = self.glides = self.changed = self.strip_changes = 0
        self.crops = self.twice = self.same_photo = 0
        self.dark: list[float] = []

    def add(self, plan: Plan, picture: U8Array, strips: dict[int, int]) -> None:
        """Take in the next picture: what it shows where, its pixels, and the strip of each track."""
        moves = bool(self._frame) and plan.frame != self._frame
        step = max(abs(a - b) for a, b in zip(plan.frame, self._frame, strict=True)) if moves else 0
        self.jumps += step > 0.1 * picture.shape[1]
        self.glides += moves and not self._moved
        self._frame, self._moved = plan.frame, moves
        rows = {item.key: item.row for item in plan.items if item.row >= 0}
        before, self._rows = self._rows, rows
        stayed = {strip for track, strip in strips.items() if self._strips.get(track) == strip}
        self.changed += sum(
            before[key] != row for key, row in rows.items() if key in before and key[0] in stayed
        )
        self.strip_changes += sum(
            self._strips.get(track, strip) != strip and self._strips[track] in plan.shown
            for track, strip in strips.items()
        )
        self._strips = strips
        shown = list(rows.values())
        self.crops += len(shown)
        self.twice += len(shown) - len(set(shown))
        for strip in plan.shown:
            own = np.array([row for key, row in rows.items() if key[0] == strip], np.int32)
            self.same_photo += len(own) - len(set(self._index.photo_numbers[own].tolist()))
        self.dark.append(float((picture[::4, ::4].max(2) <= theme.BACKGROUND + 1).mean()))

    def figures(self, seconds: float) -> dict[str, float]:
        """Return the figures of so many seconds."""
        minutes, crops = seconds / 60, max(1, self.crops)
        return {
            "jumps": round(self.jumps / minutes, 1),
            "glides": round(self.glides / minutes, 1),
            "crops_per_s": round(self.changed / seconds, 2),
            "strip_changes": round(self.strip_changes / minutes, 1),
            "dark": round(statistics.mean(self.dark), 3),
            "twice": round(self.twice / crops, 4),
            "same_photo": round(self.same_photo / crops, 4),
        }


class InSight:
    """Counts by class how many of the objects that are found have a strip in sight."""

    def __init__(self) -> None:
        self._found: Counter[str] = Counter()
        self._shown: Counter[str] = Counter()
        self._frames: Counter[str] = Counter()
        self._frames_shown: Counter[str] = Counter()

    def add(self, found: Sequence[str], shown: Sequence[str], strips: Sequence[int], plan: Plan) -> None:
        """Take in the next frame: the class that it gives to each object, and class and strip as shown.

        What is shown begins with the objects of the frame, and what is missed in it follows.
        """
        there = {name for name, strip in zip(shown, strips, strict=True) if strip in plan.shown}
        self._found.update(found)
        self._shown.update(name for name, strip in zip(found, strips, strict=False) if strip in plan.shown)
        self._frames.update(set(found))
        self._frames_shown.update(set(found) & there)

    def figures(self) -> dict[str, tuple[float, float, int]]:
        """Return both shares and the number of each class, the most frequent first."""
        return {
            name: (
                round(self._shown[name] / n, 3),
                round(self._frames_shown[name] / self._frames[name], 3),
                n,
            )
            for name, n in self._found.most_common()
        }


class Misses:
    """Counts how long tracks are missed until they are seen again."""

    def __init__(self) -> None:
        self._seen: dict[int, int] = {}
        self._gaps: list[int] = []
        self._frames = 0

    def add(self, tracks: list[int]) -> None:
        """Take in the tracks that the next frame shows."""
        self._frames += 1
        gaps = [self._frames - self._seen.get(track, self._frames - 1) - 1 for track in tracks]
        self._gaps += [gap for gap in gaps if gap]
        self._seen |= dict.fromkeys(tracks, self._frames)

    def figures(self) -> list[int]:
        """Return the number of misses, and of those up to 2 and 5 frames."""
        return [len(self._gaps), *(sum(gap <= most for gap in self._gaps) for most in (2, 5))]


def farther(seen: Steadied, i: int, query: F32Array, index: SearchIndex) -> float:
    """Return the mean distance of what an object shows, by that of its true neighbours."""
    shown = seen.neighbours.distance[i][seen.neighbours.row[i] >= 0]
    true = index.near(query[None], max(1, len(shown)), exact=True).distance.mean()
    return float(shown.mean() / max(true, 1e-6)) if len(shown) else 1.0


def measure(clip: Path, pipeline: Pipeline, index: SearchIndex, settings: Settings) -> dict[str, Any]:
    """Play a clip to memory and return its figures."""
    steady = Stabilizer(index, settings.search, largest_distance(index, settings.show.max_distance))
    cache = ThumbCache(index.thumb_places, settings.live.cache_mb << 20)
    compositor = Compositor(index.library.space.class_names, cache, index)
    look, canvas = Appearance(settings.show), canvas_of(settings.show)
    calm, misses, in_sight, meter = Calm(index), Misses(), InSight(), Meter()
    distances: list[float] = []
    search_ms: list[float] = []
    draw_ms: list[float] = []
    at_s: list[float] = []
    with open_source(str(clip), LiveSettings()) as source:
        for frame in source:
            found = pipeline.backend.infer([frame.bgr], settings.detect, meter, index.projection)[0]
            begun_s = time.thread_time()
            seen = steady.update(frame, found, room_of(canvas, frame.bgr.shape[1::-1]))
            search_ms.append((time.thread_time() - begun_s) * 1e3)
            rows = seen.neighbours.row.ravel().tolist()
            cache.prefetch(rows, crop_height(settings.show, frame, seen.rows))
            begun_s = time.thread_time()
            drawn = compositor.draw(compositor.scene(frame, seen, None, settings.show), look)
            draw_ms.append((time.thread_time() - begun_s) * 1e3)
            tracks = seen.detections.track.tolist()
            calm.add(drawn.plan, drawn.picture, dict(zip(tracks, seen.strips, strict=True)))
            names = index.library.space.class_names
            called = [class_name(names, label) for label in found.label.tolist()]
            shown = [class_name(names, label) for label in seen.detections.label.tolist()]
            in_sight.add(called, shown, seen.strips, drawn.plan)
            misses.add(tracks[: len(found)])
            for i, track in enumerate(tracks[: len(found)]):
                distances.append(farther(seen, i, steady.query_of(track), index))
            at_s.append(frame.at_s)
    seconds = max(1e-3, at_s[-1] - at_s[0])
    return {
        "clip": clip.name,
        "frames": len(at_s),
        **calm.figures(seconds),
        "farther": round(statistics.mean(distances or [1.0]), 4),
        "skipped": round(1 - steady.searched / max(1, steady.asked), 4),
        "in_sight": in_sight.figures(),
        "misses": misses.figures(),
        "search_ms": round(statistics.median(search_ms), 3),
        "draw_ms": [round(float(np.percentile(draw_ms, share)), 2) for share in (50, 99)],
    }


def main() -> None:
    """Print one JSON object per clip."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("library", type=Path)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument(
        "--set", action="append", default=[], help="a setting, such as show.window_wh=1080x1920"
    )
    options = parser.parse_args()
    settings = load_settings(None, options.set)
    with open_pipeline(settings, cut_padding=True) as pipeline:
        index = open_index(Library.open(options.library), settings)
        for clip in options.clips:
            print(json.dumps(measure(clip, pipeline, index, settings)), flush=True)


if __name__ == "__main__":
    main()
