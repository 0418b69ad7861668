"""Looking at films: samples through the network, tracks, and the objects that stand for them.

    FilmFrames (thread) -> detect + describe (threads) -> FilmTracks -> part by part on disk -> all of them

A stopped or killed analysis goes on with the first part that is not on disk.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rtsearch._util.background import BackgroundIterator
from rtsearch._util.metrics import Meter
from rtsearch.config import Settings
from rtsearch.errors import PhotoError
from rtsearch.jobs.film_frames import PART_S, FilmFrames, Sample, film_length_s
from rtsearch.jobs.film_tracks import FilmTracks
from rtsearch.jobs.photo_pipeline import Pipeline
from rtsearch.library import ObjectRows
from rtsearch.library.film_parts import FilmPart, FilmParts, remove_film_parts
from rtsearch.library.manifest import fingerprint_of
from rtsearch.library.photos import PhotoFile
from rtsearch.types import Detections

__all__ = ["Film", "FilmJob", "FilmPipeline", "FilmTime", "film_sha256", "look_at_film"]

_AHEAD = 4  # samples that wait between two stages
_HASHED_BYTES = 1 << 20


class FilmTime(NamedTuple):
    """Progress of films.

    Attributes:
        path: of the film that is looked at.
        done_s, total_s: of all films, s.
        speed: seconds of film per second.
    """

    path: str
    done_s: float
    total_s: float
    speed: float


@dataclass(slots=True)
class FilmJob:
    """One film that was looked at.

    Attributes:
        file: the film.
        reason: why it holds nothing, else "".
        unread: the reason lies outside of its file, which may be whole.
        sha256: see ``film_sha256``.
        same: only its date has changed since the library last saw it; it was not decoded.
        film: its objects, or None.
    """

    file: PhotoFile
    reason: str = ""
    unread: bool = False
    sha256: str = ""
    same: bool = False
    film: Film | None = None


@dataclass(frozen=True, slots=True)
class Film:
    """A film that was looked at to its end.

    Attributes:
        objects: views of its tracks, in the order of time.
        jpegs: a crop of each.
        wh: size of its pictures, px.
        length_s: from its first to its last picture.
        note: what is wrong with its file; "" for nothing.
    """

    objects: ObjectRows
    jpegs: list[bytes]
    wh: tuple[int, int]
    length_s: float
    note: str = ""


def film_sha256(path: Path) -> str:
    """Return the hash of the size, the first and the last megabyte of a file, in hex.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        content = hashlib.sha256(str(size).encode() + file.read(_HASHED_BYTES))
        file.seek(max(0, size - _HASHED_BYTES))
        content.update(file.read(_HASHED_BYTES))
    return content.hexdigest()


def film_key(file: PhotoFile, settings: Settings, fingerprint: str) -> str:
    """Return a key of 16 hexadecimal digits for a film and all that shapes its objects."""
    shapes = settings.model_dump(mode="json", include={"detect": True, "analyze": {"thumb_px", "video_fps"}})
    known = [file.path, file.size_bytes, file.mtime_ns, fingerprint, PART_S, shapes]
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]


class FilmPipeline:
    """Films being looked at one after the other; iterate over it once.

    Args:
        films: the films.
        root: folder that their paths are relative to.
        library: folder of the library, which keeps finished parts of a film.
        pipeline: sees the objects.
        settings: sections ``analyze`` and ``detect``.
        meter: gets the times of the stages.
    """

    def __init__(
        self,
        films: Sequence[PhotoFile],
        root: Path,
        library: Path,
        pipeline: Pipeline,
        settings: Settings,
        meter: Meter,
    ) -> None:
        self._films = films
        self._root = root
        self._library = library
        self._pipeline = pipeline
        self._settings = settings
        self._meter = meter
        fingerprint = fingerprint_of(dict(pipeline.feature_space))
        self._keys = {film.path: film_key(film, settings, fingerprint) for film in films}
        remove_film_parts(library, self._keys.values())

    def jobs(self, at: Callable[[FilmTime], bool]) -> Generator[FilmJob]:
        """Return the films, looked at; a film counts as stored when the next one is asked for.

        Args:
            at: called after every sample, with the time that was reached; False stops at once.

        Raises:
            LibraryError: the disk refuses.
        """
        lengths_s = [film_length_s(self._root / film.path) for film in self._films]
        total_s, before_s, begun_s = sum(lengths_s), 0.0, time.monotonic()
        fresh_s = 0.0  # seconds of film that this run has looked at, not one before
        for film, length_s in zip(self._films, lengths_s, strict=True):
            first_s: list[float] = []

            def reached(at_s: float) -> bool:
                first_s.append(at_s)  # noqa: B023 - called within this turn only
                new_s = fresh_s + at_s - first_s[0]  # noqa: B023
                speed = new_s / max(time.monotonic() - begun_s, 1e-3)
                return at(FilmTime(film.path, before_s + at_s, max(total_s, before_s + at_s), speed))  # noqa: B023

            job = self._look(film, reached)
            if job is None:
                return
            yield job
            remove_film_parts(self._library, [self._keys[each.path] for each in self._films if each != film])
            before_s += length_s
            fresh_s += first_s[-1] - first_s[0] if first_s else 0.0

    def _look(self, file: PhotoFile, at: Callable[[float], bool]) -> FilmJob | None:
        path, job = self._root / file.path, FilmJob(file)
        try:
            job.sha256 = film_sha256(path)
            job.same = job.sha256 == file.known_sha256
            if not job.same:
                parts = FilmParts(self._library, self._keys[file.path], self._pipeline.backend.dim)
                job.film = look_at_film(path, parts, self._pipeline, self._settings, meter=self._meter, at=at)
                if job.film is None:
                    return None
        except PhotoError as error:
            job.reason = str(error)
        except OSError as error:
            job.reason, job.unread = f"cannot be read: {error.strerror or error}", True
        return job


def look_at_film(
    path: Path,
    parts: FilmParts,
    pipeline: Pipeline,
    settings: Settings,
    *,
    meter: Meter,
    at: Callable[[float], bool],
) -> Film | None:
    """Look at a film, from where an analysis before has stopped.

    Args:
        path: the file.
        parts: of the film; those that are finished are kept there.
        pipeline: sees the objects.
        settings: sections ``analyze`` and ``detect``.
        meter: gets the times of the stages.
        at: called with the time in the film that was reached, s from its beginning; False stops.

    Returns:
        the film; None where it was stopped.

    Raises:
        PhotoError: it holds no video that can be decoded.
        LibraryError: the disk refuses.
    """
    done = parts.done()
    halt = threading.Event()
    wh = (0, 0)
    with FilmFrames(path, settings.analyze.video_fps) as frames:
        tracks = FilmTracks(settings.analyze.thumb_px, _tracks(done))
        for sample, found in _described(frames.samples(len(done)), halt, pipeline, settings, meter):
            while sample.part > len(done):
                done.append(FilmPart(*tracks.finish()))
                parts.write(len(done) - 1, done[-1])
                tracks = FilmTracks(settings.analyze.thumb_px, _tracks(done))
            with meter.stage("track"):
                tracks.update(sample.bgr, sample.t_s, found, cut=sample.cut)
            wh = (sample.bgr.shape[1], sample.bgr.shape[0])
            if not at(sample.t_s - frames.begins_s):
                halt.set()
                return None
        done.append(FilmPart(*tracks.finish()))
        length_s = frames.ends_s - frames.begins_s
        return Film(*_joined(done, pipeline.backend.dim), wh, length_s, _note(frames, length_s))


def _tracks(done: list[FilmPart]) -> int:
    return sum(part.tracks for part in done)


def _joined(done: list[FilmPart], dim: int) -> tuple[ObjectRows, list[bytes]]:
    rows = [part.objects for part in done if len(part.objects)]
    jpegs = [jpeg for part in done for jpeg in part.jpegs]
    if not rows:
        none = np.zeros(0, np.int32)
        empty = np.zeros((0, 4), np.float32), none, np.zeros(0, np.float32), np.zeros(0, np.bool_)
        return ObjectRows(*empty, np.zeros((0, dim), np.float16)), []
    names = ("xyxy", "label", "score", "whole", "vector", "times_s", "track")
    return ObjectRows(*(np.concatenate([getattr(part, name) for part in rows]) for name in names)), jpegs


def _note(frames: FilmFrames, length_s: float) -> str:
    if frames.promised_s > 1.05 * length_s + 2:
        why = f" ({frames.problem})" if frames.problem else ""
        return f"ends after {length_s:.1f} s and promises {frames.promised_s:.1f} s{why}"
    return ""


def _described(
    samples: Generator[Sample], halt: threading.Event, pipeline: Pipeline, settings: Settings, meter: Meter
) -> Generator[tuple[Sample, Detections]]:
    """Return the samples in order with their objects; decoding and detection go on beside the caller."""
    decoding = BackgroundIterator(_timed(samples, meter), _AHEAD, halt, "film")
    backend = pipeline.backend
    waiting: deque[tuple[Sample, Future[list[Detections]]]] = deque()
    pool = ThreadPoolExecutor(backend.callers, "detect")
    try:
        for sample in decoding:
            waiting.append((sample, pool.submit(backend.infer, [sample.bgr], settings.detect, meter)))
            if len(waiting) > backend.callers:
                first, found = waiting.popleft()
                yield first, found.result()[0]
        while waiting:
            first, found = waiting.popleft()
            yield first, found.result()[0]
    finally:
        halt.set()
        decoding.join()
        pool.shutdown(cancel_futures=True)


def _timed(samples: Generator[Sample], meter: Meter) -> Generator[Sample]:
    while True:
        with meter.stage("decode"):
            sample = next(samples, None)
        if sample is None:
            return
        yield sample
