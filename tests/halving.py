"""The same network in float32 and in half precision, beside each other on real pictures.

Nothing here needs pytest, so that the bench can measure other networks with it.
"""

from __future__ import annotations

import naive
import numpy as np
import onnx
import onnxruntime as ort

from rtsearch.engines.network import network_for
from rtsearch.models import ModelSpec
from rtsearch.perception.descriptor import Describer
from rtsearch.perception.detector import Found, letterbox


class Runner:
    def __init__(self, model):
        options = ort.SessionOptions()
        options.log_severity_level = 4
        self.session = ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self.half = "float16" in self.session.get_inputs()[0].type
        self.names = [entry.name for entry in self.session.get_outputs()]

    def run(self, images):
        values = self.session.run(None, {"images": images.astype(np.float16 if self.half else np.float32)})
        return {name: value.astype(np.float32) for name, value in zip(self.names, values, strict=True)}


def planes(spec, wh, picture):
    """(1, 3, height, width) float32, as the network takes them."""
    canvas = letterbox(picture, wh, spec.pad_value)
    canvas = canvas[:, :, ::-1] if spec.pixel_order == "rgb" else canvas
    return canvas.transpose(2, 0, 1)[None].astype(np.float32) * np.float32(spec.pixel_scale)


def vectors(spec, wh, picture, rows, out, crops):
    """(n, D) float32: descriptions of what some rows of a network's output found.

    Colours are those of ``crops`` (n, 4), px of the input: a box that moves by a twentieth of a pixel can
    move the edge of its crop by a whole one, whatever computed the box.
    """
    boxes = np.ascontiguousarray(out["boxes"][0][rows])
    scores = np.clip(out["scores"][0][rows], 1e-6, 1 - 1e-6)
    found = Found(
        xyxy=crops / np.float32(min(wh[0] / picture.shape[1], wh[1] / picture.shape[0])),
        score=scores.max(1),
        label=scores.argmax(1).astype(np.int32),
        logits=np.log(scores / (1 - scores)),
        whole=np.zeros(len(rows), bool),
        maps=tuple(np.ascontiguousarray(out[tap.name][0]) for tap in spec.taps),
        input_xyxy=boxes,
        input_wh=wh,
    )
    return Describer(spec).describe(picture, found)


def compare(path, wh, pictures):
    """What half precision changes, at every anchor with a score of 0.05 in either, before any choice is made.

    Returns:
        (score, steady, ways): (n,) score; (n,) bool, where float32 itself stays within 1 px and 0.01 when
        every pixel is changed by up to half a grey level, which is what storing the picture did to it; and
        for each way of running half precision px, largest change of a score, and cosine of vectors: (3, n).
    """
    spec = ModelSpec.read(path)
    single, half = (
        onnx.load_from_string(network_for(path, input_wh=wh, batch=1, precision=precision)[0])
        for precision in ("fp32", "fp16")
    )
    exact, *ways = (Runner(model) for model in (single, half, naive.rounded_to_half(half)))
    rng = np.random.default_rng(0)
    scores, steady, rows = [], [], [[] for _ in ways]
    for picture in pictures:
        images = planes(spec, wh, picture)
        want = exact.run(images)
        grain = [
            exact.run(images + (rng.random(images.shape, np.float32) - 0.5) * np.float32(spec.pixel_scale))
            for _ in range(3)
        ]
        outs = [way.run(images) for way in ways]
        score = np.max([out["scores"][0].max(1) for out in (want, *outs)], axis=0)
        at = np.flatnonzero(score >= 0.05)
        moved = [difference(want, out, at) for out in grain]
        scores.append(score[at])
        steady.append(np.all([(px < 1) & (score < 0.01) for px, score in moved], axis=0))
        described = vectors(spec, wh, picture, at, want, want["boxes"][0][at])
        for kept, out in zip(rows, outs, strict=True):
            got = vectors(spec, wh, picture, at, out, want["boxes"][0][at])
            lengths = np.linalg.norm(described, axis=1) * np.linalg.norm(got, axis=1)
            kept.append([*difference(want, out, at), (described * got).sum(1) / lengths])
    return np.concatenate(scores), np.concatenate(steady), [np.concatenate(kept, axis=1) for kept in rows]


def difference(want, got, rows):
    """Largest differences of boxes, px, and of scores, at some rows: (n,) each."""
    return [np.abs(want[name][0][rows] - got[name][0][rows]).max(1) for name in ("boxes", "scores")]
