"""Clips that prove which frame is which: every picture carries its number as a bar code.

    paint(number, wh) -> picture;  read_number(picture) -> number;  write_clip(path, numbers) -> path

The code is a row of 16 black or white blocks along the top, most significant bit first, wide enough to
survive lossy compression and scaling. Below it a field drifts, so that no two pictures are alike anywhere.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

import rtsearch.sources  # noqa: F401  silences FFmpeg before the first writer is opened
from rtsearch.types import U8Array

BITS = 16
WH = (320, 240)
FFMPEG = shutil.which("ffmpeg")
needs_ffmpeg = pytest.mark.skipif(FFMPEG is None, reason="ffmpeg is not installed: apt-get install ffmpeg")


def paint(number: int, wh: tuple[int, int] = WH) -> U8Array:
    """(height, width, 3) uint8 picture that carries ``number`` (0..65535)."""
    width, height = wh
    bits = [(number >> (BITS - 1 - i)) & 1 for i in range(BITS)]
    columns = (np.arange(width) * BITS) // width
    ramp = (np.arange(width)[None, :] + np.arange(height)[:, None] + 5 * number) % 256
    picture = np.repeat(ramp.astype(np.uint8)[:, :, None], 3, axis=2)
    picture[: height // 4] = (np.array(bits, np.uint8) * 255)[columns][None, :, None]
    return picture


def read_number(picture: U8Array) -> int:
    """The number that ``paint`` put into a picture, read back after compression or scaling."""
    height, width = picture.shape[:2]
    row = picture[height // 16 : height // 6].mean(axis=(0, 2))
    centres = ((np.arange(BITS) + 0.5) * width / BITS).astype(int)
    return int(sum(int(row[c] > 127) << (BITS - 1 - i) for i, c in enumerate(centres)))


def write_clip(path: Path, numbers: Iterable[int], fps: float = 30.0, wh: tuple[int, int] = WH) -> Path:
    """Constant frame rate, written by OpenCV alone: MJPEG in .avi, MPEG-4 in .mp4."""
    code = "MJPG" if path.suffix == ".avi" else "mp4v"
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*code), fps, wh)
    assert writer.isOpened(), path
    for number in numbers:
        writer.write(paint(number, wh))
    writer.release()
    return path


def shorten(clip: Path, frames: int) -> None:
    """Replace a clip by its first frames."""
    capture = cv2.VideoCapture(str(clip))
    pictures = [capture.read()[1] for _ in range(frames)]
    fps = capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    height, width = pictures[0].shape[:2]
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"mp4v"), fps, (width, height))
    for picture in pictures:
        writer.write(picture)
    writer.release()


def write_vfr_clip(path: Path, ticks: Sequence[int], fps: int = 30, options: Sequence[str] = ()) -> Path:
    """Variable frame rate, H.264 with B-frames: one picture, numbered by its tick, at each ``tick / fps``
    s.
    """
    assert FFMPEG is not None
    keep = "+".join(f"eq(n,{tick})" for tick in ticks)
    command = [FFMPEG, "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "bgr24", "-s", f"{WH[0]}x{WH[1]}"]
    command += ["-r", str(fps), "-i", "-", "-vf", f"select='{keep}'", "-fps_mode", "vfr"]
    command += [
        "-c:v",
        "libx264",
        "-preset",
        "veryfast",
        "-bf",
        "2",
        "-pix_fmt",
        "yuv420p",
        *options,
        str(path),
    ]
    pictures = b"".join(paint(number).tobytes() for number in range(max(ticks) + 1))
    subprocess.run(command, input=pictures, check=True)
    return path


def ffmpeg(*arguments: str | bytes, out: Path) -> Path:
    """Run ffmpeg, and return the path of the file that it has made."""
    assert FFMPEG is not None
    subprocess.run([FFMPEG, "-v", "error", "-y", *arguments, str(out)], check=True)
    return out


def container_times(path: Path) -> list[float]:
    """Return the presentation times of the pictures as ffprobe tells them, s."""
    command = [
        "ffprobe",
        "-v",
        "error",
        "-select_streams",
        "v",
        "-show_entries",
        "frame=best_effort_timestamp_time",
    ]
    told = subprocess.run([*command, "-of", "csv=p=0", str(path)], check=True, capture_output=True, text=True)
    return [float(line.strip(",")) for line in told.stdout.split()]
