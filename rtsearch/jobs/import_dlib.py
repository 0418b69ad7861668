"""Make a library of a vectors file of ReverseObjectSearchFast and of the photos that it is about.

Its vectors come from another network, so the library has a feature space of its own: its objects are
compared with each other, not with those of a camera. As vectors are stored in half precision, they are moved
to their mean and scaled, which changes no order of neighbours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rtsearch.config import AnalyzeSettings, Settings
from rtsearch.errors import FormatError, PhotoError, SourceError
from rtsearch.images.decode import decode_photo, photo_bytes, photo_header
from rtsearch.library import FeatureSpace, LibraryWriter, ObjectRows, PhotoRow, PhotoState
from rtsearch.library.crops import encode_crop
from rtsearch.library.dlib_stream import DlibObjects, read_dlib
from rtsearch.library.files import sha256_of
from rtsearch.library.schema import is_safe_path
from rtsearch.types import F32Array

__all__ = ["ImportReport", "import_dlib"]

_CLASS = "object"  # the file names no classes


@dataclass(slots=True)
class ImportReport:
    """Result of an import.

    Attributes:
        objects, photos: of the library.
        dim: numbers of a vector.
        projected: the vectors are projected ones.
        left_out: objects without a usable vector or box.
        failed: photos that cannot be read, with the reason.
    """

    objects: int = 0
    photos: int = 0
    dim: int = 0
    projected: bool = False
    left_out: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)


def import_dlib(
    file: Path,
    photos: Path,
    folder: Path,
    settings: Settings,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> ImportReport:
    """Make a library of a vectors file; photos that a run before has stored are passed over.

    Args:
        file: written by ``save vectors`` of the application, features only or not.
        photos: folder that the file's paths are relative to.
        folder: of the library; made if missing.
        settings: section ``analyze``.
        progress: gets the photos done and their number.

    Raises:
        FormatError: the file is no vectors file, or names no photo below a folder.
        SourceError: none of its photos is in the folder.
        NotALibraryError, LibraryBusyError, FeatureSpaceError, LibraryError: as ``LibraryWriter.open``.
        OSError: the file cannot be read.
    """
    found = read_dlib(file)
    if not len(found.vectors) or not found.vectors.shape[1]:
        raise FormatError(f"{file} holds no objects")
    rows_of, names = _by_photo(file, found.names)
    if not any((photos / name).is_file() for name in names):
        raise SourceError(f"{photos} holds none of the {len(names)} photos of {file}, such as {names[0]!r}")
    vectors, good = _comparable(found.vectors), _usable(found)
    report = ImportReport(dim=vectors.shape[1], projected=found.projected, left_out=int((~good).sum()))
    space = FeatureSpace(recipe=_recipe(file, vectors.shape[1]), class_names=(_CLASS,), dim=vectors.shape[1])
    with LibraryWriter.open(folder, space, photo_root=photos) as writer:
        table = writer.photos()
        known = {p for p, state in zip(table.path, table.state, strict=True) if state != PhotoState.FAILED}
        for done, name in enumerate(names):
            if name not in known:
                objects = _objects(found, vectors, [row for row in rows_of[name] if good[row]])
                try:
                    inside = _add(writer, photos / name, name, objects, settings.analyze)
                    report.left_out += len(objects) - inside
                except PhotoError as error:
                    report.failed.append((name, str(error)))
                if writer.open_photos >= settings.analyze.commit_photos:
                    writer.commit()
            progress(done + 1, len(names))
        writer.commit()
        fragments = writer.manifest.fragments
    report.objects, report.photos = sum(f.objects for f in fragments), sum(f.photos for f in fragments)
    return report


def _by_photo(file: Path, names: Sequence[str]) -> tuple[dict[str, list[int]], list[str]]:
    """Return the rows of each photo, and the photos in order."""
    rows_of: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        path = name.replace("\\", "/").lstrip("/")
        if not is_safe_path(path):
            raise FormatError(f"{file} names {name[:80]!r}, which is no photo below a folder")
        rows_of.setdefault(path, []).append(row)
    return rows_of, list(rows_of)


def _comparable(vectors: F32Array) -> F32Array:
    """Return vectors about their mean, so scaled that half precision tells them apart."""
    finite = np.isfinite(vectors).all(axis=1)
    kept = vectors[finite]
    centred = vectors - (kept.mean(axis=0, dtype=np.float64) if len(kept) else 0)
    spread = float(np.abs(centred[finite]).max(initial=0)) or 1.0
    scaled: F32Array = (centred / spread).astype(np.float32)
    return scaled


def _usable(found: DlibObjects) -> np.ndarray:
    sides = found.xywh[:, 2:]
    boxes = np.isfinite(found.xywh).all(axis=1) & (sides > 0).all(axis=1) & (np.abs(found.xywh) < 1e6).all(1)
    return np.isfinite(found.vectors).all(axis=1) & boxes & np.isfinite(found.scores)


def _recipe(file: Path, dim: int) -> dict[str, object]:
    return {
        "model": "ReverseObjectSearchFast",
        "model_sha256": sha256_of(file),
        "describe": {"blocks": [{"kind": "imported", "width": dim}]},
    }


def _objects(found: DlibObjects, vectors: F32Array, rows: Sequence[int]) -> ObjectRows:
    x, y, width, height = found.xywh[rows].T
    n = len(rows)
    return ObjectRows(
        xyxy=np.stack([x, y, x + width, y + height], axis=1).astype(np.float32),
        label=np.zeros(n, np.int32),
        score=np.clip(found.scores[rows], 0, 1).astype(np.float32),
        whole=np.zeros(n, bool),
        vector=vectors[rows],
    )


def _add(writer: LibraryWriter, path: Path, name: str, objects: ObjectRows, settings: AnalyzeSettings) -> int:
    """Add a photo with crops of its objects; return how many of these lie in it.

    Raises:
        PhotoError: it cannot be read; only that was added.
    """
    try:
        header = photo_header(path, settings.max_photo_mp)
        data, stat = photo_bytes(path), path.stat()
        bgr, _ = decode_photo(data, header)
    except PhotoError as error:
        writer.add(PhotoRow(name, 0, 0, 0, 0, PhotoState.FAILED, str(error)))
        raise
    kept = _inside(objects, bgr.shape[1::-1])
    photo = PhotoRow(
        path=name,
        size_bytes=stat.st_size,
        mtime_ns=stat.st_mtime_ns,
        width=bgr.shape[1],
        height=bgr.shape[0],
        state=PhotoState.OK if len(kept) else PhotoState.EMPTY,
        sha256=hashlib.sha256(data).hexdigest(),
    )
    writer.add(photo, kept, [encode_crop(bgr, xyxy, settings.thumb_px) for xyxy in kept.xyxy])
    return len(kept)


def _inside(objects: ObjectRows, wh: Sequence[int]) -> ObjectRows:
    """Return the objects that lie in a picture of a width and a height, px, cut to it."""
    xyxy = np.clip(objects.xyxy, 0, np.array([*wh, *wh], np.float32))
    rows = np.flatnonzero((xyxy[:, 2:] > xyxy[:, :2]).all(axis=1))
    return ObjectRows(
        xyxy[rows], objects.label[rows], objects.score[rows], objects.whole[rows], objects.vector[rows]
    )
