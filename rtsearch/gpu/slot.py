"""Hold the buffers for one group of pictures: upload, results, recorded work."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rtsearch.config import DetectSettings
from rtsearch.gpu.plan import PICTURE, UPLOAD, Layout
from rtsearch.perception.detector import fit
from rtsearch.runners.device import Device, Graph
from rtsearch.types import Detections, U8Array

__all__ = ["Slot"]

_ALIGN = 16  # alignment of a picture's first pixel, bytes
_SPARE = 1.25  # factor by which a growing buffer exceeds the need: photos of a folder differ in size


class Slot:
    """Buffers for one group of pictures on host and GPU, reused for every group.

    Args:
        device: the GPU.

    Attributes:
        address: address of the uploaded data; changes when a larger group comes.
        uploaded: event that is recorded after the upload.
        done: event that is recorded after the download.
        result: pinned memory for the download, or None.
        graph: recorded work on this slot, or None.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._host: U8Array | None = None
        self._pictures = 0
        self.address = 0
        self.result: U8Array | None = None
        self.graph: Graph | None = None
        self.uploaded = device.new_event()
        self.done = device.new_event()

    def upload(
        self,
        images: Sequence[U8Array],
        settings: DetectSettings,
        wanted: NDArray[np.bool_],
        layout: Layout,
        stream: int,
    ) -> None:
        """Copy a group of pictures and the settings of the kernels to the GPU; asynchronous.

        Args:
            images: at most ``batch`` pictures, (H, W, 3) uint8 BGR.
            settings: thresholds.
            wanted: (classes,) bool, True for wanted classes.
            layout: layout of the pass.
            stream: stream of the copy.
        """
        head_bytes = layout.head_bytes
        ends = np.cumsum([-(-image.size // _ALIGN) * _ALIGN for image in images])
        host = self._room_for(head_bytes + int(ends[-1]))
        head = host[: UPLOAD.itemsize].view(UPLOAD)
        for name in ("threshold", "max_overlap", "nms_iou", "min_px", "max_objects", "whole_image"):
            head[name] = getattr(settings, name)
        head["overlap_iou"] = settings.overlap == "iou"
        head["pictures"] = self._pictures = len(images)
        head["wanted"] = layout.wanted_start
        host[layout.wanted_start :][: layout.classes] = wanted
        pictures = host[UPLOAD.itemsize : layout.wanted_start].view(PICTURE)
        for i, image in enumerate(images):
            start = head_bytes + int(ends[i - 1]) if i else head_bytes
            pictures[i] = _picture(start, (image.shape[1], image.shape[0]), layout)
            np.copyto(host[start : start + image.size].reshape(image.shape), image)
        self._device.upload(self.address, host[: head_bytes + int(ends[-1])], stream)

    def results(self, layout: Layout) -> list[Detections]:
        """Wait for the group and return the objects of each picture."""
        assert self.result is not None
        self._device.wait(self.done)
        counts = self.result[: layout.header_bytes].view(np.int32)[: self._pictures]
        rows = self.result[layout.header_bytes :].view(layout.row).reshape(layout.batch, layout.slots)
        found = [rows[i, :count] for i, count in enumerate(counts)]
        # The memory is reused, so results are copied; fields of a record array are strided, so to C order.
        return [
            Detections(*(np.array(one[name], order="C") for name in ("xyxy", "score", "label", "vector")))
            for one in found
        ]

    def fit_result(self, size_bytes: int) -> U8Array:
        """Return pinned memory of exactly this size for the download."""
        if self.result is None or self.result.size != size_bytes:
            self.forget_graph()
            if self.result is not None:
                self._device.free_pinned(self.result)
                self.result = None
            self.result = self._device.allocate_pinned(size_bytes)
        return self.result

    def forget_graph(self) -> None:
        """Close the recorded work, whose addresses are about to become invalid."""
        if self.graph is not None:
            self.graph.close()
            self.graph = None

    def close(self) -> None:
        """Release all memory; the work that uses it must be done."""
        self.forget_graph()
        self._free_upload()
        if self.result is not None:
            self._device.free_pinned(self.result)
            self.result = None
        self._device.free_event(self.uploaded)
        self._device.free_event(self.done)

    def _room_for(self, size_bytes: int) -> U8Array:
        if self._host is None or self._host.size < size_bytes:
            first = self._host is None
            self.forget_graph()
            self._free_upload()
            room_bytes = size_bytes if first else int(size_bytes * _SPARE)
            self.address = self._device.allocate(room_bytes)
            self._host = self._device.allocate_pinned(room_bytes)
        return self._host

    def _free_upload(self) -> None:
        if self.address:
            self._device.free(self.address)
            self.address = 0
        if self._host is not None:
            self._device.free_pinned(self._host)
            self._host = None


def _picture(start: int, picture_wh: tuple[int, int], layout: Layout) -> tuple[float, ...]:
    """Return one PICTURE: the start of its pixels and its scaling, computed as in ``detector``."""
    fitted, scales = fit(picture_wh, layout.input_wh, stretch=layout.stretch)
    return start, *picture_wh, *fitted, *scales, *(np.array(picture_wh, np.float32) * scales)
