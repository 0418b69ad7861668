"""Keep the vectors of a library's crops for a pair of networks, and find the crops that a text describes.

    LIB/words/KEY/   KEY is the fingerprint of the pair
      PACK.npy       vectors of a fragment's crops, (n, dim) float16 of unit length, in row order; PACK is the
                     hash of the file that holds the crops
      axes-STAMP.npy    64 directions in which the vectors are longest; STAMP is the library's
      short-STAMP.npy   the vectors of all rows along these
      pair.txt          name of the pair

A text is compared with all short vectors, and the best of them again in full. Everything is derived from the
crops: what is missing or damaged is made again.
"""

from __future__ import annotations

import contextlib
import io
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from rtsearch._util.array_files import load_array
from rtsearch._util.atomic import write_atomic
from rtsearch._util.paths import is_file_name
from rtsearch._util.regular_files import read_regular
from rtsearch.errors import DamagedError, LibraryError, WordsError
from rtsearch.library import Fragment, Library, library_lock
from rtsearch.library.files import disk_errors
from rtsearch.library.index import SearchIndex
from rtsearch.library.sweep import own_folder
from rtsearch.library.thumbnails import ThumbCache
from rtsearch.storage import address_of
from rtsearch.types import F32Array, I32Array
from rtsearch.words.text_pair import TextPair

__all__ = ["CropVectors", "TextHits", "embed_crops", "pair_of"]

_SHORT = 64
_SAMPLE = 20_000  # rows that the axes are fitted on
_LOOKED_AT = 2048  # short vectors whose full ones are compared, least
_PER_CALL = 64  # crops that are read and embedded together
_CACHE_BYTES = 64 << 20
_OURS = re.compile(r"([0-9a-f]{16}|(axes|short)-[0-9a-f]{8})\.npy")
_NAME = "pair.txt"
_MOST_NAME_BYTES = 64

Half = NDArray[np.float16]


class TextHits(NamedTuple):
    """Objects that a text describes, best first.

    Attributes:
        rows: (k,) int32, numbers of the objects.
        likeness: (k,) float32, cosine of the vectors of text and crop.
    """

    rows: I32Array
    likeness: F32Array


class CropVectors:
    """Vectors of all crops of a library for one pair, opened for search.

    Args:
        library: opened for reading.
        pair: that the vectors were made with.

    Raises:
        WordsError: crops of the library have no vectors of this pair; the message says how to make them.
        LibraryError: the disk refuses.
    """

    def __init__(self, library: Library, pair: TextPair) -> None:
        self._folder = _folder(library, pair)
        try:
            self._parts = [_load(self._folder, each, pair.dim) for _, each in _with_starts(library)]
        except DamagedError:
            raise WordsError(
                f"not all crops of {library.folder} have vectors of {pair.name}: "
                f"rtsearch library words {library.folder} --set describe.text={pair.name}"
            ) from None
        self._starts = np.cumsum([0, *(len(part) for part in self._parts)])
        self._axes, self._short = self._shortened(library.stamp[:8], pair.dim)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def nearest(self, vector: F32Array, k: int, allowed: NDArray[np.bool_] | None = None) -> TextHits:
        """Return the k crops that are most like the (dim,) vector of a text, fewer where there are fewer.

        Args:
            vector: of a text.
            k: most hits.
            allowed: (n,) bool, rows that may be found; None for all.
        """
        estimate = self._short @ (vector @ self._axes)
        most = min(max(_LOOKED_AT, k), len(estimate))
        if allowed is not None:
            estimate[~allowed] = -np.inf
            most = min(most, int(allowed.sum()))
        first = np.sort(np.argpartition(-estimate, most - 1)[:most])
        exact = self._full(first) @ vector
        best = np.argsort(-exact, kind="stable")[:k]
        return TextHits(first[best].astype(np.int32), exact[best])

    def _full(self, rows: NDArray[np.intp]) -> F32Array:
        """Return the full vectors of rows in ascending order, (n, dim) float32."""
        part = np.searchsorted(self._starts, rows, side="right") - 1
        full = [self._parts[i][rows[part == i] - self._starts[i]] for i in np.unique(part).tolist()]
        return np.concatenate(full).astype(np.float32)

    def _shortened(self, stamp: str, dim: int) -> tuple[F32Array, F32Array]:
        """Return the (dim, m) axes and the (n, m) short vectors, made now if they are missing or damaged."""
        kept = min(_SHORT, dim)
        axes_path, short_path = self._folder / f"axes-{stamp}.npy", self._folder / f"short-{stamp}.npy"
        with contextlib.suppress(DamagedError):
            axes = cast(F32Array, load_array(axes_path, np.float32, (dim, kept)))
            return axes, cast(F32Array, load_array(short_path, np.float32, (len(self), kept)))
        axes = self._fitted_axes(kept)
        short = np.concatenate([part.astype(np.float32) @ axes for part in self._parts])
        with contextlib.suppress(LibraryError):  # what cannot be written to is searched all the same
            self._keep_shortened({axes_path: axes, short_path: short})
        return axes, short

    def _keep_shortened(self, arrays: dict[Path, F32Array]) -> None:
        """Write arrays in the place of those of an earlier state of the library."""
        with disk_errors(self._folder):
            for old in [*self._folder.glob("axes-*.npy"), *self._folder.glob("short-*.npy")]:
                if _OURS.fullmatch(old.name) and not old.is_symlink():
                    old.unlink(missing_ok=True)
        for path, array in arrays.items():
            _save(path, array)

    def _fitted_axes(self, kept: int) -> F32Array:
        """Return the directions in which the vectors are longest, (dim, kept)."""
        chosen = np.random.default_rng(0).permutation(len(self))[:_SAMPLE]
        sample = self._full(np.sort(chosen))
        _, axes = np.linalg.eigh(sample.T @ sample)
        return np.ascontiguousarray(axes[:, ::-1][:, :kept], np.float32)


def embed_crops(
    index: SearchIndex,
    pair: TextPair,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    stop: threading.Event | None = None,
) -> int:
    """Give every crop of a library a vector, unless it has one.

    Fragment by fragment; what is done stays when the work is stopped or killed, and the next call goes on.

    Args:
        index: of the library.
        pair: makes the vectors.
        progress: gets the number of crops done, and of those to do.
        stop: once set, the work ends.

    Returns:
        number of crops that got a vector.

    Raises:
        LibraryBusyError: another process writes to the library.
        LibraryError: the disk refuses, or the library lies on object storage.
        RunnerError: the network failed.
    """
    library = index.library
    if address_of(library.folder) is not None:
        raise LibraryError(
            f"{library.folder} lies on object storage, which keeps no vectors for words; copy it to a disk: "
            f"rtsearch library merge COPY.lib {library.folder}"
        )
    folder = _folder(library, pair)
    with library_lock(library.folder), disk_errors(library.folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / _NAME, pair.name.encode())
        _remove_old(folder, library)
        todo = [
            (start, part) for start, part in _with_starts(library) if not _is_there(folder, part, pair.dim)
        ]
        total, done = sum(fragment.objects for _, fragment in todo), 0
        crops = ThumbCache(index.thumb_places, _CACHE_BYTES)
        for start, fragment in todo:
            vectors = np.empty((fragment.objects, pair.dim), np.float16)
            for at in range(0, fragment.objects, _PER_CALL):
                if stop is not None and stop.is_set():
                    return done
                end = min(at + _PER_CALL, fragment.objects)
                vectors[at:end] = pair.images.embed_crops([crops.get(start + row) for row in range(at, end)])
                progress(done + end, total)
            _save(folder / _file_name(fragment), vectors)
            done += fragment.objects
    return done


def pair_of(library: Library) -> str | None:
    """Return the name of the pair that made vectors of a library's crops, or None if none did.

    Whoever has made the library may have written anything there: what is no name of a pair is passed over.
    """
    for path in sorted((library.folder / "words").glob(f"*/{_NAME}")):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            name = read_regular(path, _MOST_NAME_BYTES).decode("ascii")
            if is_file_name(name):
                return name
    return None


def _with_starts(library: Library) -> Iterator[tuple[int, Fragment]]:
    """Yield each fragment that has objects, after the number of its first row."""
    start = 0
    for fragment in library.fragments:
        if fragment.objects:
            yield start, fragment
        start += fragment.objects


def _folder(library: Library, pair: TextPair) -> Path:
    return own_folder(own_folder(library.folder / "words") / pair.fingerprint[:16])


def _file_name(fragment: Fragment) -> str:
    return f"{fragment.stored('thumbs').sha256[:16]}.npy"


def _load(folder: Path, fragment: Fragment, dim: int) -> Half:
    path = folder / _file_name(fragment)
    return cast(Half, load_array(path, np.float16, (fragment.objects, dim)))


def _is_there(folder: Path, fragment: Fragment, dim: int) -> bool:
    try:
        _load(folder, fragment, dim)
    except DamagedError:
        return False
    return True


def _save(path: Path, array: NDArray[np.floating]) -> None:
    with disk_errors(path.parent):
        content = io.BytesIO()
        np.save(content, array)
        write_atomic(path, content.getvalue())


def _remove_old(folder: Path, library: Library) -> None:
    """Remove the vectors of fragments that the library no longer has."""
    kept = {_file_name(fragment) for fragment in library.fragments}
    kept |= {f"{what}-{library.stamp[:8]}.npy" for what in ("axes", "short")}
    for path in folder.iterdir():
        if _OURS.fullmatch(path.name) and path.name not in kept and not path.is_symlink():
            path.unlink(missing_ok=True)
