"""Cameras at this computer, through OpenCV: found by number, device, lasting name or part of their name.

A camera that was unplugged may come back under another number. udev keeps links to it that last, named after
the camera or the socket that it is plugged into; so these are remembered, or else its name.
"""

from __future__ import annotations

import contextlib
import os
import sys
from fractions import Fraction
from pathlib import Path
from typing import cast

import cv2

from rtsearch.config import LiveSettings
from rtsearch.sources.capture import NOTHING_CAME, LostError, Taken
from rtsearch.sources.converter import stretched
from rtsearch.types import U8Array

__all__ = ["CameraCapture", "CameraFinder", "cameras"]

_SYSTEM = Path("/sys/class/video4linux")
_LINKS = (Path("/dev/v4l/by-id"), Path("/dev/v4l/by-path"))

# OpenCV reads its switches from the environment, some only once; so they are set at import, unless the user
# has set them.
os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "3")  # s; an unplugged camera would block for 10
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # its video writer prints on stderr otherwise
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def cameras(root: Path = _SYSTEM) -> dict[str, str]:
    """The cameras that Linux lists: device file and name, in order of their number."""
    found = {}
    for entry in sorted(root.glob("video*"), key=lambda e: (len(e.name), e.name)):
        try:
            found[f"/dev/{entry.name}"] = (
                (entry / "name").read_text(encoding="utf-8", errors="replace").strip()
            )
        except OSError:
            continue
    return found


class CameraFinder:
    """Finds a camera again, whatever number it has by now.

    Args:
        device: file of the camera, as /dev/video0 or a link to it.
        root: where Linux lists cameras.
        links: folders of links that last.
    """

    def __init__(self, device: str, root: Path = _SYSTEM, links: tuple[Path, ...] = _LINKS) -> None:
        self._device = Path(device)
        self._root = root
        self._links = links
        self._link: Path | None = None
        self._name = ""

    def find(self) -> str:
        """Return the device file that the camera has now.

        Raises:
            LostError: it is not there, or may not be used; the message is the reason.
        """
        device = self._again() or self._device
        if not device.exists():
            raise LostError(f"there is no {self._device}")
        if not os.access(device, os.R_OK | os.W_OK):
            raise LostError(f"no permission for {device}; add your user to the group video")
        whole = device.resolve()
        links = (link for folder in self._links if folder.is_dir() for link in sorted(folder.iterdir()))
        self._link = next((link for link in links if link.resolve() == whole), None)
        self._name = cameras(self._root).get(f"/dev/{whole.name}", "")
        return str(whole)

    def _again(self) -> Path | None:
        if self._link is not None:
            with contextlib.suppress(OSError):
                return self._link.resolve(strict=True)
        alike = [device for device, name in cameras(self._root).items() if name and name == self._name]
        here = str(self._device.resolve())
        return Path(alike[0]) if alike and here not in alike else None


class CameraCapture:
    """A camera that OpenCV opens.

    Args:
        camera: device file, or number.
        live: what is asked of it.
        crowded: other cameras are played too, and may be on the same hub.
        aspect: width by height of the pictures, where it is another than that of their pixels.

    Raises:
        LostError: it cannot be opened.
    """

    freezes = True

    def __init__(
        self, camera: int | str, live: LiveSettings, *, crowded: bool, aspect: Fraction | None
    ) -> None:
        self._aspect = aspect
        self._capture = cv2.VideoCapture(camera, cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY)
        if not self._capture.isOpened():
            raise LostError("it is in use by another program, or it is no camera")
        for setting, value in wishes(live, crowded=crowded):
            self._capture.set(setting, value)
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0 < fps < 1000 else None

    def read(self, limit_s: float) -> Taken:
        """See ``Capture``; the limit is that of the driver."""
        ok, bgr = self._capture.read()
        if not ok:
            raise LostError(NOTHING_CAME)
        return Taken(stretched(cast(U8Array, bgr), self._aspect))

    def interrupt(self) -> None:
        """See ``Capture``; the driver ends a read within 3 s."""

    def release(self) -> None:
        """See ``Capture``."""
        self._capture.release()


def wishes(live: LiveSettings, *, crowded: bool) -> list[tuple[int, float]]:
    """Return what a camera is asked for, in order: OpenCV's properties and their values."""
    width, height = live.camera_wh
    asked: list[tuple[int, float]] = []
    if crowded or width * height > 640 * 480:  # raw pictures do not fit through USB 2, whose hubs are shared
        asked.append((cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG")))
    asked += [(cv2.CAP_PROP_FRAME_WIDTH, width), (cv2.CAP_PROP_FRAME_HEIGHT, height)]
    if live.camera_fps:
        asked.append((cv2.CAP_PROP_FPS, live.camera_fps))
    return [*asked, (cv2.CAP_PROP_BUFFERSIZE, 1)]
