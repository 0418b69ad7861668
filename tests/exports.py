"""Small detectors with random weights, as ONNX graphs laid out as exporters lay them out."""

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

STRIDES = (8, 16, 32)
WH = (96, 64)


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

    def rows(self, x, start, end):
        """Channels ``start`` to ``end`` of (batch, c, N)."""
        return self.op("Slice", x, *(self.const([value], np.int64) for value in (start, end, 1)))

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
        """The graph as a model; a number as the shape of an output is its number of sides."""
        outputs = [
            (name, kind, [None] * shape if isinstance(shape, int) else shape) for name, kind, shape in outputs
        ]
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


def ultralytics_export(wh=(96, 64), classes=3, dfl=True, end="raw", metadata=None, opset=17, batch=1):
    """A detector laid out as Ultralytics exports: ``end`` is raw, nms, top, pose or rotated."""
    g = Graph()
    widths = (6, 8, 10)
    boxes, scores = [], []
    bins = 4 if dfl else 1
    for x, c in zip(g.necks("images", widths), widths, strict=True):
        box = g.conv(g.conv(x, c, 8), 8, 4 * bins, k=1, act=False)
        boxes.append(g.op("Reshape", box, g.const((batch, 4 * bins, -1), np.int64)))
        score = g.conv(g.conv(x, c, 8), 8, classes, k=1, act=False)
        scores.append(g.op("Reshape", score, g.const((batch, classes, -1), np.int64)))
    distance = g.op("Concat", *boxes, axis=2)
    if dfl:
        spread = g.op("Reshape", distance, g.const((batch, 4, bins, -1), np.int64))
        share = g.op("Softmax", g.op("Transpose", spread, perm=[0, 2, 1, 3]), axis=1)
        mean = g.op("Conv", share, g.const(np.arange(bins).reshape(1, bins, 1, 1), np.float32))
        distance = g.op("Reshape", mean, g.const((batch, 4, -1), np.int64))
    points, strides = grid(wh)
    centre = g.const(points[None] + np.float32(0.5))
    near, far = g.op("Split", distance, g.const((2, 2), np.int64), outputs=2, axis=1)
    low, high = g.op("Sub", centre, near), g.op("Add", centre, far)
    more = []
    if end in ("raw", "pose"):
        middle = g.op("Div", g.op("Add", low, high), g.const(2, np.float32))
        low, high = middle, g.op("Sub", high, low)
    if end == "pose":
        more = [g.op("Concat", distance, distance, axis=1)]
    if end == "rotated":
        turn = g.op("Mul", g.rows(distance, 0, 1), g.const(0.2, np.float32))
        low, high, more = g.op("Add", turned(g, near, far, turn), centre), g.op("Add", near, far), [turn]
    box = g.op("Mul", g.op("Concat", low, high, axis=1), g.const(strides[None]))
    probability = g.op("Sigmoid", g.op("Concat", *scores, axis=2))
    out = g.op("Concat", box, probability, axis=1)
    if more:
        out = g.op("Concat", out, *more, axis=1)
    shape = [batch, None, points.shape[1]]
    if end in ("nms", "top"):
        rows = g.op("Transpose", out, perm=[0, 2, 1])
        out, shape = (_nms if end == "nms" else _top)(g, rows, classes), [1, None, 6]
    g.nodes[-1].output[0] = "output0"
    image = ("images", TensorProto.FLOAT, [batch, 3, wh[1], wh[0]])
    return g.model([image], [("output0", TensorProto.FLOAT, shape)], opset, metadata)


def turned(g, near, far, angle):
    """Offsets of the centres of rotated boxes from their points."""
    offset = g.op("Div", g.op("Sub", far, near), g.const(2, np.float32))
    x, y, cos, sin = g.rows(offset, 0, 1), g.rows(offset, 1, 2), g.op("Cos", angle), g.op("Sin", angle)
    across = g.op("Sub", g.op("Mul", x, cos), g.op("Mul", y, sin))
    down = g.op("Add", g.op("Mul", x, sin), g.op("Mul", y, cos))
    return g.op("Concat", across, down, axis=1)


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


def free_export(opset):
    """A detector of free sides, with the arithmetic on shapes that older exporters write."""
    g = Graph()
    maps = g.necks("images", (6, 8, 10))
    boxes, scores, points, strides = [], [], [], []
    for x, c, stride in zip(maps, (6, 8, 10), STRIDES, strict=True):
        first, two = g.op("Gather", g.op("Shape", x), g.const([0], np.int64)), g.op("Shape", x)
        for group, width in ((boxes, 4), (scores, 2)):
            branch = g.conv(g.conv(x, c, 4), 4, width, k=1, act=False)
            shape = g.op("Concat", first, g.const((width, -1), np.int64), axis=0)
            group.append(g.op("Reshape", branch, shape))
        height, width = (g.op("Gather", two, g.const(place, np.int64)) for place in (2, 3))
        column, row = (
            g.op("Range", g.const(0, np.int64), size, g.const(1, np.int64)) for size in (width, height)
        )
        if opset < 13:  # then the axes became an input
            both = g.op("Unsqueeze", height, axes=[0]), g.op("Unsqueeze", width, axes=[0])
        else:
            both = tuple(g.op("Unsqueeze", size, g.const((0,), np.int64)) for size in (height, width))
        shape, flat = g.op("Concat", *both, axis=0), g.const((1, 1, -1), np.int64)
        row = g.op("Reshape", row, g.const((-1, 1), np.int64))
        grids = [g.op("Reshape", g.op("Expand", axis, shape), flat) for axis in (column, row)]
        point = g.op("Cast", g.op("Concat", *grids, axis=1), to=TensorProto.FLOAT)
        points.append(g.op("Add", point, g.const(0.5, np.float32)))
        half = g.op("Mul", g.op("Cast", grids[0], to=TensorProto.FLOAT), g.const(0, np.float32))
        strides.append(g.op("Add", half, g.const(stride, np.float32)))
    distance, centre = g.op("Concat", *boxes, axis=2), g.op("Concat", *points, axis=2)
    near, far = g.rows(distance, 0, 2), g.rows(distance, 2, 4)
    low, high = g.op("Sub", centre, near), g.op("Add", centre, far)
    middle = g.op("Div", g.op("Add", low, high), g.const(2, np.float32))
    box = g.op("Concat", middle, g.op("Sub", high, low), axis=1)
    box = g.op("Mul", box, g.op("Concat", *strides, axis=2))
    out = g.op("Concat", box, g.op("Sigmoid", g.op("Concat", *scores, axis=2)), axis=1)
    image = ("images", TensorProto.FLOAT, ["batch", 3, "height", "width"])
    return g.model([image], [(out, TensorProto.FLOAT, ["batch", 6, "n"])], opset)


def rows_export(wh=(96, 64), classes=3, grid=True, anchor=1):
    """A detector laid out as YOLOv5 and v7: three anchors per cell, with the grid inside or without."""
    g = Graph()
    levels = []
    for x, c, stride in zip(g.necks("images", (6, 8, 10)), (6, 8, 10), STRIDES, strict=True):
        width, height = wh[0] // stride, wh[1] // stride
        raw = g.conv(x, c, 3 * (5 + classes), k=1, act=False)
        split = g.op("Reshape", raw, g.const((1, 3, 5 + classes, height, width), np.int64))
        level = g.op("Transpose", split, perm=[0, 1, 3, 4, 2])
        if grid:
            row, column = np.mgrid[:height, :width].astype(np.float32)
            sizes = np.arange(1, 7, dtype=np.float32).reshape(1, 3, 1, 1, 2) * stride * anchor
            parts = g.const((2, 2, 1 + classes), np.int64)
            xy, size, sure = g.op("Split", g.op("Sigmoid", level), parts, outputs=3, axis=4)
            place = g.const((np.stack([column, row], 2)[None, None] - 0.5) * np.float32(stride))
            xy = g.op("Add", g.op("Mul", xy, g.const(2 * stride, np.float32)), place)
            size = g.op(
                "Mul",
                g.op("Pow", g.op("Mul", size, g.const(2, np.float32)), g.const(2.0, np.float32)),
                g.const(sizes),
            )
            level = g.op("Concat", xy, size, sure, axis=4)
            level = g.op("Reshape", level, g.const((1, -1, 5 + classes), np.int64))
        levels.append(level)
    image = ("images", TensorProto.FLOAT, [1, 3, wh[1], wh[0]])
    if not grid:
        return g.model([image], [(level, TensorProto.FLOAT, 5) for level in levels])
    return g.model([image], [(g.op("Concat", *levels, axis=1), TensorProto.FLOAT, 3)])


def detr_export(
    style="raw", wh=(96, 64), classes=3, queries=12, names=("logits", "pred_boxes"), metadata=None
):
    """A detector of the DETR family: raw, chosen, joined or ranked (with TopK inside), or plain."""
    g = Graph()
    maps = g.necks("images", (6, 8, 10))
    flat = g.op("Reshape", maps[0], g.const((1, 6, -1), np.int64))
    memory = g.op("Transpose", flat, perm=[0, 2, 1])
    if style == "plain":
        chosen = g.rows(memory, 0, queries)
    else:
        best = g.op("ReduceMax", memory, axes=[2], keepdims=0)
        _, index = g.op("TopK", best, g.const([queries], np.int64), outputs=2, axis=1)
        wide = g.op(
            "Expand", g.op("Unsqueeze", index, g.const([2], np.int64)), g.const((1, queries, 6), np.int64)
        )
        chosen = g.op("GatherElements", memory, wide, axis=1)
    box, logits = (
        g.op("MatMul", chosen, g.const(g.rng.normal(0, 1, (6, width)).astype(np.float32)))
        for width in (4, classes)
    )
    box = g.op("Sigmoid", box)
    image = ("images", TensorProto.FLOAT, [1, 3, wh[1], wh[0]])
    if style in ("raw", "plain"):
        for tensor, name in ((logits, names[0]), (box, names[1])):
            g.nodes.append(helper.make_node("Identity", [tensor], [name]))
        return g.model([image], [(name, TensorProto.FLOAT, 3) for name in names], metadata=metadata)
    likely = g.op("Sigmoid", logits)
    if style == "joined":
        return g.model([image], [(g.op("Concat", box, likely, axis=2), TensorProto.FLOAT, 3)])
    value, index = g.op("TopK", g.op("Flatten", likely), g.const([queries], np.int64), outputs=2, axis=1)
    label = g.op("Mod", index, g.const(classes, np.int64))
    row = g.op("Unsqueeze", g.op("Div", index, g.const(classes, np.int64)), g.const([2], np.int64))
    wide = g.op("Expand", row, g.const((1, queries, 4), np.int64))
    last = g.const([2], np.int64)
    if style == "ranked":
        label = g.op("Unsqueeze", g.op("Cast", label, to=TensorProto.FLOAT), last)
        parts = [g.op("GatherElements", box, wide, axis=1), g.op("Unsqueeze", value, last), label]
        return g.model([image], [(g.op("Concat", *parts, axis=2), TensorProto.FLOAT, 3)])
    size = g.op("Cast", g.op("Tile", "orig_target_sizes", g.const((1, 2), np.int64)), to=TensorProto.FLOAT)
    corner = g.op(
        "MatMul", box, g.const([[1, 0, 1, 0], [0, 1, 0, 1], [-0.5, 0, 0.5, 0], [0, -0.5, 0, 0.5]], np.float32)
    )
    scaled = g.op("Mul", corner, g.op("Unsqueeze", size, g.const([1], np.int64)))
    made = {"labels": label, "boxes": g.op("GatherElements", scaled, wide, axis=1), "scores": value}
    for name, tensor in made.items():
        g.nodes.append(helper.make_node("Identity", [tensor], [name]))
    kinds = ((TensorProto.INT64, 2), (TensorProto.FLOAT, 3), (TensorProto.FLOAT, 2))
    sizes = ("orig_target_sizes", TensorProto.INT64, [1, 2])
    return g.model([image, sizes], [(name, *kind) for name, kind in zip(made, kinds, strict=True)])


def mask():
    """A network whose output is one map."""
    g = Graph()
    out = g.conv(g.conv("images", 3, 4), 4, 2, k=1, act=False)
    return g.model([("images", TensorProto.FLOAT, [1, 3, 64, 96])], [(out, TensorProto.FLOAT, 4)])


def ready_boxes():
    """A network whose output looks like chosen boxes, with nothing known before them."""
    g = Graph()
    mean = g.op("GlobalAveragePool", g.conv("images", 3, 60, stride=2))
    out = g.op("Reshape", mean, g.const((10, 6), np.int64))
    return g.model([("images", TensorProto.FLOAT, [1, 3, 64, 96])], [(out, TensorProto.FLOAT, 2)])


def session(path):
    """The export itself, without help from rtsearch."""
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def save(model, path):
    path.write_bytes(model.SerializeToString())
    return path


def raw(path, images):
    """What the export itself answers, without help from rtsearch."""
    opened = session(path)
    return opened.run(None, {opened.get_inputs()[0].name: images})[0]


def picture(wh=WH, batch=1, dtype=np.float32, scale=1.0):
    return (np.random.default_rng(3).random((batch, 3, wh[1], wh[0])) * scale).astype(dtype)


def corners(centres):
    half = centres[:, 2:] / 2
    return np.concatenate([centres[:, :2] - half, centres[:, :2] + half], axis=1)


def decoded_yolox(rows, wh):
    points, strides = grid(wh)
    centre = (rows[:, :2] + points.T) * strides.T
    size = np.exp(rows[:, 2:4]) * strides.T
    return corners(np.concatenate([centre, size], axis=1)), rows[:, 4:5] * rows[:, 5:]


def quantised(model, how, folder):
    """The model in int8, as onnxruntime makes it: ``dynamic``, ``qoperator`` or ``qdq``."""
    from onnxruntime import quantization

    source, target = folder / "float.onnx", folder / "int8.onnx"
    onnx.save(model, source)
    if how == "dynamic":
        quantization.quantize_dynamic(source, target, weight_type=quantization.QuantType.QUInt8)
        return onnx.load(target)
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]

    class Pictures(quantization.CalibrationDataReader):
        left = 3

        def get_next(self):
            self.left -= 1
            if self.left < 0:
                return None
            given = np.random.default_rng(self.left).random(shape).astype(np.float32)
            return {model.graph.input[0].name: given}

    kinds = {"qoperator": quantization.QuantFormat.QOperator, "qdq": quantization.QuantFormat.QDQ}
    quantization.quantize_static(source, target, Pictures(), quant_format=kinds[how])
    return onnx.load(target)
