"""Small detectors with random weights, as ONNX graphs laid out as exporters lay them out."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

STRIDES = (8, 16, 32)


class Graph:
    """A few nodes at a time."""

    def __init__(self, seed=0):
        self.nodes, self.initializers, self.rng = [], [], np.random.default_rng(seed)

    def const(self, value, dtype=None):
        name = f"const{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def op(self, kind, *inputs, outputs=1, **attributes):
        names = [f"{kind}_{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def conv(self, x, c_in, c_out, k=3, stride=1, act=True):
        weight = self.rng.normal(0, 1.5 / np.sqrt(c_in * k * k), (c_out, c_in, k, k)).astype(np.float32)
        bias = self.rng.normal(0, 0.3, c_out).astype(np.float32)
        pads = [k // 2] * 4
        y = self.op("Conv", x, self.const(weight), self.const(bias), strides=[stride] * 2, pads=pads)
        return self.op("Mul", y, self.op("Sigmoid", y)) if act else y

    def necks(self, x, widths):
        """Maps of strides 8, 16, 32; the last one is enlarged and mixed into the one before."""
        x, c = self.conv(self.conv(x, 3, 4, stride=2), 4, 6, stride=2), 6
        maps = []
        for width in widths:
            x = self.conv(x, c, width, stride=2)
            c = width
            maps.append(x)
        no_region, twice = self.const([], np.float32), self.const((1, 1, 2, 2), np.float32)
        joined = self.op("Concat", maps[1], self.op("Resize", x, no_region, twice, mode="nearest"), axis=1)
        maps[1] = self.conv(joined, widths[1] + widths[2], widths[1], k=1)
        return maps

    def model(self, inputs, outputs, opset=17, metadata=None):
        given, made = (
            [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in group]
            for group in (inputs, outputs)
        )
        graph = helper.make_graph(self.nodes, "made", given, made, self.initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        if metadata:
            helper.set_model_props(model, metadata)
        onnx.checker.check_model(model)
        return model


def grid(wh):
    """Centres (2, N) in cells and strides (1, N) of all levels."""
    points, strides = [], []
    for stride in STRIDES:
        y, x = np.mgrid[: wh[1] // stride, : wh[0] // stride]
        points.append(np.stack([x.ravel(), y.ravel()]).astype(np.float32))
        strides.append(np.full((1, x.size), stride, np.float32))
    return np.concatenate(points, 1), np.concatenate(strides, 1)


def ultralytics_export(wh=(96, 64), classes=3, dfl=True, end="raw", metadata=None, opset=17):
    """A detector laid out as Ultralytics exports: ``end`` is raw, nms or top."""
    g = Graph()
    widths = (6, 8, 10)
    boxes, scores = [], []
    bins = 4 if dfl else 1
    for x, c in zip(g.necks("images", widths), widths, strict=True):
        box = g.conv(g.conv(x, c, 8), 8, 4 * bins, k=1, act=False)
        boxes.append(g.op("Reshape", box, g.const((1, 4 * bins, -1), np.int64)))
        score = g.conv(g.conv(x, c, 8), 8, classes, k=1, act=False)
        scores.append(g.op("Reshape", score, g.const((1, classes, -1), np.int64)))
    distance = g.op("Concat", *boxes, axis=2)
    if dfl:
        spread = g.op("Reshape", distance, g.const((1, 4, bins, -1), np.int64))
        share = g.op("Softmax", g.op("Transpose", spread, perm=[0, 2, 1, 3]), axis=1)
        mean = g.op("Conv", share, g.const(np.arange(bins).reshape(1, bins, 1, 1), np.float32))
        distance = g.op("Reshape", mean, g.const((1, 4, -1), np.int64))
    points, strides = grid(wh)
    centre = g.const(points[None] + np.float32(0.5))
    near, far = g.op("Split", distance, g.const((2, 2), np.int64), outputs=2, axis=1)
    low, high = g.op("Sub", centre, near), g.op("Add", centre, far)
    if end == "raw":
        middle = g.op("Div", g.op("Add", low, high), g.const(2, np.float32))
        low, high = middle, g.op("Sub", high, low)
    box = g.op("Mul", g.op("Concat", low, high, axis=1), g.const(strides[None]))
    probability = g.op("Sigmoid", g.op("Concat", *scores, axis=2))
    out = g.op("Concat", box, probability, axis=1)
    shape = [1, 4 + classes, points.shape[1]]
    if end != "raw":
        rows = g.op("Transpose", out, perm=[0, 2, 1])
        out, shape = (_nms if end == "nms" else _top)(g, rows, classes), [1, None, 6]
    g.nodes[-1].output[0] = "output0"
    image = ("images", TensorProto.FLOAT, [1, 3, wh[1], wh[0]])
    return g.model([image], [("output0", TensorProto.FLOAT, shape)], opset, metadata)


def _top(g, rows, classes):
    box, score = g.op("Split", rows, g.const((4, classes), np.int64), outputs=2, axis=2)
    best = g.op("ReduceMax", score, axes=[2], keepdims=0)
    value, index = g.op("TopK", best, g.const([5], np.int64), outputs=2, axis=1)
    label = g.op("Cast", g.op("ArgMax", score, axis=2, keepdims=0), to=TensorProto.FLOAT)
    last = g.const([2], np.int64)
    wide = g.op("Expand", g.op("Unsqueeze", index, last), g.const((1, 5, 4), np.int64))
    parts = [value, g.op("GatherElements", label, index, axis=1)]
    parts = [g.op("Unsqueeze", part, last) for part in parts]
    return g.op("Concat", g.op("GatherElements", box, wide, axis=1), *parts, axis=2)


def _nms(g, rows, classes):
    box, score = g.op("Split", rows, g.const((4, classes), np.int64), outputs=2, axis=2)
    each = g.op("Transpose", score, perm=[0, 2, 1])
    limits = [g.const([7], np.int64), g.const([0.7], np.float32), g.const([0.25], np.float32)]
    kept = g.op("NonMaxSuppression", box, each, *limits)
    label, index = (g.op("Gather", kept, g.const(i, np.int64), axis=1) for i in (1, 2))
    picked = g.op("Gather", box, index, axis=1)
    value = g.op("Unsqueeze", g.op("GatherND", each, kept), g.const([0, 2], np.int64))
    label = g.op("Unsqueeze", g.op("Cast", label, to=TensorProto.FLOAT), g.const([0, 2], np.int64))
    return g.op("Concat", picked, value, label, axis=2)


def yolox_export(wh=(96, 64), classes=3, opset=11):
    """A detector laid out as YOLOX exports: raw maps side by side, centres and sizes not decoded."""
    g = Graph()
    widths = (6, 8, 10)
    levels = []
    for x, c in zip(g.necks("images", widths), widths, strict=True):
        stem = g.conv(x, c, 8, k=1)
        score = g.op("Sigmoid", g.conv(g.conv(stem, 8, 8), 8, classes, k=1, act=False))
        region = g.conv(stem, 8, 8)
        box = g.conv(region, 8, 4, k=1, act=False)
        certain = g.op("Sigmoid", g.conv(region, 8, 1, k=1, act=False))
        joined = g.op("Concat", box, certain, score, axis=1)
        levels.append(g.op("Reshape", joined, g.const((1, 5 + classes, -1), np.int64)))
    out = g.op("Transpose", g.op("Concat", *levels, axis=2), perm=[0, 2, 1])
    shape = [1, grid(wh)[0].shape[1], 5 + classes]
    image = ("images", TensorProto.FLOAT, [1, 3, wh[1], wh[0]])
    return g.model([image], [(out, TensorProto.FLOAT, shape)], opset)


def classifier():
    """A network that takes a picture and finds no objects in it."""
    g = Graph()
    mean = g.op("GlobalAveragePool", g.conv("images", 3, 8, stride=2))
    out = g.op("Flatten", mean)
    image = ("images", TensorProto.FLOAT, [1, 3, 64, 64])
    return g.model([image], [(out, TensorProto.FLOAT, [1, 8])])
