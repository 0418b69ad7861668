"""Load and save ONNX files; weights may lie in files beside, and no invalid file is written."""

from __future__ import annotations

import hashlib
import math
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]
from onnx import TensorProto, helper

from rtsearch._util.atomic import write_atomic
from rtsearch._util.wording import one_line
from rtsearch.errors import ModelError
from rtsearch.models.files import MOST_BYTES, NOT_WHOLE, read_model

__all__ = ["load_model", "save_model"]

_VALUES_PER_BYTE = 8
_MOST_SIDES = 32  # of a tensor; the product of many takes long, and is too long to be written


def load_model(path: Path) -> tuple[onnx.ModelProto, str]:
    """Parse an ONNX file and take in weights that lie in files beside it.

    Returns:
        the model with all its weights, and the SHA-256 of the file and of those weights.

    Raises:
        UnknownModelError: the file does not exist or cannot be read.
        ModelError: the file is too large, truncated or not ONNX, or its weights are missing, in other folders
            or larger than their files.
    """
    content, sha256 = read_model(path)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError:
        raise ModelError(NOT_WHOLE.format(path=path)) from None
    if _has_bytes_for_texts(model):
        raise ModelError(NOT_WHOLE.format(path=path))
    if not model.graph.node:
        raise ModelError(f"{path} is not an ONNX file with a network in it")
    outside = []
    for tensor in _tensors(model.graph):
        values = _values_of(tensor)
        if tensor.data_location == TensorProto.EXTERNAL:
            outside.append(tensor)
        elif not 0 <= values <= len(content) * _VALUES_PER_BYTE:  # checked before memory is allocated
            claimed = "sides that no tensor has" if values < 0 else f"{values} values"
            raise ModelError(f"{path} is damaged: {tensor.name} claims {claimed}; export it again")
    if not outside:
        return model, sha256
    places = [_place(tensor, path) for tensor in outside]
    if len(content) + sum(size for _, _, size in places) > MOST_BYTES:
        raise ModelError(f"{path} has over {MOST_BYTES} bytes of weights; a single file holds no more")
    digest = hashlib.sha256(content)
    for tensor, place in zip(outside, places, strict=True):
        tensor.raw_data = _piece(*place)
        tensor.data_location = TensorProto.DEFAULT
        del tensor.external_data[:]
        digest.update(tensor.raw_data)
    return model, digest.hexdigest()


def _has_bytes_for_texts(message: Message) -> bool:
    """Tell whether a text of a message is no UTF-8; protobuf gives bytes for it, which no reader expects."""
    for field, value in message.ListFields():
        values = value if isinstance(value, Sequence) and not isinstance(value, bytes | str) else [value]
        if field.type == field.TYPE_STRING and any(isinstance(text, bytes) for text in values):
            return True
        if field.type == field.TYPE_MESSAGE and any(map(_has_bytes_for_texts, values)):
            return True
    return False


def _place(tensor: TensorProto, path: Path) -> tuple[Path, int, int]:
    """Return file, offset and size in bytes of weights outside of a model, after checking them.

    Raises:
        ModelError: the file is not beside the model or too short, or the size is not that of the tensor.
    """
    told = {entry.key: entry.value for entry in tensor.external_data}
    name = told.get("location", "")
    if not name or name in (".", "..") or any(mark in name for mark in "/\\:\0"):
        # A path could point anywhere on the disk.
        raise ModelError(
            f"{path} keeps weights at {name!r}, not in a file beside it; export it as a single file"
        )
    place = path.parent / name
    try:
        status = place.lstat()
    except OSError as error:
        raise ModelError(
            f"{path} keeps its weights in {name}: {error.strerror or error}; put that file beside it"
        ) from None
    if not stat.S_ISREG(status.st_mode):
        raise ModelError(f"{path} keeps its weights in {name}, which is no file but a link; copy it there")
    try:
        offset = int(told.get("offset", "0"))
        size = _bytes_of(tensor)
        right = int(told.get("length", size)) == size and offset >= 0 and offset + size <= status.st_size
    except (ValueError, KeyError, OverflowError):
        right = False
    if not right:
        raise ModelError(f"{name} does not hold what {tensor.name} of {path.name} claims; export both again")
    return place, offset, size


def _values_of(tensor: TensorProto) -> int:
    """Return the number of values that a tensor claims; -1 where no tensor has such sides."""
    possible = len(tensor.dims) <= _MOST_SIDES and min(tensor.dims, default=0) >= 0
    return math.prod(tensor.dims) if possible else -1


def _bytes_of(tensor: TensorProto) -> int:
    values = _values_of(tensor)
    if values < 0:
        raise ValueError("no tensor has such sides")
    if tensor.data_type in (TensorProto.INT4, TensorProto.UINT4, TensorProto.FLOAT4E2M1):
        return (values + 1) // 2  # two values per byte
    return values * int(helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def _piece(place: Path, offset: int, size: int) -> bytes:
    try:
        with place.open("rb") as file:
            file.seek(offset)
            piece = file.read(size)
    except OSError as error:
        raise ModelError(f"cannot read {place}: {error.strerror or error}") from None
    if len(piece) != size:
        raise ModelError(f"{place} was shortened while it was read; export it again")
    return piece


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Iterate over the tensors of a graph, in its nodes and branches too."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)


def save_model(model: onnx.ModelProto, path: Path) -> None:
    """Check a model and write it atomically.

    Raises:
        ModelError: the graph is not valid, or the file cannot be written.
    """
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ModelError(f"{path.name}: not a valid network: {one_line(error)}") from None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, model.SerializeToString(deterministic=True))
    except OSError as error:
        raise ModelError(f"cannot write {path}: {error.strerror or error}") from None
