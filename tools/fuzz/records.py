"""Fuzz records of runs as a replay reads them: JSON lines, the only format that is read again."""

from __future__ import annotations

import json

import numpy as np
from inputs import changed_json
from made import make_library, own_folder

from rtsearch.config import load_settings
from rtsearch.errors import RtsearchError
from rtsearch.jobs.replay import _RecordLookup
from rtsearch.library import Library
from rtsearch.library.index import build_index
from rtsearch.recording import Recording
from rtsearch.sources import Source
from rtsearch.types import Frame

__all__ = ["Target"]

_FRAMES, _FPS, _WH = 4, 10.0, (64, 48)


class _Video(Source):
    def __init__(self) -> None:
        super().__init__("clip.mp4", fps=_FPS, frames=_FRAMES, wh=_WH)

    def __next__(self) -> Frame:
        raise StopIteration

    def close(self) -> None:
        pass


class Target:
    """Looks every frame of a video up in a record, in order and after a jump."""

    most_bytes = 1 << 14
    mutate = staticmethod(changed_json)

    def __init__(self) -> None:
        folder = own_folder()
        make_library(folder / "lib")
        settings = load_settings(None, ["project.dim=4"])
        self._index = build_index(Library.open(folder / "lib"), settings)
        self._show = settings.show
        self._path = folder / "record.jsonl"
        self._bgr = np.zeros((_WH[1], _WH[0], 3), np.uint8)
        lines = [self._line(i) for i in range(_FRAMES)]
        elsewhere = [{key: line[key] for key in ("frame", "t_s", "objects")} for line in lines]
        self.seeds = [
            b"".join(json.dumps(line).encode() + b"\n" for line in kind) for kind in (lines, elsewhere)
        ]

    def _line(self, i: int) -> dict[str, object]:
        near = [{"row": row, "photo": self._index.photo(row)} for row in (0, i)]
        box = {"track": i, "label": "cat", "score": 0.5, "xyxy": [1, 2, 30, 40]}
        held = {**box, "track": 9, "rows": [1], "strip": 1}
        line = {
            "frame": i,
            "t_s": i / _FPS,
            "objects": [{**box, "neighbours": near}],
            "shown": [{"track": i, "rows": [0, i], "strip": 0}, held],
        }
        return (
            line if i else {**line, "video": {"name": "clip.mp4", "frames": _FRAMES, "wh": _WH, "fps": _FPS}}
        )

    def __call__(self, data: bytes) -> None:
        self._path.write_bytes(data)
        try:
            with Recording(self._path) as recording:
                lookup = _RecordLookup(recording, self._index, _Video())
                for i in (*range(_FRAMES), 1):
                    try:
                        lookup(Frame(i, float(i), i / _FPS, self._bgr), self._show, jumped=False)
                    except RtsearchError as error:
                        str(error).encode(errors="replace")
        except RtsearchError:
            pass
