"""Make a library of a vectors file of ReverseObjectSearchFast: its boxes, scores and vectors, with new crops.

    vectors file -> by photo -> photos are read (threads) -> crops -> fragments

The library has a feature space of its own: its objects find each other, and no network here describes others
for it.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rtsearch._util.cpu import usable_cores
from rtsearch._util.signals import stop_on_signal
from rtsearch.config import Settings
from rtsearch.errors import LibraryError, PhotoError, SourceError, VectorError
from rtsearch.images.decode import quiet_decoders, read_photo
from rtsearch.library import FeatureSpace, LibraryWriter, ObjectRows, PhotoRow, PhotoState
from rtsearch.library.crops import encode_crop
from rtsearch.library.dlib_vectors import DlibVectors, read_dlib_vectors
from rtsearch.library.files import sha256_of
from rtsearch.library.manifest import IMPORTED
from rtsearch.library.schema import is_safe_path
from rtsearch.types import I64Array

__all__ = ["ImportReport", "import_vectors"]

CLASS_NAME = "object"  # the file says of no object what it is


@dataclass(slots=True)
class ImportReport:
    """Result of an import.

    Attributes:
        photos, objects: that were taken over.
        kept: photos that an import before has taken over.
        failed: path and reason, for each photo that could not be read; its objects are left out.
        interrupted: it was stopped; the next one goes on.
    """

    photos: int = 0
    objects: int = 0
    kept: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    interrupted: bool = False


class _Job(NamedTuple):
    """A photo with the numbers of its objects."""

    path: str
    rows: I64Array


class _Looked(NamedTuple):
    """A photo that was read: its row, its objects and a crop of each."""

    photo: PhotoRow
    objects: ObjectRows | None
    jpegs: list[bytes]


def import_vectors(
    file: Path,
    photos: Path,
    library: Path,
    settings: Settings,
    *,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> ImportReport:
    """Make a library of a vectors file, or go on with one.

    Args:
        file: vectors file.
        photos: folder that the file's paths are relative to.
        library: folder of the library.
        settings: section ``analyze``.
        progress: gets the number of photos done, and of those to do.

    Raises:
        LibraryError: the file is none, or one of the kinds that ``LibraryWriter.open`` raises.
        SourceError: there are no photos in that place.
    """
    known = read_dlib_vectors(file)
    if not photos.is_dir():
        raise SourceError(f"{photos} is no folder; name the one that the paths in {file} are relative to")
    jobs, report, stop = _by_photo(known), ImportReport(), threading.Event()
    if not any((photos / job.path).is_file() for job in jobs):
        raise SourceError(f"{photos} has none of the {len(jobs):,} photos of {file}, such as {jobs[0].path}")
    with LibraryWriter.open(library, _space(known), photo_root=photos) as writer:
        there = set(writer.photos().path)
        todo = [job for job in jobs if job.path not in there]
        report.kept = len(jobs) - len(todo)
        with quiet_decoders(), stop_on_signal(stop):
            for done, looked in enumerate(_looked(todo, photos.resolve(), known, settings), 1):
                _add(writer, looked, report)
                if done % settings.analyze.commit_photos == 0:
                    writer.commit()
                progress(done, len(todo))
                if stop.is_set():
                    break
            writer.commit()
        report.interrupted = report.photos + len(report.failed) < len(todo)
    return report


def _space(known: DlibVectors) -> FeatureSpace:
    """Return the feature space: that of the network of 2017, or of the projection that only this file has."""
    dim = known.vectors.shape[1]
    # Distances of vectors that are finished stay as they are: see ``search.projection``.
    blocks = [{"kind": IMPORTED, "width": dim}]
    recipe: dict[str, Any] = {"model": "ReverseObjectSearchFast", "describe": {"blocks": blocks}}
    if known.projection is not None:
        recipe["projection"] = hashlib.sha256(known.projection.tobytes()).hexdigest()
    return FeatureSpace(recipe=recipe, class_names=(CLASS_NAME,), dim=dim)


def _by_photo(known: DlibVectors) -> list[_Job]:
    """Return the objects of each photo, in the order of paths.

    Raises:
        LibraryError: a path leads out of the folder of photos.
    """
    paths = np.array(known.paths, object)
    unsafe = next((path for path in known.paths if not is_safe_path(path)), None)
    if unsafe is not None:
        raise LibraryError(f"the photo path {unsafe!r} leads out of the folder of photos")
    order = np.argsort(paths, kind="stable")
    ends = np.flatnonzero(paths[order][1:] != paths[order][:-1]) + 1
    return [_Job(known.paths[int(rows[0])], rows) for rows in np.split(order, ends)]


def _looked(jobs: list[_Job], root: Path, known: DlibVectors, settings: Settings) -> Iterator[_Looked]:
    """Return the photos, read in threads, in order."""
    cores = usable_cores()
    with ThreadPoolExecutor(cores, "import") as pool:
        waiting, coming = [], iter(jobs)
        for job in islice(coming, 2 * cores):
            waiting.append(pool.submit(_look, job, root, known, settings))
        while waiting:
            yield waiting.pop(0).result()
            waiting += [pool.submit(_look, job, root, known, settings) for job in islice(coming, 1)]


def _look(job: _Job, root: Path, known: DlibVectors, settings: Settings) -> _Looked:
    path = root / job.path
    try:
        if not path.resolve().is_relative_to(root):
            raise PhotoError("a link that leads out of the folder")
        stat, sha256 = path.stat(), sha256_of(path)
        bgr = read_photo(path, settings.analyze.max_photo_mp)
    except (PhotoError, OSError) as error:
        reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        return _Looked(PhotoRow(job.path, 0, 0, 0, 0, PhotoState.FAILED, reason), None, [])
    height, width = bgr.shape[:2]
    xyxy = np.clip(known.xyxy[job.rows], 0, np.array([width, height] * 2, np.float32))
    jpegs = [encode_crop(bgr, box, settings.analyze.thumb_px) for box in xyxy]
    n = len(job.rows)
    objects = ObjectRows(
        *(xyxy, np.zeros(n, np.int32), known.scores[job.rows], np.zeros(n, np.bool_), known.vectors[job.rows])
    )
    row = PhotoRow(*(job.path, stat.st_size, stat.st_mtime_ns, width, height, PhotoState.OK, "", sha256))
    return _Looked(row, objects, jpegs)


def _add(writer: LibraryWriter, looked: _Looked, report: ImportReport) -> None:
    """Add a photo, unless it could not be read: then the next import tries it again."""
    if looked.objects is None:
        report.failed.append((looked.photo.path, looked.photo.reason))
        return
    try:
        writer.add(looked.photo, looked.objects, looked.jpegs)
    except VectorError as error:
        report.failed.append((looked.photo.path, str(error)))
        return
    report.photos += 1
    report.objects += len(looked.objects)
