"""Sources of frames. ``open_source`` takes one text and finds out what it means:

    0, 1, /dev/video2, part of a camera's name      camera
    http rtsp rtmp udp srt tcp URL                  stream; a video file where it has a length; a picture that
                                                    is fetched again and again
    clip.mp4, shot%04d.png, GIF of several frames   video file, image sequence, animation
    photo.jpg, folder/                              photo, slide show
    random                                          photos of the library, in the caller's order
    screen, screen:x,y,w,h                          the screen or a region of it

A file waits for whoever reads it; a camera or stream keeps its newest picture only. ``Paced`` plays a file by
the wall clock.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import cv2  # noqa: F401  Where PyAV is loaded first, Qt takes its libxcb, and OpenCV's first window hangs.

# isort: split
from rtsearch._util.masking import masked
from rtsearch._util.paths import path_of
from rtsearch._util.regular_files import kind_of_file
from rtsearch.config import LiveSettings
from rtsearch.errors import SourceError
from rtsearch.images.decode import read_photo
from rtsearch.images.formats import PHOTO_SUFFIXES
from rtsearch.sources.animation import WebpAnimation, animated_kind, carried_by, is_heif_photo
from rtsearch.sources.base import Source, Status
from rtsearch.sources.capture import Limits
from rtsearch.sources.live_capture import LiveCapture, require_one
from rtsearch.sources.realtime import Paced
from rtsearch.sources.remote import aspect_of, open_url
from rtsearch.sources.screen import Screen, parse_region
from rtsearch.sources.slideshow import Photos, photos_under
from rtsearch.sources.usb import CameraCapture, CameraFinder, cameras
from rtsearch.sources.video import VideoFile
from rtsearch.types import U8Array

__all__ = ["Paced", "Source", "Status", "VideoFile", "cameras", "open_source", "require_one"]

_URL = re.compile(r"(https?|rtsps?|rtmps?|udp|srt|tcp|rtp)://", re.IGNORECASE)


def open_source(
    spec: str,
    live: LiveSettings,
    *,
    photos: Iterable[Path] = (),
    read: Callable[[Path], U8Array] = read_photo,
    loop: bool = False,
    several: bool = False,
    patient: bool = False,
    exclude: Sequence[str] = (),
) -> Source:
    """Open what ``spec`` means; see the top of this module.

    Args:
        spec: camera, URL, file, folder, ``random`` or ``screen``. A file of such a name is ``./random``.
        live: sizes and time limits; ``live.loop`` is for the caller to heed.
        photos: what ``random`` shows; may go on for ever.
        read: gives the picture at a path, or raises PhotoError.
        loop: play a video file over and over.
        several: other sources are played beside it: ``patient``, and a camera is asked for compressed
            pictures.
        patient: a camera or stream is not waited for, but tried until it is there (``require_one`` waits for
            any).
        exclude: patterns of names in a folder that are left out of its slide show.

    Raises:
        SourceError: it is not there, or holds no pictures.
        MissingDependencyError: ``screen`` without mss.
    """
    spec, patient = spec.strip(), patient or several
    if not spec:
        raise SourceError("no source given; a camera number, file, folder or URL is wanted")
    if spec.isdecimal() or spec.startswith("/dev/"):
        camera = int(spec) if spec.isdecimal() else spec
        return _camera(camera, live, crowded=several, patient=patient)
    if _URL.match(spec):
        return open_url(spec, live, loop=loop, patient=patient)
    if spec == "random":
        return Photos("random", photos, every_s=live.random_s, read=read)
    if spec == "screen" or spec.startswith("screen:"):
        return Screen(parse_region(spec[7:]))
    path = path_of(spec)
    if path.is_dir():
        paths = photos_under(path, exclude)
        return Photos(spec, paths, every_s=live.random_s, read=read, frames=len(paths))
    if path.exists() and not path.is_file():
        raise SourceError(f"{path} is {kind_of_file(path.stat().st_mode)}, not a file or folder")
    if path.is_file() or ("%" in path.name and path.parent.is_dir()):
        return _file(path, live, read=read, loop=loop)
    found = [device for device, name in cameras().items() if spec and spec.lower() in name.lower()]
    if found:
        return _camera(found[0], live, crowded=several, patient=patient)
    raise SourceError(_not_there(masked(spec), path))


def _camera(camera: int | str, live: LiveSettings, *, crowded: bool, patient: bool) -> Source:
    names = ", ".join(f"{device} ({name})" for device, name in cameras().items()) or "none"
    device = f"/dev/video{camera}" if isinstance(camera, int) else camera
    finder = CameraFinder(device) if sys.platform == "linux" else None
    aspect = aspect_of(live)
    return LiveCapture(
        f"camera {camera}",
        lambda _: CameraCapture(finder.find() if finder else camera, live, crowded=crowded, aspect=aspect),
        limits=Limits(live.open_timeout_s, live.picture_timeout_s),
        hint=f"cameras found: {names}; give a file, folder or URL with --source",
        patient=patient,
    )


def _file(path: Path, live: LiveSettings, *, read: Callable[[Path], U8Array], loop: bool) -> Source:
    if path.is_file():
        if path.stat().st_size == 0:
            raise SourceError(f"{path} is empty")
        photo = path.suffix.lower() in PHOTO_SUFFIXES
        if photo and (kind := animated_kind(path)):
            if kind == "WebP":
                return WebpAnimation(path, loop=loop)
            return VideoFile(str(path), loop=loop, carried=carried_by(path, kind))
        if photo or is_heif_photo(path):
            return Photos(str(path), [path], every_s=live.random_s, read=read, frames=1)
    return VideoFile(str(path), loop=loop)


def _not_there(spec: str, path: Path) -> str:
    folder = path.parent
    names = [p.name for p in folder.iterdir()] if folder.is_dir() else []
    near = difflib.get_close_matches(path.name, names, n=3)
    hint = f"; did you mean {' or '.join(str(folder / n) for n in near)}?" if near else ""
    return f"no source {spec!r}: no such file, folder or camera{hint}"
