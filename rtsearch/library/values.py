"""Checks of JSON that others may have written: what every value of a manifest must be like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, Field

__all__ = ["Recipe", "plain_json"]

_MOST_DEPTH = 16
_MOST_TEXT = 4096  # characters
_MOST_NUMBER = 2**62

Width = Annotated[int, Field(ge=0, le=65536)]
Side = Annotated[int, Field(ge=1, le=65536)]


def plain_json(value: Any, depth: int = _MOST_DEPTH) -> Any:
    """Return a JSON value as it is, after checking that it can be printed, compared and written again.

    Raises:
        ValueError: it is nested deeply, a text is very long or no Unicode, or a number is no usual one.
    """
    if depth == 0:
        raise ValueError(f"nested more than {_MOST_DEPTH} deep")
    if isinstance(value, str):
        if len(value) > _MOST_TEXT:
            raise ValueError(f"a text of more than {_MOST_TEXT} characters")
        value.encode()  # fails for halves of characters
    elif isinstance(value, int | float) and not abs(value) < _MOST_NUMBER:
        raise ValueError("a number that is infinite, huge or none")
    elif isinstance(value, dict):
        plain_json([*value, *value.values()], depth)
    elif isinstance(value, Sequence):
        for item in value:
            plain_json(item, depth - 1)
    return value


class Block(BaseModel):
    """One part of a description.

    Attributes:
        kind: such as ``colour``.
        width: numbers that it has.
    """

    kind: str
    width: Width


class _Embedder(BaseModel):
    sha256: str = ""


class _Describe(BaseModel):
    blocks: tuple[Block, ...] = ()
    embedder: _Embedder = _Embedder()


class Recipe(BaseModel):
    """The parts of a recipe that this version reads; the whole decides whether vectors compare.

    Attributes:
        model: name of the network.
        model_sha256: of its file, in hex.
        input_wh: size of its input, px.
        describe: how objects are described.
    """

    model: str = "unknown"
    model_sha256: str = ""
    input_wh: tuple[Side, Side] | None = None
    describe: _Describe = _Describe()
