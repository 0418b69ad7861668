"""Types and texts that settings are made of, with the checks that each needs."""

from __future__ import annotations

import io
import re
import struct
from datetime import date, datetime
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from rtsearch._util.areas import parse_area
from rtsearch._util.opening_hours import parse_hours
from rtsearch._util.paths import path_of
from rtsearch._util.regular_files import read_regular

__all__ = [
    "MOST_LOGO_BYTES",
    "AreaTexts",
    "Aspect",
    "FontFile",
    "Height",
    "Hours",
    "LabelPairs",
    "LogoFile",
    "Moment",
    "Names",
    "Share",
    "Theme",
    "Width",
    "pair",
]

MOST_LOGO_BYTES = 8 << 20
"""Largest file of a logo."""
_MOST_LOGO_PX = 4096
_PNG = b"\x89PNG\r\n\x1a\n"

Share = Annotated[float, Field(ge=0, le=1)]
Width = Annotated[int, Field(ge=16, le=7680)]
Height = Annotated[int, Field(ge=16, le=4320)]


def pair(given: object) -> object:
    """Accept two numbers as a list, as ``1280x720``, or with a comma or a space between them."""
    sides = re.split(r"\s*[xX,\s]\s*", given.strip()) if isinstance(given, str) else given
    if not isinstance(sides, list | tuple) or len(sides) != 2 or "" in sides:
        raise PydanticCustomError("pair", "expected width and height, such as 1280x720")
    return sides


def _names(given: object) -> object:
    """Split text at its commas; what YAML takes for a number or a date was hardly meant as one."""
    if given is None:
        raise PydanticCustomError("names", "expected names; leave the line out for the default")
    if isinstance(given, str):
        return [one.strip() for one in given.split(",")]
    if not isinstance(given, list | tuple) or not all(isinstance(one, str) for one in given):
        raise PydanticCustomError("names", "expected names; one that is a number or a date needs quotes")
    return given


Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_names)]
"""Names as a list, or as text with commas between them."""


def _shape(shape: str) -> str:
    """Return an aspect ratio between 1:4 and 4:1 in the form ``16:9``, or ""."""
    sides = re.fullmatch(r"(\d{1,5})[:/x](\d{1,5})", shape.strip())
    if shape.strip() and (sides is None or not int(sides[2]) <= 4 * int(sides[1]) <= 16 * int(sides[2]) > 0):
        raise PydanticCustomError("shape", "expected width by height, such as 16:9, from 1:4 to 4:1")
    return "" if sides is None else f"{int(sides[1])}:{int(sides[2])}"


def _moment(given: object) -> object:
    """Return a date, or a date and a time, as ISO text; YAML reads dates by itself."""
    text = given.isoformat() if isinstance(given, date) else str(given)
    try:
        return datetime.fromisoformat(text).isoformat() if text else ""
    except ValueError:
        raise PydanticCustomError("moment", "expected a date, such as 2026-05-01T18:30") from None


def _labels(pairs: tuple[str, ...]) -> tuple[str, ...]:
    """Return pairs of a class and its word; each is ``class=word``."""
    for pair in pairs:
        if not pair.partition("=")[0].strip() or "=" not in pair:
            raise PydanticCustomError("labels", "expected class=word, such as cup=Tasse; cup= hides the word")
    return pairs


def _font_file(path: str) -> str:
    """Return the path of a readable font, or ""; a font of the system may be given by its file name."""
    if not path:
        return path
    from PIL import ImageFont

    path = str(path_of(path))
    try:
        ImageFont.truetype(path, 16)
    except (OSError, ValueError) as error:
        problem = f"not a font that can be read ({error})" if Path(path).exists() else "no such file"
        raise PydanticCustomError("font", "{problem}", {"problem": problem}) from None
    return path


def _logo_file(path: str) -> str:
    """Return the path of a PNG of a moderate size, or ""."""
    if not path:
        return path
    from PIL import Image

    path = str(path_of(path))
    try:
        data = read_regular(Path(path), MOST_LOGO_BYTES)
        if data[:8] != _PNG or max(struct.unpack(">II", data[16:24].rjust(8, b"\xff"))) > _MOST_LOGO_PX:
            raise ValueError(f"expected a PNG of at most {_MOST_LOGO_PX} px a side")
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            image.load()
    except (OSError, ValueError, SyntaxError) as error:
        problem = getattr(error, "strerror", None) or str(error)
        raise PydanticCustomError("logo", "{path}: {problem}", {"path": path, "problem": problem}) from None
    return path


def _theme(text: str) -> str:
    """Return ``dark``, ``light``, or three colours with a blank between them, each as ``#rrggbb``."""
    words = text.replace(",", " ").lower().split()
    colours = len(words) == 3 and all(re.fullmatch("#?[0-9a-f]{6}", word) for word in words)
    if words not in (["dark"], ["light"]) and not colours:
        raise PydanticCustomError(
            "theme", "expected dark, light, or ground, ink and accent, such as '#0e0f0f #e8e6e1 #ffaf50'"
        )
    return " ".join(words)


def _hours(text: str) -> str:
    """Return hours of the day such as ``09:00-18:30``, or ""."""
    try:
        parse_hours(text)
    except ValueError as error:
        raise PydanticCustomError("hours", "{problem}", {"problem": str(error)}) from None
    return text.strip()


def _areas(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Return texts of areas, each with single spaces."""
    try:
        for text in texts:
            parse_area(text)
    except ValueError as error:
        raise PydanticCustomError("areas", "{problem}", {"problem": str(error)}) from None
    return tuple(" ".join(text.split()) for text in texts)


AreaTexts = Annotated[
    tuple[str, ...],
    BeforeValidator(lambda given: given.split(";") if isinstance(given, str) else given),
    AfterValidator(_areas),
]
"""Parts of pictures as a list, or as text with semicolons between them."""
Moment = Annotated[str, BeforeValidator(_moment)]
"""A date, or a date and a time, in ISO's form; ""."""
Aspect = Annotated[str, AfterValidator(_shape)]
"""An aspect ratio such as 16:9; ""."""
LabelPairs = Annotated[Names, AfterValidator(_labels)]
"""Classes with words of one's own, ``class=word`` each."""
FontFile = Annotated[str, AfterValidator(_font_file)]
"""Path of a font; ""."""
LogoFile = Annotated[str, AfterValidator(_logo_file)]
"""Path of a PNG; ""."""
Theme = Annotated[str, AfterValidator(_theme)]
"""Name of a theme, or three colours."""
Hours = Annotated[str, AfterValidator(_hours)]
"""Hours of the day such as 09:00-18:30; ""."""
