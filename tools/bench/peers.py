"""The searches that ours is measured against, each with sensible settings.

A peer is built over (n, d) float32 vectors with all cores, then asked with one thread, which is the fastest
for single queries; its settings go from fast to thorough. What is not installed is left out.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtsearch._util.cpu import usable_cores
from rtsearch.search import KDTree

F32Array = NDArray[np.float32]
Ask = Callable[[F32Array, int], NDArray[np.integer]]

CORES = usable_cores()
GRAPH_ROWS = 1_000_000  # graphs over more rows take hours to build


@dataclass
class Setting:
    """One way to ask a peer.

    Attributes:
        label: what is set.
        ask: ``ask(queries, k)`` gives rows (m, k).
        index_bytes: memory of the index without the vectors, where the peer can tell.
    """

    label: str
    ask: Ask
    index_bytes: int | None = None


@dataclass
class Peer:
    """One kind of index.

    Attributes:
        name: as shown.
        exact: whether its answers are exact.
        needs: module to import.
        build: gives the settings of an index over the vectors.
        most_rows: not built over more.
    """

    name: str
    exact: bool
    needs: str
    build: Callable[[F32Array], Iterator[Setting]]
    most_rows: int = 1 << 40


def ours(vectors: F32Array) -> Iterator[Setting]:
    tree = KDTree.build(vectors)

    def ask(q: F32Array, k: int, recall: float) -> NDArray[np.integer]:
        return tree.query(q, k, recall=recall)[1]

    for recall in (0.8, 0.9, 0.95, 0.97, 0.98, 0.985, 0.99, 0.993, 0.996, 0.998):
        yield Setting(f"recall={recall}", partial(ask, recall=recall), tree.nbytes - vectors.nbytes)
    yield Setting("exact", lambda q, k: tree.query(q, k, exact=True)[1], tree.nbytes - vectors.nbytes)


def hnswlib(vectors: F32Array) -> Iterator[Setting]:
    import hnswlib

    index = hnswlib.Index("l2", vectors.shape[1])
    index.init_index(len(vectors), M=16, ef_construction=200)
    index.add_items(vectors, num_threads=CORES)

    def ask(q: F32Array, k: int, ef: int) -> NDArray[np.integer]:
        index.set_ef(ef)
        return index.knn_query(q, k, num_threads=1)[0]

    for ef in (16, 24, 32, 48, 64, 96, 128, 192):
        yield Setting(f"ef={ef}", partial(ask, ef=ef), index.index_file_size() - vectors.nbytes)


def faiss_ivf(vectors: F32Array) -> Iterator[Setting]:
    import faiss

    cells = 1 << round(np.log2(3.6 * np.sqrt(len(vectors))))
    faiss.omp_set_num_threads(CORES)
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(vectors.shape[1]), vectors.shape[1], cells)
    index.train(vectors)
    index.add(vectors)
    faiss.omp_set_num_threads(1)
    beyond = faiss.serialize_index(index).nbytes - vectors.nbytes

    def ask(q: F32Array, k: int, probes: int) -> NDArray[np.integer]:
        index.nprobe = probes
        return index.search(q, k)[1]

    for probes in (4, 8, 16, 24, 32, 48, 64):
        yield Setting(f"nprobe={probes}", partial(ask, probes=probes), beyond)


def faiss_hnsw(vectors: F32Array) -> Iterator[Setting]:
    import faiss

    faiss.omp_set_num_threads(CORES)
    index = faiss.IndexHNSWFlat(vectors.shape[1], 32)
    index.add(vectors)
    faiss.omp_set_num_threads(1)
    beyond = faiss.serialize_index(index).nbytes - vectors.nbytes

    def ask(q: F32Array, k: int, ef: int) -> NDArray[np.integer]:
        index.hnsw.efSearch = ef
        return index.search(q, k)[1]

    for ef in (16, 32, 64, 96, 128, 192):
        yield Setting(f"efSearch={ef}", partial(ask, ef=ef), beyond)


def usearch(vectors: F32Array) -> Iterator[Setting]:
    from usearch.index import Index

    index: Any = Index(ndim=vectors.shape[1], metric="l2sq", dtype="f32", connectivity=16, expansion_add=128)
    index.add(np.arange(len(vectors)), vectors, threads=CORES)

    def ask(q: F32Array, k: int, expansion: int) -> NDArray[np.integer]:
        index.expansion_search = expansion
        return np.atleast_2d(index.search(q, k, threads=1).keys)

    for expansion in (16, 32, 64, 96, 128, 192):
        beyond = index.memory_usage - vectors.nbytes
        yield Setting(f"expansion={expansion}", partial(ask, expansion=expansion), beyond)


def annoy(vectors: F32Array) -> Iterator[Setting]:
    from annoy import AnnoyIndex

    index = AnnoyIndex(vectors.shape[1], "euclidean")
    index.set_seed(0)
    for row, vector in enumerate(vectors):
        index.add_item(row, vector)
    index.build(30, n_jobs=CORES)

    def ask(q: F32Array, k: int, nodes: int) -> NDArray[np.integer]:
        rows = np.full((len(q), k), -1)
        for i, vector in enumerate(q):
            found = index.get_nns_by_vector(vector, k, search_k=nodes)
            rows[i, : len(found)] = found
        return rows

    for nodes in (1000, 3000, 6000, 12000, 24000):
        yield Setting(f"search_k={nodes}", partial(ask, nodes=nodes))


def scipy_eps(vectors: F32Array) -> Iterator[Setting]:
    from scipy.spatial import cKDTree

    tree = cKDTree(vectors)

    def ask(q: F32Array, k: int, eps: float) -> NDArray[np.integer]:
        return tree.query(q, k, eps=eps)[1]

    for eps in (2.0, 1.5, 1.0, 0.7):
        yield Setting(f"eps={eps}", partial(ask, eps=eps))


def scipy_exact(vectors: F32Array) -> Iterator[Setting]:
    from scipy.spatial import cKDTree

    tree = cKDTree(vectors)
    yield Setting("", lambda q, k: tree.query(q, k)[1])


def pykdtree(vectors: F32Array) -> Iterator[Setting]:
    from pykdtree.kdtree import KDTree as Tree

    tree = Tree(vectors)
    yield Setting("", lambda q, k: tree.query(q, k=k)[1].astype(np.int64))


def nanoflann(vectors: F32Array) -> Iterator[Setting]:
    from pynanoflann import KDTree as Tree

    tree = Tree(leaf_size=16)
    tree.fit(vectors)
    yield Setting("", lambda q, k: tree.kneighbors(q, k, n_jobs=1)[1].astype(np.int64))


def sklearn(vectors: F32Array) -> Iterator[Setting]:
    from sklearn.neighbors import KDTree as Tree

    tree = Tree(vectors)
    yield Setting("", lambda q, k: tree.query(q, k, return_distance=False))


def faiss_flat(vectors: F32Array) -> Iterator[Setting]:
    import faiss

    index = faiss.IndexFlatL2(vectors.shape[1])
    index.add(vectors)
    yield Setting("", lambda q, k: index.search(q, k)[1], 0)


PEERS = [
    Peer("rtsearch", False, "numba", ours),
    Peer("hnswlib", False, "hnswlib", hnswlib, GRAPH_ROWS),
    Peer("faiss IVF", False, "faiss", faiss_ivf),
    Peer("faiss HNSW", False, "faiss", faiss_hnsw, GRAPH_ROWS),
    Peer("usearch", False, "usearch", usearch, GRAPH_ROWS),
    Peer("annoy", False, "annoy", annoy, GRAPH_ROWS),
    Peer("cKDTree eps", False, "scipy", scipy_eps, GRAPH_ROWS),
    Peer("faiss Flat", True, "faiss", faiss_flat),
    Peer("cKDTree", True, "scipy", scipy_exact, GRAPH_ROWS),
    Peer("pykdtree", True, "pykdtree", pykdtree, GRAPH_ROWS),
    Peer("nanoflann", True, "pynanoflann", nanoflann, GRAPH_ROWS),
    Peer("scikit-learn", True, "sklearn", sklearn, GRAPH_ROWS),
]


def installed(rows: int) -> list[Peer]:
    """The peers that can be measured at this size."""
    return [p for p in PEERS if importlib.util.find_spec(p.needs) and rows <= p.most_rows]
