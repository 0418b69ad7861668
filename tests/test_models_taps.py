import exports
import pytest

from rtsearch.models.taps import TAPS, Found, GraphView, find_taps


def view_of(model, wh=(96, 64)):
    return GraphView(model, "images", wh)


def made(end="raw"):
    """A small detector, and the tensors of its boxes and scores."""
    model = exports.ultralytics_export(end=end)
    joined = [node for node in model.graph.node if node.op_type == "Concat"][-1 if end == "raw" else -2]
    return model, list(joined.input[:1]), list(joined.input[1:2])


def producers(model):
    return {name: node for node in model.graph.node for name in node.output}


def test_every_role_names_the_map_it_says():
    model, boxes, scores = made()
    by_name = producers(model)
    roles = ("early2", "early4", "early8", "neck8", "neck16", "neck32", "class16", "box16")
    found = {tap.role: tap for tap in find_taps(view_of(model), boxes, scores, 3, roles)}
    assert list(found) == list(roles)
    assert [(tap.stride, tap.channels) for tap in found.values()] == [
        (2, 4),
        (4, 6),
        (8, 6),
        (8, 6),
        (16, 8),
        (32, 10),
        (16, 8),
        (16, 8),
    ]
    assert found["early8"].tensor == found["neck8"].tensor  # this net has no way back
    for role, width in (("class16", 3), ("box16", 16)):
        last = [n for n in model.graph.node if n.op_type == "Conv" and n.input[0] == found[role].tensor]
        assert [by_name[n.output[0]].op_type for n in last] == ["Conv"]
        weight = next(t for t in model.graph.initializer if t.name == last[0].input[1])
        assert weight.dims[0] == width


def test_roles_that_a_graph_lacks_are_left_out():
    model, boxes, scores = made()
    assert find_taps(view_of(model), boxes, scores, 3, ()) == []
    assert find_taps(view_of(model), boxes, scores, 3, ("deep32", "neck4", "early64")) == []


def test_a_role_that_does_not_exist_is_an_error():
    model, boxes, scores = made()
    for role in ("neck", "middle8", "neck8x"):
        with pytest.raises(ValueError, match="no such role"):
            find_taps(view_of(model), boxes, scores, 3, (role,))


def test_the_ends_of_the_way_in():
    """``early32`` is what the pooling block reads, ``deep32`` what is enlarged first."""
    g = exports.Graph()
    x = g.conv(g.conv("images", 3, 4, stride=2), 4, 4, stride=2)
    x = g.conv(x, 4, 4, stride=2)
    x8 = g.conv(x, 4, 5)
    x16 = g.conv(x8, 5, 6, stride=2)
    x32 = g.conv(x16, 6, 7, stride=2)
    inner = g.conv(x32, 7, 3, k=1)
    pooled = g.op("MaxPool", inner, kernel_shape=[5, 5], pads=[2] * 4)
    end = g.conv(g.op("Concat", inner, pooled, axis=1), 6, 8, k=1)
    back = g.op("Resize", end, "", g.const((1, 1, 2, 2), "float32"), mode="nearest")
    out = g.op("Concat", back, x16, axis=1)
    model = g.model([("images", 1, [1, 3, 64, 96])], [(out, 1, [1, 14, 4, 6])])
    found = find_taps(view_of(model), [out], [out], 2, ("early8", "early16", "early32", "deep32", "deep16"))
    assert found == [
        Found("early8", x8, 8, 5),
        Found("early16", x16, 16, 6),
        Found("early32", x32, 32, 7),
        Found("deep32", end, 32, 8),
    ]


@pytest.mark.parametrize("family", list(TAPS))
def test_the_table_names_roles_that_exist(family):
    model, boxes, scores = made()
    assert TAPS[family]
    find_taps(view_of(model), boxes, scores, 3, TAPS[family])


def test_strides_are_told_from_both_sides():
    view = view_of(made()[0])
    assert view.stride("images") == 1
    assert view.stride("nothing") == 0
    assert view.shape("nothing") == ()
    wide = GraphView(made()[0], "images", (96, 64))
    assert {wide.stride(name) for name in wide.order} == {0, 2, 4, 8, 16, 32}
