"""Folder of a memory, its owner's alone: a library without photos of its own, and one library per hour.

DIR/manifest.json     feature space and network of all entries
DIR/lock              held while something is remembered or forgotten
DIR/projection.npy    from descriptions to the searched vectors of all hours
DIR/hours/HOUR/       a library: the entries of one hour, named in UTC, such as 20260501T13
DIR/index/KEY/        searched vectors of closed hours; derived, and made again when missing
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rtsearch.errors import FormatError, LibraryError, NotALibraryError
from rtsearch.library import FeatureSpace, Library, Manifest
from rtsearch.library.files import LOCK_NAME, MANIFEST_NAME, disk_errors
from rtsearch.library.sweep import final_name, own_folder

__all__ = ["FORMAT", "MemoryFolder", "end_of", "hour_of"]

FORMAT = 1
_SECTION = "memory"  # of the settings in the manifest, by which a memory is told from a library
_HOUR = re.compile(r"\d{8}T\d{2}(-\d+)?")
_OTHERS = 0o077  # permissions of group and others


def hour_of(ns: int) -> str:
    """Return the name of the hour of a moment, nanoseconds since 1970, in UTC: ``20260501T13``."""
    return time.strftime("%Y%m%dT%H", time.gmtime(ns // 1_000_000_000))


def end_of(hour: str) -> int:
    """Return when an hour of a name ends, nanoseconds since 1970."""
    begin = datetime.strptime(hour.partition("-")[0], "%Y%m%dT%H").replace(tzinfo=UTC)
    return (round(begin.timestamp()) + 3600) * 1_000_000_000


class MemoryFolder:
    """A memory's folder, found to be one that nobody else can read.

    Args:
        path: the folder.
        manifest: as it stands on the disk.

    Attributes:
        path, manifest: as given.
        library: the memory as a library that holds nothing.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self.library = Library(path, manifest)

    @classmethod
    def open(cls, path: Path) -> MemoryFolder:
        """Open a memory that is there.

        Raises:
            NotALibraryError: missing, empty or foreign folder, or a library of photos.
            FormatError: written by a newer version.
            DamagedError: altered or truncated manifest.
            LibraryError: others can read the folder.
        """
        if not (path / MANIFEST_NAME).is_file():
            raise NotALibraryError(f"{path} is no memory; one is made by: rtsearch run LIB --remember {path}")
        _require_private(path)
        manifest = Manifest.read(path)
        version = manifest.settings.get(_SECTION, {}).get("format")
        if not isinstance(version, int):
            raise NotALibraryError(f"{path} is a library of photos, not a memory; choose another folder")
        if version > FORMAT:
            raise FormatError(
                f"{path} has memory format {version}, this version of rtsearch knows {FORMAT}: update "
                "rtsearch, or remember into another folder"
            )
        return cls(path, manifest)

    @classmethod
    def make(cls, path: Path, space: FeatureSpace, settings: Mapping[str, Any]) -> MemoryFolder:
        """Open a memory; make it where the folder is missing or empty.

        Args:
            path: the folder.
            space: of what will be remembered.
            settings: of the run; a new memory keeps those that its network is found by.

        Raises:
            FeatureSpaceError: the memory has another feature space.
            LibraryError: one of its kinds, as ``open``; or the folder cannot be made.
        """
        if (path / MANIFEST_NAME).is_file():
            memory = cls.open(path)
            memory.manifest.space.require(space.recipe, path)
            return memory
        with disk_errors(path):
            if path.exists() and not path.is_dir():
                raise NotALibraryError(f"{path} is no folder; choose another place for the memory")
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            _require_private(path)
            # A kill while the first manifest was written leaves these two.
            entries = (entry for entry in path.iterdir() if final_name(entry) != MANIFEST_NAME)
            if others := {entry.name for entry in entries} - {LOCK_NAME}:
                raise NotALibraryError(
                    f"{path} is no memory and holds other files ({min(others)}); choose another or an empty "
                    "folder"
                )
            manifest = Manifest(
                space=space,
                settings={**_network(settings), _SECTION: {"format": FORMAT}},
                photo_root=str(path.resolve()),
            )
            manifest.write(path)
        return cls(path, manifest)

    @property
    def space(self) -> FeatureSpace:
        """Feature space of all entries."""
        return self.manifest.space

    @property
    def description_blocks(self) -> list[dict[str, Any]]:
        """Blocks of a description, as a projection is fitted with."""
        return [block.model_dump() for block in self.space.read_recipe.describe.blocks]

    @property
    def hours(self) -> Path:
        """Folder of the hours."""
        return own_folder(self.path / "hours")

    @property
    def index(self) -> Path:
        """Folder of what is derived from them."""
        return own_folder(self.path / "index")

    def hour_names(self) -> list[str]:
        """Return the names of all hours, the oldest first."""
        if not self.hours.is_dir():
            return []
        names = [entry.name for entry in self.hours.iterdir() if _is_hour(entry)]
        return sorted(names, key=_in_time)

    def hour(self, name: str) -> Path:
        """Return the folder of an hour."""
        return own_folder(self.hours / name)


def _network(settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the settings that a network is found by, wherever the next command is run."""
    kept = {section: dict(settings[section]) for section in ("model", "describe")}
    for section, key in (("model", "name"), ("describe", "embedder")):
        path = Path(kept[section][key])
        if path.suffix == ".onnx" or path.parent != Path():
            kept[section][key] = str(path.absolute())
    return kept


def _in_time(name: str) -> tuple[str, int]:
    hour, _, turn = name.partition("-")
    return hour, int(turn or 0)


def _is_hour(entry: Path) -> bool:
    return bool(_HOUR.fullmatch(entry.name)) and entry.is_dir() and not entry.is_symlink()


def _require_private(path: Path) -> None:
    """Refuse a folder that others than its owner can read."""
    if os.name != "posix":
        return
    about = path.stat()
    if about.st_mode & _OTHERS:
        raise LibraryError(
            f"others can read {path}, and what is remembered is nobody else's: chmod 700 {path}"
        )
    if about.st_uid != os.geteuid():
        raise LibraryError(f"{path} belongs to another user, who could read it; choose another folder")
