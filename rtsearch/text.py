"""Text as small pictures: smooth letters, drawn once and kept.

OpenCV's own stroke fonts look thin on a dark picture. A label changes rarely, so its mask is cached and
drawing it costs one small blend. The font that Pillow carries knows ASCII and a few signs; other letters lose
their accents, and stand as ``?`` where nothing is left.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rtsearch.records import U8Array

__all__ = ["Colour", "draw_text", "fit_text", "text_wh"]

Colour = tuple[int, int, int]
"""Blue, green, red; 0..255."""

# Letters and signs that Unicode does not take apart.
_PLAIN = str.maketrans(
    {"ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L"}
    | {"đ": "d", "Đ": "D", "ð": "d", "Ð": "D", "þ": "th", "Þ": "Th", "ı": "i"}  # noqa: RUF001
    | dict.fromkeys("‐‑‒–—−", "-")  # noqa: RUF001  these are the look-alikes that are meant
)


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


def _drawable(text: str) -> str:
    """The text in letters that the font has."""
    if text.isascii() and text.isprintable():
        return text
    plain = text.translate(_PLAIN)
    return "".join(char if _has_glyph(char) else _without_accents(char) for char in plain)


def _without_accents(char: str) -> str:
    letters = "".join(
        part for part in unicodedata.normalize("NFKD", char).translate(_PLAIN) if _is_seen(part)
    )
    return "".join(letter if _has_glyph(letter) else "?" for letter in letters)


def _is_seen(char: str) -> bool:
    """Neither an accent of the letter before nor a control character."""
    return unicodedata.category(char)[0] not in "MC"


@lru_cache(maxsize=2048)
def _has_glyph(char: str) -> bool:
    """Does the font have this letter? What it lacks, it draws as the same box every time."""
    if char.isascii():
        return char.isprintable()
    shape, box = _font(16).getmask(char), _font(16).getmask("\U0010fffe")
    return bool(shape.size != box.size or bytes(shape) != bytes(box))


@lru_cache(maxsize=2048)
def _mask(text: str, size_px: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint16]]:
    """Coverage 0..255 of each pixel; uint16 so that blending needs no conversion."""
    text, font = _drawable(text), _font(size_px)
    ascent, descent = font.getmetrics()
    width = max(1, int(np.ceil(font.getlength(text))))
    image = Image.new("L", (width, ascent + descent))
    ImageDraw.Draw(image).text((0, 0), text, fill=255, font=font)
    mask = np.asarray(image).astype(np.uint16)
    mask.setflags(write=False)
    return mask
