"""Lay out the help: lines as wide as the terminal, and no types of flags."""

from __future__ import annotations

import inspect
from typing import Any

from typer import Typer
from typer.core import TyperCommand, TyperGroup

__all__ = ["Group", "tidy"]


class _Command(TyperCommand):
    def __init__(self, *args: Any, help: str | None = None, **options: Any) -> None:
        super().__init__(*args, help=_flowing(help), **options)

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types_of_flags(super().get_params(ctx))


class Group(TyperGroup):
    """Group of commands."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types_of_flags(super().get_params(ctx))


def tidy(app: Typer) -> None:
    """Apply the layout to all commands of an app and of its groups; called once all are added."""
    for command in app.registered_commands:
        command.cls = _Command
    for group in app.registered_groups:
        if group.typer_instance is not None:
            own = group.typer_instance.info.cls
            group.cls = own if isinstance(own, type) and issubclass(own, Group) else Group
            tidy(group.typer_instance)


def _flowing(text: str | None) -> str | None:
    """Return paragraphs without the line breaks of the source, which typer keeps in all but the first."""
    if text is None:
        return None
    return "\n\n".join(" ".join(part.split()) for part in inspect.cleandoc(text).split("\n\n"))


def _without_types_of_flags(params: list[Any]) -> list[Any]:
    for param in params:
        if getattr(param, "is_flag", False):
            param.metavar = ""
    return params
