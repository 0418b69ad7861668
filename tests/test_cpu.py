"""Cores that may be used: affinity, and the quotas of cgroups, in a made-up /proc and /sys."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rtsearch._util import cpu
from rtsearch._util.cpu import network_threads, usable_cores

TOP = Path(__file__).resolve().parents[1]
V1 = "sys/fs/cgroup/cpu"


def v1(folder: str, quota: object, period: object = 100_000) -> dict[str, str]:
    return {f"{folder}/cpu.cfs_quota_us": f"{quota}\n", f"{folder}/cpu.cfs_period_us": f"{period}\n"}


def v2(folder: str, limit: str) -> dict[str, str]:
    return {f"{folder}/cpu.max": f"{limit}\n"}


@pytest.fixture
def eight_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)), raising=False)


@pytest.mark.usefixtures("eight_cores")
@pytest.mark.parametrize(
    ("cgroup", "files", "cores"),
    [
        (None, {}, 8),
        ("", {}, 8),
        ("0::/\n", {}, 8),
        ("0::/\n", v2("sys/fs/cgroup", "max 100000"), 8),
        ("0::/\n", v2("sys/fs/cgroup", "100000 100000"), 1),
        ("0::/\n", v2("sys/fs/cgroup", "250000 100000"), 3),  # a part of a core counts as one
        ("0::/\n", v2("sys/fs/cgroup", "5000 100000"), 1),
        ("0::/\n", v2("sys/fs/cgroup", "9000000 100000"), 8),
        ("0::/a/b\n", v2("sys/fs/cgroup/a/b", "max 100000") | v2("sys/fs/cgroup/a", "200000 100000"), 2),
        ("0::/a/b\n", v2("sys/fs/cgroup/a/b", "300000 100000") | v2("sys/fs/cgroup/a", "600000 100000"), 3),
        ("0::/of/the/host\n", v2("sys/fs/cgroup", "400000 100000"), 4),
        ("0::/../..\n", v2("sys/fs/cgroup", "400000 100000"), 4),
        ("4:memory:/\n3:cpu,cpuacct:/\n", v1(V1, -1), 8),
        ("3:cpu,cpuacct:/\n0::/\n", v1(V1, 150_000), 2),
        ("3:cpuacct,cpu:/docker/7f\n", v1(f"{V1}/docker/7f", 50_000), 1),
        ("3:cpu:/docker/7f\n", v1(V1, 300_000), 3),
        ("3:cpuset:/\n2:cpuacct:/\n", v1(V1, 100_000), 8),
        ("1:name=systemd:/a:b\n0::/a:b\n", v2("sys/fs/cgroup/a:b", "100000 100000"), 1),
        ("0::/\n", v2("sys/fs/cgroup", ""), 8),
        ("0::/\n", v2("sys/fs/cgroup", "200000"), 8),
        ("0::/\n", v2("sys/fs/cgroup", "200000 0"), 8),
        ("0::/\n", v2("sys/fs/cgroup", "-200000 100000"), 8),
        ("3:cpu:/\n", v1(V1, "two"), 8),
        ("no cgroups here\n\n:\n", {}, 8),
    ],
)
def test_the_quota_bounds_the_cores(tmp_path, cgroup, files, cores):
    if cgroup is not None:
        files = files | {"proc/self/cgroup": cgroup}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert usable_cores(tmp_path) == cores


def test_a_system_without_affinity(monkeypatch, tmp_path):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert usable_cores(tmp_path) == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores(tmp_path) == 1


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 2), (4, 4), (64, 4)])
def test_a_network_gets_at_most_four(monkeypatch, cores, threads):
    monkeypatch.setattr(cpu, "usable_cores", lambda: cores)
    assert network_threads() == threads


def test_cores_are_counted_in_one_place():
    for path in [*(TOP / "rtsearch").rglob("*.py"), *(TOP / "tools").rglob("*.py")]:
        text = path.read_text(encoding="utf-8")
        counts = "cpu_count(" in text or "sched_getaffinity(" in text
        assert counts == (path == TOP / "rtsearch" / "_util" / "cpu.py"), path
