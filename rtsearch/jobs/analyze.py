"""Photos to library: what is new or changed is looked at once, what was deleted is dropped, the rest stays.

Objects of a changed photo stay until the new ones are committed; a photo whose date alone has changed keeps
them.

    find photos -> compare with the library -> look (threads, see ``photo_pipeline``) -> crops -> fragments

Fragments are committed every so many photos or seconds: a kill at any instant costs at most the photos since
the last commit, and the next run goes on from there. Ctrl-C commits first.
"""

from __future__ import annotations

import logging
import shlex
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rtsearch._util.metrics import Meter
from rtsearch._util.signals import stop_on_signal
from rtsearch.config import AnalyzeSettings, DetectSettings, Settings
from rtsearch.config.messages import written
from rtsearch.errors import LibraryError, VectorError
from rtsearch.images.decode import quiet_decoders
from rtsearch.jobs.analyze_report import AnalyzeReport, Progress
from rtsearch.jobs.compare import WHOLE, Part, Plan, compare
from rtsearch.jobs.photo_pipeline import Look, PhotoJob, PhotoPipeline, Pipeline
from rtsearch.library import FeatureSpace, LibraryWriter, PhotoRow, PhotoState
from rtsearch.library.film_parts import remove_film_parts
from rtsearch.library.left_out import left_out
from rtsearch.library.missing import by_folder
from rtsearch.library.photo_files import PhotoFiles, photo_files
from rtsearch.storage import CACHE, library_folder, naming_addresses, photo_folder

if TYPE_CHECKING:
    from rtsearch.jobs.films import FilmJob, FilmTime

__all__ = ["AnalyzeReport", "Pipeline", "Progress", "Upkeep", "analyze", "settings_to_remember"]

_log = logging.getLogger(__name__)


class Upkeep(NamedTuple):
    """Extent of an analysis: what is done to the library besides, and which photos are new to it.

    Attributes:
        repair: look for damaged fragments first; their photos are looked at again, and then take their place.
        drop: photos of folders that are empty or gone are dropped, too.
        part: of the photos that the library does not know, only this part is looked at.
    """

    repair: bool = False
    drop: bool = False
    part: Part = WHOLE


_NOTHING_BESIDES = Upkeep()


@naming_addresses()
def analyze(
    photos: Path,
    library: Path,
    pipeline: Pipeline,
    settings: Settings,
    *,
    upkeep: Upkeep = _NOTHING_BESIDES,
    progress: Callable[[Progress], None] | None = None,
    stop: threading.Event | None = None,
    look: Look = PhotoPipeline,
) -> AnalyzeReport:
    """Bring a library up to date with a folder of photos; make it where there is none.

    Args:
        photos: the folder, or its address on object storage.
        library: the library's folder, or its address.
        pipeline: what looks at the photos.
        settings: sections ``analyze`` and ``detect``; the others are remembered in the library.
        upkeep: what else is done to the library, and which part of the photos is looked at.
        progress: called after every photo, from the calling thread.
        stop: once set, what is done is committed and the run ends. In the main thread, the first SIGINT,
            SIGTERM or SIGHUP sets it.
        look: how photos are looked at; by default in this process.

    Raises:
        SourceError: no photos, or their folder is gone before the last was read; those before are committed.
        LibraryError: one of its kinds; what was committed is kept.
        StorageError: object storage cannot be reached, or refuses; what was committed is kept.
        RunnerError: the network failed; the photos before are committed.
    """
    start_s = time.monotonic()
    settings = _without_small_objects(settings)
    CACHE.limit_bytes = settings.storage.cache_mb << 20
    photos, library = photo_folder(photos), library_folder(library)
    files = photo_files(photos)
    scan = files.find(library, settings.analyze.exclude, films=settings.analyze.videos)
    space = FeatureSpace(
        recipe=dict(pipeline.feature_space), class_names=pipeline.class_names, dim=pipeline.backend.dim
    )
    remembered = settings_to_remember(settings)
    with LibraryWriter.open(library, space, photo_root=photos, settings=remembered) as writer:
        damaged = writer.doubt_damaged() if upkeep.repair else []
        plan = compare(writer, scan, photos, upkeep.drop, upkeep.part)
        _warn_of_other_settings(writer, remembered)  # once nothing refuses the photos any more
        report = AnalyzeReport(
            damaged=[str(problem) for problem in damaged],
            found=len(scan.photos),
            kept=plan.kept,
            dropped=plan.dropped,
            refused=scan.refused,
            left_out=left_out(scan.others),
            excluded=scan.excluded_counts,
            links=scan.links,
        )
        run = _Run(writer, pipeline, settings, plan, report, files)
        stop = stop or threading.Event()
        with quiet_decoders(), stop_on_signal(stop):
            run.look_at(progress or (lambda _: None), stop, look)
    report.seconds = time.monotonic() - start_s
    return report


def _without_small_objects(settings: Settings) -> Settings:
    """Return settings that find no objects whose crops would be too small for a library."""
    detect = settings.detect
    least_px = max(detect.min_px, settings.analyze.min_px)
    return settings.model_copy(update={"detect": detect.model_copy(update={"min_px": least_px})})


def settings_to_remember(settings: Settings) -> dict[str, Any]:
    """Return the settings that a library remembers; files are named by absolute paths."""
    remembered = settings.model_dump(mode="json", include={"model", "detect", "describe", "analyze"})
    for section, key in (("model", "name"), ("describe", "embedder")):
        path = Path(remembered[section][key])
        if path.suffix == ".onnx" or path.parent != Path():
            remembered[section][key] = str(path.absolute())
    return remembered


def _warn_of_other_settings(writer: LibraryWriter, now: Mapping[str, Any]) -> None:
    # The larger of two settings is the least size that counts.
    least = "detect.min_px" if now["detect"]["min_px"] > now["analyze"]["min_px"] else "analyze.min_px"
    then = writer.manifest.settings
    # A setting that the build which made the library did not know was as by default, but for these.
    overlap = DetectSettings(overlap="covered", max_overlap=0.5)
    defaults = Settings(detect=overlap, analyze=AnalyzeSettings(thumb_px=128)).model_dump(mode="json")
    compared = [
        *(("detect", key) for key in now["detect"]),
        ("analyze", "looks"),
        ("analyze", "thumb_px"),
        ("analyze", "video_fps"),
    ]
    for section, key in compared:
        before, after = then.get(section, {}).get(key, defaults[section][key]), now[section][key]
        if before != after:
            name = least if key == "min_px" else f"{section}.{key}"
            was = f"{writer.folder} was made with {name} = {written(before)}"
            keeps = shlex.quote(f"{name}={written(before)}")
            _log.warning("%s; what is added now has %s (to keep it: --set %s)", was, written(after), keeps)


class _Run:
    """One analysis under way."""

    def __init__(
        self,
        writer: LibraryWriter,
        pipeline: Pipeline,
        settings: Settings,
        plan: Plan,
        report: AnalyzeReport,
        files: PhotoFiles,
    ) -> None:
        self._writer = writer
        self._pipeline = pipeline
        self._settings = settings.analyze
        self._plan = plan
        self._all_settings = settings
        self._files = files
        self._report = report
        self._done = 0
        self._new_hashes: set[str] = set()
        self._unread: set[str] = set()
        self._meter = Meter(window=512)
        self._committed_s = time.monotonic()

    def look_at(self, progress: Callable[[Progress], None], stop: threading.Event, look: Look) -> None:
        """Look at the photos in order, store what is found, commit."""
        todo = [file for file in self._plan.todo if not file.is_film]
        self._committed_s = time.monotonic()
        try:
            with look(todo, self._files.root, self._pipeline, self._all_settings, self._meter) as photo_jobs:
                for job in photo_jobs:
                    if stop.is_set():
                        break
                    with self._meter.stage("store"):
                        self._store(job)
                    self._meter.tick()
                    progress(self._progress(len(self._plan.todo)))
            self._look_at_films(progress, stop)
        except LibraryError:  # the disk refuses; another try would fail as well
            raise
        except Exception:
            self._writer.commit()
            raise
        self._writer.commit()
        self._drop_moved()
        self._report.interrupted = self._done < len(self._plan.todo)
        if not self._report.interrupted:
            self._writer.settle(self._plan.lost.keys() | self._unread)
        self._report.stages = self._meter.summary()

    def _look_at_films(self, progress: Callable[[Progress], None], stop: threading.Event) -> None:
        """Look at the films in order; each is committed when it is done."""
        films = [file for file in self._plan.todo if file.is_film]
        if stop.is_set():
            return
        if not films:
            remove_film_parts(self._writer.folder)
            return
        from rtsearch.jobs.films import FilmPipeline  # imported here, as it loads what films are decoded with

        pipeline = FilmPipeline(
            films, self._files.root, self._writer.folder, self._pipeline, self._all_settings, self._meter
        )

        def at(now: FilmTime) -> bool:
            told = self._progress(len(self._plan.todo))
            left_s = (now.total_s - now.done_s) / now.speed if now.speed else None
            progress(
                replace(
                    told,
                    left_s=left_s,
                    film=now.path,
                    film_s=now.done_s,
                    films_s=now.total_s,
                    film_speed=now.speed,
                )
            )
            return not stop.is_set()

        for job in pipeline.jobs(at):
            self._done += 1
            self._store_film(job)
            self._writer.commit()
            progress(self._progress(len(self._plan.todo)))

    def _store_film(self, job: FilmJob) -> None:
        file, report = job.file, self._report
        known = self._plan.known.get(file.path)
        if job.same and known is not None:
            self._writer.renew(replace(known, mtime_ns=file.mtime_ns))
            report.kept += 1
            return
        if job.unread:
            self._files.expect()
            self._unread.add(file.path)
            report.failed.append((file.path, job.reason))
            return
        try:
            self._add_film(job)
        except VectorError as error:
            job.reason, job.film = str(error), None
            self._add_film(job)
        report.changed += known is not None
        if job.reason:
            report.failed.append((file.path, job.reason))
        elif job.film is not None and job.film.note:
            report.incomplete.append((file.path, job.film.note))
        if known is None and not job.reason:
            self._new_hashes.add(job.sha256)

    def _add_film(self, job: FilmJob) -> None:
        file, film, report = job.file, job.film, self._report
        state = PhotoState.FAILED if film is None else PhotoState.OK if film.objects else PhotoState.EMPTY
        wh, length_s = (film.wh, film.length_s) if film else ((0, 0), 0.0)
        row = PhotoRow(
            *(file.path, file.size_bytes, file.mtime_ns, *wh, state, job.reason, job.sha256, length_s)
        )
        self._writer.add(row, *((film.objects, film.jpegs) if film else ()))
        report.analysed += 1
        report.films += 1
        report.film_s += length_s
        report.objects += len(film.objects) if film else 0

    def _drop_moved(self) -> None:
        """Drop lost photos whose content was found under a new path: their folder was renamed."""
        moved = {path for path, sha256 in self._plan.lost.items() if sha256 in self._new_hashes}
        self._report.dropped += self._writer.drop(moved)
        self._report.missing = by_folder(self._plan.lost.keys() - moved)

    def _store(self, job: PhotoJob) -> None:
        """Take one photo into the library, and commit when it is time."""
        self._done += 1
        known = self._plan.known.get(job.file.path)
        if job.same and known is not None:
            self._writer.renew(replace(known, mtime_ns=job.file.mtime_ns))
            self._report.kept += 1
        elif job.unread:
            self._files.expect()
            self._report.failed.append((job.file.path, job.reason))
            self._unread.add(job.file.path)
        else:
            self._add_or_fail(job)
            self._report.changed += known is not None
            if known is None and not job.reason:
                self._new_hashes.add(job.sha256)
        waited_s = time.monotonic() - self._committed_s
        if self._writer.open_photos >= self._settings.commit_photos or waited_s >= self._settings.commit_s:
            with self._meter.stage("commit"):
                self._writer.commit()
            self._committed_s = time.monotonic()

    def _add_or_fail(self, job: PhotoJob) -> None:
        try:
            self._add(job)
        except VectorError as error:
            job.reason, job.objects = str(error), None
            self._add(job)
        report = self._report
        report.analysed += 1
        report.objects += 0 if job.objects is None else len(job.objects)
        if job.reason:
            report.failed.append((job.file.path, job.reason))
        elif job.note:
            report.incomplete.append((job.file.path, job.note))

    def _add(self, job: PhotoJob) -> None:
        file, objects = job.file, job.objects
        state = PhotoState.FAILED if job.reason else PhotoState.OK if objects else PhotoState.EMPTY
        photo = PhotoRow(*(file.path, file.size_bytes, file.mtime_ns, *job.wh, state, job.reason, job.sha256))
        self._writer.add(photo, objects, job.jpegs if objects else ())

    def _progress(self, total: int) -> Progress:
        report = self._report
        rate = self._meter.fps()
        left_s = (total - self._done) / rate if rate else None
        return Progress(self._done, total, report.objects, len(report.failed), rate, left_s)
