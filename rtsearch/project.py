"""From a description to the shorter vector that is searched: one affine map, fitted without labels.

Fitting reads the library once, in batches: mean and covariance are summed in double precision. Every
dimension is centred and scaled to unit deviation; then the axes are cut down, by a Gaussian random matrix
(zero-mean: distances are kept in expectation) or along the directions of greatest variance (PCA). All of it
folds into one matrix and one offset.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtsearch.config import ProjectSettings
from rtsearch.errors import DamagedError, VectorError
from rtsearch.records import F32Array

__all__ = ["Projection"]

_log = logging.getLogger(__name__)

_FILES = ("projection.npy", "projection.json")
_MOST_DIM = 65_536  # no description is longer; a larger number in a file is damage


@dataclass(frozen=True, slots=True)
class Projection:
    """``vector @ matrix + offset``.

    Attributes:
        matrix: (D, dim) float32.
        offset: (dim,) float32.
        settings: how it was fitted.
    """

    matrix: F32Array
    offset: F32Array
    settings: ProjectSettings

    @classmethod
    def fit(cls, batches: Iterable[NDArray[np.floating]], settings: ProjectSettings) -> Projection:
        """Fit on the (n, D) descriptions of a library, delivered in batches; they are read once.

        Raises:
            VectorError: no vectors at all, batches of different width, or NaN or infinity in them.
        """
        count, mean, covariance = _moments(batches)
        deviation = np.sqrt(np.diag(covariance))
        scale = np.where(deviation > 1e-6, 1 / np.maximum(deviation, 1e-6), 0.0)
        if settings.method == "pca":
            axes = _principal_axes(covariance * scale[:, None] * scale, settings.dim)
        else:
            axes = np.random.default_rng(settings.seed).standard_normal((len(mean), settings.dim))
            axes /= np.sqrt(settings.dim)
        matrix = scale[:, None] * axes
        _log.info("projection fitted on %d objects: %d to %d dimensions", count, *matrix.shape)
        return cls(matrix.astype(np.float32), (-mean @ matrix).astype(np.float32), settings)

    @property
    def dim(self) -> int:
        """Dimensions that are searched."""
        return int(self.matrix.shape[1])

    def apply(self, vectors: NDArray[np.floating]) -> F32Array:
        """(n, dim) float32: the searched vectors of (n, D) descriptions.

        Raises:
            VectorError: the descriptions have another width than those it was fitted on.
        """
        if vectors.ndim != 2 or vectors.shape[1] != len(self.matrix):
            raise VectorError(f"expected vectors of shape (n, {len(self.matrix)}), got {vectors.shape}")
        projected: F32Array = vectors.astype(np.float32, copy=False) @ self.matrix + self.offset
        return projected

    def save(self, folder: Path) -> None:
        """Write ``projection.npy`` and ``projection.json`` into a folder that exists."""
        np.save(folder / _FILES[0], np.vstack([self.matrix, self.offset]))
        text = json.dumps({"settings": self.settings.model_dump(), "shape": list(self.matrix.shape)})
        (folder / _FILES[1]).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Projection:
        """Read what ``save`` wrote.

        Raises:
            DamagedError: a file is missing, truncated, altered or of another shape than it says.
        """
        try:
            document = json.loads((folder / _FILES[1]).read_text(encoding="utf-8"))
            settings = ProjectSettings.model_validate(document["settings"])
            width, dim = (int(size) for size in document["shape"])
            table = np.load(folder / _FILES[0], mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
            raise _damaged(folder, str(error)) from None
        if not (0 < width <= _MOST_DIM and table.shape == (width + 1, dim) and table.dtype == np.float32):
            raise _damaged(folder, f"holds {table.dtype} {table.shape}, says ({width}, {dim})")
        if not np.isfinite(table).all():
            raise _damaged(folder, "holds NaN or infinity")
        return cls(np.array(table[:-1]), np.array(table[-1]), settings)


def _damaged(folder: Path, why: str) -> DamagedError:
    return DamagedError(
        f"{folder / _FILES[0]} cannot be used ({' '.join(why.split())}): build the index again"
    )


def _moments(batches: Iterable[NDArray[np.floating]]) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
    """Count, mean (D,) and covariance (D, D) of rows that are read once.

    Sums are taken about the first batch's mean: about zero they would cancel where the mean is large.
    """
    count = 0
    for batch in batches:
        rows = np.asarray(batch, np.float64)
        if rows.ndim != 2 or not np.isfinite(rows).all():
            raise VectorError("expected rows of finite numbers to fit the projection on")
        if count == 0:
            if not len(rows):
                continue
            shift = rows.mean(0)
            total, products = np.zeros(rows.shape[1]), np.zeros((rows.shape[1],) * 2)
        elif rows.shape[1] != len(shift):
            raise VectorError(f"expected vectors of {len(shift)} numbers, got {rows.shape[1]}")
        rows = rows - shift
        count += len(rows)
        total += rows.sum(0)
        products += rows.T @ rows
    if count == 0:
        raise VectorError("the library holds no objects to fit a projection on: analyse photos first")
    mean = total / count
    return count, shift + mean, products / count - np.outer(mean, mean)


def _principal_axes(covariance: NDArray[np.float64], dim: int) -> NDArray[np.float64]:
    """(D, dim): axes of greatest variance, largest entry positive; zeros where dim exceeds D."""
    _, axes = np.linalg.eigh(covariance)
    axes = axes[:, ::-1][:, :dim]
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])])
    return np.pad(axes, ((0, 0), (0, dim - axes.shape[1])))
