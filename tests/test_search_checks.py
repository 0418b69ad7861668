"""Trees that somebody has made up, with right hashes: refused, or answered within bounds, never a crash."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import forked
import numpy as np
import pytest
from numpy.typing import NDArray

from rtsearch.errors import DamagedError
from rtsearch.search import KDTree
from rtsearch.search.arrays import TreeArrays
from rtsearch.search.calibrate import Calibration
from rtsearch.search.store import save_arrays
from rtsearch.search.stored_checks import unsound_array

POINTS, DIM = 3000, 20  # more than FRONT dimensions, so that only one of the arrays of points is empty
FLOATS = [np.nan, np.inf, -np.inf, -1.0, 1e30, 3e38, -3e38, 0.0]
HALVES = [0, 0x7BFF, 0x7C00, 0xFBFF, 0xFC00, 0xFFFF]  # their bits; the third and the last two are no numbers
INTEGERS = [-1, -(2**31), 2**31 - 1, 1 << 20, 0]
ASK = """
import sys, numpy as np
from pathlib import Path
from rtsearch.errors import DamagedError
from rtsearch.search import KDTree

queries = np.load(sys.argv[2])
for folder in sorted(Path(sys.argv[1]).iterdir()):
    print(folder.name, end=" ", flush=True)
    try:
        tree = KDTree.load(folder)
    except DamagedError:
        print("refused", flush=True)
        continue
    rows = [tree.query(queries, k, exact=exact, recall=r)[1]
            for k in (1, 16, 150) for exact in (False, True) for r in (0.5, 0.98)]
    rows += [tree.query(queries, k, exact=exact, allowed=np.arange(tree.row_end) % share == 0)[1]
             for k in (1, 150) for exact in (False, True) for share in (9, 30)]
    rows.append(tree.query(queries, 16, allowed=np.zeros(tree.row_end, np.bool_))[1])
    tree.vectors(np.arange(len(queries)))
    sound = all(((row >= -1) & (row < len(tree))).all() for row in rows)
    print("answered" if sound else "rows that are not there", flush=True)
"""


@pytest.fixture(scope="module", params=["float32", "float16"])
def tree(request: pytest.FixtureRequest) -> KDTree:
    tree = KDTree.build(vectors(POINTS).astype(request.param), leaf_size=2)
    assert len(tree._arrays.group_slot) > 10
    return tree


def vectors(n: int, seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, DIM)) * np.exp(-np.arange(DIM) / 8)).astype(np.float32)


def named(tree: KDTree) -> dict[str, NDArray[Any]]:
    return {**tree._arrays._asdict(), **tree._calibration._asdict()}


def parts(arrays: dict[str, NDArray[Any]]) -> tuple[TreeArrays, Calibration]:
    return (
        TreeArrays(**{name: arrays[name] for name in TreeArrays._fields}),
        Calibration(**{name: arrays[name] for name in Calibration._fields}),
    )


def corruptions(array: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Ways in which the values of an array may be others; its type and shape stay."""
    if not array.size:
        return {}
    values: Any = {"f4": FLOATS, "i4": INTEGERS, "u2": HALVES}.get(array.dtype.str[1:], [0, 255])
    rng = np.random.default_rng(0)
    noise = np.frombuffer(rng.bytes(array.nbytes), array.dtype).reshape(array.shape)
    made = {"reversed": array[::-1].copy(), "bytes": noise}
    made["bits"] = array.copy()
    made["bits"].reshape(-1).view(np.uint8)[::7] ^= 0x55
    made["one for all"] = np.broadcast_to(array[:1], array.shape).copy()
    for value in values:
        places: dict[str, Any] = {"all": slice(None), "first": 0, "last": -1}
        for name, place in places.items():
            changed = array.copy()
            changed[place] = value
            made[f"{name}={value}"] = changed
    return made


def test_no_made_up_array_crashes_a_search(tree: KDTree, tmp_path: Path) -> None:
    """Of a tree of float16, only the arrays that one of float32 has not."""
    count, halves = 0, tree._arrays.half.size > 0
    tried = {"half": tree._arrays.half} if halves else named(tree)
    for name, array in tried.items():
        for how, changed in corruptions(array).items():
            arrays, calibration = parts({**named(tree), name: changed})
            save_arrays(tmp_path / "trees" / f"{name}:{how}".replace(" ", "_"), arrays, calibration)
            count += 1
    np.save(tmp_path / "queries.npy", np.concatenate([vectors(20, 1), np.full((1, DIM), 1e15, np.float32)]))
    done = forked.run(
        [sys.executable, "-c", ASK, tmp_path / "trees", tmp_path / "queries.npy"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, (done.returncode, done.stdout.splitlines()[-1:], done.stderr[-500:])
    said = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert len(said) == count > (10 if halves else 350)
    assert set(said.values()) == {"refused", "answered"}
    for name, array in tried.items():  # what a kernel would go astray on; unchecked, many of these crash
        wrong = {"f4": ("nan", "-inf", "3e+38"), "i4": ("-2147483648", "2147483647"), "u2": (0x7C00, 0xFC00)}
        for value in wrong.get(array.dtype.str[1:], ()) if array.size else ():
            assert said[f"{name}:all={value}"] == "refused", name
    assert halves or said["code:all=255"] == "refused"


def tied(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """The same numbers, two of them exchanged or one of them twice."""
    changed = array.copy()
    if name in ("row", "slot_leaf"):
        changed[1] = changed[0]
    else:
        changed[1], changed[2] = changed[2], changed[1]
    return changed


@pytest.mark.parametrize("name", ["row", "slot_leaf", "block_point", "leaf_block", "group_slot", "probes"])
def test_order_and_counts_are_checked(tree: KDTree, name: str) -> None:
    arrays = named(tree)
    assert unsound_array(*parts(arrays)) == ""
    if name == "probes":
        arrays["probes"] = np.arange(len(arrays["probes"]), 0, -1).astype(np.int32)
    else:
        arrays[name] = tied(name, arrays[name])
    assert unsound_array(*parts(arrays)) == name


def test_a_point_held_outside_its_block_is_found(tree: KDTree) -> None:
    arrays = named(tree)
    padded = np.flatnonzero(arrays["norm"] > 1e37)[0]
    arrays["norm"] = arrays["norm"].copy()
    arrays["norm"][padded] = 1
    assert unsound_array(*parts(arrays)) == "block_point"


@pytest.mark.parametrize("scale", [0, 1e-14, 1e-12, 1, 1e12, 1e15])
def test_trees_of_any_scale_are_sound(scale: float, tmp_path: Path) -> None:
    points = np.clip(vectors(800), -1, 1) * np.float32(scale)
    points[3] = -scale
    tree = KDTree.build(points)
    tree.without(np.arange(0, 800, 3)).save(tmp_path)
    np.testing.assert_array_equal(
        KDTree.load(tmp_path).query(points[:9], 5)[0],
        tree.without(np.arange(0, 800, 3)).query(points[:9], 5)[0],
    )


@pytest.mark.parametrize(
    "header",
    [
        b"[" * 100_000,
        b'{"byte_order": "little", "arrays": 5}',
        b'{"byte_order": ["little"], "arrays": []}',
        b'{"byte_order": "little", "arrays": [{"name": "vector", "shape": [1e999, 3], "dtype": "<f4", '
        b'"offset": 0, "sha256": ""}]}',
    ],
)
def test_a_made_up_header_is_refused(header: bytes, tmp_path: Path) -> None:
    import hashlib

    from rtsearch.search.store import _FIXED, _MAGIC, _VERSION, FILE_NAME

    fixed = _FIXED.pack(_MAGIC, _VERSION, len(header), hashlib.sha256(header).digest())
    (tmp_path / FILE_NAME).write_bytes(fixed + header + bytes(64))
    with pytest.raises(DamagedError, match="its header"):
        KDTree.load(tmp_path)
