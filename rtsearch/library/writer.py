"""Writing a library: one writer at a time, fragments committed whole, the manifest last.

    with LibraryWriter.open(folder, space, photo_root=root) as writer:
        writer.drop(paths)              # photos that are gone
        writer.add(photo, objects, thumbs)
        writer.renew(photo)             # another row for a photo that is there; its objects stay
        writer.commit()                 # what was added and renewed since the last commit now counts

A photo that is added again keeps its old rows until the commit that brings the new ones. A kill at any
instant loses what was added since the last commit; the next writer takes away the files that the manifest
does not name, once no reader has them open. What has not been committed when the block ends is forgotten.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np

from rtsearch._util.closing import Closing
from rtsearch.errors import DamagedError
from rtsearch.library.files import disk_errors, library_lock
from rtsearch.library.fragment import FragmentWriter, adopted, is_taken, read_photos, with_photos
from rtsearch.library.integrity import Problem, check_fragment
from rtsearch.library.manifest import FeatureSpace, Fragment, Manifest
from rtsearch.library.remote import Remote, remote_of
from rtsearch.library.rewriting import Part, rewritten
from rtsearch.library.schema import ObjectRows, PhotoRow, PhotoTable
from rtsearch.library.writable import begin, make_folder, remove_unnamed
from rtsearch.storage import folder_name, library_folder, photo_folder

__all__ = ["LibraryWriter"]


class LibraryWriter(Closing):
    """A library opened for writing; made by ``open``, ended by leaving its ``with`` block.

    Args:
        folder: the library.
        manifest: as it stands on disk.
        lock: what ``close`` releases.
        remote: library on object storage that the folder is the working copy of.
    """

    def __init__(
        self, folder: Path, manifest: Manifest, lock: contextlib.ExitStack, remote: Remote | None = None
    ) -> None:
        self.folder = folder
        self._remote = remote
        self.manifest = manifest
        self._lock = lock
        self._open: FragmentWriter | None = None
        self._added: set[str] = set()
        self._renewed: dict[str, PhotoRow] = {}
        self._paths: dict[str, frozenset[str]] = {}
        self._doubted: dict[str, set[str] | None] = {}  # photos to be looked at again, of damaged fragments

    @classmethod
    def open(
        cls,
        folder: Path,
        space: FeatureSpace,
        *,
        photo_root: Path,
        settings: Mapping[str, Any] | None = None,
    ) -> LibraryWriter:
        """Open a library for writing; make it when the folder is missing or empty.

        Args:
            folder: the library, or its address on object storage.
            space: feature space of what will be added.
            photo_root: folder that photo paths are relative to.
            settings: what a new library remembers of the run that made it.

        Raises:
            NotALibraryError: the folder holds something else.
            LibraryBusyError: another process writes.
            FeatureSpaceError: the library has another feature space.
            FormatError, DamagedError: as ``Library.open``.
            LibraryError: the disk refuses.
            StorageError: the object storage cannot be reached, or refuses.
        """
        folder, root = library_folder(folder), folder_name(photo_folder(photo_root))
        remote = remote_of(folder)
        with contextlib.ExitStack() as stack:
            with disk_errors(folder):
                make_folder(folder, remote)
            stack.enter_context(library_lock(folder))
            new = Manifest(space=space, settings=dict(settings or {}), photo_root=root)
            with disk_errors(folder):
                manifest = begin(folder, new, remote)
            return cls(folder, manifest, stack.pop_all(), remote)
        raise AssertionError("unreachable")  # ExitStack never swallows here

    def close(self) -> None:
        """Forget what is not committed and let other writers in."""
        if self._open is not None:
            self._open.discard()
            self._open = None
        self._lock.close()

    @property
    def open_photos(self) -> int:
        """Photos added and renewed since the last commit."""
        return len(self._added) + len(self._renewed)

    def photos(self) -> PhotoTable:
        """Return all committed photos but those of doubted fragments.

        Raises:
            DamagedError: a photo table is damaged; it is named.
        """
        table = PhotoTable.empty()
        for fragment in self.manifest.fragments:
            if fragment.name not in self._doubted:
                table.extend(self._read(fragment))
        return table

    def add(self, photo: PhotoRow, objects: ObjectRows | None = None, thumbs: Sequence[bytes] = ()) -> None:
        """Add a photo that was looked at, with its objects and one JPEG for each.

        It takes the place of the photo of the same path, if the library holds one, at the next commit.

        Raises:
            VectorError: a vector has NaN or infinity; nothing was added.
            LibraryError: the disk refuses; what was committed is kept.
        """
        with disk_errors(self.folder):
            if self._open is None:
                self._open = self._new_fragment()
            self._open.add_photo(photo, objects, thumbs)
            self._added.add(photo.path)

    def renew(self, photo: PhotoRow) -> None:
        """Give a photo of the library another row, such as one with a new date, at the next commit."""
        self._renewed[photo.path] = photo

    def commit(self) -> None:
        """Make what was added and renewed since the last commit count.

        Raises:
            DamagedError: a fragment that holds one of the photos is damaged; it is named.
            LibraryError: the disk refuses; what was committed before is kept.
        """
        if not self.open_photos:
            return
        with disk_errors(self.folder):
            fragments = self._without(self._added, self._renewed)
            if self._open is not None:
                fragments.append(self._open.finish())
                self._paths[fragments[-1].name] = frozenset(self._added)
            self._open, self._added, self._renewed = None, set(), {}
            self._replace(tuple(fragments))

    def move(self, photo_root: Path) -> None:
        """Remember that the photos are in another folder now, under the same relative paths."""
        root = folder_name(photo_folder(photo_root))
        if root != self.manifest.photo_root:
            with disk_errors(self.folder):
                self._write(self.manifest.model_copy(update={"photo_root": root}))

    def drop(self, paths: Collection[str]) -> int:
        """Take photos and their objects out; the fragments they were in are written anew.

        Returns:
            How many of the photos were there.
        """
        before = sum(fragment.photos for fragment in self.manifest.fragments)
        with disk_errors(self.folder):
            kept = self._without(set(paths), {})
            dropped = before - sum(fragment.photos for fragment in kept)
            if dropped:
                self._replace(tuple(kept))
        return dropped

    def unite(self) -> None:
        """Write all committed fragments anew as one; photos and objects keep their order.

        Raises:
            DamagedError: a fragment is damaged; it is named, and nothing has changed.
            LibraryError: the disk refuses; what was committed is kept.
        """
        if len(self.manifest.fragments) < 2:
            return
        parts = []
        for fragment in self.manifest.fragments:
            photos = self._read(fragment)
            rows = [photos.row(i) for i in range(len(photos))]
            parts.append(Part(fragment, rows, np.ones(len(rows), np.bool_)))
        with disk_errors(self.folder):
            united = self._rewrite(parts)
            self._paths = {united.name: frozenset().union(*self._paths.values())}
            self._replace((united,))

    def adopt(self, source: Path, fragments: Sequence[Fragment]) -> int:
        """Take fragments of another library over; their photos take the place of those of the same path.

        Args:
            source: folder of that library, which stays as it is.
            fragments: of it; those whose files are here already are passed over.

        Returns:
            How many photos were taken over.

        Raises:
            DamagedError: one of the fragments is damaged; nothing was taken over.
            LibraryError: the disk refuses; what was committed is kept.
        """
        here = {fragment.files for fragment in self.manifest.fragments}
        new = [fragment for fragment in fragments if fragment.files not in here]
        paths = [frozenset(read_photos(source, fragment).path) for fragment in new]
        for fragment in new:
            if problems := check_fragment(source, fragment, self.manifest.space.dim):
                raise DamagedError(f"{source} is damaged ({problems[0]}): rtsearch library check {source}")
        with disk_errors(self.folder):
            kept = self._without(frozenset().union(*paths), {})
            for fragment, own in zip(new, paths, strict=True):
                kept.append(adopted(self.folder, fragment, self._new_name(), source))
                self._paths[kept[-1].name] = own
            if new:
                self._replace(tuple(kept))
        return sum(map(len, paths))

    def become(self, source: Path) -> None:
        """Hold what another library holds, its feature space and settings included, and nothing else.

        Args:
            source: folder of that library, which stays as it is.

        Raises:
            DamagedError: a file of it is missing or truncated; nothing has changed.
            LibraryError: the disk refuses; what was committed is kept.
        """
        other = Manifest.read(source)
        with disk_errors(self.folder):
            fragments = tuple(
                adopted(self.folder, each, self._new_name(), source) for each in other.fragments
            )
            self._paths, self._doubted = {}, {}
            taken = {"space": other.space, "settings": other.settings, "photo_root": other.photo_root}
            self._write(self.manifest.model_copy(update={**taken, "fragments": fragments}))
            remove_unnamed(self.folder, self.manifest)

    def doubt_damaged(self) -> list[Problem]:
        """Let the photos of damaged fragments count as never looked at.

        Their rows stay until each of them has been added again or dropped, or ``settle`` is called.

        Returns:
            What is wrong.
        """
        problems: list[Problem] = []
        for fragment in self.manifest.fragments:
            if found := check_fragment(self.folder, fragment, self.manifest.space.dim):
                problems += found
                self._doubted[fragment.name] = self._names(fragment)
        sound = set(self.photos().path)
        for left in self._doubted.values():
            if left is not None:
                left.difference_update(sound)  # looked at again by a run that was stopped
        return problems

    @property
    def doubted(self) -> set[str]:
        """Photos of damaged fragments that are still to be looked at again, where their names can be read."""
        return set().union(*(left for left in self._doubted.values() if left is not None))

    def settle(self, keep: Set[str]) -> None:
        """Take what is left of damaged fragments out of the library.

        Args:
            keep: photos whose rows stay, where they can still be read. A fragment that keeps all of them
                stays as it is, and counts as damaged.
        """
        if not self._doubted:
            return
        kept = []
        with disk_errors(self.folder):
            for fragment in self.manifest.fragments:
                if fragment.name not in self._doubted:
                    kept.append(fragment)
                elif rest := (self._doubted[fragment.name] or set()) & keep:
                    gone = self._paths[fragment.name] - rest
                    with contextlib.suppress(DamagedError):
                        kept.append(self._changed(fragment, gone, {}) if gone else fragment)
            self._doubted = {}
            self._replace(tuple(kept))

    def _names(self, fragment: Fragment) -> set[str] | None:
        """Paths of the photos of a fragment; None where they cannot be read."""
        try:
            return set(self._read(fragment).path)
        except DamagedError:
            return None

    def _read(self, fragment: Fragment) -> PhotoTable:
        photos = read_photos(self.folder, fragment)
        self._paths[fragment.name] = frozenset(photos.path)
        return photos

    def _without(self, gone: Set[str], renewed: Mapping[str, PhotoRow]) -> list[Fragment]:
        """Return the committed fragments without some photos, and with other rows for some."""
        fragments: list[Fragment] = []
        for fragment in self.manifest.fragments:
            if fragment.name in self._doubted:
                left = self._doubted[fragment.name]
                self._doubted[fragment.name] = left and left - gone
                if left is None or left - gone:
                    fragments.append(fragment)
                continue
            if fragment.name not in self._paths:
                self._read(fragment)
            paths = self._paths[fragment.name]
            if paths.isdisjoint(gone) and paths.isdisjoint(renewed):
                fragments.append(fragment)
            elif not paths <= gone:
                fragments.append(self._changed(fragment, gone, renewed))
                self._paths[fragments[-1].name] = paths - gone
        return fragments

    def _changed(self, fragment: Fragment, gone: Set[str], renewed: Mapping[str, PhotoRow]) -> Fragment:
        photos = self._read(fragment)
        rows = [renewed.get(path, photos.row(i)) for i, path in enumerate(photos.path)]
        keep = np.array([path not in gone for path in photos.path], bool)
        if keep.all():
            return with_photos(self.folder, fragment, self._new_name(), rows)
        return self._rewrite([Part(fragment, rows, keep)])

    def _new_name(self) -> str:
        number = self.manifest.next_fragment
        while is_taken(self.folder, f"{number:06d}"):  # by foreign files
            number += 1
        self.manifest = self.manifest.model_copy(update={"next_fragment": number + 1})
        return f"{number:06d}"

    def _new_fragment(self) -> FragmentWriter:
        return FragmentWriter(self.folder, self._new_name(), self.manifest.space.dim)

    def _replace(self, fragments: tuple[Fragment, ...]) -> None:
        """Commit a new list of fragments, then take the files away that nobody names any more."""
        self._write(self.manifest.model_copy(update={"fragments": fragments}))
        remove_unnamed(self.folder, self.manifest)

    def _write(self, manifest: Manifest) -> None:
        """Make a manifest count, on object storage first."""
        if self._remote is not None:
            self._remote.commit(manifest, self.manifest, self._doubted.keys())
        manifest.write(self.folder)
        self.manifest = manifest

    def _rewrite(self, parts: Sequence[Part]) -> Fragment:
        return rewritten(self.folder, self._new_name(), self.manifest.space.dim, parts)
