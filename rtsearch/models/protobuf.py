"""ONNX files in and out: size and hash checked on the way in, whole or not at all on the way out."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from rtsearch.errors import ModelError, UnknownModelError

__all__ = ["load_model", "save_model", "write_atomically"]

_MAX_BYTES = 2**31 - 1  # what a protobuf message can hold at all


def load_model(path: Path) -> tuple[onnx.ModelProto, str]:
    """Parse an ONNX file whose weights are inside it; returns it with the file's SHA-256.

    Raises:
        UnknownModelError: no such file, or unreadable.
        ModelError: too large, truncated, not ONNX, or with weights outside the file.
    """
    try:
        size_bytes = path.stat().st_size
        if size_bytes > _MAX_BYTES:
            raise ModelError(f"{path} has {size_bytes} bytes; an ONNX file holds at most {_MAX_BYTES}")
        content = path.read_bytes()
    except OSError as error:
        raise UnknownModelError(f"cannot read {path}: {error.strerror or error}") from None
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError:
        raise ModelError(
            f"{path} is not a whole ONNX file ({size_bytes} bytes); export or pull it again"
        ) from None
    if not model.graph.node:
        raise ModelError(f"{path} is not an ONNX file with a network in it")
    outside = [t.name for t in model.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
    if outside:
        # Refused rather than followed: such a path may point anywhere on the disk.
        raise ModelError(f"{path} keeps weights in other files ({outside[0]}); export it as a single file")
    return model, hashlib.sha256(content).hexdigest()


def save_model(model: onnx.ModelProto, path: Path) -> None:
    """Check a model and write it whole, or leave what was there.

    Raises:
        ModelError: the graph is not valid, or the disk refuses it.
    """
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ModelError(f"{path.name}: not a valid network: {' '.join(str(error).split())[:200]}") from None
    try:
        write_atomically(path, model.SerializeToString(deterministic=True))
    except OSError as error:
        raise ModelError(f"cannot write {path}: {error.strerror or error}") from None


def write_atomically(path: Path, content: bytes) -> None:
    """Temporary name, fsync, rename; nothing is left behind when it fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        temporary = Path(file.name)
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    temporary.chmod(0o644)
    temporary.replace(path)
