"""Folders that the processes of a run of the tests make once and share, and only read."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder of this run of the tests, filled by the first process that asks for it.

    The others wait for it meanwhile. What ``make`` writes must hold no paths of the process itself.
    """
    top = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        top = top.parent  # pytest-xdist gives each process a folder in that of the run
    folder, done = top / "shared" / name, top / "shared" / f"{name}.done"
    folder.parent.mkdir(exist_ok=True)
    with FileLock(folder.with_name(f"{name}.lock")):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a process that failed halfway
            folder.mkdir()
            make(folder)
            done.touch()
    return folder
