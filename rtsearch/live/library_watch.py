"""A library that grows while it plays: its new state is opened beside the frames, and searched from one on.

    manifest.json is another one -> opened, narrowed, warmed up, in a thread -> put in force -> the next frame

Until all of the new state is there, and where it cannot be used, the state before is searched on.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from rtsearch._util.closing import Closing
from rtsearch._util.wording import counted, one_line
from rtsearch.config import Settings
from rtsearch.errors import DamagedError, LibraryBusyError, RtsearchError, ServiceError
from rtsearch.library import Library
from rtsearch.library.files import MANIFEST_NAME
from rtsearch.library.index import SearchIndex, build_index, open_index, ready_index
from rtsearch.library.likeness import largest_distance
from rtsearch.library.narrowing import narrow
from rtsearch.live.controls import Controls
from rtsearch.service import RemoteLibrary

__all__ = ["LibraryWatch", "follow_library", "watch_library"]

_log = logging.getLogger(__name__)

_ASK_S = 2.0  # between two questions to a server
_LOOK_S = 0.5  # between two looks at the manifest, which cost a system call each
_PATIENCE_S = 10.0  # for the index of a new state, which its writer builds, before it is built here
_JOIN_S = 2.0

Mark = tuple[int, int, int] | str
"""Changes whenever the library may have."""
_NEVER: Mark = (0, 0, 0)


class LibraryWatch(Closing):
    """Looks out for new states of a library, in a thread of its own.

    Args:
        index: searched at the beginning.
        settings: gives those in force.
        put: gets the index of each new state, ready to be searched, from that thread.
        tell: gets a line about each, too.
    """

    _look_s = _LOOK_S

    def __init__(
        self,
        index: SearchIndex,
        settings: Callable[[], Settings],
        put: Callable[[SearchIndex], None],
        tell: Callable[[str], None] = _log.info,
    ) -> None:
        self._settings = settings
        self._put = put
        self._tell = tell
        self._library = index.library  # in force
        self._manifest: Mark | None = _NEVER  # that was looked at last; None where there was none
        self._coming: Library | None = None  # new state whose index is not there yet
        self._since_s = 0.0
        self._problem = ""  # said last
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="library", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread; one that the disk holds up is left behind."""
        self._closed.set()
        self._thread.join(_JOIN_S)

    def _work(self) -> None:
        while not self._closed.is_set():
            try:
                self._look()
            except ServiceError as error:  # the new state is taken up when its database or server has it
                self._warn(one_line(error))
            except Exception as error:
                self._coming = None
                self._warn(one_line(error))
            self._closed.wait(self._look_s)

    def _warn(self, problem: str) -> None:
        """Say once why a new state cannot be searched."""
        if problem != self._problem:
            _log.warning("%s is searched as it was: %s", self._library.folder, problem)
        self._problem = problem

    def _look(self) -> None:
        """Put the newest state of the library in force, if it is complete."""
        manifest = self._mark()
        if manifest != self._manifest:
            self._manifest, self._coming, self._since_s = manifest, None, time.monotonic()
            self._coming = self._new_state()
        settings = self._settings()
        index = None if self._coming is None else self._complete(self._coming, settings)
        if index is None:
            return
        index = _ready(index, settings)
        if settings.describe != self._settings().describe:  # another index is wanted by now
            return
        self._library, self._coming, self._problem = index.library, None, ""
        self._put(index)
        photos = counted(self._library.photo_count, "photo")
        self._tell(f"the library now holds {counted(len(index), 'object')} from {photos}")

    def _mark(self) -> Mark | None:
        """Return what changes whenever the manifest is replaced; None where it is gone."""
        with contextlib.suppress(OSError):
            stat = (self._library.folder / MANIFEST_NAME).stat()
            return stat.st_ino, stat.st_mtime_ns, stat.st_size
        return None

    def _new_state(self) -> Library | None:
        """Open the library as it is on the disk; None where its objects are those that are searched.

        Raises:
            LibraryError: it cannot be searched.
        """
        before = self._library
        moved = before.photo_root if before.photo_root != Path(before.manifest.photo_root) else None
        library = Library.open(before.folder, moved)
        library.require(before.space.recipe)
        return None if library.stamp == before.stamp else library

    def _complete(self, library: Library, settings: Settings) -> SearchIndex | None:
        """Return the index of a new state; None while its writer has yet to build it.

        Raises:
            LibraryError: there is nothing to search, or the index that nobody else has built cannot be built.
        """
        with contextlib.suppress(DamagedError):  # it is built anew below
            if (index := ready_index(library, settings)) is not None:
                return index
        if time.monotonic() - self._since_s < _PATIENCE_S:
            return None
        self._since_s = time.monotonic()
        with contextlib.suppress(LibraryBusyError):  # more is to come
            return build_index(library, settings, remember=False)
        return None


def _ready(index: SearchIndex, settings: Settings) -> SearchIndex:
    """Return an index with which no frame has to wait for anything."""
    with contextlib.suppress(RtsearchError):  # said where it is searched
        index = narrow(index, settings.search, distinct=settings.show.distinct)
    index.warm_up(settings.show.results)
    largest_distance(index, settings.show.max_distance)
    return index


class _RemoteWatch(LibraryWatch):
    """Asks a server for new states of its library."""

    _look_s = _ASK_S
    _library: RemoteLibrary

    def _mark(self) -> Mark | None:
        with contextlib.suppress(ServiceError):  # it is looked for, and told about, by the connection
            return self._library.newest().state
        return self._manifest

    def _new_state(self) -> Library | None:
        library = self._library.newest()
        library.require(self._library.space.recipe)
        return None if library is self._library else library

    def _complete(self, library: Library, settings: Settings) -> SearchIndex | None:
        return open_index(library, settings)


def watch_library(
    index: SearchIndex,
    settings: Callable[[], Settings],
    put: Callable[[SearchIndex], None],
    tell: Callable[[str], None] = _log.info,
) -> LibraryWatch:
    """Look out for new states of a library on this machine or of a server; see ``LibraryWatch``."""
    kind = _RemoteWatch if isinstance(index.library, RemoteLibrary) else LibraryWatch
    return kind(index, settings, put, tell)


def follow_library(
    index: SearchIndex, settings: Settings, controls: Controls, tell: Callable[[str], None] = _log.info
) -> LibraryWatch:
    """Search the newest state of a library in a run, until what is returned is closed.

    Args:
        index: that the run begins with.
        settings: it was opened with.
        controls: of the run.
        tell: gets a line about each new state, from another thread.
    """

    def now() -> Settings:
        state = controls.now
        return settings.model_copy(update={"search": state.search, "show": state.show})

    return watch_library(index, now, lambda newer: controls.change(index=newer), tell)
