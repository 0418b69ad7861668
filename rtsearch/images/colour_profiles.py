"""Colours of pictures that carry a profile, as they are in sRGB, which networks and screens expect."""

from __future__ import annotations

import functools
import io
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from rtsearch.types import U8Array

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["cmyk_to_rgb", "profile_space", "to_srgb"]

_STRIP_ROWS = 256
_MODES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}
# Rounding in 8 bits makes up to two levels between a profile that is sRGB under another name, and sRGB.
_SAME_LEVELS = 2


def profile_space(icc: bytes) -> str:
    """Return ``RGB``, ``L`` or ``CMYK``, the colours that a profile is made for; "" for others."""
    return _MODES.get(icc[16:20], "")


def to_srgb(bgr: U8Array, icc: bytes) -> None:
    """Convert the colours of a picture in its place; a profile of sRGB, or a damaged one, changes nothing.

    Args:
        bgr: (H, W, 3) uint8, colours or greys of the profile.
        icc: the profile.
    """
    space = profile_space(icc)
    transform = _transform(icc, space) if space in ("RGB", "L") else None
    if transform is None:
        return
    from PIL import Image

    code = cv2.COLOR_BGR2RGB if space == "RGB" else cv2.COLOR_BGR2GRAY
    for top in range(0, len(bgr), _STRIP_ROWS):
        rows = bgr[top : top + _STRIP_ROWS]
        rgb = transform.apply(Image.fromarray(cv2.cvtColor(rows, code)))
        cv2.cvtColor(np.asarray(rgb), cv2.COLOR_RGB2BGR, dst=rows)


def cmyk_to_rgb(strip: Image, icc: bytes) -> Image:
    """Convert a picture of inks to sRGB, by its profile if that is one for inks."""
    transform = _transform(icc, "CMYK") if profile_space(icc) == "CMYK" else None
    return strip.convert("RGB") if transform is None else transform.apply(strip)


@functools.lru_cache(maxsize=8)
def _transform(icc: bytes, space: str) -> Any:
    """Prepare the way from a profile to sRGB; None where that changes nothing, or the profile is damaged."""
    from PIL import Image, ImageCms

    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        transform = ImageCms.buildTransform(
            profile,
            ImageCms.createProfile("sRGB"),
            space,
            "RGB",
            flags=ImageCms.Flags.NOCACHE,  # a transform with a cache must not be used by two threads
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
    if space == "CMYK":
        return transform
    levels = np.linspace(0, 255, 9).astype(np.uint8)
    lattice = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(1, -1, 3)
    if space == "L":
        lattice = np.repeat(levels[None, :, None], 3, 2)
    given = Image.fromarray(np.ascontiguousarray(lattice if space == "RGB" else lattice[:, :, 0]))
    off = np.asarray(transform.apply(given)).astype(int) - lattice
    return None if np.abs(off).max() <= _SAME_LEVELS else transform
