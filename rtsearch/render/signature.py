"""Sign the picture: a line of text and a logo in the lower corners of the frame."""

from __future__ import annotations

import io
import logging
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rtsearch._util.regular_files import read_regular
from rtsearch.config.fields import MOST_LOGO_BYTES
from rtsearch.render.layout import Canvas
from rtsearch.render.text import draw_text, fit_text, text_wh
from rtsearch.render.theme import TEXT, toward
from rtsearch.types import U8Array

__all__ = ["sign"]

_log = logging.getLogger(__name__)

_MARGIN_PX = 16
_TEXT_PX = 18
_PAD_PX = 6
_SHADE = 0.55  # share of black below the text, so that it can be read on any frame
_LOGO = 0.08  # height of a logo, as a share of the frame's; a wide one is lower
_LOGO_WIDTH = 0.3  # largest width, as a share of the frame's


class _Logo(NamedTuple):
    """Pixels times alpha, (h, w, 3) uint16, and what is left of those below, (h, w, 1) uint16; of 255."""

    pixels: NDArray[np.uint16]
    below: NDArray[np.uint16]


def sign(view: U8Array, canvas: Canvas) -> None:
    """Draw caption and logo of a canvas into a frame, (h, w, 3) uint8 BGR."""
    margin = canvas.px(_MARGIN_PX)
    if canvas.caption:
        _write(view, canvas, margin)
    if not canvas.logo:
        return
    most_wh = round(_LOGO_WIDTH * view.shape[1]), round(_LOGO * view.shape[0])
    logo = _logo(canvas.logo, most_wh)
    if logo is not None:
        height, width = logo.pixels.shape[:2]
        y, x = view.shape[0] - height - margin, view.shape[1] - width - margin
        room = view[max(0, y) : y + height, max(0, x) : x + width]
        cut = np.s_[-room.shape[0] :, -room.shape[1] :]
        room[:] = (room * logo.below[cut] + 127) // 255 + logo.pixels[cut]


def _write(view: U8Array, canvas: Canvas, margin: int) -> None:
    size, pad = canvas.px(_TEXT_PX), canvas.px(_PAD_PX)
    room_px = max(1, round(0.6 * view.shape[1]) - 2 * (margin + pad))
    text = fit_text(canvas.caption, size, room_px, canvas.font)
    width, height = text_wh(text, size, canvas.font)
    y = max(0, view.shape[0] - height - margin - 2 * pad)
    panel = view[y : y + height + 2 * pad, margin : margin + width + 2 * pad]
    panel[:] = toward(panel, (0, 0, 0), _SHADE)
    draw_text(panel, text, (pad, pad), size, TEXT, canvas.font)


@lru_cache(maxsize=8)
def _logo(path: str, most_wh: tuple[int, int]) -> _Logo | None:
    """Return a logo that fits into a size; None, and a line in the log, where its file has gone bad."""
    try:
        data = read_regular(Path(path), MOST_LOGO_BYTES)
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            rgba = image.convert("RGBA")
    except (OSError, ValueError, SyntaxError) as error:
        _log.warning("the logo %s cannot be read any more: %s", path, error)
        return None
    scale = min(most_wh[0] / rgba.width, most_wh[1] / rgba.height)
    size = max(1, round(scale * rgba.width)), max(1, round(scale * rgba.height))
    pixels = np.asarray(rgba.resize(size, Image.Resampling.LANCZOS)).astype(np.uint16)
    alpha = pixels[:, :, 3:]
    return _Logo((pixels[:, :, 2::-1] * alpha + 127) // 255, 255 - alpha)
