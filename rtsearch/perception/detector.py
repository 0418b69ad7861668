"""Find the objects of pictures: letterbox, one call of the network, decoding, suppression.

The picture is scaled to fit the network's input and padded on the right and below. With the picture in the
top left corner, the cells of the network's maps fall on the same picture pixels for every padding. Networks
that were trained on stretched pictures (``ModelSpec.stretch``) get them stretched.

``cut_padding`` leaves out padding where a network takes inputs of any size: 416x256 instead of 416x416 px for
a picture of 16:9, 25 instead of 40 ms of CPU. Boxes and vectors stay the same within 1 %, see
docs/performance.md; a few weak objects come and go, so libraries are made with the full padding.

Suppression has two steps. Networks that report an object several times get per-class non-maximum suppression.
Then boxes of all wanted classes are compared by falling confidence, and a box is dropped when it overlaps a
kept one by more than ``max_overlap``. Overlap is intersection over union, or the share of the box that the
kept one covers (``overlap``), which drops a cup before a person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from rtsearch.config import DetectSettings
from rtsearch.errors import ConfigError
from rtsearch.models.spec import ModelSpec
from rtsearch.models.vocabulary import classes_meant
from rtsearch.runners import Runner
from rtsearch.types import WHOLE_IMAGE_LABEL, F32Array, I32Array, U8Array

__all__ = ["Detector", "Found", "drop_overlapping", "fit", "iou", "letterbox", "wanted_classes"]

_CANDIDATES = 300  # boxes that enter suppression, as in exports of YOLO
_LOGIT_LIMIT = 1e-6  # float32 scores saturate; a logit beyond +-13.8 would only be rounding noise


@dataclass(frozen=True, slots=True)
class Found:
    """Objects of one picture, best first, with the data that their description needs.

    Attributes:
        xyxy: (n, 4) float32, picture pixels.
        score: (n,) float32, 0..1; 1 for a whole image.
        label: (n,) int32, class index; ``WHOLE_IMAGE_LABEL`` for the full frame.
        logits: (n, C) float32, log-odds of every class at the object; for a whole image the largest log-odds
            of each class in the picture.
        whole: (n,) bool, True for the object that covers the full frame.
        maps: taps of this picture, each (c, h, w) float32; valid until the next call of the detector.
        input_xyxy: (n, 4) float32, the boxes in pixels of the network's input.
        input_wh: width and height of the network's input, px.
    """

    xyxy: F32Array
    score: F32Array
    label: I32Array
    logits: F32Array
    whole: NDArray[np.bool_]
    maps: tuple[F32Array, ...]
    input_xyxy: F32Array
    input_wh: tuple[int, int]

    def __len__(self) -> int:
        return len(self.xyxy)


class Detector:
    """Finds objects with a prepared network.

    Args:
        runner: runs the network.
        spec: the network's pixel format, and whether it suppresses duplicates itself.
        input_wh: width and height of the network's input, px.
        cut_padding: leave out padding that the network does not need; the runner must take any size.
    """

    def __init__(
        self,
        runner: Runner,
        spec: ModelSpec,
        input_wh: tuple[int, int],
        *,
        cut_padding: bool = False,
    ) -> None:
        self.input_wh = input_wh
        self._runner = runner
        self._spec = spec
        self._cut_padding = cut_padding

    def detect(
        self, images: Sequence[U8Array], settings: DetectSettings, *, pad_fully: bool = False
    ) -> list[Found]:
        """Find the objects of each (H, W, 3) uint8 BGR picture; pictures of one shape share a network call.

        Args:
            images: pictures of any sizes.
            settings: thresholds.
            pad_fully: pad to the full input size in this call, in spite of ``cut_padding``.
        """
        groups: dict[tuple[int, int], list[int]] = {}
        for i, image in enumerate(images):
            groups.setdefault(self.padded_wh(image, pad_fully=pad_fully), []).append(i)
        found: dict[int, Found] = {}
        for wh, places in groups.items():
            outputs = self._runner.run(np.concatenate([self._blob(images[i], wh) for i in places]))
            taps = [outputs[tap.name] for tap in self._spec.taps]
            for row, i in enumerate(places):
                boxes, scores = outputs["boxes"][row], outputs["scores"][row]
                maps = tuple(tap[row] for tap in taps)
                found[i] = self._decode_one(images[i], wh, settings, boxes, scores, maps)
        return [found[i] for i in range(len(images))]

    def at_boxes(self, image: U8Array, xyxy: F32Array, whole: NDArray[np.bool_]) -> Found:
        """Return given boxes of a picture with all that their description needs, in their order.

        A box gets the class scores of the prediction that fits it best.

        Args:
            image: (H, W, 3) uint8 BGR.
            xyxy: (n, 4) float32, pixels of the picture.
            whole: (n,) bool, True for boxes that stand for the full frame.
        """
        outputs = self._runner.run(self._blob(image, self.input_wh))
        boxes, scores = outputs["boxes"][0], outputs["scores"][0]
        height, width = image.shape[:2]
        scale = np.tile(self.scales(image), 2)
        input_xyxy = np.clip(xyxy * scale, 0, np.array([width, height] * 2, np.float32) * scale)
        probability = np.stack([_fitting(box, boxes, scores) for box in input_xyxy])
        probability[whole] = scores.max(0, initial=0)
        label = probability.argmax(1).astype(np.int32)
        label[whole] = WHOLE_IMAGE_LABEL
        return Found(
            xyxy=xyxy,
            score=np.where(whole, 1, probability.max(1)).astype(np.float32),
            label=label,
            logits=_logit(probability),
            whole=whole,
            maps=tuple(outputs[tap.name][0] for tap in self._spec.taps),
            input_xyxy=input_xyxy.astype(np.float32),
            input_wh=self.input_wh,
        )

    def close(self) -> None:
        """Close the runner."""
        self._runner.close()

    def padded_wh(self, image: U8Array, *, pad_fully: bool = False) -> tuple[int, int]:
        """Return width and height of the network's input for a picture, px."""
        if pad_fully or not self._cut_padding:
            return self.input_wh
        fitted, multiple = self._fit(image)[0], self._spec.multiple
        width, height = (-(-side // multiple) for side in fitted)
        return width * multiple, height * multiple

    def scales(self, image: U8Array) -> F32Array:
        """Return pixels of the input per pixel of a picture, across and down, (2,) float32."""
        return self._fit(image)[1]

    def _fit(self, image: U8Array) -> tuple[tuple[int, int], F32Array]:
        return fit((image.shape[1], image.shape[0]), self.input_wh, stretch=self._spec.stretch)

    def _blob(self, image: U8Array, wh: tuple[int, int]) -> F32Array:
        whole = letterbox(image, self.input_wh, self._spec.pad_value, stretch=self._spec.stretch)
        canvas = whole[: wh[1], : wh[0]]
        swap = self._spec.pixel_order == "rgb"
        return cast(F32Array, cv2.dnn.blobFromImage(canvas, self._spec.pixel_scale, swapRB=swap))

    def _decode_one(
        self,
        image: U8Array,
        wh: tuple[int, int],
        settings: DetectSettings,
        boxes: F32Array,
        scores: F32Array,
        maps: tuple[F32Array, ...],
    ) -> Found:
        """Decode the outputs of the network for one picture.

        Args:
            image: (H, W, 3) uint8 BGR.
            wh: width and height of the input that the network got, px.
            settings: thresholds.
            boxes: (N, 4) float32, pixels of the input.
            scores: (N, C) float32, 0..1.
            maps: taps, each (c, h, w) float32.
        """
        height, width = image.shape[:2]
        scale = np.tile(self.scales(image), 2)
        limits = np.array([width, height, width, height], np.float32) * scale
        least_px = np.maximum(np.float32(1), np.float32(settings.min_px) * scale[:2])
        kept = self._select(boxes, scores, limits, settings, least_px)
        input_xyxy = np.clip(boxes[kept], 0, limits)
        probability = scores[kept]
        label = probability.argmax(1).astype(np.int32) if len(kept) else np.zeros(0, np.int32)
        score = probability.max(1) if len(kept) else np.zeros(0, np.float32)
        whole = np.zeros(len(kept), bool)
        if settings.whole_image:
            input_xyxy = np.concatenate([[np.r_[0, 0, limits[2:]]], input_xyxy]).astype(np.float32)
            probability = np.concatenate([scores.max(0, initial=0)[None], probability])
            label = np.concatenate([[WHOLE_IMAGE_LABEL], label]).astype(np.int32)
            score = np.concatenate([[1], score]).astype(np.float32)
            whole = np.concatenate([[True], whole])
        return Found(
            xyxy=(input_xyxy / scale).astype(np.float32),
            score=score.astype(np.float32, copy=False),
            label=label,
            logits=_logit(probability),
            whole=whole,
            maps=maps,
            input_xyxy=input_xyxy,
            input_wh=wh,
        )

    def _select(
        self,
        boxes: F32Array,
        scores: F32Array,
        limits: F32Array,
        settings: DetectSettings,
        least_px: F32Array,
    ) -> NDArray[np.intp]:
        """Return the rows of the boxes that are kept, best first."""
        best = scores.max(1)
        rows = np.flatnonzero(best >= settings.threshold)
        if settings.classes:
            wanted = wanted_classes(settings.classes, self._spec.classes)
            rows = rows[wanted[scores[rows].argmax(1)]]
        rows = rows[np.argsort(-best[rows], kind="stable")][:_CANDIDATES]
        clipped = np.clip(boxes[rows], 0, limits)
        visible = ((clipped[:, 2:] - clipped[:, :2]) >= least_px).all(1) & np.isfinite(boxes[rows]).all(1)
        rows, clipped = rows[visible], clipped[visible]
        if self._spec.needs_nms and len(rows):
            xywh = np.concatenate([clipped[:, :2], clipped[:, 2:] - clipped[:, :2]], axis=1)
            labels = scores[rows].argmax(1)
            suppress: Any = cv2.dnn.NMSBoxesBatched  # the type stub allows only sequences, not arrays
            keep = np.sort(np.asarray(suppress(xywh, best[rows], labels, 0.0, settings.nms_iou), np.intp))
            rows, clipped = rows[keep], clipped[keep]
        return rows[drop_overlapping(clipped, settings)][: settings.max_objects]


@lru_cache(maxsize=8)
def wanted_classes(names: tuple[str, ...], known: tuple[str, ...]) -> NDArray[np.bool_]:
    """Return a mask of the wanted classes.

    Args:
        names: class names of ``detect.classes``; an empty tuple means all classes.
        known: class names of the network, in the order of its labels.

    Returns:
        (len(known),) bool, read-only.

    Raises:
        ConfigError: the network has no class of one of the names.
    """
    for name in names:
        if name not in known:
            near = classes_meant(name, known) or known[:3]
            raise ConfigError(
                f"detect.classes: this network knows no {name!r}, but {', '.join(map(repr, near))}; "
                f"`rtsearch model info` lists its {len(known)} classes"
            )
    wanted = np.isin(known, names) if names else np.ones(len(known), bool)
    wanted.setflags(write=False)
    return wanted


def fit(
    picture_wh: tuple[int, int], input_wh: tuple[int, int], *, stretch: bool = False
) -> tuple[tuple[int, int], F32Array]:
    """Return the size of a picture in the network's input, px, and its scales across and down, (2,) float32.

    Args:
        picture_wh: width and height of the picture, px.
        input_wh: width and height of the network's input, px.
        stretch: fill the input instead of keeping the picture's aspect.
    """
    scales = [side / of for side, of in zip(input_wh, picture_wh, strict=True)]
    if stretch:
        return input_wh, np.array(scales, np.float32)
    scale = min(scales)
    width, height = (max(1, round(side * scale)) for side in picture_wh)
    return (width, height), np.array([scale, scale], np.float32)


def letterbox(image: U8Array, input_wh: tuple[int, int], pad_value: int, *, stretch: bool = False) -> U8Array:
    """Scale a picture to fit ``input_wh`` as ``fit`` says, and pad it on the right and below."""
    height, width = image.shape[:2]
    fitted, _ = fit((width, height), input_wh, stretch=stretch)
    canvas = np.full((input_wh[1], input_wh[0], 3), pad_value, np.uint8)
    inner = canvas[: fitted[1], : fitted[0]]
    if fitted == (width, height):
        inner[:] = image
    else:
        cv2.resize(image, fitted, dst=inner, interpolation=cv2.INTER_LINEAR)
    return canvas


def drop_overlapping(xyxy: F32Array, settings: DetectSettings) -> NDArray[np.intp]:
    """Return the rows that stay of (n, 4) boxes sorted by falling confidence.

    A box is dropped when it overlaps one kept before by more than ``max_overlap``; ``overlap`` says how that
    is measured.
    """
    if not len(xyxy):
        return np.zeros(0, np.intp)
    too_much = _overlap(xyxy, of_union=settings.overlap == "iou") > settings.max_overlap
    kept = np.zeros(len(xyxy), bool)
    for i in range(len(xyxy)):
        kept[i] = not (too_much[i] & kept).any()
    return np.flatnonzero(kept)


def iou(box: F32Array, boxes: F32Array) -> F32Array:
    """Return the intersection over union of a (4,) box with each of (n, 4) boxes, (n,) float32."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    common = np.prod(np.clip(high - low, 0, None), axis=1)
    areas = np.prod(box[2:] - box[:2]) + np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    share: F32Array = common / np.maximum(areas - common, 1e-9)
    return share


def _fitting(box: F32Array, boxes: F32Array, scores: F32Array) -> F32Array:
    """Return the class scores of the prediction that fits a box best, (C,); zeros where none overlaps it.

    Confidence counts less than overlap. So a box of the network's own finds its own prediction: two that are
    kept overlap by .65 at most by default, and the cube of that is less than the threshold of .3.
    """
    fit = iou(box, boxes) ** 3 * scores.max(1)
    best = int(np.nan_to_num(fit).argmax()) if len(fit) else 0
    found: F32Array = scores[best] if len(fit) and fit[best] > 0 else np.zeros(scores.shape[1], np.float32)
    return found


def _overlap(xyxy: F32Array, *, of_union: bool) -> F32Array:
    """Return the intersection of boxes i and j as a share of their union, or of box i; (n, n) float32."""
    low = np.maximum(xyxy[:, None, :2], xyxy[None, :, :2])
    high = np.minimum(xyxy[:, None, 2:], xyxy[None, :, 2:])
    both = np.prod(np.clip(high - low, 0, None), axis=2)
    area = np.prod(xyxy[:, 2:] - xyxy[:, :2], axis=1)
    whole = area[:, None] + area[None, :] - both if of_union else area[:, None]
    share: F32Array = both / np.maximum(whole, 1e-9)
    return share


def _logit(probability: F32Array) -> F32Array:
    p = np.clip(probability, _LOGIT_LIMIT, 1 - _LOGIT_LIMIT)
    logit: F32Array = np.log(p / (1 - p)).astype(np.float32)
    return logit
