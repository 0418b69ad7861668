"""Make a tokenizer of the vocabulary file that CLIP and OpenCLIP come with, ``bpe_simple_vocab_16e6.txt.gz``.

The file lists pairs of tokens in the order in which they are merged (byte pair encoding). Numbers of tokens:
256 bytes, 256 bytes that end a word, one for each pair, then the begin and the end of a text. CLIP's own
tokenizer uses the first 48,894 pairs of the file, which makes 49,408 tokens.
"""

from __future__ import annotations

import zlib
from typing import Any

from rtsearch.errors import ModelError

__all__ = ["clip_tokenizer", "is_clip_vocabulary"]

_GZIP = b"\x1f\x8b"
_MOST_BYTES = 16 << 20  # of the list, unpacked; CLIP's has 3.2 MB
_PAIRS = 49_152 - 256 - 2
_END_OF_WORD = "</w>"
_BEGIN, _END = "<|startoftext|>", "<|endoftext|>"
# Contractions, letters, single digits, and the rest; what is between them is left out.
_PIECES = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def is_clip_vocabulary(data: bytes) -> bool:
    """Tell whether a file may be a vocabulary of CLIP, not one of the package tokenizers."""
    return data.startswith(_GZIP)


def clip_tokenizer(data: bytes) -> Any:
    """Return the tokenizer, a ``tokenizers.Tokenizer`` that adds the begin and the end of a text.

    Args:
        data: the packed file.

    Raises:
        ModelError: it is no vocabulary of CLIP; the message is the reason without the path.
    """
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    pairs = _pairs(data)
    letters = _letters()
    tokens = [*letters, *(letter + _END_OF_WORD for letter in letters)]
    tokens += [first + second for first, second in pairs] + [_BEGIN, _END]
    numbers = {token: number for number, token in enumerate(tokens)}
    unknown = next((part for pair in pairs for part in pair if part not in numbers), None)
    if unknown is not None:
        raise ModelError(f"it merges {unknown[:40]!r}, which no pair before makes")
    tokenizer = Tokenizer(
        models.BPE(
            numbers,
            pairs,
            end_of_word_suffix=_END_OF_WORD,
            continuing_subword_prefix="",
            unk_token=_END,
        )
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        f"{_BEGIN} $A {_END}", special_tokens=[(_BEGIN, numbers[_BEGIN]), (_END, numbers[_END])]
    )
    return tokenizer


def _pairs(data: bytes) -> list[tuple[str, str]]:
    """Return the pairs in order; the first line of the file is its version."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        text = unpacker.decompress(data, _MOST_BYTES).decode()
    except (zlib.error, UnicodeDecodeError) as error:
        raise ModelError(f"it is damaged: {error}") from None
    if unpacker.unconsumed_tail:
        raise ModelError(f"it has more than {_MOST_BYTES >> 20} MB when it is unpacked")
    pairs = [tuple(line.split()) for line in text.split("\n")[1 : _PAIRS + 1] if line]
    if not pairs or any(len(pair) != 2 for pair in pairs):
        raise ModelError("expected a line of its version, then two tokens a line")
    return [(first, second) for first, second in pairs]


def _letters() -> list[str]:
    """Return the letter that stands for each byte, in the order of the vocabulary: visible ones first."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in visible]
    return [*map(chr, visible), *(chr(256 + place) for place in range(len(others)))]
