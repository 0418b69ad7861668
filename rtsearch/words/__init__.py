"""Search a library by words, without a network for language.

    "two red mugs" -> parse_request -> Request: nouns are classes of the detector, colours and numbers filter
                   -> find_words    -> objects of those classes, those with most of the colour first

Colours of all objects are kept in the index as shares (``images/colour_names.py``); the first of
them are looked at again in their crops, which tell white from grey.
"""

from rtsearch.words.find import WordHit, find_words
from rtsearch.words.request import Part, Request, parse_request

__all__ = ["Part", "Request", "WordHit", "find_words", "parse_request"]
