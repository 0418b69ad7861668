"""Change settings in a settings file, and leave its comments and all else as they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from rtsearch._util.atomic import write_atomic
from rtsearch.config.load import read_text, values_in
from rtsearch.errors import ConfigError

__all__ = ["save_settings"]


def save_settings(path: Path, values: Mapping[str, Any]) -> None:
    """Write settings into a settings file, which is made if need be; all or none, atomic.

    Args:
        path: YAML file.
        values: by name, such as ``live.masks``; of JSON's kinds.

    Raises:
        ConfigError: the file cannot be read or written, or is laid out in an unusual way.
    """
    text = read_text(path) if path.exists() else ""
    wanted = values_in(text, path)
    edited = text
    for name, value in values.items():
        section, _, key = name.partition(".")
        edited = _edited(edited, section, key, json.dumps(value, ensure_ascii=False))
        wanted[section] = {**wanted.get(section, {}), key: value}
    try:
        is_right = values_in(edited, path) == wanted
    except ConfigError:
        is_right = False
    if not is_right:
        lines = "; ".join(f"{name} = {value}" for name, value in values.items())
        raise ConfigError(f"{path} is laid out in an unusual way; write into it by hand: {lines}")
    try:
        write_atomic(path, edited.encode())
    except OSError as error:
        raise ConfigError(f"cannot write settings to {path}: {error.strerror}") from None


def _edited(text: str, section: str, key: str, value: str) -> str:
    """Return the text with another value of a key, or with a further line for it."""
    try:
        sections = _fields(yaml.compose(text))
    except yaml.YAMLError:  # after an edit that did not fit
        return text
    if section not in sections:
        return f"{text.rstrip()}\n\n{section}:\n  {key}: {value}\n".lstrip()
    keys = _fields(sections[section][1])
    if key in keys:
        name, old = keys[key]
        begin, end = name.end_mark.index, _end(old)
        return f"{text[:begin]}: {value}{text[end:]}"
    name = sections[section][0]
    line_end = text.find("\n", name.end_mark.index)
    at = len(text) if line_end < 0 else line_end
    return f"{text[:at]}\n  {key}: {value}{text[at:]}"


def _fields(node: yaml.Node | None) -> dict[str, tuple[yaml.Node, yaml.Node]]:
    """Return the nodes of the keys and the values of a mapping by key; nothing of other nodes."""
    if not isinstance(node, yaml.MappingNode):
        return {}
    return {str(key.value): (key, value) for key, value in node.value}


def _end(node: yaml.Node) -> int:
    """Return the place after a value; that of a list by lines ends with its last entry."""
    if isinstance(node, yaml.SequenceNode) and not node.flow_style and node.value:
        return _end(node.value[-1])
    return int(node.end_mark.index)
