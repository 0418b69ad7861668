"""Fuzz the conversion of checkpoints: the pickle in a whole zip, and zips as they come."""

from __future__ import annotations

import zipfile

import nets
from made import own_folder

from rtsearch.errors import RtsearchError
from rtsearch.models.checkpoint import read_checkpoint
from rtsearch.models.ultralytics import yolo26

__all__ = ["Target"]

_WHOLE_ZIP = 0


class Target:
    """Converts a checkpoint; an input that begins with 0 is the whole file, any other the pickle in it."""

    most_bytes = 1 << 16
    mutate = None

    def __init__(self) -> None:
        folder = own_folder()
        self._path = folder / "best.pt"
        whole = nets.checkpoint(folder / "whole.pt", nets.tiny_yolo26())
        with zipfile.ZipFile(whole) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        self._pickle = next(name for name in members if name.endswith("data.pkl"))
        pickled = members.pop(self._pickle)
        self._others = members
        small = folder / "small.pt"
        with zipfile.ZipFile(small, "w") as archive:
            archive.writestr("best/data.pkl", b"\x80\x02}q\x00X\x05\x00\x00\x00modelq\x01Ns.")
            archive.writestr("best/data/0", bytes(24))
        self.seeds = [b"\1" + pickled, b"\0" + small.read_bytes()]

    def __call__(self, data: bytes) -> None:
        if data[:1] == bytes([_WHOLE_ZIP]):
            self._path.write_bytes(data[1:])
        else:
            with zipfile.ZipFile(self._path, "w") as archive:
                for name, content in self._others.items():
                    archive.writestr(name, content)
                archive.writestr(self._pickle, data[1:])
        try:
            yolo26(read_checkpoint(self._path))
        except RtsearchError as error:
            str(error).encode(errors="replace")
