"""Where prepared models live, and how a name becomes one."""

from __future__ import annotations

import os
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from rtsearch.errors import ModelError, UnknownModelError
from rtsearch.models.catalogue import CATALOGUE, CatalogueEntry, catalogue_entry
from rtsearch.models.checkpoint import read_checkpoint
from rtsearch.models.fetch import Progress, fetch
from rtsearch.models.graph import OPSET
from rtsearch.models.onnx_import import prepare_onnx
from rtsearch.models.prepare import RECIPE, finish
from rtsearch.models.protobuf import save_model
from rtsearch.models.spec import ModelSpec
from rtsearch.models.taps import TAPS, GraphView, find_taps
from rtsearch.models.ultralytics import IMAGES, yolo26

__all__ = ["default_folder", "pull", "resolve"]


def default_folder() -> Path:
    """``$RTSEARCH_ENGINES``, else ``engines/`` of the checkout that this runs from, else the user's cache."""
    if named := os.environ.get("RTSEARCH_ENGINES"):
        return Path(named)
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "pyproject.toml").is_file() and (checkout / "engines").is_dir():
        return checkout / "engines"
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "rtsearch" / "engines"


def pull(name: str, folder: Path, *, progress: Progress | None = None) -> Path:
    """The prepared model of a catalogue name, downloaded and converted if it is not there yet.

    Args:
        name: of the catalogue.
        folder: where prepared models live; what is downloaded stays in its ``downloads/``.
        progress: told what is going on.

    Raises:
        UnknownModelError: no such name.
        DownloadError: no place had the file.
        CheckpointError: the file cannot be converted.
    """
    entry = catalogue_entry(name)
    path = folder / f"{name}.onnx"
    if _is_ready(path, entry):
        return path
    tell = progress or _silent
    source = fetch(entry, folder / "downloads", tell)
    tell(f"preparing {path.name}", 0, 0)
    model = (
        prepare_checkpoint(source, entry)
        if entry.family == "yolo26"
        else prepare_onnx(source, name, entry)[0]
    )
    save_model(model, path)
    return path


def resolve(name_or_path: str, folder: Path) -> Path:
    """The prepared model that a setting names: a catalogue name, an imported model's name, or a file.

    Raises:
        UnknownModelError: it is not there; says how to get it.
    """
    path = Path(name_or_path)
    if path.suffix == ".onnx" or path.parent != Path():
        if path.is_file():
            return path
        raise UnknownModelError(f"no model file {path}")
    path = folder / f"{name_or_path}.onnx"
    if path.is_file():
        return path
    if any(entry.name == name_or_path for entry in CATALOGUE):
        raise UnknownModelError(f"{name_or_path} is not in {folder}; run: rtsearch model pull {name_or_path}")
    names = ", ".join(entry.name for entry in CATALOGUE)
    raise UnknownModelError(f"no model named {name_or_path} in {folder}; to pull: {names}")


def _silent(_what: str, _done: int, _total: int) -> None:
    pass


def _is_ready(path: Path, entry: CatalogueEntry) -> bool:
    if not path.is_file():
        return False
    try:
        spec = ModelSpec.read(path)
    except ModelError:
        return False
    return spec.source_sha256 == entry.sha256 and spec.recipe == RECIPE and _roles(spec) == TAPS[entry.family]


def _roles(spec: ModelSpec) -> tuple[str, ...]:
    return tuple(tap.role for tap in spec.taps)


def prepare_checkpoint(source: Path, entry: CatalogueEntry) -> onnx.ModelProto:
    """The prepared model of a checkpoint."""
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
    found = find_taps(view, ["boxes"], ["scores"], len(classes), TAPS[entry.family])
    return finish(model, IMAGES, found, spec)
