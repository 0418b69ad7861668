"""Index of a library: derived from its fragments, searched, rebuilt at will.

    fragments -> projection (fitted) -> searched vectors -> KD-tree -> near duplicates
              -> one row per object: photo, box, label, place of its thumbnail

    LIB/index/KEY/   KEY is made of the library's stamp and of the settings that shape the index, so an index
                     that does not fit is simply not found, and one that is being replaced can still be read
    LIB/index/settings.json   those the library remembers; an index of others may stand beside its own

Everything is memory-mapped; an index that is damaged is built again from the fragments.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from rtsearch._util.atomic import write_atomic
from rtsearch._util.kernel_cache import search_is_compiled
from rtsearch._util.regular_files import read_regular
from rtsearch.config import Settings, load_settings
from rtsearch.errors import DamagedError, LibraryBusyError, LibraryError, RtsearchError, StorageError
from rtsearch.library import Library, library_lock
from rtsearch.library.colours import stored_colours
from rtsearch.library.duplicates import leaders
from rtsearch.library.files import disk_errors
from rtsearch.library.index_files import (
    FILES,
    TABLE,
    PhotoPaths,
    check_files,
    check_leaders,
    empty_table,
    fragments_of,
    load_table,
    write_list,
)
from rtsearch.library.manifest import damaged_manifest
from rtsearch.library.postgres_table import PostgresTable, comment_of
from rtsearch.library.postgres_tree import PostgresTree
from rtsearch.library.remote import Remote, remote_of
from rtsearch.library.remote_index import fetch_index, put_index
from rtsearch.library.schema import are_times
from rtsearch.library.search_index import SearchIndex
from rtsearch.library.sweep import own_folder, remove_index
from rtsearch.search import KDTree
from rtsearch.search.projection import Projection, stored_points
from rtsearch.storage import CACHE
from rtsearch.types import WHOLE_IMAGE_LABEL

__all__ = [
    "SearchIndex",
    "build_index",
    "open_index",
    "ready_index",
    "remembered_settings",
    "shape_json",
]

_log = logging.getLogger(__name__)

_FORMAT = 9
_SHAPE: Any = {"describe": {"meaning"}, "project": True}  # settings that shape an index
_SETTINGS = "settings.json"
_MOST_SETTINGS_BYTES = 1 << 16
Told = Callable[[str], None]


def open_index(
    library: Library, settings: Settings, tell: Told = _log.info, *, remember: bool = False
) -> SearchIndex:
    """The index of a library for these settings, built now if there is none or it is damaged.

    While another process writes to the library, it is the newest index whose objects are all still there, or
    one that is built for this process alone.

    Args:
        library: an opened library.
        settings: ``describe.meaning`` and section ``project`` shape the index.
        tell: gets a line when something takes a while.
        remember: the library is to be searched like this from now on, also by those who do not say how.

    Raises:
        LibraryBusyError: another process writes to the library, which holds no objects yet, or whose settings
            are to be remembered.
        LibraryError: the library has no objects, is damaged, or the index cannot be written.
        StorageError: object storage cannot be reached, or the index is larger than its cache may be.
    """
    if library.elsewhere is not None:
        there: SearchIndex = library.elsewhere.index(settings)
        return there
    if library.object_count and not search_is_compiled():
        tell("compiling the search, once per machine (about half a minute)")
    try:
        index = ready_index(library, settings)
    except DamagedError as error:
        _log.warning("the index is built again: %s", error)
        index = None
    if index is not None:
        if remember:
            _remember(library, settings)
        return index
    try:
        return build_index(library, settings, tell, remember=remember)
    except LibraryBusyError:
        if remember or not library.object_count:
            raise
        return _index_meanwhile(library, settings, tell)


def ready_index(library: Library, settings: Settings) -> SearchIndex | None:
    """Return the index of a library for these settings if there is one; nothing is built.

    One that lies on object storage is fetched.

    Raises:
        DamagedError: it cannot be used.
        StorageError: object storage cannot be reached, or the index is larger than its cache may be.
    """
    folder, remote = _folder(library, settings), remote_of(library.folder)
    if folder.is_dir():
        try:
            return _whole(library, settings, folder)
        except DamagedError as error:
            if remote is None:
                raise
            _log.warning("the index is fetched again: %s", error)
    CACHE.limit_bytes = settings.storage.cache_mb << 20
    if remote is None or not library.object_count or not fetch_index(remote, folder):
        return None
    return _whole(library, settings, folder)


def _whole(library: Library, settings: Settings, folder: Path) -> SearchIndex:
    """Open an index; whatever keeps it from being used is damage."""
    try:
        return _load(library, settings, folder)
    except (RtsearchError, OSError) as error:
        raise DamagedError(str(error)) from None


def build_index(
    library: Library, settings: Settings, tell: Told = _log.info, *, remember: bool = True
) -> SearchIndex:
    """Build the index anew, put it in place, and remove older ones, but for the one that is remembered.

    Args:
        library, settings, tell, remember: as for ``open_index``; the first index is always remembered.

    Raises:
        LibraryBusyError: another process writes to the library.
        LibraryError: the library has no objects, is damaged, or the index cannot be written.
    """
    final = _folder(library, settings)
    building = final.with_name(f".building-{os.getpid()}")
    with library_lock(library.folder), disk_errors(library.folder):
        _require_objects(library)
        tell(f"building the index of {_objects(library)}")
        _make_way(building)
        building.mkdir(parents=True)
        try:
            _build(library, settings, building)
            _make_way(final)
            building.rename(final)
        finally:
            remove_index(building, FILES)
        if remember or not (final.parent / _SETTINGS).exists():
            _remember(library, settings)
        own = _folder(library, load_settings(None, (), remembered_settings(library)))
        for other in final.parent.iterdir():
            if other not in (final, own):
                remove_index(other, FILES)
    _share(library, lambda remote: put_index(remote, final))
    return _load(library, settings, final)


def _share(library: Library, put: Callable[[Remote], None]) -> None:
    """Put something on the object storage that the library lies on, if any."""
    remote = remote_of(library.folder)
    if remote is None:
        return
    try:
        put(remote)
    except StorageError as error:  # whoever may only read has made it for this machine
        _log.warning("the index stays on this machine: %s", error)


def _index_meanwhile(library: Library, settings: Settings, tell: Told) -> SearchIndex:
    """Return an index to search with while another process writes to the library."""
    busy = f"another process is writing to {library.folder}"
    for part in _indexed_parts(library, settings):
        with contextlib.suppress(RtsearchError, OSError):  # or it is damaged, or replaced at this moment
            index = _load(part, settings, _folder(part, settings))
            tell(f"{busy}: searching {_objects(part)} of {library.object_count:,}, those that are indexed")
            return index
    tell(f"{busy}: building an index of {_objects(library)} for this run alone")
    with tempfile.TemporaryDirectory(prefix="rtsearch-") as name, disk_errors(Path(name)):
        _build(library, settings, Path(name))
        return _load(library, settings, Path(name))  # its files go, but stay mapped


def _indexed_parts(library: Library, settings: Settings) -> list[Library]:
    """Parts of a library that there is an index of, the largest first."""
    parts = []
    home = _home(library)
    for folder in home.iterdir() if home.is_dir() else ():
        with contextlib.suppress(DamagedError):
            part = library.only(fragments_of(folder))
            if part.object_count and _folder(part, settings) == folder:
                parts.append(part)
    return sorted(parts, key=lambda part: part.object_count, reverse=True)


def _objects(library: Library) -> str:
    n = library.object_count
    return f"{n:,} object{'' if n == 1 else 's'}"


def _require_objects(library: Library) -> None:
    if not library.object_count:
        photos, failed = library.photo_count, library.failed_count
        if photos and photos == failed:
            raise LibraryError(
                f"{library.folder} holds no objects to search: none of its photos ({photos:,}) could be "
                f"read; analyse others: rtsearch analyze PHOTOS {library.folder}"
            )
        raise LibraryError(
            f"{library.folder} holds no objects to search; analyse other photos, or with a lower "
            "detect.threshold, or with detect.whole_image=true"
        )


def _make_way(folder: Path) -> None:
    """Remove an index that is to be replaced."""
    if not remove_index(folder, FILES):
        raise LibraryError(f"{folder} is in the way of the index and holds foreign files: move it elsewhere")


def remembered_settings(library: Library) -> dict[str, dict[str, Any]]:
    """The settings that a library was made and indexed with, by section.

    They decide whether vectors compare, and what is searched: whoever opens the library wants the same.

    Raises:
        DamagedError: the manifest has settings that there are not.
    """
    made = library.manifest.settings
    remembered: dict[str, dict[str, Any]] = {"model": {}, "describe": {}}
    for section, keys in (("model", ("name", "size")), ("describe", ("embedder",))):
        remembered[section] |= {
            key: made[section][key]
            for key in keys
            if key in made.get(section, {}) and _may_be_named(library.folder, made[section][key])
        }
    try:
        Settings.model_validate(remembered)
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        raise damaged_manifest(library.folder, f"settings.{place}: {error.errors()[0]['msg']}") from None
    path, elsewhere = _home(library) / _SETTINGS, library.elsewhere
    try:
        text = read_regular(path, _MOST_SETTINGS_BYTES) if elsewhere is None else elsewhere.shape
        shape = Settings.model_validate_json(text)
        for section, fields in shape.model_dump(mode="json", include=_SHAPE).items():
            remembered.setdefault(section, {}).update(fields)
    except FileNotFoundError:
        pass
    except (OSError, ValueError):
        _log.warning("%s cannot be read: the index has the default settings", path)
    return remembered


def _may_be_named(folder: Path, value: Any) -> bool:
    """Tell whether a manifest may say this of a network: no file that may have come with the library.

    Others give their library a network's name, or a path that whoever analyses has made absolute.
    """
    path = Path(str(value))
    is_name = path.suffix != ".onnx" and path.parent == Path()
    if is_name or (path.is_absolute() and not path.resolve().is_relative_to(folder.resolve())):
        return True
    _log.warning(
        "the network %s that %s names is left out, for it may have come with it; name it yourself",
        path,
        folder,
    )
    return False


def _remember(library: Library, settings: Settings) -> None:
    text = shape_json(settings).encode()
    path = _home(library) / _SETTINGS
    with contextlib.suppress(OSError):
        if read_regular(path, _MOST_SETTINGS_BYTES) == text:
            return
    with disk_errors(library.folder):
        write_atomic(path, text)
    _share(library, lambda remote: remote.put_settings(text))


def shape_json(settings: Settings) -> str:
    """Return the settings that shape an index, as JSON."""
    return json.dumps(settings.model_dump(mode="json", include=_SHAPE))


def _folder(library: Library, settings: Settings) -> Path:
    shape = json.dumps(settings.model_dump(mode="json", include=_SHAPE), sort_keys=True)
    key = hashlib.sha256(f"{_FORMAT} {library.stamp} {shape}".encode()).hexdigest()[:16]
    return _home(library) / key


def _home(library: Library) -> Path:
    return own_folder(library.folder / "index")


def _build(library: Library, settings: Settings, folder: Path) -> None:
    vectors = (batch["vector"] for batch in library.objects(("vector",)))
    projection = Projection.fit(vectors, settings.project, _blocks(library), settings.describe.meaning)
    projection.save(folder)
    searched = np.empty((library.object_count, projection.dim), np.float32)
    table = empty_table(library.object_count)
    at, stored = 0, [name for name in TABLE if name != "colours"]
    for batch in library.objects(("vector", *stored)):
        end = at + len(batch["vector"])
        searched[at:end] = projection.apply(batch["vector"])
        batch["colours"] = stored_colours(batch["vector"], _blocks(library))
        for name, column in table.items():
            column[at:end] = batch[name]
        at = end
    tree = KDTree.build(stored_points(searched))
    tree.save(folder)
    whole = table["label"] == WHOLE_IMAGE_LABEL
    table["leader"] = leaders(tree, searched, projection.looks, table["photo"], whole)
    for name, column in table.items():
        np.save(folder / f"{name}.npy", column)
    PhotoPaths.save(folder, library.photos().path)
    write_list(folder, _FORMAT, [fragment.name for fragment in library.fragments])


def _load(library: Library, settings: Settings, folder: Path) -> SearchIndex:
    check_files(folder)
    if remote_of(library.folder) is not None:
        os.utime(folder)  # the cache keeps what was used last
    n = library.object_count
    table, paths = load_table(folder, n), PhotoPaths.load(folder, library.photo_count)
    counts = {"photo": len(paths), "label": len(library.space.class_names), "pack": len(library.fragments)}
    for name, count in counts.items():
        least = WHOLE_IMAGE_LABEL if name == "label" else 0
        if table[name].min() < least or table[name].max() >= count:
            raise DamagedError(f"{folder / name}.npy has numbers that name nothing")
    if not np.isfinite(table["xyxy"]).all():
        raise DamagedError(f"{folder} has boxes that are not finite")
    if not are_times(table["times_s"]):
        raise DamagedError(f"{folder} has times that are none")
    check_leaders(folder, table["leader"])
    tree = KDTree.load(folder)
    projection = Projection.load(folder, (library.dim, settings.project.dim), _blocks(library))
    if len(tree) != n or tree.dim != projection.dim:
        raise DamagedError(f"{folder} does not fit its library")
    index = SearchIndex(library, projection, tree, table, paths)
    if settings.search.backend == "tree":
        return index
    database = PostgresTable(
        settings.search.postgres,
        comment_of(index.library, index.projection),
        str(library.folder),
        n,
    )
    return SearchIndex(library, projection, PostgresTree(tree, database), table, paths)


def _blocks(library: Library) -> list[dict[str, Any]]:
    return [block.model_dump() for block in library.space.read_recipe.describe.blocks]
