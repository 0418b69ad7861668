"""Object storage that refuses, is busy, loses answers or is out of reach: what is said, and what is kept.

The answers come through the real client, from a proxy before a real S3 server.
"""

from __future__ import annotations

import itertools
import logging
from datetime import timedelta
from pathlib import Path

import object_storage
import pytest
from blobs import content, run, write_photos
from object_storage import KEY, SECRET, Answer, Proxy

from rtsearch.errors import RtsearchError, SourceError, StorageError
from rtsearch.library import Library, check_library
from rtsearch.storage import Address, Store, open_store, store


def store_of(address: str) -> Store:
    parsed = Address.parse(address)
    assert parsed is not None
    return open_store(parsed)


BUSY = Answer(503, "SlowDown")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """Pauses of milliseconds; as many tries as ever."""
    backoff = {
        "init_backoff": timedelta(milliseconds=5),
        "max_backoff": timedelta(milliseconds=20),
        "base": 2,
    }
    monkeypatch.setitem(store.RETRIES, "backoff", backoff)
    open_store.cache_clear()
    yield
    open_store.cache_clear()


@pytest.fixture
def proxy(s3_server, bucket, monkeypatch):
    with Proxy(s3_server, lambda _method, _path: None) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        open_store.cache_clear()
        yield proxy
        open_store.cache_clear()


def test_a_storage_that_is_busy_now_and_then_is_asked_again(bucket, proxy, tmp_path):
    photos, lib = tmp_path / "photos", Path(f"{bucket}/lib")
    write_photos(photos, 12)
    turn = itertools.count()
    proxy.fault = lambda _method, _path: BUSY if next(turn) % 3 else None
    run(photos, lib, commit_photos=4)
    run(photos, tmp_path / "disk", commit_photos=4)
    proxy.fault = lambda _method, _path: None
    assert content(lib) == content(tmp_path / "disk")
    assert len(proxy.requests) > 30


def test_an_answer_that_gets_lost_is_no_lost_race(bucket, proxy, tmp_path):
    photos, lib = tmp_path / "photos", Path(f"{bucket}/lib")
    write_photos(photos, 12)
    seen: set[str] = set()

    def lost_once_each(method: str, path: str) -> str | None:
        manifests = len([each for each in proxy.requests if each[0] == "PUT" and "manifest" in each[1]])
        name = f"{method} {path} {manifests if 'manifest' in path else ''}"
        return (
            "lost" if method == "PUT" and name not in seen and not seen.add(name) and manifests % 2 else None
        )

    proxy.fault = lost_once_each
    report = run(photos, lib, commit_photos=4)
    assert report.analysed == 12
    assert any("manifest" in name for name in seen)
    proxy.fault = lambda _method, _path: None
    run(photos, tmp_path / "disk", commit_photos=4)
    assert content(lib) == content(tmp_path / "disk")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (BUSY, "the storage is overloaded"),
        (Answer(403, "ExpiredToken"), "the credentials have expired"),
        (Answer(400, "ExpiredToken"), "the credentials have expired"),
        (Answer(403, "RequestTimeTooSkewed"), "this machine's clock differs"),
        (Answer(403, "AccessDenied"), "the credentials do not allow this"),
        (Answer(500, "InternalError"), "the storage has failed again and again"),
    ],
    ids=lambda value: getattr(value, "code", None) or "said",
)
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_refusals_are_told_in_one_line(bucket, proxy, tmp_path, answer, said, method, caplog):
    photos, lib = tmp_path / "photos", Path(f"{bucket}/lib")
    write_photos(photos, 4)
    proxy.fault = lambda asked, _path: answer if asked == method else None
    with caplog.at_level(logging.DEBUG), pytest.raises(StorageError) as error:
        run(photos, lib)
    assert said in str(error.value)
    assert str(error.value).startswith(f"{bucket}/lib: ")
    assert "\n" not in str(error.value)
    for secret in (SECRET, KEY):
        assert secret not in str(error.value)
        assert secret not in caplog.text


def test_a_storage_that_fails_in_the_middle_keeps_what_was_committed(bucket, proxy, tmp_path):
    photos, lib = tmp_path / "photos", Path(f"{bucket}/lib")
    write_photos(photos, 24)
    puts = itertools.count()
    proxy.fault = lambda method, _path: BUSY if method == "PUT" and next(puts) >= 9 else None
    with pytest.raises(StorageError):
        run(photos, lib, commit_photos=4)
    proxy.fault = lambda _method, _path: None
    kept = len(content(lib))
    assert 0 < kept < 24
    assert check_library(Library.open(lib)) == []
    assert run(photos, lib, commit_photos=4).kept == kept
    run(photos, tmp_path / "disk")
    assert content(lib) == content(tmp_path / "disk")


def test_photos_that_go_away_in_the_middle(bucket, proxy, tmp_path):
    photos = tmp_path / "photos"
    write_photos(photos, 48)
    for path in photos.rglob("*.png"):
        store_of(f"{bucket}/photos").write(path.relative_to(photos).as_posix(), path)
    gets = itertools.count()
    proxy.fault = lambda method, path: (
        Answer(403, "ExpiredToken") if method == "GET" and next(gets) >= 40 else None
    )
    with pytest.raises(SourceError, match=r"credentials have expired.*what was looked at is kept"):
        run(Path(f"{bucket}/photos"), tmp_path / "lib")
    proxy.fault = lambda _method, _path: None
    kept = len(Library.open(tmp_path / "lib").photos())
    assert 0 < kept < 48
    assert run(Path(f"{bucket}/photos"), tmp_path / "lib").analysed == 48 - kept


def test_what_the_environment_gets_wrong(bucket, tmp_path, monkeypatch):
    def said(address: str = f"{bucket}/lib", **environment: str) -> str:
        with monkeypatch.context() as patched:
            for name, value in environment.items():
                patched.setenv(name, value)
            open_store.cache_clear()
            with pytest.raises(RtsearchError) as error:
                Library.open(Path(address))
        open_store.cache_clear()
        assert SECRET not in str(error.value)
        return str(error.value)

    assert "credentials are refused" in said(AWS_SECRET_ACCESS_KEY="wrong")
    assert "credentials are refused" in said(AWS_ACCESS_KEY_ID="wrong")
    [port] = object_storage.free_ports(1)
    assert "AWS_ENDPOINT_URL" in said(AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}")
    assert "AWS_ENDPOINT_URL" in said(AWS_ENDPOINT_URL="http://no-such-host.invalid")
    assert "AWS_ALLOW_HTTP=true" in said(AWS_ALLOW_HTTP="false")
    assert "there is no such bucket" in said("s3://no-such-bucket-anywhere/lib")


def test_without_credentials(bucket, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    [port] = object_storage.free_ports(1)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"http://127.0.0.1:{port}")
    open_store.cache_clear()
    with pytest.raises(StorageError, match="there are no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET"):
        Library.open(Path(f"{bucket}/lib"))


def test_without_obstore(bucket, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "obstore", None)
    open_store.cache_clear()
    with pytest.raises(RtsearchError, match=r"s3:// needs obstore: pip install 'rtsearch\[cloud\]'"):
        Library.open(Path(f"{bucket}/lib"))
