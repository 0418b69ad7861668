"""Score the boxes of a network against annotated photos: mean average precision, as COCO defines it.

    python tools/bench/coco_map.py FOLDER [--set KEY=VALUE ...]

FOLDER holds photos and their boxes in COCO's format: ``data/coco_boxes.json``, ``data/photos/coco/*.jpg``.
Overlaps between classes are not removed, as the definition asks for every box that is found.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
from pathlib import Path
from typing import Any

from rtsearch._util.metrics import Meter
from rtsearch.config import load_settings
from rtsearch.images.decode import read_photo
from rtsearch.models import default_folder, pull
from rtsearch.models.catalogue import CATALOGUE
from rtsearch.pipeline import Pipeline, open_pipeline

__all__ = ["mean_average_precision"]

ALL_BOXES = ("detect.threshold=0.001", "detect.max_overlap=1", "detect.max_objects=300")


def mean_average_precision(pipeline: Pipeline, data: Path, overrides: list[str]) -> dict[str, float]:
    """Return mAP over IoU .50 to .95, and at .50, of the photos in ``data``."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    settings = load_settings(overrides=[*overrides, *ALL_BOXES]).detect
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(data / "coco_boxes.json"))
    for box in truth.dataset["annotations"]:
        box |= {"iscrowd": 0, "area": box["bbox"][2] * box["bbox"][3]}
    numbers = {entry["name"]: entry["id"] for entry in truth.loadCats(truth.getCatIds())}
    found: list[dict[str, Any]] = []
    for image in truth.loadImgs(truth.getImgIds()):
        photo = read_photo(data / "photos/coco" / Path(image["file_name"]).name)
        seen = pipeline.backend.infer([photo], settings, Meter())[0]
        for (x1, y1, x2, y2), score, label in zip(seen.xyxy.tolist(), seen.score, seen.label, strict=True):
            number = numbers.get(pipeline.class_names[label]) if label >= 0 else None
            if number is not None:
                box = [x1, y1, x2 - x1, y2 - y1]
                found.append(
                    {"image_id": image["id"], "category_id": number, "bbox": box, "score": float(score)}
                )
    with contextlib.redirect_stdout(io.StringIO()):
        scored = COCOeval(truth, truth.loadRes(found), "bbox")
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
    return {"map": round(float(scored.stats[0]), 4), "map_50": round(float(scored.stats[1]), 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, help="holds data/coco_boxes.json and data/photos/coco")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    settings = load_settings(overrides=args.overrides)
    if settings.model.name in {entry.name for entry in CATALOGUE}:
        pull(settings.model.name, default_folder())
    with open_pipeline(settings) as pipeline:
        print(json.dumps(mean_average_precision(pipeline, args.folder / "data", args.overrides)))


if __name__ == "__main__":
    main()
