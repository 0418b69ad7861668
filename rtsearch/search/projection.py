"""Project descriptions to the searched vectors: unit length for the classes, then one affine map.

    class block       -> codes: every class has a fixed direction, as far from the others as the room allows
    all other blocks  -> looks: each kind scaled to one total variance, together cut down by PCA or at random

A description is a row of blocks (see ``perception/descriptor.py``). What kind of thing an object is and what
it looks like get dimensions of their own: ``meaning`` weighs one against the other, and changing it takes a
new index, not a new analysis.

A class block is as long as the detector was sure of the object. For that alone, persons found with .9 and .3
would lie .40 apart, while any two looks lie about .35 apart; so all have unit length here. A whole image has
no class: its zeros stay zeros.

Classes are not left to PCA: it would keep the directions of the frequent ones and drop all rare ones
onto one point. Codes need no statistics, and tell 80 classes apart in 12 dimensions about as well as in 80.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtsearch._util.array_files import load_array
from rtsearch.config import ProjectSettings
from rtsearch.errors import DamagedError, VectorError
from rtsearch.types import F32Array

__all__ = ["FILE_NAME", "Projection", "stored_points"]

_log = logging.getLogger(__name__)

F64Array = NDArray[np.float64]

FILE_NAME = "projection.npy"
_LOOKS_SCALE = 0.25  # at meaning 0.5: other looks alone never move an object further away than another class
_LEAST_LOOKS = 0.01  # at meaning 1 looks still order the objects of one class, and whole images
_SHARES = {
    "colour": 2.0
}  # of the looks' variance, else 1; three varieties of product in a hundred hang on it
_WHITENING = 0.25  # power of a direction's variance it is divided by; .2 to .4 score alike, 0 and .5 lower
_MOST_CLASS_DIMS = 12  # 80 classes need no more
_FINISHED = "imported"  # kind of block whose distances stay as they are
_REPULSION_STEPS = 100


@dataclass(frozen=True, slots=True)
class Projection:
    """``description @ matrix + offset``, once the classes of a description have unit length.

    Attributes:
        matrix: (D, dim) float32.
        offset: (dim,) float32.
        class_columns: (c,) places in a description of the numbers that are scaled to unit length together.
    """

    matrix: F32Array
    offset: F32Array
    class_columns: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp))

    @classmethod
    def fit(
        cls,
        batches: Iterable[NDArray[np.floating]],
        settings: ProjectSettings,
        blocks: Sequence[Mapping[str, Any]] = (),
        meaning: float = 0.5,
    ) -> Projection:
        """Fit on the (n, D) descriptions of a library, delivered in batches; they are read once.

        Args:
            batches: of any size; float16 as stored will do.
            settings: method, dimensions and seed.
            blocks: ``kind`` and ``width`` of each part of a description, in order; without, all is looks.
            meaning: 0..1, how much the kind of thing counts against its looks.

        Raises:
            VectorError: no vectors at all, batches of different width, or NaN or infinity in them.
        """
        of_class = _class_columns(blocks)
        count, mean, covariance = _moments(_rows(batches, blocks))
        blocks = blocks or [{"kind": "all", "width": len(mean)}]
        looks = np.delete(np.arange(len(mean)), of_class)
        dims = _class_dims(len(of_class), len(looks), settings.dim)
        scale = _block_scales(blocks, np.diag(covariance))[looks]
        scaled = covariance[np.ix_(looks, looks)] * np.outer(scale, scale)
        power = 0.0 if all(block["kind"] == _FINISHED for block in blocks) else _WHITENING
        axes = scale[:, None] * _look_axes(scaled, settings.dim - dims, settings, power)
        matrix = np.zeros((len(mean), settings.dim))
        matrix[of_class, :dims] = np.sqrt(2 * meaning) * _codes(len(of_class), dims, settings.seed)
        matrix[looks, dims:] = np.sqrt(max(2 - 2 * meaning, _LEAST_LOOKS)) * _LOOKS_SCALE * axes
        _log.info("projection fitted on %d objects: %d to %d dimensions", count, *matrix.shape)
        return cls(matrix.astype(np.float32), (-mean @ matrix).astype(np.float32), of_class)

    @property
    def dim(self) -> int:
        """Dimensions that are searched."""
        return int(self.matrix.shape[1])

    @property
    def looks(self) -> NDArray[np.bool_]:
        """Dimensions that tell what an object looks like, not of which class it is, (dim,)."""
        looks: NDArray[np.bool_] = np.all(self.matrix[self.class_columns] == 0, axis=0)
        return looks

    @property
    def fingerprint(self) -> str:
        """Hash of what it computes, in hex."""
        digest = hashlib.sha256(np.ascontiguousarray(self.matrix).tobytes())
        digest.update(np.ascontiguousarray(self.offset).tobytes())
        return digest.hexdigest()[:16]

    def apply(self, vectors: NDArray[np.floating]) -> F32Array:
        """(n, dim) float32: the searched vectors of (n, D) descriptions.

        Raises:
            VectorError: the descriptions have another width than those it was fitted on.
        """
        if vectors.ndim != 2 or vectors.shape[1] != len(self.matrix):
            raise VectorError(f"expected vectors of shape (n, {len(self.matrix)}), got {vectors.shape}")
        rows = _with_unit_classes(vectors.astype(np.float32, copy=False), self.class_columns)
        projected: F32Array = rows @ self.matrix + self.offset
        return projected

    def save(self, folder: Path) -> None:
        """Write ``projection.npy`` into a folder that exists: the matrix, and the offset as its last row."""
        np.save(folder / FILE_NAME, np.vstack([self.matrix, self.offset]))

    @classmethod
    def load(
        cls, folder: Path, shape: tuple[int, int], blocks: Sequence[Mapping[str, Any]] = ()
    ) -> Projection:
        """Read what ``save`` wrote of a projection.

        Args:
            folder: it was saved in.
            shape: of its matrix.
            blocks: it was fitted with, see ``fit``.

        Raises:
            DamagedError: the file is missing, truncated or altered, or of another shape.
        """
        table = load_array(folder / FILE_NAME, np.float32, (shape[0] + 1, shape[1]))
        return cls.of_table(table, str(folder / FILE_NAME), blocks)

    @classmethod
    def of_table(cls, table: F32Array, name: str, blocks: Sequence[Mapping[str, Any]] = ()) -> Projection:
        """Return the projection of a matrix with the offset as its last row, (D + 1, dim).

        Raises:
            DamagedError: it holds NaN or infinity; ``name`` says where it comes from.
        """
        if not np.isfinite(table).all():
            raise DamagedError(f"{name} holds NaN or infinity")
        return cls(np.array(table[:-1]), np.array(table[-1]), _class_columns(blocks))


def _class_columns(blocks: Sequence[Mapping[str, Any]]) -> NDArray[np.intp]:
    kinds = np.repeat([block["kind"] == "class" for block in blocks], [block["width"] for block in blocks])
    return np.flatnonzero(kinds)


def _with_unit_classes(rows: F32Array, columns: NDArray[np.intp]) -> F32Array:
    """Return (n, D) descriptions, the numbers in these columns scaled to unit length; zeros stay zeros."""
    if not len(columns):
        return rows
    rows = rows.copy()
    classes = rows[:, columns]
    length = np.linalg.norm(classes, axis=1, keepdims=True)
    rows[:, columns] = classes / np.where(length > 0, length, 1)
    return rows


def _rows(batches: Iterable[NDArray[np.floating]], blocks: Sequence[Mapping[str, Any]]) -> Iterator[F32Array]:
    """Yield batches of descriptions as they are fitted on.

    Raises:
        VectorError: they hold NaN or infinity, or have another width than their blocks together.
    """
    columns, width = _class_columns(blocks), sum(block["width"] for block in blocks)
    for batch in batches:
        rows = np.asarray(batch, np.float32)
        if rows.ndim != 2 or not np.isfinite(rows).all():
            raise VectorError("expected rows of finite numbers to fit the projection on")
        if blocks and rows.shape[1] != width:
            raise VectorError(f"descriptions have {rows.shape[1]} numbers, not the {width} of their recipe")
        yield _with_unit_classes(rows, columns)


def _moments(batches: Iterable[F32Array]) -> tuple[int, F64Array, F64Array]:
    """Count, mean (D,) and covariance (D, D) of rows that are read once.

    Sums are taken about the first batch's mean: about zero they would cancel where the mean is large.
    """
    count = 0
    for batch in batches:
        if count == 0:
            if not len(batch):
                continue
            shift = batch.mean(0, dtype=np.float64)
            total, products = np.zeros(batch.shape[1]), np.zeros((batch.shape[1],) * 2)
        elif batch.shape[1] != len(shift):
            raise VectorError(f"expected vectors of {len(shift)} numbers, got {batch.shape[1]}")
        rows = batch - shift.astype(np.float32)
        count += len(rows)
        total += rows.sum(0, dtype=np.float64)
        products += rows.T @ rows  # in single precision within a batch: twice as fast, and batches are short
    if count == 0:
        raise VectorError("the library holds no objects to fit a projection on: analyse photos first")
    mean = total / count
    return count, shift.astype(np.float32) + mean, products / count - np.outer(mean, mean)


def _class_dims(classes: int, looks: int, dim: int) -> int:
    """Return the number of dimensions for the classes.

    Fewer cost class agreement, more cost fine agreement: with 20 of 64 it is .617 instead of .634.
    """
    if not looks:
        return dim
    return min(_MOST_CLASS_DIMS, dim // 2, classes)


def _block_scales(blocks: Sequence[Mapping[str, Any]], variance: F64Array) -> F64Array:
    """(D,): what to multiply with, so that the blocks of each kind together have their share of variance.

    A block that varies by rounding only counts for nothing.
    """
    kinds = [block["kind"] for block in blocks]
    widths = [block["width"] for block in blocks]
    parts = np.split(variance, np.cumsum(widths)[:-1])
    scales = [
        np.sqrt(_SHARES.get(kind, 1.0) / kinds.count(kind) / total) if (total := part.sum()) > 1e-6 else 0.0
        for kind, part in zip(kinds, parts, strict=True)
    ]
    return np.repeat(scales, widths)


def _codes(classes: int, dim: int, seed: int) -> F64Array:
    """(classes, dim): unit vectors that keep clear of one another; the unit axes where there is room for all.

    They start at random and repel each other, the nearest most, more and more exclusively. 80 codes in 12
    dimensions end up at least 1.2 apart, 0.57 without repulsion; two orthogonal ones are 1.41 apart.
    """
    if classes <= dim:
        return np.eye(classes, dim)
    codes = _unit(np.random.default_rng(seed).standard_normal((classes, dim)))
    for step in range(_REPULSION_STEPS):
        done = step / _REPULSION_STEPS
        likeness = codes @ codes.T
        np.fill_diagonal(likeness, -1)
        push = np.exp(80 * done * (likeness - likeness.max(1, keepdims=True)))
        np.fill_diagonal(push, 0)
        codes = _unit(codes - 0.2 * (1 - done) * (push / push.sum(1, keepdims=True)) @ codes)
    return codes


def _look_axes(covariance: F64Array, dim: int, settings: ProjectSettings, power: float) -> F64Array:
    """(D, dim): axes that shorten what has this covariance, to a total variance of 1.

    PCA divides each direction by a power of its variance. Where it has no more directions to give, columns of
    zeros follow.
    """
    total = np.trace(covariance)
    if settings.method == "random":
        random = np.random.default_rng(settings.seed).standard_normal((len(covariance), dim))
        shortened: F64Array = random / np.sqrt(max(dim * total, 1e-6))
        return shortened
    if not total > 0:
        return np.zeros((len(covariance), dim))
    variance, axes = np.linalg.eigh(covariance)
    useful = np.flatnonzero(variance > 1e-6 * total)[::-1][:dim]
    variance, axes = variance[useful], axes[:, useful] * variance[useful] ** -power
    axes /= np.sqrt((variance ** (1 - 2 * power)).sum())
    axes *= np.sign(axes[np.abs(axes).argmax(0), np.arange(len(useful))])  # eigh leaves the sign open
    return np.pad(axes, ((0, 0), (0, dim - len(useful))))


def _unit(vectors: F64Array) -> F64Array:
    unit: F64Array = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def stored_points(points: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Return projected points as trees store them: float16, as descriptions are stored.

    They stay float32 where a number is too large for that.
    """
    if points.dtype == np.float16:
        return points
    most = np.finfo(np.float16).max
    small = points.max(initial=0) <= most and points.min(initial=0) >= -most
    return points.astype(np.float16) if small else points
