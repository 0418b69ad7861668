"""A tree as one file of plain arrays, written atomically and mapped back into memory.

::

    8 bytes   magic "RTSTREE\\0"
    4 + 4     format version, length of the header (little-endian)
    32        SHA-256 of the header
    header    JSON: byte order, sizes, and of each array its name, type, shape, offset and SHA-256
    arrays    each at a multiple of 64 bytes

Nothing is trusted before it is checked: lengths against the size of the file, bytes against their SHA-256,
and every number that is used as a place in an array against the length of that array.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import struct
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtsearch.errors import DamagedError, FormatError, NotALibraryError
from rtsearch.search.calibrate import Calibration
from rtsearch.search.layout import PAD, SIZES, TreeArrays, shapes_of
from rtsearch.search.simd import BLOCK

__all__ = ["FILE_NAME", "load_arrays", "save_arrays"]

FILE_NAME = "kdtree.bin"
_MAGIC = b"RTSTREE\0"
_VERSION = 2
_FIXED = struct.Struct("<8sII32s")
_MOST_HEADER_BYTES = 1 << 20
_MOST_EFFORTS = 1000

Arrays = Mapping[str, NDArray[Any]]


def save_arrays(folder: Path, arrays: TreeArrays, calibration: Calibration) -> None:
    """Write both to ``folder``/kdtree.bin; a crash leaves the old file or the new one."""
    if sys.byteorder != "little":
        raise FormatError("trees are saved on little-endian machines only")
    folder.mkdir(parents=True, exist_ok=True)
    named: Arrays = {**arrays._asdict(), **calibration._asdict()}
    offset = 0
    entries = []
    places = []
    for name, array in named.items():
        digest = hashlib.sha256(array.data if array.size else b"").hexdigest()
        entry = {"name": name, "dtype": array.dtype.str, "shape": array.shape}
        entries.append(entry | {"offset": offset, "sha256": digest})
        places.append(offset)
        offset = -(-(offset + array.nbytes) // 64) * 64
    header = json.dumps({"byte_order": "little", "arrays": entries}).encode()
    fixed = _FIXED.pack(_MAGIC, _VERSION, len(header), hashlib.sha256(header).digest())
    temporary = folder / f".{FILE_NAME}.{os.getpid()}"
    try:
        with temporary.open("wb") as file:
            file.write(fixed + header)
            file.write(bytes(_start(len(header)) - file.tell()))
            for place, array in zip(places, named.values(), strict=True):
                file.seek(_start(len(header)) + place)
                file.write(array.data if array.size else b"")
            file.truncate(_start(len(header)) + offset)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(folder / FILE_NAME)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(folder)


def load_arrays(folder: Path, threads: int) -> tuple[TreeArrays, Calibration]:
    """Map ``folder``/kdtree.bin and check it.

    Raises:
        NotALibraryError: there is no such file, or it is something else.
        FormatError: written by a newer or an older version.
        DamagedError: truncated or altered.
    """
    path = folder / FILE_NAME
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            header, start = _read_header(path, file.read(_FIXED.size + _MOST_HEADER_BYTES), size)
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise NotALibraryError(f"{path}: cannot be read ({error.strerror}); build the index anew") from None
    named = _arrays(path, header, data[start:])
    with ThreadPoolExecutor(threads) as pool:
        digests = pool.map(lambda a: hashlib.sha256(a.data if a.size else b"").hexdigest(), named.values())
        for entry, digest in zip(header["arrays"], digests, strict=True):
            if entry["sha256"] != digest:
                raise _damaged(path, f"array {entry['name']} was altered")
    tree = TreeArrays(**{name: named[name] for name in TreeArrays._fields})
    calibration = Calibration(**{name: named[name] for name in Calibration._fields})
    _check_places(path, tree)
    return tree, calibration


def _start(header_bytes: int) -> int:
    return -(-(_FIXED.size + header_bytes) // 64) * 64


def _damaged(path: Path, what: str) -> DamagedError:
    return DamagedError(f"{path} is damaged ({what}); build the index anew")


def _read_header(path: Path, head: bytes, size: int) -> tuple[dict[str, Any], int]:
    if len(head) < _FIXED.size or head[:8] != _MAGIC:
        raise NotALibraryError(f"{path}: not a tree; build the index anew")
    _, version, length, digest = _FIXED.unpack(head[: _FIXED.size])
    if version > _VERSION:
        raise FormatError(
            f"{path}: format {version} is newer than this rtsearch reads ({_VERSION}); update it"
        )
    if version < _VERSION:
        raise FormatError(f"{path}: format {version} is of an older rtsearch; build the index anew")
    text = head[_FIXED.size : _FIXED.size + length]
    if length > _MOST_HEADER_BYTES or len(text) != length or hashlib.sha256(text).digest() != digest:
        raise _damaged(path, "its header")
    header: dict[str, Any] = json.loads(text)
    if header["byte_order"] != sys.byteorder:
        raise FormatError(f"{path}: written on a {header['byte_order']}-endian machine; build the index anew")
    if _start(length) > size:
        raise _damaged(path, "truncated")
    return header, _start(length)


def _arrays(path: Path, header: dict[str, Any], data: memoryview) -> dict[str, NDArray[Any]]:
    """Views of the file, their names, types and shapes as a tree must have them."""
    entries = {entry["name"]: entry for entry in header["arrays"]}
    try:
        shape = {name: tuple(int(s) for s in entry["shape"]) for name, entry in entries.items()}
        sizes = (*shape["vector"], shape["axes"][1], shape["code"][0], shape["leaf_block"][0] - 1)
        sizes += (shape["slot_code"][0], shape["group_slot"][0] - 1, shape["group_code"][0])
        expected = shapes_of(dict(zip(SIZES, sizes, strict=True)))
        a, b = shape["recall"]
        expected |= {"ks": (np.int32, (a,)), "probes": (np.int32, (b,)), "ratio": (np.float32, (b,))}
        expected["recall"] = (np.float32, (a, b))
        arrays = {}
        for name, (dtype, wanted) in expected.items():
            kind, place = np.dtype(dtype), int(entries[name]["offset"])
            if shape[name] != wanted or entries[name]["dtype"] != kind.str or min((0, *wanted, place)) < 0:
                raise _damaged(path, f"array {name}")
            length = kind.itemsize * int(np.prod(wanted, dtype=object))
            if place % 64 or place + length > len(data):
                raise _damaged(path, f"truncated: array {name} is not all there")
            arrays[name] = np.frombuffer(data[place : place + length], kind).reshape(wanted)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        if isinstance(error, DamagedError):
            raise
        raise _damaged(path, "its header") from None
    return {entry["name"]: arrays[entry["name"]] for entry in header["arrays"]}


def _check_places(path: Path, tree: TreeArrays) -> None:
    """Every number that a kernel uses as a place must lie within the array it points into."""
    n = len(tree.vector)
    point = tree.block_point[:, None].astype(np.int64) + np.arange(BLOCK)
    held = tree.norm.reshape(-1, BLOCK) < PAD
    checks = {
        "leaf_block": _are_starts(tree.leaf_block, len(tree.code)),
        "group_slot": _are_starts(tree.group_slot, len(tree.slot_code)),
        "block_point": bool((tree.block_point >= 0).all() and (point[held] < n).all()),
        "slot_leaf": _within(tree.slot_leaf, -1, len(tree.leaf_block) - 1),
        "row": _within(tree.row, 0, n),
        "group_code": len(tree.group_slot) - 1 <= len(tree.group_norm),
    }
    for name, sound in checks.items():
        if not sound:
            raise _damaged(path, f"array {name} points outside")


def _are_starts(starts: NDArray[np.int32], end: int) -> bool:
    return bool(len(starts) > 0 and starts[0] == 0 and starts[-1] == end and (np.diff(starts) >= 0).all())


def _within(numbers: NDArray[np.int32], low: int, high: int) -> bool:
    return len(numbers) == 0 or bool(numbers.min() >= low and numbers.max() < high)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
