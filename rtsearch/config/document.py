"""Write settings as text: all with their comments, or those that differ from the defaults."""

from __future__ import annotations

import json
import re
from importlib import resources
from typing import Any

from rtsearch.config.settings import Settings

__all__ = ["changed_settings", "write_changed", "write_document"]

_SECTION = re.compile(r"(\w+):")
_SETTING = re.compile(r"(  (\w+): )(.*?)(#.*)")


def write_document(settings: Settings) -> str:
    """Return the text of ``config.yaml`` with its comments and the values of the settings."""
    text = resources.files(__package__).joinpath("config.yaml").read_text(encoding="utf-8")
    changed = changed_settings(settings)
    lines: list[str] = []
    section = ""
    for line in text.splitlines():
        if begins := _SECTION.match(line):
            section = begins[1]
        lines.append(_with_value(line, changed.get(section, {})))
    return "\n".join(lines) + "\n"


def _with_value(line: str, values: dict[str, Any]) -> str:
    setting = _SETTING.fullmatch(line)
    if setting is None or setting[2] not in values:
        return line
    head, key, default, comment = setting.groups()
    return head + f"{_value(values[key])} ".ljust(len(default)) + comment


def changed_settings(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return the values that differ from the defaults, by section and key, as JSON values."""
    defaults = Settings().model_dump(mode="json")
    changed = {
        section: {key: value for key, value in keys.items() if value != defaults[section][key]}
        for section, keys in settings.model_dump(mode="json").items()
    }
    return {section: keys for section, keys in changed.items() if keys}


def write_changed(settings: Settings) -> str:
    """Return the settings that differ from the defaults as YAML for ``--config``; "" without any."""
    defaults = Settings().model_dump(mode="json")
    lines = []
    for section, keys in changed_settings(settings).items():
        lines.append(f"{section}:\n")
        lines += [
            f"  {key}: {_value(value)}  # default: {_value(defaults[section][key])}\n"
            for key, value in keys.items()
        ]
    return "".join(lines)


def _value(value: Any) -> str:
    """Return a value as JSON, which is valid YAML."""
    return json.dumps(value, ensure_ascii=False)
