"""A real Ray cluster of two machines on this one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 100 << 20, "include_dashboard": False}


@contextlib.contextmanager
def two_machines(cache: Path) -> Iterator[Any]:
    """Run the cluster; the first of its machines is that of the commands.

    Args:
        cache: folder for what they fetch.
    """
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(cache))
        patched.setenv("RAY_USAGE_STATS_ENABLED", "0")
        started = Cluster(initialize_head=True, head_node_args=NODE)
        started.add_node(**NODE)
        yield started
        started.shutdown()
