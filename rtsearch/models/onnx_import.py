"""Make a prepared model from a detector that was exported to ONNX.

The layout is recognised in the graph itself, at one input size; the metadata of the export is used only for
the names of classes, the licence and the size. The findings are reported as lines of text.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from rtsearch.errors import ModelError, NotADetectorError
from rtsearch.models.catalogue import CatalogueEntry
from rtsearch.models.coco import COCO_CLASSES
from rtsearch.models.edit import rename, sort
from rtsearch.models.layouts import recognise
from rtsearch.models.prepare import RECIPE, finish
from rtsearch.models.protobuf import load_model
from rtsearch.models.spec import METADATA_KEY, ModelSpec
from rtsearch.models.taps import TAPS, GraphView, find_taps

__all__ = ["prepare_onnx"]

_DEFAULT_WH = (416, 416)
_RESERVED = frozenset({"images", "boxes", "scores", *(f"tap{i}" for i in range(16))})


def prepare_onnx(
    path: Path, name: str, entry: CatalogueEntry | None = None
) -> tuple[onnx.ModelProto, list[str]]:
    """Return the prepared model of an export, and the findings as lines of text.

    Args:
        path: file of the export.
        name: name of the prepared model.
        entry: catalogue entry of the export, which has its licence; None for other exports.

    Raises:
        UnknownModelError: the file does not exist.
        NotADetectorError: the graph has no boxes and scores that are recognised.
        ModelError: the file is damaged or not supported.
    """
    model, sha256 = load_model(path)
    props = {prop.key: prop.value for prop in model.metadata_props}
    if METADATA_KEY in props:
        raise ModelError(f"{path} is a prepared model already; it can be used as it is")
    signature = _signature(model)
    sort(model.graph)
    image, shape = _input(model, path)
    rename(model.graph, {name: f"graph/{name}" for name in _RESERVED - {image}})
    wh = (shape[3], shape[2]) if shape[2] and shape[3] else _metadata_wh(props)
    view = GraphView(model, image, wh)
    layout = recognise(model, view)
    if layout is None:
        raise NotADetectorError(f"{path} is no YOLOX or Ultralytics detector: it has {signature}")
    taps = find_taps(view, TAPS[layout.family])
    _take_float(model, image)
    free = layout.size_free or not (shape[2] or shape[3])
    classes, told_by = _class_names(props, layout.classes)
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
        flexible=free,
        multiple=32,
        batch=None if layout.size_free else shape[0] or None,
        taps=(),
    )
    lines = [
        f"input: {wh[0]}x{wh[1]} px{' or any multiple of 32' if free else ''}, "
        f"pictures at a time: {spec.batch or 'any number'}",
        *layout.lines,
        f"classes: {layout.classes}, named by {told_by}",
        *(f"tap: {tap.role}, {tap.channels} channels, {tap.tensor}" for tap in taps),
    ]
    if not taps:
        lines.append("tap: none found; objects are described by their class scores alone")
    return finish(model, image, taps, spec), lines


def _input(model: onnx.ModelProto, path: Path) -> tuple[str, tuple[int, int, int, int]]:
    """Return name and shape of the input; sides that are not fixed are 0."""
    weights = {tensor.name for tensor in model.graph.initializer}
    entries = [entry for entry in model.graph.input if entry.name not in weights]
    if len(entries) == 1:
        tensor = entries[0].type.tensor_type
        shape = tuple(max(dim.dim_value, 0) for dim in tensor.shape.dim)
        real = tensor.elem_type in (TensorProto.FLOAT, TensorProto.FLOAT16)
        if real and len(shape) == 4 and shape[1] in (0, 3):
            batch, _, height, width = shape
            return entries[0].name, (batch, 3, height, width)
    raise NotADetectorError(f"{path} takes no picture (batch, 3, height, width): it has {_signature(model)}")


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


def _take_float(model: onnx.ModelProto, image: str) -> None:
    """Make the graph take float32 pictures, also where it computes in half precision."""
    wanted = next(entry for entry in model.graph.input if entry.name == image).type.tensor_type.elem_type
    if wanted != TensorProto.FLOAT:
        rename(model.graph, {image: "rtsearch/image"})
        model.graph.node.insert(0, helper.make_node("Cast", [image], ["rtsearch/image"], to=wanted))


def _metadata_wh(props: dict[str, str]) -> tuple[int, int]:
    match = re.fullmatch(r"\[(\d{2,4}), (\d{2,4})\]", props.get("imgsz", ""))
    return (int(match[2]), int(match[1])) if match else _DEFAULT_WH


def _class_names(props: dict[str, str], count: int) -> tuple[tuple[str, ...], str]:
    try:
        named = ast.literal_eval(props.get("names", "")[:1_000_000])
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        named = None
    if isinstance(named, list):
        named = dict(enumerate(named))
    if isinstance(named, dict) and set(named) == set(range(count)):
        return tuple(str(named[i]) for i in range(count)), "the file"
    if count == len(COCO_CLASSES):
        return COCO_CLASSES, "COCO, as there are 80"
    return tuple(f"class {i}" for i in range(count)), "number"


def _licence(props: dict[str, str]) -> tuple[str, str]:
    match = re.match(r"([\w.+-]+)[^(]*(?:\((https://[^)\s]+)\))?", props.get("license", ""))
    return (match[1], match[2] or "") if match else ("unknown", "")
