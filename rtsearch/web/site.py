"""Hold what the requests to one server share: library, network, settings in force, scenes, rules."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from pydantic import ValidationError

from rtsearch import __version__
from rtsearch._util.masking import masked
from rtsearch.config import Settings, ShowSettings
from rtsearch.errors import SendError
from rtsearch.library.index import SearchIndex, shape_json
from rtsearch.library.likeness import largest_distance
from rtsearch.library.narrowing import narrow
from rtsearch.library.thumbnails import ThumbCache
from rtsearch.live import Controls, LibraryWatch, watch_library
from rtsearch.live.live_index import LiveIndex
from rtsearch.memory.live_memory import LiveMemory
from rtsearch.pipeline import Pipeline
from rtsearch.send import parse_address
from rtsearch.service import Answers
from rtsearch.types import WHOLE_IMAGE_NAME
from rtsearch.web.access import Access
from rtsearch.web.hub import SceneHub
from rtsearch.web.meaning import Meaning
from rtsearch.web.problems import RequestError
from rtsearch.web.served import ServedLibraries, ServedLibrary
from rtsearch.words import LiveWords

__all__ = ["FIRST_PHONE", "SearchSite", "Site"]

_log = logging.getLogger(__name__)

FIRST_PHONE = 1000
"""Number of the first phone among the places; those before it are sources of the run."""

_LIVE = {
    "detect": True,
    "show": True,
    "search": {"classes", "folders", "since"},
    "describe": {"meaning"},
    "live": {"find", "loop", "mirror"},
}
"""Settings that can be changed while the server runs."""


@dataclass(frozen=True)
class SearchSite:
    """Search of a library for other machines, without a page.

    Attributes:
        answers: for the library.
        access: rules for clients.
    """

    answers: Answers
    access: Access

    def close(self) -> None:
        """Let go of files."""
        self.answers.close()


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
        live_words: understands what is to be found in the live picture; closed by the caller.
        tell: gets a line when the library has changed.
        memory: of the run, if it remembers.
    """

    settings: Settings
    pipeline: Pipeline
    begun: SearchIndex
    controls: Controls
    access: Access
    network: tuple[str, str]
    live_words: LiveWords
    tell: Callable[[str], None] = _log.info
    memory: LiveMemory | None = None
    hub: SceneHub = field(init=False)
    live_index: LiveIndex = field(init=False)
    answers: Answers = field(init=False)
    _served: ServedLibraries = field(init=False)
    _watch: LibraryWatch = field(init=False)
    _meaning: Meaning = field(init=False)
    _find: str = field(init=False)
    _changing: threading.Lock = field(init=False, default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._find = self.settings.live.find
        beside = None if self.memory is None else self.memory.recall.jpeg
        self._served = ServedLibraries(self.settings.live.cache_mb << 20, beside)
        self._served.now(self.begun)  # whose crops pages ask for by their addresses
        self.live_index = LiveIndex(self.begun, self.memory)
        self._meaning = Meaning(self.settings, self.begun, self.controls)
        self._watch = watch_library(self.begun, lambda: self.now, self._turn_to, self.tell)
        self.answers = Answers(lambda: (self.index, shape_json(self._meaning.in_force)))
        self.hub = SceneHub(self.names, self.state, self.settings.web.jpeg_quality)

    @property
    def names(self) -> tuple[str, ...]:
        """The network's class names."""
        return self.pipeline.class_names

    @property
    def index(self) -> SearchIndex:
        """Index in force, which knows every object; see ``searched``."""
        index = self.controls.now.index
        return self.begun if index is None else index

    @property
    def known(self) -> SearchIndex:
        """Index that knows every object of the library, and all that is remembered."""
        index = self.index
        return index if self.memory is None else self.memory.beside(index, self.controls.now.search)

    @property
    def fingerprint(self) -> str:
        """Name of the library's state that is in force."""
        return self.index.library.state

    @property
    def thumbs(self) -> ThumbCache:
        """Crops of the library's state that is in force."""
        return self._served.now(self.index).thumbs

    @property
    def class_counts(self) -> dict[str, int]:
        """Number of objects of each class that there are any of, the most frequent first."""
        return self._served.now(self.index).class_counts

    def _turn_to(self, index: SearchIndex) -> None:
        """Put a newer state of the library in force; pages may go on with the one before."""
        self._served.now(self.index)
        self._meaning.turn_to(index)

    def library_of(self, fingerprint: str) -> ServedLibrary | None:
        """Return the state of the library of this name, if it is in force or was before."""
        self._served.now(self.index)
        return self._served.named(fingerprint)

    @property
    def searched(self) -> SearchIndex:
        """Index in force, narrowed to what is to be found; narrowing takes a moment, so ask in a thread."""
        return self.live_index.of(self.controls.now)

    @property
    def most_distance(self) -> float:
        """Largest distance of a neighbour that is shown, inf for any; ask in a thread."""
        return largest_distance(self.searched, self.controls.now.show.max_distance)

    @property
    def now(self) -> Settings:
        """Settings in force."""
        now, settings = self.controls.now, self.settings
        return settings.model_copy(
            update={
                "detect": now.detect,
                "show": now.show,
                "search": now.search,
                "live": settings.live.model_copy(
                    update={"find": self._find, "loop": now.loop, "mirror": now.mirror}
                ),
                "describe": settings.describe.model_copy(update={"meaning": self._meaning.wanted}),
            }
        )

    def settings_json(self) -> dict[str, Any]:
        """Return the settings in force as JSON values, without secrets."""
        values = self.now.model_dump(mode="json")
        values["live"]["source"] = masked(values["live"]["source"])
        del values["search"]["postgres"]
        values["send"]["to"] = [_outlet_name(address) for address in values["send"]["to"]]
        return values

    def change(self, changes: dict[str, Any]) -> None:
        """Put other settings in force, all or none; one change after the other.

        Args:
            changes: by section and key.

        Raises:
            RequestError: 422, with the errors of pydantic; or a setting cannot be changed while it runs.
        """
        with self._changing:
            settings = self._changed(changes)
            if settings.search != self.controls.now.search:  # what cannot be followed is refused here
                narrow(self.index, settings.search, distinct=settings.show.distinct)
            chooser = self.live_words.chooser(settings.live.find, self.names)
            self._meaning.want(settings)
            self._find = settings.live.find
            self.controls.change(
                detect=settings.detect,
                show=settings.show,
                search=settings.search,
                loop=settings.live.loop,
                mirror=settings.live.mirror,
                chooser=chooser,
            )

    def _changed(self, changes: dict[str, Any]) -> Settings:
        """Return the settings in force with some changes."""
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
        return settings

    @property
    def words(self) -> dict[str, str]:
        """Words that are shown instead of the names of classes, by name; "" hides one."""
        show = self.controls.now.show
        every = (*self.names, WHOLE_IMAGE_NAME) if show.labels else ()
        return {name: word for name in every if (word := show.word(name)) != name}

    def state(self) -> dict[str, Any]:
        """Return what viewers show beside the scenes."""
        now, index = self.controls.now, self.index
        library = index.library
        return {
            "type": "state",
            "version": __version__,
            "library": library.state,
            "objects": len(index),
            "remembers": self.memory is not None and self.memory.remembers,
            "photos": library.photo_count,
            "paused": now.paused,
            "loop": now.loop,
            "mirror": now.mirror,
            "find": self._find,
            "results": now.show.results,
            "text": now.show.text,
            "theme": now.show.theme,
            "crop_size": round(now.show.thumb_height / ShowSettings().thumb_height, 3),
            "words": self.words,
            "font": bool(self.settings.show.font),
            "attract_s": self.settings.show.attract_s,
            "here_only": self.access.loopback,
            "phones": [place for place in self.hub.newest() if place >= FIRST_PHONE],
            "meaning": self._meaning.wanted,
            "opening": self._meaning.opening,
            "network": {"name": self.network[0], "licence": self.network[1]},
            "sources": [
                {
                    "place": view.place,
                    "name": _source_name(view.source.name),
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
        self.answers.close()


def _may_change(section: str, key: str) -> bool:
    keys = _LIVE.get(section, set())
    return keys is True or (isinstance(keys, set) and key in keys)


def _source_name(name: str) -> str:
    """Return the name of a source without the folders of this machine, or the host of its address."""
    _, is_address, address = name.partition("://")
    if is_address:
        return re.split(r"[/?#]", address, maxsplit=1)[0].rpartition("@")[2] or "stream"
    return PurePath(name).name or name


def _outlet_name(text: str) -> str:
    """Return the address of an outlet without its secrets."""
    try:
        return parse_address(text).name
    except SendError:
        return f"{text.partition(':')[0][:20]}:***"


def _length_s(frames: int | None, fps: float | None) -> float | None:
    return None if not frames or not fps else round(frames / fps, 3)
