"""Load and save ONNX files; data outside of the file is never read, and no invalid file is written."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from rtsearch._util.atomic import write_atomic
from rtsearch._util.wording import one_line
from rtsearch.errors import ModelError
from rtsearch.models.files import NOT_WHOLE, read_model

__all__ = ["load_model", "save_model"]

_VALUES_PER_BYTE = 8


def load_model(path: Path) -> tuple[onnx.ModelProto, str]:
    """Parse an ONNX file that contains its weights; return it with the file's SHA-256.

    Raises:
        UnknownModelError: the file does not exist or cannot be read.
        ModelError: the file is too large, truncated or not ONNX, or its weights are outside of it or larger.
    """
    content, sha256 = read_model(path)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError:
        raise ModelError(NOT_WHOLE.format(path=path)) from None
    if not model.graph.node:
        raise ModelError(f"{path} is not an ONNX file with a network in it")
    for tensor in _tensors(model.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            # Paths of external weights are refused, as they may point anywhere on the disk.
            raise ModelError(
                f"{path} keeps weights in other files ({tensor.name}); export it as a single file"
            )
        values = math.prod(tensor.dims)
        if not 0 <= values <= len(content) * _VALUES_PER_BYTE:  # checked before memory is allocated
            raise ModelError(f"{path} is damaged: {tensor.name} claims {values} values; export it again")
    return model, sha256


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
