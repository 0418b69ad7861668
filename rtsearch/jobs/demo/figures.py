"""Measure a recorded run: whether shown crops carry their object's label, and come from different photos."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rtsearch._util.wording import counted
from rtsearch.library import Library

__all__ = ["NeighbourFigures", "measure"]

_FIRST, _STRIP = 5, 8


@dataclass(frozen=True, slots=True)
class NeighbourFigures:
    """Averages over all strips of all frames that show a crop.

    Attributes:
        strips: number of strips that the averages are of.
        same_class_of_first_5: share of the first five crops with the label of the object, 0 to 1; the
            network gives both labels, and nobody has judged what the crops show.
        photos_of_first_8: number of photos that the first eight crops are of, by the number of these crops,
            0 to 1.
    """

    strips: int
    same_class_of_first_5: float
    photos_of_first_8: float

    def __str__(self) -> str:
        return (
            f"In {counted(self.strips, 'strip')}, {self.same_class_of_first_5:.0%} of the first five crops "
            "carry the label of the object, by the network that labels both and may err; "
            f"{self.photos_of_first_8:.0%} of the first eight come from different photos."
        )


def measure(record: Path, library: Library, names: tuple[str, ...]) -> NeighbourFigures:
    """Return the figures of a record of JSON lines.

    Args:
        record: the record.
        library: library that was searched.
        names: class names, by their number in the library.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no record.
    """
    batches = list(library.objects(["photo", "label"]))
    photo = np.concatenate([batch["photo"] for batch in batches])
    label = np.concatenate([batch["label"] for batch in batches])
    same: list[float] = []
    photos: list[float] = []
    with record.open(encoding="utf-8") as lines:
        for line in lines:
            for strip in json.loads(line).get("shown", ()):
                if rows := strip["rows"]:
                    first = [names[label[row]] == strip["label"] for row in rows[:_FIRST]]
                    same.append(sum(first) / len(first))
                    photos.append(len(set(photo[rows[:_STRIP]].tolist())) / len(rows[:_STRIP]))
    n = max(1, len(same))
    return NeighbourFigures(len(same), sum(same) / n, sum(photos) / n)
