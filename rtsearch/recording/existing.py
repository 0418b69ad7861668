"""Find files in the place of what is written: finished ones, and part files of killed runs."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from rtsearch.errors import RecordError

__all__ = ["left_parts", "refuse_existing"]


def refuse_existing(paths: Sequence[Path]) -> None:
    """Refuse to write over a file that is not empty.

    Raises:
        RecordError: one of the files exists and is not empty, or is a folder.
    """
    for path in paths:
        if path.is_dir():
            raise RecordError(f"{path} is a folder; give the name of a file")
        if path.is_file() and path.stat().st_size:
            raise RecordError(f"{path} exists already; --overwrite replaces it, or choose another name")


def left_parts(path: Path) -> list[Path]:
    """Return the hidden part files that killed runs left of a recording, by name.

    A part file is named ``.NAME.PID.part.mp4``; part files of running processes are not returned.
    """
    name = re.compile(
        rf"\.{re.escape(path.stem)}(?:-\d{{4,9}})?\.(\d{{1,10}})\.(part|sound){re.escape(path.suffix)}"
    )
    if not path.parent.is_dir():
        return []
    matches = ((part, name.fullmatch(part.name)) for part in sorted(path.parent.iterdir()))
    return [part for part, match in matches if match and part.is_file() and not _runs(int(match[1]))]


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:  # the process belongs to another user
        return True
    except (OSError, OverflowError):
        return False
    return True
