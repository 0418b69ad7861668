"""Change inputs at random: bytes, or values of JSON, which are swapped, repeated, dropped or made extreme."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

__all__ = ["changed_bytes", "changed_json"]

_SHARE_OF_BYTES = 0.2
_LARGE = 2**100

_EXTREME: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2**31 - 1,
        2**31,
        -(2**31) - 1,
        2**53,
        2**62,
        2**63,
        2**64,
        10**400,
        0.5,
        1e308,
    ),
    *(
        float("inf"),
        float("-inf"),
        float("nan"),
        "",
        "\0",
        "/",
        "..",
        "../x",
        "/etc/passwd",
        "\ud800",
        "a" * 5000,
    ),
    *(
        "\x1b]0;x\x07",
        "é" * 200,
        "1",
        "nan",
        [],
        {},
        [[]],
        {"": {}},
        [0] * 300,
        "\n",
        "C:\\x",
        "~root",
        "a/" * 3000,
    ),
)


def changed_json(data: bytes, most_bytes: int, seed: int) -> bytes:
    """Return lines of JSON with some values changed; what is no JSON, and one in five, gets bytes changed."""
    rng = random.Random(seed)
    lines = data.split(b"\n") if data.count(b"\n{") else [data]
    at = rng.randrange(len(lines))
    try:
        document = json.loads(lines[at])
        if rng.random() < _SHARE_OF_BYTES:
            return changed_bytes(data, most_bytes, seed)
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            document = _changed(document, rng)
        lines[at] = json.dumps(document).encode()
    except (ValueError, RecursionError):
        return changed_bytes(data, most_bytes, seed)
    return b"\n".join(lines)[:most_bytes]


def changed_bytes(data: bytes, most_bytes: int, seed: int) -> bytes:
    """Return bytes of which a few are changed, taken out or doubled."""
    rng = random.Random(seed)
    changed = bytearray(data or b"\0")
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        at, length = rng.randrange(len(changed)), rng.choice((1, 2, 4, 8, 32))
        kind = rng.randrange(5)
        if kind == 0:
            changed[at : at + length] = rng.choice((b"\0", b"\xff", b"\x7f", b"\x80")) * length
        elif kind == 1:
            changed[at : at + length] = rng.randbytes(length)
        elif kind == 2:
            del changed[at : at + length]
        elif kind == 3:
            changed[at:at] = changed[at : at + length]
        else:
            changed[at] ^= 1 << rng.randrange(8)
        changed = changed or bytearray(1)
    return bytes(changed[:most_bytes])


def _changed(document: Any, rng: random.Random) -> Any:
    places = [(document, None, None), *_places(document)]
    value, holder, key = rng.choice(places)
    if holder is None:
        return rng.choice(_EXTREME) if rng.random() < 0.02 else document
    kind = rng.randrange(6)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, list):
        holder.insert(key, copy.deepcopy(value))
    elif kind == 2:
        holder[key] = copy.deepcopy(rng.choice(places)[0])
    elif kind == 3 and isinstance(value, int | float) and abs(value) < _LARGE:
        holder[key] = value + rng.choice((-1, 1, 0.5, 1000, -value, -2 * value))
    elif kind == 4 and isinstance(value, str):
        holder[key] = (
            value + rng.choice(("", "/..", "\0", "\ud800", "x")) if rng.random() < 0.5 else value[1:]
        )
    else:
        holder[key] = copy.deepcopy(rng.choice(_EXTREME))
    return document


def _places(value: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Yield all values inside of a JSON value, each with what holds it and its key there."""
    items: Iterator[tuple[Any, Any]] = iter(())
    if isinstance(value, dict):
        items = iter(list(value.items()))
    elif isinstance(value, list):
        items = iter(list(enumerate(value)))
    for key, inner in items:
        yield inner, value, key
        yield from _places(inner)
