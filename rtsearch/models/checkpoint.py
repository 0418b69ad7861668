"""Read a PyTorch checkpoint with numpy alone, running no code from it.

A checkpoint is a zip of one pickle and the raw bytes of its tensors. The pickle is read in two passes: its
opcodes are held against a list (so that nothing it says can make the reader take memory), then it is built
with every class replaced by an inert ``Module`` that only remembers attributes. Any name outside the lists
below stops it.
"""

from __future__ import annotations

import collections
import io
import pickle
import pickletools
import zipfile
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from rtsearch.errors import CheckpointError, UnknownModelError

__all__ = ["Module", "read_checkpoint"]

_MAX_PICKLE_BYTES = 64 * 2**20
_STORAGES = {
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "DoubleStorage": np.dtype("<f8"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}
_INERT = ("torch.nn.modules.", "ultralytics.nn.")
# What PyTorch's own writer (protocol 2) uses. Left out: opcodes that call by extension code or global state
# (INST, OBJ, EXT*), out-of-band buffers, and those of later protocols that name a size to allocate.
_OPCODES = """
    PROTO STOP MARK POP NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE BINSTRING
    SHORT_BINSTRING BINGET LONG_BINGET BINPUT LONG_BINPUT GLOBAL REDUCE NEWOBJ BUILD BINPERSID EMPTY_TUPLE
    TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST APPEND APPENDS EMPTY_DICT DICT SETITEM SETITEMS
"""


class Module:
    """What stands for every layer of the checkpoint: its class name and its attributes, no behaviour."""

    kind = "Module"

    def __init__(self, *_: object) -> None:
        self._state: dict[str, Any] = {}

    def __new__(cls, *_: object) -> Module:
        made = super().__new__(cls)
        made._state = {}
        return made

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, dict):
            raise CheckpointError(f"layer {self.kind}: expected a state of named attributes")
        self._state = state

    @property
    def children(self) -> dict[str, Module]:
        """Layers inside this one, in order."""
        inner = self._state.get("_modules", {})
        return {str(name): child for name, child in inner.items() if isinstance(child, Module)}

    def child(self, name: str) -> Module:
        """One layer inside this one."""
        found = self.children.get(name)
        return self._missing(name) if found is None else found

    def tensor(self, name: str) -> NDArray[np.float32]:
        """A parameter or buffer, as float32."""
        for group in ("_parameters", "_buffers"):
            value = self._state.get(group, {}).get(name)
            if isinstance(value, np.ndarray):
                return value.astype(np.float32)
        return self._missing(name)

    def has(self, name: str) -> bool:
        """Whether there is such a parameter."""
        return isinstance(self._state.get("_parameters", {}).get(name), np.ndarray)

    def value(self, name: str, default: object = None) -> Any:
        """A plain attribute, or the default."""
        return self._state.get(name, default)

    def _missing(self, name: str) -> NoReturn:
        raise CheckpointError(f"layer {self.kind} has no {name}; the checkpoint is of a kind not known here")


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The checkpoint's top level: a mapping of plain values, arrays and ``Module`` trees.

    Raises:
        UnknownModelError: no such file.
        CheckpointError: damaged, compressed, or with names or opcodes that are not on the lists.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            top = _read_archive(archive)
    except OSError as error:
        raise UnknownModelError(f"cannot read {path}: {error.strerror or error}") from None
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except (
        zipfile.BadZipFile,
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        TypeError,
        LookupError,
    ) as error:
        raise CheckpointError(f"{path} is damaged or no PyTorch checkpoint: {error}") from None
    if not isinstance(top, dict):
        raise CheckpointError(f"{path}: expected a mapping, got {type(top).__name__}")
    return top


def _read_archive(archive: zipfile.ZipFile) -> Any:
    members = {info.filename: info for info in archive.infolist()}
    if any(info.compress_type != zipfile.ZIP_STORED for info in members.values()):
        # PyTorch never compresses; insisting on it bounds every size below by the size of the file.
        raise CheckpointError("has compressed members, which PyTorch does not write")
    pickles = [name for name in members if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1:
        raise CheckpointError("no data.pkl in it; only checkpoints of PyTorch 1.6 and later are read")
    root = pickles[0].removesuffix("data.pkl")
    if f"{root}byteorder" in members and archive.read(f"{root}byteorder") != b"little":
        raise CheckpointError("was written on a big-endian machine; save it again on a little-endian one")
    if members[pickles[0]].file_size > _MAX_PICKLE_BYTES:
        raise CheckpointError(f"its pickle has more than {_MAX_PICKLE_BYTES} bytes")
    content = archive.read(pickles[0])
    _check_opcodes(content)
    return _Reader(content, archive, members, f"{root}data/").load()


def _check_opcodes(content: bytes) -> None:
    known = frozenset(_OPCODES.split())
    for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        if opcode.name not in known:
            raise CheckpointError(f"its pickle uses {opcode.name}, which PyTorch does not write")
        if opcode.name == "LONG_BINPUT" and int(argument or 0) > count:
            raise CheckpointError("its pickle numbers more objects than it has")


class _Reader(pickle.Unpickler):
    def __init__(
        self, content: bytes, archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], folder: str
    ) -> None:
        super().__init__(io.BytesIO(content))
        self._archive = archive
        self._members = members
        self._folder = folder
        self._storages: dict[str, NDArray[Any]] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _HARMLESS:
            return _HARMLESS[module, name]
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if module.startswith(_INERT) and name.isidentifier():
            return type(name, (Module,), {"kind": name})
        raise CheckpointError(
            f"its pickle asks for {module}.{name}, which is not on the list of harmless names"
        )

    def persistent_load(self, pid: Any) -> NDArray[Any]:
        _, dtype, key, _, count = pid
        if not isinstance(dtype, np.dtype) or not isinstance(key, str) or not isinstance(count, int):
            raise CheckpointError("a tensor is described in a way not known here")
        if key not in self._storages:
            info = self._members[f"{self._folder}{key}"]
            if info.file_size != count * dtype.itemsize:
                raise CheckpointError(
                    f"tensor {key} should have {count * dtype.itemsize} bytes, has {info.file_size}"
                )
            self._storages[key] = np.frombuffer(self._archive.read(info), dtype)
        return self._storages[key]


def _rebuild_tensor(
    storage: NDArray[Any], offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object
) -> NDArray[Any]:
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    size = int(np.prod(shape, dtype=object))
    if offset < 0 or min((*shape, *strides, 0)) < 0 or size > len(storage) or (size and last >= len(storage)):
        raise CheckpointError(f"a tensor of shape {shape} reaches outside its {len(storage)} values")
    if not size:
        return np.zeros(shape, storage.dtype)
    steps = [step * storage.itemsize for step in strides]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps).copy()


def _rebuild_parameter(tensor: NDArray[Any], *_: object) -> NDArray[Any]:
    return tensor


_HARMLESS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("__builtin__", "set"): set,
    ("torch", "Size"): tuple,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
}
