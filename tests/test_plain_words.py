"""Docstrings of public things begin with plain words, and name modules that exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "rtsearch"
MODULES = sorted(PACKAGE.rglob("*.py"))
RIDDLE = re.compile(
    r"(What|How|Whether|Who|Whose|Which|Where|Why|Of|That|Those|As|By|Is|Are|Does)\b|.*\?$", re.DOTALL
)
NAMED_FILE = re.compile(r"``(?:\w+/)*(\w+\.py)``")


def first_lines(source: str) -> Iterator[tuple[str, str]]:
    """Name and first docstring line of a module and of its public classes and functions."""
    waiting: list[tuple[str, ast.Module | ast.ClassDef | ast.FunctionDef]] = [("module", ast.parse(source))]
    while waiting:
        name, node = waiting.pop()
        if text := ast.get_docstring(node):
            yield name, text.splitlines()[0]
        if not isinstance(node, ast.FunctionDef):
            waiting += [
                (inner.name, inner)
                for inner in node.body
                if isinstance(inner, ast.ClassDef | ast.FunctionDef) and not inner.name.startswith("_")
            ]


@pytest.mark.parametrize(
    ("line", "riddle"),
    [
        ("", False),
        ("Return the objects of a frame.", False),
        ("Objects of one frame, best first.", False),
        ("Assign a track to each box.", False),
        ("Bytes of the pictures that are cached.", False),
        ("What has to be given back is a context.", True),
        ("Those that stay.", True),
        ("As many as fit.", True),
        ("By label.", True),
        ("Is the stream alive.", True),
        ("The very same crops?", True),
    ],
)
def test_the_rule_tells_riddles_from_plain_lines(line, riddle):
    assert bool(RIDDLE.match(line)) == riddle


def test_public_docstrings_are_found():
    source = '''
"""Module."""
class Public:
    """Class."""
    def method(self):
        """Method.

        Of more lines.
        """
    def _private(self):
        """Of no interest."""
class _Private:
    """Of no interest."""
def function():
    """Function."""
    def inner():
        """Of no interest."""
'''
    found = dict(first_lines(source))
    assert found == {"module": "Module.", "Public": "Class.", "method": "Method.", "function": "Function."}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_first_docstring_lines_are_plain(path):
    lines = dict(first_lines(path.read_text(encoding="utf-8")))
    assert {name: line for name, line in lines.items() if RIDDLE.match(line)} == {}


def test_modules_that_are_named_exist():
    there = {path.name for path in MODULES}
    named = {
        f"{path.name}: {name}" for path in MODULES for name in NAMED_FILE.findall(path.read_text("utf-8"))
    }
    assert named
    assert sorted(entry for entry in named if entry.split(": ")[1] not in there) == []
