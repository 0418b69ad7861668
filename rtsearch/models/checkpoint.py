"""Read a PyTorch checkpoint with numpy alone, running no code from it.

A checkpoint is a zip of one pickle and the raw bytes of its tensors. The pickle is read in two passes: first
its opcodes are compared with a list, so that no opcode can make the reader allocate much memory; then it is
built with every class replaced by an inert ``Module`` that only stores attributes. A name outside of the
lists below is an error.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from rtsearch.errors import CheckpointError, UnknownModelError

__all__ = ["Module", "read_checkpoint"]

# That of yolo26n has 0.2 million; an empty list takes 1 byte in it and 64 in memory.
_MAX_PICKLE_BYTES = 8 * 2**20
_MAX_ITEMS = 1000  # longest tuple made by a call; a call takes only 3 bytes of the pickle
# Errors of the standard library on a damaged pickle or zip.
_SYMPTOMS = (
    zipfile.BadZipFile,
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    RuntimeError,
    MemoryError,
    OverflowError,
)
_INERT = ("torch.nn.modules.", "ultralytics.nn.")
# Opcodes that PyTorch's own writer (protocol 2) uses. Refused: opcodes that call by extension or global state
# (INST, OBJ, EXT*), out-of-band buffers, and those of later protocols that name a size to allocate.
_OPCODES = """
    PROTO STOP MARK POP NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE BINSTRING
    SHORT_BINSTRING BINGET LONG_BINGET BINPUT LONG_BINPUT GLOBAL REDUCE NEWOBJ BUILD BINPERSID EMPTY_TUPLE
    TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST APPEND APPENDS EMPTY_DICT DICT SETITEM SETITEMS
"""


class Module:
    """Stand-in for a layer of the checkpoint, with its class name and attributes but no behaviour."""

    kind = "Module"

    _state: dict[str, Any]

    def __new__(cls, *_: object) -> Module:
        made = super().__new__(cls)
        made._state = {}
        return made

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, dict):
            raise CheckpointError(f"layer {self.kind}: expected a state of named attributes")
        self._state = state

    @property
    def children(self) -> dict[str, Module]:
        """Layers inside this one, by name, in order."""
        inner = self._state.get("_modules", {})
        return {str(name): child for name, child in inner.items() if isinstance(child, Module)}

    def child(self, name: str) -> Module:
        """Return a layer inside this one.

        Raises:
            CheckpointError: the layer does not exist.
        """
        found = self.children.get(name)
        return self._missing(name) if found is None else found

    def tensor(self, name: str) -> NDArray[np.float32]:
        """Return a parameter or buffer as float32.

        Raises:
            CheckpointError: it does not exist.
        """
        for group in ("_parameters", "_buffers"):
            value = self._state.get(group, {}).get(name)
            if isinstance(value, np.ndarray):
                return value.astype(np.float32)
        return self._missing(name)

    def has(self, name: str) -> bool:
        """Tell whether a parameter exists."""
        return isinstance(self._state.get("_parameters", {}).get(name), np.ndarray)

    def value(self, name: str, default: object = None) -> Any:
        """Return a plain attribute, or the default."""
        return self._state.get(name, default)

    def _missing(self, name: str) -> NoReturn:
        raise CheckpointError(f"layer {self.kind} has no {name}; the checkpoint is of a kind not known here")


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint: a mapping of plain values, arrays and ``Module`` trees.

    Raises:
        UnknownModelError: no such file.
        CheckpointError: damaged, compressed, or with names or opcodes that are not on the lists.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            top = _read_archive(archive)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except OSError as error:
        raise UnknownModelError(f"cannot read {path}: {error.strerror or error}") from None
    except _SYMPTOMS as error:
        raise CheckpointError(f"{path} is damaged or no PyTorch checkpoint: {error}") from None
    if not isinstance(top, dict):
        raise CheckpointError(f"{path}: expected a mapping, got {type(top).__name__}")
    return top


def _read_archive(archive: zipfile.ZipFile) -> object:
    members = {info.filename: info for info in archive.infolist()}
    stored = zipfile.ZIP_STORED
    if any(info.compress_type != stored or info.compress_size != info.file_size for info in members.values()):
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
    top: object = _Reader(content, archive, members, f"{root}data/").load()
    return top


def _check_opcodes(content: bytes) -> None:
    known = frozenset(_OPCODES.split())
    for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        if opcode.name not in known:
            raise CheckpointError(f"its pickle uses {opcode.name}, which PyTorch does not write")
        if opcode.name == "LONG_BINPUT" and int(argument or 0) > count:
            raise CheckpointError("its pickle numbers more objects than it has")


class _Named:
    """Stand-in for a name in the pickle, which allows only calls."""

    __slots__ = ("_call", "dtype")

    def __init__(self, call: Callable[..., object] | None = None, dtype: str = "") -> None:
        self._call = call
        self.dtype = np.dtype(dtype) if dtype else None

    def __call__(self, *arguments: object) -> object:
        if self._call is None:
            raise CheckpointError("its pickle calls an object that is not a function")
        return self._call(*arguments)

    def __setstate__(self, _state: object) -> None:
        raise CheckpointError("its pickle sets attributes of a function")


class _Reader(pickle.Unpickler):
    def __init__(
        self, content: bytes, archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], folder: str
    ) -> None:
        super().__init__(io.BytesIO(content))
        self._archive = archive
        self._members = members
        self._folder = folder
        self._storages: dict[str, NDArray[Any]] = {}

    def find_class(self, module: str, name: str) -> object:
        if (module, name) in _NAMES:
            return _NAMES[module, name]
        if module.startswith(_INERT) and name.isidentifier():
            return type(name, (Module,), {"kind": name})
        raise CheckpointError(
            f"its pickle asks for {module}.{name}, which is not on the list of harmless names"
        )

    def persistent_load(self, pid: Any) -> NDArray[Any]:
        _, named, key, _, count = pid
        dtype = named.dtype if isinstance(named, _Named) else None
        if dtype is None or not isinstance(key, str) or not isinstance(count, int):
            raise CheckpointError("a tensor is described in a way not known here")
        if key not in self._storages:
            info = self._members[f"{self._folder}{key}"]
            if info.file_size != count * dtype.itemsize:
                raise CheckpointError(
                    f"tensor {key} should have {count * dtype.itemsize} bytes, has {info.file_size}"
                )
            self._storages[key] = np.frombuffer(self._archive.read(info), dtype)
        return self._storages[key]


def _tensor(
    storage: NDArray[Any], offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object
) -> NDArray[Any]:
    """Return a view into the storage; tensors take memory of their own only when they are used."""
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    size = int(np.prod(shape, dtype=object))
    if offset < 0 or min((*shape, *strides, 0)) < 0 or size > len(storage) or (size and last >= len(storage)):
        raise CheckpointError(f"a tensor of shape {shape} reaches outside its {len(storage)} values")
    if not size:
        return np.zeros(shape, storage.dtype)
    steps = [step * storage.itemsize for step in strides]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps, writeable=False)


def _mapping() -> dict[object, object]:
    return {}


def _sizes(values: Sequence[object] = ()) -> tuple[object, ...]:
    if not isinstance(values, list | tuple) or len(values) > _MAX_ITEMS:
        raise CheckpointError("a list of sizes is described in a way not known here")
    return tuple(values)


_NAMES: dict[tuple[str, str], _Named] = {
    ("collections", "OrderedDict"): _Named(_mapping),
    ("__builtin__", "set"): _Named(_sizes),
    ("torch", "Size"): _Named(_sizes),
    ("torch", "FloatStorage"): _Named(dtype="<f4"),
    ("torch", "HalfStorage"): _Named(dtype="<f2"),
    ("torch", "DoubleStorage"): _Named(dtype="<f8"),
    ("torch", "LongStorage"): _Named(dtype="<i8"),
    ("torch", "IntStorage"): _Named(dtype="<i4"),
    ("torch", "ByteStorage"): _Named(dtype="u1"),
    ("torch", "BoolStorage"): _Named(dtype="?"),
    ("torch._utils", "_rebuild_tensor_v2"): _Named(_tensor),
    ("torch._utils", "_rebuild_parameter"): _Named(lambda tensor, *_: tensor),
}
