"""A library's boxes as COCO JSON or as a folder of YOLO labels, which other tools and FiftyOne read.

Whole images have no box of their own, and objects of films no picture file: both are left out and counted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml

from rtsearch._util.atomic import replacing, write_atomic
from rtsearch.errors import LibraryError
from rtsearch.library.reader import Library
from rtsearch.library.schema import PhotoState, PhotoTable
from rtsearch.types import F32Array

__all__ = ["LabelCounts", "export_coco", "export_yolo"]

_COLUMNS = ("photo", "xyxy", "label", "score", "whole", "times_s")


class LabelCounts(NamedTuple):
    """Numbers of what was exported: photos with objects, these, and what has or is none of them.

    Attributes:
        photos: photos with objects.
        objects: these objects.
        of_films: objects of films, which were left out.
        empty: photos without an object; they are there as pictures of nothing.
    """

    photos: int
    objects: int
    of_films: int
    empty: int


class _Labels(NamedTuple):
    """Objects of one photo: its number, the first row, and (n, 4) boxes, (n,) labels and scores as lists."""

    photo: int
    rows: list[int]
    boxes: F32Array
    labels: list[int]
    scores: list[float]


def export_coco(library: Library, out: Path) -> LabelCounts:
    """Write one JSON file in COCO's format: images, annotations with scores, categories.

    ``file_name`` is relative to the folder of the photos, boxes are ``[x, y, width, height]`` in px of the
    upright photo, ``row`` is the number of the object in the library, and category i + 1 is class i.

    Args:
        library: opened library.
        out: .json file to write, replaced as a whole.

    Raises:
        DamagedError: a file of the library is damaged; it is named.
        LibraryError: ``out`` has another ending, or cannot be written.
    """
    if out.suffix.lower() != ".json":
        raise LibraryError(f"{out}: COCO's format is written as .json; choose such a name")
    photos, films = library.photos(), _Films()
    shown = [i for i in range(len(photos)) if _is_photo(photos, i)]
    objects = with_objects = 0
    try:
        with replacing(out) as file:
            info = {"description": f"objects of {library.folder.name}, found by rtsearch"}
            file.write(b'{"info":' + json.dumps(info).encode() + b',"categories":')
            names = library.space.class_names
            file.write(json.dumps([{"id": i + 1, "name": name} for i, name in enumerate(names)]).encode())
            file.write(b',"images":[')
            for count, i in enumerate(shown):
                image = {"id": i, "file_name": photos.path[i]}
                image |= {"width": photos.width[i], "height": photos.height[i]}
                file.write(b",\n" * bool(count) + json.dumps(image).encode())
            file.write(b'],"annotations":[')
            for labels in _labels(library, films):
                with_objects += 1
                for annotation in _annotations(labels):
                    file.write(b",\n" * bool(objects) + json.dumps(annotation).encode())
                    objects += 1
            file.write(b"]}\n")
    except OSError as error:
        raise LibraryError(f"{out} cannot be written: {error.strerror or error}") from None
    return LabelCounts(with_objects, objects, films.objects, len(shown) - with_objects)


def export_yolo(library: Library, folder: Path) -> LabelCounts:
    """Write a folder as YOLO's tools read it: data.yaml, labels/PHOTO.txt, and images, a link to the photos.

    A line of a label file is ``class x y width height``, the middle and the sides as shares of the photo.

    Args:
        library: opened library.
        folder: made if need be; it must be empty.

    Raises:
        DamagedError: a file of the library is damaged; it is named.
        LibraryError: the folder holds anything, or cannot be written.
    """
    photos, films = library.photos(), _Films()
    named: set[Path] = set()
    objects = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise LibraryError(f"{folder} is not empty; choose another folder for the labels")
        (folder / "images").symlink_to(library.photo_root.resolve(), target_is_directory=True)
        for labels in _labels(library, films):
            path = (folder / "labels" / photos.path[labels.photo]).with_suffix(".txt")
            if path in named:  # a.jpg and a.png have one label file: YOLO's tools cannot tell them apart
                raise LibraryError(
                    f"two photos of {library.folder} differ by their suffix only, "
                    f"{photos.path[labels.photo]} is one; rename it, or export --coco"
                )
            named.add(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            size = photos.width[labels.photo], photos.height[labels.photo]
            path.write_text("".join(_lines(labels, size)), encoding="ascii")
            objects += len(labels.labels)
        names = dict(enumerate(library.space.class_names))
        about = {"path": str(folder.resolve()), "train": "images", "val": "images", "names": names}
        write_atomic(folder / "data.yaml", yaml.safe_dump(about, sort_keys=False).encode())
    except OSError as error:
        raise LibraryError(f"{folder} cannot be written: {error.strerror or error}") from None
    shown = sum(_is_photo(photos, i) for i in range(len(photos)))
    return LabelCounts(len(named), objects, films.objects, shown - len(named))


class _Films:
    """Counter of objects of films."""

    objects = 0


def _is_photo(photos: PhotoTable, i: int) -> bool:
    return photos.state[i] != PhotoState.FAILED and photos.length_s[i] == 0


def _labels(library: Library, films: _Films) -> Iterator[_Labels]:
    """Yield the objects of each photo that has any; those of a photo lie beside each other."""
    first, waiting = 0, list[_Labels]()
    for batch in library.objects(_COLUMNS):
        n = len(batch["photo"])
        of_film = ~np.isnan(batch["times_s"][:, 0])
        films.objects += int((of_film & ~batch["whole"]).sum())
        keep = np.flatnonzero(~of_film & ~batch["whole"])
        photo = batch["photo"][keep]
        for some in np.split(keep, np.flatnonzero(np.diff(photo)) + 1) if len(keep) else ():
            waiting.append(
                _Labels(
                    int(batch["photo"][some[0]]),
                    (first + some).tolist(),
                    batch["xyxy"][some],
                    batch["label"][some].tolist(),
                    batch["score"][some].tolist(),
                )
            )
            if len(waiting) > 1 and waiting[-2].photo == waiting[-1].photo:  # a batch ends within it
                waiting[-2:] = [_joined(waiting[-2], waiting[-1])]
            if len(waiting) > 1:
                yield waiting.pop(0)
        first += n
    yield from waiting


def _joined(a: _Labels, b: _Labels) -> _Labels:
    boxes = np.concatenate([a.boxes, b.boxes])
    return _Labels(a.photo, a.rows + b.rows, boxes, a.labels + b.labels, a.scores + b.scores)


def _annotations(labels: _Labels) -> Iterator[dict[str, object]]:
    sides = labels.boxes[:, 2:] - labels.boxes[:, :2]
    boxes = np.concatenate([labels.boxes[:, :2], sides], axis=1).astype(np.float64).round(2).tolist()
    for row, box, label, score in zip(labels.rows, boxes, labels.labels, labels.scores, strict=True):
        yield {
            "id": row + 1,
            "image_id": labels.photo,
            "category_id": label + 1,
            "bbox": box,
            "area": round(box[2] * box[3], 2),
            "iscrowd": 0,
            "score": round(score, 4),
            "row": row,
        }


def _lines(labels: _Labels, wh: tuple[int, int]) -> Iterator[str]:
    size = np.array(wh, np.float64)
    corners = np.clip(labels.boxes.astype(np.float64).reshape(-1, 2, 2) / size, 0, 1)
    middles, sides = corners.mean(axis=1), corners[:, 1] - corners[:, 0]
    for label, (x, y), (width, height) in zip(labels.labels, middles, sides, strict=True):
        yield f"{label} {x:.6f} {y:.6f} {width:.6f} {height:.6f}\n"
