"""Search a library by a text: with a pair of networks, or by classes, colours and numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from rtsearch.library import Library
from rtsearch.library.index import SearchIndex
from rtsearch.models import default_folder
from rtsearch.types import F32Array
from rtsearch.words.crop_vectors import CropVectors
from rtsearch.words.find import find_words
from rtsearch.words.request import Request, parse_request
from rtsearch.words.text_pair import TextPair

__all__ = ["Answer", "WordSearch"]


class Answer(NamedTuple):
    """Objects that words have found, best first.

    Attributes:
        looked_for: how the words were understood, and which of them mean something else or nothing.
        objects: ``row`` of each, the facts of ``SearchIndex.hits``, and its ``share`` of the colour asked for
            (None without one), or its ``likeness`` with a pair of networks.
        colour: name of the colour that ``share`` is of.
        unused: words that change nothing.
    """

    looked_for: str
    objects: list[dict[str, Any]]
    colour: str | None = None
    unused: tuple[str, ...] = ()


Question: TypeAlias = Callable[[SearchIndex, int], Answer]
"""Finds at most so many objects of an index."""


class WordSearch:
    """Understands texts, and finds what they describe; safe to use from several threads.

    Args:
        library: is searched.
        pair: name of a pair of networks that made vectors of its crops; None searches by classes, colours
            and numbers.

    Raises:
        UnknownModelError: there is no such pair here.
        WordsError: crops of the library have no vectors of the pair.
        MissingDependencyError: the package tokenizers is not installed.
    """

    def __init__(self, library: Library, pair: str | None = None) -> None:
        self._names = library.space.class_names
        self._pair = None if pair is None else TextPair(pair, default_folder())
        self._vectors = None if self._pair is None else CropVectors(library, self._pair)

    def understand(self, text: str) -> Question:
        """Return what finds the objects that a text describes.

        Raises:
            WordsError: the text is not understood, or too long.
        """
        if self._pair is None or self._vectors is None:
            return _ByClasses(parse_request(text, self._names), self._names)
        return _ByVectors(text, self._pair.name, self._pair.embed_text(text), self._vectors)


@dataclass(frozen=True, slots=True)
class _ByClasses:
    request: Request
    names: tuple[str, ...]

    def __call__(self, index: SearchIndex, k: int) -> Answer:
        hits = find_words(index, self.request, k)
        places = index.hits(np.array([hit.row for hit in hits], np.int32))
        objects = [
            {"row": hit.row, "share": hit.share, **place} for hit, place in zip(hits, places, strict=True)
        ]
        meaning, remarks = self.request.meaning(self.names), self.request.remarks(self.names)
        looked_for = f"{meaning} ({remarks})" if remarks else meaning
        return Answer(looked_for, objects, self.request.main.colour, self.request.unused)


@dataclass(frozen=True, slots=True)
class _ByVectors:
    text: str
    pair_name: str
    vector: F32Array
    crops: CropVectors

    def __call__(self, index: SearchIndex, k: int) -> Answer:
        hits = self.crops.nearest(self.vector, k, index.given)
        places = zip(hits.rows.tolist(), hits.likeness.tolist(), index.hits(hits.rows), strict=True)
        objects = [{"row": row, "likeness": round(likeness, 4), **place} for row, likeness, place in places]
        return Answer(f'"{self.text}" with {self.pair_name}', objects)
