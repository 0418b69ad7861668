"""Compute the convolutions of a prepared model in int8, which processors with VNNI do in less time.

Static quantisation with onnxruntime's own tool: only convolutions, unsigned activations, signed weights with
a scale per channel; signed activations are slower than float32. Convolutions that give boxes or scores stay
in float32. Which others do is measured: each is quantised alone, and those that move boxes, scores and maps
most for their share of the work are left out until a caller's comparison is content.

SiLU, two nodes in exported files, becomes one node of onnxruntime's. It joins them by itself in float32 only;
in int8 that saves a twelfth of the time.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray

from rtsearch._util.wording import one_line
from rtsearch.errors import ModelError
from rtsearch.models.edit import sort
from rtsearch.models.map_ranges import SILU_LEAST, best_range, map_values, open_quiet
from rtsearch.models.view import GraphView
from rtsearch.types import F32Array

__all__ = ["quantized"]

# Shares of the convolutions that stay in float32, tried in turn; docs/explanation/performance.md: their cost.
_LEFT_OUT = (0.43, 0.5, 0.6)
_WEIGHTS = (0.25, 0.5, 0.25)  # of the errors of boxes, scores and maps
_LEAST_COST = 0.003  # added to the share of the work of each: converting to int8 and back takes time too
_ONNXRUNTIME = "com.microsoft"  # domain of the nodes that only onnxruntime knows
_SURE = 0.1  # candidates of less confidence in float32 are not compared


def quantized(
    model: onnx.ModelProto,
    calibration: Sequence[F32Array],
    trial: Sequence[F32Array],
    agrees: Callable[[onnx.ModelProto], bool],
    progress: Callable[[str, float], None],
) -> tuple[onnx.ModelProto, list[str], bool]:
    """Return a model whose convolutions are in int8, those that are left out, and whether it agrees.

    Args:
        model: prepared model in float32.
        calibration: inputs (batch, 3, height, width) that the ranges of all maps are taken from.
        trial: other inputs, which errors are measured on.
        agrees: tells whether a model is near enough to the one in float32.
        progress: gets the current step and its finished share.

    Raises:
        ModelError: onnxruntime cannot quantise or run the model, or it has no convolutions.
    """
    named = onnx.ModelProto()
    named.CopyFrom(model)
    for i, node in enumerate(named.graph.node):  # exporters may leave out names
        node.name = f"{i} {node.name}"
    names = [node.name for node in named.graph.node if node.op_type == "Conv"]
    if not names:
        raise ModelError("it has no convolutions in float32")
    try:
        with _quiet():
            return _search(_Quantizer(named, calibration), names, trial, agrees, progress)
    except ModelError:
        raise
    except Exception as error:  # exceptions of onnxruntime and its tools have no common base below Exception
        raise ModelError(f"it cannot be quantised: {one_line(error)}") from None


def _search(
    quantizer: _Quantizer,
    names: list[str],
    trial: Sequence[F32Array],
    agrees: Callable[[onnx.ModelProto], bool],
    progress: Callable[[str, float], None],
) -> tuple[onnx.ModelProto, list[str], bool]:
    last = _last_convolutions(quantizer.model)
    wanted = _outputs(quantizer.model, trial)
    errors = []
    for i, name in enumerate(names):
        progress("measuring each convolution", i / len(names))
        errors.append(_error(wanted, _outputs(quantizer.made([name]), trial)))
    share = np.array(errors) / np.maximum(np.sum(errors, axis=0), 1e-30)
    price = share @ _WEIGHTS / (quantizer.work(names) + _LEAST_COST)
    price[[name in last for name in names]] = np.inf
    worst = [names[i] for i in np.argsort(-price, kind="stable")]
    tries = sorted({max(round(part * len(names)), len(last)) for part in _LEFT_OUT})
    for i, count in enumerate(tries):
        progress("comparing with float32", i / len(tries))
        left_out = worst[:count]
        made = quantizer.made([name for name in names if name not in left_out])
        if agrees(made):
            return made, left_out, True
    return made, left_out, False


def _last_convolutions(model: onnx.ModelProto) -> set[str]:
    """Return the names of the convolutions that boxes and scores come from without another in between."""
    makers = {name: node for node in model.graph.node for name in node.output}
    left = [output.name for output in model.graph.output[:2]]
    seen: set[str] = set()
    found: set[str] = set()
    while left:
        node = makers.get(name := left.pop())
        if node is None or name in seen:
            continue
        seen.add(name)
        if node.op_type == "Conv":
            found.add(node.name)
        else:
            left += node.input
    return found


class _Quantizer:
    """Makes int8 models of one model and the ranges of its maps.

    Args:
        model: prepared model in float32, whose nodes have names of their own.
        calibration: inputs that the ranges are taken from.
    """

    def __init__(self, model: onnx.ModelProto, calibration: Sequence[F32Array]) -> None:
        from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData

        height, width = calibration[0].shape[2:]
        self.model = model
        self._view = GraphView(model, "images", (width, height))
        convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
        maps = sorted({name for node in convolutions for name in (node.input[0], node.output[0])})
        values = map_values(model, maps, calibration)
        before_silu = {sigmoid.input[0] for sigmoid, _ in _silus(model.graph)}
        values |= {name: values[name].above(SILU_LEAST) for name in before_silu.intersection(maps)}
        ranges = {name: tuple(np.array(end, np.float32) for end in best_range(values[name])) for name in maps}
        self._ranges = TensorsData(CalibrationMethod.MinMax, ranges)

    def work(self, names: list[str]) -> NDArray[np.float64]:
        """Return the shares of some convolutions in the multiplications of all of them."""
        nodes = {node.name: node for node in self.model.graph.node}
        sizes = {tensor.name: math.prod(tensor.dims) for tensor in self.model.graph.initializer}
        cells = {name: math.prod(self._view.shape(nodes[name].output[0])[2:]) for name in names}
        count = np.array([cells[name] * sizes.get(nodes[name].input[1], 0) for name in names], np.float64)
        shares: NDArray[np.float64] = count / max(float(count.sum()), 1.0)
        return shares

    def made(self, names: list[str]) -> onnx.ModelProto:
        """Return the model with some convolutions in int8."""
        from onnxruntime.quantization import QuantType
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

        copied = onnx.ModelProto()
        copied.CopyFrom(self.model)
        quantizer = QDQQuantizer(
            copied,
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=self._ranges,
            nodes_to_quantize=names,
            nodes_to_exclude=[],
            op_types_to_quantize=["Conv"],
            extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
        )
        quantizer.quantize_model()
        made: onnx.ModelProto = quantizer.model.model
        _join_silus(made)
        sort(made.graph)
        return made


def _silus(graph: onnx.GraphProto) -> list[tuple[onnx.NodeProto, onnx.NodeProto]]:
    """Return the two nodes of each x * sigmoid(x): the sigmoid, which nothing else reads, and the product."""
    readers: dict[str, list[onnx.NodeProto | onnx.ValueInfoProto]] = {
        output.name: [output] for output in graph.output
    }
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    found = []
    for node in graph.node:
        following = readers.get(node.output[0], []) if node.op_type == "Sigmoid" else []
        match following:
            case [onnx.NodeProto(op_type="Mul") as product] if node.input[0] in product.input:
                found.append((node, product))
    return found


def _join_silus(model: onnx.ModelProto) -> None:
    """Replace each x * sigmoid(x) by one node, in place."""
    for sigmoid, product in _silus(model.graph):
        joined = onnx.helper.make_node(
            "QuickGelu", [sigmoid.input[0]], [product.output[0]], domain=_ONNXRUNTIME, alpha=1.0
        )
        product.CopyFrom(joined)
        model.graph.node.remove(sigmoid)
    if all(opset.domain != _ONNXRUNTIME for opset in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid(_ONNXRUNTIME, 1))


def _outputs(model: onnx.ModelProto, inputs: Sequence[F32Array]) -> list[list[F32Array]]:
    session = open_quiet(model)
    return [session.run(None, {"images": given}) for given in inputs]


def _error(wanted: list[list[F32Array]], got: list[list[F32Array]]) -> NDArray[np.float64]:
    """Return the mean squared errors of maps, and of boxes and scores of the sure candidates."""
    errors = np.zeros(3)
    for (boxes, scores, *maps), (other_boxes, other_scores, *other_maps) in zip(wanted, got, strict=True):
        sure = scores.max(axis=2) > _SURE
        if sure.any():
            errors[0] += np.square(boxes - other_boxes)[sure].mean()
            errors[1] += np.square(scores - other_scores)[sure].mean()
        for one, other in zip(maps, other_maps, strict=True):
            errors[2] += np.square(one - other).mean() / max(float(np.square(one).mean()), 1e-30)
    return errors


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the tool's advice out of the log and its progress out of the output."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
