"""The second network: any ONNX file with pictures in and one vector per picture out, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from rtsearch.errors import ModelError, UnknownModelError
from rtsearch.perception.embedder import Embedder
from rtsearch.types import F32Array, U8Array

SIDE_PX = 8
RED_AND_BLUE = np.zeros((20, 40, 3), np.uint8)
RED_AND_BLUE[:, :20, 2] = 255
RED_AND_BLUE[:, 20:, 0] = 255


def mean_colour(path: Path, batch: int | str = "batch", *, last: bool = False, meta: str = "0,0,0") -> Path:
    """A network whose vector is the mean of each plane, with or without channels last."""
    shape = [batch, SIDE_PX, SIDE_PX, 3] if last else [batch, 3, SIDE_PX, SIDE_PX]
    axes = [1, 2] if last else [2, 3]
    node = helper.make_node("ReduceMean", ["pictures"], ["vector"], axes=axes, keepdims=0)
    graph = helper.make_graph(
        [node],
        "mean",
        [helper.make_tensor_value_info("pictures", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("vector", TensorProto.FLOAT, [batch, 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"mean": meta, "std": "1,1,1"})
    onnx.save(model, path)
    return path


def boxes(*xyxy: tuple[float, float, float, float]) -> F32Array:
    return np.array(xyxy, np.float32).reshape(-1, 4)


@pytest.mark.parametrize("batch", ["batch", 1, 3])
@pytest.mark.parametrize("last", [False, True])
def test_each_box_gets_the_vector_of_its_crop(tmp_path: Path, batch: int | str, last: bool) -> None:
    embedder = Embedder(mean_colour(tmp_path / "e.onnx", batch, last=last), threads=1)
    assert embedder.dim == 3
    assert embedder.embed(RED_AND_BLUE, boxes()).shape == (0, 3)
    vectors = embedder.embed(
        RED_AND_BLUE, boxes((0, 0, 20, 20), (20, 0, 40, 20), (0, 0, 40, 20), (2, 2, 9, 9))
    )
    half = np.sqrt(0.5)
    assert np.allclose(vectors, [[1, 0, 0], [0, 0, 1], [half, 0, half], [1, 0, 0]], atol=1e-6)


def test_many_boxes_are_cut_into_calls(tmp_path: Path) -> None:
    embedder = Embedder(mean_colour(tmp_path / "e.onnx"), threads=1)
    crops = boxes(*((0, 0, 20, 20) if i % 2 else (20, 0, 40, 20) for i in range(37)))
    assert np.allclose(embedder.embed(RED_AND_BLUE, crops)[:, 0], np.arange(37) % 2, atol=1e-6)


@pytest.mark.parametrize(
    "box", [(5, 5, 5, 5), (-9, -9, -2, -2), (100, 100, 200, 200), (3.2, 3.2, 3.3, 3.3), (0, 0, 1e6, 1e6)]
)
def test_boxes_of_any_size_and_place(tmp_path: Path, box: tuple[float, float, float, float]) -> None:
    vector = Embedder(mean_colour(tmp_path / "e.onnx"), threads=1).embed(RED_AND_BLUE, boxes(box))
    assert np.isfinite(vector).all()
    assert np.isclose(np.linalg.norm(vector), 1)


def test_a_black_crop_gives_zeros_not_nan(tmp_path: Path) -> None:
    black: U8Array = np.zeros((9, 9, 3), np.uint8)
    vector = Embedder(mean_colour(tmp_path / "e.onnx"), threads=1).embed(black, boxes((0, 0, 9, 9)))
    assert np.array_equal(vector, np.zeros((1, 3)))


def test_what_decides_the_vectors_stands_in_the_recipe(tmp_path: Path) -> None:
    one = Embedder(mean_colour(tmp_path / "a.onnx"), threads=1).recipe
    other = Embedder(mean_colour(tmp_path / "b.onnx", meta="0.1,0,0"), threads=1).recipe
    assert one["sha256"] != other["sha256"]


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError, match="no embedder"):
        Embedder(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("not a network")
    with pytest.raises(ModelError, match="cannot be opened"):
        Embedder(tmp_path / "text.onnx")
    with pytest.raises(ModelError, match="three numbers"):
        Embedder(mean_colour(tmp_path / "meta.onnx", meta="red"))
    model = onnx.load(mean_colour(tmp_path / "flat.onnx"))
    model.graph.node[0].op_type = "Identity"
    del model.graph.node[0].attribute[:]
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    onnx.save(model, tmp_path / "maps.onnx")
    with pytest.raises(ModelError, match="one vector per picture"):
        Embedder(tmp_path / "maps.onnx")
