"""Everyday English for the classes of a detector: synonyms, kinds of things, plurals and numbers.

The words on the right mean the class on the left; several classes may share one. Classes that the network
does not have are passed over, and every class of the network is known by its own name.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence

__all__ = ["Vocabulary", "classes_meant", "number"]

_SYNONYMS = {
    "person": "people, human, man, men, woman, women, child, children, kid, boy, girl, baby, lady, guy, "
    "face, pedestrian, passer-by, visitor, worker, player, cyclist, rider, crowd",
    "bicycle": "bike, cycle, pushbike, vehicle",
    "car": "automobile, auto, sedan, taxi, cab, suv, jeep, hatchback, vehicle",
    "motorcycle": "motorbike, scooter, moped, vehicle",
    "airplane": "plane, aeroplane, aircraft, jet, airliner, vehicle",
    "bus": "coach, minibus, double-decker, vehicle",
    "train": "tram, locomotive, railway, metro, subway, vehicle",
    "truck": "lorry, van, pickup, trailer, vehicle",
    "boat": "ship, yacht, canoe, kayak, ferry, sailboat, rowboat, vehicle",
    "traffic light": "stoplight, traffic signal, street light",
    "fire hydrant": "hydrant",
    "parking meter": "meter",
    "bench": "park bench, furniture",
    "bird": "pigeon, gull, seagull, duck, goose, swan, parrot, sparrow, crow, owl, chicken, hen, animal",
    "cat": "kitten, kitty, tomcat, pet, animal",
    "dog": "puppy, doggy, hound, poodle, terrier, pet, animal",
    "horse": "pony, foal, mare, animal",
    "sheep": "lamb, ewe, goat, animal",
    "cow": "cattle, bull, calf, ox, animal",
    "elephant": "animal",
    "bear": "grizzly, polar bear, animal",
    "zebra": "animal",
    "giraffe": "animal",
    "backpack": "rucksack, knapsack, bag, luggage",
    "umbrella": "parasol, brolly",
    "handbag": "bag, purse, tote",
    "tie": "necktie, bow tie",
    "suitcase": "luggage, trolley, bag, baggage",
    "frisbee": "flying disc, disc, toy",
    "skis": "ski",
    "sports ball": "ball, football, soccer ball, basketball, volleyball",
    "kite": "toy",
    "baseball bat": "bat",
    "baseball glove": "mitt, glove",
    "skateboard": "longboard",
    "surfboard": "surf board",
    "tennis racket": "racket, racquet, tennis racquet",
    "bottle": "flask, wine bottle, water bottle, beer",
    "wine glass": "glass, goblet, wineglass, champagne glass",
    "cup": "mug, beaker, tumbler, coffee, tea, teacup, coffee cup, drink",
    "fork": "cutlery",
    "knife": "cutlery, blade",
    "spoon": "cutlery, ladle",
    "bowl": "dish, soup, salad",
    "banana": "fruit, food",
    "apple": "fruit, food",
    "sandwich": "burger, hamburger, toast, food",
    "orange": "mandarin, tangerine, clementine, fruit, food",
    "broccoli": "vegetable, cauliflower, food",
    "carrot": "vegetable, food",
    "hot dog": "hotdog, sausage, food",
    "pizza": "food",
    "donut": "doughnut, bagel, food",
    "cake": "pie, tart, cupcake, muffin, dessert, food",
    "chair": "seat, armchair, stool, furniture",
    "couch": "sofa, settee, furniture",
    "potted plant": "plant, flower, flowers, houseplant, pot plant, flowerpot, cactus, tree",
    "bed": "mattress, furniture",
    "dining table": "table, desk, tabletop, furniture",
    "toilet": "loo, lavatory, wc",
    "tv": "television, monitor, screen, display, telly",
    "laptop": "notebook computer, computer, macbook",
    "mouse": "computer mouse",
    "remote": "remote control, controller",
    "keyboard": "computer keyboard, keypad",
    "cell phone": "phone, mobile, mobile phone, smartphone, telephone, iphone",
    "microwave": "microwave oven",
    "oven": "stove, cooker",
    "toaster": "",
    "sink": "basin, washbasin, washstand",
    "refrigerator": "fridge, freezer",
    "book": "novel, magazine, paperback, textbook",
    "clock": "watch, alarm clock",
    "vase": "jug, pitcher",
    "scissors": "shears",
    "teddy bear": "teddy, stuffed animal, plush toy, soft toy, toy",
    "hair drier": "hair dryer, hairdryer, blow dryer",
    "toothbrush": "tooth brush",
}
_IRREGULAR = {"mice": "mouse", "knives": "knife", "geese": "goose", "oxen": "ox", "calves": "calf"}
_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_LONGEST_WORDS = 3  # of a noun


class Vocabulary:
    """Words for the classes of one network.

    Args:
        class_names: names of the classes, by label.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self._labels: dict[str, set[int]] = {}
        self._names = {name.lower().replace("_", " ") for name in class_names}
        for label, name in enumerate(class_names):
            own = name.lower().replace("_", " ")
            for word in (own, *_SYNONYMS.get(own, "").split(",")):
                if word.strip():
                    self._labels.setdefault(word.strip(), set()).add(label)
        for label, name in enumerate(
            class_names
        ):  # "orange" and "tie" are classes before they are anything else
            self._labels[name.lower().replace("_", " ")] = {label}

    def noun(self, words: Sequence[str]) -> tuple[int, tuple[int, ...]]:
        """Return how many of the words that come first are one noun, and its labels; 0 and () if none is."""
        for length in range(min(_LONGEST_WORDS, len(words)), 0, -1):
            for form in _singulars(words[:length]):
                if form in self._labels:
                    return length, tuple(sorted(self._labels[form]))
        return 0, ()

    def is_name(self, words: Sequence[str]) -> bool:
        """Tell whether words are the name of a class, or its plural, rather than another word for it."""
        return any(form in self._names for form in _singulars(words))

    def nearest(self, word: str) -> list[str]:
        """Return up to three known words that are spelt much like a word."""
        return difflib.get_close_matches(word, self._labels, n=3, cutoff=0.7)


def classes_meant(word: str, class_names: Sequence[str]) -> list[str]:
    """Return the classes that another word may mean, by its sense or else its spelling; [] for none."""
    words = word.lower().replace("_", " ").split()
    length, labels = Vocabulary(class_names).noun(words)
    if length and length == len(words):
        return [class_names[label] for label in labels]
    return difflib.get_close_matches(word, class_names, n=2, cutoff=0.5)


def number(word: str) -> int | None:
    """Return the number that a word or digits say, 1 to 99, or None."""
    if word in _NUMBERS:
        return _NUMBERS.index(word) + 1
    return int(word) if word.isascii() and word.isdigit() and 0 < len(word) < 3 and int(word) else None


def _singulars(words: Sequence[str]) -> Iterator[str]:
    *first, last = words
    endings = [last, _IRREGULAR.get(last, last)]
    for plural, singular in (("ies", "y"), ("es", ""), ("s", "")):
        if last.endswith(plural) and len(last) > len(plural) + 1:
            endings.append(last.removesuffix(plural) + singular)
    for ending in endings:
        yield " ".join([*first, ending])
