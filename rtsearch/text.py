"""Text as small pictures: smooth letters of any Latin script, drawn once and kept.

OpenCV's own stroke fonts know ASCII only and look thin on a dark picture. A label changes rarely, so its mask
is cached and drawing it costs one small blend.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rtsearch.records import U8Array

__all__ = ["Colour", "draw_text", "fit_text", "text_wh"]

Colour = tuple[int, int, int]
"""Blue, green, red; 0..255."""


def draw_text(picture: U8Array, text: str, xy: tuple[int, int], size_px: int, colour: Colour) -> None:
    """Blend a line of text into a BGR picture, its top left corner at ``xy``; what lies beyond is cut."""
    mask = _mask(text, size_px)
    x, y = xy
    top, left = max(0, -y), max(0, -x)
    target = picture[max(0, y) : y + mask.shape[0], max(0, x) : x + mask.shape[1]]
    part = mask[top : top + target.shape[0], left : left + target.shape[1], None]
    if not part.size:
        return
    target[:] = (target * (255 - part) + np.array(colour, np.uint16) * part + 127) // 255


def text_wh(text: str, size_px: int) -> tuple[int, int]:
    """Width and height of a line of text, px; every line of one size has the same height."""
    mask = _mask(text, size_px)
    return mask.shape[1], mask.shape[0]


def fit_text(text: str, size_px: int, width_px: int) -> str:
    """The text, shortened with an ellipsis to fit into ``width_px``."""
    if text_wh(text, size_px)[0] <= width_px:
        return text
    while text and text_wh(text + "…", size_px)[0] > width_px:
        text = text[:-1]
    return text + "…"


@lru_cache(maxsize=16)
def _font(size_px: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size_px)
    assert isinstance(font, ImageFont.FreeTypeFont)  # Pillow's wheels carry FreeType and this font
    return font


@lru_cache(maxsize=2048)
def _mask(text: str, size_px: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint16]]:
    """Coverage 0..255 of each pixel; uint16 so that blending needs no conversion."""
    font = _font(size_px)
    ascent, descent = font.getmetrics()
    width = max(1, int(np.ceil(font.getlength(text))))
    image = Image.new("L", (width, ascent + descent))
    ImageDraw.Draw(image).text((0, 0), text, fill=255, font=font)
    mask = np.asarray(image).astype(np.uint16)
    mask.setflags(write=False)
    return mask
