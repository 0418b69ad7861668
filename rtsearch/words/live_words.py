"""Find what words describe while it plays, with a pair of networks for pictures and texts.

    objects with their tracks -> those without a vector -> a thread: image network -> vectors, by track

An object is lit where the words describe its crop at least as well as the name of its class does: for that,
no limit has to be known, which would be another one for each pair. Before its vector is there, classes,
colours and numbers decide. A frame never waits: while the thread is at work nothing else is asked of it, and
then the largest objects of the newest frame come first.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from itertools import islice
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from rtsearch._util.closing import Closing
from rtsearch._util.newest_work import NewestWork
from rtsearch.errors import MissingDependencyError, ModelError, WordsError
from rtsearch.models import default_folder
from rtsearch.types import Detections, F32Array, U8Array, class_name
from rtsearch.words.frame import FrameWords, frame_words
from rtsearch.words.text_pair import TextPair

__all__ = ["LiveWords", "PairWords"]

_AT_ONCE = 4  # crops; more would keep the first of them waiting
_GROWN = 2.0  # times the area at which a crop shows clearly more than the one that was embedded
_MOST_TRACKS = 1024  # whose vectors are kept
_MOST_TEXTS = 256
_THREADS = 1  # of the networks: the detector needs the others


class LiveWords(Closing):
    """Understands words about pictures that play; safe to use from several threads.

    Args:
        pair: name of a pair of networks, which is opened when there are words; "" for classes, colours and
            numbers alone.
        tell: gets a line if the pair fails; from then on classes, colours and numbers decide.
    """

    def __init__(self, pair: str, tell: Callable[[str], None]) -> None:
        self._name = pair
        self._tell = tell
        self._lock = threading.Lock()
        self._text = lru_cache(_MOST_TEXTS)(self._embedded_text)
        self._work = NewestWork(self._embedded, "words")
        self._asked = False
        self._crops: dict[int, _Crop] = {}  # by track

    def chooser(self, text: str, class_names: Sequence[str]) -> FrameWords | PairWords | None:
        """Return what tells which objects of frames a text describes; None for a text without a word.

        Raises:
            WordsError: a word is not known, or the text is too long for the pair.
        """
        if self._name and text.strip():
            try:
                return PairWords(self, self._text(text), _plain(text, class_names), class_names)
            except (ModelError, MissingDependencyError) as error:
                self._give_up(error)
        return frame_words(text, class_names)

    def close(self) -> None:
        """End the thread."""
        self._work.close()

    def crops(self, bgr: U8Array, found: Detections, class_names: Sequence[str]) -> list[_Crop | None]:
        """Return what is known of the objects of a frame, and let the thread learn more; nothing waits.

        Args:
            bgr: (H, W, 3) uint8, the frame.
            found: n objects of it, with the numbers of their tracks.
            class_names: by label.
        """
        with self._lock:
            self._learn()
            known = [self._crops.get(track) for track in found.track.tolist()]
            if self._name and not self._asked and (due := _due(found, known)):
                self._asked = True
                self._work.ask(_Question(bgr, found.rows(due), class_names))
            return known

    @cached_property
    def _pair(self) -> TextPair:
        return TextPair(self._name, default_folder(), _THREADS)

    def _embedded_text(self, text: str) -> F32Array:
        return self._pair.embed_text(text)

    def _learn(self) -> None:
        """Take over what the thread has found."""
        try:
            answer = self._work.take() if self._name else None
        except Exception as error:  # whatever it is, the frames go on
            self._give_up(error)
            return
        if answer is not None:
            self._asked = False
            self._crops |= answer
            for track in list(islice(self._crops, max(0, len(self._crops) - _MOST_TRACKS))):
                del self._crops[track]

    def _give_up(self, error: Exception) -> None:
        name, self._name = self._name, ""
        self._crops.clear()
        if name:
            self._tell(f"{error}; words are looked for by classes and colours, without the pair {name}")

    def _embedded(self, question: _Question) -> dict[int, _Crop]:
        """Return what the thread finds out about objects, by their tracks."""
        bgr, found, class_names = question
        vectors = self._pair.images.embed(bgr, found.xyxy)
        names = [self._text(class_name(class_names, label)) for label in found.label.tolist()]
        crops = map(_Crop, _areas(found).tolist(), vectors, names)
        return dict(zip(found.track.tolist(), crops, strict=True))


class PairWords:
    """Tells which objects of frames a text describes; safe to use from several threads.

    Args:
        words: knows the vectors of the objects.
        vector: of the text, (dim,).
        plain: decides on objects without a vector; None if it does not know the words either.
        class_names: by label.
    """

    follows = True

    def __init__(
        self, words: LiveWords, vector: F32Array, plain: FrameWords | None, class_names: Sequence[str]
    ) -> None:
        self._words = words
        self._vector = vector
        self._plain = plain
        self._class_names = class_names

    def matching(self, bgr: U8Array, found: Detections) -> NDArray[np.bool_]:
        """Return (n,) bool: objects that are looked for.

        Args:
            bgr: (H, W, 3) uint8, the frame.
            found: n objects of it, with the numbers of their tracks.
        """
        crops = self._words.crops(bgr, found, self._class_names)
        lit = np.array([crop is not None and crop.shows(self._vector) for crop in crops], bool)
        unknown = np.array([crop is None for crop in crops], bool)
        if self._plain is not None and unknown.any():
            lit |= unknown & self._plain.matching(bgr, found)
        return lit


class _Crop(NamedTuple):
    """Crop of a track: its area, px, and the vectors of the picture and of its class's name."""

    area: float
    picture: F32Array
    name: F32Array

    def shows(self, words: F32Array) -> bool:
        """Tell whether words describe it at least as well as the name of its class does."""
        return bool(self.picture @ words >= self.picture @ self.name)


class _Question(NamedTuple):
    bgr: U8Array
    found: Detections
    class_names: Sequence[str]


def _due(found: Detections, known: list[_Crop | None]) -> list[int]:
    """Return the largest objects that are followed and have no vector, or one of a much smaller crop."""
    areas = _areas(found)
    before = np.array([0.0 if crop is None else crop.area for crop in known])
    due = (found.track > 0) & (areas > 0) & (areas >= _GROWN * before)
    return [i for i in np.argsort(-areas, kind="stable").tolist() if due[i]][:_AT_ONCE]


def _areas(found: Detections) -> F32Array:
    width, height = (found.xyxy[:, 2:] - found.xyxy[:, :2]).T
    return cast(F32Array, width * height)


def _plain(text: str, class_names: Sequence[str]) -> FrameWords | None:
    """Return what decides without weights, if it knows all of the words."""
    try:
        return frame_words(text, class_names)
    except WordsError:
        return None
