"""Positions of rows among the points of a tree."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtsearch.errors import VectorError
from rtsearch.search.arrays import PAD, TreeArrays
from rtsearch.search.simd import BLOCK
from rtsearch.types import I32Array

__all__ = ["Places"]


class Places:
    """Positions of the rows of some arrays, of those that are not marked as removed."""

    def __init__(self, arrays: TreeArrays) -> None:
        self._arrays = arrays

    @cached_property
    def live(self) -> NDArray[np.bool_]:
        """Tell which points are not marked, by position."""
        live = np.zeros(len(self._arrays.row), np.bool_)
        live[self._of_slots()[self._arrays.norm < PAD]] = True
        return live

    @cached_property
    def of_row(self) -> I32Array:
        """Position of each row, -1 where there is none."""
        row = self._arrays.row
        places = np.full(int(row.max(initial=-1)) + 1, -1, np.int32)
        places[row[self.live]] = np.flatnonzero(self.live)
        return places

    def of(self, rows: NDArray[np.integer[Any]]) -> I32Array:
        """Position of each of some rows, -1 where one is not there.

        Raises:
            VectorError: rows that are no whole numbers.
        """
        if not rows.size:  # an empty list is an array of floats
            return np.empty(rows.shape, np.int32)
        if rows.dtype.kind not in "iu":
            raise VectorError(f"rows: expected whole numbers, got {rows.dtype}")
        places = self.of_row
        known = (rows >= 0) & (rows < len(places))
        positions = np.full(rows.shape, -1, np.int32)
        positions[known] = places[rows[known].astype(np.int64)]
        return positions

    def known(self, rows: NDArray[np.integer[Any]]) -> I32Array:
        """Position of each of some rows.

        Raises:
            VectorError: a row is not there.
        """
        positions = self.of(rows)
        if (positions < 0).any():
            raise VectorError("rows: some of them are not in the tree")
        return positions

    def without(self, positions: I32Array) -> tuple[TreeArrays, Places]:
        """The arrays with the points at some positions marked as removed; shares all memory but the marks."""
        block = np.searchsorted(self._arrays.block_point, positions, side="right") - 1
        norm = self._arrays.norm.copy()
        norm[block * BLOCK + positions - self._arrays.block_point[block]] = PAD
        arrays = self._arrays._replace(norm=norm)
        places = Places(arrays)
        if "of_row" in vars(self):
            places.of_row = self.of_row.copy()
            places.of_row[self._arrays.row[positions]] = -1
        return arrays, places

    def only(self, keep: NDArray[np.bool_]) -> TreeArrays:
        """The arrays with all points marked as removed but those to keep, by position."""
        kept = np.append(keep, False)[self._of_slots()]
        return self._arrays._replace(norm=np.where(kept, self._arrays.norm, PAD))

    def _of_slots(self) -> I32Array:
        """Position of the point of each place in a block, any other one where there is none."""
        point = self._arrays.block_point[:, None] + np.arange(BLOCK, dtype=np.int32)
        positions: I32Array = np.minimum(point, len(self._arrays.row)).reshape(-1)
        return positions
