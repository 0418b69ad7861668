"""Every moment in which something like the object of a photo is seen: in photos, and in films merged in time.

    photo -> its object -> distances to all objects of the library -> limit -> tracks -> moments, by film

The limit comes from the library: of pairs of objects of the same class that are different things, a hundredth
lies as near. Objects of different files mostly are, and tracks of a film that are seen at the same time. So
about one in a hundred other things of the class is a false hit.
"""

from __future__ import annotations

import csv
import io
import itertools
import os
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rtsearch._util.atomic import publish, write_atomic
from rtsearch._util.metrics import Meter
from rtsearch._util.wording import iso_time, one_line
from rtsearch.config import Settings
from rtsearch.errors import PhotoError, RecordError
from rtsearch.images.decode import quiet_decoders, read_photo
from rtsearch.library.duplicates import looks_of
from rtsearch.library.film_times import began_ns
from rtsearch.library.hit_limit import SAMPLE, hit_limit
from rtsearch.library.index import SearchIndex
from rtsearch.pipeline import Pipeline
from rtsearch.recording.existing import refuse_existing
from rtsearch.recording.ffmpeg import file_url, find_ffmpeg
from rtsearch.types import WHOLE_IMAGE_LABEL, Detections, F32Array, I32Array, class_name

__all__ = [
    "Asked",
    "Found",
    "Moment",
    "cut_moments",
    "find_moments",
    "main_object",
    "write_csv",
]

_PAIRS = 20_000
_MERGED_S = 2.0  # moments of a film that are no farther apart are one
_AROUND_S = 1.0  # of film before and after a moment, in clips
_BATCH_ROWS = 65_536
_BEYOND = 5  # objects that are named where none lies within the limit
_MOST_NAME = 50  # characters of a film's path in the name of a clip; file systems take 255 bytes


@dataclass(frozen=True, slots=True)
class Moment:
    """Time in a film, or a photo, in which something like the object is seen.

    Attributes:
        photo: path of the film or photo.
        row: object that is the most similar.
        label: its class.
        distance: of that object.
        tracks: number of tracks, or of objects of a photo, that are merged.
        t_s: time of the object in the film; None for a photo.
        from_s, to_s: when the tracks are first and last seen; None for a photo.
        seen: when the object was seen by the wall clock, with its zone; "" where the film does not tell.
    """

    photo: str
    row: int
    label: str
    distance: float
    tracks: int
    t_s: float | None = None
    from_s: float | None = None
    to_s: float | None = None
    seen: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """Object that was looked for, and the moments that show something like it.

    Attributes:
        label, score, xyxy: of the object that was looked for, as in records.
        others: classes of the photo's other objects.
        limit: largest distance of a hit.
        pairs: number of pairs that the limit was taken from; 0 where the library has too few.
        moments: by file, the file of the nearest first, and in each the nearest first.
        beyond: where no moment lies within the limit, the nearest ones that lie farther, the nearest first.
    """

    label: str
    score: float
    xyxy: tuple[float, ...]
    others: tuple[str, ...]
    limit: float
    pairs: int
    moments: tuple[Moment, ...]
    beyond: tuple[Moment, ...]


def find_moments(
    photo: Path, pipeline: Pipeline, index: SearchIndex, settings: Settings, wanted: str = ""
) -> Found:
    """Find the moments in which something like the main object of a photo is seen.

    Args:
        photo: the file.
        pipeline: sees its objects.
        index: objects that may be found; see ``narrow``.
        settings: sections ``analyze`` and ``detect``.
        wanted: class of the object; "" for any. Of several the largest sure one counts, a whole image last.

    Raises:
        PhotoError: it cannot be read, or shows no such object.
    """
    asked = main_object(photo, pipeline, settings, wanted)
    point = index.projection.apply(asked.seen.vector)[0]
    limit, pairs = _limit(index, int(asked.seen.label[0]))
    rows = index.findable()
    distance = _distances(index, rows, point)
    near = distance <= limit
    xyxy = tuple(round(float(side), 1) for side in asked.seen.xyxy[0])
    moments = _moments(index, rows[near], distance[near])
    beyond = () if moments else _nearest(index, rows, distance)
    return Found(
        *(asked.label, round(float(asked.seen.score[0]), 4), xyxy, asked.others),
        *(round(limit, 5), pairs, moments, beyond),
    )


class Asked(NamedTuple):
    """Object of a photo that is looked for: one detection, its class, and the other classes in the photo."""

    seen: Detections
    label: str
    others: tuple[str, ...]


def main_object(photo: Path, pipeline: Pipeline, settings: Settings, wanted: str = "") -> Asked:
    """Return the main object of a photo, described: the largest sure one.

    Args:
        photo: the file.
        pipeline: sees its objects.
        settings: sections ``analyze`` and ``detect``.
        wanted: class of the object; "" for any.

    Raises:
        PhotoError: it cannot be read, or shows no such object.
    """
    with quiet_decoders():
        bgr = read_photo(photo, settings.analyze.max_photo_mp)
    seen = pipeline.backend.infer([bgr], settings.detect, Meter())[0]
    names = [class_name(pipeline.class_names, label) for label in seen.label.tolist()]
    chosen = [i for i, name in enumerate(names) if name == (wanted or name)]
    if not chosen:
        there = ", ".join(sorted(set(names))) or "no object"
        raise PhotoError(f"{photo} shows no {wanted or 'object'} but {there}; try another class or photo")
    main = _main(seen, chosen)
    others = tuple(sorted({name for i, name in enumerate(names) if i != main}))
    return Asked(seen.rows([main]), names[main], others)


def _main(seen: Detections, chosen: list[int]) -> int:
    """Return the object that a photo is about: the largest sure one, a whole image only where it is alone."""
    area = np.prod(seen.xyxy[:, 2:] - seen.xyxy[:, :2], axis=1)
    worth = seen.score * np.sqrt(area)
    return max(chosen, key=lambda i: (seen.label[i] != WHOLE_IMAGE_LABEL, float(worth[i])))


def _distances(index: SearchIndex, rows: I32Array, point: F32Array) -> F32Array:
    batches = [rows[at : at + _BATCH_ROWS] for at in range(0, len(rows), _BATCH_ROWS)]
    parts = [np.linalg.norm(index.points(batch) - point, axis=1) for batch in batches]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def _nearest(index: SearchIndex, rows: I32Array, distance: F32Array) -> tuple[Moment, ...]:
    nearest = np.argsort(distance, kind="stable")[:_BEYOND]
    return tuple(sorted(_moments(index, rows[nearest], distance[nearest]), key=lambda each: each.distance))


def _limit(index: SearchIndex, label: int) -> tuple[float, int]:
    """Return the limit, and the number of pairs that it comes from; 0 where there are too few."""
    rows = np.flatnonzero(index.labels == label).astype(np.int32)

    def looks() -> F32Array:
        some = np.random.default_rng(0).choice(len(index), min(len(index), SAMPLE), replace=False)
        return looks_of(index.points(some.astype(np.int32)), index.projection.looks)

    return hit_limit(_unlike_pairs(index, rows), looks)


def _unlike_pairs(index: SearchIndex, rows: I32Array) -> F32Array:
    """Return the distances of pairs of some rows that show different things.

    These are objects of different files, and tracks of one film that are seen at the same time.
    """
    if len(rows) < 2:
        return np.zeros(0, np.float32)
    rng = np.random.default_rng(0)
    a, b = rng.choice(rows, _PAIRS), rng.choice(rows, _PAIRS)
    unlike = index.photo_numbers[a] != index.photo_numbers[b]
    times_s, tracks = index.times_s, index.tracks
    together = np.minimum(times_s[a, 2], times_s[b, 2]) >= np.maximum(times_s[a, 1], times_s[b, 1])
    unlike |= together & (tracks[a] != tracks[b])  # never in photos, whose times are NaN
    a, b = a[unlike], b[unlike]
    pairs = np.unique(np.stack([np.minimum(a, b), np.maximum(a, b)]), axis=1)
    distance: F32Array = np.linalg.norm(index.points(pairs[0]) - index.points(pairs[1]), axis=1)
    return distance


def _moments(index: SearchIndex, rows: I32Array, distance: F32Array) -> tuple[Moment, ...]:
    order = np.argsort(index.photo_numbers[rows], kind="stable")
    rows, distance = rows[order], distance[order]
    ends = np.flatnonzero(np.diff(index.photo_numbers[rows])) + 1
    files = zip(np.split(rows, ends), np.split(distance, ends), strict=True)
    by_file = [_of_file(index, *of_one) for of_one in files if len(rows)]
    by_file.sort(key=lambda moments: moments[0].distance)
    return tuple(moment for moments in by_file for moment in moments)


def _of_file(index: SearchIndex, rows: I32Array, distance: F32Array) -> list[Moment]:
    """Return the moments of one film, those that touch merged; or the one moment of a photo."""
    times_s = index.times_s[rows]
    order = np.argsort(times_s[:, 1], kind="stable")
    groups: list[list[int]] = []
    until_s = -np.inf
    for i in order.tolist():
        if not groups or times_s[i, 1] > until_s + _MERGED_S:  # never for a photo, whose times are NaN
            groups.append([])
            until_s = -np.inf
        groups[-1].append(i)
        until_s = max(until_s, float(times_s[i, 2]))
    moments = [_moment(index, rows[group], distance[group], times_s[group]) for group in groups]
    return sorted(moments, key=lambda moment: moment.distance)


def _moment(index: SearchIndex, rows: I32Array, distance: F32Array, times_s: NDArray[np.float64]) -> Moment:
    best = int(distance.argmin())
    hit = index.hits(rows[best : best + 1])[0]
    moment = Moment(hit["photo"], int(rows[best]), hit["label"], round(float(distance[best]), 5), len(rows))
    if "t_s" not in hit:
        return moment
    tracks = len(np.unique(index.tracks[rows]))
    first_s, last_s = round(float(times_s[:, 1].min()), 3), round(float(times_s[:, 2].max()), 3)
    return replace(moment, tracks=tracks, t_s=hit["t_s"], from_s=first_s, to_s=last_s, seen=_seen(index, hit))


def _seen(index: SearchIndex, hit: dict[str, Any]) -> str:
    """Return when an object of a film was seen by the wall clock; "" where the film does not tell."""
    film_ns = began_ns(index.library, hit["photo"])
    return "" if film_ns is None else iso_time(film_ns + int(hit["t_s"] * 1e9))


_COLUMNS = ("photo", "from_s", "to_s", "t_s", "row", "label", "distance", "tracks", "seen")


def write_csv(moments: Sequence[Moment], out: Path) -> None:
    """Write a line per moment.

    Raises:
        RecordError: the file cannot be written.
    """
    text = io.StringIO(newline="")
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(_COLUMNS)
    for moment in moments:
        values: list[Any] = [getattr(moment, name) for name in _COLUMNS]
        lines.writerow(["" if value is None else value for value in values])
    try:
        write_atomic(out, text.getvalue().encode("utf-8", errors="backslashreplace"))
    except OSError as error:
        raise RecordError(f"{out} cannot be written: {error.strerror}") from None


def _clip_names(paths: Iterable[str]) -> dict[str, str]:
    """Return what clips of each film are called: its path without slashes, numbered where two are alike."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for path in sorted(set(paths)):
        plain = str(PurePosixPath(path).with_suffix("")).replace("/", "_")[-_MOST_NAME:]
        numbered = (f"{plain}-{number}" for number in itertools.count(2))
        name = next(name for name in itertools.chain([plain], numbered) if name.casefold() not in taken)
        taken.add(name.casefold())
        names[path] = name
    return names


def cut_moments(
    moments: Sequence[Moment], index: SearchIndex, folder: Path, *, overwrite: bool = False
) -> list[Path]:
    """Cut the moments out of their films, without encoding them anew; clips begin at a keyframe.

    Args:
        moments: those of photos are passed over.
        index: of the library that they are in.
        folder: gets the clips; made where there is none.
        overwrite: replace clips that are there.

    Returns:
        the clips.

    Raises:
        RecordError: ffmpeg is not there, or a clip cannot be written, or is there already; then none is cut.
    """
    ffmpeg = find_ffmpeg()
    if ffmpeg is None:
        raise RecordError("clips are cut by ffmpeg, which is not installed: apt install ffmpeg")
    names = _clip_names(moment.photo for moment in moments)
    spans: dict[Path, tuple[Path, float, float]] = {}  # by clip: its film, from and to
    for moment in moments:
        if moment.from_s is not None and moment.to_s is not None:
            film = index.library.photo_path(moment.photo)
            begins_s = max(0.0, moment.from_s - _AROUND_S)
            clip = folder / f"{names[moment.photo]}-{begins_s:08.1f}s{film.suffix}"
            spans[clip] = film, begins_s, moment.to_s + _AROUND_S
    if not overwrite:
        refuse_existing(list(spans))
    for clip, (film, from_s, to_s) in spans.items():
        _cut(ffmpeg, film, clip, from_s, to_s)
    return list(spans)


def _cut(ffmpeg: str, film: Path, clip: Path, from_s: float, to_s: float) -> None:
    """Copy a part of a film into a clip, which replaces an older one once it is whole."""
    try:
        clip.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordError(f"{clip.parent} cannot be made: {error.strerror}") from None
    part = clip.with_name(f".{clip.stem}.{os.getpid()}.part{clip.suffix}")
    command = [ffmpeg, "-y", "-v", "error", "-nostdin", "-seek_timestamp", "1", "-ss", f"{from_s:.3f}"]
    command += ["-i", file_url(film), "-t", f"{to_s - from_s:.3f}", "-map", "0:v:0", "-map", "0:a?"]
    command += ["-c", "copy", "-avoid_negative_ts", "make_zero", file_url(part)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, errors="replace")
        if done.returncode == 0:
            publish(part, clip)
            return
        problem = one_line(done.stderr)
    except OSError as error:
        problem = error.strerror or str(error)
    finally:
        part.unlink(missing_ok=True)
    raise RecordError(f"{clip} cannot be cut: {problem}")
