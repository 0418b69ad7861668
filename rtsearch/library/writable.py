"""Making a folder ready for a writer: a new library or an old one, without what a killed writer has left."""

from __future__ import annotations

from pathlib import Path

from rtsearch.errors import NotALibraryError
from rtsearch.library.files import LOCK_NAME, MANIFEST_NAME
from rtsearch.library.manifest import PARTS, Manifest
from rtsearch.library.reader_lock import without_readers
from rtsearch.library.remote import Remote
from rtsearch.library.sweep import final_name, own_folder, remove_fragments, remove_temporaries

__all__ = ["begin", "make_folder", "remove_unnamed"]


def make_folder(folder: Path, remote: Remote | None) -> None:
    """Make the folder of a library that is missing.

    Args:
        folder: the library, or its working copy.
        remote: library on object storage that the folder is the working copy of.

    Raises:
        NotALibraryError: it holds something else, or is no folder.
        OSError: the disk refuses.
    """
    if folder.exists() and not folder.is_dir():
        raise NotALibraryError(f"{folder} is no folder; choose another place for the library")
    folder.mkdir(parents=True, exist_ok=True, mode=0o777 if remote is None else 0o700)
    if (folder / MANIFEST_NAME).exists() or remote is not None:
        return
    # A kill while the very first manifest was written leaves these two, and nothing else.
    entries = (entry for entry in folder.iterdir() if final_name(entry) != MANIFEST_NAME)
    others = {entry.name for entry in entries} - {LOCK_NAME}
    if others:
        raise NotALibraryError(
            f"{folder} is no library and holds other files ({min(others)}); choose another or an empty folder"
        )


def begin(folder: Path, new: Manifest, remote: Remote | None) -> Manifest:
    """Read the manifest of a library, or write one; take away what a killed writer has left.

    Args:
        folder: the library, locked for writing.
        new: manifest of a library without photos, which is written where there is none.
        remote: library on object storage that the folder is the working copy of.

    Returns:
        the manifest that counts.

    Raises:
        FeatureSpaceError: the library has another feature space than ``new``.
        FormatError, DamagedError, NotALibraryError: as for ``Manifest.read``.
        OSError: the disk refuses.
        StorageError: the object storage cannot be reached, or refuses.
    """
    remove_temporaries(folder, MANIFEST_NAME)
    if remote is not None:
        remote.pull()
    manifest = _manifest(folder, new, remote)
    for part in PARTS:
        own_folder(folder / part).mkdir(exist_ok=True)
    if remote is not None:  # whatever the manifest names lies on the storage
        remove_fragments(folder, ())
    remove_unnamed(folder, manifest, begins=True)
    return manifest


def _manifest(folder: Path, new: Manifest, remote: Remote | None) -> Manifest:
    if (folder / MANIFEST_NAME).exists():
        manifest = Manifest.read(folder)
        manifest.space.require(new.space.recipe, folder)
        return manifest
    if remote is not None:
        remote.expect_no_others()
        remote.commit(new, None)
    new.write(folder)
    return new


def remove_unnamed(folder: Path, manifest: Manifest, *, begins: bool = False) -> None:
    """Take away what a killed writer left and what a commit has replaced, unless a reader may still want it.

    Args:
        folder: the library.
        manifest: names what stays.
        begins: nothing is written yet; where nobody can tell who reads, files that were replaced have stayed
            until now.
    """
    named = {fragment.path(folder, part) for fragment in manifest.fragments for part in PARTS}
    with without_readers(folder) as alone:
        if alone or (alone is None and begins):
            remove_fragments(folder, named)
