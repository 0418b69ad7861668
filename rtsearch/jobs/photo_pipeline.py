"""Looking at photos: header, decoding, detection, description, each beside the others, the results in order.

    todo -> headers, decode (threads) -> detect, describe, cut out (threads) -> PhotoJob, one per photo

Decoded photos wait for the network within a budget of bytes; of those looked at, the crops are kept.
"""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from rtsearch._util.background import BackgroundIterator
from rtsearch._util.closing import Closing
from rtsearch._util.cpu import usable_cores
from rtsearch._util.memory_budget import MemoryBudget
from rtsearch._util.metrics import Meter
from rtsearch.config import Settings
from rtsearch.errors import PhotoError, UnreadPhotoError
from rtsearch.images.decode import decode_photo, photo_bytes, photo_header
from rtsearch.library import ObjectRows
from rtsearch.library.crops import encode_crop
from rtsearch.library.photo_files import Fetched, photo_files
from rtsearch.library.photos import PhotoFile
from rtsearch.perception.backend import InferenceBackend
from rtsearch.types import WHOLE_IMAGE_LABEL, Detections, U8Array

__all__ = ["PHOTOS_PER_CALL", "Look", "PhotoJob", "PhotoPipeline", "Pipeline"]

# Most photos per call of a detector that takes one caller at a time, as engines on a GPU do. On the CPU
# several callers with a photo each are better: on two cores two callers see 71 photos/s, one with both
# cores 54, and 1, 2, 4 or 8 photos in its call make no difference (YOLO26n, 416 px).
PHOTOS_PER_CALL = 8
# What decoded photos may take while they wait: 130 of them at 640 x 480. A larger one than that goes alone.
BUDGET_BYTES = 256 << 20
DECODED_AHEAD = 8
_MOST_DECODERS = 8
DESCRIBED_AHEAD = 8
_HASHED_BYTES = 1 << 20  # of a file that is no picture, which may be of any size


class Pipeline(Protocol):
    """Network that finds and describes the objects of photos.

    Attributes:
        backend: sees their objects.
        class_names: by label.
        feature_space: all that decides what a vector means, fit for JSON.
    """

    @property
    def backend(self) -> InferenceBackend: ...
    @property
    def class_names(self) -> tuple[str, ...]: ...
    @property
    def feature_space(self) -> Mapping[str, Any]: ...


@dataclass(slots=True)
class PhotoJob:
    """One photo on its way through the stages.

    Attributes:
        file: the photo.
        reason: why it cannot be read, else "".
        note: what is wrong with its file, although it can be read; else "".
        unread: the reason lies outside of its file, which may be whole.
        sha256: of its bytes, in hex; of the first megabyte where they are no picture; "" where it is unread.
        same: only its date has changed since the library last saw it; it was not decoded.
        held_bytes: of the budget.
        bgr: (H, W, 3) uint8 between decoding and description, else None.
        wh: width and height, px; zeros where it cannot be read.
        objects: found in it; None where it cannot be read.
        jpegs: a crop of each.
    """

    file: PhotoFile
    reason: str = ""
    note: str = ""
    unread: bool = False
    sha256: str = ""
    same: bool = False
    held_bytes: int = 0
    bgr: U8Array | None = None
    wh: tuple[int, int] = (0, 0)
    objects: ObjectRows | None = None
    jpegs: list[bytes] = field(default_factory=list)

    def fail(self, error: PhotoError) -> None:
        """Keep the reason why it cannot be read."""
        self.reason, self.unread = str(error), isinstance(error, UnreadPhotoError)


Look: TypeAlias = Callable[
    [Sequence[PhotoFile], Path, Pipeline, Settings, Meter], AbstractContextManager[Iterable[PhotoJob]]
]
"""Way of looking at photos: ``PhotoPipeline`` does it in this process."""


class PhotoPipeline(Closing):
    """Photos being looked at; iterate over it once.

    Args:
        todo: the photos.
        root: folder that their paths are relative to; it may stand for an address.
        pipeline: what looks at them.
        settings: sections ``analyze`` and ``detect``.
        meter: gets the times of the stages.
    """

    def __init__(
        self,
        todo: Sequence[PhotoFile],
        root: Path,
        pipeline: Pipeline,
        settings: Settings,
        meter: Meter,
    ) -> None:
        self._files = photo_files(root)
        self._pipeline = pipeline
        self._settings, self._detect = settings.analyze, settings.detect
        self._meter = meter
        self._halt = threading.Event()
        self._budget = MemoryBudget(BUDGET_BYTES, self._halt)
        self._decoding = BackgroundIterator(self._decoded(todo), DECODED_AHEAD, self._halt, "decode")
        self._describing = BackgroundIterator(self._described(), DESCRIBED_AHEAD, self._halt, "detect")

    def __iter__(self) -> Iterator[PhotoJob]:
        return iter(self._describing)

    def close(self) -> None:
        """Look no further; returns when the threads have ended."""
        self._halt.set()
        self._describing.join()
        self._decoding.join()
        self._files.close()

    def _decoded(self, todo: Sequence[PhotoFile]) -> Generator[PhotoJob]:
        """Photos in order, decoded in threads; how many are under way, their bytes decide."""
        waiting: deque[Future[PhotoJob]] = deque()
        workers = self._settings.workers or min(_MOST_DECODERS, usable_cores())
        pool = ThreadPoolExecutor(workers, "decode")
        try:
            for photo in self._files.opened(todo):
                job, decode = self._prepare(photo)
                while len(waiting) >= DECODED_AHEAD or not self._budget.take(
                    job.held_bytes, wait=not waiting
                ):
                    yield waiting.popleft().result()
                if self._halt.is_set():
                    return
                waiting.append(pool.submit(decode))
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _prepare(self, photo: Fetched) -> tuple[PhotoJob, Callable[[], PhotoJob]]:
        """Read the header; returns the photo as it is now, and what decodes it."""
        file, path, problem = photo
        job = PhotoJob(file)
        try:
            if problem:
                raise UnreadPhotoError(problem)
            header = photo_header(path, self._settings.max_photo_mp)
        except PhotoError as error:
            job.fail(error)
            return job, lambda: self._with_hash(job, path)
        job.held_bytes = header.decoding_bytes + file.size_bytes

        def decode() -> PhotoJob:
            with self._meter.stage("decode"):
                try:
                    data = photo_bytes(path)
                    self._files.release(path)
                    job.sha256 = hashlib.sha256(data).hexdigest()
                    job.same = job.sha256 == file.known_sha256
                    if not job.same:
                        job.bgr, job.note = decode_photo(data, header)
                except PhotoError as error:
                    job.fail(error)
            return job

        return job, decode

    def _with_hash(self, job: PhotoJob, path: Path) -> PhotoJob:
        """Give a photo that has failed for what is in its file the hash of that."""
        try:
            if not job.unread:
                job.sha256 = hashlib.sha256(photo_bytes(path, _HASHED_BYTES)).hexdigest()
        except PhotoError as error:
            job.fail(error)
        self._files.release(path)
        return job

    def _described(self) -> Generator[PhotoJob]:
        """Photos with their objects, still in order."""
        backend = self._pipeline.backend
        callers = backend.callers
        most = 1 if callers > 1 else min(PHOTOS_PER_CALL, backend.batch or PHOTOS_PER_CALL)
        waiting: deque[Future[list[PhotoJob]]] = deque()
        pool = ThreadPoolExecutor(callers, "detect")
        coming = iter(self._decoding)
        try:
            while True:
                jobs = self._decoding.ready(most)
                if not jobs and not waiting:
                    first = next(coming, None)
                    if first is None:
                        return
                    jobs = [first, *self._decoding.ready(most - 1)]
                if jobs:
                    waiting.append(pool.submit(self._describe, jobs))
                # Photos that are finished go on before more of them are waited for.
                if not jobs or len(waiting) > callers:
                    yield from waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _describe(self, jobs: list[PhotoJob]) -> list[PhotoJob]:
        good = [(job, job.bgr) for job in jobs if job.bgr is not None]
        results = self._see(good)
        with self._meter.stage("crop"):
            for (job, bgr), seen in zip(good, results, strict=True):
                self._keep(job, bgr, seen)
        for job in jobs:
            job.bgr = None
            self._budget.give(job.held_bytes)
        return jobs

    def _see(self, good: Sequence[tuple[PhotoJob, U8Array]]) -> list[Detections]:
        """Return the objects of decoded photos."""
        return self._pipeline.backend.infer([bgr for _, bgr in good], self._detect, self._meter)

    def _keep(self, job: PhotoJob, bgr: U8Array, seen: Detections) -> None:
        """Keep what was found in a photo, and a crop of each object."""
        whole = seen.label == WHOLE_IMAGE_LABEL
        job.wh = (bgr.shape[1], bgr.shape[0])
        job.objects = ObjectRows(seen.xyxy, seen.label, seen.score, whole, seen.vector)
        job.jpegs = [encode_crop(bgr, xyxy, self._settings.thumb_px) for xyxy in seen.xyxy]
