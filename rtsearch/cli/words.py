"""Open pairs of networks for words: for the crops of a library, and for what plays."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from rtsearch.cli.common import count_bar, counted, tell
from rtsearch.config import Settings

if TYPE_CHECKING:
    from rtsearch.library import Library
    from rtsearch.library.index import SearchIndex
    from rtsearch.words import LiveWords

__all__ = ["embed_for_words", "live_words"]


def embed_for_words(index: SearchIndex, settings: Settings) -> bool:
    """Embed the crops that have no vector of the pair ``describe.text``; return False if it was stopped."""
    from rtsearch._util.signals import stop_on_signal
    from rtsearch.models import default_folder
    from rtsearch.words import TextPair, embed_crops

    pair = TextPair(settings.describe.text, default_folder(), settings.model.threads)
    stop = threading.Event()
    with stop_on_signal(stop), count_bar("crops") as bar:
        task = bar.add_task("embedding", total=None, rate=0.0)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, rate=bar.tasks[task].speed or 0.0)

        done = embed_crops(index, pair, show, stop)
    if done:
        tell(f"{counted(done, 'crop')} embedded with {pair.name}")
    return not stop.is_set()


def live_words(library: Library | None, settings: Settings) -> LiveWords:
    """Return what understands words while it plays: with the pair of the settings, or of the library."""
    from rtsearch.words import LiveWords, pair_of

    in_library = "" if library is None else pair_of(library) or ""
    return LiveWords(settings.describe.text or in_library, tell)
