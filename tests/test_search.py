"""KDTree beside brute force: exact answers, promised recall, odd input, saving and loading."""

from __future__ import annotations

import copy
import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtsearch.errors import DamagedError, FormatError, NotALibraryError, VectorError
from rtsearch.search import KDTree
from rtsearch.search.store import FILE_NAME


def clustered(n: int, d: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(max(1, n // 100), d)) * 3
    scale = np.exp(-np.arange(d) / 10)
    noise = rng.normal(size=(n, d)) * rng.lognormal(0, 0.5, size=(n, 1))
    return ((centres[rng.integers(len(centres), size=n)] + noise) * scale).astype(np.float32)


def assert_exact(tree: KDTree, vectors: np.ndarray, queries: np.ndarray, k: int) -> None:
    distance, row = tree.query(queries, k, exact=True)
    wanted, _ = naive.nearest_rows(vectors, queries, k)
    size = float(np.abs(vectors).max(initial=0))
    np.testing.assert_allclose(distance, wanted, rtol=2e-5, atol=1e-6 * size)
    for i, rows in enumerate(row):
        there = rows[rows >= 0]
        assert len(set(there.tolist())) == len(there) == min(k, len(vectors))
        apart = np.linalg.norm(np.asarray(vectors, np.float64)[there] - queries[i], axis=1)
        np.testing.assert_allclose(apart, distance[i, : len(there)], rtol=2e-5, atol=1e-6 * size)


@pytest.mark.parametrize(
    ("n", "d", "k"),
    [
        (0, 3, 4),
        (1, 1, 1),
        (1, 5, 3),
        (2, 64, 0),
        (31, 7, 31),
        (33, 8, 50),
        (500, 1, 5),
        (700, 2, 100),
        (3000, 17, 16),
        (3000, 64, 16),
        (6000, 32, 16),
        (2000, 130, 10),
        (600, 1000, 5),
    ],
)
def test_exact_equals_brute_force(n: int, d: int, k: int) -> None:
    vectors, queries = clustered(n, d), clustered(20, d, seed=1)
    assert_exact(KDTree.build(vectors), vectors, queries, k)


def odd_vectors() -> dict[str, np.ndarray]:
    plain = clustered(2000, 12)
    far = plain.copy()
    far[7] = 1e9
    constant = plain.copy()
    constant[:, [0, 5]] = 1e6
    two_places = plain.copy()
    two_places[::2] += 1e4
    return {
        "all equal": np.ones((1000, 6), np.float32),
        "all zero": np.zeros((300, 9), np.float32),
        "half of them one point": np.where(np.arange(2000)[:, None] % 2, plain, 1).astype(np.float32),
        "constant dimensions": constant,
        "one far outlier": far,
        "two distant places": two_places,
        "tiny": plain * np.float32(1e-10),
        "huge": plain * np.float32(1e12),
        "integers on a grid": np.random.default_rng(0).integers(0, 3, (2000, 5)).astype(np.float32),
    }


@pytest.mark.parametrize("name", odd_vectors())
def test_odd_vectors(name: str) -> None:
    vectors = odd_vectors()[name]
    assert_exact(KDTree.build(vectors), vectors, vectors[:40], 10)


@given(
    n=st.integers(0, 300),
    d=st.integers(1, 40),
    k=st.integers(0, 40),
    leaf_size=st.integers(1, 60),
    levels=st.integers(1, 6),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None)
def test_exact_for_any_shape(n: int, d: int, k: int, leaf_size: int, levels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)  # few levels per dimension make many ties
    vectors = rng.integers(0, levels, (n, d)).astype(np.float32)
    queries = rng.integers(0, levels, (5, d)).astype(np.float32)
    assert_exact(KDTree.build(vectors, leaf_size=leaf_size, seed=seed), vectors, queries, k)


def layouts(a: np.ndarray, tmp_path: Path) -> dict[str, np.ndarray]:
    frozen = a.copy()
    frozen.flags.writeable = False
    np.save(tmp_path / "a.npy", a)
    return {
        "float64": a.astype(np.float64),
        "float16": a.astype(np.float16),
        "integers": a.astype(np.int64),
        "big-endian": a.astype(">f4"),
        "Fortran order": np.asfortranarray(a),
        "strided": np.repeat(np.repeat(a, 2, axis=0), 3, axis=1)[::2, ::3],
        "reversed": a[::-1].copy()[::-1],
        "read-only": frozen,
        "memory-mapped": np.load(tmp_path / "a.npy", mmap_mode="r"),
    }


def test_any_layout_and_type(tmp_path: Path) -> None:
    vectors = np.round(clustered(500, 6) * 4)  # whole numbers, so that every type holds them
    wanted = KDTree.build(vectors).query(vectors[:9], 5)
    for name, array in layouts(vectors, tmp_path).items():
        for got, want in zip(KDTree.build(array).query(array[:9], 5), wanted, strict=True):
            np.testing.assert_array_equal(got, want, err_msg=name)


@pytest.mark.parametrize("d", [1, 7, 16, 64])
def test_float16_is_stored_as_such_and_answers_as_float32(d: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(d)
    scale = 10.0 ** rng.integers(-9, 4, (3000, d))  # the smallest of them are subnormal, or 0
    halves = (clustered(3000, d) * scale).astype(np.float16)
    vectors, queries = halves.astype(np.float32), clustered(40, d, seed=1) * 100
    tree = KDTree.build(halves)
    other = KDTree.build(vectors)
    assert other.nbytes - tree.nbytes == 2 * halves.size
    assert_exact(tree, vectors, queries, 9)
    for options in (
        {},
        {"exact": True},
        {"allowed": rng.random(3000) < 0.4},
        {"allowed": rng.random(3000) < 0.005},
    ):
        got, want = (some.query(queries, 9, **options) for some in (tree, other))
        np.testing.assert_allclose(got[0], want[0], rtol=1e-6)
    rows = rng.permutation(3000)[:50]
    np.testing.assert_array_equal(tree.vectors(rows), vectors[rows])
    tree.save(tmp_path)
    for same in (KDTree.load(tmp_path), copy.deepcopy(tree), pickle.loads(pickle.dumps(tree))):
        np.testing.assert_array_equal(same.query(queries, 9)[1], tree.query(queries, 9)[1])
    few = rng.random(3000) < 0.1
    np.testing.assert_allclose(
        tree.only(few).query(queries, 9, exact=True)[0], tree.query(queries, 9, exact=True, allowed=few)[0]
    )
    assert tree.only(few).nbytes < other.only(few).nbytes


@pytest.mark.parametrize(
    ("queries", "k", "options"),
    [
        (np.zeros(4, np.float32), 3, {}),
        (np.zeros((2, 5), np.float32), 3, {}),
        (np.full((1, 4), np.nan, np.float32), 3, {}),
        (np.full((1, 4), np.nan, np.float32), 0, {}),
        (np.full((1, 4), np.inf, np.float32), 3, {"exact": True}),
        (np.full((1, 4), 1e300), 3, {}),
        (np.array([["a", "b", "c", "d"]]), 3, {}),
        (np.zeros((1, 4), np.complex64), 3, {}),
        (np.zeros((1, 4), np.float32), -1, {}),
        (np.zeros((1, 4), np.float32), 2.5, {}),
        (np.zeros((1, 4), np.float32), True, {}),
        (np.zeros((1, 4), np.float32), True, {"exact": True}),
        (np.zeros((1, 4), np.float32), 3, {"recall": 1.0}),
        (np.zeros((1, 4), np.float32), 3, {"recall": float("nan")}),
    ],
)
@pytest.mark.parametrize("n", [0, 200])
def test_bad_queries_are_refused(n: int, queries: np.ndarray, k: int, options: dict[str, Any]) -> None:
    tree = KDTree.build(np.random.default_rng(0).random((n, 4), np.float32))
    with pytest.raises(VectorError, match=r"expected|leave those rows out"):
        tree.query(queries, k, **options)


@pytest.mark.parametrize(
    "vectors",
    [
        np.zeros(3),
        np.zeros((3, 0)),
        np.zeros((2, 1001)),
        np.full((3, 3), np.nan),
        np.full((3, 3), 1e16),
        np.array([[np.inf, 1]]),
        np.array([[1e300, 1]]),
        np.array([[None, 1]], dtype=object),
    ],
)
def test_bad_vectors_are_refused(vectors: np.ndarray) -> None:
    with pytest.raises(VectorError):
        KDTree.build(vectors)


def test_the_result_does_not_depend_on_threads() -> None:
    vectors = clustered(20_000, 16)
    one, four = KDTree.build(vectors, threads=1), KDTree.build(vectors, threads=4)
    for name, a, b in zip(one._arrays._fields, one._arrays, four._arrays, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=name)


def kept_recall(
    both: np.ndarray, queries: int, promises: tuple[float, ...]
) -> dict[tuple[int, float], float]:
    """What is found of what was promised, for rows that the tree has never seen."""
    vectors, unseen = both[:-queries], both[-queries:]
    tree = KDTree.build(vectors)
    wanted, _ = tree.query(unseen, 100, exact=True)
    some = slice(0, None, queries // 50)
    np.testing.assert_allclose(wanted[some], naive.nearest_rows(vectors, unseen[some], 100)[0], rtol=1e-4)
    kept = {}
    for k in (3, 5, 16, 50, 100):
        for promised in promises:
            distance, _ = tree.query(unseen, k, recall=promised)
            kept[k, promised] = float((distance <= wanted[:, k - 1 : k] * 1.00001).mean())
    return kept


def test_recall_is_kept() -> None:
    for (k, promised), found in kept_recall(
        clustered(40_000, 24), 1000, (0.7, 0.8, 0.9, 0.98, 0.995)
    ).items():
        assert found >= promised - 0.01, (k, promised)


def patches(photos: Path, n: int) -> np.ndarray:
    """(n, 64) float32: grey squares of 8 x 8 px of real photos at half their size, in random order."""
    rng = np.random.default_rng(0)
    files = sorted(photos.iterdir())
    squares = []
    for file in files:
        grey = cv2.imread(str(file), cv2.IMREAD_REDUCED_GRAYSCALE_2)
        assert grey is not None
        windows = np.lib.stride_tricks.sliding_window_view(grey, (8, 8))
        at = rng.integers(windows.shape[:2], size=(n // len(files) + 1, 2))
        squares.append(windows[at[:, 0], at[:, 1]].reshape(-1, 64))
    return rng.permutation(np.concatenate(squares).astype(np.float32))[:n]


@pytest.mark.slow
def test_recall_is_kept_on_real_vectors(photos: Path) -> None:
    for (k, promised), found in kept_recall(patches(photos, 22_000), 2000, (0.8, 0.9, 0.98, 0.99)).items():
        assert found >= promised - 0.01, (k, promised)


def test_saved_and_loaded_tree_answers_the_same(tmp_path: Path) -> None:
    for n in (0, 1, 5000):
        vectors, queries = clustered(n, 10), clustered(30, 10, seed=1)
        tree = KDTree.build(vectors)
        tree.save(tmp_path / str(n))
        loaded = KDTree.load(tmp_path / str(n))
        assert (len(loaded), loaded.dim, loaded.nbytes) == (len(tree), tree.dim, tree.nbytes)
        for exact in (False, True):
            for got, want in zip(
                loaded.query(queries, 7, exact=exact), tree.query(queries, 7, exact=exact), strict=True
            ):
                np.testing.assert_array_equal(got, want)
        assert [p.name for p in (tmp_path / str(n)).iterdir()] == [FILE_NAME]


def test_files_that_are_no_tree(tmp_path: Path) -> None:
    with pytest.raises(NotALibraryError):
        KDTree.load(tmp_path)
    for content in (b"", b"hello", bytes(200)):
        (tmp_path / FILE_NAME).write_bytes(content)
        with pytest.raises(NotALibraryError):
            KDTree.load(tmp_path)


@pytest.mark.parametrize(("by", "which"), [(1, "newer"), (-1, "older")])
def test_another_format_is_refused(tmp_path: Path, by: int, which: str) -> None:
    KDTree.build(clustered(100, 4)).save(tmp_path)
    data = bytearray((tmp_path / FILE_NAME).read_bytes())
    data[8] += by
    (tmp_path / FILE_NAME).write_bytes(data)
    with pytest.raises(FormatError, match=which):
        KDTree.load(tmp_path)


def test_truncation_and_any_flipped_bit_are_found(tmp_path: Path) -> None:
    KDTree.build(clustered(400, 5)).save(tmp_path)
    whole = (tmp_path / FILE_NAME).read_bytes()
    used = {i for a in arrays_of(whole) for i in a}
    rng = np.random.default_rng(0)
    for length in rng.integers(60, len(whole) - 64, 30):
        (tmp_path / FILE_NAME).write_bytes(whole[:length])
        with pytest.raises(DamagedError):
            KDTree.load(tmp_path)
    for place in rng.choice(sorted(used), 200):
        data = bytearray(whole)
        data[place] ^= 1 << int(rng.integers(8))
        (tmp_path / FILE_NAME).write_bytes(data)
        with pytest.raises((DamagedError, FormatError, NotALibraryError)):
            KDTree.load(tmp_path)


def arrays_of(data: bytes) -> list[range]:
    """Places of a saved tree's header and arrays; what lies between is padding."""
    length = int.from_bytes(data[12:16], "little")
    start = -(-(48 + length) // 64) * 64
    sizes = {"<f4": 4, "<i4": 4, "<u2": 2, "|u1": 1}
    ranges = [range(48 + length)]
    for entry in json.loads(data[48 : 48 + length])["arrays"]:
        first = start + entry["offset"]
        ranges.append(range(first, first + sizes[entry["dtype"]] * int(np.prod(entry["shape"]))))
    return ranges


def test_many_threads_may_query_one_tree() -> None:
    vectors, queries = clustered(5000, 16), clustered(200, 16, seed=1)
    tree = KDTree.build(vectors)
    wanted = tree.query(queries, 8)
    with ThreadPoolExecutor(4) as pool:
        for got in pool.map(lambda _: tree.query(queries, 8), range(20)):
            np.testing.assert_array_equal(got[1], wanted[1])
