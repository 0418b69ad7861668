"""A small YOLO26 with random weights.

``checkpoint`` writes it as PyTorch would, without PyTorch; ``detect`` is its slow and obvious reference.
"""

import contextlib
import pickle
import sys
import types
import zipfile
from collections import OrderedDict

import numpy as np

STRIDES = (8, 16, 32)

HOMES = {
    "torch.nn.modules.conv": "Conv2d",
    "torch.nn.modules.batchnorm": "BatchNorm2d",
    "torch.nn.modules.activation": "SiLU",
    "torch.nn.modules.container": "Sequential ModuleList",
    "torch.nn.modules.pooling": "MaxPool2d",
    "torch.nn.modules.linear": "Identity",
    "torch.nn.modules.upsampling": "Upsample",
    "ultralytics.nn.modules.block": "Attention Bottleneck C2PSA C3k C3k2 PSABlock SPPF",
    "ultralytics.nn.modules.conv": "Concat Conv DWConv",
    "ultralytics.nn.modules.head": "Detect",
    "ultralytics.nn.tasks": "DetectionModel",
}


def _class(module, name):
    made = type(name, (), {"__module__": module})
    sys.modules[module].__dict__[name] = made
    return made


@contextlib.contextmanager
def torch_names():
    """Stand-ins for the modules whose names stand in a checkpoint; gone again afterwards."""
    names = {".".join(home.split(".")[:i]) for home in HOMES for i in range(1, 5)} | {"torch._utils"}
    assert not set(names) & set(sys.modules)
    sys.modules.update({name: types.ModuleType(name) for name in names})
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]


class Layer:
    """One layer: its class name, plain attributes, parameters, buffers and inner layers."""

    def __init__(self, kind, inner=None, arrays=None, buffers=None, **attributes):
        self.kind = kind
        self.inner = inner or {}
        self.arrays = arrays or {}
        self.buffers = buffers or {}
        self.attributes = attributes

    def __getitem__(self, name):
        return self.inner[str(name)]


class _Pickler(pickle._Pickler):
    """Writes layers as objects of the stand-in classes, and arrays as tensors whose bytes lie beside."""

    def __init__(self, file, storages):
        super().__init__(file, protocol=2)
        self.storages = storages
        self.classes = {name: _class(module, name) for module, line in HOMES.items() for name in line.split()}
        self.storage_class = _class("torch", "FloatStorage")
        functions = {"_rebuild_tensor_v2": _rebuild_tensor_v2, "_rebuild_parameter": _rebuild_parameter}
        sys.modules["torch._utils"].__dict__.update(functions)

    def persistent_id(self, item):
        if isinstance(item, _Storage):
            key = str(len(self.storages))
            self.storages.append(item.array)
            return ("storage", self.storage_class, key, "cpu", item.array.size)
        return None

    def save(self, item, save_persistent_id=True):
        return super().save(self._as_torch(item), save_persistent_id)  # type: ignore[misc]  # not in typeshed

    def _as_torch(self, item):
        if isinstance(item, np.ndarray):
            return _Tensor(np.ascontiguousarray(item, np.float32))
        if not isinstance(item, Layer):
            return item
        made = self.classes[item.kind]()
        made.__dict__.update(
            training=False,
            _parameters=OrderedDict((name, _Parameter(a)) for name, a in item.arrays.items()),
            _buffers=OrderedDict(item.buffers),
            _modules=OrderedDict((name, self._as_torch(layer)) for name, layer in item.inner.items()),
            **item.attributes,
        )
        return made


class _Storage:
    def __init__(self, array):
        self.array = array


def _rebuild_tensor_v2():
    raise AssertionError("only its name is written")


def _rebuild_parameter():
    raise AssertionError("only its name is written")


_rebuild_tensor_v2.__module__ = _rebuild_parameter.__module__ = "torch._utils"


class _Tensor:
    def __init__(self, array):
        self.array = array

    def __reduce_ex__(self, _protocol):
        strides = tuple(step // 4 for step in self.array.strides)
        arguments = (_Storage(self.array), 0, self.array.shape, strides, False, OrderedDict())
        return _rebuild_tensor_v2, arguments


class _Parameter:
    def __init__(self, array):
        self.array = array

    def __reduce_ex__(self, _protocol):
        return _rebuild_parameter, (
            _Tensor(np.ascontiguousarray(self.array, np.float32)),
            True,
            OrderedDict(),
        )


def checkpoint(path, model):
    """Write ``model`` as a checkpoint."""
    storages = []
    with zipfile.ZipFile(path, "w") as archive, torch_names():
        with archive.open("best/data.pkl", "w") as file:
            _Pickler(file, storages).dump({"epoch": -1, "model": model, "ema": None})
        archive.writestr("best/byteorder", "little")
        for key, array in enumerate(storages):
            archive.writestr(f"best/data/{key}", array.tobytes())
    return path


class Maker:
    """Layers with random weights that keep activations near 1."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def conv2d(self, c_in, c_out, k=1, stride=1, groups=1, bias=False):
        size = (c_out, c_in // groups, k, k)
        weight = self.rng.normal(0, 1.5 / np.sqrt(np.prod(size[1:])), size)
        arrays = {"weight": weight.astype(np.float32)}
        if bias:
            arrays["bias"] = self.rng.normal(0, 1, c_out).astype(np.float32)
        return Layer(
            "Conv2d",
            arrays=arrays,
            kernel_size=(k, k),
            stride=(stride, stride),
            padding=(k // 2, k // 2),
            dilation=(1, 1),
            transposed=False,
            groups=groups,
            padding_mode="zeros",
        )

    def conv(self, c_in, c_out, k=1, stride=1, groups=1, act="SiLU"):
        def near(low, high):
            return self.rng.uniform(low, high, c_out).astype(np.float32)

        norm = Layer(
            "BatchNorm2d",
            arrays={"weight": near(0.5, 1.5), "bias": near(-0.3, 0.3)},
            buffers={"running_mean": near(-0.3, 0.3), "running_var": near(0.5, 2.0)},
            eps=1e-3,
        )
        inner = {"conv": self.conv2d(c_in, c_out, k, stride, groups), "bn": norm, "act": Layer(act)}
        return Layer("DWConv" if groups > 1 else "Conv", inner)

    def bottleneck(self, c, add=True):
        return Layer("Bottleneck", {"cv1": self.conv(c, c // 2, 3), "cv2": self.conv(c // 2, c, 3)}, add=add)

    def c3k(self, c):
        half = c // 2
        inner = {
            "cv1": self.conv(c, half),
            "cv2": self.conv(c, half),
            "cv3": self.conv(2 * half, c),
            "m": listed("Sequential", [self.bottleneck(half), self.bottleneck(half, add=False)]),
        }
        return Layer("C3k", inner)

    def c3k2(self, c_in, c_out, blocks):
        half = c_out // 2
        inner = {
            "cv1": self.conv(c_in, 2 * half),
            "cv2": self.conv((2 + len(blocks)) * half, c_out),
            "m": listed("ModuleList", blocks),
        }
        return Layer("C3k2", inner, c=half)

    def sppf(self, c):
        inner = {
            "cv1": self.conv(c, c // 2, act="Identity"),
            "cv2": self.conv(2 * c, c),
            "m": Layer("MaxPool2d", kernel_size=5, stride=1, padding=2),
        }
        return Layer("SPPF", inner, n=3, add=True)

    def psa_block(self, c, heads=2):
        value, key = c // heads, c // heads // 2
        attention = Layer(
            "Attention",
            {
                "qkv": self.conv(c, c + 2 * key * heads, act="Identity"),
                "proj": self.conv(c, c, act="Identity"),
                "pe": self.conv(c, c, 3, groups=c, act="Identity"),
            },
            num_heads=heads,
            key_dim=key,
            head_dim=value,
            scale=key**-0.5,
        )
        ffn = listed("Sequential", [self.conv(c, 2 * c), self.conv(2 * c, c, act="Identity")])
        return Layer("PSABlock", {"attn": attention, "ffn": ffn}, add=True)

    def c2psa(self, c):
        half = c // 2
        inner = {
            "cv1": self.conv(c, 2 * half),
            "cv2": self.conv(2 * half, c),
            "m": listed("Sequential", [self.psa_block(half)]),
        }
        return Layer("C2PSA", inner, c=half)

    def detect(self, widths, classes):
        boxes = [listed("Sequential", [self.conv(c, 8, 3), self.conv2d(8, 4, bias=True)]) for c in widths]
        scores = [
            listed("Sequential", [self.conv(c, c, 3, groups=c), self.conv2d(c, classes, bias=True)])
            for c in widths
        ]
        inner = {"one2one_cv2": listed("ModuleList", boxes), "one2one_cv3": listed("ModuleList", scores)}
        return Layer("Detect", inner, nc=classes, reg_max=1, stride=np.array(STRIDES, np.float32))


def listed(kind, layers):
    return Layer(kind, {str(i): layer for i, layer in enumerate(layers)})


def tiny_yolo26(seed=0, classes=3):
    """A network with every kind of layer that YOLO26 has."""
    make = Maker(seed)
    upsample = {"scale_factor": 2.0, "mode": "nearest"}
    layers = [
        make.conv(3, 4, 3, 2),  # 0, stride 2
        make.conv(4, 8, 3, 2),  # 1, stride 4
        make.c3k2(8, 8, [make.bottleneck(4)]),  # 2
        make.conv(8, 8, 3, 2),  # 3, stride 8
        make.c3k2(8, 12, [make.c3k(6)]),  # 4
        make.conv(12, 12, 3, 2),  # 5, stride 16
        make.conv(12, 16, 3, 2),  # 6, stride 32
        make.sppf(16),  # 7
        make.c2psa(16),  # 8
        Layer("Upsample", **upsample),  # 9, stride 16
        Layer("Concat", d=1),  # 10: 9 and 5
        make.c3k2(28, 10, [listed("Sequential", [make.bottleneck(5), make.psa_block(5, heads=1)])]),  # 11
        Layer("Upsample", **upsample),  # 12, stride 8
        Layer("Concat", d=1),  # 13: 12 and 4
        make.c3k2(22, 6, [make.bottleneck(3)]),  # 14
        make.detect((6, 10, 16), classes),  # 15
    ]
    sources = {10: [-1, 5], 13: [-1, 4], 15: [14, 11, 8]}
    for i, layer in enumerate(layers):
        layer.attributes.update(i=i, f=sources.get(i, -1))
    names = dict(enumerate(("cat", "dog", "cup")[:classes]))
    return Layer("DetectionModel", {"model": listed("Sequential", layers)}, names=names)


def conv2d(layer, x):
    weight, (kh, kw) = layer.arrays["weight"], layer.attributes["kernel_size"]
    (sy, sx), (py, px) = layer.attributes["stride"], layer.attributes["padding"]
    x = np.pad(x.astype(np.float64), ((0, 0), (py, py), (px, px)))
    height, width = (x.shape[1] - kh) // sy + 1, (x.shape[2] - kw) // sx + 1
    groups = layer.attributes["groups"]
    per_in, per_out = len(x) // groups, len(weight) // groups
    y = np.zeros((len(weight), height, width))
    for o in range(len(weight)):
        first = o // per_out * per_in
        for i in range(per_in):
            for dy in range(kh):
                for dx in range(kw):
                    window = x[first + i, dy : dy + sy * height : sy, dx : dx + sx * width : sx]
                    y[o] += weight[o, i, dy, dx] * window
    bias = layer.arrays.get("bias", np.zeros(len(weight)))
    return y + bias[:, None, None]


def max_pool5(x):
    height, width = x.shape[1:]
    x = np.pad(x, ((0, 0), (2, 2), (2, 2)), constant_values=-np.inf)
    shifted = [x[:, dy : dy + height, dx : dx + width] for dy in range(5) for dx in range(5)]
    return np.max(shifted, axis=0)


def attention(layer, x):
    heads, key, value = (layer.attributes[name] for name in ("num_heads", "key_dim", "head_dim"))
    height, width = x.shape[1:]
    joined = forward(layer["qkv"], x).reshape(heads, 2 * key + value, height * width)
    mixed, values = [], []
    for head in joined:
        q, k, v = head[:key], head[key : 2 * key], head[2 * key :]
        weight = np.exp(q.T @ k * layer.attributes["scale"])
        weight /= weight.sum(1, keepdims=True)
        mixed.append(v @ weight.T)
        values.append(v)
    shape = (heads * value, height, width)
    place = forward(layer["pe"], np.reshape(values, shape))
    return forward(layer["proj"], np.reshape(mixed, shape) + place)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def forward(layer, x):
    """What a layer makes of one (c, h, w) map, in float64, one step after the other."""
    kind = layer.kind
    if kind == "Conv2d":
        return conv2d(layer, x)
    if kind in ("Conv", "DWConv"):
        norm = layer["bn"]
        gain = norm.arrays["weight"] / np.sqrt(norm.buffers["running_var"] + norm.attributes["eps"])
        y = conv2d(layer["conv"], x) - norm.buffers["running_mean"][:, None, None]
        y = y * gain[:, None, None] + norm.arrays["bias"][:, None, None]
        return y * sigmoid(y) if layer["act"].kind == "SiLU" else y
    if kind == "Sequential":
        for inner in layer.inner.values():
            x = forward(inner, x)
        return x
    if kind == "Bottleneck":
        y = forward(layer["cv2"], forward(layer["cv1"], x))
        return x + y if layer.attributes["add"] else y
    if kind == "C3k":
        both = [forward(layer["m"], forward(layer["cv1"], x)), forward(layer["cv2"], x)]
        return forward(layer["cv3"], np.concatenate(both))
    if kind in ("C3k2", "C2PSA"):
        parts = np.split(forward(layer["cv1"], x), 2)
        if kind == "C2PSA":
            parts[1] = forward(layer["m"], parts[1])
        else:
            for block in layer["m"].inner.values():
                parts.append(forward(block, parts[-1]))
        return forward(layer["cv2"], np.concatenate(parts))
    if kind == "SPPF":
        parts = [forward(layer["cv1"], x)]
        for _ in range(3):
            parts.append(max_pool5(parts[-1]))
        return forward(layer["cv2"], np.concatenate(parts)) + x
    if kind == "PSABlock":
        x = x + attention(layer["attn"], x)
        return x + forward(layer["ffn"], x)
    if kind == "Upsample":
        return x.repeat(2, axis=1).repeat(2, axis=2)
    raise AssertionError(kind)


def detect(model, image):
    """Boxes (N, 4) in px, scores (N, C) and the necks of a network over one (3, h, w) picture."""
    *trunk, head = model["model"].inner.values()
    outputs = []
    for layer in trunk:
        source = layer.attributes["f"]
        if layer.kind == "Concat":
            outputs.append(np.concatenate([outputs[i] for i in source]))
        else:
            outputs.append(forward(layer, outputs[-1] if outputs else image))
    boxes, scores = [], []
    necks = [outputs[i] for i in head.attributes["f"]]
    for level, (neck, stride) in enumerate(zip(necks, STRIDES, strict=True)):
        distance = forward(head["one2one_cv2"][level], neck)
        logit = forward(head["one2one_cv3"][level], neck)
        for y in range(neck.shape[1]):
            for x in range(neck.shape[2]):
                left, top, right, bottom = distance[:, y, x]
                cx, cy = x + 0.5, y + 0.5
                boxes.append([(cx - left) * stride, (cy - top) * stride])
                boxes[-1] += [(cx + right) * stride, (cy + bottom) * stride]
                scores.append(sigmoid(logit[:, y, x]))
    return np.array(boxes), np.array(scores), necks
