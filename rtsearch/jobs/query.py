"""One photo: its objects, the neighbours of each, and a sheet that shows them all."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rtsearch._util.metrics import Meter
from rtsearch._util.wording import counted, time_code
from rtsearch.config import Settings, ShowSettings
from rtsearch.errors import PhotoError
from rtsearch.images.decode import quiet_decoders, read_photo
from rtsearch.library.index import SearchIndex
from rtsearch.library.likeness import largest_distance
from rtsearch.library.narrowing import narrow
from rtsearch.library.thumbnails import ThumbCache
from rtsearch.live.privacy import Privacy
from rtsearch.live.room import StripRoom
from rtsearch.live.stabilizer import Stabilizer
from rtsearch.pipeline import Pipeline
from rtsearch.recording import object_records
from rtsearch.render.layout import Canvas, canvas_of
from rtsearch.render.painter import compose
from rtsearch.render.time_marks import TimeMarks
from rtsearch.types import Frame, Scene, U8Array, class_name

__all__ = ["Answer", "in_words", "query_photo", "sheet"]

_SHEET_HEADER_PX = 480  # of a sheet that is as wide as a picture 720 px high


@dataclass(frozen=True, slots=True)
class Answer:
    """Objects of one photo, and their neighbours.

    Attributes:
        scene: frame, objects, neighbours and crops, with those that fill a line.
        objects: the objects as JSON holds them, with ``show.results`` neighbours; see
            ``recording.object_records``.
    """

    scene: Scene
    objects: list[dict[str, Any]]


def query_photo(
    photo: Path, pipeline: Pipeline, index: SearchIndex, settings: Settings, *, itself: bool = True
) -> Answer:
    """Find a photo's objects and the nearest of the library to each.

    Args:
        photo: the file.
        pipeline: sees its objects.
        index: is searched.
        settings: sections ``analyze``, ``detect``, ``search`` and ``show``.
        itself: objects of the photo itself count, where the library has it.

    Raises:
        ConfigError: ``show.privacy`` is asked for, and the network knows no persons.
        PhotoError: it cannot be read.
    """
    if photo.is_dir():
        raise PhotoError(
            f"{photo} is a folder; give one photo, or show all: rtsearch run LIB --source {photo}"
        )
    with quiet_decoders():
        bgr = read_photo(photo, settings.analyze.max_photo_mp)
    if not itself:
        index = narrow(index, settings.search, distinct=settings.show.distinct, leave_out=photo)
    show, search = settings.show, settings.search
    frame = Frame(0, time.monotonic(), None, bgr, str(photo))
    private = None if show.privacy == "none" else Privacy(show.privacy, pipeline.class_names)
    asked = settings.detect if private is None else Privacy.asked(settings.detect)
    detections = pipeline.backend.infer([bgr], asked, Meter())[0]
    if private is not None:
        frame, detections = private.frame(frame, detections), private.wanted(detections, settings.detect)
    near = index.search(detections.vector, show.results, exact=search.exact, recall=search.recall)
    room = StripRoom(_canvas(show, len(detections)), bgr.shape[1::-1])
    points = index.projection.apply(detections.vector)
    most_distance = largest_distance(index, show.max_distance)
    stabilizer = Stabilizer(index, search, most_distance, repeats=True)  # a sheet answers for each object
    shown = stabilizer.update(frame, replace(detections, vector=points), room)
    marks = TimeMarks(index, show.font)
    cache = ThumbCache(index.thumb_places, settings.live.cache_mb << 20, marks.draw)
    height = room.canvas.thumb_height
    rows = [[row for row in line if row >= 0] for line in shown.neighbours.row.tolist()]
    thumbs = tuple(tuple(cache.get(row, height) for row in line) for line in rows)
    shapes = tuple(tuple(index.shapes(np.array(line, np.int32)).tolist()) for line in rows)
    names = pipeline.class_names
    words = tuple(show.word(class_name(names, label)) for label in detections.label.tolist())
    notes = (
        photo.name,
        f"{counted(len(detections), 'object')} found",
        f"{counted(len(index), 'object')} from {counted(index.library.photo_count, 'photo')} searched",
    )
    objects = object_records(detections, names, near, index)
    empty = tuple(
        "" if line else _why_empty(item, most_distance) for line, item in zip(rows, objects, strict=True)
    )
    scene = Scene(
        frame, detections, words, shown.neighbours, height, thumbs, notes, shapes=shapes, empty=empty
    )
    return Answer(scene, objects)


def _why_empty(item: dict[str, Any], most_distance: float) -> str:
    """Return why the strip of an object shows nothing; see ``object_records``."""
    if not item["neighbours"]:
        return "no neighbours"
    limit = f"nothing within distance {most_distance:.3f} (show.max_distance)"
    return f"{limit}; nearest: {in_words(item['neighbours'][0])}"


def in_words(near: dict[str, Any]) -> str:
    """Return a neighbour in words: its class, where it is, and how far from the object."""
    time_in_film = f" {time_code(near['t_s'])}" if "t_s" in near else ""
    return f"{near['label']} in {near['photo']}{time_in_film} at distance {near['distance']:.3f}"


def sheet(answer: Answer, settings: Settings) -> U8Array:
    """The scene as one picture that is high enough for every strip, (H, W, 3) uint8 BGR."""
    return compose(answer.scene, _canvas(settings.show, len(answer.scene.detections)))


def _canvas(show: ShowSettings, strips: int) -> Canvas:
    """Return the canvas of a sheet: as wide as the window would be, as high as all strips need."""
    scale = canvas_of(show).scale
    header, thumb = round(_SHEET_HEADER_PX * scale), round(show.thumb_height * scale)
    canvas = replace(canvas_of(show), header_height=header, thumb_height=thumb, composition="strips")
    return replace(canvas, wh=(show.window_wh[0], header + strips * (thumb + canvas.gap)))
