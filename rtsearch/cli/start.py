"""Print the next steps on this machine for ``rtsearch`` without a command."""

from __future__ import annotations

import shlex
from pathlib import Path

from rtsearch.cli.common import counted, mb
from rtsearch.cli.demo import DEMO_FOLDER

__all__ = ["next_steps"]

_NEW_LIBRARY = "pictures.lib"
_PHOTOS = "Pictures"  # folder of photos below the home folder on desktops
_HELP = "help     rtsearch --help lists the commands, rtsearch doctor checks this machine"


def next_steps() -> tuple[str, str, str, str]:
    """Return the next commands on this machine: for the network, the library, a source, and help."""
    found = _newest_library(Path())
    library = str(found[0]) if found else _NEW_LIBRARY
    return _network(), _about_library(found), _play(shlex.quote(library)), _HELP


def _network() -> str:
    from rtsearch.config import Settings
    from rtsearch.models import catalogue_entry, default_folder

    entry = catalogue_entry(Settings().model.name)
    if (default_folder() / f"{entry.name}.onnx").is_file():
        return f"network  {entry.name} is here"
    size = f"{mb(entry.bytes)}, {entry.licence}"
    pull = f"rtsearch model pull {entry.name}"
    return f"network  {entry.name} is not here yet ({size}): {pull}, or the first analyze downloads it"


def _newest_library(folder: Path) -> tuple[Path, int] | None:
    """Return the library in a folder, or of the demo, that was written to last, and its number of objects."""
    from rtsearch.errors import LibraryError
    from rtsearch.library import Library
    from rtsearch.library.files import MANIFEST_NAME

    folders = (folder, folder / DEMO_FOLDER)
    manifests = [path for each in folders for path in each.glob(f"*/{MANIFEST_NAME}") if path.is_file()]
    for manifest in sorted(manifests, key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            return manifest.parent, Library.open(manifest.parent).object_count
        except LibraryError:  # the manifest of another program
            continue
    return None


def _about_library(found: tuple[Path, int] | None) -> str:
    if found is not None:
        path, objects = found
        command = f"rtsearch query {shlex.quote(str(path))} PHOTO.jpg"
        return f"library  {path} has {counted(objects, 'object')}: {command}"
    photos = f"~/{_PHOTOS}" if (Path.home() / _PHOTOS).is_dir() else "FOLDER_OF_PHOTOS"
    return f"library  none in this folder: rtsearch analyze {photos} {_NEW_LIBRARY}"


def _play(library: str) -> str:
    from rtsearch.sources import cameras
    from rtsearch.ui.display import display_problem

    found = ", ".join(f"{device} ({name})" for device, name in cameras().items())
    problem = display_problem()
    state = "; ".join(filter(None, (found or "none found", problem)))
    source = "" if found else " --source CLIP.mp4"
    out = " --out seen.mp4" if problem else ""
    return f"camera   {state}: rtsearch run {library}{source}{out}"
