"""What an installed copy says: no help and no message names a file that only the checkout has."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from rtsearch._util.wording import one_line

TOP = Path(__file__).resolve().parents[1]
ONLY_IN_A_CHECKOUT = re.compile(
    r"\b(docs|tools|tests)/|\b(README|CHANGELOG|Makefile|config\.yaml|constraints\.txt)\b"
    r"|\bmake (demo|test|bench|soak)\b|pip install -e"
)
MODULES = sorted((TOP / "rtsearch").rglob("*.py"))


def said(path: Path) -> list[str]:
    """The strings of a module, without docstrings, but with those that typer shows as help."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    texts = [
        (node.lineno, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    helps = path.parent.name == "cli"
    unsaid = {
        ast.get_docstring(node, clean=False)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef)
        or (isinstance(node, ast.FunctionDef) and not (helps and not node.name.startswith("_")))
    }
    return [f"line {line}: {text}" for line, text in texts if text not in unsaid]


def test_strings_are_found():
    assert any("File of settings in YAML" in text for text in said(TOP / "rtsearch/cli/common.py"))
    assert any("Analyse every photo" in text for text in said(TOP / "rtsearch/cli/analyze.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(TOP).as_posix())
def test_no_message_names_a_file_of_the_checkout(path):
    sentences = [text for text in said(path) if " " in text.partition(": ")[2]]
    assert [text for text in sentences if ONLY_IN_A_CHECKOUT.search(text)] == []


def test_the_text_of_an_error_is_told_in_one_line():
    assert one_line(ValueError("bad\n\tvalue  here")) == "bad value here"
    assert one_line(ValueError("x" * 300)) == "x" * 200
    assert one_line("a b", 2) == "a "
