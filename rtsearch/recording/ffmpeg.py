"""Call an installed ffmpeg: encode H.264 from raw pictures, add the sound of a file to a video.

Every ffmpeg process has a session of its own, so that Ctrl-C in the terminal does not end it.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from rtsearch._util.signals import hurry
from rtsearch.errors import RecordError
from rtsearch.recording.matroska import picture_head, stream_head
from rtsearch.types import U8Array

__all__ = [
    "FRAGMENT_US",
    "TICKS_PER_S",
    "FfmpegSink",
    "Piece",
    "add_sound",
    "encodes_h264",
    "file_url",
    "find_ffmpeg",
    "sound_start_s",
]

_END_S = 20.0
_SHORT_S = 10.0
_TURN_S = 0.05
# Intervals of 23.976, 24, 25, 29.97, 30, 50, 59.94 and 60 frames per second are whole numbers of ticks.
TICKS_PER_S = 120_000
MOST_PIECES = 64
FRAGMENT_US = 1_000_000  # the most of a video that a power cut costs
_IN_FRAGMENTS = (
    *("-movflags", "+empty_moov+default_base_moof", "-frag_duration", str(FRAGMENT_US)),
    *("-flush_packets", "1"),
)


class Piece(NamedTuple):
    """Part of a video: from ``at_s`` on it shows the file from ``from_s`` on."""

    at_s: float
    from_s: float


def find_ffmpeg() -> str | None:
    """Return the path of ffmpeg, or None."""
    return shutil.which("ffmpeg")


@lru_cache(maxsize=1)
def encodes_h264(ffmpeg: str) -> bool:
    """Tell whether this ffmpeg has an H.264 encoder."""
    return b"libx264 " in _said([ffmpeg, "-v", "quiet", "-encoders"])


class FfmpegSink:
    """H.264 by an ffmpeg process that takes raw pictures with their times on its input and finishes the file
    at the end of them. The file grows in fragments, and plays up to the last one whatever ends the process.

    The head of the stream is sent with the first picture, so that ffmpeg makes no file without pictures.

    Args:
        ffmpeg: path of the program.
        path: the .mp4 to write.
        fps: frame rate, which decides how long the last picture lasts.
        wh: width and height of the pictures, px; even.
        crf: constant rate factor, 0 to 51.
    """

    def __init__(self, ffmpeg: str, path: Path, fps: float, wh: tuple[int, int], crf: int) -> None:
        command = [ffmpeg, "-v", "error", "-y", "-f", "matroska", "-i", "-", "-an", "-c:v", "libx264"]
        command += ["-preset", "ultrafast", "-crf", str(crf), "-pix_fmt", "yuv420p", *_as_timed(ffmpeg)]
        command += ["-enc_time_base", f"1:{TICKS_PER_S}", *_IN_FRAGMENTS, file_url(path)]
        self._head = stream_head(wh, 1 / fps)
        self._process = _started(command, subprocess.PIPE)

    def write(self, bgr: U8Array, t_s: float) -> None:
        """Append a contiguous picture at a time later than that of the previous picture."""
        head, self._head = self._head, b""
        self._put(head + picture_head(t_s, bgr.nbytes))
        self._put(bgr.data)

    def abort(self) -> None:
        """Kill ffmpeg; the file is unusable afterwards."""
        self._process.kill()
        self._process.communicate()

    def close(self) -> None:
        """Let ffmpeg finish the file; may be called again after an interruption by Ctrl-C."""
        problem = self._end()
        if self._process.returncode != 0:
            raise RecordError(f"ffmpeg could not finish the video: {problem}")

    def _put(self, data: bytes | memoryview) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
        except OSError:
            raise RecordError(f"ffmpeg stopped writing the video: {self._end()}") from None

    def _end(self) -> str:
        return _last_words(self._process, _END_S)


def sound_start_s(source: Path) -> float | None:
    """Return the offset from presentation times of a file to ffmpeg's positions in it, s; None without sound.

    Containers may begin at any time, and ffmpeg counts positions from there.
    """
    ffprobe = shutil.which("ffprobe")
    if ffprobe is None:
        return None
    entries = "stream=codec_type:format=start_time"
    said = _said([ffprobe, "-v", "quiet", "-show_entries", entries, "-of", "json", file_url(source)])
    try:
        told = json.loads(said)
        if not any(stream["codec_type"] == "audio" for stream in told["streams"]):
            return None
        start_s = float(told["format"].get("start_time", 0))
    except (ValueError, KeyError, TypeError):
        return None
    return -start_s if math.isfinite(start_s) else None


def add_sound(
    ffmpeg: str, video: Path, source: Path, pieces: Sequence[Piece], length_s: float, out: Path
) -> None:
    """Write a copy of a video with the sound that belongs to its pictures, as AAC.

    Args:
        ffmpeg: path of the program.
        video: video without sound.
        source: file with the sound.
        pieces: parts of the source in the order of the video, in ffmpeg's positions.
        length_s: length of the video.
        out: the .mp4 to write.

    Raises:
        RecordError: ffmpeg failed; the message has its reason.
    """
    if len(pieces) > MOST_PIECES:
        raise RecordError(f"there are {len(pieces):,} jumps in it")
    ends = [*(piece.at_s for piece in pieces[1:]), length_s]
    command = [ffmpeg, "-v", "error", "-y", "-i", file_url(video)]
    steps = []
    for i, (piece, end_s) in enumerate(zip(pieces, ends, strict=True)):
        lasts_s = max(0.001, end_s - piece.at_s)
        command += ["-ss", f"{piece.from_s:.6f}", "-t", f"{lasts_s:.6f}", "-i", file_url(source)]
        # Silence where the file has no sound yet, in between or any more.
        whole = f"aresample=async=1:first_pts=0,apad=whole_dur={lasts_s:.6f},atrim=end={lasts_s:.6f}"
        steps.append(f"[{i + 1}:a:0]{whole}[part{i}]")
    steps.append("".join(f"[part{i}]" for i in range(len(pieces))) + f"concat=n={len(pieces)}:v=0:a=1[sound]")
    command += ["-filter_complex", ";".join(steps), "-map", "0:v:0", "-map", "[sound]"]
    command += ["-c:v", "copy", "-c:a", "aac", "-aac_coder", "fast", "-b:a", "160k", file_url(out)]
    process = _started(command, subprocess.DEVNULL)
    try:
        problem = _last_words(process, _END_S + length_s, hurry)
    except BaseException:  # for example Ctrl-C where it is not handled
        process.kill()
        process.communicate()
        raise
    if process.returncode != 0:
        raise RecordError("there was no time for it" if hurry.is_set() else problem)


def _started(command: list[str], stdin: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=stdin,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def _last_words(process: subprocess.Popen[bytes], wait_s: float, stop: threading.Event | None = None) -> str:
    """Wait for a process, kill it after a time limit or once ``stop`` is set; return its last message."""
    until_s = time.monotonic() + wait_s
    while True:
        try:
            _, words = process.communicate(timeout=_TURN_S)
            break
        except subprocess.TimeoutExpired:
            if time.monotonic() >= until_s or (stop is not None and stop.is_set()):
                process.kill()
    lines = words.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"it ended with code {process.returncode}"


@lru_cache(maxsize=1)
def _as_timed(ffmpeg: str) -> list[str]:
    """Return the option that keeps the times of pictures, which ffmpeg 5.1 renamed."""
    known = b"fps_mode" in _said([ffmpeg, "-v", "quiet", "-h", "long"])
    return ["-fps_mode", "vfr"] if known else ["-vsync", "vfr"]


def _said(command: list[str]) -> bytes:
    """Return the output of a short command; b"" where it fails."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=False,
            timeout=_SHORT_S,
            start_new_session=True,
        )
    except (OSError, subprocess.TimeoutExpired):
        return b""
    return done.stdout


def file_url(path: Path) -> str:
    """Return the URL of a file, which is taken for nothing else: an option, a pattern, another protocol."""
    return f"file:{os.path.abspath(path)}"  # noqa: PTH100  absolute() leaves ".." in
