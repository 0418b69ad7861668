"""Run a prepared model with onnxruntime on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort

from rtsearch._util.cpu import network_threads
from rtsearch._util.wording import one_line
from rtsearch.errors import RunnerError
from rtsearch.types import F32Array

__all__ = ["OnnxRunner"]


class OnnxRunner:
    """Runner of onnxruntime on the CPU.

    ``run`` may be called by several threads at once, which is faster for many pictures: on two cores, two
    callers of a network with one thread reach 71 pictures/s, one caller of a network with two threads 54
    (YOLO26n, 416 px). A single picture takes 20 ms with two threads, 27 ms with one.

    Args:
        path: a prepared model.
        threads: number of threads of the network; 0 chooses.
        input_wh: width and height of all pictures, px, for a model whose input size is flexible.

    Raises:
        RunnerError: the file cannot be run, or does not take that input size.
    """

    def __init__(self, path: Path, threads: int = 0, input_wh: tuple[int, int] | None = None) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or network_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Threads that spin while they wait take the cores from decoding and search: at 30 pictures/s they
        # double the CPU time of a picture.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if input_wh is not None:
            options.add_free_dimension_override_by_name("width", input_wh[0])
            options.add_free_dimension_override_by_name("height", input_wh[1])
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions have no common base below Exception
            raise RunnerError(f"onnxruntime cannot open {path}: {one_line(error)}") from None
        self._path = path
        self._names = [output.name for output in self._session.get_outputs()]
        self._shape = _input_shape(self._session, path)
        if input_wh is not None and self._shape[2:] != (input_wh[1], input_wh[0]):
            self.close()
            raise RunnerError(
                f"{path} takes {self._shape[3]}x{self._shape[2]} px, not {input_wh[0]}x{input_wh[1]}"
            )

    @property
    def batch(self) -> int | None:
        """Number of pictures per call; None for any."""
        return self._shape[0]

    def run(self, images: F32Array) -> dict[str, F32Array]:
        """See ``Runner.run``."""
        if self._session is None:
            raise RunnerError(f"the runner of {self._path} is closed")
        fits = images.ndim == 4 and all(
            want is None or want == got for want, got in zip(self._shape, images.shape, strict=True)
        )
        if not fits or images.dtype != np.float32:
            wanted = ", ".join("any" if size is None else str(size) for size in self._shape)
            raise RunnerError(f"expected float32 ({wanted}), got {images.dtype} {images.shape}")
        try:
            outputs = self._session.run(self._names, {"images": images})
        except Exception as error:
            raise RunnerError(f"onnxruntime failed on {self._path}: {one_line(error)}") from None
        return dict(zip(self._names, outputs, strict=True))

    def close(self) -> None:
        """See ``Runner.close``."""
        self._session = None


def _input_shape(session: ort.InferenceSession, path: Path) -> tuple[int | None, ...]:
    """Return the shape of the input, with None for sides of any length."""
    inputs = session.get_inputs()
    if [entry.name for entry in inputs] != ["images"] or len(inputs[0].shape) != 4:
        raise RunnerError(f"{path} is not a prepared model; run: rtsearch model import {path}")
    return tuple(size if isinstance(size, int) else None for size in inputs[0].shape)
