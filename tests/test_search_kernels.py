"""Kernels beside their slow twins, in vector instructions and in plain loops."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import naive
import numpy as np
import pytest
from test_search import assert_exact, clustered, odd_vectors

from rtsearch.search import KDTree, build_kernels, kernels
from rtsearch.search.arrays import FAR, PAD, SIZES, allocate, shapes_of
from rtsearch.search.simd import FRONT, instructions

VARIANTS = [True] if instructions() == "plain" else [None, True]
WIDTHS = (8, 24, 64, 1000)


@pytest.fixture(params=VARIANTS, ids=lambda plain: "loops" if plain else "instructions")
def plain(request: pytest.FixtureRequest) -> bool | None:
    return request.param


def random_blocks(blocks: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    code = rng.integers(0, 128, (blocks, 16 * width)).astype(np.uint8)
    code[0], query = 127, rng.integers(-127, 128, width).astype(np.int8)
    query[: width // 2] = 127  # the largest sums there can be
    return code, rng.random(16 * blocks).astype(np.float32), query


@pytest.mark.parametrize("width", WIDTHS)
def test_scores(plain: bool | None, width: int) -> None:
    code, norm, query = random_blocks(5, width)
    wanted = naive.code_scores(code, norm, query, 0.25)
    out = np.zeros(5 * 16 + 3, np.float32)
    for block in range(5):
        least = kernels.score(plain, code, norm, block, query, np.float32(0.25), out, 3 + 16 * block)
        assert least == out[3 + 16 * block :][:16].min()
    np.testing.assert_allclose(out[3:], wanted, rtol=1e-6, atol=1e-3)


@pytest.mark.parametrize("width", WIDTHS)
def test_scores_below_a_limit_are_kept(plain: bool | None, width: int) -> None:
    code, norm, query = random_blocks(6, width)
    wanted = naive.code_scores(code, norm, query, 0.25)
    for limit in (-np.inf, np.median(wanted), np.inf):
        value, item, count = np.zeros(130, np.float32), np.zeros(130, np.int32), 2
        for block in range(6):
            at = np.int32(100 + 16 * block)
            count = kernels.score_and_keep(
                plain, code, norm, block, query, np.float32(0.25), np.float32(limit), at, value, item, count
            )
        kept = np.flatnonzero(wanted < limit)
        np.testing.assert_array_equal(item[2:count], 100 + kept)
        np.testing.assert_allclose(value[2:count], wanted[kept], rtol=1e-6, atol=1e-3)


def test_values_below_a_limit_are_kept(plain: bool | None) -> None:
    rng = np.random.default_rng(0)
    value, item = rng.random(64).astype(np.float32), rng.permutation(64).astype(np.int32)
    for limit in (0, 0.3, 2):
        wanted = [(v, i) for v, i in zip(value, item, strict=True) if v < limit]
        a, b, count = value.copy(), item.copy(), 0
        for at in range(0, 64, 16):
            count = kernels.keep(plain, a, b, at, np.float32(limit), a, b, count)
        assert list(zip(a[:count], b[:count], strict=True)) == wanted


@pytest.mark.parametrize("width", WIDTHS)
def test_box_distances(plain: bool | None, width: int) -> None:
    rng = np.random.default_rng(width)
    ends = np.sort(rng.integers(0, 256, (2, 3, 16 * width)), axis=0).astype(np.uint8)
    query = rng.integers(0, 256, width).astype(np.uint8)
    out = np.zeros(48, np.float32)
    for block in range(3):
        kernels.box_distances(plain, ends[0], ends[1], block, query, out, 16 * block)
    np.testing.assert_array_equal(out, naive.box_gaps(ends[0], ends[1], query))


@pytest.mark.parametrize("d", [1, 3, 4, 5, 63, 200])
def test_rotate(d: int) -> None:
    rng = np.random.default_rng(d)
    vector, centre = rng.normal(size=(2, d)).astype(np.float32)
    axes = rng.normal(size=(d, d + 5)).astype(np.float32)
    out = np.full(d + 5, 9, np.float32)
    kernels.rotate(vector, centre, axes, out)
    np.testing.assert_allclose(out, (vector - centre).astype(np.float64) @ axes, atol=1e-4)


def test_codes_score_as_distances(plain: bool | None) -> None:
    rng = np.random.default_rng(0)
    points, query = rng.normal(size=(32, 24)).astype(np.float32), rng.normal(size=24).astype(np.float32)
    step = np.float32(0.05)
    code, norm, front_norm = np.zeros((2, 16 * 24), np.uint8), *np.zeros((2, 32), np.float32)
    for i, point in enumerate(points):
        norm[i], front_norm[i], error = kernels.encode_point(point, step, code, i // 16, i % 16)
        np.testing.assert_allclose(
            error, ((point - naive.decoded_points(code, step)[i]) ** 2).sum(), rtol=1e-3
        )
    np.testing.assert_allclose(naive.decoded_points(code, step), naive.nearest_codes(points, step), atol=1e-6)
    query_code = np.zeros(24, np.int8)
    scale, base, slack, noise = kernels.encode_query(query, step, query_code)
    width = np.abs(query).max() / 127
    assert np.linalg.norm(query - query_code * width) <= slack <= 24 * width
    apart = ((naive.decoded_points(code, step) - query_code * width) ** 2).sum(axis=1)
    scored = 2 * (naive.code_scores(code, norm, query_code, scale) + base)
    np.testing.assert_allclose(scored, apart, atol=2 * noise)

    front = query_code[:FRONT]
    base, noise = kernels.base_of(front, step, scale)
    apart = ((naive.decoded_points(code, step)[:, :FRONT] - front * width) ** 2).sum(axis=1)
    out = np.zeros(16, np.float32)
    for block in range(2):
        least = apart[16 * block : 16 * block + 16].min()
        for farthest, wanted in ((least - 3 * noise, 0), (least + 3 * noise, 1)):
            limit = np.float32(farthest / 2 - base)
            below = kernels.some_below(plain, code, front_norm, block, front, scale, limit, out)
            assert below == wanted


def test_places_of_queries_on_the_grid_of_boxes() -> None:
    query = np.array([0, 0.26, -0.26, 70, -70, 1e9, -1e9, 3], np.float32)
    place = np.zeros(8, np.uint8)
    apart = kernels.encode_place(query, np.float32(0.5), place)
    assert place.tolist() == [128, 129, 127, 255, 0, 255, 0, 134]
    decoded = (place.astype(np.float64) - 128) * 0.5
    assert apart >= np.linalg.norm(query - decoded)


@pytest.mark.parametrize("count", [1, 2, 16, 17, 100, 1000])
def test_limits_and_shrinking(plain: bool | None, count: int) -> None:
    rng = np.random.default_rng(count)
    for spread in (1, 1e-3, 1e6):
        values = (rng.normal(size=count) * spread).astype(np.float32)
        values[rng.random(count) < 0.1] = PAD
        values[0] = -spread
        held = (values < FAR).sum()
        for wanted in {1, max(1, count // 7), count}:
            limit = kernels.limit_for(values, count, wanted)
            below = (values < limit).sum()
            assert below >= min(wanted, held)
            assert wanted == count or below <= max(wanted + wanted // 4, 1)
            value, item = np.append(values, np.zeros(16, np.float32)), np.arange(count + 16, dtype=np.int32)
            kept, same = kernels.shrink(plain, value, item, count, wanted)
            assert same == limit
            assert sorted(item[:kept]) == np.flatnonzero(values < limit)[: 2 * wanted].tolist()


def test_shrinking_equal_values(plain: bool | None) -> None:
    value, item = np.full(116, 3, np.float32), np.arange(116, dtype=np.int32)
    kept, limit = kernels.shrink(plain, value, item, 100, 10)
    assert (kept, sorted(item[:kept])) == (20, list(range(20)))
    assert limit > 3


@pytest.mark.parametrize("count", [1, 2, 10, 999])
def test_select(count: int) -> None:
    rng = np.random.default_rng(count)
    for levels in (2, 1000):
        values = rng.integers(0, levels, count).astype(np.float32)
        for kth in {0, count // 3, count - 1}:
            value, item = values.copy(), np.arange(count, dtype=np.int32)
            kernels.select(value, item, 0, count, kth)
            assert value[kth] == np.sort(values)[kth]
            assert (value[:kth] <= value[kth]).all()
            assert (value[kth:] >= value[kth]).all()
            np.testing.assert_array_equal(values[item], value)


@pytest.mark.parametrize("count", [0, 1, 5, 16, 17, 40, 256, 257, 333, 5000])
@pytest.mark.parametrize("k", [1, 7, 40, 3000])
def test_the_best_are_sorted(count: int, k: int) -> None:
    rng = np.random.default_rng(count)
    room = count + 16
    spread = rng.random(room) * 10.0 ** rng.integers(-30, 30, room)
    for values in (rng.random(room), spread, rng.integers(0, 4, room), np.zeros(room)):
        value, item = values.astype(np.float32), rng.permutation(room).astype(np.int32)
        pairs = sorted(zip(value[:count].tolist(), item[:count].tolist(), strict=True))
        best, bucket = (np.zeros(k + 1, np.float32), np.zeros(k + 1, np.int32)), np.zeros(65, np.int32)
        found = kernels.sort_best(value.copy(), item.copy(), count, best, bucket)
        assert best[0][:found].tolist() == [value for value, _ in pairs[:k]]
        got = list(zip(best[0][:found].tolist(), best[1][:found].tolist(), strict=True))
        assert len(set(got) & set(pairs)) == found == min(count, k)
        if count <= 256:  # of more, equal ones come in any order
            assert got == pairs[:k]


@pytest.mark.parametrize("size", [0, 1, 5000])
def test_arrays_of_a_tree_are_aligned_and_apart(size: int) -> None:
    sizes = dict.fromkeys(SIZES, size) | {"dim": 20, "width": 24}
    tree = allocate(sizes)
    for name, (dtype, shape) in shapes_of(sizes).items():
        array = getattr(tree, name)
        assert (array.dtype, array.shape, array.ctypes.data % 64) == (dtype, shape, 0)
        array[:] = 1
    arrays: tuple[np.ndarray, ...] = tuple(tree)
    for i, array in enumerate(arrays):
        array[:] = 2
        assert all((other == 1).all() for other in arrays[i + 1 :])


def test_insert() -> None:
    rng = np.random.default_rng(0)
    value, item, count, all_pairs = np.zeros(7, np.float32), np.zeros(7, np.int32), 0, []
    for number in rng.permutation(50):
        pair = (float(rng.integers(5)), int(number))
        all_pairs.append(pair)
        count = kernels.insert(value, item, count, 7, np.float32(pair[0]), np.int32(pair[1]))
        wanted = sorted(all_pairs)[:7]
        assert list(zip(value[:count].tolist(), item[:count].tolist(), strict=True)) == wanted


@pytest.mark.parametrize(("n", "leaf_size"), [(1, 4), (9, 4), (256, 16), (255, 7)])
def test_split_and_means(n: int, leaf_size: int) -> None:
    points = clustered(n, 8, seed=n)
    order, starts = np.arange(n, dtype=np.int32), np.zeros(n + 2, np.int64)
    count = build_kernels.split(points, order, 0, n, leaf_size, 64, starts)
    leaves = [sorted(part.tolist()) for part in np.split(order, starts[1:count])]
    wanted = naive.median_split(points, list(range(n)), leaf_size)
    assert leaves == wanted
    out = np.full((count, 8), 7, np.float32)
    ends = np.append(starts[:count], n)
    build_kernels.means(points, order, ends, np.zeros(n, np.bool_), out, 0, count)
    np.testing.assert_allclose(out, naive.group_means(points, wanted), atol=1e-5)
    skipped = np.zeros(n, np.bool_)
    skipped[order[0]] = True
    build_kernels.means(points, order, ends, skipped, out, 0, 1)
    rest = [row for row in wanted[0] if row != order[0]]
    if rest:
        np.testing.assert_allclose(out[0], points[rest].mean(axis=0), atol=1e-5)


def test_sort_by_leaf_and_put_in_order() -> None:
    leaf_of = np.random.default_rng(0).integers(0, 9, 200).astype(np.int32)
    order, starts = np.zeros(200, np.int32), np.zeros(10, np.int64)
    build_kernels.sort_by_leaf(leaf_of, order, starts)
    np.testing.assert_array_equal(order, np.argsort(leaf_of, kind="stable"))
    np.testing.assert_array_equal(starts, np.searchsorted(np.sort(leaf_of), np.arange(10)))
    source = np.random.default_rng(1).random((200, 3), np.float32)
    for places in (order, np.arange(200, dtype=np.int32), np.arange(200, dtype=np.int32)[::-1].copy()):
        points = source.copy()
        build_kernels.put_in_order(points, places)
        np.testing.assert_array_equal(points, source[places])


def test_tighten_moves_points_to_the_nearest_leaf(plain: bool | None) -> None:
    points = clustered(500, 16)
    step = np.float32(np.abs(points).max() / 63)
    leaf_of = np.random.default_rng(0).integers(0, 20, 500).astype(np.int32)
    order, starts = np.zeros(500, np.int32), np.zeros(21, np.int64)
    build_kernels.sort_by_leaf(leaf_of, order, starts)
    mean = points[:20].copy()
    near = np.tile(np.arange(32, dtype=np.int32), (20, 1))
    near[:, 20:] = -1
    new = np.zeros(500, np.int32)
    build_kernels.tighten(plain, points, order, starts, mean, step, near, new, 0, 20)
    apart = np.linalg.norm(points[:, None] - mean[None], axis=2)
    lost = apart[np.arange(500), new] - apart.min(axis=1)
    assert lost.max() < 4 * step * np.sqrt(16)  # codes are coarse
    assert (lost == 0).mean() > 0.9


def test_trees_of_both_kinds_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, queries = clustered(6000, 12), clustered(30, 12, seed=1)
    fast = KDTree.build(vectors)
    monkeypatch.setenv("RTSEARCH_SIMD", "off")
    assert instructions() == "plain"
    slow = KDTree.build(vectors)
    for name, a, b in zip(fast._arrays._fields, fast._arrays, slow._arrays, strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-6, err_msg=name)
    for options in ({"exact": True}, {"recall": 0.9}):
        np.testing.assert_allclose(
            fast.query(queries, 9, **options)[0], slow.query(queries, 9, **options)[0], rtol=1e-6
        )
    for vectors in odd_vectors().values():
        assert_exact(KDTree.build(vectors), vectors, vectors[:10], 10)


OLDER = """
import numpy as np, sys
sys.path.insert(0, "tests")
import test_search_kernels as t
from rtsearch.search.simd import instructions
assert instructions() == sys.argv[1], instructions()
for width in t.WIDTHS:
    t.test_scores(None, width)
    t.test_scores_below_a_limit_are_kept(None, width)
    t.test_box_distances(None, width)
t.test_values_below_a_limit_are_kept(None)
"""


@pytest.mark.slow
@pytest.mark.skipif(
    instructions() != "avx512vnni", reason="this processor has no newer instructions to leave out"
)
@pytest.mark.parametrize(
    ("expected", "name", "more"), [("avx2", "haswell", ",+avx,+avx2,+fma"), ("any", "nehalem", "")]
)
def test_older_instructions_on_a_newer_processor(expected: str, name: str, more: str) -> None:
    features = "+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+cx16,+64bit" + more
    done = subprocess.run(
        [sys.executable, "-c", OLDER, expected],
        env={**os.environ, "NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features},
        cwd=Path(__file__).resolve().parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
