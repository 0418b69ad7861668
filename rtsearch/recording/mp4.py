"""Record composed pictures as an H.264 video: with ffmpeg where it is installed, else with PyAV.

    picture, time -> _Clock: time in the video -> ffmpeg | PyAV -> .part.mp4 -> add sound -> rename

A video grows under a temporary name beside its own and gets its name when it is finished; until then, and
where no picture came, an older file of that name stays. When this process is killed, ffmpeg still finishes
the temporary file; where ffmpeg is killed too, or there is none, the file plays up to its last second.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, cast

import cv2
import numpy as np

from rtsearch._util.atomic import publish
from rtsearch.config import VideoSettings
from rtsearch.errors import RecordError
from rtsearch.recording.ffmpeg import (
    FfmpegSink,
    Piece,
    add_sound,
    encodes_h264,
    find_ffmpeg,
    sound_start_s,
)
from rtsearch.recording.problems import FinishesOnExit, record_error, require_place, require_room
from rtsearch.recording.pyav import PyavSink
from rtsearch.recording.rewrap import rewrap
from rtsearch.types import U8Array

__all__ = ["VideoRecorder"]

log = logging.getLogger(__name__)

_CHECK_EVERY = 30
_MAX_GAP_S = 60.0
_RESTART_S = 1.0
_SPARE_BYTES = 64_000_000  # that a second copy leaves on the disk


class VideoRecorder(FinishesOnExit):
    """Recorder of composed pictures as an .mp4, each at its own time.

    A picture lasts until the time of the next one, so the video keeps time with the source when pictures were
    dropped. The size is that of the first picture without an odd last row or column; later pictures are
    scaled to it. Leaving the context finishes the file also after an error, so that it can be played.

    The times are exact, and the video plays in browsers. With ffmpeg the sound of ``sound`` is added at the
    end, and a frame of 1280x720 costs 7 ms of CPU, nearly all in ffmpeg's process; PyAV takes them in this
    process.

    Args:
        path: file to write, with suffix .mp4; replaced when the video is finished, unless no picture came.
        fps: frame rate of the source, which decides how long the last picture stays.
        sound: played file whose presentation times are given to ``write``, or None.
        crf: constant rate factor of H.264, 0 to 51; less is better and larger.

    Raises:
        RecordError: the file cannot be written, or the disk is nearly full.
    """

    def __init__(
        self, path: Path, fps: float, sound: Path | None = None, crf: int = VideoSettings().crf
    ) -> None:
        if path.suffix.lower() != ".mp4":
            raise RecordError(f"{path}: a video is written as .mp4; choose such a name")
        self._path = path
        self._partial = path.with_name(f".{path.stem}.{os.getpid()}.part.mp4")
        self._fps = fps
        self._sound = sound
        self._crf = crf
        self._sink: _Sink | None = None
        self._wh = (0, 0)
        self._clock = _Clock(1 / fps)
        self._written = 0  # number of pictures that were written completely
        require_place(path)

    @property
    def length_s(self) -> float:
        """Length of the video so far, s."""
        return self._clock.length_s if self._written else 0.0

    def write(self, bgr: U8Array, t_s: float) -> None:
        """Append a picture of time ``t_s``, seconds on any clock; a time far back is taken as a jump."""
        if self._written % _CHECK_EVERY == 0:
            require_room(self._path, kept=self._written > 0)
        sink = self._sink or self._open(bgr)
        gaps = self._clock.shortened_s
        at_s = self._clock.at(t_s)
        if self._clock.shortened_s > gaps:
            log.info("%s: a gap is shortened by %.0f s", self._path, self._clock.shortened_s - gaps)
        try:
            sink.write(self._fit(bgr), at_s)
        except RecordError:
            raise
        except OSError as error:
            raise record_error(self._path, error, kept=self._written > 0) from None
        self._written += 1

    def close(self) -> None:
        """Finish the file and rename it to its own name."""
        sink, self._sink = self._sink, None
        if not self._written:
            self._give_up(sink)
            return
        if sink is None:
            return
        try:
            try:
                self._finish(sink)
            except KeyboardInterrupt:  # a second Ctrl-C skips only the sound
                self._finish(sink)
                self._name()
                raise
            try:
                self._complete()
            finally:
                self._name()
        except OSError as error:
            raise record_error(self._path, error, kept=True) from None

    def _give_up(self, sink: _Sink | None) -> None:
        """Remove a file without a complete picture, which could not be played."""
        try:
            if sink is not None:
                sink.abort()
        finally:
            self._partial.unlink(missing_ok=True)

    def _name(self) -> None:
        publish(self._partial, self._path)

    def _finish(self, sink: _Sink) -> None:
        try:
            sink.close()
        except RecordError:
            if self._partial.exists() and not self._partial.stat().st_size:
                self._partial.unlink()
            raise

    def _open(self, bgr: U8Array) -> _Sink:
        height, width = bgr.shape[:2]
        self._wh = (width & ~1, height & ~1)  # H.264 and MPEG-4 halve the colour planes, so sides are even
        ffmpeg = find_ffmpeg()
        if ffmpeg is None and self._sound is not None:
            log.warning("%s will have no sound: ffmpeg is not installed", self._path)
        if ffmpeg is not None and encodes_h264(ffmpeg):
            self._sink = FfmpegSink(ffmpeg, self._partial, self._fps, self._wh, self._crf)
        else:
            self._sink = PyavSink(self._partial, self._wh, self._crf)
        return self._sink

    def _fit(self, bgr: U8Array) -> U8Array:
        width, height = self._wh
        if bgr.shape[0] & ~1 == height and bgr.shape[1] & ~1 == width:
            bgr = bgr[:height, :width]
        else:
            bgr = cast(U8Array, cv2.resize(bgr, self._wh, interpolation=cv2.INTER_AREA))
        return np.ascontiguousarray(bgr)

    def _complete(self) -> None:
        """Put the fragments together and the sound beside them; a video without both plays, too."""
        with contextlib.suppress(RecordError), self._better() as whole:
            rewrap(self._partial, self._clock.interval_s, whole)
        ffmpeg = find_ffmpeg()
        start_s = None if self._sound is None else sound_start_s(self._sound)
        if ffmpeg is None or self._sound is None or start_s is None:
            return
        pieces = [Piece(piece.at_s, piece.from_s + start_s) for piece in self._clock.pieces]
        try:
            with self._better() as both:
                add_sound(ffmpeg, self._partial, self._sound, pieces, self._clock.length_s, both)
        except RecordError as error:
            log.warning("%s has no sound: %s", self._path, error)

    @contextlib.contextmanager
    def _better(self) -> Iterator[Path]:
        """Give the name of a file that takes the place of the video, unless making it raises."""
        path = self._partial.with_name(self._partial.name.replace(".part.", ".sound."))
        if shutil.disk_usage(path.parent).free < _SPARE_BYTES + self._partial.stat().st_size:
            raise RecordError("there is no room for a second copy")
        try:
            yield path
            path.replace(self._partial)
        finally:
            path.unlink(missing_ok=True)


class _Clock:
    """Clock of the video: times from 0, strictly increasing, without long gaps.

    A time that repeats or goes back a little is placed a tenth of an interval after the previous one. A time
    more than a second back is another place in the source (a loop, a jump), and the video continues.

    Attributes:
        pieces: how the source's times go on in the video; a new one wherever they jumped.
        shortened_s: by which gaps were shortened.
        interval_s: how long the last picture stays.
    """

    def __init__(self, interval_s: float) -> None:
        self.pieces: list[Piece] = []
        self.shortened_s = 0.0
        self.interval_s = interval_s
        self._last_s = 0.0

    @property
    def length_s(self) -> float:
        """Length of the video, s."""
        return self._last_s + self.interval_s

    def at(self, t_s: float) -> float:
        """Return the time in the video for a time of the source, s."""
        if not self.pieces:
            self.pieces.append(Piece(0.0, t_s))
            return 0.0
        here = self.pieces[-1]
        step_s = here.at_s + t_s - here.from_s - self._last_s
        if step_s > _MAX_GAP_S:
            self.shortened_s += step_s - _MAX_GAP_S
            self._last_s += _MAX_GAP_S
            self.pieces.append(Piece(self._last_s, t_s))
        elif step_s < -_RESTART_S:
            self._last_s += self.interval_s
            self.pieces.append(Piece(self._last_s, t_s))
        else:
            self._last_s += step_s if step_s > 0 else self.interval_s / 10
        return self._last_s


class _Sink(Protocol):
    def write(self, bgr: U8Array, t_s: float) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...
