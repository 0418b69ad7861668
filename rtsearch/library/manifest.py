"""LIB/manifest.json: what the library is, and which fragments count.

It is replaced atomically and last, so that a fragment is either named here and whole, or does not exist. It
carries the feature space in full (not only its fingerprint), so that an error can say what differs.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from rtsearch._util.atomic import write_atomic
from rtsearch._util.regular_files import read_regular
from rtsearch.errors import DamagedError, FeatureSpaceError, FormatError, NotALibraryError
from rtsearch.images.formats import PHOTO_SUFFIXES
from rtsearch.library.files import MANIFEST_NAME
from rtsearch.library.photos import holds_photos
from rtsearch.library.values import Recipe, plain_json
from rtsearch.storage.address import Address

__all__ = [
    "FORMAT_VERSION",
    "IMPORTED",
    "MAX_MANIFEST_BYTES",
    "PARTS",
    "FeatureSpace",
    "Fragment",
    "FragmentFiles",
    "Manifest",
    "StoredFile",
    "damaged_manifest",
    "fingerprint_of",
]

FORMAT_NAME = "rtsearch library"
IMPORTED = "imported"
"""Kind of a block of vectors that another program made."""
FORMAT_VERSION = 3
PARTS = {"images": ".parquet", "objects": ".parquet", "thumbs": ".pack"}
"""The three files of a fragment: LIB/<part>/<name><suffix>."""

# A fragment takes about 500 bytes here: a million of them would fit. It keeps foreign files out of memory.
MAX_MANIFEST_BYTES = 512 << 20
_VALUE_BYTES = 2  # of one number of a stored vector, which is not compressed
_MOST_PLACE = 100  # characters of the place of a wrong value
_MOST_PATH_BYTES, _MOST_NAME_BYTES = 4096, 255  # what Linux takes

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0, lt=2**31)]
Bytes = Annotated[int, Field(ge=0, lt=2**62)]
Plain = Annotated[dict[str, Any], AfterValidator(plain_json)]


def _folder_name(name: str) -> str:
    """Return the name of a folder, which need not be UTF-8, or an address, after checking it."""
    if Address.parse(name) is not None:
        return name
    encoded = os.fsencode(name)  # fails for what is no name of any file
    parts = encoded.split(b"/")
    if b"\0" in encoded or not Path(name).is_absolute():
        raise ValueError("no absolute path of a folder")
    if len(encoded) > _MOST_PATH_BYTES or max(map(len, parts)) > _MOST_NAME_BYTES:
        raise ValueError("a path that is too long")
    return name


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StoredFile(_Record):
    """Length and hash that a file of a fragment had when it was committed."""

    bytes: Bytes
    sha256: Sha256


class FragmentFiles(_Record):
    """The parts of a fragment; the fields are the keys of ``PARTS``."""

    images: StoredFile
    objects: StoredFile
    thumbs: StoredFile


class Fragment(_Record):
    """One committed fragment.

    Attributes:
        name: file name of its three parts, without folder and suffix.
        photos: photos looked at, of which ``empty`` had no objects and ``failed`` could not be read.
        objects: rows of its object table.
        files: length and hash of each part.
    """

    name: Annotated[str, Field(pattern=r"^[0-9A-Za-z_-]{1,64}$")]
    photos: Count
    empty: Count
    failed: Count
    objects: Count
    files: FragmentFiles

    def stored(self, part: str) -> StoredFile:
        """Length and hash of one of its parts (a key of ``PARTS``)."""
        stored: StoredFile = getattr(self.files, part)
        return stored

    def path(self, folder: Path, part: str) -> Path:
        """Return the path of a part (a key of ``PARTS``) in the library ``folder``."""
        return folder / part / (self.name + PARTS[part])


class FeatureSpace(_Record):
    """Network and recipe that make vectors comparable.

    Attributes:
        recipe: the network's bytes, taps, input size, pre-processing and describing recipe, as JSON values.
        class_names: names of the labels.
        dim: dimensions of the stored vectors.
    """

    recipe: Plain
    class_names: Annotated[tuple[str, ...], AfterValidator(plain_json)]
    dim: Annotated[int, Field(ge=1, le=65536)]

    @model_validator(mode="after")
    def _has_its_blocks(self) -> Self:
        blocks = self.read_recipe.describe.blocks
        if blocks and sum(block.width for block in blocks) != self.dim:
            raise ValueError(f"blocks that are not {self.dim} numbers wide together")
        return self

    @property
    def read_recipe(self) -> Recipe:
        """The parts of the recipe that are read one by one."""
        return Recipe.model_validate(self.recipe)

    @property
    def imported(self) -> bool:
        """True where another program made the vectors: no network here makes such."""
        return any(block.kind == IMPORTED for block in self.read_recipe.describe.blocks)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the canonical JSON of ``recipe``, in hex."""
        return fingerprint_of(self.recipe)

    def require(self, recipe: Mapping[str, Any], folder: Path) -> None:
        """Check that vectors of ``recipe`` can be compared with those of the library in ``folder``.

        Raises:
            FeatureSpaceError: they cannot; the message says what differs.
        """
        wanted = fingerprint_of(recipe)
        if wanted != self.fingerprint:
            differences = _differences(self.recipe, json.loads(json.dumps(recipe)))
            raise FeatureSpaceError(
                f"{folder} has feature space {self.fingerprint[:12]}, this run has {wanted[:12]} "
                f"({'; '.join(differences[:4])}): use the settings it was made with, analyse the photos "
                "into another folder, or describe the boxes anew (rtsearch analyze LIB --again)"
            )


class Manifest(_Record):
    """The whole of LIB/manifest.json.

    Attributes:
        space: what its vectors mean.
        settings: of the run that made it.
        photo_root: absolute folder, or address, that photo paths are relative to.
        next_fragment: number of the next fragment; never used twice, so that no reader mistakes one.
        fragments: in the order of their rows.
    """

    space: FeatureSpace
    settings: Annotated[dict[str, dict[str, Any]], AfterValidator(plain_json)] = {}
    photo_root: Annotated[str, AfterValidator(_folder_name)]
    next_fragment: Annotated[int, Field(ge=1, lt=2**62)] = 1
    fragments: tuple[Fragment, ...] = ()

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        """Rows and photos are counted in 32 bits, and each row of a table takes its bytes in the file."""
        for what in ("objects", "photos"):
            if sum(getattr(fragment, what) for fragment in self.fragments) >= 2**31:
                raise ValueError(f"more {what} than can be counted")
        if len({fragment.name for fragment in self.fragments}) < len(self.fragments):
            raise ValueError("a fragment that is named twice")
        for fragment in self.fragments:
            if fragment.objects * self.space.dim * _VALUE_BYTES > fragment.stored("objects").bytes:
                raise ValueError(f"more objects in fragment {fragment.name} than its file can hold")
            if fragment.photos > fragment.stored("images").bytes:  # the least that was seen is 1.5 bytes each
                raise ValueError(f"more photos in fragment {fragment.name} than its file can hold")
            if fragment.empty + fragment.failed > fragment.photos:
                raise ValueError(f"counts of fragment {fragment.name} that do not fit")
        return self

    @property
    def stamp(self) -> str:
        """SHA-256 over all that an index is derived from; it changes whenever an index has to be rebuilt."""
        files = [[f.name, *(f.stored(part).sha256 for part in PARTS)] for f in self.fragments]
        return fingerprint_of({"space": self.space.fingerprint, "fragments": files})

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read and check the manifest of a library folder.

        Raises:
            NotALibraryError: missing, empty or foreign folder.
            FormatError: written by a newer version.
            DamagedError: altered or truncated.
        """
        path = folder / MANIFEST_NAME
        document = _document(folder, path)
        version = document.get("version")
        if not isinstance(version, int) or version < 1:
            raise damaged_manifest(folder, "it has no version")
        if version > FORMAT_VERSION:
            raise FormatError(
                f"{folder} has library format {version}, this version of rtsearch knows {FORMAT_VERSION}: "
                "update rtsearch, or analyse the photos into another folder"
            )
        if document.pop("checksum", None) != fingerprint_of(document):
            raise damaged_manifest(folder, "its checksum is wrong")
        try:
            return cls.model_validate({key: document[key] for key in document if key in cls.model_fields})
        except ValidationError as error:
            problem = error.errors()[0]
            place = ".".join(map(str, problem["loc"]))[:_MOST_PLACE]
            raise damaged_manifest(
                folder, f"{place}: {problem['msg']}" if place else str(problem["msg"])
            ) from None

    def encoded(self) -> bytes:
        """Return the content of its file."""
        document = {"format": FORMAT_NAME, "version": FORMAT_VERSION, **self.model_dump(mode="json")}
        document["checksum"] = fingerprint_of(document)
        return json.dumps(document, indent=1).encode()

    def write(self, folder: Path) -> None:
        """Replace the manifest of ``folder``; the commit of everything it names."""
        write_atomic(folder / MANIFEST_NAME, self.encoded())


def fingerprint_of(value: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON (sorted keys, no blanks) of ``value``, in hex."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _document(folder: Path, path: Path) -> dict[str, Any]:
    hint = f"make a library with: rtsearch analyze PHOTOS {folder}"
    if folder.is_file():
        kind = "a photo" if folder.suffix.lower() in PHOTO_SUFFIXES else "a file"
        raise NotALibraryError(
            f"{folder} is {kind}, not the folder of a library; make one with: rtsearch analyze PHOTOS LIB"
        )
    if not folder.is_dir():
        raise NotALibraryError(f"{folder} is {'no folder' if folder.exists() else 'missing'}; {hint}")
    try:
        document = json.loads(read_regular(path, MAX_MANIFEST_BYTES))
    except FileNotFoundError:
        if holds_photos(folder):
            raise NotALibraryError(
                f"{folder} is a folder of photos; make a library of it first: rtsearch analyze {folder} LIB"
            ) from None
        empty = not any(folder.iterdir())
        raise NotALibraryError(
            f"{folder} is {'empty' if empty else 'no library (it has no manifest.json)'}; {hint}"
        ) from None
    except OSError as error:
        raise NotALibraryError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):  # not JSON, not UTF-8, or nested without end
        raise damaged_manifest(folder, "it is not JSON") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT_NAME:
        raise NotALibraryError(f"{path} is not the manifest of a library; {hint}")
    return document


def damaged_manifest(folder: Path, what: str) -> DamagedError:
    """Return the error for a manifest that cannot be used, with the way out."""
    return DamagedError(
        f"{folder / MANIFEST_NAME} is damaged ({what}): restore it from a backup, or analyse the photos into "
        "another folder"
    )


def _differences(ours: Any, theirs: Any, prefix: str = "") -> list[str]:
    """List the differences of two JSON values, as ``key: ours, here theirs``."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        keys = sorted(ours.keys() | theirs.keys())
        found = []
        for key in keys:
            found += _differences(ours.get(key), theirs.get(key), f"{prefix}.{key}" if prefix else key)
        return found
    return [] if ours == theirs else [f"{prefix}: {_short(ours)}, this run {_short(theirs)}"]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."
