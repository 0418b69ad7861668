"""Description of a prepared model, stored in its file.

A prepared model is one ONNX file: input ``images`` (batch, 3, height, width) float32; outputs ``boxes``
(batch, N, 4) xyxy in input px, ``scores`` (batch, N, C) probabilities, then the taps ``tap0``..
(batch, c, h, w). Everything else that the stages must know travels inside the file, as JSON among its ONNX
metadata.
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
    """One map of the network that describes objects.

    Attributes:
        name: output of the ONNX file.
        role: what the map is to the network, for example ``deep32``; see ``taps.py``.
        stride: input pixels per cell.
        channels: values per cell.
    """

    name: str
    role: str
    stride: int
    channels: int


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One prepared model.

    Attributes:
        name: what it is called in the catalogue, or the stem of the imported file.
        family: the network's kind; decides the taps and the colours it was trained with.
        licence: SPDX name of the weights' licence, or "unknown".
        licence_url: where that licence stands.
        source_sha256: of the file that this one was made from.
        recipe: version of the preparation that made it.
        classes: names, by label.
        needs_nms: the network gives several boxes per object and leaves suppression to the reader.
        pixel_order: of the input planes.
        pixel_scale: a pixel 0..255 times this is the input.
        pad_value: 0..255, what fills the border of a letterbox.
        input_wh: width and height it was made for, px.
        flexible: any width and height that are multiples of ``multiple`` will do.
        multiple: of the input's sides, px.
        batch: pictures per call, or None where any number will do.
        taps: maps that describe objects, finest first.
        sha256: of the prepared file itself; "" until it is read from disk.
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
    sha256: str = field(default="", compare=False)

    def to_json(self) -> str:
        """Return the description as JSON, without the file's own hash."""
        values = dataclasses.asdict(self)
        del values["sha256"]
        return json.dumps(values)

    @classmethod
    def from_json(cls, text: str, *, sha256: str = "") -> ModelSpec:
        """The inverse of ``to_json``.

        Raises:
            ModelError: a field is missing, unknown or of the wrong type.
        """
        try:
            spec: ModelSpec = _ADAPTER.validate_python(json.loads(text))
        except (ValueError, ValidationError) as error:
            reason = one_line(error)
            raise ModelError(f"the model's description is damaged: {reason}") from None
        return dataclasses.replace(spec, sha256=sha256)

    @classmethod
    def read(cls, path: Path) -> ModelSpec:
        """The description inside a prepared model.

        Raises:
            UnknownModelError: no such file.
            ModelError: not a prepared model.
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
