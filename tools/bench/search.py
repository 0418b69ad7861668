"""The search beside every other one that is installed: recall, latency, cold batches, build, memory.

    python tools/bench/search.py [--n 376459] [--dim 32] [--real FILE.npy] [--quick] [--json] [--picture FILE]

Vectors are synthetic (vectors.py) or the first --dim columns of FILE, whose last 1,000 rows are the queries.
One thread, the call from Python included. All methods take turns within one run: the machine may slow down,
but it does so for all. Extra ``bench`` brings the peers. Targets stand beside what is reached.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read by pykdtree when it is imported

import argparse
import gc
import json
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import peers
import psutil
from numpy.typing import NDArray
from vectors import cnn_like

from rtsearch._util.cpu import usable_cores
from rtsearch.search import KDTree, warm_up
from rtsearch.search.simd import instructions

F32Array = NDArray[np.float32]

K = 16
WANTED = 0.99  # recall at which methods are compared
ROUNDS = 5
FLUSH_BYTES = 64 << 20
SLOW_S = 2e-3  # settings slower than this get fewer queries

FIRST_ANSWER = """
import sys, time, numpy as np
from rtsearch.search import KDTree
tree = KDTree.load(sys.argv[1])
tree.query(np.zeros((1, tree.dim), np.float32), 16)
"""


@dataclass
class Measured:
    """One setting of one method.

    Attributes:
        method, label: what it is.
        exact: whether it is meant to be.
        ask: see peers.Setting.
        build_s: seconds that its index took to build.
        memory_bytes: beyond one copy of the vectors; where the index cannot tell, what the process grew by.
        times_s: of single queries.
        batch_s: of 8 queries after a flush.
        recall: share of the true neighbours found.
    """

    method: str
    label: str
    exact: bool
    ask: peers.Ask
    build_s: float
    memory_bytes: int
    times_s: list[float] = field(default_factory=list)
    batch_s: list[float] = field(default_factory=list)
    recall: float = 0.0

    @property
    def p50_us(self) -> float:
        return float(np.median(self.times_s)) * 1e6

    def row(self) -> dict[str, object]:
        return {
            "method": f"{self.method} {self.label}".strip(),
            "recall": round(self.recall, 4),
            "p50_us": round(self.p50_us, 1),
            "p99_us": round(float(np.percentile(self.times_s, 99)) * 1e6, 1),
            "batch8_us": round(float(np.median(self.batch_s)) * 1e6, 1) if self.batch_s else None,
            "build_s": round(self.build_s, 2),
            "memory_mb": round(self.memory_bytes / 1e6, 1),
        }


def true_distances(vectors: F32Array, queries: F32Array, k: int) -> NDArray[np.float64]:
    """Distance of the k-th neighbour of each query; products pick candidates, float64 differences decide."""
    square = np.einsum("ij,ij->i", vectors, vectors)
    worst = np.empty(len(queries))
    for i in range(0, len(queries), 20):
        some = queries[i : i + 20]
        apart = square - 2 * (some @ vectors.T)
        near = np.argpartition(apart, 4 * k, axis=1)[:, : 4 * k]
        exact = np.linalg.norm(vectors[near].astype(np.float64) - some[:, None], axis=2)
        worst[i : i + 20] = np.sort(exact, axis=1)[:, k - 1]
    return worst


def build_all(vectors: F32Array) -> list[Measured]:
    """Build every method."""
    settings = []
    me = psutil.Process()
    warm_up()
    for peer in peers.installed(len(vectors)):
        gc.collect()
        before, start = me.memory_info().rss, time.perf_counter()
        asks = peer.build(vectors)
        first = next(asks)
        build_s = time.perf_counter() - start
        grown = me.memory_info().rss - before
        for setting in [first, *asks]:
            exact = peer.exact or setting.label == "exact"
            beyond = max(0, grown) if setting.index_bytes is None else setting.index_bytes
            settings.append(Measured(peer.name, setting.label, exact, setting.ask, build_s, beyond))
        print(f"built {peer.name} in {build_s:.2f} s", file=sys.stderr)
    return settings


def measure(settings: list[Measured], vectors: F32Array, queries: F32Array) -> None:
    """Fill in recall and single-query times; the methods take turns."""
    worst = true_distances(vectors, queries, K)
    for setting in settings:
        start = time.perf_counter()
        some = slice(0, len(queries) if not setting.exact else 40)
        rows = np.concatenate([setting.ask(q[None], K) for q in queries[some]])
        apart = np.linalg.norm(vectors[rows].astype(np.float64) - queries[some][:, None], axis=2)
        setting.recall = float(((rows >= 0) & (apart <= worst[some, None] * (1 + 1e-5))).mean())
        setting.times_s.append((time.perf_counter() - start) / len(rows))
    for part in np.array_split(np.arange(len(queries)), ROUNDS):
        for setting in settings:
            slow = setting.times_s[0] > SLOW_S
            for i in part[: 12 if slow else None]:
                query = queries[i : i + 1]
                start = time.perf_counter()
                setting.ask(query, K)
                setting.times_s.append(time.perf_counter() - start)
    for setting in settings:
        del setting.times_s[0]


def measure_batches(settings: list[Measured], queries: F32Array, repeats: int) -> None:
    """8 queries in one call after a flush of the caches, for the fastest good setting of each method."""
    ballast = np.zeros(FLUSH_BYTES // 8)
    chosen = [s for s in (at_least(settings, name) for name in {s.method for s in settings}) if s]
    for r in range(repeats):
        for setting in chosen:
            some = queries[8 * r % (len(queries) - 8) :][:8]
            ballast += 1
            start = time.perf_counter()
            setting.ask(some, K)
            setting.batch_s.append(time.perf_counter() - start)


def at_least(settings: list[Measured], method: str) -> Measured | None:
    """The fastest setting of a method that reaches WANTED."""
    good = [s for s in settings if s.method == method and s.recall >= WANTED and s.label != "exact"]
    return min(good, key=lambda s: s.p50_us, default=None)


def latency_at(settings: list[Measured], method: str, recall: float) -> float:
    """Microseconds of a method at a recall, between its settings; NaN where it does not get there."""
    curve = sorted((s.recall, s.p50_us) for s in settings if s.method == method and s.label != "exact")
    above = [c for c in curve if c[0] >= recall]
    below = [c for c in curve if c[0] < recall]
    if not above:
        return float("nan")
    best = min(above, key=lambda c: c[1])
    if not below:
        return best[1]
    low = below[-1]
    share = (recall - low[0]) / (best[0] - low[0])
    return float(np.exp((1 - share) * np.log(low[1]) + share * np.log(best[1])))


def ratios(settings: list[Measured], n: int, dim: int) -> list[dict[str, object]]:
    """Ours against each peer, beside the least that is wanted."""
    wanted = {"hnswlib": 3, "faiss IVF": 3, "faiss HNSW": 3, "usearch": 3, "annoy": 10, "cKDTree eps": 25}
    tree_times = 60 if dim < 64 else 100
    exact = dict.fromkeys(("cKDTree", "pykdtree", "nanoflann", "scikit-learn"), tree_times)
    exact["faiss Flat"] = 7 if n < 200_000 else 15
    out: list[dict[str, object]] = []
    for method, least in wanted.items():
        reached = max((s.recall for s in settings if s.method == method), default=float("nan"))
        if reached == reached:
            recall = min(WANTED, reached)
            theirs, mine = (latency_at(settings, m, recall) for m in (method, "rtsearch"))
            out.append(_row(f"{method} at recall {recall:.3f}", mine, theirs, least))
    mine = next(s.p50_us for s in settings if s.label == "exact")
    for method, least in exact.items():
        out += [_row(f"{method}, exact", mine, s.p50_us, least) for s in settings if s.method == method]
    batches = {s.method: float(np.median(s.batch_s)) * 1e6 for s in settings if s.batch_s}
    for method in ("hnswlib", "faiss IVF", "faiss HNSW", "usearch"):
        if method in batches and "rtsearch" in batches:
            least = 2 if method == "hnswlib" else 0
            out.append(_row(f"{method}, 8 after a flush", batches["rtsearch"], batches[method], least))
    builds = {s.method: s.build_s * 1e6 for s in settings}
    for method, least in (("hnswlib", 10), ("faiss HNSW", 10), ("faiss IVF", 2)):
        if method in builds:
            out.append(_row(f"{method}, build", builds["rtsearch"], builds[method], least))
    return out


def _row(against: str, mine_us: float, theirs_us: float, least: float) -> dict[str, object]:
    ratio = theirs_us / mine_us
    return {
        "against": against,
        "ours_us": round(mine_us, 1),
        "theirs_us": round(theirs_us, 1),
        "times_faster": round(ratio, 2),
        "wanted": least or None,
        "met": bool(ratio >= least),
    }


def first_answer_s(tree: KDTree) -> float:
    """Seconds from the start of a process to the first answer of a saved tree."""
    with tempfile.TemporaryDirectory() as folder:
        tree.save(folder)
        took = []
        plain = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        for _ in range(4):  # the first may write caches
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", FIRST_ANSWER, folder], check=True, env=plain)
            took.append(time.perf_counter() - start)
    return float(np.median(took[1:]))


def machine() -> dict[str, object]:
    model = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    return {
        "cpu": model,
        "cores": usable_cores(),
        "scan": instructions(),
        "python": platform.python_version(),
    }


def draw(settings: list[Measured], title: str, path: Path) -> None:
    """Recall against latency, a line for each method."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7.5, 4.6), dpi=110, layout="constrained")
    methods = list(dict.fromkeys(s.method for s in settings if not s.exact))
    for colour, method in enumerate(methods):
        mine = [s for s in settings if s.method == method and not s.exact]
        curve = sorted((1 - s.recall, s.p50_us) for s in mine)
        bold = method == "rtsearch"
        axes.plot(
            [max(miss, 1e-4) for miss, _ in curve],
            [us for _, us in curve],
            "o-",
            color="black" if bold else f"C{colour}",
            linewidth=2.6 if bold else 1.2,
            markersize=5 if bold else 3.5,
            label=method,
            zorder=9 if bold else 3,
        )
    axes.set(xscale="log", yscale="log", ylabel="microseconds per query (median)", title=title)
    marks = [0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002]
    axes.set_xticks(marks, [f"{1 - m:g}" for m in marks])
    axes.minorticks_off()
    axes.set_xlim(0.25, 0.001)
    axes.set_xlabel(f"recall of the {K} nearest")
    axes.set_yticks([10, 20, 50, 100, 200, 500, 1000], ["10", "20", "50", "100", "200", "500", "1000"])
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def report(result: dict[str, object]) -> None:
    """The result as tables."""
    for name in ("settings", "against"):
        rows = result.pop(name)
        assert isinstance(rows, list)
        widths = {c: max(len(c), *(len(str(r[c])) for r in rows)) for c in rows[0]}
        print("  ".join(c.ljust(w) for c, w in widths.items()))
        for row in rows:
            print("  ".join(str(row[c]).ljust(w) for c, w in widths.items()))
        print()
    for name, value in result.items():
        print(f"{name}: {value}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=376_459, help="synthetic vectors")
    parser.add_argument("--dim", type=int, default=32)
    parser.add_argument("--real", type=Path, help="a .npy file of vectors instead of synthetic ones")
    parser.add_argument("--quick", action="store_true", help="20,000 vectors: a minute in all")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument("--picture", type=Path, default=Path("recall-latency.png"))
    arguments = parser.parse_args()
    if arguments.real:
        stored = np.load(arguments.real)[:, : arguments.dim].astype(np.float32)
        vectors, queries = stored[:-1000].copy(), stored[-1000:].copy()
    else:
        n = 20_000 if arguments.quick else arguments.n
        vectors, queries = cnn_like(n, arguments.dim, 200 if arguments.quick else 1000)
    settings = build_all(vectors)
    measure(settings, vectors, queries)
    measure_batches(settings, queries, 5 if arguments.quick else 40)
    tree = KDTree.build(vectors)
    n, dim = vectors.shape
    kind = f"{arguments.real.name}" if arguments.real else "synthetic"
    draw(settings, f"{n:,} {kind} vectors, {dim} dimensions, one thread", arguments.picture)
    result: dict[str, object] = {
        "settings": [s.row() for s in settings],
        "against": ratios(settings, n, dim),
        "vectors": kind,
        "n": n,
        "dim": dim,
        "memory_share": round(tree.nbytes / vectors.nbytes - 1, 3),
        "first_answer_s": round(first_answer_s(tree), 2),
        **machine(),
    }
    if arguments.json:
        print(json.dumps(result))
    else:
        report(result)


if __name__ == "__main__":
    main()
