"""Measure a recorded run: whether neighbours are of the object's class, and of how many photos they are."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from rtsearch._util.wording import counted

__all__ = ["NeighbourFigures", "measure"]

_FIRST, _STRIP = 5, 8


@dataclass(frozen=True, slots=True)
class NeighbourFigures:
    """Averages over all objects of all frames.

    Attributes:
        objects: number of objects that the averages are of.
        same_class_of_first_5: share of the first five neighbours with the class of the object, 0 to 1.
        photos_of_first_8: number of photos that the first eight neighbours are of.
        with_6_photos: share of the objects whose first eight neighbours are of at least six photos, 0 to 1.
    """

    objects: int
    same_class_of_first_5: float
    photos_of_first_8: float
    with_6_photos: float

    def __str__(self) -> str:
        return (
            f"of the first five neighbours {self.same_class_of_first_5:.0%} are of the object's class; the "
            f"first eight are of {self.photos_of_first_8:.1f} photos, of six or more for "
            f"{self.with_6_photos:.0%} of {counted(self.objects, 'object')}"
        )


def measure(record: Path) -> NeighbourFigures:
    """Return the figures of a record of JSON lines, which names at least eight neighbours of each object.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no record.
    """
    same: list[float] = []
    photos: list[int] = []
    with record.open(encoding="utf-8") as lines:
        for line in lines:
            for found in json.loads(line).get("objects", ()):
                near = found["neighbours"]
                labels = [each["label"] == found["label"] for each in near[:_FIRST]]
                same.append(sum(labels) / max(1, len(labels)))
                photos.append(len({each["photo"] for each in near[:_STRIP]}))
    n = max(1, len(same))
    return NeighbourFigures(len(same), sum(same) / n, sum(photos) / n, sum(p >= 6 for p in photos) / n)
