"""Networks for the workers of a cluster: read where the analysis was started, checked where they are used."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from rtsearch._util.atomic import write_atomic
from rtsearch._util.paths import user_cache
from rtsearch.config import Settings
from rtsearch.errors import ClusterError, ModelError
from rtsearch.library.files import sha256_of
from rtsearch.models import default_folder, int8_path, resolve
from rtsearch.models.files import read_model

__all__ = ["NetworkFile", "kept_network", "network_files", "with_networks"]


class NetworkFile(NamedTuple):
    """Network as it was read.

    Attributes:
        content: bytes of the ONNX file.
        sha256: of them, in hex.
    """

    content: bytes
    sha256: str


def network_files(settings: Settings, sha256: str) -> list[NetworkFile]:
    """Read the networks of an analysis: that which detects, and the one of ``describe.embedder``, if any.

    Args:
        settings: sections ``model`` and ``describe``.
        sha256: of the detector's file, which is open; it may be the one in int8.

    Raises:
        ModelError: the detector's file was changed since it was opened.
        UnknownModelError: a file is gone.
    """
    path = resolve(settings.model.name, default_folder())
    read = (NetworkFile(*read_model(each)) for each in (path, int8_path(path)) if each.is_file())
    detector = next((network for network in read if network.sha256 == sha256), None)
    if detector is None:
        raise ModelError(f"{path} has changed since it was opened; run the same command again")
    embedder = settings.describe.embedder
    return [detector, *([NetworkFile(*read_model(Path(embedder)))] if embedder else [])]


def kept_network(sha256: str, fetch: Callable[[], bytes]) -> Path:
    """Return a network's file in this user's cache; it is fetched where it is not there or damaged.

    Raises:
        ClusterError: what was fetched has another hash, or cannot be kept.
    """
    cache = user_cache()
    folder = cache / "networks" if cache is not None else Path(tempfile.mkdtemp(prefix="rtsearch-"))
    path = folder / f"{sha256}.onnx"
    try:
        if path.is_file() and sha256_of(path) == sha256:
            return path
        content = fetch()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise ClusterError(f"the network arrived damaged: its SHA-256 is not {sha256}")
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(path, content)
    except OSError as error:
        if isinstance(error, ClusterError):
            raise
        raise ClusterError(f"cannot keep the network in {folder}: {error.strerror or error}") from None
    return path


def with_networks(settings: Settings, paths: list[Path]) -> Settings:
    """Return settings that name these files, the detector first, and look for no other."""
    detector, *embedder = map(str, paths)
    model = settings.model.model_copy(update={"name": detector, "precision": "float32"})
    describe = settings.describe.model_copy(update={"embedder": "".join(embedder)})
    return settings.model_copy(update={"model": model, "describe": describe})
