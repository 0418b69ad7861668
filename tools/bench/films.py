"""Analysis of a film: how many times faster than it plays, what each stage takes, and what it takes on disk.

    python tools/bench/films.py CLIP... [--minutes 20] [--set KEY=VALUE]

The clips, which need one size and codec, are put one after the other, without encoding, until the film lasts
so long. It is analysed in a process of its own, two samples a second. Prints one JSON object:

    real_time    seconds of film per second, loading of the network included
    cpu_ms       CPU per second of film, in all; ``stages_ms``: time of each stage per sample, which overlap
    decode_only  seconds of film per second where samples are decoded and nothing else is done
    mb_hour      megabytes of the library per hour of film; ``tracks_hour``: its tracks per hour of film
    load         load average of the machine at the end
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from rtsearch.config import Settings
from rtsearch.jobs.film_frames import FilmFrames, film_length_s
from rtsearch.library import Library


def long_film(clips: list[Path], minutes: float, folder: Path) -> Path:
    """Put clips one after the other until they last long enough."""
    lengths = [film_length_s(clip) for clip in clips]
    listed, length_s = [], 0.0
    while length_s < minutes * 60:
        clip = len(listed) % len(clips)
        listed.append(f"file '{clips[clip].resolve()}'\n")
        length_s += lengths[clip]
    (folder / "list.txt").write_text("".join(listed), encoding="utf-8")
    film = folder / "films" / f"film{clips[0].suffix}"
    film.parent.mkdir()
    command = ["ffmpeg", "-v", "error", "-f", "concat", "-safe", "0", "-i", str(folder / "list.txt")]
    subprocess.run([*command, "-map", "0:v:0", "-c", "copy", str(film)], check=True)
    return film


def decode_only(film: Path, fps: float, length_s: float) -> float:
    """Return seconds of film per second, where samples are decoded and nothing else is done."""
    start = time.perf_counter()
    with FilmFrames(film, fps) as frames:
        for _ in frames.samples():
            pass
    return length_s / (time.perf_counter() - start)


def measure(clips: list[Path], minutes: float, overrides: list[str], folder: Path) -> dict[str, Any]:
    film = long_film(clips, minutes, folder)
    length_s, lib = film_length_s(film), folder / "lib"
    options = [part for item in overrides for part in ("--set", item)]
    command = [
        sys.executable,
        "-P",
        "-m",
        "rtsearch",
        "analyze",
        str(film.parent),
        str(lib),
        "--json",
        *options,
    ]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    said = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
    wall_s, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    report = json.loads(said.splitlines()[-1])
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    library = Library.open(lib)
    tracks = sum(len(np.unique(batch["track"])) for batch in library.objects(("track",)))
    size = sum(path.stat().st_size for path in lib.rglob("*") if path.is_file())
    return {
        "film_s": round(length_s, 1),
        "real_time": round(length_s / wall_s, 2),
        "cpu_ms": round(cpu_s / length_s * 1e3, 1),
        "stages_ms": {name: each["p50"] for name, each in report["stages"]["stage_ms"].items()},
        "decode_only": round(decode_only(film, Settings().analyze.video_fps, length_s), 2),
        "objects": report["objects"],
        "mb_hour": round(size / 1e6 / length_s * 3600, 2),
        "tracks_hour": round(tracks / length_s * 3600),
        "load": round(os.getloadavg()[0], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--set", action="append", default=[], help="a setting, as of rtsearch analyze")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rtsearch-") as name:
        print(json.dumps(measure(args.clips, args.minutes, args.set, Path(name))))


if __name__ == "__main__":
    main()
