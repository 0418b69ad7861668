"""Files below a folder of photos that are not read: counted by suffix, with what can be done about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rtsearch.images.formats import way_out

__all__ = ["LeftOut", "in_words", "left_out"]

_MOST_SUFFIXES = 5  # of files that are no pictures, in messages


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Files of one suffix that are not read.

    Attributes:
        suffix: of their names, in lower case with its dot; "" for none.
        files: number of them.
        way_out: what can be done about them; "" where they are no pictures.
    """

    suffix: str
    files: int
    way_out: str


def left_out(counts: Counter[str]) -> list[LeftOut]:
    """Sort files that are not read, counted by suffix: those that something can be done about come first."""
    found = [LeftOut(suffix, files, way_out(suffix)) for suffix, files in counts.items()]
    return sorted(found, key=lambda each: (not each.way_out, -each.files, each.suffix))


def in_words(files: Sequence[LeftOut]) -> str:
    """Word what was not read: ``12 .heic (pip install ...), 3 other files (.txt .xmp)``; "" for nothing."""
    parts = [f"{each.files:,} {each.suffix} ({each.way_out})" for each in files if each.way_out]
    others = [each for each in files if not each.way_out]
    if others:
        count = sum(each.files for each in others)
        names = [each.suffix or "without suffix" for each in others[:_MOST_SUFFIXES]]
        names += ["..."] * (len(others) > _MOST_SUFFIXES)
        parts.append(f"{count:,} other file{'' if count == 1 else 's'} ({' '.join(names)})")
    return ", ".join(parts)
