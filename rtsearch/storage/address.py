"""Addresses of folders on object storage, and the folders of this machine that stand for them.

    s3://BUCKET/KEY  gs://BUCKET/KEY  az://CONTAINER/KEY

Credentials never stand in an address: they come from the environment.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote

from rtsearch._util.masking import masked
from rtsearch._util.paths import path_of, user_cache
from rtsearch.errors import RtsearchError, StorageError

__all__ = [
    "Address",
    "address_of",
    "cache_home",
    "folder_name",
    "in_addresses",
    "is_server",
    "library_folder",
    "naming_addresses",
    "photo_folder",
]

_LIBRARIES, _PHOTOS = "libraries", "photos"
_ADDRESS = re.compile(r"(s3|gs|az):/{1,2}(.*)", re.DOTALL)  # a Path has folded two slashes to one
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,221}")
_QUOTED = r"/(?:libraries|photos)/([\w.~%-]+)"
_SERVER = re.compile(r"(https?|ray):/")
_FOLDED = re.compile(r"\b(https?|ray):/(?=[^/\s])")  # a server's address that was a Path
_MOST_NAME_BYTES = 250  # of a folder; file systems allow 255


class Address(NamedTuple):
    """Folder on object storage.

    Attributes:
        scheme: ``s3``, ``gs`` or ``az``.
        bucket: bucket, or container of Azure.
        key: of the folder, without a slash at its ends; "" for the whole bucket.
    """

    scheme: str
    bucket: str
    key: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}".rstrip("/")

    @classmethod
    def parse(cls, text: str) -> Address | None:
        """Read an address; None for what is a path.

        Raises:
            StorageError: it is an address that cannot be used; the message shows no password.
        """
        found = _ADDRESS.fullmatch(text)
        if found is None:
            return None
        bucket, _, key = found[2].partition("/")
        if "@" in bucket or "?" in found[2]:
            raise StorageError(
                f"{masked(text)} has credentials in it; leave them out and set them in the environment, such "
                "as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        if not _BUCKET.fullmatch(bucket):
            raise StorageError(f"{text} names no bucket: give an address such as s3://bucket/pictures.lib")
        key = key.rstrip("/")
        if any(part in ("", ".", "..") for part in key.split("/")) and key:
            raise StorageError(f"{text} has an empty part, a . or a .. in it: give the address without")
        if not key.isprintable():
            raise StorageError(f"{text!r} has control characters in it: give the address without")
        return cls(found[1], bucket, key)

    def inside(self, other: Address) -> str:
        """Return the key of this address relative to one above it, ending with a slash; "" elsewhere."""
        above = f"{other.key}/" if other.key else ""
        if self[:2] != other[:2] or not self.key.startswith(above):
            return ""
        return f"{self.key.removeprefix(above)}/"


def library_folder(given: str | Path) -> Path:
    """Return the folder of a library: for an address, the working copy that stands for it; else its path.

    Raises:
        StorageError: as for ``Address.parse``, or there is no cache folder.
    """
    return _folder(given, _LIBRARIES)


def photo_folder(given: str | Path) -> Path:
    """Return the folder of photos: for an address, the one that stands for it; else its path.

    Raises:
        StorageError: as for ``library_folder``.
    """
    return _folder(given, _PHOTOS)


def is_server(given: str | Path) -> bool:
    """Tell whether a library is named by the address of a server, http:// or ray://; see ``service``."""
    return _SERVER.match(str(given)) is not None


def _folder(given: str | Path, kind: str) -> Path:
    address = Address.parse(str(given))
    if is_server(given) and kind == _LIBRARIES:
        raise StorageError(
            f"{masked(str(given))} is a server of a library, which run, query and open_library search; "
            "this needs the folder of the library itself"
        )
    if address is None:
        return path_of(given) if isinstance(given, str) and given.startswith("file:") else Path(given)
    name = quote(str(address), safe="")
    if len(name) > _MOST_NAME_BYTES:
        raise StorageError(f"{address} is too long an address: give one of fewer than 200 characters")
    return cache_home() / kind / name


def address_of(folder: Path) -> Address | None:
    """Return the address that a folder of this machine stands for; None for all other folders."""
    home = _home()
    if home is None or folder.parent.name not in (_LIBRARIES, _PHOTOS) or folder.parent.parent != home:
        return None
    return Address.parse(unquote(folder.name))


def folder_name(folder: Path) -> str:
    """Return the address that a folder stands for, or its absolute path; for other machines to read."""
    address = address_of(folder)
    return str(folder.resolve()) if address is None else str(address)


def in_addresses(text: str) -> str:
    """Return a message with addresses in place of the folders that stand for them."""
    home, text = _home(), _FOLDED.sub(r"\1://", text)
    if home is None or str(home) not in text:
        return text
    return re.sub(re.escape(str(home)) + _QUOTED, lambda found: unquote(found[1]), text)


@contextlib.contextmanager
def naming_addresses() -> Iterator[None]:
    """Put addresses into the message of an error that leaves the block."""
    try:
        yield
    except RtsearchError as error:
        error.args = (in_addresses(str(error)), *error.args[1:])
        raise


def cache_home() -> Path:
    """Return the folder for all that is kept of object storage.

    Raises:
        StorageError: the user has no cache folder.
    """
    home = _home()
    if home is None:
        raise StorageError("object storage needs a folder for its cache: set XDG_CACHE_HOME")
    return home


def _home() -> Path | None:
    cache = user_cache()
    return None if cache is None else (cache / "storage").resolve()
