import os
import threading

import exports
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from rtsearch.errors import RunnerError
from rtsearch.runners import Runner
from rtsearch.runners.onnx import OnnxRunner
from rtsearch.runners.precision import _known


def model_file(path, sides=("batch", 3, "height", "width"), kind="Relu"):
    """Outputs ``boxes`` and ``scores``: the picture itself, and 1 minus it."""
    infos = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, sides if name == "images" else None)
        for name in ("images", "boxes", "scores")
    ]
    g = exports.Graph()
    g.nodes.append(helper.make_node(kind, ["images"], ["boxes"]))
    g.nodes.append(helper.make_node("Sub", [g.const(1, np.float32), "images"], ["scores"]))
    graph = helper.make_graph(g.nodes, "made", infos[:1], infos[1:], g.initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def images(*shape, dtype=np.float32):
    return np.random.default_rng(0).random(shape).astype(dtype)


@pytest.fixture
def flexible(tmp_path):
    return model_file(tmp_path / "m.onnx")


@pytest.mark.parametrize("shape", [(1, 3, 32, 64), (4, 3, 64, 32)])
def test_outputs_come_by_name(flexible, shape):
    runner: Runner = OnnxRunner(flexible)
    pictures = images(*shape)
    outputs = runner.run(pictures)
    assert list(outputs) == ["boxes", "scores"]
    np.testing.assert_array_equal(outputs["boxes"], pictures)
    np.testing.assert_array_equal(outputs["scores"], 1 - pictures)
    assert outputs["boxes"].flags.writeable
    runner.close()


def test_pictures_may_lie_in_memory_in_any_order(flexible):
    pictures = images(2, 32, 64, 3).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(OnnxRunner(flexible).run(pictures)["boxes"], pictures)


@pytest.mark.parametrize(
    "wrong",
    [
        images(3, 32, 64),
        images(1, 3, 64, 32),
        images(1, 1, 32, 64),
        images(1, 3, 32, 64, dtype=np.float64),
        images(1, 3, 32, 64, dtype=np.uint8),
    ],
)
def test_pictures_of_another_shape_or_type_are_refused(flexible, wrong):
    runner = OnnxRunner(flexible, input_wh=(64, 32))
    with pytest.raises(RunnerError, match=r"expected float32 \(any, 3, 32, 64\), got"):
        runner.run(wrong)
    assert runner.run(images(2, 3, 32, 64))["boxes"].shape == (2, 3, 32, 64)


def test_a_fixed_model_takes_its_own_size_only(tmp_path):
    path = model_file(tmp_path / "m.onnx", (1, 3, 32, 64))
    assert OnnxRunner(path, input_wh=(64, 32)).run(images(1, 3, 32, 64))
    with pytest.raises(RunnerError, match=r"m\.onnx takes 64x32 px, not 32x64"):
        OnnxRunner(path, input_wh=(32, 64))
    with pytest.raises(RunnerError, match="expected float32"):
        OnnxRunner(path).run(images(2, 3, 32, 64))


def test_several_threads_may_run_it_at_once(flexible):
    runner = OnnxRunner(flexible, threads=1)
    wrong = []

    def work(seed):
        for i in range(20):
            pictures = np.random.default_rng([seed, i]).random((1, 3, 32, 32), dtype=np.float32)
            if not np.array_equal(runner.run(pictures)["boxes"], pictures):
                wrong.append((seed, i))

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_a_closed_runner_says_so(flexible):
    runner = OnnxRunner(flexible)
    runner.close()
    runner.close()
    with pytest.raises(RunnerError, match="closed"):
        runner.run(images(1, 3, 32, 32))


@pytest.mark.parametrize("content", [b"", b"no model", None])
def test_files_that_cannot_be_opened(tmp_path, content):
    path = tmp_path / "m.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RunnerError, match=r"onnxruntime cannot open .*m\.onnx") as caught:
        OnnxRunner(path)
    assert "\n" not in str(caught.value)


def test_a_truncated_file_cannot_be_opened(flexible):
    flexible.write_bytes(flexible.read_bytes()[:-40])
    with pytest.raises(RunnerError, match="cannot open"):
        OnnxRunner(flexible)


def test_an_operator_that_is_not_known_is_named(tmp_path):
    with pytest.raises(RunnerError, match="Squeak"):
        OnnxRunner(model_file(tmp_path / "m.onnx", kind="Squeak"))


def test_a_failure_while_running_is_a_runner_error(tmp_path):
    g = exports.Graph()
    shape = g.const((1, 3, 7), np.int64)
    g.nodes.append(helper.make_node("Reshape", ["images", shape], ["boxes"]))
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["b", 3, "h", "w"]) for n in ("images",)]
    out = [helper.make_tensor_value_info("boxes", TensorProto.FLOAT, None)]
    graph = helper.make_graph(g.nodes, "made", infos, out, g.initializers)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        tmp_path / "m.onnx",
    )
    runner = OnnxRunner(tmp_path / "m.onnx")
    with pytest.raises(RunnerError, match="onnxruntime failed"):
        runner.run(images(1, 3, 4, 4))
    assert runner.run(images(1, 3, 7, 1))["boxes"].shape == (1, 3, 7)


def test_a_file_with_other_inputs_is_not_a_prepared_model(tmp_path):
    g = exports.Graph()
    g.nodes.append(helper.make_node("Relu", ["x"], ["boxes"]))
    onnx.save(
        g.model([("x", TensorProto.FLOAT, [4])], [("boxes", TensorProto.FLOAT, [4])]), tmp_path / "m.onnx"
    )
    with pytest.raises(RunnerError, match="run: rtsearch model import"):
        OnnxRunner(tmp_path / "m.onnx")


def test_other_threads_go_on_while_it_runs(tmp_path):
    """The interpreter is free during a pass: what another thread does meanwhile is not held up by it."""
    g, x = exports.Graph(), "images"
    for _ in range(30):
        x = g.conv(x, 3, 3, act=False)
    infos = ("images", TensorProto.FLOAT, [1, 3, 512, 512])
    onnx.save(g.model([infos], [(x, TensorProto.FLOAT, [1, 3, 512, 512])]), tmp_path / "m.onnx")
    runner = OnnxRunner(tmp_path / "m.onnx", threads=1)
    pictures, done, steps = images(1, 3, 512, 512), threading.Event(), 0
    worker = threading.Thread(target=lambda: (runner.run(pictures), done.set()))
    worker.start()
    while not done.wait(0.0005):
        steps += 1
    worker.join()
    assert steps > 3


def test_a_pipe_in_place_of_the_kept_times_is_passed_over(tmp_path):
    os.mkfifo(tmp_path / "net.json")
    assert _known(tmp_path / "net.json") == {}
