"""Commands run in the test's own process, and what they did."""

from __future__ import annotations

import dataclasses
import json

OBJECT_KEYS = ["track", "xyxy", "label", "score", "neighbours"]
NEIGHBOUR_KEYS = ["row", "photo", "xyxy", "label", "distance", "folded"]


@dataclasses.dataclass
class Done:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        """Its one line of JSON."""
        assert self.out.count("\n") == 1, self.out
        return json.loads(self.out)

    @property
    def complaint(self) -> str:
        """Its one line about what is wrong; earlier lines may have said how far it came."""
        assert self.code == 2, self
        assert self.out == "", self
        lines = self.err.splitlines()
        assert lines, self
        assert lines[-1].startswith("rtsearch: "), self
        assert sum(line.startswith("rtsearch: ") for line in lines) == 1, self
        assert "Traceback" not in self.err
        return lines[-1]
