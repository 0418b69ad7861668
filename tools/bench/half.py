"""The changes that half precision makes to a network: boxes, scores and descriptions, anchor by anchor.

Half precision is simulated on the CPU: every tensor of float16 is rounded once it is made. An anchor counts
if its score is at least 0.05 in either precision. An anchor is steady if float32 itself keeps its box within
1 px and its scores within 0.01 when pixels change by half a grey level. The pictures are every tenth of the
demo's, or photos of yours.

    python tools/bench/half.py [--model yolo26n] [--size 416] [PHOTO ...]

Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from rtsearch.jobs.demo import demo_clip, gather_photos
from rtsearch.models import default_folder, pull, resolve
from rtsearch.models.catalogue import CATALOGUE

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests"))
from halving import compare


def measure(model: Path, size: int, photos: list[Path]) -> dict[str, float]:
    """Return counts, and the largest changes of steady anchors with a score of 0.3 and more."""
    pictures = [picture for photo in photos if (picture := cv2.imread(str(photo))) is not None]
    score, steady, (_, (box, change, cosine)) = compare(model, (size, size), pictures)
    good = (box < 1) & (change < 0.01) & (cosine > 0.999)
    sure = steady & (score >= 0.3)
    return {
        "photos": len(pictures),
        "anchors": len(score),
        "within 1 px, 0.01 and 0.999": round(float(np.mean(good)), 4),
        "steady anchors": int(np.count_nonzero(sure)),
        "largest px": round(float(box[sure].max(initial=0)), 3),
        "largest score": round(float(change[sure].max(initial=0)), 4),
        "smallest cosine": round(float(cosine[sure].min(initial=1)), 5),
    }


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("photos", nargs="*", type=Path, help="instead of the demo's")
    parser.add_argument("--model", default="yolo26n", help="name or path of a prepared model")
    parser.add_argument("--size", type=int, default=416, help="px, a multiple of 32")
    args = parser.parse_args()
    if args.model in {entry.name for entry in CATALOGUE}:
        pull(args.model, default_folder())
    model = resolve(args.model, default_folder())
    with tempfile.TemporaryDirectory() as folder:
        if not args.photos:
            gather_photos(Path(folder) / "photos", demo_clip())
        photos = args.photos or sorted(Path(folder, "photos").iterdir())[::10]
        print(json.dumps({"model": model.stem, "size": args.size, **measure(model, args.size, photos)}))


if __name__ == "__main__":
    main()
