"""Describe a memory: counts, times, sources, classes, and damaged hours."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

from rtsearch._util.wording import iso_time
from rtsearch.memory.folder import MemoryFolder
from rtsearch.memory.hours import LeftOut, bytes_of_hour, read_table
from rtsearch.types import class_name

__all__ = ["about"]

_log = logging.getLogger(__name__)


def about(memory: MemoryFolder) -> dict[str, Any]:
    """Return what a memory holds, as JSON values; a damaged hour is named, and left out of the counts."""
    labels: Counter[int] = Counter()
    sources: set[str] = set()
    damaged: list[str] = []
    first, last = [], []
    for name in memory.hour_names():
        try:
            rows = read_table(memory, name)
        except LeftOut as error:
            _log.warning("%s", error)
            damaged.append(name)
            continue
        labels.update(rows.columns["label"].tolist())
        sources.update(rows.sources)
        if len(rows):
            first.append(int(rows.columns["seen_ns"][:, 0].min()))
            last.append(int(rows.columns["seen_ns"][:, 1].max()))
    names = memory.space.class_names
    return {
        "entries": labels.total(),
        "first": iso_time(min(first)) if first else None,
        "last": iso_time(max(last)) if last else None,
        "hours": len(memory.hour_names()),
        "damaged": damaged,
        "sources": sorted(sources),
        "classes": {class_name(names, label): count for label, count in labels.most_common()},
        "bytes": sum(bytes_of_hour(memory, name) for name in memory.hour_names()),
        "model": memory.space.read_recipe.model,
        "fingerprint": memory.space.fingerprint,
    }
