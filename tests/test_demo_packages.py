"""Packages of photos: only what is wanted comes out of them, only what is pinned goes in, and once."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from packages import SUFFIXES, package_of, photo, resource_file, write_package

from rtsearch.errors import DownloadError
from rtsearch.jobs.demo import archives, collection
from rtsearch.jobs.demo.archives import read_files, read_qt_resources
from rtsearch.jobs.demo.collection import CREDITS, Collected, collect, collect_all, copy_photos
from rtsearch.jobs.demo.download import check_download
from rtsearch.jobs.demo.packages import PACKAGES

FILES = {
    "package/a/one.jpg": photo(1),
    "package/b/two words.png": photo(2, suffix=".png"),
    "package/b/one.jpg": photo(3),
    "package/index.js": b"code",
    "package/LICENSE": b"free",
}
KINDS = sorted(SUFFIXES.values())


def everything(name: str) -> bool:
    return name != "control"


def read(path: Path) -> dict[str, bytes]:
    return dict(read_files(path, everything))


# Archives --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", KINDS)
def test_files_of_a_package(tmp_path, suffix):
    path = write_package(tmp_path / f"p{suffix}", FILES)
    assert read(path) == FILES
    assert list(read_files(path, lambda name: name.endswith(".js"))) == [("package/index.js", b"code")]
    assert read(write_package(tmp_path / f"none{suffix}", {})) == {}


@pytest.mark.parametrize("suffix", KINDS)
@pytest.mark.parametrize("name", ["../x.jpg", "a/../../x.jpg", "/x.jpg", "a\\..\\x.jpg"])
def test_a_name_that_leads_out_of_the_folder(tmp_path, suffix, name):
    path = write_package(tmp_path / f"p{suffix}", {"a/fine.jpg": photo(), name: photo(1)})
    with pytest.raises(DownloadError, match="leads out of its folder"):
        read(path)
    assert list(read_files(path, lambda one: "fine" in one)) == [("a/fine.jpg", photo())]


@pytest.mark.parametrize("suffix", [".tgz", ".deb"])
def test_links_are_skipped(tmp_path, suffix):
    path = write_package(tmp_path / f"p{suffix}", {"a.jpg": b"a"}, {"b.jpg": "/etc/passwd", "../c": "a.jpg"})
    assert read(path) == {"a.jpg": b"a"}


@pytest.mark.parametrize("suffix", KINDS)
def test_bounds_of_size_and_number(tmp_path, suffix, monkeypatch):
    path = write_package(tmp_path / f"p{suffix}", {"a.jpg": b"a" * 1001, "b.jpg": b"b", "c.jpg": b"c"})
    assert len(read(path)) == 3
    monkeypatch.setattr(archives, "MOST_FILE_BYTES", 1000)
    with pytest.raises(DownloadError, match=r"1,001 bytes: 'a\.jpg'"):
        read(path)
    monkeypatch.undo()
    monkeypatch.setattr(archives, "MOST_FILES", 2)
    with pytest.raises(DownloadError, match="more than 2 photos"):
        read(path)


@pytest.mark.parametrize("suffix", KINDS)
def test_a_package_that_is_cut_off(tmp_path, suffix):
    path = write_package(tmp_path / f"p{suffix}", FILES)
    package, whole, cut = package_of(path), path.read_bytes(), tmp_path / f"cut{suffix}"
    refused = 0
    for size in range(0, len(whole), 97):
        cut.write_bytes(whole[:size])
        with pytest.raises(DownloadError, match="bytes instead of"):
            check_download(package, cut)
        got = {}
        try:
            for name, content in read_files(cut, everything):
                got[name] = content
        except DownloadError as error:
            refused += f"cut{suffix} is" in str(error)
        assert got.items() <= FILES.items()  # tar cannot tell an end between two files, but none is cut
    assert refused > 5
    cut.write_bytes(b"no archive at all " * 9)
    with pytest.raises(DownloadError, match=r"is damaged|is no Debian package"):
        read(cut)


def test_a_package_of_another_kind(tmp_path):
    (tmp_path / "p.rpm").write_bytes(b"")
    with pytest.raises(DownloadError, match=r"p\.rpm is no \.whl, \.tgz or \.deb"):
        read(tmp_path / "p.rpm")


# Qt resources ----------------------------------------------------------------------------------------------


def test_pictures_of_a_resource_file(tmp_path):
    content = resource_file({"a.jpg": b"a", "b.jpg": b"", "c.jpg": b"packed"}, packed="c.jpg")
    assert list(read_qt_resources(content)) == [("photos/a.jpg", b"a"), ("photos/b.jpg", b"")]
    path = write_package(tmp_path / "p.deb", {"./usr/x.rcc": content, "./usr/y.jpg": b"y"})
    wanted = ("usr/x.rcc", "usr/x.rcc/photos/b.jpg", "usr/y.jpg")
    assert list(read_files(path, wanted.__contains__)) == [
        ("usr/x.rcc/photos/b.jpg", b""),
        ("usr/y.jpg", b"y"),
    ]


def test_a_damaged_resource_file(tmp_path):
    content = resource_file({"a.jpg": b"aaaa", "b.jpg": b"bbbb"})
    for size in range(len(content) - 8):  # the last eight bytes are a date
        path = write_package(tmp_path / "p.whl", {"x.rcc": content[:size]})
        with pytest.raises(DownloadError):
            read(path)
    tree = struct.unpack_from(">I", content, 8)[0]
    root, folder = tree + 6, tree + 22 + 6
    for at, children, first in ((root, 1, 0), (folder, 2, 1), (root, 2**31, 1), (folder, 2, 2**30)):
        wrong = bytearray(content)
        struct.pack_into(">II", wrong, at, children, first)
        with pytest.raises((DownloadError, struct.error)):
            list(read_qt_resources(bytes(wrong)))
    with pytest.raises(DownloadError, match="not one of Qt"):
        list(read_qt_resources(b"RIFF" + content[4:]))


# Downloads -------------------------------------------------------------------------------------------------


def test_the_catalogue_pins_every_package():
    assert [package for package in PACKAGES if len(package.sha256) != 64 or package.bytes <= 0] == []
    assert (
        len({package.short for package in PACKAGES})
        == len({package.key for package in PACKAGES})
        == len(PACKAGES)
    )
    kinds = [("pip", "npm", "apt-get").index(package.manager) for package in PACKAGES]
    assert kinds == sorted(kinds)  # wheels first, as pip is always there


def test_another_file_than_the_pinned_one(tmp_path):
    path = write_package(tmp_path / "p.tgz", FILES)
    package = package_of(path)
    check_download(package, path)
    changed = bytearray(path.read_bytes())
    changed[20] ^= 1
    path.write_bytes(changed)
    with pytest.raises(DownloadError, match="npm brought another file"):
        check_download(package, path)
    path.write_bytes(changed[:-1])
    with pytest.raises(DownloadError, match=r"npm brought .* bytes instead of"):
        check_download(package, path)


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """Puts a command into the only folder of PATH: ``tool("npm", "sh lines")``."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def put(name: str, lines: str) -> None:
        path = folder / name
        path.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{lines}\n", encoding="utf-8")
        path.chmod(0o755)

    return put


@pytest.fixture
def package(tmp_path):
    return package_of(write_package(tmp_path / "p.tgz", FILES))


def test_a_package_is_downloaded_once(tmp_path, tool, package, monkeypatch):
    tool("npm", f'cp "{tmp_path}/p.tgz" some-photos-1.0.tgz; echo "$@" > "{tmp_path}/asked"')
    told: list[str] = []
    found = collect(package, tmp_path / "cache", told.append, limit_s=60)
    assert "some-photos@1.0" in (tmp_path / "asked").read_text()
    assert "--ignore-scripts" in (tmp_path / "asked").read_text()
    assert told == ["downloading some-photos 1.0 with npm: 0.0 MB, once"]
    assert found.photos == ["some-one-2.jpg", "some-one.jpg", "some-two_words.png"]
    assert set(found.names).difference(found.photos) == {"some-LICENSE.txt"}
    assert (found.folder / "some-one.jpg").read_bytes() == FILES["package/a/one.jpg"]
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {package.key}

    tool("npm", "exit 1")
    assert collect(package, tmp_path / "cache", told.append, limit_s=0) == found
    assert len(told) == 1
    (found.folder / "some-one.jpg").write_bytes(b"cut")  # as a full disk or a cleaner leaves it
    with pytest.raises(DownloadError):
        collect(package, tmp_path / "cache", told.append, limit_s=60)
    tool("npm", f'cp "{tmp_path}/p.tgz" some-photos-1.0.tgz')
    assert collect(package, tmp_path / "cache", told.append, limit_s=60) == found
    assert (found.folder / "some-one.jpg").read_bytes() == FILES["package/a/one.jpg"]


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ("echo first >&2; echo 'npm error code E404' >&2; exit 1", "npm: npm error code E404"),
        ("exit 0", "npm: brought no file"),
        ("echo x > a.tgz", "npm brought 2 bytes instead of"),
        ("exec sleep 60", "npm did not finish within"),
    ],
)
def test_what_cannot_be_downloaded_is_left_out(tmp_path, tool, package, lines, complaint):
    tool("npm", lines)
    told: list[str] = []
    limit_s = 0.2 if "sleep" in lines else 60.0
    assert collect_all(tmp_path / "cache", told.append, packages=[package], limit_s=limit_s) == []
    assert len(told) == 2
    assert told[1].startswith(f"left out: some-photos 1.0: {complaint}")
    assert list((tmp_path / "cache").iterdir()) == []


def test_without_tools_and_offline(tmp_path, tool, package):
    debian = package_of(tmp_path / "p.tgz", "apt-get")
    told: list[str] = []
    assert collect_all(tmp_path / "cache", told.append, packages=[package, debian]) == []
    assert told == [
        "left out: some-photos 1.0: npm is not installed; the library is smaller without",
        "left out: some-photos 1.0: apt-get is not installed; the library is smaller without",
    ]
    told.clear()
    assert collect_all(tmp_path / "new", told.append, packages=[package, debian], offline=True) == []
    assert len(told) == 1
    assert told[0].startswith("left out: some-photos 1.0, some-photos 1.0: not downloaded yet")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("files", "complaint"),
    [({"LICENSE": b"free"}, "none of the photos expected"), ({"../x.jpg": b""}, "leads out of its folder")],
)
def test_a_package_without_what_is_expected(tmp_path, tool, files, complaint):
    package = package_of(write_package(tmp_path / "q.tgz", files))
    tool("npm", f'cp "{tmp_path}/q.tgz" .')
    with pytest.raises(DownloadError, match=complaint):
        collect(package, tmp_path / "cache", lambda _: None, limit_s=60)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_package_with_too_many_bytes(tmp_path, tool, package, monkeypatch):
    monkeypatch.setattr(collection, "_MOST_BYTES", 1000)
    tool("npm", f'cp "{tmp_path}/p.tgz" .')
    with pytest.raises(DownloadError, match="more than 1,000 bytes"):
        collect(package, tmp_path / "cache", lambda _: None, limit_s=60)


# Copies ----------------------------------------------------------------------------------------------------


def test_photos_stand_beside_their_credits(tmp_path, package):
    cache, folder = tmp_path / "cache", tmp_path / "photos"
    cache.mkdir()
    folder.mkdir()
    for name in ("some-a.jpg", "some-b.jpg", "some-LICENSE.txt"):
        (cache / name).write_bytes(name.encode())
    for name in ("some-old.jpg", "mine.jpg", "something.jpg"):
        (folder / name).write_bytes(b"")
    (folder / "some-b.jpg").write_bytes(b"some-b.jpg")  # copied by an earlier call
    part = Collected(package, cache, ("some-LICENSE.txt", "some-a.jpg", "some-b.jpg"))
    copy_photos([part], folder, without=["some-b.jpg"])
    assert {path.name for path in folder.iterdir()} == {
        *("some-a.jpg", "some-LICENSE.txt", CREDITS, "mine.jpg", "something.jpg", "some-old.jpg")
    }
    assert "some-*  some-photos 1.0. Noise. See some-LICENSE.txt." in (folder / CREDITS).read_text()
    before = (folder / "some-a.jpg").stat().st_mtime_ns
    copy_photos([part], folder)
    assert (folder / "some-a.jpg").stat().st_mtime_ns == before
    assert (folder / "some-b.jpg").read_bytes() == b"some-b.jpg"
    copy_photos([], folder)
    assert (folder / "some-a.jpg").exists()


def test_photos_that_stay_keep_their_credits(tmp_path):
    """A package that cannot be had this time has left its photos there, which are analysed too."""
    package = PACKAGES[0]
    (tmp_path / f"{package.short}-chair.jpg").write_bytes(b"")
    copy_photos([], tmp_path)
    assert package.about in (tmp_path / CREDITS).read_text()
