"""Index, settings, caches and clocks that the sources of a run share."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from rtsearch._util.metrics import Meter
from rtsearch.config import SearchSettings
from rtsearch.library.index import SearchIndex
from rtsearch.live.controls import Controls
from rtsearch.live.library_crops import LibraryCrops
from rtsearch.live.live_index import LiveIndex
from rtsearch.memory.live_memory import LiveMemory

__all__ = ["Shared"]


@dataclass(frozen=True, slots=True)
class Shared:
    """Holds what the sources of a run have in common; each part is safe to use from several threads.

    Attributes:
        index: of the library, as the run began.
        live_index: the one that is searched at the moment.
        search: exactly, or with which recall.
        controls: changed by the user.
        crops: of the library, and of its state before.
        meter: gets the times of all stages.
        class_names: by label.
        channels: number of sources.
        halt: set when the run ends.
        memory: keeps what is seen, and is searched beside the library; None where nothing is remembered.
    """

    index: SearchIndex
    live_index: LiveIndex
    search: SearchSettings
    controls: Controls
    crops: LibraryCrops
    meter: Meter
    class_names: tuple[str, ...]
    channels: int
    halt: threading.Event
    memory: LiveMemory | None = None
