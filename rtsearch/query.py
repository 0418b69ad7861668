"""One photo: its objects, the neighbours of each, and a sheet that shows them all."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rtsearch.config import Settings, ShowSettings
from rtsearch.errors import PhotoError
from rtsearch.index import SearchIndex
from rtsearch.layout import Canvas
from rtsearch.meter import Meter
from rtsearch.pictures import quiet_decoders, read_photo
from rtsearch.pipeline import Pipeline
from rtsearch.record import object_records
from rtsearch.records import Frame, Neighbours, Scene, U8Array
from rtsearch.render import compose
from rtsearch.thumbs import ThumbCache

__all__ = ["Answer", "query_photo", "sheet"]

_SHEET_HEADER_PX = 480


@dataclass(frozen=True, slots=True)
class Answer:
    """What one photo brings.

    Attributes:
        scene: frame, objects, neighbours and crops, with those that fill a line.
        objects: the same as JSON holds it, with ``show.results`` neighbours; see ``record.object_records``.
    """

    scene: Scene
    objects: list[dict[str, Any]]


def query_photo(photo: Path, pipeline: Pipeline, index: SearchIndex, settings: Settings) -> Answer:
    """Find a photo's objects and the nearest of the library to each.

    Raises:
        PhotoError: it cannot be read.
    """
    if photo.is_dir():
        raise PhotoError(
            f"{photo} is a folder; give one photo, or show all: rtsearch run LIB --source {photo}"
        )
    with quiet_decoders():
        bgr = read_photo(photo, settings.analyze.max_photo_mp)
    detections = pipeline.sight.see([bgr], Meter())[0]
    show, search = settings.show, settings.search
    crops = _canvas(show, len(detections)).crops
    shown = index.search(detections.vector, crops, exact=search.exact, recall=search.recall)
    neighbours = Neighbours(shown.row[:, : show.results], shown.distance[:, : show.results])
    cache = ThumbCache(index.thumb_places, settings.live.cache_mb << 20)
    thumbs = tuple(
        tuple(cache.get(row, show.thumb_height) for row in rows if row >= 0) for rows in shown.row.tolist()
    )
    names = pipeline.class_names
    words = tuple(names[label] if label >= 0 else "whole image" for label in detections.label.tolist())
    notes = (
        photo.name,
        f"{len(detections)} objects found",
        f"{len(index):,} objects from {index.library.photo_count:,} photos searched",
    )
    frame = Frame(0, time.monotonic(), None, bgr, str(photo))
    scene = Scene(frame, detections, words, shown, show.thumb_height, thumbs, notes)
    return Answer(scene, object_records(detections, names, neighbours, index))


def sheet(answer: Answer, settings: Settings) -> U8Array:
    """The scene as one picture that is high enough for every strip, (H, W, 3) uint8 BGR."""
    return compose(answer.scene, _canvas(settings.show, len(answer.scene.detections)))


def _canvas(show: ShowSettings, strips: int) -> Canvas:
    wh = show.window_wh[0], _SHEET_HEADER_PX + strips * (show.thumb_height + 2)
    return Canvas(
        wh,
        _SHEET_HEADER_PX,
        show.thumb_height,
        show.results,
        text=show.text,
        font=show.font,
        fill=show.fill,
    )
