"""Hold what the requests to one server share: library, network, settings in force, scenes, rules."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydantic import ValidationError

from rtsearch import __version__
from rtsearch._util.masking import masked
from rtsearch.config import Settings
from rtsearch.errors import RtsearchError
from rtsearch.library.index import SearchIndex, open_index
from rtsearch.library.narrowing import narrow
from rtsearch.library.thumbnails import ThumbCache
from rtsearch.live import Controls, LibraryWatch
from rtsearch.live.live_index import LiveIndex
from rtsearch.pipeline import Pipeline
from rtsearch.types import class_name
from rtsearch.web.access import Access
from rtsearch.web.hub import SceneHub
from rtsearch.web.problems import RequestError
from rtsearch.web.served import ServedLibraries, ServedLibrary

__all__ = ["FIRST_PHONE", "Site"]

_log = logging.getLogger(__name__)

FIRST_PHONE = 1000
"""Number of the first phone among the places; those before it are sources of the run."""

_LIVE = {
    "detect": True,
    "show": True,
    "search": {"classes", "folders", "since"},
    "describe": {"meaning"},
    "live": {"loop", "mirror"},
}
"""Settings that can be changed while the server runs."""


@dataclass
class Site:
    """State of one server; its parts are safe to use from several threads.

    Attributes:
        settings: of the start; those that may change are read from ``now``.
        pipeline: its backend takes turns (see ``turns``).
        begun: index of the start; see ``index`` and ``searched``.
        controls: of the live picture.
        access: rules for clients.
        network: name and licence of the network.
        tell: gets a line when the library has changed.
    """

    settings: Settings
    pipeline: Pipeline
    begun: SearchIndex
    controls: Controls
    access: Access
    network: tuple[str, str]
    tell: Callable[[str], None] = _log.info
    hub: SceneHub = field(init=False)
    _served: ServedLibraries = field(init=False)
    _watch: LibraryWatch = field(init=False)
    _meaning: _Meaning = field(init=False)
    _live_index: LiveIndex = field(init=False)

    def __post_init__(self) -> None:
        self._served = ServedLibraries(self.settings.live.cache_mb << 20)
        self._served.now(self.begun)  # whose crops pages ask for by their addresses
        self._live_index = LiveIndex(self.begun)
        self._meaning = _Meaning(self)
        self._watch = LibraryWatch(self.begun, lambda: self.now, self._meaning.turn_to, self.tell)
        self.hub = SceneHub(self.names, self.state, self.settings.web.jpeg_quality)

    @property
    def index(self) -> SearchIndex:
        """Index in force, which knows every object; see ``searched``."""
        index = self.controls.now.index
        return self.begun if index is None else index

    @property
    def fingerprint(self) -> str:
        """Name of the library's state that is in force."""
        return self.index.library.state

    @property
    def thumbs(self) -> ThumbCache:
        """Crops of the library's state that is in force."""
        return self._served.now(self.index).thumbs

    def library_of(self, fingerprint: str) -> ServedLibrary | None:
        """Return the state of the library of this name, if it is in force or was before."""
        self._served.now(self.index)
        return self._served.named(fingerprint)

    @property
    def names(self) -> tuple[str, ...]:
        """The network's class names."""
        return self.pipeline.class_names

    @property
    def searched(self) -> SearchIndex:
        """Index that is searched now."""
        return self._live_index.of(self.controls.now)

    @property
    def now(self) -> Settings:
        """Settings in force."""
        now, settings = self.controls.now, self.settings
        return settings.model_copy(
            update={
                "detect": now.detect,
                "show": now.show,
                "search": now.search,
                "live": settings.live.model_copy(update={"loop": now.loop, "mirror": now.mirror}),
                "describe": settings.describe.model_copy(update={"meaning": self._meaning.wanted}),
            }
        )

    def settings_json(self) -> dict[str, Any]:
        """Return the settings in force as JSON values, without secrets."""
        values = self.now.model_dump(mode="json")
        values["live"]["source"] = masked(values["live"]["source"])
        values["send"]["to"] = [masked(address).partition("#")[0] for address in values["send"]["to"]]
        return values

    def change(self, changes: dict[str, Any]) -> None:
        """Put other settings in force, all or none.

        Args:
            changes: by section and key.

        Raises:
            RequestError: 422, with the errors of pydantic; or a setting cannot be changed while it runs.
        """
        fixed = [
            f"{section}.{key}"
            for section, keys in changes.items()
            for key in (keys if isinstance(keys, dict) else {"": None})
            if section in Settings.model_fields and not _may_change(section, key)
        ]
        if fixed:
            raise RequestError(
                422, f"{', '.join(fixed)} cannot be changed while the server runs; start it anew"
            )
        values = self.now.model_dump(mode="json")
        for section, keys in changes.items():
            values[section] = values.get(section, {}) | keys if isinstance(keys, dict) else keys
        try:
            settings = Settings.model_validate(values)
        except ValidationError as error:
            told = error.errors(include_url=False, include_context=False, include_input=False)
            problem = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in told)
            raise RequestError(422, problem, told) from None
        unknown = set(settings.detect.classes) - set(self.names)
        if unknown:
            raise RequestError(422, f"detect.classes: the network has no class {', '.join(sorted(unknown))}")
        for name in ("font", "privacy"):
            if getattr(settings.show, name) != getattr(self.controls.now.show, name):
                raise RequestError(422, f"show.{name} cannot be changed while the server runs; start it anew")
        if settings.search != self.controls.now.search:  # what cannot be followed is refused here
            narrow(self.index, settings.search, distinct=settings.show.distinct)
        self._meaning.want(settings)
        live = settings.live
        self.controls.change(
            detect=settings.detect,
            show=settings.show,
            search=settings.search,
            loop=live.loop,
            mirror=live.mirror,
        )

    def class_counts(self) -> dict[str, int]:
        """Return the number of objects of each class that there are any of, the most frequent first."""
        label, count = np.unique(self.index.labels, return_counts=True)
        pairs = sorted(zip(count.tolist(), label.tolist(), strict=True), reverse=True)
        return {class_name(self.index.library.space.class_names, label): count for count, label in pairs}

    def state(self) -> dict[str, Any]:
        """Return what viewers show beside the scenes."""
        now = self.controls.now
        library = self.index.library
        return {
            "type": "state",
            "version": __version__,
            "library": library.state,
            "objects": len(self.index),
            "photos": library.photo_count,
            "paused": now.paused,
            "loop": now.loop,
            "mirror": now.mirror,
            "results": now.show.results,
            "text": now.show.text,
            "font": bool(self.settings.show.font),
            "attract_s": self.settings.show.attract_s,
            "phones": [place for place in self.hub.newest() if place >= FIRST_PHONE],
            "meaning": self._meaning.wanted,
            "opening": self._meaning.opening,
            "network": {"name": self.network[0], "licence": self.network[1]},
            "sources": [
                {
                    "place": view.place,
                    "name": view.source.name,
                    "lost": view.source.status != "ok" and not view.source.slides,
                    "seekable": view.source.seekable,
                    "camera": view.source.camera,
                    "begins_s": view.source.begins_s,
                    "length_s": _length_s(view.source.frames, view.source.fps)
                    if view.source.seekable
                    else None,
                }
                for view in self.hub.views
            ],
        }

    def close(self) -> None:
        """End the threads and let go of files."""
        self._watch.close()
        self.hub.close()
        self._served.close()


def _may_change(section: str, key: str) -> bool:
    keys = _LIVE.get(section, set())
    return keys is True or (isinstance(keys, set) and key in keys)


def _length_s(frames: int | None, fps: float | None) -> float | None:
    return None if not frames or not fps else round(frames / fps, 3)


class _Meaning:
    """Opens the index of another ``describe.meaning`` in a thread, and puts it in force when it is there."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._lock = threading.Lock()
        self._settings = site.settings
        self._opened: dict[float, SearchIndex] = {site.settings.describe.meaning: site.begun}
        self._library = site.begun.library
        self.opening = False

    @property
    def wanted(self) -> float:
        """Value that was asked for last."""
        return self._settings.describe.meaning

    def want(self, settings: Settings) -> None:
        """Search with these settings as soon as their index is open; frames go on meanwhile."""
        with self._lock:
            if settings.describe.meaning == self.wanted:
                return
            self._settings = settings
            if not self.opening:
                self.opening = True
                threading.Thread(target=self._open, name="index", daemon=True).start()

    def turn_to(self, index: SearchIndex) -> None:
        """Search a newer state of the library, whose index has the meaning that is wanted."""
        with self._lock:
            self._library, self._opened = index.library, {} if self.opening else {self.wanted: index}
            self._site.controls.change(index=index)

    def _open(self) -> None:
        while True:
            settings, library = self._settings, self._library
            try:
                index = self._index(settings)
            except RtsearchError as error:
                _log.warning("describe.meaning=%g: %s", settings.describe.meaning, error)
                index = self._site.index
            with self._lock:
                if settings is self._settings and library is self._library:
                    self._site.controls.change(index=index)
                    self.opening = False
                    return

    def _index(self, settings: Settings) -> SearchIndex:
        meaning = settings.describe.meaning
        if meaning not in self._opened:
            opened = open_index(self._library, settings)
            opened.warm_up(settings.show.results)
            self._opened[meaning] = opened
        return self._opened[meaning]
