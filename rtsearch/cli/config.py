"""Define the command ``rtsearch config``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from rtsearch._util.masking import masked
from rtsearch.cli.common import ConfigFile, JsonFlag, Overrides, print_json, settings_of, tell

if TYPE_CHECKING:
    from rtsearch.config import Settings

__all__ = ["show_config"]


def show_config(
    changed: Annotated[
        bool, typer.Option("--changed", help="Print only settings that differ from the defaults.")
    ] = False,
    as_json: JsonFlag = False,
    config: ConfigFile = None,
    override: Overrides = None,
) -> None:
    """Print every setting with its meaning, range and default; --config and --set change the values.

    The output is a file for --config; settings that a file leaves out keep the values of the library.
    Passwords in live.source are printed as ***.

    [bold]Examples:[/bold]

    rtsearch config

    rtsearch config --changed --set detect.threshold=0.4 > mine.yaml
    """
    from rtsearch.config.document import changed_settings, write_changed, write_document

    settings = _without_secrets(settings_of(config, override))
    if as_json:
        print_json(changed_settings(settings) if changed else settings.model_dump(mode="json"))
        return
    text = write_changed(settings) if changed else write_document(settings)
    sys.stdout.write(text)
    if not text:
        tell("all settings have their defaults")


def _without_secrets(settings: Settings) -> Settings:
    source = masked(settings.live.source)
    if source == settings.live.source:
        return settings
    tell("live.source holds a secret, which is printed as ***")
    return settings.model_copy(update={"live": settings.live.model_copy(update={"source": source})})
