"""Describe the crop of every object with a second network, which costs time and tells objects apart better.

The network is any ONNX file with one input of pictures and one vector per picture as output. Crops of one
frame share a call where the network takes any number of pictures. Pixels are normalised to RGB, ``(pixel /
255 - mean) / std`` with ImageNet's numbers, unless the file's metadata has ``mean`` and ``std`` (three
numbers each, with commas).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import cv2
import numpy as np
import onnxruntime as ort

from rtsearch._util.cpu import usable_cores
from rtsearch._util.wording import one_line
from rtsearch.errors import ModelError, RunnerError, UnknownModelError
from rtsearch.types import F32Array, U8Array

__all__ = ["IMAGENET", "Embedder", "Normalisation"]

_DEFAULT_SIDE_PX = 224  # for networks that take any size
_CROPS_PER_CALL = 16  # bounds the memory for pictures with many objects


class Normalisation(NamedTuple):
    """Mean and standard deviation of R, G and B, 0 to 1, that a network expects its pictures scaled by."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Embedder:
    """Embedder of crops: one vector per box from a second network.

    Args:
        path: ONNX file with one input of pictures and one vector per picture as output.
        threads: number of threads of the network; 0 takes all usable cores.
        usual: mean and standard deviation of R, G and B, 0 to 1, where the file's metadata has none.

    Attributes:
        dim: length of a vector.
        recipe: hash, input size and version, fit for JSON; vectors of different recipes cannot be compared.

    Raises:
        UnknownModelError: the file does not exist.
        ModelError: the file has other inputs or outputs; the message names them.
    """

    def __init__(self, path: Path, threads: int = 0, usual: Normalisation = IMAGENET) -> None:
        if not path.is_file():
            raise UnknownModelError(f"no embedder {path}; describe.embedder names an ONNX file")
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or usable_cores()
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions have no common base below Exception
            raise ModelError(f"{path} cannot be opened: {one_line(error)}") from None
        self._path = path
        self._input, self._channels_first, self._batch, self._wh = _picture_input(self._session, path)
        self._mean, self._std = _normalisation(self._session, path, usual)
        self._output = ""
        self._output, self.dim = self._find_vector()
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        self.recipe: dict[str, Any] = {"sha256": sha256, "input_wh": list(self._wh), "version": 1}

    def embed(self, bgr: U8Array, xyxy: F32Array) -> F32Array:
        """Return (n, dim) float32 vectors of unit length, one per box; zeros where the network gives NaN.

        Args:
            bgr: (H, W, 3) uint8.
            xyxy: (n, 4) float32, boxes in pixels of ``bgr``; a crop has at least one pixel.
        """
        return self.embed_crops([_crop(bgr, box) for box in xyxy])

    def embed_crops(self, crops: Sequence[U8Array]) -> F32Array:
        """Return (n, dim) float32 vectors of unit length, one per crop; zeros where the network gives NaN.

        Args:
            crops: (h, w, 3) uint8 BGR each, of any size.
        """
        vectors = np.zeros((len(crops), self.dim), np.float32)
        step = min(self._batch or _CROPS_PER_CALL, _CROPS_PER_CALL)
        for start in range(0, len(crops), step):
            part = crops[start : start + step]
            results = self._run(self._blob(part))[0]
            vectors[start : start + step] = results[: len(part)].reshape(len(part), -1)
        np.nan_to_num(vectors, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        return cast(F32Array, vectors / np.maximum(length, np.float32(1e-12)))

    def _blob(self, crops: Sequence[U8Array]) -> F32Array:
        """Return the network's input; the last crop is repeated to fill a fixed batch."""
        crops = [*crops, *[crops[-1]] * ((self._batch or len(crops)) - len(crops))]
        scaled = [cv2.resize(crop, self._wh, interpolation=cv2.INTER_AREA) for crop in crops]
        rgb = np.stack(scaled)[..., ::-1].astype(np.float32)
        blob = (rgb / 255 - self._mean) / self._std
        return np.ascontiguousarray(blob.transpose(0, 3, 1, 2) if self._channels_first else blob, np.float32)

    def _run(self, blob: F32Array) -> list[F32Array]:
        try:
            return cast(
                list[F32Array],
                self._session.run([self._output] if self._output else None, {self._input: blob}),
            )
        except Exception as error:
            raise RunnerError(f"{self._path} failed: {one_line(error)}") from None

    def _find_vector(self) -> tuple[str, int]:
        """Run the network once; return name and length of the first output with one vector per picture."""
        blank = np.zeros((self._wh[1], self._wh[0], 3), np.uint8)
        results = self._run(self._blob([blank]))
        names = [output.name for output in self._session.get_outputs()]
        for name, result in zip(names, results, strict=True):
            flat = result.size // max(1, len(result))
            if result.ndim >= 2 and result.shape[1:].count(1) >= result.ndim - 2 and flat > 1:
                return name, flat
        shapes = ", ".join(f"{n} {r.shape}" for n, r in zip(names, results, strict=True))
        raise ModelError(f"{self._path} has no output with one vector per picture, but {shapes}")


def _picture_input(
    session: ort.InferenceSession, path: Path
) -> tuple[str, bool, int | None, tuple[int, int]]:
    """Return the input's name, channels-first flag, batch (None for any) and (width, height), px."""
    inputs = session.get_inputs()
    shape = inputs[0].shape
    if (
        len(inputs) != 1
        or len(shape) != 4
        or inputs[0].type != "tensor(float)"
        or 3 not in (shape[1], shape[3])
    ):
        seen = ", ".join(f"{i.name} {i.type} {i.shape}" for i in inputs)
        raise ModelError(f"{path} is no network of pictures: expected one input (n, 3, h, w), got {seen}")
    first = shape[1] == 3
    height, width = (
        s if isinstance(s, int) else _DEFAULT_SIDE_PX for s in (shape[2:] if first else shape[1:3])
    )
    return inputs[0].name, first, shape[0] if isinstance(shape[0], int) else None, (width, height)


def _normalisation(
    session: ort.InferenceSession, path: Path, usual: Normalisation
) -> tuple[F32Array, F32Array]:
    said = session.get_modelmeta().custom_metadata_map
    try:
        mean = np.array([float(v) for v in said["mean"].split(",")] if "mean" in said else usual.mean)
        std = np.array([float(v) for v in said["std"].split(",")] if "std" in said else usual.std)
    except ValueError:
        raise ModelError(f"{path}: its mean or std is not three numbers with commas") from None
    if mean.shape != (3,) or std.shape != (3,) or not (std > 0).all():
        raise ModelError(f"{path}: its mean or std is not three numbers with commas")
    return mean.astype(np.float32), std.astype(np.float32)


def _crop(bgr: U8Array, box: F32Array) -> U8Array:
    """Return the pixels that a box touches, at least one."""
    height, width = bgr.shape[:2]
    x1, y1 = int(np.clip(np.floor(box[0]), 0, width - 1)), int(np.clip(np.floor(box[1]), 0, height - 1))
    x2, y2 = int(np.clip(np.ceil(box[2]), x1 + 1, width)), int(np.clip(np.ceil(box[3]), y1 + 1, height))
    return bgr[y1:y2, x1:x2]
