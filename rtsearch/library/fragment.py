"""Fragments, the unit that is committed or lost: writing one, and reading those that are committed."""

from __future__ import annotations

import contextlib
import os
import shutil
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rtsearch._util.atomic import publish
from rtsearch._util.regular_files import open_regular
from rtsearch.errors import DamagedError, VectorError
from rtsearch.library.files import TMP_SUFFIX, sha256_of
from rtsearch.library.manifest import PARTS, Fragment, FragmentFiles, StoredFile
from rtsearch.library.pages import text_bytes, unpacked_bytes
from rtsearch.library.remote import remote_of
from rtsearch.library.schema import (
    OBJECT_COLUMNS,
    PHOTO_SCHEMAS,
    UNKNOWN,
    ObjectRows,
    PhotoRow,
    PhotoState,
    PhotoTable,
    are_times,
    is_safe_path,
    object_schema,
    object_schemas,
    object_table,
    photo_table,
    to_numpy,
)

__all__ = [
    "Columns",
    "FragmentWriter",
    "adopted",
    "checked_path",
    "damaged",
    "is_taken",
    "read_objects",
    "read_photos",
    "with_photos",
]

Columns: TypeAlias = dict[str, NDArray[Any]]

# Objects that wait in memory for their row group: 4 MB at 528 dimensions. Row groups of this size are read
# at the same speed as larger ones.
ROW_GROUP = 4096

_UNREADABLE = (OSError, ValueError, pa.ArrowException)
_OTHER_TABLE = "not the table that the manifest names"

# A table of photos decompresses to 40 times its size at most where its paths are long and much alike.
_MOST_RATIO = 256
_MOST_TEXT_BYTES = 1024  # path, reason and hash of a photo, on average
_VALUE_BYTES = 2  # of a number in a vector
_MOST_ROW_BYTES = 128  # of the other columns of an object, which have 77
_USUAL_BYTES = 1 << 20  # are no danger, whatever the file is like


class FragmentWriter:
    """An open fragment: temporary files that get their names all at once in ``finish``.

    Args:
        folder: the library.
        name: of the fragment.
        dim: dimensions of the vectors.
    """

    def __init__(self, folder: Path, name: str, dim: int) -> None:
        self._folder = folder
        self._name = name
        self._dim = dim
        self._photos: list[PhotoRow] = []
        self._waiting: list[Columns] = []
        self._waiting_rows = 0
        self._objects = 0
        self._thumb_bytes = 0
        self._pack = self._tmp("thumbs").open("xb")
        # pyarrow gets files that are open: it takes some names of files for addresses of other machines.
        self._rows = self._tmp("objects").open("xb")
        self._table = pq.ParquetWriter(
            self._rows,
            object_schema(dim),
            compression="none",  # float16 vectors, which are nearly all of it, shrink by 8 % only
            use_dictionary=False,
            write_statistics=False,
            write_page_checksum=True,
        )

    @property
    def photos(self) -> int:
        """Photos added so far."""
        return len(self._photos)

    def add_photo(
        self, photo: PhotoRow, objects: ObjectRows | None = None, thumbs: Sequence[bytes] = ()
    ) -> None:
        """Add a photo with its objects (None for one without) and one JPEG per object."""
        if objects is None or not len(objects):
            self._photos.append(photo)
            return
        vector = _half(objects.vector, (len(objects), self._dim))
        self._photos.append(photo)
        lengths = np.array([len(thumb) for thumb in thumbs], np.int32)
        n = len(objects)
        columns: Columns = {
            "photo": np.full(n, len(self._photos) - 1, np.int32),
            "xyxy": objects.xyxy.astype(np.float32, copy=False),
            "label": objects.label.astype(np.int32, copy=False),
            "score": objects.score.astype(np.float32, copy=False),
            "whole": objects.whole,
            "vector": vector,
            "times_s": objects.times_s,
            "track": objects.track.astype(np.int32, copy=False),
            "thumb_crc32": np.array([zlib.crc32(thumb) for thumb in thumbs], np.int64),
        }
        self.add_objects(columns, lengths, b"".join(thumbs))

    def add_objects(self, columns: Columns, thumb_bytes: NDArray[np.int32], pack: bytes) -> None:
        """Add object rows whose photos are already there; ``pack`` is their JPEGs, of these lengths.

        ``columns`` has all but where the thumbnails lie.
        """
        columns = dict(columns)
        ends = self._thumb_bytes + np.cumsum(thumb_bytes, dtype=np.int64)
        columns["thumb_offset"] = ends - thumb_bytes
        columns["thumb_bytes"] = thumb_bytes
        self._pack.write(pack)
        self._thumb_bytes += len(pack)
        self._waiting.append(columns)
        self._waiting_rows += len(thumb_bytes)
        self._objects += len(thumb_bytes)
        if self._waiting_rows >= ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            joined = {c: np.concatenate([part[c] for part in self._waiting]) for c in OBJECT_COLUMNS}
            self._table.write_table(object_table(joined, self._dim))
        self._waiting, self._waiting_rows = [], 0

    def finish(self) -> Fragment:
        """Write everything out under the final names. The manifest has yet to name it."""
        self._flush()
        self._table.close()
        self._rows.close()
        self._pack.close()
        _write_photos(self._photos, self._tmp("images"))
        states = [photo.state for photo in self._photos]
        files = {part: _stored(tmp) for part, tmp in self._tmps()}
        fragment = Fragment(
            name=self._name,
            photos=len(self._photos),
            empty=states.count(PhotoState.EMPTY),
            failed=states.count(PhotoState.FAILED),
            objects=self._objects,
            files=FragmentFiles(**files),
        )
        for part, tmp in self._tmps():
            publish(tmp, fragment.path(self._folder, part))
        return fragment

    def discard(self) -> None:
        """Forget the fragment and take its temporary files away."""
        for file in (self._pack, self._table, self._rows):
            with contextlib.suppress(OSError, pa.ArrowException):  # a full disk refuses to flush, too
                file.close()
        for _, tmp in self._tmps():
            tmp.unlink(missing_ok=True)

    def _tmp(self, part: str) -> Path:
        return _tmp(self._folder, self._name, part)

    def _tmps(self) -> list[tuple[str, Path]]:
        return [(part, self._tmp(part)) for part in PARTS]


def with_photos(folder: Path, fragment: Fragment, name: str, photos: Sequence[PhotoRow]) -> Fragment:
    """Write a committed fragment anew as ``name``, with other rows for its photos and the same objects.

    Files of objects and crops become hard links where the disk has them, else copies.
    """
    with _published(folder, name) as tmps:
        _write_photos(photos, tmps["images"])
        for part in ("objects", "thumbs"):
            _link(checked_path(folder, fragment, part), tmps[part])
        images = _stored(tmps["images"])
    return fragment.model_copy(
        update={"name": name, "files": fragment.files.model_copy(update={"images": images})}
    )


def adopted(folder: Path, fragment: Fragment, name: str, source: Path) -> Fragment:
    """Take a committed fragment of the library ``source`` over into ``folder`` as ``name``.

    Its files become hard links where the disk has them, else copies.
    """
    with _published(folder, name) as tmps:
        for part, tmp in tmps.items():
            _link(checked_path(source, fragment, part), tmp)
    return fragment.model_copy(update={"name": name})


@contextlib.contextmanager
def _published(folder: Path, name: str) -> Iterator[dict[str, Path]]:
    """Yield temporary files for the parts of a fragment, which get their names when the block ends well."""
    tmps = {part: _tmp(folder, name, part) for part in PARTS}
    try:
        yield tmps
        for part, tmp in tmps.items():
            publish(tmp, folder / part / (name + PARTS[part]))
    except BaseException:
        for tmp in tmps.values():
            tmp.unlink(missing_ok=True)
        raise


def _tmp(folder: Path, name: str, part: str) -> Path:
    return folder / part / (name + PARTS[part] + TMP_SUFFIX)


def _write_photos(photos: Sequence[PhotoRow], path: Path) -> None:
    with path.open("xb") as file:
        pq.write_table(photo_table(photos), file, compression="zstd", write_page_checksum=True)


def _stored(path: Path) -> StoredFile:
    return StoredFile(bytes=path.stat().st_size, sha256=sha256_of(path))


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:  # exFAT and some shares have no links
        shutil.copyfile(source, target)


def is_taken(folder: Path, name: str) -> bool:
    """Tell whether a file of a fragment of this name, finished or not, or a link lies in a library."""
    return any(
        os.path.lexists(folder / part / (name + suffix + end))
        for part, suffix in PARTS.items()
        for end in ("", TMP_SUFFIX)
    )


def _half(vector: NDArray[np.floating], shape: tuple[int, int]) -> NDArray[np.float16]:
    if vector.shape != shape:
        raise VectorError(f"descriptions: expected {shape}, got {vector.shape}")
    with np.errstate(over="ignore"):  # what overflows becomes inf and is refused below
        half = vector.astype(np.float16)
    if not np.isfinite(half).all():
        raise VectorError("a description has NaN, infinity or a value above 65504")
    return half


def read_photos(folder: Path, fragment: Fragment) -> PhotoTable:
    """The photos of a committed fragment.

    Raises:
        DamagedError: the file is missing, altered, truncated or not as it should be.
    """
    path = checked_path(folder, fragment, "images")
    try:
        with open_regular(path) as file:
            photos = _photo_columns(file, fragment.photos)
    except _UNREADABLE as error:
        raise damaged(path, error) from None
    unsafe = next((path for path in photos.path if not is_safe_path(path)), None)
    if unsafe is not None:
        raise damaged(path, f"the photo path {unsafe!r} leads out of the photo root")
    return photos


def _photo_columns(file: BinaryIO, n: int) -> PhotoTable:
    """Read a table of n photos; its size in memory is known before any of it is taken.

    Texts are read as dictionaries: a single long one that all rows name takes its place once.
    """
    if unpacked_bytes(file) > os.fstat(file.fileno()).st_size * _MOST_RATIO + _USUAL_BYTES:
        raise ValueError("it decompresses to more than a table of photos can have")
    file.seek(0)
    with pq.ParquetFile(file) as table:
        schema, metadata = table.schema_arrow, table.metadata
        known = any(schema.equals(known) for known in PHOTO_SCHEMAS)
        if not known or metadata.num_rows != n:
            raise ValueError(_OTHER_TABLE)
        texts = [field.name for field in schema if pa.types.is_string(field.type)]
        file.seek(0)
        options = {"metadata": metadata, "page_checksum_verification": True, "read_dictionary": texts}
        with pq.ParquetFile(file, **options) as packed:
            columns = packed.read()
    if len(columns) != n:
        raise ValueError(f"it gives {len(columns)} rows instead of {n}")
    if sum(text_bytes(columns[name]) for name in texts) > n * _MOST_TEXT_BYTES + _USUAL_BYTES:
        raise ValueError("its texts are longer than those of photos")
    plain = {name: pa.string() if name in texts else columns[name].type for name in schema.names}
    lists = {name: columns[name].cast(plain[name]).to_pylist() for name in schema.names}
    return PhotoTable(**{"sha256": [""] * n, "length_s": [0.0] * n, **lists})


def read_objects(
    folder: Path, fragment: Fragment, dim: int, columns: Sequence[str], batch_rows: int
) -> Iterator[Columns]:
    """Columns of a committed fragment's objects, in row order, at most ``batch_rows`` at a time.

    Raises:
        DamagedError: the file is missing, altered, truncated or not as it should be.
    """
    path = checked_path(folder, fragment, "objects")
    try:
        with open_regular(path) as file:
            yield from _object_columns(file, fragment, dim, (columns, batch_rows))
    except _UNREADABLE as error:
        raise damaged(path, error) from None


def _unknown(column: str, rows: int) -> NDArray[Any]:
    """Return a column that an older format does not have."""
    return np.repeat(np.asarray(UNKNOWN[column])[None], rows, axis=0)


def _object_columns(
    opened: BinaryIO, fragment: Fragment, dim: int, wanted: tuple[Sequence[str], int]
) -> Iterator[Columns]:
    columns, batch_rows = wanted
    if unpacked_bytes(opened) > fragment.objects * (dim * _VALUE_BYTES + _MOST_ROW_BYTES) + _USUAL_BYTES:
        raise ValueError("it decompresses to more than its objects can have")
    opened.seek(0)
    with pq.ParquetFile(opened, page_checksum_verification=True) as file:
        schema = file.schema_arrow
        known = any(schema.equals(known) for known in object_schemas(dim))
        if not known or file.metadata.num_rows != fragment.objects:
            raise ValueError(_OTHER_TABLE)
        rows = 0
        stored = [name for name in columns if name in schema.names]
        for batch in file.iter_batches(batch_rows, columns=stored):
            rows += len(batch)
            read = {name: to_numpy(batch.column(name)) for name in stored}
            _require_places(read, fragment)
            yield {name: read[name] if name in read else _unknown(name, len(batch)) for name in columns}
        if rows != fragment.objects:  # page headers, which no checksum covers, may lie
            raise ValueError(f"it gives {rows} rows instead of {fragment.objects}")


def _require_places(rows: Columns, fragment: Fragment) -> None:
    """Raise a ValueError where rows name photos, thumbnails or times that there cannot be."""
    photo, offset, length = (rows.get(name) for name in ("photo", "thumb_offset", "thumb_bytes"))
    if "times_s" in rows and not are_times(rows["times_s"]):
        raise ValueError("the time of an object is not one, or not within its track")
    if photo is not None and len(photo) and not 0 <= photo.min() <= photo.max() < fragment.photos:
        raise ValueError("an object names a photo that is not there")
    if offset is None or length is None or not len(offset):
        return
    # The sum of an offset and a length may go beyond what their type holds.
    most = fragment.stored("thumbs").bytes - length.astype(np.int64)
    if offset.min() < 0 or length.min() < 0 or (offset > most).any():
        raise ValueError("a thumbnail lies outside its pack")


def checked_path(folder: Path, fragment: Fragment, part: str) -> Path:
    """Return the path of a fragment's part after comparing its length with the manifest.

    Raises:
        DamagedError: it is missing or has another length.
        StorageError: it lies on object storage that cannot be reached, or refuses.
    """
    if (remote := remote_of(folder)) is not None:
        return remote.path(fragment, part)
    path = fragment.path(folder, part)
    expected = fragment.stored(part).bytes
    try:
        size = path.stat().st_size
    except OSError as error:
        raise damaged(path, error) from None
    if size != expected:
        raise damaged(path, f"it has {size} bytes instead of {expected}")
    return path


def damaged(path: Path, why: object) -> DamagedError:
    """The error for a damaged file of a fragment, with the way out."""
    reason = why.strerror if isinstance(why, OSError) and why.strerror else " ".join(str(why).split())
    library = path.parent.parent
    return DamagedError(
        f"{path} is damaged ({reason}): rtsearch library check {library} says what is touched, "
        f"rtsearch analyze --repair PHOTOS {library} looks at those photos again",
        reason,
    )
