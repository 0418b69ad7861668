"""Projection of a memory: the library's beside one, else one that is fitted on what is remembered.

Searched vectors of all hours are compared with each other and with the library's, so all are made with one
projection. Without a library there is nothing to fit one on at first: it is fitted again while the memory is
small, which moves few rows, and stays as it is from then on.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from rtsearch._util.atomic import write_atomic
from rtsearch.config import Settings
from rtsearch.errors import DamagedError
from rtsearch.library.files import disk_errors
from rtsearch.memory.folder import MemoryFolder
from rtsearch.search.projection import FILE_NAME, Projection

__all__ = ["FITS", "Learner", "load_projection", "save_projection"]

FITS = (8, 32, 128, 512, 2048)
"""Numbers of entries at which a memory without a library fits its projection anew."""

_HEADER_BYTES = 128  # of a table of two dimensions in a .npy file
_VALUE_BYTES = 4
_SAMPLE = 256
_MOST_FITTED = 65_536  # entries, of which all descriptions are read for a fit; an hour has fewer


def load_projection(memory: MemoryFolder) -> Projection | None:
    """Return the projection of a memory; None where there is none, or a damaged one."""
    path, width = memory.path / FILE_NAME, memory.space.dim
    try:
        dim = (path.stat().st_size - _HEADER_BYTES) // (_VALUE_BYTES * (width + 1))
        return Projection.load(memory.path, (width, dim), memory.description_blocks)
    except (OSError, DamagedError):
        return None


def save_projection(memory: MemoryFolder, projection: Projection) -> None:
    """Remember a projection.

    Raises:
        LibraryError: the disk refuses.
    """
    table = io.BytesIO()
    np.save(table, np.vstack([projection.matrix, projection.offset]).astype(np.float32))
    with disk_errors(memory.path):
        write_atomic(memory.path / FILE_NAME, table.getvalue())


class Learner:
    """Fits the projection of a memory without a library while there is little in it.

    Args:
        memory: keeps the projection.
        settings: section ``project``, and ``describe.meaning``.

    Attributes:
        projection: the newest one.

    Raises:
        LibraryError: the disk refuses.
    """

    def __init__(self, memory: MemoryFolder, settings: Settings) -> None:
        self._memory = memory
        self._settings = settings
        kept = load_projection(memory)
        self._fitted_on = 0 if kept is None else None  # entries; None where nobody knows any more
        self.projection = kept or self._fit(self._noise())
        if kept is None:
            save_projection(memory, self.projection)

    def is_due(self, entries: int) -> bool:
        """Tell whether to fit anew, now that there are so many entries."""
        if self._fitted_on is None:
            self._fitted_on = entries
        few = entries <= _MOST_FITTED
        return few and any(self._fitted_on < fit <= entries for fit in FITS)

    def learn(self, described: NDArray[np.float16]) -> Projection:
        """Fit on the (n, D) descriptions of all entries, and keep the projection.

        Raises:
            LibraryError: the disk refuses.
        """
        self.projection = self._fit(described)
        save_projection(self._memory, self.projection)
        self._fitted_on = len(described)
        return self.projection

    def _fit(self, described: NDArray[np.float16]) -> Projection:
        blocks, meaning = self._memory.description_blocks, self._settings.describe.meaning
        return Projection.fit([described], self._settings.project, blocks, meaning)

    def _noise(self) -> NDArray[np.float16]:
        random = np.random.default_rng(self._settings.project.seed)
        return random.standard_normal((_SAMPLE, self._memory.space.dim)).astype(np.float16)
