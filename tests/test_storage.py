"""Addresses of object storage: read, refused, and put back into messages; refusals in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtsearch.errors import StorageError
from rtsearch.storage import Address, address_of, folder_name, in_addresses, library_folder, photo_folder
from rtsearch.storage.problems import worded

SECRET = "hunter2hunter2"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("s3://bucket/pictures.lib", ("s3", "bucket", "pictures.lib")),
        ("s3:/bucket/a/b", ("s3", "bucket", "a/b")),  # a Path has folded the slashes
        ("gs://bucket", ("gs", "bucket", "")),
        ("az://container/a/", ("az", "container", "a")),
        ("pictures.lib", None),
        ("./s3:/bucket", None),
        ("https://host/bucket", None),
    ],
)
def test_addresses_are_told_from_paths(text, parts):
    assert Address.parse(text) == (parts and Address(*parts))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"s3://{SECRET}@bucket/a", "has credentials in it"),
        (f"s3://key:{SECRET}@bucket/a", "has credentials in it"),
        (f"az://container/a?sig={SECRET}", "has credentials in it"),
        ("s3://", "names no bucket"),
        ("s3:///a", "names no bucket"),
        ("s3://bucket/a/../b", "a . or a .. in it"),
        ("s3://bucket/a//b", "an empty part"),
        ("s3://bucket/a\nb", "control characters"),
        ("s3://bucket/" + "a" * 300, "too long"),
    ],
)
def test_addresses_that_cannot_be_used(text, said):
    with pytest.raises(StorageError) as error:
        library_folder(text)
    assert said in str(error.value)
    assert SECRET not in str(error.value)


def test_a_folder_stands_for_an_address():
    folder = library_folder("s3://bucket/pictures.lib")
    assert address_of(folder) == Address("s3", "bucket", "pictures.lib")
    assert address_of(photo_folder("gs://bucket/a b/ü")) == Address("gs", "bucket", "a b/ü")
    assert folder_name(folder) == "s3://bucket/pictures.lib"
    assert photo_folder("s3://bucket/pictures.lib") != folder
    assert library_folder(folder) == folder
    assert address_of(folder / "index") is None
    assert address_of(Path("/somewhere/libraries/s3%3A%2F%2Fbucket%2Fpictures.lib")) is None


def test_paths_stay_as_they_are(tmp_path):
    assert library_folder("a/b.lib") == Path("a/b.lib")
    assert library_folder(tmp_path) == tmp_path
    assert library_folder(f"file://{tmp_path}/a%20b") == tmp_path / "a b"
    assert folder_name(tmp_path / "x" / "..") == str(tmp_path)


def test_messages_name_the_address():
    lib, photos = library_folder("s3://bucket/pictures.lib"), photo_folder("s3://bucket/photos")
    said = f"{lib} holds photos of {photos}; see {lib}: rtsearch library check {lib / 'manifest.json'}"
    assert in_addresses(said) == (
        "s3://bucket/pictures.lib holds photos of s3://bucket/photos; see s3://bucket/pictures.lib: rtsearch "
        "library check s3://bucket/pictures.lib/manifest.json"
    )
    assert in_addresses("nothing of that") == "nothing of that"


def test_one_address_inside_another():
    photos = Address("s3", "bucket", "photos")
    assert Address("s3", "bucket", "photos/lib").inside(photos) == "lib/"
    assert Address("s3", "bucket", "photos.lib").inside(photos) == ""
    assert Address("gs", "bucket", "photos/lib").inside(photos) == ""
    assert Address("s3", "bucket", "lib").inside(Address("s3", "bucket", "")) == "lib/"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("<Code>NoSuchBucket</Code>", "there is no such bucket"),
        ("<Code>ExpiredToken</Code>", "credentials have expired"),
        ("<Code>RequestTimeTooSkewed</Code>", "set the clock"),
        ("<Code>SignatureDoesNotMatch</Code>", "mend AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        (
            "error performing PUT http://169.254.169.254/latest/api/token",
            "there are no credentials; set AWS_",
        ),
        ("<Code>AccessDenied</Code>", "do not allow this"),
        ("Server returned non-2xx status code: 503 Service Unavailable", "overloaded"),
        ("HTTP error: error sending request", "AWS_ENDPOINT_URL"),
        ("something new", "the storage refuses (RuntimeError)"),
    ],
)
def test_refusals_are_worded_without_what_the_server_has_sent(said, words):
    error = worded(RuntimeError(f"{said} {SECRET}"), Address("s3", "bucket", "a"), "s3")
    assert words in str(error)
    assert str(error).startswith("s3://bucket/a: ")
    assert SECRET not in str(error)
