"""Fuzz the files of an index; their lengths and hashes in its list are made right."""

from __future__ import annotations

import shutil

import numpy as np
from made import make_library, own_folder

from rtsearch.cli.printable import printable
from rtsearch.config import load_settings
from rtsearch.errors import RtsearchError
from rtsearch.library import Library
from rtsearch.library.index import _FORMAT, _folder, _load, build_index, remembered_settings
from rtsearch.library.index_files import FILES, LIST_NAME, write_list
from rtsearch.library.thumbnails import ThumbCache

__all__ = ["Target"]

_SETTINGS_NAME = "settings.json"


class Target:
    """Opens an index and asks it for everything it knows; the first byte of an input chooses the file."""

    most_bytes = 1 << 13
    mutate = None

    def __init__(self) -> None:
        folder = own_folder()
        make_library(folder)
        self._library = Library.open(folder)
        self._settings = load_settings(None, ["project.dim=4"])
        index = build_index(self._library, self._settings)
        self._query = index.points(np.array([0], np.int32))
        self._index = _folder(self._library, self._settings)
        self._remembered = self._index.parent / _SETTINGS_NAME
        self._sound = folder / "sound"
        shutil.copytree(self._index, self._sound)
        # A tree is larger than all others, and has a target of its own.
        self._names = [*sorted(name for name in FILES if not name.endswith(".bin")), _SETTINGS_NAME]
        paths = [self._remembered if name == _SETTINGS_NAME else self._sound / name for name in self._names]
        self.seeds = [bytes([i]) + path.read_bytes() for i, path in enumerate(paths)]

    def __call__(self, data: bytes) -> None:
        name = self._names[(data[0] if data else 0) % len(self._names)]
        if name == _SETTINGS_NAME:
            self._remembered.write_bytes(data[1:])
            remembered_settings(self._library)
            return
        shutil.rmtree(self._index)
        shutil.copytree(self._sound, self._index)
        (self._index / name).write_bytes(data[1:])
        if name != LIST_NAME:
            (self._index / LIST_NAME).unlink()
            write_list(self._index, _FORMAT, [fragment.name for fragment in self._library.fragments])
        try:
            index = _load(self._library, self._settings, self._index)
        except RtsearchError:
            return
        rows = np.arange(len(index), dtype=np.int32)
        index.near(self._query, 5)
        for hit in index.hits(rows):
            printable(hit["photo"]).encode()
        crops = ThumbCache(index.thumb_places, 1 << 20)
        for row in rows.tolist():
            crops.get(row, 8)
        crops.close()
