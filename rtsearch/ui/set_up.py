"""Set-up mode of the window: parts of the picture are set in which objects count, or not."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rtsearch._util.wording import one_line
from rtsearch.config.edit import save_settings
from rtsearch.errors import ConfigError
from rtsearch.live import Controls

__all__ = ["SetUp"]

_log = logging.getLogger(__name__)

_OWN_FILE = "rtsearch.yaml"  # in the current folder


class SetUp:
    """Carries out the keys of set-up mode; corners are clicked (``Controls.corner``).

    Args:
        controls: of the run; ``sets_up`` tells whether the mode is on.
        file: settings file that gets the parts, made if missing; None for one in the current folder.
        tell: shows a message for some seconds.
    """

    def __init__(self, controls: Controls, file: Path | None, tell: Callable[[str, float], None]) -> None:
        self._controls = controls
        self._file = file or Path(_OWN_FILE)
        self._tell = tell

    def toggle(self) -> None:
        """Begin, or end; corners that make no part yet are forgotten."""
        now = self._controls.now
        self._controls.change(sets_up=not now.sets_up, areas=replace(now.areas, pending=None))

    def finish(self, *, counts: bool) -> None:
        """Make a part of the corners, in which objects count, or do not."""
        before = self._controls.now.areas
        after = before.finished(counts=counts)
        if after == before:
            self._tell("click three corners first", 2.5)
        self._controls.change(areas=after)

    def take_back(self) -> None:
        """Take the last corner or the last part back."""
        self._controls.change(areas=self._controls.now.areas.taken_back())

    def save(self) -> None:
        """Write the parts into the settings file."""
        try:
            save_settings(self._file, self._controls.now.areas.settings())
            told = f"saved to {self._file}, for --config"
        except ConfigError as error:
            told = one_line(error)
        self._tell(told, 4.0)
        _log.info("%s", told)
