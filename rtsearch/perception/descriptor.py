"""One vector per object, from the pass that found it.

    form     taps of the network, averaged over the box (``roi_pooling.py``) and scaled to unit length
    colour   a histogram of the box in the picture (``colour_histogram.py``)
    class    square root of the probability of every class
    embedding, if asked for: the vector that a second network gives of the box's crop, see ``embed.py``

Square roots make the distance of two objects' classes that of two distributions (Hellinger), once the
projection has scaled them to unit length. A whole image has no class, so its class block is zero: the objects
in it would outvote its looks.

The blocks stand side by side as they are; how they are scaled, weighed and shortened is decided where a
library is indexed.
"""

from __future__ import annotations

import logging
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rtsearch.models.spec import ModelSpec
from rtsearch.perception.colour_histogram import COLOUR_BINS, colour_histograms
from rtsearch.perception.roi_pooling import roi_means
from rtsearch.types import F32Array, U8Array

__all__ = ["CropEmbedder", "Describer"]

_log = logging.getLogger(__name__)


class _Found(Protocol):
    """Fields of detected objects that the description needs; n objects, see ``detector``."""

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
    """A second network that looks at crops; see ``embed.py``."""

    dim: int
    recipe: dict[str, Any]

    def embed(self, bgr: U8Array, xyxy: F32Array) -> F32Array:
        """(n, dim) float32, unit length, one per box in pixels of ``bgr``."""
        ...


class Describer:
    """Describes the objects of one picture.

    Args:
        spec: the network that finds them; its taps and classes decide the layout of the vector.
        embedder: adds its own vector of every object.

    Attributes:
        dim: numbers per object.
        recipe: name, version and layout, fit for JSON; vectors of two recipes never compare.
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
        # The kernel is compiled or loaded now, not on the first picture with an object.
        colour_histograms(np.zeros((1, 1, 3), np.uint8), np.zeros((1, 4), np.float32))

    def describe(self, bgr: U8Array, found: _Found) -> F32Array:
        """(n, dim) float32, one row per object of ``found``, every number finite.

        Args:
            bgr: (H, W, 3) uint8, the picture the objects were found in.
            found: what the detector says of it.
        """
        with np.errstate(all="ignore"):  # of a broken network; its NaN and infinity become 0 below
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
