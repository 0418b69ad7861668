"""Hand photos out to the workers of a Ray cluster, and take back what they found, in order.

No more batches are under way than the workers need to stay busy. A worker that dies costs its batch, which
Ray gives to another one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rtsearch import __version__
from rtsearch._util.closing import Closing
from rtsearch._util.wording import counted, one_line
from rtsearch.config import Settings
from rtsearch.errors import ClusterError, RtsearchError, RunnerError
from rtsearch.jobs.cluster.networks import network_files
from rtsearch.jobs.cluster.worker import Order, look_at_batch
from rtsearch.jobs.photo_pipeline import PhotoJob
from rtsearch.library.manifest import fingerprint_of
from rtsearch.library.photos import PhotoFile
from rtsearch.pipeline import Pipeline
from rtsearch.storage import folder_name

__all__ = ["BATCH", "ClusterPhotos", "Share"]

_log = logging.getLogger(__name__)

BATCH = 32
"""Photos that a worker looks at between two words with the driver; what its death costs."""
_BATCHES_PER_WORKER = 2  # one under way, one that waits for it
_RETRIES = 5  # of a batch whose worker dies
_WAIT_S = 0.2
_SILENCE_S = 60.0
_CORES = 2
_SECTIONS = {"model", "detect", "describe", "analyze", "gpu"}  # others may hold passwords of cameras


class Share(NamedTuple):
    """Resources of one worker.

    Attributes:
        cores, gpus: number of them.
    """

    cores: int
    gpus: int

    @classmethod
    def of(cls, nodes: Sequence[dict[str, float]], engine: str) -> Share:
        """Choose two cores, one where a machine has no more, or a GPU with its part of the cores.

        Args:
            nodes: Ray's resources of each machine.
            engine: ``gpu.engine`` of the settings.
        """
        gpus = [node for node in nodes if node.get("GPU", 0) >= 1 and engine != "none"]
        if gpus:
            return cls(max(1, min(int(node.get("CPU", 0) // node["GPU"]) for node in gpus)), 1)
        return cls(min([_CORES, *(int(node["CPU"]) for node in nodes if node.get("CPU", 0) >= 1)]), 0)


class _Task(NamedTuple):
    """Batch under way; ``ref`` is Ray's reference to the result."""

    files: Sequence[PhotoFile]
    ref: Any


class ClusterPhotos(Closing):
    """Photos being looked at by a cluster; iterate over it once. Ray must be connected.

    Args:
        todo: the photos.
        root: folder that their paths are relative to, on all machines.
        pipeline: network that the workers get.
        settings: of the analysis.
        stop: ends the iteration.
    """

    def __init__(
        self,
        todo: Sequence[PhotoFile],
        root: Path,
        pipeline: Pipeline,
        settings: Settings,
        *,
        stop: threading.Event,
    ) -> None:
        import ray

        self._ray: Any = ray
        self._stop = stop
        self._waiting: deque[_Task] = deque()
        self._batches = iter([todo[at : at + BATCH] for at in range(0, len(todo), BATCH)])
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        self._share = Share.of(nodes, settings.gpu.engine)
        self._order = ray.put(self._order_of(root, pipeline, settings)) if todo else None
        self._look = ray.remote(look_at_batch).options(
            num_cpus=self._share.cores, num_gpus=self._share.gpus, max_retries=_RETRIES
        )

    def __iter__(self) -> Iterator[PhotoJob]:
        while True:
            self._hand_out()
            jobs = self._result(self._waiting[0]) if self._waiting else None
            if jobs is None:
                return
            self._waiting.popleft()
            yield from jobs

    def close(self) -> None:
        """Look no further; workers that are at a batch are ended."""
        for task in self._waiting:
            self._ray.cancel(task.ref, force=True)
        self._waiting.clear()

    def _order_of(self, root: Path, pipeline: Pipeline, settings: Settings) -> Order:
        networks = network_files(settings, pipeline.spec.sha256)
        return Order(
            version=__version__,
            root=folder_name(root),
            settings=settings.model_dump_json(include=_SECTIONS),
            fingerprint=fingerprint_of(pipeline.feature_space),
            networks=tuple((network.sha256, self._ray.put(network.content)) for network in networks),
            cores=self._share.cores,
        )

    def _hand_out(self) -> None:
        """Keep all workers busy, also those of machines that have joined since."""
        resources = self._ray.cluster_resources()
        kind, size = ("GPU", self._share.gpus) if self._share.gpus else ("CPU", self._share.cores)
        workers = max(1, int(resources.get(kind, 0) // size))
        while len(self._waiting) < workers * _BATCHES_PER_WORKER:
            files = next(self._batches, None)
            if files is None:
                return
            batch = [(file.path, file.size_bytes, file.mtime_ns, file.known_sha256) for file in files]
            self._waiting.append(_Task(files, self._look.remote(self._order, batch)))

    def _result(self, task: _Task) -> list[PhotoJob] | None:
        """Wait for a batch; None where the analysis is stopped."""
        begun_s, told = time.monotonic(), False
        while not self._stop.is_set():
            if self._ray.wait([task.ref], timeout=_WAIT_S)[0]:
                try:
                    jobs: list[PhotoJob] = self._ray.get(task.ref)
                except self._ray.exceptions.RayError as error:
                    raise _worded(error, task.files) from None
                return jobs
            if not told and time.monotonic() - begun_s > _SILENCE_S:
                told = True
                _log.warning(
                    "no worker has answered for %.0f s; ray status tells what is lacking", _SILENCE_S
                )
        return None


def _worded(error: Exception, files: Sequence[PhotoFile]) -> RtsearchError:
    """Return the error of a batch in our words."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, RtsearchError):
        return cause
    where = f"{counted(len(files), 'photo')} from {files[0].path} on"
    if cause is None:
        return ClusterError(
            f"workers that looked at {where} have died {_RETRIES + 1} times ({one_line(error)}): give them "
            "more memory, or leave that photo out; what was looked at is kept"
        )
    if "failed to import" in str(cause):
        return ClusterError(
            f"a machine of the cluster cannot load rtsearch {__version__}: pip install 'rtsearch[ray]' there"
        )
    return RunnerError(f"a worker failed at {where}: {type(cause).__name__}: {one_line(cause)}")
