"""Boxes that a library holds, as another network describes them: where they lie, and what it says of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rtsearch._util.metrics import Meter
from rtsearch.config import Settings
from rtsearch.errors import SourceError
from rtsearch.jobs.photo_pipeline import PhotoJob, PhotoPipeline, Pipeline
from rtsearch.library import Library, ObjectRows
from rtsearch.library.photos import PhotoFile
from rtsearch.perception.backend import CpuBackend
from rtsearch.sources import VideoFile
from rtsearch.types import Detections, F32Array, I32Array, U8Array

__all__ = ["GivenBoxes", "GivenBoxesPipeline", "boxes_of", "film_pictures"]

_COLUMNS = ("photo", "xyxy", "label", "score", "whole", "times_s", "track")
_UNKNOWN = -2  # label of a class that the network does not have
_STEP_S = 10.0  # of a film, to the next box: decoding so much takes as long as a jump to a keyframe


class GivenBoxes(NamedTuple):
    """Objects of one photo or film, as ``ObjectRows`` has them, but for their vectors."""

    xyxy: F32Array
    label: I32Array
    score: F32Array
    whole: NDArray[np.bool_]
    times_s: NDArray[np.float64]
    track: I32Array

    @property
    def of_film(self) -> bool:
        """They are of a film."""
        return bool(np.isfinite(self.times_s[:, 0]).all())

    def some(self, places: Sequence[int]) -> GivenBoxes:
        """Return some of them."""
        xyxy, label, score, whole, times_s, track = self
        return GivenBoxes(
            xyxy[places], label[places], score[places], whole[places], times_s[places], track[places]
        )

    def described(self, bgr: U8Array, backend: CpuBackend, meter: Meter) -> Detections:
        """Return them with vectors and their own scores; labels are the network's where they have none.

        Args:
            bgr: (H, W, 3) uint8, the picture that they lie in.
            backend: describes them.
            meter: gets the times of the stages.
        """
        seen = backend.describe_boxes(bgr, self.xyxy, self.whole, meter)
        label = np.where(self.label == _UNKNOWN, seen.label, self.label)
        return Detections(self.xyxy, self.score, label, seen.vector)

    def rows(self, seen: ObjectRows) -> ObjectRows:
        """Return described objects with the times and tracks of these."""
        columns = seen.xyxy, seen.label, seen.score, seen.whole, seen.vector
        return ObjectRows(*columns, self.times_s, self.track)


def boxes_of(library: Library, class_names: Sequence[str]) -> dict[int, GivenBoxes]:
    """Return the boxes of each photo that has any, by its number.

    Args:
        library: holds them.
        class_names: of the network that will describe them.

    Raises:
        DamagedError: a file of the library is damaged; it is named.
    """
    parts = list(library.objects(_COLUMNS))
    columns = {name: np.concatenate([part[name] for part in parts]) for name in _COLUMNS}
    known = {name: label for label, name in enumerate(class_names)}
    labels = np.array([*(known.get(name, _UNKNOWN) for name in library.space.class_names), -1], np.int32)
    columns["label"] = labels[columns["label"]]  # that of whole images is -1, which is the last
    order = np.argsort(columns["photo"], kind="stable")
    photo = columns.pop("photo")[order]
    starts = np.flatnonzero(np.r_[True, photo[1:] != photo[:-1]])
    split = {name: np.split(column[order], starts[1:]) for name, column in columns.items()}
    return {
        int(photo[start]): GivenBoxes(**{name: split[name][i] for name in GivenBoxes._fields})
        for i, start in enumerate(starts)
    }


class GivenBoxesPipeline(PhotoPipeline):
    """Photos whose boxes are known, in the stages of ``PhotoPipeline``; nothing is looked for.

    Args:
        boxes: of each photo, by path.
        backend: describes them.
        todo, root, pipeline, settings, meter: see ``PhotoPipeline``.
    """

    def __init__(
        self,
        boxes: Mapping[str, GivenBoxes],
        backend: CpuBackend,
        todo: Sequence[PhotoFile],
        root: Path,
        pipeline: Pipeline,
        settings: Settings,
        meter: Meter,
    ) -> None:
        self._boxes = boxes
        self._given_backend = backend
        super().__init__(todo, root, pipeline, settings, meter)

    def _see(self, good: Sequence[tuple[PhotoJob, U8Array]]) -> list[Detections]:
        given = [(self._boxes[job.file.path], bgr) for job, bgr in good]
        return [boxes.described(bgr, self._given_backend, self._meter) for boxes, bgr in given]


def film_pictures(path: Path, times_s: NDArray[np.float64]) -> Iterator[tuple[U8Array, list[int]]]:
    """Yield the pictures of a film at some times, in their order, each with the places of its time.

    Args:
        path: the film.
        times_s: (n,) presentation times, s, in any order.

    Raises:
        SourceError: it ends before the last of them, or holds no video.
    """
    order = np.argsort(times_s, kind="stable").tolist()
    with contextlib.closing(VideoFile(str(path))) as film:
        now_s = -np.inf
        for t_s, same in groupby(order, key=lambda place: float(times_s[place])):
            if t_s - now_s > _STEP_S:
                film.seek(t_s)
            frame = next((frame for frame in film if (frame.pts_s or 0.0) >= t_s - 0.001), None)
            if frame is None:
                raise SourceError(f"has no picture at {t_s:.1f} s any more")
            now_s = frame.pts_s or 0.0
            yield frame.bgr, list(same)
