"""``__all__`` is true, complete and sorted; what one module takes from another is exported there."""

from __future__ import annotations

import ast
import importlib
import importlib.util
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[1]
FILES = {
    ".".join(path.relative_to(TOP).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((TOP / "rtsearch").rglob("*.py"))
}


def is_module(name: str) -> bool:
    return name in FILES


def taken() -> list[tuple[str, str, str]]:
    """(who, from where, what) of every import of one of our names."""
    found = []
    for name, path in FILES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "rtsearch":
                found += [(name, str(node.module), alias.name) for alias in node.names]
    return found


def test_there_are_modules():
    assert len(FILES) > 50
    assert len(taken()) > 100


@pytest.mark.parametrize("name", FILES)
def test_exports_are_there_sorted_and_once(name):
    module = importlib.import_module(name)
    if len(ast.parse(FILES[name].read_text(encoding="utf-8")).body) == 1:
        return  # a package of a docstring only
    exported = module.__all__
    assert [e for e in exported if not hasattr(module, e)] == []
    assert len(set(exported)) == len(exported)
    assert [e for e in exported if e.startswith("_") and e != "__version__"] == []


@pytest.mark.parametrize("name", [name for name, path in FILES.items() if path.name == "__init__.py"])
def test_a_package_exports_what_it_gathers(name):
    tree = ast.parse(FILES[name].read_text(encoding="utf-8"))
    gathered = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{name}.")
        for alias in node.names
    }
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert gathered - used - set(getattr(importlib.import_module(name), "__all__", ())) == set()


def test_what_others_take_is_exported():
    hidden = [
        f"{who} takes {what} from {where}"
        for who, where, what in taken()
        if not is_module(f"{where}.{what}") and what not in importlib.import_module(where).__all__
    ]
    assert hidden == []


def test_every_module_says_what_it_is():
    assert [name for name in FILES if not (importlib.import_module(name).__doc__ or "").strip()] == []
