"""A library behind an address: searched by its server, known row by row.

    points -> POST /api/index/STATE/near -> rows, distances, and all that is known of these rows -> a cache

What a strip shows of a neighbour comes with the neighbour, so a frame costs one request; crops are fetched
by whoever draws. A picture that is drawn while the server is away has boxes of no shape rather than an error.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn
from urllib.parse import urlencode

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from rtsearch.errors import ConfigError, ServiceError, UnknownRowError
from rtsearch.library.schema import is_safe_path
from rtsearch.library.search_index import Narrowed, SearchIndex, hit_of, shapes_of
from rtsearch.library.thumbnails import MAX_JPEG_BYTES, ThumbPlaces
from rtsearch.search.projection import Projection
from rtsearch.service.connection import RefusedError
from rtsearch.service.facts import RECORD, Facts
from rtsearch.service.protocol import MOST_ROWS, Asked, most_answer_bytes, read_answer
from rtsearch.service.remote_library import RemoteLibrary
from rtsearch.types import F32Array, I32Array, Neighbours, class_name

__all__ = ["RemoteIndex"]

_log = logging.getLogger(__name__)

_MOST_FACTS = 100_000  # rows; 60 MB at 64 dimensions
_UNPROCESSABLE = 422
_TABLES = ("_allowed", "_found", "_table", "_tree", "paths")  # of an index on this machine


class _Known(NamedTuple):
    record: np.void
    point: F32Array
    path: str


class RemoteIndex(SearchIndex):
    """Index that a server searches; any number of threads may use it.

    Args:
        library: of the server.
        projection: from descriptions to searched vectors.
        by: settings that its searches are narrowed by.
        whole: index that it was narrowed from; None for itself.
    """

    def __init__(
        self,
        library: RemoteLibrary,
        projection: Projection,
        by: Narrowed | None = None,
        whole: RemoteIndex | None = None,
    ) -> None:
        self.library: RemoteLibrary = library
        self.projection = projection
        self.narrowed_by = by
        self._whole = whole
        most = library.about.alike_within
        self.alike_within = math.inf if most is None else most
        self._by = by or Narrowed()
        self._lock = threading.Lock()
        self._facts: LRUCache[int, _Known] = LRUCache(_MOST_FACTS)
        self._missing: tuple[int, ...] = ()

    @classmethod
    def open(cls, library: RemoteLibrary) -> RemoteIndex:
        """Fetch the projection of a library's index."""
        rows, dim = library.dim + 1, library.about.dim
        path = f"/api/index/{library.state}/projection"
        body = library.connection.get(path, 4 * rows * dim)
        if len(body) != 4 * rows * dim:
            raise ServiceError(f"{library.folder} sends a projection of another size")
        table = np.frombuffer(body, "<f4").astype(np.float32).reshape(rows, dim)
        blocks = [block.model_dump() for block in library.space.read_recipe.describe.blocks]
        return cls(library, Projection.of_table(table, str(library.folder), blocks))

    def __len__(self) -> int:
        return self.library.about.objects

    def __getattr__(self, name: str) -> NoReturn:
        """Refuse what is known of all rows at once: ``labels``, ``paths`` and so on read such attributes."""
        if name in _TABLES:
            self.library.refuse()
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def thumb_places(self) -> ThumbPlaces:
        """Crops of all rows, fetched from the server."""
        return ThumbPlaces.fetched(self._crop)

    def narrowed_elsewhere(self, by: Narrowed) -> SearchIndex:
        """Return the same index, narrowed by the server; see ``SearchIndex.narrowed_elsewhere``."""
        whole = self.whole
        assert isinstance(whole, RemoteIndex)
        if by != Narrowed(distinct=by.distinct):
            try:
                self.library.connection.get(self._path("narrowed", by), 1 << 10)
            except RefusedError as error:
                if error.status == _UNPROCESSABLE:
                    raise ConfigError(str(error)) from None
                raise
        return RemoteIndex(self.library, self.projection, by, whole)

    def near(self, points: F32Array, k: int, *, exact: bool = False, recall: float = 0.98) -> Neighbours:
        """The k nearest objects of each of (n, dim) points.

        Raises:
            ServiceError: the server is away, refuses, or answers nonsense.
        """
        n, k = len(points), min(k, len(self))
        if not n or not k:
            return Neighbours(np.full((n, k), -1, np.int32), np.full((n, k), np.inf, np.float32))
        asked = Asked(n, k, n * k, self.dim, len(self))
        path = self._path("near", self._by, k=k, recall=recall, exact=int(exact))
        body = np.ascontiguousarray(points, "<f4").tobytes()
        answer = read_answer(self.library.connection.post(path, body, most_answer_bytes(asked)), asked)
        self._keep(answer.facts)
        self._tell(answer.missing)
        return answer.near

    def others(self, row: int, k: int, *, exact: bool = False, recall: float = 0.98) -> Neighbours:
        """Return the k objects nearest to a row; see ``SearchIndex.others``."""
        if not 0 <= row < len(self):
            raise UnknownRowError(f"{self.library.folder} has no object {row}")
        return super().others(row, k, exact=exact, recall=recall)

    def points(self, rows: I32Array) -> F32Array:
        """(n, dim) float32: where n rows lie, as ``near`` compares them."""
        known = self._known(rows)
        points = np.array([each.point for each in known], np.float32)
        return points.reshape(len(known), self.dim)

    def photo(self, row: int) -> str:
        """Path of the photo of an object, relative to the library's photo root."""
        return self._known([row])[0].path

    def label(self, row: int) -> int:
        """Return the class of an object, -1 for a whole image."""
        return int(self._drawn([row])["label"][0])

    def time_s(self, row: int) -> float:
        """Return when the crop of a row is seen in its film, s; NaN in photos."""
        return float(self._drawn([row])["times_s"][0, 0])

    def photos_of(self, rows: I32Array, /) -> I32Array:
        """(n,) int32: number of each row's photo."""
        return _records(self._known(rows))["photo"]

    def folded(self, rows: I32Array) -> I32Array:
        """(n,) int32: near duplicates that each row stands for in searches."""
        return _records(self._known(rows))["folded"]

    def shapes(self, rows: I32Array, /) -> F32Array:
        """(n,) float32: width by height of each row's crop, as a strip shows it."""
        return shapes_of(self._drawn(rows)["xyxy"])

    def heights(self, rows: I32Array, /) -> F32Array:
        """(n,) float32: height of each row's box in its photo, px."""
        xyxy = self._drawn(rows)["xyxy"]
        return np.asarray(xyxy[:, 3] - xyxy[:, 1], np.float32)

    def hits(self, rows: I32Array, /) -> list[dict[str, Any]]:
        """Return what is known of each row; see ``SearchIndex.hits``."""
        names = self.library.space.class_names
        return [
            hit_of(
                path,
                record["xyxy"].tolist(),
                class_name(names, int(record["label"])),
                int(record["folded"]),
                record["times_s"].tolist(),
            )
            for record, _, path in self._known(rows)
        ]

    def label_counts(self) -> dict[int, int]:
        """Return the number of objects of each label that there are any of."""
        return self.library.about.labels

    def findable(self) -> I32Array:
        """Return all rows; none where the server narrows the search, as it does not tell which are left."""
        narrowed = self._by != Narrowed(distinct=self._by.distinct)
        return np.arange(0 if narrowed else len(self), dtype=np.int32)

    def _same(self, rows: I32Array, row: int) -> NDArray[np.bool_]:
        if not self._by.distinct:
            return np.asarray(rows == row)
        own = np.array([row], np.int32)
        leader = _records(self._known(np.concatenate([own, np.maximum(rows, 0)])))["leader"]
        return np.asarray((leader[1:] == leader[0]) & (rows >= 0))

    def _path(self, verb: str, by: Narrowed, **further: object) -> str:
        query: list[tuple[str, object]] = [("distinct", int(by.distinct)), *further.items()]
        query += [(name, value) for name in ("classes", "folders") for value in getattr(by, name)]
        query += [(name, getattr(by, name)) for name in ("since", "until", "leave_out") if getattr(by, name)]
        return f"/api/index/{self.library.state}/{verb}?{urlencode(query)}"

    def _crop(self, row: int) -> bytes:
        return self.library.connection.get(f"/api/index/{self.library.state}/crops/{row}.jpg", MAX_JPEG_BYTES)

    def _keep(self, facts: Facts) -> None:
        if (facts.records["label"] >= len(self.library.space.class_names)).any():
            raise ServiceError(f"{self.library.connection.address} tells of classes that there are not")
        paths = (path if is_safe_path(path) else "" for path in facts.paths)
        with self._lock:
            for record, point, path in zip(facts.records, facts.points, paths, strict=True):
                # Copies: a view would keep the whole answer.
                self._facts[int(record["row"])] = _Known(record.copy(), point.copy(), path)

    def _known(self, rows: Sequence[int] | I32Array) -> list[_Known]:
        """Return what is known of rows; what is not known yet is asked for."""
        wanted = np.asarray(rows, np.int32).tolist()
        found = self._at_hand(wanted)
        missing = sorted({row for row in wanted if row not in found})
        for first in range(0, len(missing), MOST_ROWS):
            some = missing[first : first + MOST_ROWS]
            asked = Asked(0, 0, len(some), self.dim, len(self))
            body = np.array(some, "<i4").tobytes()
            path = self._path("rows", self._by)
            answer = read_answer(self.library.connection.post(path, body, most_answer_bytes(asked)), asked)
            if answer.facts.records["row"].tolist() != some:
                raise ServiceError(f"{self.library.folder} tells of other rows than were asked for")
            self._keep(answer.facts)
            found |= self._at_hand(some)
        return [found[row] for row in wanted]

    def _at_hand(self, rows: list[int]) -> dict[int, _Known]:
        with self._lock:
            kept = {row: self._facts.get(row) for row in rows}
        return {row: known for row, known in kept.items() if known is not None}

    def _drawn(self, rows: Sequence[int] | I32Array) -> NDArray[Any]:
        """Return the records of rows to be drawn; those that cannot be had now say nothing."""
        try:
            return _records(self._known(rows))
        except ServiceError:
            wanted = np.asarray(rows, np.int32).tolist()
            known = self._at_hand(wanted)
            return np.array([known[row].record if row in known else _NOTHING for row in wanted], RECORD)

    def _tell(self, missing: tuple[int, ...]) -> None:
        """Say once that shards are missing, and that they are there again."""
        if missing != self._missing:
            names = ", ".join(map(str, missing))
            text = (
                f"shards {names} are missing; their objects are not found" if missing else "all shards answer"
            )
            _log.warning("%s: %s", self.library.folder, text)
        self._missing = missing


_NOTHING = np.zeros(1, RECORD)[0]
_NOTHING["times_s"] = np.nan
_NOTHING["label"] = -1


def _records(known: list[_Known]) -> NDArray[Any]:
    return np.array([each.record for each in known], RECORD)
