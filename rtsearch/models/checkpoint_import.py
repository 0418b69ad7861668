"""Make a prepared model from a checkpoint of the catalogue."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper

from rtsearch.models.catalogue import CatalogueEntry
from rtsearch.models.checkpoint import read_checkpoint
from rtsearch.models.graph import OPSET
from rtsearch.models.prepare import RECIPE, finish
from rtsearch.models.spec import ModelSpec
from rtsearch.models.taps import ROLES, find_taps
from rtsearch.models.ultralytics import IMAGES, yolo26
from rtsearch.models.view import GraphView

__all__ = ["prepare_checkpoint"]


def prepare_checkpoint(source: Path, entry: CatalogueEntry) -> onnx.ModelProto:
    """Return the prepared model of a checkpoint, for every input size.

    Raises:
        CheckpointError: the checkpoint is damaged, or not of the entry's family.
    """
    writer, classes = yolo26(read_checkpoint(source))
    spec = ModelSpec(
        name=entry.name,
        family=entry.family,
        licence=entry.licence,
        licence_url=entry.licence_url,
        source_sha256=entry.sha256,
        recipe=RECIPE,
        classes=classes,
        needs_nms=False,
        pixel_order="rgb",
        pixel_scale=1 / 255,
        pad_value=114,
        input_wh=entry.input_wh,
        flexible=True,
        multiple=32,
        batch=None,
        taps=(),
    )
    graph = helper.make_graph(
        writer.nodes,
        entry.name,
        [helper.make_tensor_value_info(IMAGES, TensorProto.FLOAT, ["batch", 3, "height", "width"])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("boxes", "scores")],
        writer.initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    view = GraphView(model, IMAGES, entry.input_wh)
    found = find_taps(view, ROLES)
    return finish(model, IMAGES, found, spec)
