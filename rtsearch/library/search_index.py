"""An opened index: the nearest objects of descriptions, and what is known of each row."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from rtsearch._util.wording import time_code
from rtsearch.library.index_files import PhotoPaths
from rtsearch.library.postgres_tree import PostgresTree
from rtsearch.library.reader import Library
from rtsearch.library.thumbnails import LEAST_ASPECT, MOST_ASPECT, ThumbPlaces
from rtsearch.search import KDTree, Reach, SomeRows
from rtsearch.search.projection import Projection
from rtsearch.types import F32Array, I32Array, Neighbours, U8Array, class_name

__all__ = ["Narrowed", "SearchIndex", "hit_of", "shapes_of"]


class Narrowed(NamedTuple):
    """Settings that searches are narrowed by.

    Attributes:
        classes, folders, since: as in ``search``.
        until: date, or date and time, in ISO format; "" for any.
        distinct: of near duplicates only one is found.
        leave_out: SHA-256 of a file whose objects are not found; "" for none.
    """

    classes: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    since: str = ""
    until: str = ""
    distinct: bool = False
    leave_out: str = ""


class _Found(NamedTuple):
    """Rows that searches find.

    Attributes:
        tree: is searched; holds what may be found.
        folded: (n,) int32, near duplicates that each row stands for; None where no row stands for others.
        given: (n,) bool, rows that are found, near duplicates left out; None for all.
        distinct: of near duplicates only one is found.
    """

    tree: KDTree | SomeRows | PostgresTree
    folded: I32Array | None = None
    given: NDArray[np.bool_] | None = None
    distinct: bool = False


class SearchIndex:
    """An opened index; any number of threads may use it.

    Args:
        library: what it was built from.
        projection: from descriptions to searched vectors.
        tree: over the searched vectors, in row order.
        table: the columns of ``TABLE`` and ``DERIVED``, n rows each.
        paths: photos, by the number that column ``photo`` holds.

    Attributes:
        library, projection, paths: as given.
        narrowed_by: settings that ``narrowing.narrow`` has made it by; None for all rows.
        alike_within: largest distance of neighbours that are alike, once ``likeness`` has measured it.
    """

    def __init__(
        self,
        library: Library,
        projection: Projection,
        tree: KDTree | PostgresTree,
        table: dict[str, NDArray[Any]],
        paths: PhotoPaths,
    ) -> None:
        self.library = library
        self.projection = projection
        self.paths = paths
        self._tree = tree
        self._table = table
        self._found = _Found(tree)
        self._allowed: NDArray[np.bool_] | None = None  # rows that may be found; None for all
        self.narrowed_by: Narrowed | None = None
        self.alike_within: float | None = None
        self._whole: SearchIndex | None = None

    def __len__(self) -> int:
        return len(self._tree)

    @property
    def dim(self) -> int:
        """Dimensions that are searched."""
        return self.projection.dim

    @property
    def thumb_places(self) -> ThumbPlaces:
        """Places of all crops, by row."""
        table = self._table
        packs = tuple(self.library.packs)
        return ThumbPlaces(
            table["pack"], table["thumb_offset"], table["thumb_bytes"], table["thumb_crc32"], packs
        )

    @property
    def labels(self) -> I32Array:
        """Class of each object, (n,) int32, -1 for a whole image."""
        return cast(I32Array, self._table["label"])

    @property
    def photo_numbers(self) -> I32Array:
        """Number of the photo of each object, (n,) int32."""
        return cast(I32Array, self._table["photo"])

    @property
    def boxes(self) -> F32Array:
        """Box of each object in its photo, (n, 4) float32 px."""
        return cast(F32Array, self._table["xyxy"])

    @property
    def colours(self) -> U8Array:
        """Share of each of ``COLOUR_NAMES`` in each object, (n, 11) uint8, 255 for all of it."""
        return cast(U8Array, self._table["colours"])

    @property
    def times_s(self) -> NDArray[np.float64]:
        """Times in a film, (n, 3) float64: of the crop, first and last seen; NaN in photos."""
        return self._table["times_s"]

    @property
    def tracks(self) -> I32Array:
        """Number of the track of each object within its film, (n,) int32; -1 in photos."""
        return cast(I32Array, self._table["track"])

    @property
    def leaders(self) -> I32Array:
        """Object that stands for each object, (n,) int32; its own number where it has no near duplicate."""
        return cast(I32Array, self._table["leader"])

    def narrowed(self, allowed: NDArray[np.bool_] | None = None, *, distinct: bool = False) -> SearchIndex:
        """Return the same index, whose searches find some of the rows only; all else is known of every row.

        Args:
            allowed: (n,) bool, rows that may be found; None for all.
            distinct: of rows that are nearly the same only the first one is found.
        """
        view = SearchIndex(self.library, self.projection, self._tree, self._table, self.paths)
        view._found = self._distinct(allowed) if distinct else _Found(self._some(allowed), given=allowed)
        view._allowed = allowed
        view._whole = self.whole
        return view

    def _distinct(self, allowed: NDArray[np.bool_] | None) -> _Found:
        leader = self.leaders
        n = len(leader)
        rows = np.arange(n, dtype=np.int32) if allowed is None else np.flatnonzero(allowed).astype(np.int32)
        first = np.full(n, n, np.int32)  # by leader: its first row that is allowed
        np.minimum.at(first, leader[rows], rows)
        first_of = first[leader[rows]]
        if (first_of == rows).all():
            return _Found(self._some(allowed), given=allowed, distinct=True)
        folded = np.bincount(first_of, minlength=n).astype(np.int32) - 1
        found = np.zeros(n, np.bool_)
        found[first_of] = True
        tree = self._tree.without(np.flatnonzero(~found)) if allowed is None else self._some(found)
        return _Found(tree, folded, found, distinct=True)

    def _some(self, allowed: NDArray[np.bool_] | None) -> KDTree | SomeRows | PostgresTree:
        """Return what is searched for the rows that may be found."""
        if allowed is None:
            return self._tree
        tree = self._tree
        return tree.only(allowed) if isinstance(tree, PostgresTree) else SomeRows(tree, allowed)

    def narrowed_elsewhere(self, by: Narrowed) -> SearchIndex | None:
        """Return the same index, narrowed by whoever searches for it; None where it is searched here.

        Raises:
            ConfigError: a class or folder that there is not, or nothing is left to be found.
        """
        return None

    @property
    def whole(self) -> SearchIndex:
        """Return the index of all rows that it was narrowed from; itself where it was not."""
        return self if self._whole is None else self._whole

    @property
    def given(self) -> NDArray[np.bool_] | None:
        """Rows that searches give, (n,) bool: none that another row stands for; None for all rows."""
        return self._found.given

    def findable(self) -> I32Array:
        """Return the rows that searches find, near duplicates included, in order."""
        allowed = self._allowed
        return (
            np.arange(len(self), dtype=np.int32)
            if allowed is None
            else np.flatnonzero(allowed).astype(np.int32)
        )

    def search(self, vectors: F32Array, k: int, *, exact: bool = False, recall: float = 0.98) -> Neighbours:
        """The k nearest objects of each of (n, D) descriptions."""
        return self.near(self.projection.apply(vectors), k, exact=exact, recall=recall)

    def near(self, points: F32Array, k: int, *, exact: bool = False, recall: float = 0.98) -> Neighbours:
        """The k nearest objects of each of (n, dim) points, which are projected descriptions."""
        return self._near(points, k, exact=exact, recall=recall)

    def _near(
        self, points: F32Array, k: int, *, exact: bool, recall: float, reach: Reach | None = None
    ) -> Neighbours:
        """The k nearest objects; ``reach`` is of what else is searched for the same points."""
        distance, row = self._found.tree.query(points, k, exact=exact, recall=recall, reach=reach)
        return Neighbours(row, distance)

    def others(self, row: int, k: int, *, exact: bool = False, recall: float = 0.98) -> Neighbours:
        """Return the k objects nearest to a row, (1, k) or fewer: without itself.

        Where near duplicates are found once, those of the row are left out, too.
        """
        near = self.near(self.points(np.array([row], np.int32)), k + 1, exact=exact, recall=recall)
        found = near.row[0]
        others = np.flatnonzero((found >= 0) & ~self._same(found, row))[:k]
        return Neighbours(near.row[:, others], near.distance[:, others])

    def _same(self, rows: I32Array, row: int) -> NDArray[np.bool_]:
        """Tell which rows are a row, or its near duplicates where those are found once."""
        same: NDArray[np.bool_] = rows == row
        return self.leaders[rows] == self.leaders[row] if self._found.distinct else same

    def points(self, rows: I32Array) -> F32Array:
        """(n, dim) float32: where n rows lie, as ``near`` compares them."""
        return self._tree.vectors(rows)

    def photo(self, row: int) -> str:
        """Path of the photo of an object, relative to the library's photo root."""
        return self.paths[int(self._table["photo"][row])]

    def photos_of(self, rows: I32Array, /) -> I32Array:
        """(n,) int32: number of each row's photo."""
        return self.photo_numbers[rows]

    def label(self, row: int) -> int:
        """Return the class of an object, -1 for a whole image."""
        return int(self.labels[row])

    def time_s(self, row: int) -> float:
        """Return when the crop of a row is seen in its film, s; NaN in photos."""
        return float(self.times_s[row, 0])

    def folded(self, rows: I32Array) -> I32Array:
        """(n,) int32: near duplicates that each row stands for in searches."""
        folded = self._found.folded
        return np.zeros(len(rows), np.int32) if folded is None else folded[rows]

    def label_counts(self) -> dict[int, int]:
        """Return the number of objects of each label that there are any of."""
        label, count = np.unique(self.labels, return_counts=True)
        return dict(zip(label.tolist(), count.tolist(), strict=True))

    def time_mark(self, row: int) -> str:
        """Return the time in a film that is written on a row's crop; "" for a photo."""
        t_s = self.time_s(row)
        # NaN is of photos, and a container may have times that begin below 0.
        return time_code(t_s) if t_s >= 0 else ""

    def shapes(self, rows: I32Array, /) -> F32Array:
        """(n,) float32: width by height of each row's crop, as a strip shows it."""
        return shapes_of(self._table["xyxy"][rows])

    def heights(self, rows: I32Array, /) -> F32Array:
        """(n,) float32: height of each row's box in its photo, px; 0 for a row that is not the library's."""
        ours = rows < len(self)
        xyxy = self._table["xyxy"][np.where(ours, rows, 0)]
        return np.where(ours, xyxy[:, 3] - xyxy[:, 1], np.float32(0)).astype(np.float32)

    def hits(self, rows: I32Array, /) -> list[dict[str, Any]]:
        """Return what is known of each row, as JSON values but for ``xyxy``.

        ``photo`` (or film), ``xyxy``, ``label`` (a word) and ``folded`` (near duplicates left out); of a film
        also ``t_s``, when the crop is seen, and ``seen_s``, when its track is first and last seen.
        """
        names = self.library.space.class_names
        labels, boxes = self._table["label"][rows].tolist(), self._table["xyxy"][rows].tolist()
        folded, times = self.folded(rows).tolist(), self._table["times_s"][rows].tolist()
        return [
            hit_of(self.photo(row), box, class_name(names, label), more, times_s)
            for row, box, label, more, times_s in zip(
                rows.tolist(), boxes, labels, folded, times, strict=True
            )
        ]

    def warm_up(self, k: int) -> None:
        """Load what the first query needs, so that nothing compiles on the frame path."""
        near = self.search(np.zeros((1, len(self.projection.matrix)), np.float32), k)
        self.points(near.row[0, :1])


def shapes_of(xyxy: F32Array) -> F32Array:
    """Return the width by the height of n boxes (n, 4) as strips show them, (n,) float32."""
    shape = (xyxy[:, 2] - xyxy[:, 0]) / np.maximum(xyxy[:, 3] - xyxy[:, 1], 1e-3)
    clipped: F32Array = np.clip(shape, LEAST_ASPECT, MOST_ASPECT).astype(np.float32)
    return clipped


def hit_of(photo: str, xyxy: list[float], label: str, folded: int, times_s: list[float]) -> dict[str, Any]:
    """Return what is known of a row; see ``SearchIndex.hits``.

    Args:
        photo: path of its photo or film.
        xyxy: box, px.
        label: name of its class.
        folded: near duplicates that are left out.
        times_s: of the crop, first and last seen in a film; NaN in a photo.
    """
    known = {"photo": photo, "xyxy": xyxy, "label": label, "folded": folded}
    t_s, *seen_s = (round(time_s, 3) for time_s in times_s)
    return known if math.isnan(t_s) else {**known, "t_s": t_s, "seen_s": seen_s}
