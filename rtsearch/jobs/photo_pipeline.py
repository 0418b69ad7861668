"""Looking at photos: header, decoding, detection, description, each beside the others, the results in order.

    todo -> headers, decode (threads) -> detect + describe (threads) -> Look, one per photo

Decoded photos wait for the network within a budget of bytes, which the taker of a Look gives back.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rtsearch._util.background import Ahead
from rtsearch._util.closing import Closes
from rtsearch._util.memory_budget import Budget
from rtsearch._util.metrics import Meter
from rtsearch.config import AnalyzeSettings
from rtsearch.errors import PhotoError, UnreadPhotoError
from rtsearch.images.decode import decode_photo, photo_bytes, photo_header
from rtsearch.library import ObjectRows
from rtsearch.library.photos import PhotoFile
from rtsearch.perception.backend import Sight
from rtsearch.types import U8Array

__all__ = ["PHOTOS_PER_CALL", "Look", "Looking", "Pipeline"]

# Most photos per call of a detector that takes one caller at a time, as engines on a GPU do. On the CPU
# several callers with a photo each are better: on two cores two callers see 71 photos/s, one with both
# cores 54, and 1, 2, 4 or 8 photos in its call make no difference (YOLO26n, 416 px).
PHOTOS_PER_CALL = 8
# What decoded photos may take while they wait: 130 of them at 640 x 480. A larger one than that goes alone.
BUDGET_BYTES = 256 << 20
DECODED_AHEAD = 8
DESCRIBED_AHEAD = 8
_HASHED_BYTES = 1 << 20  # of a file that is no picture, which may be of any size


class Pipeline(Protocol):
    """What looks at the photos.

    Attributes:
        sight: sees their objects.
        class_names: by label.
        feature_space: all that decides what a vector means, fit for JSON.
    """

    @property
    def sight(self) -> Sight: ...
    @property
    def class_names(self) -> tuple[str, ...]: ...
    @property
    def feature_space(self) -> Mapping[str, Any]: ...


@dataclass(slots=True)
class Look:
    """One photo on its way through the stages.

    Attributes:
        file: the photo.
        reason: why it cannot be read, else "".
        unread: the reason lies outside of its file, which may be whole.
        sha256: of its bytes, in hex; of the first megabyte where they are no picture; "" where it is unread.
        same: only its date has changed since the library last saw it; it was not decoded.
        held_bytes: of the budget.
        bgr: (H, W, 3) uint8, None where it cannot be read.
        objects: found in it.
    """

    file: PhotoFile
    reason: str = ""
    unread: bool = False
    sha256: str = ""
    same: bool = False
    held_bytes: int = 0
    bgr: U8Array | None = None
    objects: ObjectRows | None = None

    def fail(self, error: PhotoError) -> None:
        """Keep the reason why it cannot be read."""
        self.reason, self.unread = str(error), isinstance(error, UnreadPhotoError)


class Looking(Closes):
    """Photos being looked at; iterate over it once, and call ``done`` for each.

    Args:
        todo: the photos.
        root: folder that their paths are relative to.
        pipeline: what looks at them.
        settings: workers and limits.
        meter: gets the times of the stages.
    """

    def __init__(
        self,
        todo: Sequence[PhotoFile],
        root: Path,
        pipeline: Pipeline,
        settings: AnalyzeSettings,
        meter: Meter,
    ) -> None:
        self._root = root
        self._pipeline = pipeline
        self._settings = settings
        self._meter = meter
        self._halt = threading.Event()
        self._budget = Budget(BUDGET_BYTES, self._halt)
        self._decoding = Ahead(self._decoded(todo), DECODED_AHEAD, self._halt, "decode")
        self._describing = Ahead(self._described(), DESCRIBED_AHEAD, self._halt, "detect")

    def __iter__(self) -> Iterator[Look]:
        return iter(self._describing)

    def done(self, look: Look) -> None:
        """Give the memory of a photo back."""
        look.bgr = look.objects = None
        self._budget.give(look.held_bytes)

    def close(self) -> None:
        """Look no further; returns when the threads have ended."""
        self._halt.set()
        self._describing.join()
        self._decoding.join()

    def _decoded(self, todo: Sequence[PhotoFile]) -> Generator[Look]:
        """Photos in order, decoded in threads; how many are under way, their bytes decide."""
        waiting: deque[Future[Look]] = deque()
        workers = self._settings.workers or min(8, len(os.sched_getaffinity(0)))
        pool = ThreadPoolExecutor(workers, "decode")
        try:
            for file in todo:
                look, decode = self._prepare(file)
                while len(waiting) >= DECODED_AHEAD or not self._budget.take(
                    look.held_bytes, wait=not waiting
                ):
                    yield waiting.popleft().result()
                if self._halt.is_set():
                    return
                waiting.append(pool.submit(decode))
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _prepare(self, file: PhotoFile) -> tuple[Look, Callable[[], Look]]:
        """Read the header; returns the photo as it is now, and what decodes it."""
        look = Look(file)
        path = self._root / file.path
        try:
            header = photo_header(path, self._settings.max_photo_mp)
        except PhotoError as error:
            look.fail(error)
            return look, lambda: _with_hash(look, path)
        look.held_bytes = header.decoding_bytes + file.size_bytes

        def decode() -> Look:
            with self._meter.stage("decode"):
                try:
                    data = photo_bytes(path)
                    look.sha256 = hashlib.sha256(data).hexdigest()
                    look.same = look.sha256 == file.known_sha256
                    if not look.same:
                        look.bgr = decode_photo(data, header)
                except PhotoError as error:
                    look.fail(error)
            return look

        return look, decode

    def _described(self) -> Generator[Look]:
        """Photos with their objects, still in order."""
        sight = self._pipeline.sight
        callers = sight.callers
        most = 1 if callers > 1 else min(PHOTOS_PER_CALL, sight.batch or PHOTOS_PER_CALL)
        waiting: deque[Future[list[Look]]] = deque()
        pool = ThreadPoolExecutor(callers, "detect")
        coming = iter(self._decoding)
        try:
            while True:
                looks = self._decoding.ready(most)
                if not looks and not waiting:
                    first = next(coming, None)
                    if first is None:
                        return
                    looks = [first, *self._decoding.ready(most - 1)]
                if looks:
                    waiting.append(pool.submit(self._describe, looks))
                # Never wait for more photos while one is finished: it may hold the memory that they wait for.
                if not looks or len(waiting) > callers:
                    yield from waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _describe(self, looks: list[Look]) -> list[Look]:
        good = [(look, look.bgr) for look in looks if look.bgr is not None]
        results = self._pipeline.sight.see([bgr for _, bgr in good], self._meter)
        for (look, _), seen in zip(good, results, strict=True):
            whole = seen.label < 0
            look.objects = ObjectRows(seen.xyxy, seen.label, seen.score, whole, seen.vector)
        return looks


def _with_hash(look: Look, path: Path) -> Look:
    """Give a photo that has failed for what is in its file the hash of that."""
    try:
        if not look.unread:
            look.sha256 = hashlib.sha256(photo_bytes(path, _HASHED_BYTES)).hexdigest()
    except PhotoError as error:
        look.fail(error)
    return look
