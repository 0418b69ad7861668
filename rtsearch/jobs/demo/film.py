"""Make the demo's clip: slow moves of a camera over photos that the library does not hold.

Each shot moves a window of 16:9 over one photo, from rest to rest. Photos are first scaled so that the
narrowest window has the clip's width: shrinking them frame by frame would make moire, and a cheap
interpolation is enough afterwards.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

import cv2
import numpy as np

from rtsearch._util.atomic import write_atomic
from rtsearch.images.decode import read_photo
from rtsearch.recording import VideoRecorder
from rtsearch.types import U8Array

__all__ = ["FPS", "SHOT_FRAMES", "WH", "Film", "Shot", "Window", "film_of", "frames_of"]

WH = (1280, 720)
FPS = 25.0
SHOT_FRAMES = 70
_CRF = 20
_MOST_MP = 40.0


class Window(NamedTuple):
    """Part of a photo that fills the picture: its centre and its width, as shares of the photo's sides."""

    x: float
    y: float
    width: float


class Shot(NamedTuple):
    """Move over one photo.

    Attributes:
        photo: file name of the photo in the cache.
        begin: window of the first frame.
        end: window of the last frame.
    """

    photo: str
    begin: Window
    end: Window


@dataclass(frozen=True, slots=True)
class Film:
    """Clip and one of its frames, in the cache.

    Attributes:
        clip: the clip.
        query: the frame, as a picture.
    """

    clip: Path
    query: Path


def film_of(shots: Sequence[tuple[Path, Shot]], cache: Path) -> Film:
    """Return the clip of some shots, and its middle frame of the first shot; made unless the cache holds it.

    Args:
        shots: photos with their moves, in their order.
        cache: folder that keeps the clip for later runs.

    Raises:
        PhotoError: a photo cannot be read.
        RecordError: the clip cannot be written.
        OSError: the picture cannot be written.
    """
    told = repr((WH, FPS, SHOT_FRAMES, _CRF, [(path.parent.name, shot) for path, shot in shots]))
    stem = f"film-{hashlib.sha256(told.encode()).hexdigest()[:12]}"
    film = Film(cache / f"{stem}.mp4", cache / f"{stem}.png")
    if film.clip.exists() and film.query.exists():
        return film
    number = 0
    with VideoRecorder(film.clip, FPS, crf=_CRF) as recorder:
        for path, shot in shots:
            for bgr in frames_of(read_photo(path, _MOST_MP), shot):
                if number == SHOT_FRAMES // 2:
                    write_atomic(film.query, cv2.imencode(".png", bgr)[1].tobytes())
                recorder.write(bgr, number / FPS)
                number += 1
    return film


def frames_of(photo: U8Array, shot: Shot) -> Iterator[U8Array]:
    """Return the frames of one shot, (720, 1280, 3) uint8 BGR each.

    Args:
        photo: (H, W, 3) uint8 BGR.
        shot: the move over it; windows that reach over the photo's edge are moved inside.
    """
    width = photo.shape[1]
    scale = WH[0] / (min(shot.begin.width, shot.end.width) * width)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    photo = cast(U8Array, cv2.resize(photo, None, fx=scale, fy=scale, interpolation=method))
    shares = np.linspace(0.0, 1.0, SHOT_FRAMES)
    eased = shares * shares * (3 - 2 * shares)
    return (_frame(photo, shot, float(share)) for share in eased)


def _frame(photo: U8Array, shot: Shot, share: float) -> U8Array:
    height, width = photo.shape[:2]
    x, y, wide = ((1 - share) * a + share * b for a, b in zip(shot.begin, shot.end, strict=True))
    scale = min(wide * width / WH[0], width / WH[0], height / WH[1])
    left = min(max(x * width - scale * WH[0] / 2, 0.0), width - scale * WH[0])
    top = min(max(y * height - scale * WH[1] / 2, 0.0), height - scale * WH[1])
    to_photo = np.array([[scale, 0, left], [0, scale, top]], np.float64)
    frame = cv2.warpAffine(
        photo, to_photo, WH, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
    )
    return cast(U8Array, frame)
