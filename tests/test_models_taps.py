import exports
import pytest

from rtsearch.models.taps import ROLES, Found, find_taps
from rtsearch.models.view import GraphView


def view_of(model, wh=(96, 64)):
    return GraphView(model, "images", wh)


def made():
    """A small network whose deepest map is made of a pooling block, and enlarged twice; and that map."""
    g = exports.Graph()
    x = g.conv(g.conv("images", 3, 4, stride=2), 4, 4, stride=2)
    x8 = g.conv(x, 4, 5, stride=2)
    x16 = g.conv(x8, 5, 6, stride=2)
    inner = g.conv(g.conv(x16, 6, 7, stride=2), 7, 3, k=1)
    pooled = g.op("MaxPool", inner, kernel_shape=[5, 5], pads=[2] * 4)
    end = g.conv(g.op("Concat", inner, pooled, axis=1), 6, 8, k=1)
    joined = g.op("Concat", enlarged(g, end), x16, axis=1)
    out = g.op("Concat", enlarged(g, joined), enlarged(g, g.conv(joined, 14, 3)), x8, axis=1)
    return g.model([("images", 1, [1, 3, 64, 96])], [(out, 1, [1, 22, 8, 12])]), end, joined


def enlarged(g, x):
    return g.op("Resize", x, "", g.const((1, 1, 2, 2), "float32"), mode="nearest")


def test_a_role_names_the_map_that_is_enlarged_first():
    model, end, joined = made()
    assert find_taps(view_of(model), ("deep16", "deep32")) == [
        Found("deep16", joined, 16, 14),
        Found("deep32", end, 32, 8),
    ]


def test_roles_that_a_graph_lacks_are_left_out():
    model = made()[0]
    assert find_taps(view_of(model), ()) == []
    assert find_taps(view_of(model), ("deep8", "deep64")) == []


def test_a_role_that_does_not_exist_is_an_error():
    for role in ("deep", "middle8", "deep8x"):
        with pytest.raises(ValueError, match="no such role"):
            find_taps(view_of(made()[0]), (role,))


def test_the_roles_of_prepared_models_exist():
    assert [found.role for found in find_taps(view_of(made()[0]), ROLES)] == list(ROLES)


def test_strides_are_told_from_both_sides():
    view = view_of(exports.ultralytics_export())
    assert view.stride("images") == 1
    assert view.stride("nothing") == 0
    assert view.shape("nothing") == ()
    wide = GraphView(exports.ultralytics_export(), "images", (96, 64))
    assert {wide.stride(name) for name in wide.order} == {0, 2, 4, 8, 16, 32}
