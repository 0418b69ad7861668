"""CLIP's own vocabulary file as a tokenizer: rules against a plain twin, published numbers, damaged files."""

from __future__ import annotations

import gzip
import importlib.util
import itertools
import random
import re
from pathlib import Path

import pytest
from test_text_pair import files  # noqa: F401  the fixture

from rtsearch.errors import ModelError
from rtsearch.words import import_pair
from rtsearch.words.clip_vocabulary import clip_tokenizer, is_clip_vocabulary

pytest.importorskip("tokenizers", reason="needs the extra words")

# Pairs in the order in which they are merged; "lo" is made before "low", "w</w>" ends a word.
PAIRS = ("l o", "e r</w>", "lo w", "lo w</w>", "low er</w>", "r e", "re d</w>", "' s</w>", "1 2", "Ã ¼")
FIRST = 512  # number of the first pair; bytes, and bytes that end words, come before


def packed(*pairs: str) -> bytes:
    return gzip.compress("\n".join(["#version: 0.2", *pairs]).encode(), mtime=0)


def letter(byte: int) -> int:
    """The number of a byte: those from ! to ~ come first."""
    assert 33 <= byte <= 126
    return byte - 33


def slowly(text: str) -> list[int]:
    """The numbers of the tokens of an ASCII text by CLIP's rules, one merge after the other."""
    ranks = {tuple(pair.split()): rank for rank, pair in enumerate(PAIRS)}
    numbers = [FIRST + len(PAIRS)]
    for word in re.findall(r"'s|'t|'re|'ve|'m|'ll|'d|[a-z]+|[0-9]|[^\sa-z0-9]+", text.lower()):
        parts = [*word[:-1], word[-1] + "</w>"]
        while found := [pair for pair in itertools.pairwise(parts) if pair in ranks]:
            best = min(found, key=ranks.__getitem__)
            merged: list[str] = []
            for part in parts:
                if merged and (merged[-1], part) == best:
                    merged[-1] += part
                else:
                    merged.append(part)
            parts = merged
        for part in parts:
            joined = next((FIRST + rank for pair, rank in ranks.items() if "".join(pair) == part), None)
            ends = part.endswith("</w>")
            numbers.append(joined or letter(ord(part[0])) + 256 * ends)
    return [*numbers, FIRST + len(PAIRS) + 1]


def test_texts_are_cut_by_the_rules_of_clip():
    tokenizer = clip_tokenizer(packed(*PAIRS))
    assert tokenizer.get_vocab_size() == FIRST + len(PAIRS) + 2
    texts = ["", "low", "LOWER  red", "lower's red!", "12 lo", "...", "a\tb\n"]
    rng = random.Random(0)
    texts += ["".join(rng.choices("lowerd's12 !?", k=rng.randint(1, 30))) for _ in range(300)]
    for text in texts:
        assert tokenizer.encode(text).ids == slowly(text), text


def test_letters_beyond_ascii_are_bytes():
    tokenizer = clip_tokenizer(packed(*PAIRS))
    begin, *numbers, end = tokenizer.encode("ü").ids
    assert (begin, end) == (FIRST + 10, FIRST + 11)
    # Two bytes, the last of which ends a word; the pair is of two bytes within a word.
    assert len(numbers) == 2
    assert numbers[0] < 256 <= numbers[1] < 512
    assert FIRST + PAIRS.index("Ã ¼") in tokenizer.encode("üb").ids
    assert tokenizer.encode("u\u0308").ids == tokenizer.encode("ü").ids  # one letter, or two


# Numbers that CLIP's and OpenCLIP's documents, notebooks and tests print.
PUBLISHED = {
    "Hello World!": [49406, 3306, 1002, 256, 49407],
    "a photo of a cat": [49406, 320, 1125, 539, 320, 2368, 49407],
    "a diagram": [49406, 320, 22697, 49407],
    "a dog": [49406, 320, 1929, 49407],
}


def test_published_numbers():
    there = importlib.util.find_spec("open_clip")  # its vocabulary; the package is not imported
    if there is None or there.origin is None:
        pytest.skip("needs the file of open-clip-torch: pip install --no-deps open-clip-torch")
    tokenizer = clip_tokenizer(Path(there.origin).with_name("bpe_simple_vocab_16e6.txt.gz").read_bytes())
    assert tokenizer.get_vocab_size() == 49_408
    assert {text: tokenizer.encode(text).ids for text in PUBLISHED} == PUBLISHED


def test_single_letters_have_the_published_numbers():
    """The numbers of bytes do not depend on the pairs: "a" and "!" that end words are 320 and 256."""
    tokenizer = clip_tokenizer(packed(*PAIRS))
    assert tokenizer.encode("a").ids[1:-1] == [320]
    assert tokenizer.encode("!").ids[1:-1] == [256]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (packed(), "two tokens a line"),
        (packed("a"), "two tokens a line"),
        (packed("a b c"), "two tokens a line"),
        (packed("a bc"), "merges 'bc', which no pair before makes"),
        (packed("l o")[:-12], "two tokens a line"),
        (packed("l o")[:4] + b"\xff" * 20, "it is damaged"),
        (gzip.compress(b"\xff\xfe\n\xff", mtime=0), "it is damaged"),
        (gzip.compress(b"a b\n" * (5 << 20), mtime=0), "more than 16 MB"),
    ],
)
def test_files_that_are_no_vocabulary(data, said):
    assert is_clip_vocabulary(data)
    with pytest.raises(ModelError, match=said):
        clip_tokenizer(data)


def test_a_pair_is_imported_with_it(files, tmp_path):  # noqa: F811
    path = tmp_path / "bpe_simple_vocab_16e6.txt.gz"
    path.write_bytes(packed("l o"))
    with pytest.raises(ModelError, match="does not take what the tokenizer gives"):
        import_pair(
            "clip", {**files, "tokenizer": path}, tmp_path / "engines"
        )  # the network knows five words
    path.write_bytes(packed("a"))
    with pytest.raises(ModelError, match=r"16e6\.txt\.gz is no vocabulary of CLIP"):
        import_pair("clip", {**files, "tokenizer": path}, tmp_path / "engines")
    assert list((tmp_path / "engines").iterdir()) == []
