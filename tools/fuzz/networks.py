"""Fuzz the import of ONNX files, and the reading of prepared ones."""

from __future__ import annotations

import exports
from made import own_folder

from rtsearch.errors import RtsearchError
from rtsearch.models.onnx_import import prepare_onnx
from rtsearch.models.spec import ModelSpec

__all__ = ["Target"]


class Target:
    """Imports a network, which runs it once, and reads it as one that is imported already."""

    most_bytes = 1 << 16
    mutate = None

    def __init__(self) -> None:
        folder = own_folder()
        self._path = folder / "net.onnx"
        made = [
            exports.ultralytics_export((64, 64), 2, dfl=False, metadata={"names": "{0: 'a', 1: 'b'}"}),
            exports.ultralytics_export((64, 64), 2, end="nms"),
            exports.ultralytics_export((64, 64), 2, end="top"),
            exports.yolox_export((64, 64), 2),
        ]
        self.seeds = [model.SerializeToString() for model in made]
        self._path.write_bytes(self.seeds[0])
        self.seeds.append(prepare_onnx(self._path, "net")[0].SerializeToString())

    def __call__(self, data: bytes) -> None:
        self._path.write_bytes(data)
        for read in (lambda: prepare_onnx(self._path, "net"), lambda: ModelSpec.read(self._path)):
            try:
                read()
            except RtsearchError as error:
                str(error).encode(errors="replace")
