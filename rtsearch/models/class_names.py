"""Read class names: of files that people write, and of the metadata of exports."""

from __future__ import annotations

import ast
from pathlib import Path

import yaml

from rtsearch._util.regular_files import read_regular
from rtsearch.errors import ModelError

__all__ = ["names_in_metadata", "read_names"]

_MOST_BYTES = 1 << 20
_YAML_SUFFIXES = (".yaml", ".yml")


def read_names(path: Path) -> tuple[str, ...]:
    """Return the class names of a text file, one per line, or of a YAML file with ``names``.

    Raises:
        ModelError: the file cannot be read, or has no names.
    """
    try:
        text = read_regular(path, _MOST_BYTES).decode("utf-8-sig")  # editors of Windows put a mark first
    except OSError as error:
        raise ModelError(f"cannot read class names from {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ModelError(f"cannot read class names from {path}: it is not UTF-8 text") from None
    if path.suffix.lower() in _YAML_SUFFIXES:
        names = _of_yaml(text)
    else:
        names = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not names:
        raise ModelError(f"{path} has no class names; write one per line, in the order of the labels")
    return names


def names_in_metadata(text: str, count: int) -> tuple[str, ...]:
    """Return the names that an export stores as a Python list or dictionary; () where they do not fit."""
    try:
        return _in_order(ast.literal_eval(text[:_MOST_BYTES]), count)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return ()


def _of_yaml(text: str) -> tuple[str, ...]:
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return ()
    names = document.get("names") if isinstance(document, dict) else None
    return _in_order(names, len(names)) if isinstance(names, dict | list) else ()


def _in_order(names: object, count: int) -> tuple[str, ...]:
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or set(names) != set(range(count)):
        return ()
    # Aliases of YAML let a short file name a list that has no end as text.
    plain = all(isinstance(name, str | int | float) for name in names.values())
    return tuple(str(names[i]) for i in range(count)) if plain else ()
