"""Open a network and its backend from the settings.

``analyze``, ``run`` and ``query`` use the same pipeline, so their vectors can be compared.
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
from rtsearch.errors import ModelError, RtsearchError, UnknownModelError
from rtsearch.gpu.accelerator import Accelerator, find_accelerator
from rtsearch.library.files import sha256_of
from rtsearch.models import ModelSpec, default_folder, int8_path, resolve
from rtsearch.perception.backend import CpuBackend, InferenceBackend
from rtsearch.perception.descriptor import Describer
from rtsearch.perception.detector import Detector, wanted_classes
from rtsearch.perception.embedder import Embedder
from rtsearch.perception.failover import FailoverBackend
from rtsearch.perception.two_looks import TwoLooks, larger_wh
from rtsearch.types import U8Array

if TYPE_CHECKING:
    from rtsearch.engines import Order
    from rtsearch.library import Library

__all__ = ["EngineWhen", "Pipeline", "open_pipeline"]

_log = logging.getLogger(__name__)

_FITS = {False: "top-left, bilinear", True: "stretched, bilinear"}

EngineWhen = Literal["there", "now", "later"]


@dataclass(frozen=True, slots=True)
class Pipeline(Closing):
    """Network with the backend that finds and describes objects with it.

    Attributes:
        spec: specification of the network.
        backend: finds and describes objects.
        feature_space: recipe of the vectors, which every library stores; vectors of different recipes cannot
            be compared.
    """

    spec: ModelSpec
    backend: InferenceBackend
    feature_space: dict[str, Any]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names in the order of labels."""
        return self.spec.classes

    def warm_up(self) -> None:
        """Run the backend once, so that the first picture is as fast as the others."""
        import numpy as np

        width, height = self.feature_space["input_wh"]
        blank: U8Array = np.zeros((height, width, 3), np.uint8)
        seen = self.backend.infer([blank], DetectSettings(), Meter())[0]
        assert seen.vector.shape[1] == self.backend.dim

    def close(self) -> None:
        """Release the network's memory and threads."""
        self.backend.close()


def open_pipeline(
    settings: Settings,
    *,
    cut_padding: bool = False,
    engine: EngineWhen = "there",
    pictures: int = 1,
    tell: Callable[[str], None] = _log.info,
    library: Library | None = None,
    looks: int = 1,
) -> Pipeline:
    """Open the network that the settings name.

    Args:
        settings: sections ``model``, ``detect``, ``describe`` and ``gpu``.
        cut_padding: leave out padding that the network does not need, where it takes inputs of any size. This
            is a third faster and accurate enough for live sources; see ``perception/detector.py``.
        engine: on machines with a GPU, use an engine only where it is ``there``, build it ``now``, or build
            it ``later``, in another process, while the CPU is used.
        pictures: number of pictures per pass of the engine.
        tell: gets a line when a step takes long; with ``later`` also from another thread.
        library: library that the networks must fit; they are loaded only if it was made with them.
        looks: 2 looks at each picture a second time, larger, on the CPU; see ``perception/two_looks.py``.

    Raises:
        FeatureSpaceError: the library was made with other networks.
        ConfigError: the network has no class of a name in ``detect.classes``.
        UnknownModelError: the model does not exist; the message says how to get it.
        ModelError: the file is not a prepared model.
        RunnerError: the model cannot be run.
    """
    path: Path = resolve(settings.model.name, default_folder())
    plain = ModelSpec.read(path)
    small = _int8(settings.model.precision, path, plain)
    spec = small if small is not None and settings.model.precision == "int8" else plain
    if library is not None:
        _require_networks(library, spec, settings.describe.embedder)
    wanted_classes(settings.detect.classes, spec.classes)  # refuses those that it does not know
    input_wh = (settings.model.size, settings.model.size) if spec.flexible else spec.input_wh
    if small is not None and small.same_as == plain.sha256:
        from rtsearch.runners.precision import int8_pays

        if settings.model.precision == "int8" or int8_pays(path, int8_path(path), input_wh, small.sha256):
            spec = small
    file = path if spec is plain else int8_path(path)
    _tell_ignored_size(settings, spec, library)
    cut_padding = cut_padding and spec.flexible and not spec.stretch
    twice = looks == 2 and _takes_two_looks(spec, tell)
    backend, recipe = _on_cpu(settings, file, spec, input_wh, cut_padding=cut_padding, twice=twice)
    pipeline = Pipeline(
        spec=spec,
        backend=backend,
        feature_space={
            "model": spec.name,
            "model_sha256": spec.fingerprint,
            "input_wh": list(input_wh),
            "letterbox": _FITS[spec.stretch],
            "describe": recipe,
        },
    )
    # Engines for GPUs are built from the file in float32.
    fits = spec.fingerprint == plain.fingerprint and not twice
    accelerator = find_accelerator(settings) if fits else None
    if accelerator is None:
        return pipeline
    from rtsearch.engines import Order  # imported here, as loading the builders of engines takes a second

    order = Order(
        model=path,
        input_wh=input_wh,
        batch=spec.batch or pictures,
        precision=settings.gpu.precision,
        describe=recipe,
    )
    return replace(pipeline, backend=_on_gpu(accelerator, order, pipeline, settings, engine, tell))


def _int8(precision: str, path: Path, plain: ModelSpec) -> ModelSpec | None:
    """Return the specification of a network's int8 file where ``model.precision`` may use it.

    Raises:
        UnknownModelError: int8 was asked for, and there is no such file.
        ModelError: it was made from another file.
    """
    small = int8_path(path)
    if precision == "float32" or plain.same_as is not None:  # the name is that of an int8 file
        return None
    if not small.is_file():
        if precision == "int8":
            raise UnknownModelError(
                f"model.precision is int8, and there is no {small}; run: rtsearch model quantize {path.stem}"
            )
        return None
    spec = ModelSpec.read(small)
    if spec.source_sha256 == plain.sha256 and spec.same_as is not None:
        return spec
    problem = f"{small} was not made from {path.name} as it is now; run: rtsearch model quantize {path.stem}"
    if precision == "int8":
        raise ModelError(problem)
    _log.warning("%s", problem)
    return None


def _tell_ignored_size(settings: Settings, spec: ModelSpec, library: Library | None) -> None:
    """Warn where ``model.size`` was set for a network that takes one size only."""
    size = settings.model.size
    # The settings that a library remembers name the default too.
    asked = "size" in settings.model.model_fields_set and (library is None or size != Settings().model.size)
    if asked and not spec.flexible and spec.input_wh != (size, size):
        width, height = spec.input_wh
        _log.warning(
            "%s takes pictures of %dx%d px only, so model.size=%d has no effect; "
            "import a file of another size, or of free sides, for that",
            *(spec.name, width, height, size),
        )


def _require_networks(library: Library, spec: ModelSpec, embedder: str) -> None:
    """Compare the hashes of the networks with those of a library, before a network is loaded.

    Raises:
        FeatureSpaceError: the library was made with other networks.
    """
    recipe = library.space.recipe | {"model": spec.name, "model_sha256": spec.fingerprint}
    if embedder and Path(embedder).is_file():
        sha256 = sha256_of(Path(embedder))
        if sha256 != library.space.read_recipe.describe.embedder.sha256:
            recipe["describe"] = recipe.get("describe", {}) | {"embedder": {"sha256": sha256}}
    library.require(recipe)


def _takes_two_looks(spec: ModelSpec, tell: Callable[[str], None]) -> bool:
    """Tell whether a network takes larger pictures; say so where it does not."""
    if not spec.flexible:
        width, height = spec.input_wh
        tell(f"analyze.looks=2 has no effect: {spec.name} takes pictures of {width}x{height} px only")
    return spec.flexible


def _on_cpu(
    settings: Settings,
    path: Path,
    spec: ModelSpec,
    input_wh: tuple[int, int],
    *,
    cut_padding: bool,
    twice: bool,
) -> tuple[InferenceBackend, dict[str, Any]]:
    """Return the backend on the CPU and the recipe of its descriptions."""
    from rtsearch.runners.onnx import OnnxRunner

    # A session for all shapes is as fast as one that was opened for a single shape.
    runner = OnnxRunner(path, settings.model.threads, None if cut_padding or twice else input_wh)
    embedder = (
        Embedder(Path(settings.describe.embedder), settings.model.threads)
        if settings.describe.embedder
        else None
    )
    usual = Detector(runner, spec, input_wh, cut_padding=cut_padding)
    detector: Detector | TwoLooks = usual
    if twice:
        larger = larger_wh(input_wh, spec.multiple)
        detector = TwoLooks(usual, Detector(runner, spec, larger, cut_padding=cut_padding))
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
    """Return a backend on the GPU that falls back to the one on the CPU."""
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
