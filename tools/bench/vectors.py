"""Synthetic vectors that cluster as those of a CNN do, for measuring searches at any size.

    latent point around one of a few thousand centres (frequent classes have more, each its own spread)
        -> two random layers with ReLU -> non-negative, half-empty features of heavy-tailed length
        -> Gaussian random projection

Everything is seeded and made in pieces, so five million vectors fit into memory.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F32Array = NDArray[np.float32]

CLASSES = 80
LATENT = 24
HIDDEN = 256
FEATURES = 512
FRAMES = 64
PIECE = 100_000


class Scenes:
    """Where objects come from: fixed centres, spreads and random layers."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        frequency = 1 / (np.arange(CLASSES) + 1.5) ** 1.1
        kinds = np.clip(400 * frequency / frequency[0], 6, 400).astype(int)
        of_class = np.repeat(np.arange(CLASSES), kinds)
        class_centre = rng.normal(scale=1.6, size=(CLASSES, LATENT))
        self.centre = class_centre[of_class] + rng.normal(scale=0.8, size=(len(of_class), LATENT))
        share = rng.gamma(0.7, size=len(of_class))
        self.share = share * (frequency / np.bincount(of_class, share))[of_class]
        self.share /= self.share.sum()
        self.spread = rng.lognormal(-0.3, 0.35, len(of_class))
        # Kinds differ along few directions: random axes of falling length, a frame for each kind.
        axes = np.linalg.qr(rng.normal(size=(FRAMES, LATENT, LATENT)))[0]
        self.frames = np.swapaxes(axes * np.exp(-np.arange(LATENT) / 20), 1, 2)
        self.frame = rng.integers(FRAMES, size=len(of_class))
        self.first = (rng.normal(size=(LATENT, HIDDEN)) / np.sqrt(LATENT)).astype(np.float32)
        self.first_bias = rng.normal(scale=0.5, size=HIDDEN).astype(np.float32)
        self.second = (rng.normal(size=(HIDDEN, FEATURES)) * 1.4 / np.sqrt(HIDDEN)).astype(np.float32)
        self.second_bias = rng.normal(-0.35, 0.3, FEATURES).astype(np.float32)

    def latents(self, n: int, rng: np.random.Generator) -> F32Array:
        """n points (n, LATENT) float32."""
        kind = rng.choice(len(self.share), n, p=self.share)
        apart = rng.standard_normal((n, LATENT), np.float32)
        for frame in range(FRAMES):
            mine = self.frame[kind] == frame
            apart[mine] = apart[mine] @ self.frames[frame].astype(np.float32)
        tail = np.abs(rng.standard_t(6, n)) * 0.5 + 0.6
        return (self.centre[kind] + apart * (self.spread[kind] * tail)[:, None]).astype(np.float32)

    def features(self, latents: F32Array, rng: np.random.Generator) -> F32Array:
        """(n, FEATURES) float32 of points (n, LATENT)."""
        hidden = np.maximum(latents @ self.first + self.first_bias, 0)
        features = hidden @ self.second + self.second_bias
        features += rng.standard_normal(features.shape, np.float32) * np.float32(0.2)
        length = np.exp(0.2 * np.clip(rng.standard_t(4, len(features)), -6, 6)).astype(np.float32)
        return np.maximum(features, 0) * length[:, None]


def cnn_like(n: int, dim: int, queries: int, seed: int = 1) -> tuple[F32Array, F32Array]:
    """n vectors (n, dim) float32, and queries (queries, dim): half of them other views of stored objects."""
    scenes, rng = Scenes(0), np.random.default_rng(seed)
    axes = (np.random.default_rng(dim).normal(size=(FEATURES, dim)) / np.sqrt(dim)).astype(np.float32)
    vectors = np.empty((n, dim), np.float32)
    seen = np.empty((0, LATENT), np.float32)
    for start in range(0, n, PIECE):
        latents = scenes.latents(min(PIECE, n - start), rng)
        vectors[start : start + PIECE] = scenes.features(latents, rng) @ axes
        seen = seen if len(seen) else latents
    again = seen[rng.integers(len(seen), size=queries // 2)]
    again = again + rng.standard_normal(again.shape, np.float32) * np.float32(0.15)
    latents = np.concatenate([again, scenes.latents(queries - len(again), rng)])
    return vectors, rng.permutation(scenes.features(latents, rng) @ axes)
