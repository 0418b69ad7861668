"""Draw text with smooth letters, from cached masks.

OpenCV's own stroke fonts look thin on a dark picture. Texts change rarely, so their masks are cached, and
drawing one costs a small blend. A font is the path of its file, or "" for the font of Pillow, which has ASCII
and a few signs; lines with other letters have a font that OpenCV or the system brings. Letters that a font
lacks lose their accents, or become ``?``. Lines have the same height in all fonts, so that the layout does
not depend on the font.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import unicodedata
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rtsearch.render.theme import Colour
from rtsearch.types import U8Array

__all__ = ["draw_text", "fit_text", "text_wh"]

_log = logging.getLogger(__name__)

_MOST_EMS = 8  # largest width of a letter, in sizes of the font

# Letters and signs that Unicode does not decompose.
_PLAIN = str.maketrans(
    {"ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L"}
    | {"đ": "d", "Đ": "D", "ð": "d", "Ð": "D", "þ": "th", "Þ": "Th", "ı": "i"}  # noqa: RUF001
    | dict.fromkeys("‐‑‒–—−", "-")  # noqa: RUF001 - the look-alikes are intended
)


def draw_text(
    picture: U8Array, text: str, xy: tuple[int, int], size_px: int, colour: Colour, font: str = ""
) -> None:
    """Blend a line of text into a BGR picture, its top left corner at ``xy``; text outside is cut."""
    mask = _mask(text, size_px, font)
    x, y = xy
    top, left = max(0, -y), max(0, -x)
    target = picture[max(0, y) : y + mask.shape[0], max(0, x) : x + mask.shape[1]]
    part = mask[top : top + target.shape[0], left : left + target.shape[1], None]
    if not part.size:
        return
    target[:] = (target * (255 - part) + np.array(colour, np.uint16) * part + 127) // 255


def text_wh(text: str, size_px: int, font: str = "") -> tuple[int, int]:
    """Return width and height of a line of text, px; lines of one size have the same height."""
    mask = _mask(text, size_px, font)
    return mask.shape[1], mask.shape[0]


def fit_text(text: str, size_px: int, width_px: int, font: str = "") -> str:
    """Return the text, shortened with an ellipsis to fit into ``width_px``."""
    if text_wh(text, size_px, font)[0] <= width_px:
        return text
    while text and text_wh(text + "…", size_px, font)[0] > width_px:
        text = text[:-1]
    return text + "…"


@lru_cache(maxsize=32)
def _font(size_px: int, path: str) -> ImageFont.FreeTypeFont:
    plain = ImageFont.load_default(size_px)
    assert isinstance(plain, ImageFont.FreeTypeFont)  # Pillow's wheels contain FreeType and this font
    if not path:
        return plain
    font = ImageFont.truetype(path, size_px)
    return font.font_variant(size=size_px * sum(plain.getmetrics()) / max(1, sum(font.getmetrics())))


@lru_cache(maxsize=1)
def _many_letters() -> str:
    """Return a font file with Latin, Cyrillic and Greek letters, or "" where there is none."""
    carried = Path(cv2.__file__).parent / "qt" / "fonts" / "DejaVuSans.ttf"
    if carried.is_file():
        return str(carried)
    command = shutil.which("fc-match")
    if command is None:
        return ""
    asked = [command, "-f", "%{file}", "sans:lang=ru:lang=el"]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, timeout=5, check=True).stdout
        ImageFont.truetype(said, 16)
    except (OSError, ValueError, subprocess.SubprocessError):
        return ""
    return said


def _drawable(text: str, path: str) -> str:
    """Return the text in letters that the font has."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if _has_glyph(char, path) else _without_accents(char, path) for char in text)


def _without_accents(char: str, path: str) -> str:
    parts = unicodedata.normalize("NFKD", char.translate(_PLAIN)).translate(_PLAIN)
    letters = (part for part in parts if _is_seen(part))
    return "".join(letter if _has_glyph(letter, path) else "?" for letter in letters)


def _is_seen(char: str) -> bool:
    """Tell whether a character is neither a combining accent nor a control character."""
    return unicodedata.category(char)[0] not in "MC"


@lru_cache(maxsize=2048)
def _has_glyph(char: str, path: str) -> bool:
    """Tell whether the font has a letter; a font draws every letter that it lacks as the same box."""
    if char.isascii():
        return char.isprintable()
    try:
        font = _font(16, path)
        shape, box = font.getmask(char), font.getmask("\U0010fffe")
    except (OSError, RuntimeError):  # a damaged font may fail at a single letter
        return False
    return bool(shape.size != box.size or bytes(shape) != bytes(box))


@lru_cache(maxsize=2048)
def _mask(text: str, size_px: int, path: str) -> np.ndarray[tuple[int, int], np.dtype[np.uint16]]:
    """Return the coverage of each pixel, 0..255; uint16, so that blending needs no conversion."""
    try:
        return _drawn(text, size_px, path)
    except OSError:
        if not path:
            raise
        _warn(path)
        return _drawn(text, size_px, "")


@lru_cache(maxsize=8)
def _warn(path: str) -> None:
    _log.warning("the font %s breaks at some letters; lines with them have the built-in one", path)


def _drawn(text: str, size_px: int, path: str) -> np.ndarray[tuple[int, int], np.dtype[np.uint16]]:
    """Draw a line of text in one font.

    Raises:
        OSError: the font is damaged at one of the letters.
    """
    if not path and any(_is_seen(char) and not _has_glyph(char, path) for char in text):
        path = _many_letters()
    text, font = _drawable(text, path), _font(size_px, path)
    height = sum(_font(size_px, "").getmetrics())
    width = max(1, int(np.ceil(font.getlength(text))))
    if width > _MOST_EMS * font.size * (len(text) + 1):
        raise OSError("letters that are too wide")
    image = Image.new("L", (width, height))
    top = (height - sum(font.getmetrics())) // 2
    ImageDraw.Draw(image).text((0, top), text, fill=255, font=font)
    mask = np.asarray(image).astype(np.uint16)
    mask.setflags(write=False)
    return mask
