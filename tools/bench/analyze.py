"""How much of the bare network's photo rate an analysis keeps, and what memory it takes.

The bare network gets prepared inputs of the same photos from as many threads as the analysis uses; nothing
else happens. Network and analysis take turns in one process, so that both see the same neighbours.

    python tools/bench/analyze.py [--photos FOLDER] [--turns 5]

Prints one JSON object. Without a folder, the demo's photos are used.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import statistics
import tempfile
import threading
import time
from pathlib import Path

from rtsearch.config import Settings
from rtsearch.images.decode import read_photo
from rtsearch.jobs.analyze import analyze
from rtsearch.jobs.demo import demo_clip, gather_photos
from rtsearch.library.photos import find_photos
from rtsearch.models import default_folder, pull
from rtsearch.perception.backend import CpuBackend
from rtsearch.perception.detector import Detector
from rtsearch.pipeline import Pipeline, open_pipeline
from rtsearch.types import U8Array

BARE_PHOTOS = 40


def bare_rate(pipeline: Pipeline, pictures: list[U8Array], callers: int) -> float:
    """Photos per second of the network alone, its inputs made beforehand."""
    backend = pipeline.backend
    assert isinstance(backend, CpuBackend)
    detector = backend.detector
    assert isinstance(detector, Detector)
    inputs = [detector._blob(picture, detector.padded_wh(picture)) for picture in pictures]

    def work(mine: list) -> None:
        for images in mine:
            detector._runner.run(images)

    threads = [threading.Thread(target=work, args=(inputs[i::callers],)) for i in range(callers)]
    start_s = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(inputs) / (time.perf_counter() - start_s)


def measure(pipeline: Pipeline, photos: Path, turns: int) -> dict[str, object]:
    """Turns of network, analysis, network; a turn's ratio is to the mean of its two neighbours."""
    paths = [photos / photo.path for photo in find_photos(photos).photos]
    pictures = [read_photo(path) for path in itertools.islice(itertools.cycle(paths), BARE_PHOTOS)]
    rates: dict[str, list[float]] = {"analyze": [], "bare": [], "bare_one_caller": []}
    for _ in range(turns):
        around = [bare_rate(pipeline, pictures, pipeline.backend.callers)]
        rates["bare_one_caller"].append(bare_rate(pipeline, pictures, 1))
        with tempfile.TemporaryDirectory() as folder:
            report = analyze(photos, Path(folder) / "lib", pipeline, Settings())
        rates["analyze"].append(report.analysed / report.seconds)
        around.append(bare_rate(pipeline, pictures, pipeline.backend.callers))
        rates["bare"].append(statistics.mean(around))
    ratios = [rate / bare for rate, bare in zip(rates["analyze"], rates["bare"], strict=True)]
    return {
        "photos": len(paths),
        "photos_per_s": {name: round(statistics.median(values), 1) for name, values in rates.items()},
        "share_of_bare": round(statistics.median(ratios), 3),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--turns", type=int, default=5)
    args = parser.parse_args()
    settings = Settings()
    pull(settings.model.name, default_folder())
    with tempfile.TemporaryDirectory() as folder, open_pipeline(settings) as pipeline:
        photos = args.photos
        if photos is None:
            photos = Path(folder)
            gather_photos(photos, demo_clip())
        pipeline.warm_up()
        print(json.dumps(measure(pipeline, photos, args.turns)))


if __name__ == "__main__":
    main()
