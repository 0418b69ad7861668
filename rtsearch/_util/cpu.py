"""Count the cores that this process may use, by its affinity and the quota of its cgroups.

A container with the time of one core (``docker run --cpus 1``) sees all cores of its host. One thread per
core of the host would use up the quota in the first milliseconds of every period, and then all threads would
stop.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["network_threads", "share_cores", "usable_cores"]

_MOST_NETWORK_THREADS = 4
_share = 0  # cores that this process keeps to; 0 for all that it may use


def share_cores(count: int) -> None:
    """Let this process count as many cores as its own, and leave the others to its like."""
    global _share
    _share = count


def usable_cores(root: Path = Path("/")) -> int:
    """Return the number of cores that this process may keep busy, at least 1; a part of a core counts as one.

    Args:
        root: folder with ``proc`` and ``sys``; tests use another one.
    """
    # macOS and Windows have no affinity.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([_share or cores, cores, *(math.ceil(quota) for quota in _quotas(root))])


def network_threads() -> int:
    """Return the number of threads for a network on the CPU: one per usable core, at most four."""
    return min(_MOST_NETWORK_THREADS, usable_cores())


def _quotas(root: Path) -> Iterator[float]:
    """Yield the quotas of this process's cgroups and of their parents, in cores."""
    hierarchies = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        unified = number == "0" and not controllers
        if not unified and "cpu" not in controllers.split(","):
            continue
        top = hierarchies if unified else hierarchies / "cpu"
        here = top / path.lstrip("/")
        # In a container without a cgroup namespace the path is the host's, and only the top exists.
        for folder in (here, *here.parents):
            quota = _quota_v2(folder) if unified else _quota_v1(folder)
            if quota > 0:
                yield quota
            if folder == top:
                break


def _quota_v2(folder: Path) -> float:
    """Return the cores of ``cpu.max``, "QUOTA PERIOD" or "max PERIOD" in microseconds; 0 without a limit."""
    quota, _, period = _read(folder / "cpu.max").partition(" ")
    return _ratio(quota, period)


def _quota_v1(folder: Path) -> float:
    """Return the cores of cgroups version 1, whose quota is -1 without a limit; 0 then."""
    return _ratio(_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us"))


def _ratio(quota: str, period: str) -> float:
    with contextlib.suppress(ValueError, ZeroDivisionError):
        return max(0.0, int(quota) / int(period))
    return 0.0


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
