"""How well, and how fast, do words find? Colours named by hand are ranked; a large library is searched.

    python tools/bench/words.py FOLDER [--objects 376459]

FOLDER holds the photos that are named in ``words_colours.csv`` beside this script; each line there is an
object with the colours that a person would name. For each colour the objects are ranked by

    crop        the names of the pixels of the crop, its middle counting most: what a search looks at last
    evenly      the same, every pixel counting alike
    histogram   the histogram that descriptions hold: what a search looks at first
    chance      nothing

p_at_16 is the share of the first 16 that have the colour (all where fewer have it), average_precision the
mean of the precision at the ranks of those that have it. ``kinds`` has the precision of whole searches by
kind of request, see ``words_by_kind.py``; FOLDER holds ``coco_boxes.json`` for that. ``find_ms`` are times of
whole searches, from the text to the rows, among as many objects as are asked for, which repeat the real ones.

``pair`` is the cost of a pair of networks for words that are built like CLIP's ViT-B/32, with random weights:
per crop when a library is embedded, per text, and of the comparison of a text with all crops.

Prints one JSON object.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from transformer import transformer
from words_by_kind import by_kind

from rtsearch.config import Settings
from rtsearch.images.colour_names import COLOUR_NAMES, bin_names, crop_colours
from rtsearch.images.decode import read_photo
from rtsearch.jobs.analyze import analyze
from rtsearch.library import Library
from rtsearch.library.index import SearchIndex, build_index
from rtsearch.perception.colour_histogram import colour_histograms
from rtsearch.perception.embedder import Embedder
from rtsearch.pipeline import open_pipeline
from rtsearch.types import F32Array, U8Array
from rtsearch.words import CropVectors, find_words, parse_request
from rtsearch.words.text_pair import CLIP

LABELS = Path(__file__).with_name("words_colours.csv")
REQUESTS = ("mug", "red mug", "person in blue", "two dogs", "person with a dog", "white car on a truck")
ROUNDS = 7
FIRST = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "folder", type=Path, help="folder of photos, with those that are named by hand below it"
    )
    parser.add_argument("--objects", type=int, default=376_459, help="objects of the timed search")
    args = parser.parse_args()
    photos = {path.name: path for path in sorted(args.folder.rglob("*.jpg"))}
    with LABELS.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    if missing := sorted({line["photo"] for line in lines} - photos.keys()):
        sys.exit(f"{args.folder} lacks {len(missing)} of the photos, the first is {missing[0]}")
    boxes = next(args.folder.rglob("coco_boxes.json"), None)
    if boxes is None:
        sys.exit(f"{args.folder} has no coco_boxes.json; name the folder that holds it and the photos")
    result = {"crops": len(lines), "colours": ranked(lines, photos)}
    settings = Settings()
    with tempfile.TemporaryDirectory() as name, open_pipeline(settings) as pipeline:
        analyze(args.folder, Path(name) / "lib", pipeline, settings)
        index = build_index(Library.open(Path(name) / "lib"), settings)
        result["kinds"] = by_kind(index, boxes, lines)
        repeated = _repeated(index, args.objects)
        result["find_ms"] = {text: _median_ms(repeated, text) for text in REQUESTS}
    result["pair"] = timed_pair(args.objects)
    print(json.dumps(result, indent=1))


def ranked(lines: list[dict[str, str]], photos: dict[str, Path]) -> dict[str, Any]:
    """Return the scores of every way to rank, by colour and on average."""
    pictures = [read_photo(photos[line["photo"]], 100.0) for line in lines]
    boxes = [tuple(int(line[side]) for side in ("left", "top", "right", "bottom")) for line in lines]
    crops = [p[t:b, left:r] for p, (left, t, r, b) in zip(pictures, boxes, strict=True)]
    histograms = [
        colour_histograms(p, np.array([box], np.float32))[0] ** 3
        for p, box in zip(pictures, boxes, strict=True)
    ]
    ways = {
        "crop": np.array([crop_colours(crop) for crop in crops]),
        "evenly": np.array([_evenly(crop) for crop in crops]),
        "histogram": np.array([shares / shares.sum() @ bin_names() for shares in histograms]),
        "chance": np.random.default_rng(0).random((len(lines), len(COLOUR_NAMES))),
    }
    has = np.array([[name in line["colours"].split() for name in COLOUR_NAMES] for line in lines])
    return {way: _scores(shares, has) for way, shares in ways.items()}


def _evenly(crop: U8Array) -> F32Array:
    """Return the shares of names with equal weight for every pixel."""
    small = cv2.resize(crop, (24, 24), interpolation=cv2.INTER_AREA).reshape(-1, 1, 1, 3)
    return np.mean([crop_colours(np.ascontiguousarray(pixel)) for pixel in small], axis=0, dtype=np.float32)


def _scores(shares: F32Array, has: np.ndarray) -> dict[str, Any]:
    by_colour = {}
    for column, name in enumerate(COLOUR_NAMES):
        hits = has[np.argsort(-shares[:, column], kind="stable"), column]
        first = min(FIRST, int(hits.sum()))
        precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
        by_colour[name] = (float(hits[:first].mean()), float(precision[hits].mean()))
    p_at, average = np.mean(list(by_colour.values()), axis=0)
    return {
        "p_at_16": round(float(p_at), 3),
        "average_precision": round(float(average), 3),
        "p_at_16_by_colour": {name: round(score[0], 2) for name, score in by_colour.items()},
    }


def _repeated(index: SearchIndex, objects: int) -> SearchIndex:
    """Return an index whose table repeats the objects until there are as many as asked for."""
    rows = np.arange(objects) % len(index)
    table = {name: np.ascontiguousarray(column[rows]) for name, column in index._table.items()}
    table["photo"] += (np.arange(objects) // len(index) * index.library.photo_count).astype(np.int32)
    return SearchIndex(index.library, index.projection, index._tree, table, index.paths)


def _median_ms(index: SearchIndex, text: str) -> float:
    names = index.library.space.class_names
    return round(_median(lambda: find_words(index, parse_request(text, names), 48)), 1)


def timed_pair(objects: int) -> dict[str, float]:
    """Return the times of a pair of CLIP's size, ms."""
    dim, rng = 512, np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        transformer(folder / "image.onnx", width=768, layers=12, pixels=224, dim=dim)
        transformer(folder / "text.onnx", width=512, layers=12, words=49_408, tokens=77, dim=dim)
        images = Embedder(folder / "image.onnx", 0, CLIP)
        import onnxruntime as ort  # after rtsearch, which switches its telemetry off

        session = ort.InferenceSession(str(folder / "text.onnx"), providers=["CPUExecutionProvider"])
        crops = [rng.integers(0, 256, (150, 120, 3), np.uint8) for _ in range(32)]
        ids = np.zeros((1, 77), np.int64)
        image_ms = _median(lambda: images.embed_crops(crops)) / len(crops)
        text_ms = _median(lambda: session.run(None, {session.get_inputs()[0].name: ids}))
    vectors = CropVectors.__new__(CropVectors)  # no library of this size is made for it
    rows = rng.standard_normal((objects, dim), np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    vectors._parts, vectors._starts = [rows.astype(np.float16)], np.array([0, objects])
    vectors._axes = np.ascontiguousarray(np.eye(dim, 64, dtype=np.float32))
    vectors._short = rows @ vectors._axes
    compared_ms = _median(lambda: vectors.nearest(rows[0], 48))
    figures = {"crop_ms": image_ms, "text_ms": text_ms, "compared_ms": compared_ms}
    return {name: round(value, 1) for name, value in figures.items()}


def _median(call: Callable[[], object]) -> float:
    call()
    times = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - begun))
    return statistics.median(times)


if __name__ == "__main__":
    main()
