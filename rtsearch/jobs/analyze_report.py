"""Progress of an analysis, and its result."""

from __future__ import annotations

from dataclasses import dataclass, field

from rtsearch._util.metrics import Summary
from rtsearch.library.left_out import LeftOut

__all__ = ["AnalyzeReport", "Progress"]


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of an analysis.

    Attributes:
        done, total: photos read in this run, and to be read in it.
        objects: found in this run.
        failed: photos of this run that could not be read.
        photos_per_s: over the last few hundred photos.
        left_s: until the end at that rate; None while it is not known.
        film: path of the film that is looked at; "" while photos are.
        film_s, films_s: of all films of this run, looked at and in all, s.
        film_speed: seconds of film looked at per second.
    """

    done: int
    total: int
    objects: int
    failed: int
    photos_per_s: float
    left_s: float | None
    film: str = ""
    film_s: float = 0.0
    films_s: float = 0.0
    film_speed: float = 0.0


@dataclass(slots=True)
class AnalyzeReport:
    """Result of an analysis.

    Attributes:
        damaged: damaged files that a repair has found; the photos concerned were looked at again.
        found: photos below the folder.
        kept: of them, those that were known and have the same content.
        changed: photos that were known but have another content now; they were looked at again.
        dropped: photos of the library that were deleted or have moved.
        missing: folder and number of its photos, where a folder has lost all that the library knows; they are
            kept.
        analysed: photos and films looked at in this run.
        films: films among them.
        film_s: their length together, s; what an earlier run has looked at counts.
        objects: found in this run.
        failed: path and reason, for each photo of this run that could not be read. Where the reason lies
            outside of the file (disk, permission, a limit), the next run tries again.
        incomplete: path and what is wrong, for each photo of this run that was taken although its end is
            missing.
        refused: path and reason, for each photo below the folder that was not looked at.
        left_out: files below the folder that are no photos or need an extra, by suffix.
        excluded: number of names that were not looked at, by pattern of ``analyze.exclude`` or
            ``.rtsearchignore``.
        links: links to folders below the folder itself, which are looked at under their own names only.
        interrupted: ended before the last photo; the same call goes on from here.
        seconds: that the run took.
        stages: times of the stages.
    """

    damaged: list[str] = field(default_factory=list)
    found: int = 0
    kept: int = 0
    changed: int = 0
    dropped: int = 0
    missing: list[tuple[str, int]] = field(default_factory=list)
    analysed: int = 0
    films: int = 0
    film_s: float = 0.0
    objects: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    incomplete: list[tuple[str, str]] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    excluded: dict[str, int] = field(default_factory=dict)
    links: int = 0
    interrupted: bool = False
    seconds: float = 0.0
    stages: Summary | None = None
