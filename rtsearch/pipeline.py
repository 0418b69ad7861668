"""A network and the backend made with it, opened together from the settings.

``jobs.analyze``, ``live`` and ``jobs.query`` see objects through the same pipeline, so their vectors compare.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rtsearch._util.closing import Closing
from rtsearch._util.cpu import network_threads
from rtsearch._util.metrics import Meter
from rtsearch.config import DetectSettings, Settings
from rtsearch.errors import RtsearchError
from rtsearch.gpu.accelerator import Accelerator, find_accelerator
from rtsearch.library.files import sha256_of
from rtsearch.models import ModelSpec, default_folder, resolve
from rtsearch.perception.backend import CpuBackend, InferenceBackend
from rtsearch.perception.descriptor import Describer
from rtsearch.perception.detector import Detector, wanted_classes
from rtsearch.perception.embedder import Embedder
from rtsearch.perception.failover import FailoverBackend
from rtsearch.types import U8Array

if TYPE_CHECKING:
    from rtsearch.engines import Order
    from rtsearch.library import Library

__all__ = ["EngineWhen", "Pipeline", "open_pipeline"]

_log = logging.getLogger(__name__)

_LETTERBOX = "top-left, bilinear"

EngineWhen = Literal["there", "now", "later"]


@dataclass(frozen=True, slots=True)
class Pipeline(Closing):
    """Network, and the backend that finds and describes objects with it.

    Attributes:
        spec: the network.
        backend: sees objects with it.
        feature_space: all that decides what a vector means; part of every library.
    """

    spec: ModelSpec
    backend: InferenceBackend
    feature_space: dict[str, Any]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, by label."""
        return self.spec.classes

    def warm_up(self) -> None:
        """Run everything once, so that the first picture is as fast as the others."""
        import numpy as np

        width, height = self.feature_space["input_wh"]
        blank: U8Array = np.zeros((height, width, 3), np.uint8)
        seen = self.backend.infer([blank], DetectSettings(), Meter())[0]
        assert seen.vector.shape[1] == self.backend.dim

    def close(self) -> None:
        """Give back the network's memory and threads."""
        self.backend.close()


def open_pipeline(
    settings: Settings,
    *,
    cut_padding: bool = False,
    engine: EngineWhen = "there",
    pictures: int = 1,
    tell: Callable[[str], None] = _log.info,
    library: Library | None = None,
) -> Pipeline:
    """Open the network that the settings name.

    Args:
        settings: sections ``model``, ``detect``, ``describe`` and ``gpu``.
        cut_padding: where the network takes any size, give it no more padding than it needs. That is a third
            faster, and near enough for looking up what a live source shows; see ``detector.py``.
        engine: with a GPU, whether its engine is used only where it is ``there``, built ``now``, or
            ``later``, while the CPU sees.
        pictures: that the engine sees at a time.
        tell: gets a line when something takes a while; with ``later`` from another thread too.
        library: whose settings may name the networks; those are loaded only if they are the ones that it was
            made with.

    Raises:
        FeatureSpaceError: the library was made with other networks.
        ConfigError: the network does not know a class that is looked for.
        UnknownModelError: it is not there; the message says how to get it.
        ModelError: the file is not a prepared model.
        RunnerError: it cannot be run.
    """
    path: Path = resolve(settings.model.name, default_folder())
    spec = ModelSpec.read(path)
    if library is not None:
        _require_networks(library, spec, settings.describe.embedder)
    wanted_classes(settings.detect.classes, spec.classes)  # refuses those that it does not know
    input_wh = (settings.model.size, settings.model.size) if spec.flexible else spec.input_wh
    backend, recipe = _on_cpu(settings, path, spec, input_wh, cut_padding=cut_padding and spec.flexible)
    pipeline = Pipeline(
        spec=spec,
        backend=backend,
        feature_space={
            "model": spec.name,
            "model_sha256": spec.sha256,
            "input_wh": list(input_wh),
            "letterbox": _LETTERBOX,
            "describe": recipe,
        },
    )
    accelerator = find_accelerator(settings)
    if accelerator is None:
        return pipeline
    from rtsearch.engines import Order  # loads what builds engines: a second that only a GPU is worth

    order = Order(
        model=path,
        input_wh=input_wh,
        batch=spec.batch or pictures,
        precision=settings.gpu.precision,
        describe=recipe,
    )
    return replace(pipeline, backend=_on_gpu(accelerator, order, pipeline, settings, engine, tell))


def _require_networks(library: Library, spec: ModelSpec, embedder: str) -> None:
    """Hold the files of networks against the hashes that a library was made with, before one is loaded.

    Raises:
        FeatureSpaceError: they are others.
    """
    recipe = library.space.recipe | {"model": spec.name, "model_sha256": spec.sha256}
    if embedder and Path(embedder).is_file():
        sha256 = sha256_of(Path(embedder))
        if sha256 != library.space.read_recipe.describe.embedder.sha256:
            recipe["describe"] = recipe.get("describe", {}) | {"embedder": {"sha256": sha256}}
    library.require(recipe)


def _on_cpu(
    settings: Settings, path: Path, spec: ModelSpec, input_wh: tuple[int, int], *, cut_padding: bool
) -> tuple[InferenceBackend, dict[str, Any]]:
    """The backend, and the recipe of its descriptions."""
    from rtsearch.runners.onnx import OnnxRunner

    # One session for all shapes is as fast as one that was opened for a shape.
    runner = OnnxRunner(path, settings.model.threads, None if cut_padding else input_wh)
    embedder = (
        Embedder(Path(settings.describe.embedder), settings.model.threads)
        if settings.describe.embedder
        else None
    )
    detector = Detector(runner, spec, input_wh, cut_padding=cut_padding)
    describer = Describer(spec, embedder)
    return CpuBackend(detector, describer, batch=spec.batch, callers=network_threads()), describer.recipe


def _on_gpu(
    accelerator: Accelerator,
    order: Order,
    pipeline: Pipeline,
    settings: Settings,
    engine: EngineWhen,
    tell: Callable[[str], None],
) -> InferenceBackend:
    """The GPU's backend, backed by that of the CPU."""
    folder, spec = default_folder(), pipeline.spec
    if engine == "later":
        return FailoverBackend(
            pipeline.backend,
            lambda stop: accelerator.later(order, folder, spec, settings, stop, tell),
            accelerator.name,
            tell,
        )
    path = accelerator.find(order, folder)
    if engine == "there" and path is None:
        accelerator.close()
        return pipeline.backend
    if path is None:
        tell(f"building an engine for {accelerator.device.name}; this takes seconds to minutes, once")
    try:
        path = path or accelerator.build(order, folder)
        return FailoverBackend(pipeline.backend, accelerator.open(path, spec, settings), accelerator.name)
    except RtsearchError as error:
        accelerator.close()
        if settings.gpu.engine != "auto":
            pipeline.close()
            raise
        tell(f"going on without {accelerator.name}: {error}")
        return pipeline.backend
