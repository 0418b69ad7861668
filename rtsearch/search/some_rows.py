"""SomeRows: a filter over a tree, searched at once, and faster when it turns out to be used a lot.

the first searches   the tree, with the mask
once they are many   a thread makes the tree of these rows alone (KDTree.only), which answers from then on
"""

from __future__ import annotations

import logging
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtsearch.search.answers import Reach
from rtsearch.search.growing import GrowingTree
from rtsearch.search.kdtree import KDTree
from rtsearch.types import F32Array, I32Array

__all__ = ["SomeRows"]

_log = logging.getLogger(__name__)

_MANY = 64  # queries; a command that asks for the objects of a photo ends before a tree would pay


class SomeRows:
    """Some rows of a tree; any number of threads may query them, and none waits for the tree of their own.

    Args:
        tree: of all rows; one that grows is always searched with the mask.
        allowed: bool, rows that may be found, as ``query`` of the tree takes them; not changed any more.
    """

    def __init__(self, tree: KDTree | GrowingTree, allowed: NDArray[np.bool_]) -> None:
        self._now: tuple[KDTree | GrowingTree, NDArray[np.bool_] | None] = tree, allowed
        self._size = int(np.count_nonzero(allowed))
        self._left = _MANY if isinstance(tree, KDTree) else 0
        self._lock = threading.Lock()
        self._making: threading.Thread | None = None

    def __len__(self) -> int:
        return self._size

    def query(
        self,
        queries: NDArray[Any],
        k: int,
        *,
        exact: bool = False,
        recall: float = 0.98,
        reach: Reach | None = None,
    ) -> tuple[F32Array, I32Array]:
        """Search like :meth:`KDTree.query`."""
        tree, allowed = self._now
        if allowed is not None and self._left > 0:
            self._count(len(queries))
        return tree.query(queries, k, exact=exact, recall=recall, allowed=allowed, reach=reach)

    def settle(self) -> None:
        """Wait for the tree that is being made, if any."""
        if self._making is not None:
            self._making.join()

    def _count(self, queries: int) -> None:
        with self._lock:
            self._left -= queries
            if self._left <= 0 and self._making is None:  # two threads may have counted at once
                self._making = threading.Thread(target=self._make, name="some rows", daemon=True)
                self._making.start()

    def _make(self) -> None:
        tree, allowed = self._now
        assert isinstance(tree, KDTree)
        assert allowed is not None
        try:
            self._now = tree.only(allowed), None
        except Exception:
            _log.exception("no tree of some rows could be made; all are searched with a mask")
