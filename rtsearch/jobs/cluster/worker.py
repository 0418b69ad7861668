"""Look at one batch of photos in a process of a Ray cluster.

The arguments are plain values, so that a worker of another version can say so. What is heavy is imported
after that, and after the process knows how many cores are its own.
"""

from __future__ import annotations

import functools
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from rtsearch import __version__
from rtsearch._util.cpu import share_cores
from rtsearch._util.metrics import Meter
from rtsearch.errors import ClusterError, FeatureSpaceError
from rtsearch.storage import address_of, photo_folder

if TYPE_CHECKING:
    from rtsearch.config import Settings
    from rtsearch.jobs.photo_pipeline import PhotoJob
    from rtsearch.library.photos import PhotoFile
    from rtsearch.pipeline import Pipeline

__all__ = ["Batch", "Order", "look_at_batch"]

Batch = list[tuple[str, int, int, str]]
"""Values of one PhotoFile each."""


class Order(TypedDict):
    """Facts that all batches of an analysis share.

    Attributes:
        version: of rtsearch.
        root: folder, or address, that the paths of photos are relative to.
        settings: as JSON.
        fingerprint: of the feature space.
        networks: SHA-256 and Ray's reference to the bytes of each; the detector first.
        cores: number of cores of a worker.
    """

    version: str
    root: str
    settings: str
    fingerprint: str
    networks: tuple[tuple[str, Any], ...]
    cores: int


def look_at_batch(order: Order, batch: Batch) -> list[PhotoJob]:
    """Look at photos; what comes back has their objects and crops, no pixels.

    Raises:
        ClusterError: this machine has another version of rtsearch, or does not see the photos.
        FeatureSpaceError: the network describes otherwise here.
    """
    if order["version"] != __version__:
        raise ClusterError(
            f"{socket.gethostname()} has rtsearch {__version__}, the analysis is of {order['version']}: "
            "install the same on all machines of the cluster"
        )
    share_cores(order["cores"])
    from rtsearch.jobs.photo_pipeline import PhotoPipeline
    from rtsearch.library.photos import PhotoFile

    root, files = photo_folder(order["root"]), [PhotoFile(*values) for values in batch]
    _expect_photos(root, files)
    pipeline, settings = _opened(order["settings"], order["networks"], order["fingerprint"])
    with PhotoPipeline(files, root, pipeline, settings, Meter()) as jobs:
        return list(jobs)


def _expect_photos(root: Path, files: Sequence[PhotoFile]) -> None:
    if address_of(root) is None and not any((root / file.path).exists() for file in files):
        raise ClusterError(
            f"{socket.gethostname()} does not see {root / files[0].path}: all machines of the cluster need "
            f"the photos under the same path, {root}"
        )


@functools.lru_cache(maxsize=1)
def _opened(
    settings_json: str, networks: tuple[tuple[str, Any], ...], fingerprint: str
) -> tuple[Pipeline, Settings]:
    """Open the network once per process."""
    import ray

    from rtsearch.config import Settings
    from rtsearch.jobs.cluster.networks import kept_network, with_networks
    from rtsearch.jobs.photo_pipeline import PHOTOS_PER_CALL
    from rtsearch.library.manifest import fingerprint_of
    from rtsearch.pipeline import open_pipeline

    paths = [kept_network(sha256, functools.partial(ray.get, ref)) for sha256, ref in networks]
    settings = with_networks(Settings.model_validate_json(settings_json), paths)
    pipeline = open_pipeline(settings, engine="now", pictures=PHOTOS_PER_CALL, looks=settings.analyze.looks)
    if fingerprint_of(pipeline.feature_space) != fingerprint:
        raise FeatureSpaceError(
            f"{socket.gethostname()} describes objects otherwise than the machine that began the analysis"
        )
    return pipeline, settings
