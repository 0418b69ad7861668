"""The network, its detector and its describer, opened together from the settings.

``analyze``, ``live`` and ``query`` see objects through the same pipeline, so their vectors compare.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rtsearch.config import Settings
from rtsearch.describe import Describer
from rtsearch.detect import Detector
from rtsearch.embed import Embedder
from rtsearch.models import ModelSpec, default_folder, resolve
from rtsearch.records import F32Array, U8Array
from rtsearch.runners import Runner

__all__ = ["Pipeline", "open_pipeline"]

_LETTERBOX = "top-left, bilinear"


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What looks at pictures.

    Attributes:
        spec: the network.
        detector: finds objects.
        describer: describes them, from the same pass.
        feature_space: all that decides what a vector means; part of every library.
        callers: threads that may call detector and describer at once.
    """

    spec: ModelSpec
    detector: Detector
    describer: Describer
    feature_space: dict[str, Any]
    callers: int
    _runner: Runner

    @property
    def class_names(self) -> tuple[str, ...]:
        """By label."""
        return self.spec.classes

    @property
    def batch(self) -> int | None:
        """Pictures per call of the network, None where any number will do."""
        return self.spec.batch

    def warm_up(self) -> None:
        """Run everything once, so that the first picture is as fast as the others."""
        import numpy as np

        width, height = self.detector.input_wh
        blank: U8Array = np.zeros((height, width, 3), np.uint8)
        found = self.detector.detect([blank])[0]
        vectors: F32Array = self.describer.describe(blank, found)
        assert vectors.shape[1] == self.describer.dim

    def close(self) -> None:
        """Give back the network's memory and threads."""
        self._runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_pipeline(settings: Settings, *, cut_padding: bool = False) -> Pipeline:
    """Open the network that the settings name.

    Args:
        settings: sections ``model`` and ``detect``.
        cut_padding: where the network takes any size, give it no more padding than it needs. That is a third
            faster, and near enough for looking up what a live source shows; see ``detect.py``.

    Raises:
        UnknownModelError: it is not there; the message says how to get it.
        ModelError: the file is not a prepared model.
        RunnerError: it cannot be run.
    """
    from rtsearch.runners.onnx import OnnxRunner, default_threads

    path: Path = resolve(settings.model.name, default_folder())
    spec = ModelSpec.read(path)
    input_wh = (settings.model.size, settings.model.size) if spec.flexible else spec.input_wh
    cut_padding = cut_padding and spec.flexible
    # One session for all shapes is as fast as one that was opened for a shape.
    runner = OnnxRunner(path, settings.model.threads, None if cut_padding else input_wh)
    embedder = (
        Embedder(Path(settings.describe.embedder), settings.model.threads)
        if settings.describe.embedder
        else None
    )
    describer = Describer(spec, embedder)
    return Pipeline(
        spec=spec,
        detector=Detector(runner, spec, settings.detect, input_wh, cut_padding=cut_padding),
        describer=describer,
        feature_space={
            "model": spec.name,
            "model_sha256": spec.sha256,
            "input_wh": list(input_wh),
            "letterbox": _LETTERBOX,
            "describe": describer.recipe,
        },
        callers=default_threads(),
        _runner=runner,
    )
