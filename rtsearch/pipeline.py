"""A network and the sight made with it, opened together from the settings.

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
from rtsearch.meter import Meter
from rtsearch.models import ModelSpec, default_folder, resolve
from rtsearch.records import U8Array
from rtsearch.sight import Sight, TwoSteps

__all__ = ["Pipeline", "open_pipeline"]

_LETTERBOX = "top-left, bilinear"


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What looks at pictures.

    Attributes:
        spec: the network.
        sight: sees objects with it.
        feature_space: all that decides what a vector means; part of every library.
    """

    spec: ModelSpec
    sight: Sight
    feature_space: dict[str, Any]

    @property
    def class_names(self) -> tuple[str, ...]:
        """By label."""
        return self.spec.classes

    def warm_up(self) -> None:
        """Run everything once, so that the first picture is as fast as the others."""
        import numpy as np

        width, height = self.feature_space["input_wh"]
        blank: U8Array = np.zeros((height, width, 3), np.uint8)
        seen = self.sight.see([blank], Meter())[0]
        assert seen.vector.shape[1] == self.sight.dim

    def close(self) -> None:
        """Give back the network's memory and threads."""
        self.sight.close()

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
        sight=TwoSteps(
            Detector(runner, spec, settings.detect, input_wh, cut_padding=cut_padding),
            describer,
            batch=spec.batch,
            callers=default_threads(),
        ),
        feature_space={
            "model": spec.name,
            "model_sha256": spec.sha256,
            "input_wh": list(input_wh),
            "letterbox": _LETTERBOX,
            "describe": describer.recipe,
        },
    )
