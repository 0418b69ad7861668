"""Photos to library: what is new or changed is looked at once, what is gone is dropped, the rest stays.

    find photos -> compare with the library -> look (threads, see ``look``) -> crops -> fragments

Fragments are committed every so many photos or seconds: a kill at any instant costs at most the photos since
the last commit, and the next run goes on from there. Ctrl-C commits first.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rtsearch.ahead import stop_on_signal
from rtsearch.config import Settings
from rtsearch.errors import LibraryError, VectorError
from rtsearch.library import FeatureSpace, LibraryWriter, PhotoRow, PhotoState, PhotoTable
from rtsearch.library.crops import encode_crop
from rtsearch.library.photos import PhotoFile, Scan, find_photos
from rtsearch.look import Look, Looking, Pipeline
from rtsearch.meter import Meter, Summary
from rtsearch.pictures import quiet_decoders

__all__ = ["AnalyzeReport", "Pipeline", "Progress", "analyze"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an analysis is.

    Attributes:
        done, total: photos looked at in this run, and to be looked at in it.
        objects: found in this run.
        failed: photos of this run that could not be read.
        photos_per_s: over the last few hundred photos.
        left_s: until the end at that rate; None while it is not known.
    """

    done: int
    total: int
    objects: int
    failed: int
    photos_per_s: float
    left_s: float | None


@dataclass(slots=True)
class AnalyzeReport:
    """What an analysis did.

    Attributes:
        damaged: fragments that were, and are no longer part of the library.
        found: photos below the folder.
        kept: of them, those that were known and unchanged.
        changed: photos that were known but have another size or date now; they were looked at again.
        dropped: photos of the library that are no longer there.
        analysed: photos looked at in this run.
        objects: found in this run.
        failed: path and reason, for each photo of this run that could not be read.
        refused: path and reason, for each name below the folder that was not looked at.
        interrupted: ended before the last photo; the same call goes on from here.
        seconds: that the run took.
        stages: times of the stages.
    """

    damaged: list[str] = field(default_factory=list)
    found: int = 0
    kept: int = 0
    changed: int = 0
    dropped: int = 0
    analysed: int = 0
    objects: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    interrupted: bool = False
    seconds: float = 0.0
    stages: Summary | None = None


def analyze(
    photos: Path,
    library: Path,
    pipeline: Pipeline,
    settings: Settings,
    *,
    repair: bool = False,
    progress: Callable[[Progress], None] | None = None,
    stop: threading.Event | None = None,
) -> AnalyzeReport:
    """Bring a library up to date with a folder of photos; make it where there is none.

    Args:
        photos: the folder.
        library: the library's folder.
        pipeline: what looks at the photos.
        settings: section ``analyze``; the others are remembered in the library.
        repair: look for damaged fragments first; their photos are looked at again.
        progress: called after every photo, from the calling thread.
        stop: once set, what is done is committed and the run ends. In the main thread, the first SIGINT or
            SIGTERM sets it.

    Raises:
        SourceError: no photos.
        LibraryError: one of its kinds; what was committed is kept.
        RunnerError: the network failed; the photos before are committed.
    """
    start_s = time.monotonic()
    scan = find_photos(photos, leave_out=library)
    space = FeatureSpace(
        recipe=dict(pipeline.feature_space), class_names=pipeline.class_names, dim=pipeline.sight.dim
    )
    remembered = settings.model_dump(mode="json", include={"model", "detect", "describe", "analyze"})
    with LibraryWriter.open(library, space, photo_root=photos, settings=remembered) as writer:
        _warn_of_other_settings(writer, remembered)
        damaged = writer.drop_damaged() if repair else []
        report, todo = _bring_down(writer, scan, photos)
        report.damaged = [str(problem) for problem in damaged]
        run = _Run(writer, pipeline, settings, photos.resolve(), report)
        stop = stop or threading.Event()
        with quiet_decoders(), stop_on_signal(stop):
            run.look_at(todo, progress or (lambda _: None), stop)
    report.seconds = time.monotonic() - start_s
    return report


def _bring_down(writer: LibraryWriter, scan: Scan, photos: Path) -> tuple[AnalyzeReport, list[PhotoFile]]:
    """Drop what is gone or has changed; returns what remains to be looked at."""
    known = writer.photos()
    found = {photo.path: photo for photo in scan.photos}
    _expect_same_photos(writer, known, found.keys(), photos.resolve())
    closed = tuple(path for path, _ in scan.refused if path.endswith("/"))
    gone, changed, kept = set(), set(), set()
    for i, path in enumerate(known.path):
        photo = found.get(path)
        if photo is None:
            if not path.startswith(closed):  # a folder that cannot be read now may still hold it
                gone.add(path)
        elif (photo.size_bytes, photo.mtime_ns) != (known.size_bytes[i], known.mtime_ns[i]):
            changed.add(path)
        else:
            kept.add(path)
    writer.move(photos)
    writer.drop(gone | changed)
    report = AnalyzeReport(
        found=len(found), kept=len(kept), changed=len(changed), dropped=len(gone), refused=scan.refused
    )
    return report, [photo for photo in scan.photos if photo.path not in kept]


def _expect_same_photos(writer: LibraryWriter, known: PhotoTable, found: Collection[str], root: Path) -> None:
    """A library follows its photos to another folder, but is not emptied by a slip of the keyboard."""
    holds_objects = any(fragment.objects for fragment in writer.manifest.fragments)
    if str(root) == writer.manifest.photo_root or not holds_objects:
        return
    there = sum(path in found for path in known.path)
    if 2 * there < len(known):
        raise LibraryError(
            f"{writer.folder} holds the photos of {writer.manifest.photo_root}, of which {root} has "
            f"{there} in {len(known)}: give that folder, or another folder for the library"
        )


def _warn_of_other_settings(writer: LibraryWriter, now: Mapping[str, Any]) -> None:
    then, defaults = writer.manifest.settings, Settings().model_dump(mode="json")
    for section, key in [*(("detect", key) for key in now["detect"]), ("analyze", "thumb_px")]:
        # What the build that made the library did not know was as it is by default.
        before, after = then.get(section, {}).get(key, defaults[section][key]), now[section][key]
        if before != after:
            _log.warning(
                "%s was made with %s.%s = %s; what is added now has %s",
                *(writer.folder, section, key, before, after),
            )


class _Run:
    """One analysis under way."""

    def __init__(
        self,
        writer: LibraryWriter,
        pipeline: Pipeline,
        settings: Settings,
        root: Path,
        report: AnalyzeReport,
    ) -> None:
        self._writer = writer
        self._pipeline = pipeline
        self._settings = settings.analyze
        self._root = root
        self._report = report
        self._meter = Meter(window=512)
        self._committed_s = time.monotonic()

    def look_at(
        self, todo: list[PhotoFile], progress: Callable[[Progress], None], stop: threading.Event
    ) -> None:
        """Look at photos in order, store what is found, commit."""
        self._committed_s = time.monotonic()
        try:
            with Looking(todo, self._root, self._pipeline, self._settings, self._meter) as looking:
                for look in looking:
                    if stop.is_set():
                        break
                    with self._meter.stage("store"):
                        self._store(look)
                    looking.done(look)
                    self._meter.tick()
                    progress(self._progress(len(todo)))
        except LibraryError:  # the disk refuses; another try would fail as well
            raise
        except Exception:
            self._writer.commit()
            raise
        self._writer.commit()
        self._report.interrupted = self._report.analysed < len(todo)
        self._report.stages = self._meter.summary()

    def _store(self, look: Look) -> None:
        """Add one photo to the library, and commit when it is time."""
        try:
            self._add(look)
        except VectorError as error:
            look.reason, look.objects = str(error), None
            self._add(look)
        report = self._report
        report.analysed += 1
        report.objects += 0 if look.objects is None else len(look.objects)
        if look.reason:
            report.failed.append((look.file.path, look.reason))
        waited_s = time.monotonic() - self._committed_s
        if self._writer.open_photos >= self._settings.commit_photos or waited_s >= self._settings.commit_s:
            with self._meter.stage("commit"):
                self._writer.commit()
            self._committed_s = time.monotonic()

    def _add(self, look: Look) -> None:
        file, objects, bgr = look.file, look.objects, look.bgr
        state = PhotoState.FAILED if look.reason else PhotoState.OK if objects else PhotoState.EMPTY
        height, width = (0, 0) if bgr is None else bgr.shape[:2]
        photo = PhotoRow(file.path, file.size_bytes, file.mtime_ns, width, height, state, look.reason)
        if objects is None or bgr is None:
            self._writer.add(photo)
        else:
            thumbs = [encode_crop(bgr, xyxy, self._settings.thumb_px) for xyxy in objects.xyxy]
            self._writer.add(photo, objects, thumbs)

    def _progress(self, total: int) -> Progress:
        report = self._report
        rate = self._meter.fps()
        left_s = (total - report.analysed) / rate if rate else None
        return Progress(report.analysed, total, report.objects, len(report.failed), rate, left_s)
