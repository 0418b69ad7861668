import io
import pickle
import pickletools
import struct
import zipfile
from collections import OrderedDict
from typing import Any

import nets
import numpy as np
import pytest

from rtsearch.errors import CheckpointError, UnknownModelError
from rtsearch.models.checkpoint import Module, read_checkpoint
from rtsearch.models.ultralytics import yolo26


def archive(path, pickled, storages=(), **options):
    """A checkpoint with any pickle at all in it."""
    with zipfile.ZipFile(path, "w", **options) as file:
        file.writestr("best/data.pkl", pickled)
        for key, content in enumerate(storages):
            file.writestr(f"best/data/{key}", content)
    return path


def calls(module, name, argument):
    """A pickle (protocol 2) that calls ``module.name(argument)`` on being read."""
    text = argument.encode()
    push = b"X" + struct.pack("<I", len(text)) + text
    return b"\x80\x02c" + module.encode() + b"\n" + name.encode() + b"\n(" + push + b"tR."


def tensor(offset=0, shape=(2, 3), strides=(3, 1), count=6, key="0"):
    """A pickle of one tensor, as PyTorch writes it."""
    with nets.torch_names():
        made: Any = nets._Tensor(np.zeros((2, 3), np.float32))
        made.__class__ = type("T", (), {"__reduce_ex__": lambda self, _: self.reduced})
        made.reduced = (
            nets._rebuild_tensor_v2,
            (nets._Storage(np.zeros(count, np.float32)), offset, shape, strides, False, OrderedDict()),
        )
        file = io.BytesIO()
        storages = [None] * int(key)
        nets._Pickler(file, storages).dump({"model": made})
    return file.getvalue()


def test_a_checkpoint_is_read_as_it_was_written(tmp_path):
    model = nets.tiny_yolo26()
    top = read_checkpoint(nets.checkpoint(tmp_path / "a.pt", model))
    assert top["epoch"] == -1
    assert top["ema"] is None

    def compare(got, want):
        assert isinstance(got, Module)
        assert got.kind == want.kind
        assert list(got.children) == list(want.inner)
        for name, value in want.attributes.items():
            np.testing.assert_array_equal(got.value(name), value)
        for name, array in {**want.arrays, **want.buffers}.items():
            np.testing.assert_array_equal(got.tensor(name), array)
        for name, layer in want.inner.items():
            compare(got.child(name), layer)

    compare(top["model"], model)


def test_what_a_layer_lacks_is_named(tmp_path):
    model = read_checkpoint(nets.checkpoint(tmp_path / "a.pt", nets.tiny_yolo26()))["model"]
    with pytest.raises(CheckpointError, match="DetectionModel has no neck"):
        model.child("neck")
    with pytest.raises(CheckpointError, match="DetectionModel has no weight"):
        model.tensor("weight")
    assert model.value("neck") is None
    assert model.value("neck", 3) == 3


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("posix", "system"),
        ("subprocess", "getoutput"),
        ("builtins", "eval"),
        ("builtins", "exec"),
        ("__builtin__", "eval"),
        ("__builtin__", "getattr"),
        ("builtins", "__import__"),
        ("pathlib", "Path.touch"),
        ("numpy", "load"),
        ("torch", "load"),
        ("torch.hub", "load"),
        ("torch.nn.modules.conv", "Conv2d.forward"),
        ("torch._utils", "_rebuild_tensor_v3"),
    ],
)
def test_no_function_of_a_pickle_is_ever_called(tmp_path, module, name):
    touched = tmp_path / "touched"
    argument = f"touch {touched}" if "exec" not in name else f"open({str(touched)!r}, 'w')"
    path = archive(tmp_path / "evil.pt", calls(module, name, argument))
    with pytest.raises(CheckpointError, match="harmless names"):
        read_checkpoint(path)
    assert not touched.exists()


def test_the_attack_above_works_where_pickles_are_trusted(tmp_path):
    touched = tmp_path / "touched"
    pickle.loads(calls("os", "system", f"touch {touched}"))
    assert touched.exists()


def test_a_layer_that_is_called_stays_inert(tmp_path):
    path = archive(tmp_path / "a.pt", calls("ultralytics.nn.tasks", "system", "touch x"))
    with pytest.raises(CheckpointError, match="expected a mapping, got system"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("pickled", "message"),
    [
        (b"\x80\x02(X\x01\x00\x00\x00ai__builtin__\neval\n.", "INST"),
        (b"\x80\x02(c__builtin__\neval\nX\x01\x00\x00\x00ao.", "OBJ"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "SHORT_BINUNICODE"),
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"\x80\x05\x96\x00\x00\x00\x00\x00\x01\x00\x00ab.", "damaged"),  # 1 TiB bytearray
        (b"\x80\x05\x96\x01\x00\x00\x00\x00\x00\x00\x00a.", "BYTEARRAY8"),
        (b"\x80\x02}r\xff\xff\xff\x7f.", "numbers more objects"),
        (b"\x80\x02ctorch\nSize\n}X\x01\x00\x00\x00aK\x01sb.", "sets attributes of a function"),
        (b"\x80\x02ctorch\nFloatStorage\n)R.", "calls an object that is not a function"),
        (b"\x80\x02}}X\x01\x00\x00\x00aK\x01sb.", "damaged"),  # attributes of a plain mapping
        (b"\x80\x02ctorch.nn.modules.m\nX\n)\x81Kab.", "expected a state"),
        (b"\x80\x02ctorch\nSize\nK\x05\x85R.", "list of sizes"),
        (b"\x80\x02ctorch\nSize\n(" + b"K\x01" * 1001 + b"t\x85R.", "list of sizes"),
        (b"\x80\x02K\x05.", "expected a mapping, got int"),
        (b"\x80\x02", "damaged"),
        (b"", "damaged"),
    ],
)
def test_pickles_that_pytorch_would_not_write(tmp_path, pickled, message):
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(archive(tmp_path / "a.pt", pickled))


@pytest.mark.parametrize(
    ("view", "message"),
    [
        ({"shape": (2, 4), "strides": (3, 1)}, "reaches outside"),
        ({"offset": 1}, "reaches outside"),
        ({"offset": -1}, "reaches outside"),
        ({"strides": (-3, 1)}, "reaches outside"),
        ({"shape": (-2, 3)}, "reaches outside"),
        ({"shape": (2**40, 2**40), "strides": (0, 0)}, "reaches outside"),
        ({"shape": (2,)}, "damaged"),
        ({"count": 5}, "should have 20 bytes, has 24"),
        ({"count": 2**40}, None),
        ({"key": "7"}, "damaged"),
    ],
)
def test_tensors_that_reach_outside_their_bytes(tmp_path, view, message):
    if view.get("count") == 2**40:  # asks for 4 TiB; the number alone is patched in
        pickled = tensor(count=6).replace(b"K\x06t", b"\x8a\x06\x00\x00\x00\x00\x00\x01t")
        message = "should have 4398046511104 bytes, has 24"
    else:
        pickled = tensor(**view)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(archive(tmp_path / "a.pt", pickled, [bytes(24)]))


@pytest.mark.parametrize(
    "view", [{}, {"shape": (0, 3)}, {"shape": (), "strides": ()}, {"shape": (3, 2), "strides": (1, 3)}]
)
def test_tensors_that_do_not(tmp_path, view):
    content = np.arange(6, dtype=np.float32)
    top = read_checkpoint(archive(tmp_path / "a.pt", tensor(**view), [content.tobytes()]))
    shape, strides = view.get("shape", (2, 3)), view.get("strides", (3, 1))
    want = np.zeros(shape, np.float32)
    for index in np.ndindex(shape):
        want[index] = content[sum(i * step for i, step in zip(index, strides, strict=True))]
    np.testing.assert_array_equal(top["model"], want)


def test_files_that_are_no_checkpoint(tmp_path):
    whole = nets.checkpoint(tmp_path / "a.pt", nets.tiny_yolo26()).read_bytes()
    for size in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.pt").write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=r"cut\.pt is damaged"):
            read_checkpoint(tmp_path / "cut.pt")
    (tmp_path / "text.pt").write_text("weights")
    with pytest.raises(CheckpointError, match=r"text\.pt is damaged or no PyTorch"):
        read_checkpoint(tmp_path / "text.pt")
    with pytest.raises(UnknownModelError, match="No such file"):
        read_checkpoint(tmp_path / "none.pt")
    with pytest.raises(UnknownModelError, match="Is a directory"):
        read_checkpoint(tmp_path)


def test_flipped_bits_are_found(tmp_path):
    whole = bytearray(nets.checkpoint(tmp_path / "a.pt", nets.tiny_yolo26()).read_bytes())
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(tmp_path / "a.pt") as file:  # the contents, each guarded by a checksum
        spans = [
            (i.header_offset + 30 + len(i.filename), i.file_size) for i in file.infolist() if i.file_size
        ]
    for start, size in spans[:40]:
        flipped = whole.copy()
        flipped[start + rng.integers(size)] ^= 1 << rng.integers(8)
        (tmp_path / "b.pt").write_bytes(flipped)
        with pytest.raises(CheckpointError):
            yolo26(read_checkpoint(tmp_path / "b.pt"))


def test_archives_that_pytorch_would_not_write(tmp_path):
    pickled = pickletools.optimize(pickle.dumps({}, 2))
    path = tmp_path / "a.pt"
    assert read_checkpoint(archive(path, pickled)) == {}
    with pytest.raises(CheckpointError, match="compressed"):
        read_checkpoint(archive(path, pickled + bytes(1000), compression=zipfile.ZIP_DEFLATED))
    with pytest.raises(CheckpointError, match="more than"):
        read_checkpoint(archive(path, pickled + bytes(2**23)))
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("weights.bin", b"1")
    with pytest.raises(CheckpointError, match=r"no data\.pkl"):
        read_checkpoint(path)
    archive(path, pickled)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("best/byteorder", "big")
    with pytest.raises(CheckpointError, match="big-endian"):
        read_checkpoint(path)
