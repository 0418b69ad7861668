"""Engines that the real TensorRT-RTX builds, which needs no GPU."""

from __future__ import annotations

import exports
import pytest
from onnx import TensorProto, helper
from test_engines_build import order

from rtsearch.engines import (
    Gpu,
    Machine,
    Order,
    build_engine,
    check,
    find_engine,
    read_passport,
)
from rtsearch.engines.compile import compile_network
from rtsearch.errors import EngineError
from rtsearch.models import import_onnx


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_default_model_becomes_an_engine(model, rtx, tmp_path, precision):
    told = []
    wanted = Order(model=model, input_wh=(640, 640), precision=precision)
    path = build_engine(wanted, tmp_path, rtx, progress=lambda what, share: told.append(share))
    passport = read_passport(path)
    assert passport.inputs == {"images": ((1, 3, 640, 640), "float32")}
    assert passport.outputs == {
        "boxes": ((1, 8400, 4), "float32"),
        "scores": ((1, 8400, 80), "float32"),
        "tap0": ((1, 256, 20, 20), "float32"),
    }
    assert "8.6" in passport.compute_capabilities
    assert "7.5" not in passport.compute_capabilities
    assert told == sorted(told)
    assert 0.5 < told[-1] <= 1
    machine = Machine(rtx.name, rtx.version, "any", "8.6")
    assert len(check(path, machine).content) == passport.engine_bytes > 1_000_000
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(EngineError, match="not those of its passport"):
        check(path, machine)


def test_yolox_becomes_an_engine(rtx, tmp_path):
    export = tmp_path / "export.onnx"
    export.write_bytes(exports.yolox_export((416, 416)).SerializeToString())
    model, _ = import_onnx(export, tmp_path, "yoloxn")
    for precision in ("fp32", "fp16"):
        path = build_engine(
            Order(model=model, input_wh=(416, 416), batch=2, precision=precision), tmp_path, rtx
        )
        assert read_passport(path).outputs["boxes"] == ((2, 3549, 4), "float32")


def test_a_turing_engine_is_one_of_its_own(model, rtx, tmp_path):
    turing = Gpu("T4", (7, 5))
    path = build_engine(order(model), tmp_path, rtx, turing)
    assert path.name == "yolo26n-96x64-b1-fp16.tensorrt_rtx-sm75.engine"
    assert read_passport(path).compute_capabilities == ("7.5",)
    assert find_engine(order(model), tmp_path, rtx, turing) == path
    with pytest.raises(EngineError, match="FP32 GEMM is not supported"):
        build_engine(order(model, precision="fp32"), tmp_path, rtx, turing)


def test_a_layer_that_is_not_supported_is_named(rtx):
    node = helper.make_node("Det", ["images"], ["boxes"], name="odd one")
    infos = [
        helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 32, 32]),
        helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, 3]),
    ]
    opsets = [helper.make_opsetid("", 17)]
    network = helper.make_model(helper.make_graph([node], "made", infos[:1], infos[1:]), opset_imports=opsets)
    with pytest.raises(EngineError, match=r"does not support Det \(node odd one\)") as caught:
        compile_network(rtx, network.SerializeToString(), ("8.6",))
    assert "\n" not in str(caught.value)


def test_a_network_that_is_none(rtx):
    with pytest.raises(EngineError, match="tensorrt_rtx"):
        compile_network(rtx, b"junk", ("8.6",))
