"""Find models by name in the folder of prepared models, and add models to it.

The converters are imported where they are used, as opening a model without them is 0.4 s faster.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from rtsearch._util.paths import is_file_name, user_cache
from rtsearch.errors import ModelError, UnknownModelError
from rtsearch.models.catalogue import CATALOGUE, Progress, catalogue_entry
from rtsearch.models.spec import ModelSpec

__all__ = ["default_folder", "import_onnx", "int8_path", "pull", "resolve"]


def default_folder() -> Path:
    """Return ``$RTSEARCH_ENGINES``, else ``engines/`` of the checkout, else a folder in the user's cache.

    Raises:
        ModelError: none of them exists.
    """
    if named := os.environ.get("RTSEARCH_ENGINES"):
        return Path(named)
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "pyproject.toml").is_file() and (checkout / "engines").is_dir():
        return checkout / "engines"
    cache = user_cache()
    if cache is None:
        raise ModelError(
            "there is no home folder to keep networks in; set RTSEARCH_ENGINES to a folder for them"
        )
    return cache / "engines"


def pull(name: str, folder: Path, *, progress: Progress | None = None, trust: bool = False) -> Path:
    """Return the prepared model of a catalogue name, after downloading and converting it if needed.

    Args:
        name: name in the catalogue.
        folder: folder of prepared models; downloads are kept in its ``downloads/``.
        progress: gets the current step and the bytes done.
        trust: take a file of which no hash is known, and keep its hash.

    Raises:
        UnknownModelError: the catalogue has no such name.
        DownloadError: no place had the file, or no hash of it is known and it is not trusted.
        CheckpointError: the file cannot be converted.
    """
    entry = catalogue_entry(name)
    path, downloads = folder / f"{name}.onnx", folder / "downloads"
    from rtsearch.models.fetch import fetch, known_sha256

    if _is_ready(path, known_sha256(entry, downloads)):
        return path
    tell = progress or _silent
    source = fetch(entry, downloads, tell, trust=trust)
    entry = dataclasses.replace(entry, sha256=known_sha256(entry, downloads))
    tell(f"preparing {path.name}", 0, 0)
    from rtsearch.models.protobuf import save_model

    if entry.family == "yolo26":
        from rtsearch.models.checkpoint_import import prepare_checkpoint

        model = prepare_checkpoint(source, entry)
    else:
        from rtsearch.models.onnx_import import prepare_onnx

        model, _ = prepare_onnx(source, name, entry, size=entry.input_wh[0])
    save_model(model, path)
    return path


def import_onnx(
    path: Path,
    folder: Path,
    name: str | None = None,
    *,
    names: tuple[str, ...] | None = None,
    size: int = 416,
) -> tuple[Path, list[str]]:
    """Prepare an exported detector as ``folder/NAME.onnx``.

    Args:
        path: file of the export.
        folder: folder of prepared models.
        name: name of the model; None takes the stem of the file.
        names: class names in the order of labels; None takes those of the file.
        size: side of the square input, px, where the file does not tell one.

    Returns:
        path of the prepared file, and the findings as lines of text.

    Raises:
        UnknownModelError: the file does not exist.
        NotADetectorError: the graph has no boxes and scores that are recognised.
        ModelError: the file is damaged or not supported, the name cannot be used, or the class names are more
            or fewer than the classes.
    """
    name = path.stem if name is None else name
    if not is_file_name(name):
        raise ModelError(
            f"a model cannot be called {name!r}; choose letters, digits, '.', '_', '-' with --name"
        )
    if any(entry.name == name for entry in CATALOGUE):
        raise ModelError(f"{name} is a name of the catalogue; choose another with --name")
    target = folder / f"{name}.onnx"
    if target.exists() and path.exists() and target.samefile(path):
        raise ModelError(f"{path} would be overwritten by its own import; choose another name with --name")
    from rtsearch.models.onnx_import import prepare_onnx
    from rtsearch.models.protobuf import save_model

    model, lines = prepare_onnx(path, name, names=names, size=size)
    save_model(model, target)
    return target, lines


def int8_path(path: Path) -> Path:
    """Return the place of the int8 file of a prepared model, beside it."""
    return path.with_name(f"{path.stem}.int8.onnx")


def resolve(name_or_path: str, folder: Path) -> Path:
    """Return the prepared model of a catalogue name, of an imported model's name, or of a path.

    Raises:
        UnknownModelError: the model does not exist; the message says how to get it.
    """
    path = Path(name_or_path)
    if path.suffix == ".onnx" or path.parent != Path():
        if path.is_file():
            return path
        raise UnknownModelError(f"no model file {path}")
    path = folder / f"{name_or_path}.onnx"
    if path.is_file():
        return path
    if any(entry.name == name_or_path for entry in CATALOGUE):
        raise UnknownModelError(f"{name_or_path} is not in {folder}; run: rtsearch model pull {name_or_path}")
    names = ", ".join(entry.name for entry in CATALOGUE)
    raise UnknownModelError(f"no model named {name_or_path} in {folder}; to pull: {names}")


def _silent(_what: str, _done: int, _total: int) -> None:
    pass


def _is_ready(path: Path, sha256: str) -> bool:
    """Tell whether the model exists and was made from the file of a hash by the current recipe."""
    if not path.is_file():
        return False
    from rtsearch.models.prepare import RECIPE
    from rtsearch.models.taps import ROLES

    try:
        spec = ModelSpec.read(path)
    except ModelError:
        return False
    roles = tuple(tap.role for tap in spec.taps)
    return spec.source_sha256 == sha256 and spec.recipe == RECIPE and roles == ROLES
