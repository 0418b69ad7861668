"""Make the int8 file of a network: photos to inputs, and a comparison of what both files see.

The int8 file stands beside the one in float32 as NAME.int8.onnx. Where its boxes and descriptions stay as
near as those of pictures with less padding do, it says so, and libraries of both files compare.
"""

from __future__ import annotations

import dataclasses
import itertools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnx

from rtsearch._util.wording import counted
from rtsearch.config import DetectSettings
from rtsearch.errors import ModelError, PhotoError
from rtsearch.images.decode import quiet_decoders, read_photo
from rtsearch.library.photos import find_photos
from rtsearch.models import ModelSpec
from rtsearch.models.protobuf import load_model, save_model
from rtsearch.models.quantize import quantized
from rtsearch.models.spec import METADATA_KEY
from rtsearch.models.store import int8_path
from rtsearch.perception.descriptor import Describer
from rtsearch.perception.detector import Detector, Found, iou, letterbox
from rtsearch.runners.onnx import OnnxRunner
from rtsearch.types import F32Array, U8Array

__all__ = ["QuantizeReport", "quantize"]

_FEWEST_PHOTOS = 16
_CALIBRATION, _TRIAL, _COMPARED = 48, 16, 32  # photos for ranges, for errors, and for the comparison
_SURE = 0.5  # weaker objects come and go with less padding too
_LEAST_IOU, _LEAST_COSINE = 0.9, 0.99
_SHARE = 0.99  # of the objects that must be as near as that


@dataclass(frozen=True)
class QuantizeReport:
    """Result of ``quantize``.

    Attributes:
        path: the int8 file.
        photos: number of photos that were used.
        convolutions: number of convolutions of the network.
        left_out: names of those that stay in float32.
        agrees: boxes and descriptions are near enough for libraries of both files to be compared.
        objects: number of objects that were compared.
        iou: intersection over union of their boxes that 99 % reach.
        cosine: cosine of their descriptions that 99 % reach.
    """

    path: Path
    photos: int
    convolutions: int
    left_out: tuple[str, ...]
    agrees: bool
    objects: int
    iou: float
    cosine: float

    def lines(self) -> list[str]:
        """Return the report as lines of text."""
        in_int8 = self.convolutions - len(self.left_out)
        near = "libraries of both files compare" if self.agrees else "it needs libraries of its own"
        use = (
            "used by itself where it saves time" if self.agrees else "use it with --set model.precision=int8"
        )
        return [
            f"int8: {in_int8} of {self.convolutions} convolutions",
            f"99 % of {self.objects} objects: boxes overlap by {self.iou:.3f} or more, "
            f"descriptions have a cosine of {self.cosine:.4f} or more: {near}",
            f"ready: {self.path}; {use}",
        ]


def quantize(path: Path, folder: Path, progress: Callable[[str, float], None]) -> QuantizeReport:
    """Write the int8 file of a prepared model beside it.

    Args:
        path: prepared model in float32.
        folder: folder of photos, of the kind that will be searched.
        progress: gets the current step and its finished share.

    Raises:
        ModelError: there are too few photos, or the model cannot be quantised.
        SourceError: the folder is missing or has no photos.
        UnknownModelError: the model does not exist.
    """
    spec = ModelSpec.read(path)
    if spec.same_as is not None:
        raise ModelError(f"{path} is in int8 already; quantise the file that it was made from")
    model, _ = load_model(path)
    photos = _read(folder)
    planes = [_planes(photo, spec) for photo in photos[: _CALIBRATION + _TRIAL]]
    few = min(_TRIAL, len(planes) // 4)
    trial, calibration = planes[:few], planes[few:]
    compared = photos[-_COMPARED:]
    before = _seen(path, spec, compared)
    facts: dict[str, float] = {}

    def agrees(made: onnx.ModelProto) -> bool:
        with tempfile.TemporaryDirectory(prefix="rtsearch-") as kept:
            tried = Path(kept) / "int8.onnx"
            save_model(made, tried)
            facts.update(_nearness(before, _seen(tried, spec, compared)))
        return facts["iou"] >= _LEAST_IOU and facts["cosine"] >= _LEAST_COSINE

    made, left_out, near = quantized(model, calibration, trial, agrees, progress)
    told = dataclasses.replace(spec, source_sha256=spec.sha256, same_as=spec.sha256 if near else "")
    onnx.helper.set_model_props(made, {METADATA_KEY: told.to_json()})
    target = int8_path(path)
    save_model(made, target)
    return QuantizeReport(
        path=target,
        photos=len(photos),
        convolutions=sum(node.op_type == "Conv" for node in made.graph.node),
        left_out=tuple(left_out),
        agrees=near,
        objects=int(facts["objects"]),
        iou=facts["iou"],
        cosine=facts["cosine"],
    )


def _read(folder: Path) -> list[U8Array]:
    """Return photos from all over a folder.

    Raises:
        ModelError: it has too few that can be read.
    """
    found = [folder / photo.path for photo in find_photos(folder).photos]
    most = _CALIBRATION + _TRIAL + _COMPARED
    step = max(1, len(found) // most)
    photos = []
    with quiet_decoders():
        for path in itertools.islice(found, 0, None, step):
            try:
                photos.append(read_photo(path))
            except PhotoError:
                continue
            if len(photos) == most:
                break
    if len(photos) < _FEWEST_PHOTOS:
        raise ModelError(
            f"{folder} has {counted(len(photos), 'photo')} that can be read; "
            f"at least {_FEWEST_PHOTOS} are needed"
        )
    return photos


def _planes(photo: U8Array, spec: ModelSpec) -> F32Array:
    canvas = letterbox(photo, spec.input_wh, spec.pad_value, stretch=spec.stretch)
    planes = cv2.dnn.blobFromImage(canvas, spec.pixel_scale, swapRB=spec.pixel_order == "rgb")
    repeated: F32Array = np.repeat(np.asarray(planes, np.float32), spec.batch or 1, axis=0)
    return repeated


def _seen(path: Path, spec: ModelSpec, photos: list[U8Array]) -> list[tuple[Found, F32Array]]:
    """Return the objects of each photo with their descriptions."""
    runner = OnnxRunner(path, 0, spec.input_wh)
    detector, describer = Detector(runner, spec, spec.input_wh), Describer(spec)
    seen = []
    for photo in photos:
        found = detector.detect([photo] * (spec.batch or 1), DetectSettings(threshold=_SURE / 2))[0]
        seen.append((found, describer.describe(photo, found)))
    runner.close()
    return seen


def _nearness(before: list[tuple[Found, F32Array]], after: list[tuple[Found, F32Array]]) -> dict[str, float]:
    """Return how near boxes and descriptions of the sure objects are; 99 % of them are nearer."""
    ious, cosines = [], []
    for (found, vectors), (other, others) in zip(before, after, strict=True):
        for i in np.flatnonzero(found.score >= _SURE):
            overlap = iou(found.xyxy[i], other.xyxy)
            j = int(overlap.argmax()) if len(overlap) else -1
            ious.append(float(overlap[j]) if j >= 0 else 0.0)
            if j >= 0:
                a, b = vectors[i], others[j]
                cosines.append(float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-12)))
    if not cosines:
        return {"objects": 0, "iou": 0.0, "cosine": 0.0}
    low = 1 - _SHARE
    return {
        "objects": len(ious),
        "iou": float(np.quantile(ious, low)),
        "cosine": float(np.quantile(cosines, low)),
    }
