"""Read a record of JSON lines, and find its lines by the number or the time of a frame."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np

from rtsearch._util.closing import Closing
from rtsearch._util.regular_files import open_regular
from rtsearch.errors import RecordError
from rtsearch.types import I64Array

__all__ = ["SAME_S", "Recording"]

_log = logging.getLogger(__name__)

SAME_S = 0.001
"""Largest difference of equal times; records have times with four decimals."""
_MOST_LINE_BYTES = 16 << 20
_JUMP_S = 0.1
_MOST_S = 1e12  # largest valid time, 30,000 years


class Recording(Closing):
    """Record of JSON lines, which are found by number or time and read on demand.

    A truncated last line is skipped with a warning.

    Args:
        path: a .jsonl file.

    Attributes:
        path: the file.
        number: (n,) int64, number of each line's frame, ascending.
        t_s: (n,) float64, presentation time of each line's frame.
        straight: number of lines before the first jump, whose frames have both their number and their time.
        video: name, frames, wh (px) and fps of the recorded file; empty where the record does not have them.

    Raises:
        RecordError: the file cannot be read, or is not a record.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = open_regular(path)
        except OSError as error:
            raise RecordError(f"{path} cannot be read: {error.strerror or error}") from None
        try:
            numbers, times_s, starts = self._scan()
        except RecordError:
            self.close()
            raise
        except OSError as error:
            self.close()
            raise RecordError(f"{path} cannot be read: {error.strerror or error}") from None
        except BaseException:
            self.close()
            raise
        self.number: I64Array = np.array(numbers, np.int64)
        self.t_s = np.array(times_s, np.float64)
        self._starts = starts
        self._by_time = np.argsort(self.t_s, kind="stable")
        self._times_s = self.t_s[self._by_time]
        self.straight = self._until_jump()
        video = self.line(0).get("video")
        self.video: dict[str, Any] = video if isinstance(video, dict) else {}

    def __len__(self) -> int:
        return len(self.number)

    def of_number(self, number: int) -> int | None:
        """Return the index of the line of a frame's number, or None."""
        i = int(np.searchsorted(self.number, number))
        return i if i < len(self) and self.number[i] == number else None

    def of_time(self, t_s: float) -> int | None:
        """Return the index of the first line of a presentation time, or None."""
        i = int(np.searchsorted(self._times_s, t_s - SAME_S))
        return int(self._by_time[i]) if i < len(self) and self._times_s[i] <= t_s + SAME_S else None

    def line(self, i: int) -> dict[str, Any]:
        """Return the i-th line as a dictionary."""
        self._file.seek(self._starts[i])
        return self._parsed(self._file.readline(_MOST_LINE_BYTES), i + 1)

    def problem(self, i: int, what: str) -> RecordError:
        """Return an error about the i-th line."""
        return RecordError(f"{self.path}, line {i + 1}: {what}")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _scan(self) -> tuple[list[int], list[float], list[int]]:
        numbers: list[int] = []
        times_s: list[float] = []
        starts: list[int] = []
        start = 0
        while raw := self._file.readline(_MOST_LINE_BYTES):
            whole = raw.endswith(b"\n")
            if not whole and len(raw) == _MOST_LINE_BYTES:
                raise RecordError(f"{self.path}, line {len(starts) + 1} is longer than any record's")
            try:
                line = self._parsed(raw, len(starts) + 1)
            except RecordError:
                if whole:
                    raise
                _log.warning("%s: the last line was cut off; it is left out", self.path)
                break
            if numbers and line["frame"] <= numbers[-1]:
                raise self.problem(len(starts), f"frame {line['frame']} comes after frame {numbers[-1]}")
            numbers.append(line["frame"])
            times_s.append(float(line["t_s"]))
            starts.append(start)
            start += len(raw)
        if not numbers:
            raise RecordError(f"{self.path} holds no frame; was the run stopped before the first one?")
        return numbers, times_s, starts

    def _parsed(self, raw: bytes, line_number: int) -> dict[str, Any]:
        line: dict[str, Any] = {}
        try:
            line = json.loads(raw)
            number, t_s = line["frame"], line["t_s"]
            fits = type(number) is int and 0 <= number < 2**62 and abs(float(t_s)) < _MOST_S
            fits = fits and isinstance(line["objects"], list) and isinstance(line.get("shown", []), list)
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            fits = False
        if not fits:
            made = "rtsearch run --record OUT.jsonl makes them"
            raise RecordError(f"{self.path}, line {line_number} is none of a record; {made}")
        return line

    def _until_jump(self) -> int:
        """Return the number of lines before time goes back, or forward by more than the frames in between.

        A gap in the times of the file counts as well, which does no harm.
        """
        steps_s, frames = np.diff(self.t_s), np.diff(self.number)
        if not len(steps_s):
            return len(self)
        usual_s = float(np.median(steps_s / frames))
        jumps = np.flatnonzero((steps_s <= 0) | (steps_s > frames * usual_s + _JUMP_S))
        return int(jumps[0]) + 1 if len(jumps) else len(self)
