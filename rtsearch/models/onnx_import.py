"""Make a prepared model from a detector that was exported to ONNX.

The layout is recognised in the graph itself, at one input size; the metadata of the export is used only for
the names of classes, the licence and the size. The findings are reported as lines of text.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
from onnx import TensorProto, helper, numpy_helper

from rtsearch.errors import ModelError, NotADetectorError
from rtsearch.models.catalogue import CatalogueEntry
from rtsearch.models.class_names import names_in_metadata
from rtsearch.models.coco import COCO_CLASSES
from rtsearch.models.edit import needed, reads, rename, sort
from rtsearch.models.graph import GraphWriter
from rtsearch.models.layouts import EXPECTED, Writer, guess, recognise
from rtsearch.models.prepare import RECIPE, finish
from rtsearch.models.protobuf import load_model
from rtsearch.models.spec import METADATA_KEY, ModelSpec
from rtsearch.models.taps import ROLES, Found, find_taps
from rtsearch.models.view import GraphView

__all__ = ["prepare_onnx"]

_WHOLE_NUMBERS = (TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL)
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and deviation of red, green, blue
_RESERVED = frozenset({"images", "boxes", "scores", *(f"tap{i}" for i in range(16))})


def prepare_onnx(
    path: Path,
    name: str,
    entry: CatalogueEntry | None = None,
    *,
    names: tuple[str, ...] | None = None,
    size: int = 416,
) -> tuple[onnx.ModelProto, list[str]]:
    """Return the prepared model of an export, and the findings as lines of text.

    Args:
        path: file of the export.
        name: name of the prepared model.
        entry: catalogue entry of the export, which has its licence; None for other exports.
        names: class names in the order of labels; None takes those of the file.
        size: side of the square input, px, where the file does not tell one.

    Raises:
        UnknownModelError: the file does not exist.
        NotADetectorError: the graph has no boxes and scores that are recognised.
        ModelError: the file is damaged or not supported.
    """
    model, sha256 = load_model(path)
    props = {prop.key: prop.value for prop in model.metadata_props}
    if METADATA_KEY in props:
        raise ModelError(f"{path} is a prepared model already; it can be used as it is")
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    signature = _signature(model)
    sort(model.graph)
    image, shape = _input(model, path)
    rename(model.graph, {name: f"graph/{name}" for name in _RESERVED - {image}})
    free_sides = not (shape[2] and shape[3])
    wh = _metadata_wh(props, size) if free_sides else (shape[3], shape[2])
    view = GraphView(model, image, wh)
    layout = recognise(model, view)
    if layout is None:
        raise NotADetectorError(
            f"no detector was recognised in {path}: found {signature}; {EXPECTED}; {guess(view)}"
        )
    taps = _as_floats(model, view, find_taps(view, ROLES))
    _take_pixels(model, image, imagenet=layout.imagenet)
    batch = 1 if _fill_other_inputs(model, view) else shape[0] or None
    classes, told_by = _class_names(names or layout.class_names, props, layout.classes)
    licence, licence_url = (entry.licence, entry.licence_url) if entry else _licence(props)
    spec = ModelSpec(
        name=name,
        family=layout.family,
        licence=licence,
        licence_url=licence_url,
        source_sha256=sha256,
        recipe=RECIPE,
        classes=classes,
        needs_nms=layout.needs_nms,
        pixel_order=layout.pixel_order,
        pixel_scale=layout.pixel_scale,
        pad_value=114,
        input_wh=wh,
        flexible=layout.size_free or (free_sides and not layout.one_size),
        multiple=layout.multiple,
        batch=None if layout.size_free else batch,
        taps=(),
        stretch=layout.stretch,
    )
    finished, spec = _finish(model, image, taps, spec)
    lines = [
        _input_line(spec, fixed_here=free_sides),
        *layout.lines,
        f"classes: {layout.classes}, named by {told_by}",
        *(f"tap: {tap.role}, {tap.channels} channels, {tap.tensor}" for tap in taps),
    ]
    if not taps:
        lines.append("tap: none found; objects are described by class and colour")
    return finished, lines


def _input_line(spec: ModelSpec, *, fixed_here: bool) -> str:
    size = f"{spec.input_wh[0]}x{spec.input_wh[1]} px"
    if spec.flexible:
        size += f" or any multiple of {spec.multiple}"
    elif fixed_here:
        size += " from now on (--set model.size=N imports it with another size)"
    return f"input: {size}, pictures at a time: {spec.batch or 'any number'}"


def _finish(
    model: onnx.ModelProto, image: str, taps: list[Found], spec: ModelSpec
) -> tuple[onnx.ModelProto, ModelSpec]:
    """Finish a model; sides and batches that the export calls free but are not are fixed.

    Raises:
        ModelError: the model cannot be run at its size with one picture either.
    """
    claims = dict.fromkeys([(spec.flexible, spec.batch), (False, spec.batch), (False, 1)])
    for flexible, batch in claims:
        spec = dataclasses.replace(spec, flexible=flexible, batch=batch)
        tried = onnx.ModelProto()
        tried.CopyFrom(model)
        try:
            return finish(tried, image, taps, spec), spec
        except ModelError as error:
            problem = error
    raise problem


def _input(model: onnx.ModelProto, path: Path) -> tuple[str, tuple[int, int, int, int]]:
    """Return name and shape of the picture's input; sides that are not fixed are 0.

    Other inputs may only be whole numbers: sizes of pictures, or a mask of the pixels that count.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    pictures, wrong = [], False
    for entry in model.graph.input:
        tensor = entry.type.tensor_type
        if entry.name in weights or tensor.elem_type in _WHOLE_NUMBERS:
            continue
        shape = [max(dim.dim_value, 0) for dim in tensor.shape.dim]
        real = tensor.elem_type in (TensorProto.FLOAT, TensorProto.FLOAT16)
        if real and len(shape) == 4 and shape[1] in (0, 3):
            pictures.append((entry.name, (shape[0], 3, shape[2], shape[3])))
        else:
            wrong = True
    if wrong or len(pictures) != 1:
        raise NotADetectorError(
            f"{path} takes no picture (batch, 3, height, width) of real numbers: found {_signature(model)}"
            f"{_channels_last(model)}"
        )
    return pictures[0]


def _channels_last(model: onnx.ModelProto) -> str:
    """Return the way out for networks that take (batch, height, width, 3); "" for others."""
    shapes = [entry.type.tensor_type.shape.dim for entry in model.graph.input]
    if any(len(dims) == 4 and dims[3].dim_value == 3 for dims in shapes):
        return "; export it with channels first (tf2onnx: --inputs-as-nchw)"
    return ""


def _signature(model: onnx.ModelProto) -> str:
    """Return inputs and outputs as text."""
    parts = []
    for kind, entries in (("input", model.graph.input), ("output", model.graph.output)):
        for entry in list(entries)[:4]:
            tensor = entry.type.tensor_type
            dims = ", ".join(str(dim.dim_value or dim.dim_param or "?") for dim in tensor.shape.dim)
            parts.append(
                f"{kind} {entry.name} {TensorProto.DataType.Name(tensor.elem_type).lower()} ({dims})"
            )
    return "; ".join(parts) or "no inputs and outputs"


def _as_floats(model: onnx.ModelProto, view: GraphView, taps: list[Found]) -> list[Found]:
    """Return the taps as float32 tensors, after adding conversions where they are needed."""
    graph = Writer(model, view, "rtsearch/tap")
    found = [dataclasses.replace(tap, tensor=graph.single(tap.tensor)) for tap in taps]
    graph.add_to_model()
    return found


def _take_pixels(model: onnx.ModelProto, image: str, *, imagenet: bool) -> None:
    """Make the graph take float32 pictures of 0..1, also where it wants half precision or other numbers."""
    wanted = next(entry for entry in model.graph.input if entry.name == image).type.tensor_type.elem_type
    if wanted == TensorProto.FLOAT and not imagenet:
        return
    rename(model.graph, {image: "rtsearch/image"})
    graph, given = GraphWriter("rtsearch/pixels"), image
    if imagenet:
        mean, deviation = (
            graph.constant(np.reshape(values, (1, 3, 1, 1)), np.float32) for values in _IMAGENET
        )
        given = graph.op("Div", graph.op("Sub", image, mean), deviation)
    graph.nodes.append(helper.make_node("Cast", [given], ["rtsearch/image"], to=wanted))
    for node in reversed(graph.nodes):
        model.graph.node.insert(0, node)
    model.graph.initializer.extend(graph.initializers)


def _fill_other_inputs(model: onnx.ModelProto, view: GraphView) -> bool:
    """Make constants of inputs beside the picture; tell whether boxes or scores need one.

    A mask of the pixels that count gets ones. What sizes of pictures are needed for is left out.
    """
    read = {name for node in needed(model.graph, ["boxes", "scores"]) for name in reads(node)}
    filled = [name for name in view.others if name in read]
    for name in filled:
        model.graph.initializer.append(numpy_helper.from_array(view.others[name], name))
    return bool(filled)


def _metadata_wh(props: dict[str, str], size: int) -> tuple[int, int]:
    match = re.fullmatch(r"\[(\d{2,4}), (\d{2,4})\]", props.get("imgsz", ""))
    return (int(match[2]), int(match[1])) if match else (size, size)


def _class_names(given: tuple[str, ...], props: dict[str, str], count: int) -> tuple[tuple[str, ...], str]:
    """Return the class names and who named them.

    Raises:
        ModelError: the given names are more or fewer than the classes.
    """
    if given:
        if len(given) != count:
            raise ModelError(f"{len(given)} class names were given, the network has {count} classes")
        return given, "COCO" if given == COCO_CLASSES else "you"
    if named := names_in_metadata(props.get("names", ""), count):
        return named, "the file"
    if count == len(COCO_CLASSES):
        return COCO_CLASSES, "COCO, as there are 80"
    return tuple(f"class {i}" for i in range(count)), "number"


def _licence(props: dict[str, str]) -> tuple[str, str]:
    match = re.match(r"([\w.+-]+)[^(]*(?:\((https://[^)\s]+)\))?", props.get("license", ""))
    return (match[1], match[2] or "") if match else ("unknown", "")
