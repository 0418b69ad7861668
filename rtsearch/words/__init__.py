"""Search a library by words.

Without a network for language:

    "two red mugs" -> parse_request -> Request: nouns are classes of the detector, colours and numbers filter
                   -> find_words    -> objects of those classes, those with most of the colour first

Colours of all objects are kept in the index as shares (``images/colour_names.py``); the first of
them are looked at again in their crops, which tell white from grey.

With a pair of networks for pictures and texts (``text_pair``):

    crops -> embed_crops, once -> vectors beside the library
    "a striped mug" -> TextPair.embed_text -> CropVectors.nearest -> objects whose crops the text describes

While it plays, ``LiveWords`` says which objects of a frame are meant, with a pair or without.
"""

from rtsearch.words.crop_vectors import CropVectors, TextHits, embed_crops, pair_of
from rtsearch.words.find import WordHit, find_words
from rtsearch.words.frame import FrameWords, frame_words
from rtsearch.words.live_words import LiveWords, PairWords
from rtsearch.words.request import Part, Request, parse_request
from rtsearch.words.text_pair import TextPair, import_pair
from rtsearch.words.word_search import Answer, WordSearch

__all__ = [
    "Answer",
    "CropVectors",
    "FrameWords",
    "LiveWords",
    "PairWords",
    "Part",
    "Request",
    "TextHits",
    "TextPair",
    "WordHit",
    "WordSearch",
    "embed_crops",
    "find_words",
    "frame_words",
    "import_pair",
    "pair_of",
    "parse_request",
]
