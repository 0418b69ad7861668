"""Read a request in words: nouns, their colours and numbers, and what else must be in the photo."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rtsearch.errors import WordsError
from rtsearch.images.colour_names import COLOUR_WORDS
from rtsearch.models.vocabulary import Vocabulary, number

__all__ = ["Part", "Request", "parse_request"]

_MOST_WORDS = 24
_FILLERS = frozenset(
    ("a", "an", "the", "some", "any", "my", "of", "photo", "photos", "picture", "pictures", "image", "images")
)
_JOINING = frozenset(
    ("and", "with", "on", "in", "at", "by", "near", "beside", "under", "behind", "over", "next", "to")
)
_CLOTHES = frozenset(
    (
        "clothes",
        "dress",
        "shirt",
        "t-shirt",
        "jacket",
        "coat",
        "suit",
        "jeans",
        "trousers",
        "sweater",
        "uniform",
    )
)
_WEARS = frozenset(("in", "wearing"))  # these join a colour to the noun before them


@dataclass(frozen=True, slots=True)
class Part:
    """One kind of object of a request.

    Attributes:
        labels: classes that it may be of.
        colour: name of its colour, one of ``COLOUR_NAMES``, or None.
        count: number of them in the photo, or None for any.
    """

    labels: tuple[int, ...]
    colour: str | None = None
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """Words that were understood.

    Attributes:
        main: the objects that are looked for.
        beside: other objects that must be in the same photo.
        meant: words that are no name of a class, with the label of the one that they mean.
        unused: words that change nothing.
    """

    main: Part
    beside: tuple[Part, ...] = ()
    meant: tuple[tuple[str, int], ...] = ()
    unused: tuple[str, ...] = ()

    def meaning(self, class_names: Sequence[str]) -> str:
        """Return how the words were understood, such as ``2 x cup in red, in photos with person``."""
        beside = " and ".join(_understood(part, class_names) for part in self.beside)
        return _understood(self.main, class_names) + (f", in photos with {beside}" if beside else "")

    def remarks(self, class_names: Sequence[str]) -> str:
        """Return what became of other words, such as ``"mug" means cup; "dress" changes nothing``."""
        meant = [f'"{word}" means {class_names[label]}' for word, label in self.meant]
        unused = " and ".join(f'"{word}"' for word in self.unused)
        changes = "changes nothing" if len(self.unused) == 1 else "change nothing"
        return "; ".join((*meant, *([f"{unused} {changes}"] * bool(unused))))


def _understood(part: Part, class_names: Sequence[str]) -> str:
    count = f"{part.count} x " if part.count else ""
    names = " or ".join(class_names[label] for label in part.labels)
    return f"{count}{names}{f' in {part.colour}' if part.colour else ''}"


def parse_request(text: str, class_names: Sequence[str]) -> Request:
    """Understand a request such as "two red mugs" or "person in blue with a dog".

    The first noun is what is looked for. Nouns after it must be in the same photo, wherever in it.

    Args:
        text: words in English.
        class_names: classes of the network, by label.

    Raises:
        WordsError: a word is not known, or there is no noun, or there are too many words; the message says
            which words are known that are spelt like it.
    """
    words = re.findall(r"[^\W_]+(?:-[^\W_]+)*", text.lower())
    if not words or len(words) > _MOST_WORDS:
        raise WordsError(f'expected 1 to {_MOST_WORDS} words, such as "red mug", got {len(words)}')
    parts = _Parts(Vocabulary(class_names))
    while words:
        words = words[parts.take(words) :]
    return parts.request()


class _Parts:
    """Collects the parts of a request word by word."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._parts: list[Part] = []
        self._colour: str | None = None
        self._count: int | None = None
        self._said: dict[str, str] = {}  # the words of colour and number, before their noun
        self._meant: dict[str, int] = {}
        self._unused: list[str] = []
        self._worn = False

    def take(self, words: Sequence[str]) -> int:
        """Take the noun, colour, number or joining word that comes first; return how many words it was.

        Raises:
            WordsError: it is none of these.
        """
        word = words[0]
        length, labels = self._vocabulary.noun(words)
        # "an orange cup" has a colour, "an orange" is a fruit.
        if word in COLOUR_WORDS and (not length or self._begins_thing(words[1:])):
            self._take_colour(word, alone=not self._begins_thing(words[1:]))
            return 1
        if length:
            self._parts.append(Part(labels, self._colour, self._count))
            self._said.clear()
            if len(labels) == 1 and not self._vocabulary.is_name(words[:length]):
                self._meant[" ".join(words[:length])] = labels[0]
            self._colour, self._count, self._worn = None, None, False
            return length
        self._take_small(word)
        return 1

    def request(self) -> Request:
        """Return what was collected.

        Raises:
            WordsError: there is no noun, or a colour without one.
        """
        if self._colour is not None:
            raise WordsError(f'what is {self._colour}? name a thing, such as "{self._colour} cup"')
        if not self._parts:
            raise WordsError('name a thing to look for, such as "red cup"')
        unused = (*self._unused, *self._said.values())
        return Request(self._parts[0], tuple(self._parts[1:]), tuple(self._meant.items()), unused)

    def _begins_thing(self, words: Sequence[str]) -> bool:
        """Tell whether words begin with a noun, with colours before it or not."""
        while words and words[0] in COLOUR_WORDS and not self._vocabulary.noun(words)[0]:
            words = words[1:]
        return bool(words) and self._vocabulary.noun(words)[0] > 0

    def _take_colour(self, word: str, *, alone: bool) -> None:
        last, colour = self._parts[-1] if self._parts else None, COLOUR_WORDS[word]
        if alone and self._worn and last is not None and last.colour is None:
            self._parts[-1] = replace(last, colour=colour)
        else:
            self._say("colour", word)
            self._colour = colour

    def _say(self, what: str, word: str) -> None:
        """Note a word for the next noun; one that it takes the place of is not used."""
        if what in self._said:
            self._unused.append(self._said[what])
        self._said[what] = word

    def _take_small(self, word: str) -> None:
        if word in _CLOTHES and self._parts and self._parts[-1].colour:
            self._worn = False
            self._unused.append(word)
        elif (count := number(word)) is not None:
            self._say("number", word)
            self._count = count
        elif word in _WEARS:
            self._worn = True
        elif word not in _JOINING and word not in _FILLERS:
            near = self._vocabulary.nearest(word)
            hint = (
                f"did you mean {' or '.join(near)}?"
                if near
                else "it is no class of the network (rtsearch model info NAME lists them), and no colour"
            )
            raise WordsError(f'"{word}" is not known; {hint}')
