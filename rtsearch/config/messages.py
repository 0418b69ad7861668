"""Word messages about unknown settings and invalid values."""

from __future__ import annotations

import json
import re
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError

from rtsearch._util.masking import masked_words
from rtsearch.config.settings import Settings

__all__ = ["first_problem", "known_settings", "unknown_setting", "written"]

_MOST_SHOWN = 80  # characters of a value in a message
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")


def first_problem(error: ValidationError) -> str:
    """Return the message about the first invalid setting, with its dotted path."""
    problem = error.errors()[0]
    path = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return unknown_setting(path)
    wanted = None if problem["type"] == "missing" else _wanted_number(problem["loc"])
    value = problem["input"]
    given = "nothing" if value is None else masked_words(repr(value))  # a cut URL could not be masked
    given = given if len(given) <= _MOST_SHOWN else f"{given[:_MOST_SHOWN]}..."
    if wanted is None:
        said = problem["msg"]  # pydantic's own begin with a capital, ours perhaps with a name
        return f"{path} = {given}: {said[0].lower() + said[1:] if 'url' in problem else said}"
    hint = ""
    if isinstance(problem["input"], str) and _DECIMAL_COMMA.fullmatch(problem["input"].strip()):
        hint = f"; did you mean {problem['input'].strip().replace(',', '.')}?"
    return f"{path} = {given}: expected {wanted}{hint}"


def _wanted_number(loc: tuple[int | str, ...]) -> str | None:
    """Return the valid range of a numeric setting as words, such as ``a number from 0 to 1``.

    Args:
        loc: section, key and, within a list, index.

    Returns:
        the words, or None for a setting that is not a number.
    """
    if len(loc) < 2:
        return None
    section: BaseModel = getattr(Settings(), str(loc[0]))
    schema = section.model_json_schema()["properties"][loc[1]]
    for place in loc[2:]:
        schema = schema.get("prefixItems", [{}] * (int(place) + 1))[int(place)]
    kind = {"integer": "a whole number", "number": "a number"}.get(schema.get("type", ""))
    if kind is None:
        return None
    least, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    start = f"from {least}" if above is None else f"above {above} and up"
    step = f", a multiple of {schema['multipleOf']}" if "multipleOf" in schema else ""
    return f"{kind} {start} to {schema['maximum']}{step}"


def known_settings() -> dict[str, Any]:
    """Return the default of every setting, by dotted path."""
    sections = Settings().model_dump(mode="json")
    return {f"{section}.{key}": value for section, keys in sections.items() for key, value in keys.items()}


def unknown_setting(path: str) -> str:
    """Return the message about an unknown setting, which names similar ones or those of its section."""
    known = {name: name.partition(".")[2] for name in known_settings()}
    sections = list(Settings.model_fields)
    path = path.rstrip(".")
    section, _, key = path.rpartition(".")
    here = ", ".join(name for name in known if name.startswith((f"{path}.", f"{section}.")))
    if path in sections:
        return f"{path} is a section of settings: {here}"
    # A known key in another section comes first, then keys of similar spelling.
    meant = [name for name in known if known[name] == key]
    meant = meant or get_close_matches(path, [*known, *sections], n=1, cutoff=0.75)
    near = get_close_matches(key, known.values(), n=1, cutoff=0.75)
    meant = meant or [name for name in known if known[name] in near]
    if meant:
        return f"no setting {path}; did you mean {' or '.join(meant)}?"
    return f"no setting {path}; there are: {here if section in sections else ', '.join(sections)}"


def written(value: Any) -> str:
    """Return a value in the form that ``--set`` takes."""
    return value if isinstance(value, str) and value else json.dumps(value)
