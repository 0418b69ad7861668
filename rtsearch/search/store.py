"""A tree as one file of plain arrays, written atomically and mapped back into memory.

::

    8 bytes   magic "RTSTREE\\0"
    4 + 4     format version, length of the header (little-endian)
    32        SHA-256 of the header
    header    JSON: byte order, sizes, and of each array its name, type, shape, offset and SHA-256
    arrays    each at a multiple of 64 bytes

Nothing is trusted before it is checked: lengths against the size of the file, bytes against their SHA-256,
and what the arrays hold against what the kernels rely on (``stored_checks``).
"""

from __future__ import annotations

import hashlib
import json
import math
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
from pydantic import BaseModel, NonNegativeInt, ValidationError

from rtsearch._util.atomic import replacing
from rtsearch._util.regular_files import open_regular
from rtsearch.errors import DamagedError, FormatError, NotALibraryError
from rtsearch.search.arrays import SIZES, TreeArrays, shapes_of
from rtsearch.search.calibrate import Calibration
from rtsearch.search.stored_checks import unsound_array

__all__ = ["FILE_NAME", "load_arrays", "save_arrays"]

FILE_NAME = "kdtree.bin"
_MAGIC = b"RTSTREE\0"
_VERSION = 4
_FIXED = struct.Struct("<8sII32s")
_MOST_HEADER_BYTES = 1 << 20

Arrays = Mapping[str, NDArray[Any]]


class _Entry(BaseModel):
    """One array, as the header describes it."""

    name: str
    dtype: str
    shape: tuple[NonNegativeInt, ...]
    offset: NonNegativeInt
    sha256: str


class _Header(BaseModel):
    byte_order: str
    arrays: list[_Entry]


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
    with replacing(folder / FILE_NAME) as file:
        file.write(fixed + header)
        for place, array in zip(places, named.values(), strict=True):
            file.seek(_start(len(header)) + place)
            file.write(array.data if array.size else b"")
        file.truncate(_start(len(header)) + offset)


def load_arrays(folder: Path, threads: int) -> tuple[TreeArrays, Calibration]:
    """Map ``folder``/kdtree.bin and check it.

    Raises:
        NotALibraryError: there is no such file, or it is something else.
        FormatError: written by a newer or an older version.
        DamagedError: truncated or altered.
    """
    path = folder / FILE_NAME
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            header, start = _read_header(path, file.read(_FIXED.size + _MOST_HEADER_BYTES), size)
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise NotALibraryError(f"{path}: cannot be read ({error.strerror}); build the index anew") from None
    named = _arrays(path, header, data[start:])
    with ThreadPoolExecutor(threads) as pool:
        digests = pool.map(lambda a: hashlib.sha256(a.data if a.size else b"").hexdigest(), named.values())
        for entry, digest in zip(header.arrays, digests, strict=True):
            if entry.sha256 != digest:
                raise _damaged(path, f"array {entry.name} was altered")
    tree = TreeArrays(**{name: named[name] for name in TreeArrays._fields})
    calibration = Calibration(**{name: named[name] for name in Calibration._fields})
    if name := unsound_array(tree, calibration):
        raise _damaged(path, f"array {name} holds what cannot be")
    return tree, calibration


def _start(header_bytes: int) -> int:
    return -(-(_FIXED.size + header_bytes) // 64) * 64


def _damaged(path: Path, what: str) -> DamagedError:
    return DamagedError(f"{path} is damaged ({what}); build the index anew")


def _read_header(path: Path, head: bytes, size: int) -> tuple[_Header, int]:
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
    try:
        header = _Header.model_validate_json(text)
    except ValidationError:
        raise _damaged(path, "its header") from None
    if header.byte_order != sys.byteorder:
        raise FormatError(f"{path}: written on a {header.byte_order}-endian machine; build the index anew")
    if _start(length) > size:
        raise _damaged(path, "truncated")
    return header, _start(length)


def _arrays(path: Path, header: _Header, data: memoryview) -> dict[str, NDArray[Any]]:
    """Views of the file, their names, types and shapes as a tree must have them."""
    entries = {entry.name: entry for entry in header.arrays}
    expected = _expected({name: entry.shape for name, entry in entries.items()})
    if expected is None or entries.keys() != expected.keys() or len(entries) != len(header.arrays):
        raise _damaged(path, "its header")
    arrays = {}
    for name, entry in entries.items():
        dtype, shape = expected[name]
        kind = np.dtype(dtype)
        if entry.shape != shape or entry.dtype != kind.str or entry.offset % 64:
            raise _damaged(path, f"array {name}")
        end = entry.offset + kind.itemsize * math.prod(shape)
        if end > len(data):
            raise _damaged(path, f"truncated: array {name} is not all there")
        arrays[name] = np.frombuffer(data[entry.offset : end], kind).reshape(shape)
    return arrays


def _expected(shape: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[type, tuple[int, ...]]] | None:
    """Return type and shape of each array, derived from the shapes of some; None where these cannot be."""
    try:
        (points,), (halves, dim) = shape["row"], shape["half"]
        (_, width), (a, b) = shape["axes"], shape["recall"]
        sizes = [points, halves, dim, width, shape["code"][0], shape["leaf_block"][0] - 1]
        sizes += [shape["slot_code"][0], shape["group_slot"][0] - 1, shape["group_code"][0]]
    except (KeyError, IndexError, ValueError):
        return None
    if halves not in (0, points):
        return None
    expected = shapes_of(dict(zip(SIZES, sizes, strict=True)))
    expected |= {"ks": (np.int32, (a,)), "probes": (np.int32, (b,)), "ratio": (np.float32, (b,))}
    expected |= {"recall": (np.float32, (a, b)), "usual_crowd": (np.float32, (a, b))}
    return expected | {"usual_distance": (np.float32, (a,))}
