"""Join libraries that were made of parts of the same photos, without copying their crops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rtsearch.errors import LibraryError
from rtsearch.library.reader import Library
from rtsearch.library.writer import LibraryWriter
from rtsearch.storage import folder_name, in_addresses, library_folder, photo_folder

__all__ = ["MergeReport", "merge_libraries"]


@dataclass(frozen=True, slots=True)
class MergeReport:
    """Result of a merge.

    Attributes:
        added: photos that were taken over, by folder of the part.
        photos, objects: of the library afterwards.
    """

    added: dict[str, int]
    photos: int
    objects: int


def merge_libraries(folder: Path, parts: Sequence[Path], photo_root: Path | None = None) -> MergeReport:
    """Take the photos of other libraries into one; a part that is in it already changes nothing.

    Of a photo that several hold, the last part counts. The parts stay as they are: their files are linked, or
    copied onto another disk.

    Args:
        folder: the library, or its address; made where there is none, with the settings of the first part.
        parts: folders of the others, at least one.
        photo_root: folder of the photos here; None where all libraries know the same one.

    Raises:
        LibraryError: a part is the library itself, or the libraries name different folders of photos.
        FeatureSpaceError: a part was made by another network.
        NotALibraryError, FormatError, DamagedError, LibraryBusyError: as ``LibraryWriter.open``.
    """
    folder, parts = library_folder(folder), [library_folder(part) for part in parts]
    if folder in parts or (
        folder.exists() and any(part.exists() and part.samefile(folder) for part in parts)
    ):
        raise LibraryError(f"{folder} cannot be merged into itself; name it first, then the others")
    once = {part.resolve(): part for part in reversed(parts)}  # links may name one twice
    opened = [Library.open(part) for part in reversed(once.values())]  # all, before anything is written
    root = _common_root(opened) if photo_root is None else photo_folder(photo_root)
    first = opened[0]
    for library in opened:
        library.require(first.space.recipe)
    with LibraryWriter.open(folder, first.space, photo_root=root, settings=first.manifest.settings) as writer:
        if photo_root is None and writer.manifest.photo_root != folder_name(root):
            raise _different_roots(f"{folder}, of {writer.manifest.photo_root}", first)
        writer.move(root)
        added = {
            in_addresses(str(library.folder)): writer.adopt(library.folder, library.fragments)
            for library in opened
        }
        fragments = writer.manifest.fragments
    return MergeReport(added, sum(f.photos for f in fragments), sum(f.objects for f in fragments))


def _common_root(libraries: Sequence[Library]) -> Path:
    first = libraries[0]
    for library in libraries[1:]:
        if library.manifest.photo_root != first.manifest.photo_root:
            raise _different_roots(f"{library.folder}, of {library.manifest.photo_root}", first)
    return photo_folder(first.manifest.photo_root)


def _different_roots(other: str, first: Library) -> LibraryError:
    return LibraryError(
        f"{first.folder} holds photos of {first.manifest.photo_root}, unlike {other}: if both mean the "
        "same photos, name their folder here with --photos FOLDER"
    )
