"""Describe each object with one vector, from the pass of the network that found it.

    form        taps of the network, averaged over the box (``roi_pooling.py``) and scaled to unit length
    embedding   optional: the vector of a second network for the crop of the box (``embedder.py``)
    colour      histogram of the box in the picture (``colour_histogram.py``)
    class       square root of the probability of every class

Square roots turn the distance between the class blocks into the Hellinger distance of two distributions, once
the projection has scaled the block to unit length. A whole image has no class, so its class block is zero;
otherwise the classes of the objects in it would outweigh its looks.

The blocks are concatenated without scaling; they are scaled, weighted and shortened when a library is indexed
(``search/projection.py``).
"""

from __future__ import annotations

import logging
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rtsearch.images.colour_bins import COLOUR_BINS
from rtsearch.models.spec import ModelSpec
from rtsearch.perception.colour_histogram import colour_histograms
from rtsearch.perception.roi_pooling import roi_means
from rtsearch.types import F32Array, U8Array

__all__ = ["CropEmbedder", "Describer"]

_log = logging.getLogger(__name__)


class _Found(Protocol):
    """Fields of n detected objects that the description needs; see ``detector.Found``."""

    @property
    def xyxy(self) -> F32Array: ...
    @property
    def logits(self) -> F32Array: ...
    @property
    def whole(self) -> NDArray[np.bool_]: ...
    @property
    def maps(self) -> tuple[F32Array, ...]: ...
    @property
    def input_xyxy(self) -> F32Array: ...
    @property
    def input_wh(self) -> tuple[int, int]: ...


class CropEmbedder(Protocol):
    """Second network that describes crops; see ``embedder.py``.

    Attributes:
        dim: length of its vectors.
        recipe: name and hash of the network, fit for JSON.
    """

    dim: int
    recipe: dict[str, Any]

    def embed(self, bgr: U8Array, xyxy: F32Array) -> F32Array:
        """Return (n, dim) float32 of unit length, one row per box in pixels of ``bgr``."""
        ...


class Describer:
    """Describes the objects of one picture.

    Args:
        spec: the network that finds the objects; its taps and classes decide the layout of the vector.
        embedder: second network whose vector is added to the description; None adds none.

    Attributes:
        dim: length of a description.
        recipe: name, version and layout, fit for JSON; vectors of different recipes cannot be compared.
    """

    def __init__(self, spec: ModelSpec, embedder: CropEmbedder | None = None) -> None:
        self._embedder = embedder
        blocks = [("form", tap.role, tap.channels) for tap in spec.taps]
        if embedder is not None:
            blocks.append(("embedding", "embedding", embedder.dim))
        blocks += [("colour", "colour", COLOUR_BINS), ("class", "class", len(spec.classes))]
        if not spec.taps:
            _log.warning("%s has no taps: objects are described by class scores and colour alone", spec.name)
        self.dim = sum(width for _, _, width in blocks)
        self.recipe: dict[str, Any] = {
            "name": "form-colour-class",
            "version": 1,
            "blocks": [{"kind": kind, "name": name, "width": width} for kind, name, width in blocks],
        }
        if embedder is not None:
            self.recipe["embedder"] = embedder.recipe
        # This compiles or loads the kernel before the first picture with an object comes.
        colour_histograms(np.zeros((1, 1, 3), np.uint8), np.zeros((1, 4), np.float32))

    def describe(self, bgr: U8Array, found: _Found) -> F32Array:
        """Return (n, dim) float32, one row per object of ``found``, all values finite.

        Args:
            bgr: (H, W, 3) uint8, the picture the objects were found in.
            found: the objects that the detector found in it.
        """
        with np.errstate(all="ignore"):  # NaN and infinity of a broken network become 0 below
            form = [_unit(roi_means(tap, found.input_xyxy, found.input_wh)) for tap in found.maps]
            certainty = np.exp(-0.5 * np.logaddexp(0, -found.logits)) * ~found.whole[:, None]
        if self._embedder is not None:
            form.append(self._embedder.embed(bgr, found.xyxy).astype(np.float64))
        colour = colour_histograms(bgr, found.xyxy)
        description: F32Array = np.concatenate([*form, colour, certainty], axis=1, dtype=np.float32)
        return np.nan_to_num(description, copy=False, nan=0.0, posinf=0.0, neginf=0.0)


def _unit(vectors: F32Array) -> NDArray[np.float64]:
    length = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    unit: NDArray[np.float64] = vectors / np.maximum(length, 1e-12)
    return unit
