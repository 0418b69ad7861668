"""Give the crops of a library their vectors for words, with a progress bar and a clean Ctrl-C."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from rtsearch.cli.common import count_bar, counted, tell
from rtsearch.config import Settings

if TYPE_CHECKING:
    from rtsearch.library.index import SearchIndex

__all__ = ["embed_for_words"]


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
