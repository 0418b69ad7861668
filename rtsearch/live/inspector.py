"""Look at a crop more closely: its photo, and the objects that are like it, in place of the live picture.

click on a crop -> Look(row) -> a thread reads the photo and draws it -> picture, until the user goes back
Enter           -> Look(row, alike=True) -> the same with the crops of its neighbours, which may be clicked

The run goes on behind; the live picture stays on the screen until the other one is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rtsearch._util.closing import Closing
from rtsearch._util.newest_work import NewestWork
from rtsearch._util.wording import one_line, time_code
from rtsearch.config import SearchSettings, ShowSettings
from rtsearch.errors import RtsearchError, ServiceError
from rtsearch.library.index import SearchIndex
from rtsearch.live.library_crops import LibraryCrops
from rtsearch.live.object_frame import object_frame
from rtsearch.live.walk import alike
from rtsearch.render.closer import Caption, Closer, alike_picture, lost_picture, photo_picture, row_at
from rtsearch.render.layout import Canvas, canvas_of
from rtsearch.render.plan import Item
from rtsearch.types import F32Array, U8Array

__all__ = ["Inspector"]

_MOST_ALIKE = 40


class _Look(NamedTuple):
    """Object that is looked at: its photo, or those like it."""

    row: int
    alike: bool = False


class _Question(NamedTuple):
    """Picture that is wanted."""

    look: _Look
    searched: SearchIndex
    show: ShowSettings
    canvas: Canvas


class Inspector(Closing):
    """Remembers what is looked at, and draws it; belongs to the main thread.

    Args:
        crops: of the library.
        search: exactly, or with which recall.
        max_photo_mp: largest size of a photo that is read, megapixels.

    Attributes:
        picture: to be shown in place of the live one, (H, W, 3) uint8 BGR; None for the live one.
    """

    def __init__(self, crops: LibraryCrops, search: SearchSettings, max_photo_mp: float) -> None:
        self.picture: U8Array | None = None
        self._crops = crops
        self._index: SearchIndex | None = None  # whose objects are looked at
        self._search = search
        self._max_photo_mp = max_photo_mp
        self._looks: list[_Look] = []  # the last one is shown, those before are gone back to
        self._items: tuple[Item, ...] = ()
        self._canvas: Canvas | None = None  # of the picture
        self._drawer = NewestWork(self._draw, "closer look")

    @property
    def looks(self) -> bool:
        """Tell whether something is looked at."""
        return bool(self._looks)

    def click(self, xy: tuple[int, int], live: Sequence[Item], index: SearchIndex) -> None:
        """Look at the crop at a place of the picture, or go back.

        Args:
            xy: place, px.
            live: crops of the live picture.
            index: whose objects these are.
        """
        self._index = self._index if self._looks else index
        on_sheet = bool(self._looks) and self._looks[-1].alike
        row = row_at(self._items if self._looks else live, xy)
        if row < 0 or (self._looks and not on_sheet):
            self.back()
        else:
            self._look(_Look(row, alike=on_sheet and row != self._looks[-1].row))

    def more(self) -> None:
        """Show the objects that are like the one that is looked at."""
        if self._looks and not self._looks[-1].alike:
            self._look(_Look(self._looks[-1].row, alike=True))

    def back(self) -> None:
        """Go back to what was shown before."""
        if self._looks:
            self._looks.pop()
        self._canvas = None  # draw it again
        if not self._looks:
            self.picture, self._items = None, ()

    def update(self, index: SearchIndex, show: ShowSettings) -> bool:
        """Take what was drawn meanwhile; return True if another picture is to be shown.

        Args:
            index: is searched for what is alike, unless it is of a newer state of the library by now.
            show: the layout.
        """
        looked = self._index
        index = index if looked is None or index.library is looked.library else looked
        canvas = canvas_of(show)
        if self._looks and canvas != self._canvas:
            self._canvas = canvas
            self._drawer.ask(_Question(self._looks[-1], index, show, canvas))
        drawn = self._drawer.take()
        if drawn is None or not self._looks:
            return False
        self.picture, self._items = drawn
        return True

    def close(self) -> None:
        """End the thread."""
        self._drawer.close()

    def _look(self, look: _Look) -> None:
        self._looks.append(look)
        self._canvas = None

    def _draw(self, question: _Question) -> Closer:
        """Return the picture of a look; in the thread."""
        try:
            return self._drawn(question)
        except ServiceError as error:  # a library behind an address
            caption = Caption("", one_line(error))
            return lost_picture(
                self._crops.of(question.searched).get(question.look.row), caption, question.canvas
            )

    def _drawn(self, question: _Question) -> Closer:
        (row, is_alike), index, show, canvas = question
        hit = index.hits(np.array([row], np.int32))[0]
        where = hit["photo"] + (f"    {time_code(hit['t_s'])}" if "t_s" in hit else "")
        caption, cache = Caption(show.word(hit["label"]), where), self._crops.of(index)
        if is_alike:
            rows = (row, *alike(index, row, _MOST_ALIKE, self._search, np.inf))
            return alike_picture(rows, [cache.get(each) for each in rows], caption, canvas)
        xyxy: F32Array = np.array(hit["xyxy"], np.float32)
        try:
            bgr = object_frame(index, row, self._max_photo_mp).bgr
        except (RtsearchError, OSError) as error:
            return lost_picture(cache.get(row), Caption(caption.name, one_line(error)), canvas)
        return photo_picture(bgr, xyxy, caption, canvas)
