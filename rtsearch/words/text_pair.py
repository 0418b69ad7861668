"""Compare texts with pictures: an image network and a text network that were trained as a pair, such as CLIP.

    ENGINES/NAME.words/   image.onnx, text.onnx, tokenizer.json, and pair.json with their lengths and hashes

The image network is any that ``perception.embedder`` takes. The text network takes the numbers of tokens,
(n, length) of a fixed or free length, and an attention mask if it wants one. The tokenizer is a file of the
package tokenizers, which comes with most models, or is made of CLIP's vocabulary, see ``clip_vocabulary``.
The default normalisation of pictures is that of CLIP.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime as ort
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from rtsearch._util.cpu import usable_cores
from rtsearch._util.paths import is_file_name
from rtsearch._util.regular_files import read_regular
from rtsearch._util.wording import one_line
from rtsearch.errors import MissingDependencyError, ModelError, UnknownModelError, WordsError
from rtsearch.perception.embedder import Embedder, Normalisation
from rtsearch.types import F32Array, I64Array
from rtsearch.words.clip_vocabulary import clip_tokenizer, is_clip_vocabulary

__all__ = ["CLIP", "TextPair", "import_pair"]

CLIP = Normalisation((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
"""Normalisation of pictures that the networks of CLIP and OpenCLIP expect."""

_FILES = {"image": "image.onnx", "text": "text.onnx", "tokenizer": "tokenizer.json"}
_LIST_NAME = "pair.json"
_SUFFIX = ".words"
_MOST_LIST_BYTES = 1 << 16
_MOST_TOKENIZER_BYTES = 64 << 20
_MOST_TOKENS = 512  # of networks that take any length
_NEEDS_TOKENIZERS = "words need the package tokenizers: pip install 'rtsearch[words]'"
_NAMED = "names have up to 64 letters, digits, '.', '_' and '-'"


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    bytes: NonNegativeInt
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class _List(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    format: int = Field(ge=1, le=1)
    files: dict[str, _File]


class TextPair:
    """An image network, a text network and a tokenizer whose vectors can be compared.

    Args:
        name: it was imported under.
        folder: folder of prepared models.
        threads: threads of each network; 0 takes all usable cores.

    Attributes:
        name: as given.
        fingerprint: SHA-256 of the files' hashes, in hex; vectors of other pairs cannot be compared.

    Raises:
        UnknownModelError: there is no such pair; the message says how to make it.
        ModelError: its files are altered or cannot be opened.
        MissingDependencyError: the package tokenizers is not installed.
    """

    def __init__(self, name: str, folder: Path, threads: int = 0) -> None:
        if not is_file_name(name):
            raise UnknownModelError(f"no pair of networks for words can be named {name[:80]!r}: {_NAMED}")
        self.name = name
        self._folder = folder / f"{name}{_SUFFIX}"
        self._threads = threads
        files = _read_list(self._folder, name)
        self.fingerprint = hashlib.sha256("".join(files[part].sha256 for part in _FILES).encode()).hexdigest()
        self._text = _TextNetwork(self._folder, threads)

    @cached_property
    def images(self) -> Embedder:
        """The image network, opened when it is first asked for."""
        return Embedder(self._folder / _FILES["image"], self._threads, CLIP)

    @property
    def dim(self) -> int:
        """Length of the vectors."""
        return self._text.dim

    def embed_text(self, text: str) -> F32Array:
        """Return the vector of a text, (dim,) float32 of unit length.

        Raises:
            WordsError: the text is empty or too long for the network.
        """
        return self._text.embed(text)


class _TextNetwork:
    """The text network of a pair with its tokenizer."""

    def __init__(self, folder: Path, threads: int = 0) -> None:
        self._tokenizer = _open_tokenizer(folder / _FILES["tokenizer"])
        self._path = folder / _FILES["text"]
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or usable_cores()
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(str(self._path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions have no common base below Exception
            raise ModelError(f"{self._path} cannot be opened: {one_line(error)}") from None
        self._inputs = {each.name: each for each in self._session.get_inputs()}
        self._ids = self._find_ids()
        shape = self._inputs[self._ids].shape
        self._length = shape[1] if isinstance(shape[1], int) else None
        # The largest number shows whether the tokenizer has more words than the network.
        last = self._tokenizer.get_vocab_size() - 1
        self.dim = self._run(np.array([[last]], np.int64)).size

    def embed(self, text: str) -> F32Array:
        """Return the vector of a text, (dim,) float32 of unit length."""
        if not text.strip():
            raise WordsError('expected words, such as "a striped mug"')
        numbers = self._tokenizer.encode(text).ids
        most = self._length or _MOST_TOKENS
        if len(numbers) > most:
            raise WordsError(f"the text has {len(numbers):,} tokens, the network takes {most}: shorten it")
        vector = self._run(np.array([numbers], np.int64))
        length = np.linalg.norm(vector)
        if not np.isfinite(length) or not length > 0:
            raise ModelError(f"{self._path} gives no vector for this text, but NaN or zeros")
        return cast(F32Array, (vector / length).astype(np.float32))

    def _find_ids(self) -> str:
        """Return the name of the input that takes the numbers of tokens."""
        for one in self._inputs.values():
            if "mask" not in one.name and "int" in one.type and len(one.shape) == 2:
                return str(one.name)
        seen = ", ".join(f"{one.name} {one.type} {one.shape}" for one in self._inputs.values())
        raise ModelError(
            f"{self._path} is no network of texts: expected an input of tokens (n, length), got {seen}"
        )

    def _run(self, ids: I64Array) -> F32Array:
        """Return the vector of the tokens (1, m), padded to the network's length."""
        used = ids.shape[1]
        padding = self._tokenizer.padding
        width = max(self._length or used, used)
        padded = np.full((1, width), 0 if padding is None else padding["pad_id"], np.int64)
        padded[:, :used] = ids
        mask = (np.arange(width) < used)[None].astype(np.int64)
        feeds = {
            name: (padded if name == self._ids else mask).astype(_integer(one.type))
            for name, one in self._inputs.items()
        }
        try:
            results = self._session.run(None, feeds)
        except Exception as error:
            raise ModelError(
                f"{self._path} does not take what the tokenizer gives, which knows "
                f"{self._tokenizer.get_vocab_size():,} words: {one_line(error)}"
            ) from None
        vectors = [result for result in results if result.ndim == 2 and len(result) == 1 and result.size > 1]
        if not vectors:
            shapes = ", ".join(str(result.shape) for result in results)
            raise ModelError(f"{self._path} has no output with one vector per text, but {shapes}")
        return cast(F32Array, vectors[0][0].astype(np.float32))


def import_pair(name: str, files: dict[str, Path], folder: Path) -> TextPair:
    """Try a pair, and copy its files to ``folder/NAME.words``.

    Args:
        name: letters, digits, ``.``, ``_`` and ``-``.
        files: paths of ``image``, ``text`` and ``tokenizer``.
        folder: folder of prepared models.

    Raises:
        UnknownModelError: a file does not exist.
        ModelError: a file is not what it should be, the networks have vectors of different lengths, or the
            name is taken or cannot be used.
        MissingDependencyError: the package tokenizers is not installed.
    """
    if not is_file_name(name):
        raise ModelError(f"a pair cannot be called {name[:80]!r}: {_NAMED}")
    final = folder / f"{name}{_SUFFIX}"
    if final.exists():
        raise ModelError(f"{final} is there already; choose another name, or remove it")
    for path in files.values():
        if not path.is_file():
            raise UnknownModelError(f"no file {path}")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=folder) as made:
        trial = Path(made) / f"{name}{_SUFFIX}"
        trial.mkdir()
        for part, path in files.items():
            _copy(path, trial / _FILES[part])
        listed = _List(format=1, files={part: _file(trial / _FILES[part]) for part in _FILES})
        (trial / _LIST_NAME).write_text(listed.model_dump_json(indent=1), encoding="utf-8")
        pair = TextPair(name, Path(made))
        if pair.images.dim != pair.dim:
            raise ModelError(
                f"{files['image']} gives vectors of {pair.images.dim} numbers, {files['text']} of "
                f"{pair.dim}: export both with their projections, from one model"
            )
        trial.rename(final)
    return TextPair(name, folder)


def _copy(path: Path, target: Path) -> None:
    """Copy a file of a pair; a vocabulary of CLIP becomes a file of the package tokenizers."""
    with path.open("rb") as file:
        if not is_clip_vocabulary(file.read(2)):
            shutil.copyfile(path, target)
            return
    try:
        clip_tokenizer(read_regular(path, _MOST_TOKENIZER_BYTES)).save(str(target))
    except ImportError:
        raise MissingDependencyError(_NEEDS_TOKENIZERS) from None
    except ModelError as error:
        raise ModelError(f"{path} is no vocabulary of CLIP: {error}") from None


def _read_list(folder: Path, name: str) -> dict[str, _File]:
    try:
        files = _List.model_validate_json(read_regular(folder / _LIST_NAME, _MOST_LIST_BYTES)).files
    except FileNotFoundError:
        raise UnknownModelError(
            f"no pair of networks for words named {name} in {folder.parent}; make it with: "
            f"rtsearch model import-text IMAGE.onnx TEXT.onnx TOKENIZER.json --name {name}"
        ) from None
    except (OSError, ValidationError) as error:
        raise ModelError(f"{folder / _LIST_NAME} cannot be read: {one_line(error)}") from None
    for part, file in _FILES.items():
        size = (folder / file).stat().st_size if (folder / file).is_file() else -1
        if part not in files or size != files[part].bytes:
            raise ModelError(f"{folder / file} is missing or altered: import the pair again")
    return files


def _file(path: Path) -> _File:
    with path.open("rb") as file:
        return _File(bytes=path.stat().st_size, sha256=hashlib.file_digest(file, "sha256").hexdigest())


def _open_tokenizer(path: Path) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise MissingDependencyError(_NEEDS_TOKENIZERS) from None
    try:
        tokenizer = Tokenizer.from_str(read_regular(path, _MOST_TOKENIZER_BYTES).decode())
    except Exception as error:  # of tokenizers, which raises plain Exception
        raise ModelError(f"{path} is no file of the package tokenizers: {one_line(error)}") from None
    tokenizer.no_truncation()
    return tokenizer


def _integer(kind: str) -> type[np.integer]:
    return np.int32 if kind == "tensor(int32)" else np.int64
