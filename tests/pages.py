"""Readers of the repository's Markdown pages: code blocks and the commands in them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
README = (TOP / "README.md").read_text(encoding="utf-8")


def code_blocks(text: str) -> list[tuple[str, str]]:
    """Return (language, code) of every block of a page that names its language, in order."""
    return re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[list[str]]:
    """Return the words of every command in the ``sh`` blocks of a page, in order."""
    lines = [line for language, code in code_blocks(text) if language == "sh" for line in code.splitlines()]
    return [words for line in lines if (words := shlex.split(line, comments=True))]
