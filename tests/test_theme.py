"""Colours are named in one module."""

import ast
from pathlib import Path

import numpy as np
import pytest

from rtsearch.render import theme

LEAST_LEVEL = 7  # (0, 0, 3) is the shape of a picture
PACKAGE = Path(theme.__file__).parents[1]


def is_colour(node):
    """Tell whether a node is a tuple of three numbers that can be levels of blue, green and red."""
    if not isinstance(node, ast.Tuple) or len(node.elts) != 3:
        return False
    levels = [
        item.value
        for item in node.elts
        if isinstance(item, ast.Constant) and type(item.value) is int and item.value <= 255
    ]
    return len(levels) == 3 and max(levels) > LEAST_LEVEL


def colours(source):
    return [ast.unparse(node) for node in ast.walk(ast.parse(source)) if is_colour(node)]


@pytest.mark.parametrize("room", ["live", "render", "ui"])
def test_no_other_module_has_colours_of_its_own(room):
    found = {
        path.name: colours(path.read_text(encoding="utf-8"))
        for path in (PACKAGE / room).glob("*.py")
        if path.name != "theme.py"
    }
    assert {name: here for name, here in found.items() if here} == {}


def test_that_the_look_for_colours_sees_them():
    assert colours("a = (1, 2, 255), (1, 2), (0, 0, 3), (1, 2, 300), (x, 2, 3), (1.0, 2, 3)") == [
        "(1, 2, 255)"
    ]


def test_every_strip_has_a_colour():
    count = len(theme.OBJECT_COLOURS)
    assert len({theme.object_colour(i) for i in range(count)}) == count
    assert theme.object_colour(count) == theme.object_colour(0)


def test_text_on_a_panel_can_be_read_over_any_picture():
    for level in (0, 255):
        picture = np.full((20, 30, 3), level, np.uint8)
        theme.shade_panel(picture[2:18, 2:28], 1)
        assert picture[3:17, 3:27].max() < 64
        assert picture[2, 2].tolist() == list(theme.EDGE)
        assert (picture[:2] == level).all()
