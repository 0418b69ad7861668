"""A library opened for search: photos, arrays and its own objects in, plain records of similar objects out.

photo -> network -> descriptions -> index -> FoundObject, each with its Neighbours
row of the library ---------------> index -> Neighbours
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from rtsearch._util.closing import Closing
from rtsearch._util.metrics import Meter
from rtsearch.config import Settings, load_settings
from rtsearch.errors import FeatureSpaceError, PhotoError, UnknownRowError, VectorError
from rtsearch.images.decode import quiet_decoders, read_photo
from rtsearch.library import Library
from rtsearch.library.index import SearchIndex, open_index, remembered_settings
from rtsearch.library.narrowing import narrow
from rtsearch.library.thumbnails import ThumbCache
from rtsearch.pipeline import Pipeline, open_pipeline
from rtsearch.recording import object_records
from rtsearch.service import open_remote
from rtsearch.storage import library_folder, naming_addresses
from rtsearch.types import U8Array

__all__ = ["Box", "FoundObject", "Neighbour", "SearchableLibrary", "open_library"]

Box: TypeAlias = tuple[float, float, float, float]
"""Left, top, right and bottom, px of the photo, from the outer corner of its top left pixel."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An object of the library that is similar to another object.

    Attributes:
        row: number of the object in the library, from 0; for ``similar`` and ``crop``.
        photo: path of its photo, relative to ``photo_root`` of the library.
        label: name of its class, ``whole image`` for a photo as a whole.
        xyxy: box in its photo, px.
        distance: Euclidean distance of the searched vectors, without unit; 0 for equal ones.
        folded: near duplicates of it that are left out, 0 with ``show.distinct=false``.
        t_s: time in the film that ``photo`` is, s; None for a photo.
        seen_s: when the object is first and last seen in the film, s; None for a photo.
    """

    row: int
    photo: str
    label: str
    xyxy: Box
    distance: float
    folded: int = 0
    t_s: float | None = None
    seen_s: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class FoundObject:
    """An object of a searched photo.

    Attributes:
        label: name of its class, ``whole image`` for the photo as a whole.
        score: confidence of the network, 0 to 1.
        xyxy: box in the photo, px.
        neighbours: the most similar objects of the library, nearest first.
    """

    label: str
    score: float
    xyxy: Box
    neighbours: tuple[Neighbour, ...]


class SearchableLibrary(Library, Closing):
    """A library with the network and the index that search it; a context manager.

    Several threads may use it at once; photos are looked at one after the other.

    Args:
        library: opened for reading.
        index: of the library.
        pipeline: made of the network that the library was made with, closed with the library; None where no
            network here makes such vectors, and photos cannot be searched for.
        settings: sections ``search``, ``analyze`` and ``live`` are used.
    """

    def __init__(
        self, library: Library, index: SearchIndex, pipeline: Pipeline | None, settings: Settings
    ) -> None:
        super().__init__(library.folder, library.manifest, library.photo_root, library._lock)
        self.elsewhere = library.elsewhere
        self._index, self._pipeline, self._settings = index, pipeline, settings
        self._crops = ThumbCache(index.thumb_places, settings.live.cache_mb << 20)
        self._one_photo = threading.Lock()

    @classmethod
    def open(cls, folder: Path, photo_root: Path | None = None) -> SearchableLibrary:
        """Open a library for search; see ``open_library``."""
        return _opened(Library.open(folder, photo_root), ())

    def __len__(self) -> int:
        """Return the number of objects."""
        return len(self._index)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes that the network tells apart."""
        return self.space.class_names

    def search(self, photo: str | Path | U8Array, k: int = 16) -> tuple[FoundObject, ...]:
        """Find the objects of a photo and the most similar objects of the library.

        Args:
            photo: path of a file, or (H, W, 3) uint8 BGR.
            k: neighbours per object, at least 1; fewer where the library has fewer distinct objects.

        Returns:
            the objects, most confident first; none where the network finds nothing.

        Raises:
            PhotoError: the file cannot be read, or the array is no picture.
            VectorError: k is not a whole number of at least 1.
            RunnerError: the network failed, or the library is closed.
            FeatureSpaceError: the library was imported, and no network makes such vectors.
        """
        _check_k(k)
        if self._pipeline is None:
            raise FeatureSpaceError(
                f"{self.folder} was imported, and its objects find each other only; describe its boxes anew: "
                f"rtsearch analyze {self.folder} --again"
            )
        bgr = _picture(photo, self._settings.analyze.max_photo_mp)
        with self._one_photo:
            seen = self._pipeline.backend.infer([bgr], self._settings.detect, Meter())[0]
        search = self._settings.search
        near = self._index.search(seen.vector, k, exact=search.exact, recall=search.recall)
        return tuple(
            FoundObject(
                item["label"],
                item["score"],
                _box(item["xyxy"]),
                tuple(_neighbour(**neighbour) for neighbour in item["neighbours"]),
            )
            for item in object_records(seen, self.class_names, near, self._index)
        )

    def similar(self, row: int, k: int = 16) -> tuple[Neighbour, ...]:
        """Find the objects that are most similar to an object of the library, without it and its duplicates.

        Args:
            row: number of the object, from 0.
            k: neighbours, at least 1; fewer where the library has fewer other objects.

        Returns:
            the neighbours, nearest first.

        Raises:
            UnknownRowError: there is no such object.
            VectorError: k is not a whole number of at least 1.
        """
        _check_k(k)
        search = self._settings.search
        near = self._index.others(self._known(row), k, exact=search.exact, recall=search.recall)
        rows, distances = near.row[0].tolist(), near.distance[0].tolist()
        return tuple(
            _neighbour(row=other, distance=distance, **hit)
            for other, distance, hit in zip(rows, distances, self._index.hits(near.row[0]), strict=True)
        )

    def crop(self, row: int) -> U8Array:
        """Return the stored crop of an object of the library.

        Args:
            row: number of the object, from 0.

        Returns:
            (h, w, 3) uint8 BGR, read-only, its longer side up to ``analyze.thumb_px`` px; a grey square where
            the file is damaged.

        Raises:
            UnknownRowError: there is no such object.
        """
        return self._crops.get(self._known(row))

    def close(self) -> None:
        """Give back the network's memory and threads, and the open files."""
        if self._pipeline is not None:
            self._pipeline.close()
        self._crops.close()
        if self.elsewhere is not None:
            self.elsewhere.close()

    def _known(self, row: int) -> int:
        """Return a row, if there is such a one."""
        if not isinstance(row, int | np.integer) or not 0 <= row < len(self):
            raise UnknownRowError(
                f"{self.folder} has no object {row}; its {len(self):,} objects are numbered from 0"
            )
        return int(row)


@naming_addresses()
def open_library(folder: str | Path, overrides: Iterable[str] = ()) -> SearchableLibrary:
    """Open a library for search, with the network and the settings that it was made with.

    The first search on a machine compiles the kernels, which takes half a minute.

    Args:
        folder: the library, its address, such as ``s3://bucket/pictures.lib``, or that of a server,
            ``http://HOST:PORT`` or ``ray://HOST/NAME``; a token is that of the address or of RTSEARCH_TOKEN.
        overrides: settings as ``--set`` takes them, for example ``["detect.threshold=0.4"]``.

    Returns:
        the library; to be closed, best by a ``with`` block.

    Raises:
        NotALibraryError: missing, empty or foreign folder.
        LibraryError: the library is damaged, of a newer version or without objects.
        FeatureSpaceError: the library was made by another network than the one that is there now.
        StorageError: object storage cannot be reached, or refuses.
        ServiceError: the server cannot be reached, or refuses.
        ConfigError: an override is unknown or out of range.
        UnknownModelError: the network is not there; the message says how to get it.
        ModelError: the file is not a prepared model.
        RunnerError: the network cannot be run.
    """
    return _opened(open_remote(folder) or Library.open(library_folder(folder)), overrides)


def _opened(library: Library, overrides: Iterable[str]) -> SearchableLibrary:
    settings = load_settings(None, overrides, remembered_settings(library))
    pipeline = None if library.space.imported else open_pipeline(settings, library=library)
    try:
        if pipeline is not None:
            library.require(pipeline.feature_space)
        index = narrow(open_index(library, settings), settings.search, distinct=settings.show.distinct)
        return SearchableLibrary(library, index, pipeline, settings)
    except BaseException:
        if pipeline is not None:
            pipeline.close()
        raise


def _picture(photo: str | Path | U8Array, max_mp: float) -> U8Array:
    if isinstance(photo, str | Path):
        with quiet_decoders():
            return read_photo(Path(photo), max_mp)
    picture = isinstance(photo, np.ndarray) and photo.ndim == 3 and photo.shape[2] == 3 and photo.size > 0
    if not picture or photo.dtype != np.uint8:
        got = f"{photo.dtype} {photo.shape}" if isinstance(photo, np.ndarray) else type(photo).__name__
        raise PhotoError(f"expected the path of a photo or uint8 (H, W, 3) BGR, got {got}")
    return photo


def _check_k(k: int) -> None:
    if not isinstance(k, int | np.integer) or isinstance(k, bool) or k < 1:
        raise VectorError(f"k: expected a whole number, 1 or more, got {k}")


def _box(xyxy: list[float]) -> Box:
    left, top, right, bottom = xyxy
    return left, top, right, bottom


def _neighbour(*, xyxy: list[float], seen_s: list[float] | None = None, **fields: Any) -> Neighbour:
    first_last = None if seen_s is None else (seen_s[0], seen_s[1])
    return Neighbour(xyxy=_box(xyxy), seen_s=first_last, **fields)
