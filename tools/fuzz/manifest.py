"""Fuzz a library's manifest; the checksum of each input is made right, as whoever forges one would do."""

from __future__ import annotations

import json

from inputs import changed_json
from made import make_library, own_folder

from rtsearch.cli.printable import printable
from rtsearch.errors import RtsearchError
from rtsearch.library import Library, check_library, cut_files
from rtsearch.library.files import MANIFEST_NAME
from rtsearch.library.index import remembered_settings
from rtsearch.library.manifest import fingerprint_of

__all__ = ["Target"]


class Target:
    """Opens the library, and uses all that commands read of a manifest."""

    most_bytes = 1 << 14
    mutate = staticmethod(changed_json)

    def __init__(self) -> None:
        self._folder = own_folder()
        make_library(self._folder)
        self._path = self._folder / MANIFEST_NAME
        whole = self._path.read_bytes()
        self.seeds = [whole, json.dumps(json.loads(whole) | {"version": 1, "fragments": []}).encode()]

    def __call__(self, data: bytes) -> None:
        self._path.write_bytes(_signed(data))
        try:
            library = Library.open(self._folder)
            printable(json.dumps(library.info()))
            remembered_settings(library)
            library.require({"model": "another", "describe": {"blocks": []}})
        except RtsearchError as error:
            printable(str(error)).encode()
        try:
            library = Library.open(self._folder)
            cut_files(library)
            check_library(library)
            Library(self._folder, library.manifest).photo_path("x.jpg")
            [str(path) for path in library.pack_paths]
        except RtsearchError:
            pass


def _signed(data: bytes) -> bytes:
    try:
        document = json.loads(data)
        if not isinstance(document, dict):
            return data
        document.pop("checksum", None)
        document["checksum"] = fingerprint_of(document)
        return json.dumps(document).encode()
    except (ValueError, RecursionError):
        return data
