"""Define what the commands share that look for the object of a photo: its class, and words for the limit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

__all__ = ["WantedClass", "in_words", "limit_in_words"]

WantedClass = Annotated[
    str, typer.Option("--class", metavar="CLASS", help="Object of the photo to look for.")
]


def in_words(label: str, others: Sequence[str]) -> str:
    """Return what was looked for, and what else could have been.

    Args:
        label: class of the object.
        others: classes of the photo's other objects.
    """
    there = f" (also there: {', '.join(others)}; choose with --class)" if others else ""
    return f"the {label}{there}"


def limit_in_words(label: str, pairs: int, place: str) -> str:
    """Return where the limit comes from.

    Args:
        label: class of the object that was looked for.
        pairs: number of pairs that the limit was taken from; 0 for none.
        place: what has the pairs, such as ``library``.
    """
    from rtsearch.library.hit_limit import FALSE_HITS, false_hits

    share = false_hits(pairs)
    if share is None:
        return f"the usual limit, as the {place} has too few of class {label} to tell"
    near = f"{FALSE_HITS:.0%} lie as near" if share <= FALSE_HITS else "none lies nearer"
    return f"of {pairs:,} pairs of a different {label} each, {near}"
