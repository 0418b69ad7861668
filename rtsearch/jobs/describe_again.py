"""Describe the boxes of a library with another network: its photos are read again, nothing is looked for.

    boxes of LIB -> photos, films -> network, pooled at the boxes -> LIB/.again-KEY, a library -> LIB

LIB stays as it is until all of its boxes are described; then the manifest of the new library takes the place
of the old one. A run that was stopped or killed goes on with the first photo that is not in LIB/.again-KEY.
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rtsearch._util.metrics import Meter
from rtsearch._util.signals import stop_on_signal
from rtsearch.config import Settings
from rtsearch.errors import LibraryError, PhotoError, SourceError, VectorError
from rtsearch.images.decode import quiet_decoders
from rtsearch.jobs.analyze import settings_to_remember
from rtsearch.jobs.analyze_report import Progress
from rtsearch.jobs.films import film_sha256
from rtsearch.jobs.given_boxes import GivenBoxes, GivenBoxesPipeline, boxes_of, film_pictures
from rtsearch.jobs.photo_pipeline import PhotoJob, Pipeline
from rtsearch.library import FeatureSpace, Library, LibraryWriter, ObjectRows, PhotoRow
from rtsearch.library.crops import encode_crop
from rtsearch.library.manifest import fingerprint_of
from rtsearch.library.photos import PhotoFile
from rtsearch.library.sweep import remove_library
from rtsearch.perception.backend import CpuBackend
from rtsearch.storage import address_of, library_folder, naming_addresses, photo_folder

__all__ = ["AgainReport", "describe_again"]

_log = logging.getLogger(__name__)

_WORK = ".again-"
_WORK_NAME = re.compile(r"\.again-[0-9a-f]{12}")
_CHANGED = "has changed since its boxes were found"


@dataclass(slots=True)
class AgainReport:
    """Result of describing a library again.

    Attributes:
        photos, objects: that were described in this run.
        kept: photos that a run before has described.
        failed: path and reason, for each photo that could not be read.
        interrupted: it was stopped; the same call goes on.
        replaced: the library has the new descriptions; else it is as it was.
        seconds: that the run took.
    """

    photos: int = 0
    objects: int = 0
    kept: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    interrupted: bool = False
    replaced: bool = False
    seconds: float = 0.0


@naming_addresses()
def describe_again(
    library: Path,
    pipeline: Pipeline,
    settings: Settings,
    *,
    photos: Path | None = None,
    drop: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
    stop: threading.Event | None = None,
) -> AgainReport:
    """Describe the boxes of a library with a network, in place; nothing to do where that network has made it.

    Boxes, scores and times stay, and so do classes that the network knows by name; others are the network's.

    Args:
        library: the library's folder.
        pipeline: network that describes; its backend is that of the CPU.
        settings: section ``analyze``; others are remembered in the library.
        photos: folder of its photos; None where the library knows it.
        drop: photos that cannot be read are left out; else the library stays as it is where there are any.
        progress: called after every photo, from the calling thread.
        stop: once set, what is done is kept and the run ends. In the main thread, the first SIGINT, SIGTERM
            or SIGHUP sets it.

    Raises:
        SourceError: the folder of the photos is missing.
        LibraryError: there are no boxes, the library is on object storage, or one of the kinds that
            ``LibraryWriter.open`` raises.
        RunnerError: the network failed; what is done is kept.
    """
    begun_s = time.monotonic()
    folder = library_folder(library)
    if address_of(folder) is not None:
        raise LibraryError(f"{folder} is on object storage: describe a copy of it on a disk")
    space = FeatureSpace(
        recipe=dict(pipeline.feature_space), class_names=pipeline.class_names, dim=pipeline.backend.dim
    )
    before, report = Library.open(folder, photos), AgainReport()
    if before.space.fingerprint == space.fingerprint:
        was, root = before.space, before.photo_root
        del before
        _remove_left(folder, was, root)
        return report
    root, was = _root(before), before.space
    del before  # as long as it is open, its files are not removed
    with LibraryWriter.open(folder, was, photo_root=root) as target:
        old = Library(folder, target.manifest, root)
        if not old.object_count:
            raise LibraryError(f"{folder} holds no boxes; analyse its photos into another folder")
        work = folder / f"{_WORK}{fingerprint_of({'of': old.stamp, 'by': space.fingerprint})[:12]}"
        _remove_others(folder, work.name)
        remembered, stop = settings_to_remember(settings), stop or threading.Event()
        with (
            LibraryWriter.open(work, space, photo_root=root, settings=remembered) as writer,
            quiet_decoders(),
            stop_on_signal(stop),
        ):
            _Again(old, writer, pipeline, settings, report, progress, stop).describe()
        whole = not report.interrupted and (drop or not report.failed)
        if whole and report.kept + report.photos:
            target.become(work)
            report.replaced = True
            _remove(work)
    report.seconds = time.monotonic() - begun_s
    return report


def _root(library: Library) -> Path:
    """Return the folder of a library's photos.

    Raises:
        SourceError: it is missing.
    """
    root = photo_folder(library.photo_root)
    if address_of(root) is None and not root.is_dir():
        raise SourceError(
            f"{root}, the folder of the photos of {library.folder}, is missing: mount it, or name the place "
            f"where it is now: rtsearch analyze PHOTOS {library.folder} --again"
        )
    return root


def _remove_others(folder: Path, keep: str) -> None:
    """Remove what runs have left half done, but for one folder; what a run has not made stays."""
    for path in folder.glob(f"{_WORK}*"):
        if path.name != keep and _WORK_NAME.fullmatch(path.name):
            _remove(path)


def _remove_left(folder: Path, space: FeatureSpace, root: Path) -> None:
    """Remove what a run has left that was killed at its very end, if the disk and other writers let us."""
    _remove_others(folder, "")
    with contextlib.suppress(LibraryError), LibraryWriter.open(folder, space, photo_root=root):
        pass  # a writer begins with that


def _remove(work: Path) -> None:
    with contextlib.suppress(OSError):
        if not remove_library(work):
            _log.warning("%s holds files that no run has made, and stays", work)


class _Again:
    """One run under way."""

    def __init__(
        self,
        old: Library,
        writer: LibraryWriter,
        pipeline: Pipeline,
        settings: Settings,
        report: AgainReport,
        progress: Callable[[Progress], None],
        stop: threading.Event,
    ) -> None:
        assert isinstance(pipeline.backend, CpuBackend)  # a GPU's finds what it describes in the same pass
        self._backend = pipeline.backend
        self._old, self._writer, self._pipeline, self._settings = old, writer, pipeline, settings
        self._report, self._progress, self._stop = report, progress, stop
        self._boxes: dict[str, GivenBoxes] = {}  # by the path of their photo
        self._meter = Meter(window=512)
        self._done = self._total = 0
        self._committed_s = time.monotonic()

    def describe(self) -> None:
        """Describe all photos and films that are not in the new library, and commit."""
        table, there = self._old.photos(), set(self._writer.photos().path)
        rows = [table.row(i) for i in range(len(table))]
        given = boxes_of(self._old, self._pipeline.class_names)
        boxes = self._boxes = {rows[i].path: each for i, each in given.items()}
        todo = [row for row in rows if row.path not in there]
        for row in todo:
            if row.path not in boxes:  # it has no objects, or could not be read, and stays so
                self._writer.add(row)
        todo = [row for row in todo if row.path in boxes]
        self._report.kept, self._total = len(boxes) - len(todo), len(todo)
        try:
            films = [row for row in todo if boxes[row.path].of_film]
            photos = [row for row in todo if not boxes[row.path].of_film]
            self._describe_photos(photos)
            self._describe_films(films)
        except LibraryError:  # the disk refuses; another try would fail as well
            raise
        except Exception:
            self._writer.commit()
            raise
        self._writer.commit()
        self._report.interrupted = self._done < self._total

    def _describe_photos(self, todo: list[PhotoRow]) -> None:
        rows = {row.path: row for row in todo if self._is_inside(row.path)}
        files = [PhotoFile(row.path, row.size_bytes, row.mtime_ns) for row in rows.values()]
        with GivenBoxesPipeline(
            *(self._boxes, self._backend, files, self._old.photo_root),
            *(self._pipeline, self._settings, self._meter),
        ) as jobs:
            for job in jobs:
                if self._stop.is_set():
                    return
                row = rows[job.file.path]
                reason = job.reason or _change(row, job)
                if reason or job.objects is None:
                    self._report.failed.append((row.path, reason))
                else:
                    self._add(row, self._boxes[row.path].rows(job.objects), job.jpegs)
                self._next()

    def _is_inside(self, path: str) -> bool:
        """Tell whether a photo lies in the folder of photos; one that a link leads out of it has failed."""
        if address_of(self._old.photo_root) is None:
            try:
                self._old.photo_path(path)
            except PhotoError as error:
                self._report.failed.append((path, str(error)))
                self._next()
                return False
        return True

    def _describe_films(self, todo: list[PhotoRow]) -> None:
        for row in todo:
            if self._stop.is_set():
                return
            try:
                described = self._describe_film(row)
            except (PhotoError, SourceError) as error:
                self._report.failed.append((row.path, str(error)))
            except OSError as error:
                self._report.failed.append((row.path, f"cannot be read: {error.strerror or error}"))
            else:
                if described is None:
                    return
                self._add(row, *described)
            self._next()

    def _describe_film(self, row: PhotoRow) -> tuple[ObjectRows, list[bytes]] | None:
        """Return the objects of a film, described in the pictures of their crops; None once it is stopped.

        Raises:
            PhotoError: it is not the film that the boxes were found in.
            SourceError: it ends before the last of them, or holds no video.
            OSError: it cannot be read.
        """
        path = self._old.photo_path(row.path)
        if film_sha256(path) != row.sha256:
            raise PhotoError(_CHANGED)
        boxes = self._boxes[row.path]
        vectors = np.zeros((len(boxes.xyxy), self._backend.dim), np.float32)
        labels, jpegs = np.zeros(len(boxes.xyxy), np.int32), [b""] * len(boxes.xyxy)
        for bgr, places in film_pictures(path, boxes.times_s[:, 0]):
            if self._stop.is_set():
                return None
            seen = boxes.some(places).described(bgr, self._backend, self._meter)
            vectors[places], labels[places] = seen.vector, seen.label
            for place, box in zip(places, seen.xyxy, strict=True):
                jpegs[place] = encode_crop(bgr, box, self._settings.analyze.thumb_px)
        return boxes.rows(ObjectRows(boxes.xyxy, labels, boxes.score, boxes.whole, vectors)), jpegs

    def _add(self, row: PhotoRow, objects: ObjectRows, jpegs: list[bytes]) -> None:
        try:
            self._writer.add(row, objects, jpegs)
        except VectorError as error:
            self._report.failed.append((row.path, str(error)))
            return
        self._report.photos += 1
        self._report.objects += len(objects)

    def _next(self) -> None:
        """Count a photo, and commit when it is time."""
        self._done += 1
        self._meter.tick()
        analyze, waited_s = self._settings.analyze, time.monotonic() - self._committed_s
        if self._writer.open_photos >= analyze.commit_photos or waited_s >= analyze.commit_s:
            self._writer.commit()
            self._committed_s = time.monotonic()
        report, rate = self._report, self._meter.fps()
        left_s = (self._total - self._done) / rate if rate else None
        self._progress(Progress(self._done, self._total, report.objects, len(report.failed), rate, left_s))


def _change(row: PhotoRow, job: PhotoJob) -> str:
    """Return that a photo is not the one that its boxes were found in, or ""."""
    if row.sha256:
        return _CHANGED * (row.sha256 != job.sha256)
    return _CHANGED * ((row.width, row.height) != job.wh)  # of a library of format 1
