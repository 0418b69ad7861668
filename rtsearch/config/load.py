"""Load settings from a YAML file and overrides; errors name the dotted path of the setting."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from rtsearch._util.regular_files import read_regular
from rtsearch.config.messages import first_problem, known_settings, unknown_setting, written
from rtsearch.config.settings import Settings
from rtsearch.errors import ConfigError

__all__ = ["load_settings", "read_text", "values_in"]

_MOST_BYTES = 1 << 20  # parsing a megabyte takes seconds
_NO_YAML = (yaml.YAMLError, ValueError, OverflowError, RecursionError)


class _Loader(yaml.SafeLoader):
    """YAML loader of plain values, which refuses aliases and tags: they can expand without limit."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None) is not None:
            what = "aliases (*name)" if isinstance(event, yaml.AliasEvent) else "tags (!name)"
            raise yaml.composer.ComposerError(None, None, f"settings have no {what}", event.start_mark)
        return super().compose_node(parent, index)


def load_settings(
    path: Path | None = None,
    overrides: Iterable[str] = (),
    remembered: Mapping[str, Mapping[str, Any]] | None = None,
) -> Settings:
    """Read settings from a YAML file and ``section.key=value`` overrides (values are YAML too).

    Args:
        path: YAML file, or None.
        overrides: values that replace those of the file.
        remembered: values by section and key that replace the defaults; see
            ``library.index.remembered_settings``.

    Raises:
        ConfigError: the file cannot be read, a key is unknown, or a value has the wrong type or range.
    """
    values = values_in(read_text(path), path) if path is not None else {}
    from_file = {
        f"{section}.{key}" for section, keys in values.items() if isinstance(keys, dict) for key in keys
    }
    for item in overrides:
        from_file.discard(_override(values, item))
    for section, fields in (remembered or {}).items():
        given = values.get(section, {})
        if isinstance(given, dict):
            values[section] = {**fields, **given}
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        setting = ".".join(str(part) for part in error.errors()[0]["loc"][:2])
        where = f"{path}: " if setting in from_file or setting in values else ""
        raise ConfigError(f"{where}{first_problem(error)}") from None


def read_text(path: Path) -> str:
    """Return the text of a settings file.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return read_regular(path, _MOST_BYTES).decode()
    except OSError as error:
        raise ConfigError(f"cannot read settings from {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"cannot read settings from {path}: {error}") from None


def values_in(text: str, path: Path) -> dict[str, Any]:
    """Return the values that the text of a settings file holds, by section; they are not checked.

    Raises:
        ConfigError: it is no YAML, or not laid out in sections; the message names the file's ``path``.
    """
    try:
        values = yaml.load(text, _Loader)
    except _NO_YAML as error:
        raise ConfigError(f"{path} is not valid YAML{_where_and_why(error, text)}") from None
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        raise ConfigError(f"{path}: expected sections such as 'detect:', got {type(values).__name__}")
    for setting in [key for key in values if key in known_settings()]:
        section, _, key = setting.partition(".")
        raise ConfigError(f"{path}: {setting} is written as a line '{section}:' and below it '  {key}: ...'")
    # A section whose lines are all comments is empty.
    return {str(k): dict(v or {}) if isinstance(v, Mapping | None) else v for k, v in values.items()}


def _where_and_why(error: Exception, text: str) -> str:
    """Return place and reason of a YAML error, such as ``, line 4: could not find expected ':'``."""
    if isinstance(error, yaml.MarkedYAMLError):
        # The parser notices a key without its colon two lines later.
        mark = error.problem_mark
        if error.context_mark is not None and "simple key" in (error.context or ""):
            mark = error.context_mark
        return f"{'' if mark is None else f', line {mark.line + 1}'}: {error.problem}"
    if isinstance(error, yaml.reader.ReaderError):
        return f", line {text.count(chr(10), 0, error.position) + 1}: {error.reason}"
    if isinstance(error, RecursionError):
        return ": it is nested too deeply"
    return f": {error}"  # an invalid date


def _override(values: dict[str, Any], item: str) -> str:
    """Add the value of ``section.key=value`` to the values; return ``section.key``."""
    path, equals, text = (part.strip() for part in item.partition("="))
    known = known_settings()
    if not path:
        raise ConfigError(f"--set {item}: expected section.key=value, for example detect.threshold=0.4")
    if path not in known:
        raise ConfigError(f"--set {item}: {unknown_setting(path)}")
    if not text and not (equals and isinstance(known[path], str)):
        raise ConfigError(f"--set {item}: no value; for example {path}={written(known[path])}")
    section, _, key = path.partition(".")
    try:
        value = yaml.load(text, _Loader) if text else ""
    except _NO_YAML:
        raise ConfigError(f"--set {item}: {text!r} is not a value") from None
    if isinstance(known[path], str | list) and not isinstance(value, str | list | dict | None):
        value = text  # a folder called 2019, a class called no
    fields = values.setdefault(section, {})
    if isinstance(fields, dict):
        fields[key] = value
    return path
