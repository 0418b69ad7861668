"""How alike are an object's neighbours? Analyse labelled photos, export what is searched, score it.

FOLDER holds the photos and their labels in ``data/``, and the script that scores the vectors:
``bench/retrieval_quality.py VECTORS.npz --data DATA --json``. The analysis is the product's own, with every
default but three: whole images are objects too, small ones as well, and the threshold is 0.25. The time of
describing comes from the pictures that hold most objects. ``boxes`` is the network's mean average precision
(``coco_map.py``), and coverage the share of annotated boxes that the analysis found. Clips in
``data/videos/`` bring a second yardstick, see ``same_object.py``.

    python tools/bench/quality.py FOLDER [--dims 64 32] [--keep FOLDER] [--set KEY=VALUE ...]

Prints one JSON object. ``--set`` changes settings of the analysis or of the index, for example
``model.size=640``, ``project.method=random`` or ``describe.meaning=0.9``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import coco_map
import cv2
import same_object

from rtsearch.config import Settings, load_settings
from rtsearch.library import Library
from rtsearch.models import default_folder, pull
from rtsearch.models.catalogue import CATALOGUE
from rtsearch.perception.backend import CpuBackend
from rtsearch.pipeline import open_pipeline

ALWAYS = ("detect.whole_image=true", "detect.threshold=0.25", "analyze.min_px=0", "analyze.videos=false")
SCORER = "bench/retrieval_quality.py"
CROWDED = 20  # pictures that the describing is timed on
ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="photos, labels and the script that scores")
    parser.add_argument("--dims", type=int, nargs="+", default=[64, 32], help="dimensions that are searched")
    parser.add_argument("--keep", type=Path, help="folder for the library; goes on with what is there")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    if not (args.folder / SCORER).is_file():
        sys.exit(f"{args.folder / SCORER} is missing; name the folder that holds it and the labelled photos")
    overrides = [*ALWAYS, *args.overrides]
    settings = load_settings(overrides=overrides)
    if settings.model.name in {entry.name for entry in CATALOGUE}:
        pull(settings.model.name, default_folder())
    with nullcontext(args.keep) if args.keep else tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(Path(folder), args.folder, args.dims, overrides, settings), indent=1))


def measure(
    folder: Path, labelled: Path, dims: list[int], overrides: list[str], settings: Settings
) -> dict[str, Any]:
    """Everything, as one document."""
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / "library"
    start = time.perf_counter()
    report = json.loads(rtsearch("analyze", labelled / "data", library, "--json", *as_options(overrides)))
    result: dict[str, Any] = {
        "settings": overrides,
        "analysis_s": round(time.perf_counter() - start, 1),
        "photos": report,
        **describing_times(settings, sorted((labelled / "data/photos/coco").glob("*.jpg"))),
    }
    for dim in dims:
        vectors = folder / f"vectors{dim}.npz"
        options = as_options([*overrides, f"project.dim={dim}"])
        rtsearch("library", "export", library, "--vectors", vectors, *options)
        scorer: list[str | Path] = [sys.executable, labelled / SCORER, vectors, "--data", labelled / "data"]
        result[f"dim {dim}"] = json.loads(
            subprocess.run([*scorer, "--json"], stdout=subprocess.PIPE, check=True).stdout
        )
    with open_pipeline(settings) as pipeline:
        result["boxes"] = coco_map.mean_average_precision(pipeline, labelled / "data", overrides)
    clips = sorted((labelled / "data/videos").glob("*.mp4"))
    if clips:
        with open_pipeline(settings) as pipeline:
            backend, made = pipeline.backend, Library.open(library)
            result["same object"] = same_object.measure(backend, settings, made, clips)
    return result


def rtsearch(*arguments: str | Path) -> bytes:
    """Run the command line as a user would."""
    command = [sys.executable, "-c", "from rtsearch.cli import main; main()", *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout


def as_options(overrides: list[str]) -> list[str]:
    """``--set`` before each."""
    return [part for item in overrides for part in ("--set", item)]


def describing_times(settings: Settings, photos: list[Path]) -> dict[str, Any]:
    """Median ms of network and describing, in turns, on the pictures with most objects."""
    with open_pipeline(settings) as pipeline:
        pipeline.warm_up()
        backend = pipeline.backend
        assert isinstance(backend, CpuBackend)
        pictures: list[Any] = [cv2.imread(str(photo)) for photo in photos[:200]]
        pictures = [picture for picture in pictures if picture is not None]
        pictures.sort(key=lambda picture: -len(backend.detector.detect([picture], settings.detect)[0]))
        detect_ms, describe_ms, objects = [], [], []
        for picture in pictures[:CROWDED] * ROUNDS:
            start = time.perf_counter()
            found = backend.detector.detect([picture], settings.detect)[0]
            middle = time.perf_counter()
            backend.describer.describe(picture, found)
            detect_ms.append((middle - start) * 1000)
            describe_ms.append((time.perf_counter() - middle) * 1000)
            objects.append(len(found))
        return {
            "model": pipeline.spec.name,
            "bytes_per_object": 2 * backend.describer.dim,
            "objects_per_frame": statistics.median(objects),
            "detect_ms": round(statistics.median(detect_ms), 2),
            "describe_ms": round(statistics.median(describe_ms), 2),
        }


if __name__ == "__main__":
    main()
