"""A library's objects as one .npz file, for other tools."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtsearch._util.atomic import replacing
from rtsearch.errors import LibraryError
from rtsearch.library.reader import Library
from rtsearch.types import F32Array

__all__ = ["export_npz"]


def export_npz(library: Library, out: Path, project: Callable[[F32Array], F32Array] | None = None) -> int:
    """Write ``path``, ``xyxy``, ``whole``, ``label``, ``score`` and ``vector``, a row per object.

    Beside them ``class_names`` (n_classes,) str, which ``label`` indexes; -1 is a whole image.

    Args:
        library: opened library.
        out: .npz file to write, replaced as a whole; its folder is made if need be.
        project: maps stored vectors (n, D) to those that are searched (n, d), which are rounded as in trees;
            None leaves them as stored.

    Returns:
        Number of rows.

    Raises:
        DamagedError: a file of the library is damaged; it is named.
        LibraryError: ``out`` has another ending, or cannot be written.
    """
    if out.suffix.lower() != ".npz":
        raise LibraryError(f"{out}: vectors are written as .npz; choose such a name")
    names = ("xyxy", "whole", "label", "score", "photo", "vector")
    batches = []
    for batch in chain([_empty(library.dim)], library.objects(names)):
        vector = batch["vector"].astype(np.float32)
        batch["vector"] = vector if project is None else project(vector)
        batches.append(batch)
    columns = {name: np.concatenate([batch[name] for batch in batches]) for name in names}
    if project is not None:
        from rtsearch.search.projection import stored_points  # loads the compiler

        columns["vector"] = stored_points(columns["vector"]).astype(np.float32)
    columns["path"] = np.array(library.photos().path, str)[columns.pop("photo")]
    _write(out, {**columns, "class_names": np.array(library.space.class_names, str)})
    return len(columns["path"])


def _write(out: Path, arrays: dict[str, NDArray[Any]]) -> None:
    try:
        with replacing(out) as file:
            np.savez(file, allow_pickle=False, **arrays)
    except OSError as error:
        raise LibraryError(f"{out} cannot be written: {error.strerror or error}") from None


def _empty(dim: int) -> dict[str, NDArray[Any]]:
    """Return a batch of no rows, which gives an empty library's columns their shapes."""
    return {
        "xyxy": np.zeros((0, 4), np.float32),
        "whole": np.zeros(0, bool),
        "label": np.zeros(0, np.int32),
        "score": np.zeros(0, np.float32),
        "photo": np.zeros(0, np.int32),
        "vector": np.zeros((0, dim), np.float16),
    }
