"""Describe a prepared model in its own file.

A prepared model is one ONNX file: input ``images`` (batch, 3, height, width) float32; outputs ``boxes``
(batch, N, 4) xyxy in input px, ``scores`` (batch, N, C) probabilities, then the taps ``tap0``..
(batch, c, h, w). Everything else that the stages need is stored in the file, as JSON in its ONNX metadata.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from rtsearch._util.wording import one_line
from rtsearch.errors import ModelError
from rtsearch.models.files import NOT_WHOLE, metadata, read_model

__all__ = ["METADATA_KEY", "ModelSpec", "Tap"]

METADATA_KEY = "rtsearch"


@dataclass(frozen=True)
class Tap:
    """Map of the network that describes objects.

    Attributes:
        name: name of the output of the ONNX file.
        role: role of the map in the network, for example ``deep32``; see ``taps.py``.
        stride: number of input pixels per cell.
        channels: number of values per cell.
    """

    name: str
    role: str
    stride: int
    channels: int


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Specification of a prepared model.

    Attributes:
        name: name in the catalogue, or stem of the imported file.
        family: family of networks.
        licence: SPDX name of the weights' licence, or "unknown".
        licence_url: address of the licence's text.
        source_sha256: SHA-256 of the file that the model was made from.
        recipe: version of the preparation.
        classes: class names in the order of labels.
        needs_nms: the network gives several boxes per object, so non-maximum suppression is needed.
        pixel_order: order of the input planes.
        pixel_scale: factor from a pixel 0..255 to the input.
        pad_value: grey level of the padding, 0..255.
        input_wh: width and height of the input that the network was trained for, px.
        flexible: the network takes any width and height that are multiples of ``multiple``.
        multiple: divisor of the input's sides, px.
        batch: number of pictures per call, or None where the network takes any number.
        taps: maps that describe objects, finest first.
        stretch: pictures are stretched to the input, as in training, instead of scaled and padded.
        same_as: None for a file in float32; for one in int8 the SHA-256 of the file in float32 that libraries
            may take it for, or "" where its descriptions differ too much for that.
        sha256: SHA-256 of the prepared file; "" until it is read from disk.
    """

    name: str
    family: str
    licence: str
    licence_url: str
    source_sha256: str
    recipe: int
    classes: tuple[str, ...]
    needs_nms: bool
    pixel_order: Literal["rgb", "bgr"]
    pixel_scale: float
    pad_value: int
    input_wh: tuple[int, int]
    flexible: bool
    multiple: int
    batch: int | None
    taps: tuple[Tap, ...]
    stretch: bool = False
    same_as: str | None = None
    sha256: str = field(default="", compare=False)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the file that libraries know the network by."""
        return self.same_as or self.sha256

    def to_json(self) -> str:
        """Return the specification as JSON, without the hash of the file."""
        values = dataclasses.asdict(self)
        del values["sha256"]
        for name, usual in (("stretch", False), ("same_as", None)):
            if values[name] == usual:  # files that were prepared before there was the choice do not have it
                del values[name]
        return json.dumps(values)

    @classmethod
    def from_json(cls, text: str, *, sha256: str = "") -> ModelSpec:
        """Return the specification from the JSON of ``to_json``.

        Raises:
            ModelError: a field is missing, unknown or of the wrong type.
        """
        try:
            spec: ModelSpec = _ADAPTER.validate_python(json.loads(text))
        except (ValueError, ValidationError, RecursionError) as error:
            reason = one_line(error)
            raise ModelError(f"the model's description is damaged: {reason}") from None
        return dataclasses.replace(spec, sha256=sha256)

    @classmethod
    def read(cls, path: Path) -> ModelSpec:
        """Read the specification of a prepared model from its file.

        Raises:
            UnknownModelError: the file does not exist.
            ModelError: the file is not a prepared model.
        """
        content, sha256 = read_model(path)
        try:
            texts = metadata(content)
        except ValueError:
            raise ModelError(NOT_WHOLE.format(path=path)) from None
        if METADATA_KEY not in texts:
            raise ModelError(f"{path} is not a prepared model; run: rtsearch model import {path}")
        return cls.from_json(texts[METADATA_KEY], sha256=sha256)


_ADAPTER: TypeAdapter[Any] = TypeAdapter(ModelSpec)
