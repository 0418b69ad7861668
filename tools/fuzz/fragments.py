"""Fuzz the files of a fragment; their lengths and hashes in the manifest are made right."""

from __future__ import annotations

import contextlib
import shutil

from made import make_library, own_folder

from rtsearch.errors import RtsearchError
from rtsearch.library import Library, LibraryWriter, check_library, export_npz
from rtsearch.library.files import MANIFEST_NAME, sha256_of
from rtsearch.library.manifest import PARTS, Manifest, StoredFile

__all__ = ["Target"]


class Target:
    """Reads a library, exports it, takes a photo out of it and checks it; the first byte chooses the file."""

    most_bytes = 1 << 13
    mutate = None

    def __init__(self) -> None:
        folder = own_folder()
        self._sound, self._folder, self._out = folder / "sound", folder / "lib", folder / "out.npz"
        make_library(self._sound)
        self._manifest = Manifest.read(self._sound)
        first = self._manifest.fragments[0]
        self.seeds = [bytes([i]) + first.path(self._sound, part).read_bytes() for i, part in enumerate(PARTS)]

    def __call__(self, data: bytes) -> None:
        self._forge(data[0] if data else 0, data[1:])
        try:
            library = Library.open(self._folder)
        except RtsearchError:
            return
        with contextlib.suppress(RtsearchError):
            library.photos()
        with contextlib.suppress(RtsearchError):
            export_npz(library, self._out)
        check_library(library)
        del library
        space, root = self._manifest.space, self._folder
        with (
            contextlib.suppress(RtsearchError),
            LibraryWriter.open(self._folder, space, photo_root=root) as writer,
        ):
            writer.drop(["é/0 a.jpg"])

    def _forge(self, choice: int, content: bytes) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        shutil.copytree(self._sound, self._folder)
        part = list(PARTS)[choice % len(PARTS)]
        first, *others = self._manifest.fragments
        path = first.path(self._folder, part)
        path.write_bytes(content)
        stored = StoredFile(bytes=len(content), sha256=sha256_of(path))
        files = first.files.model_copy(update={part: stored})
        forged = first.model_copy(update={"files": files})
        manifest = self._manifest.model_copy(update={"fragments": (forged, *others)})
        (self._folder / MANIFEST_NAME).unlink()
        manifest.write(self._folder)
