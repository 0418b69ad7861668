"""Finding photos below a folder: order, links, names."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from rtsearch.config import Settings
from rtsearch.errors import SourceError
from rtsearch.library.left_out import in_words, left_out
from rtsearch.library.photos import find_photos


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())


def paths(root: Path, leave_out: Path | None = None, exclude: Sequence[str] = ()) -> list[str]:
    return [photo.path for photo in find_photos(root, leave_out, exclude).photos]


def test_folders_without_photos(tmp_path: Path) -> None:
    touch(tmp_path, "file")
    with pytest.raises(SourceError, match="missing"):
        find_photos(tmp_path / "missing")
    with pytest.raises(SourceError, match="not a folder"):
        find_photos(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="no photos that can be looked at; there is no file below it; give"):
        find_photos(tmp_path / "empty")
    with pytest.raises(
        SourceError, match=r"has no photos that can be looked at; left out: 1 other file \(without suffix\)"
    ):
        find_photos(tmp_path)


def test_all_kinds_in_order_of_their_paths(tmp_path: Path) -> None:
    names = [
        "b.JPG",
        "b.tiff",
        "c.avif",
        "d.jfif",
        "a/z.jpeg",
        "a b/c.png",
        "ä/写真.webp",
        "a/b/c/d.gif",
        "Z.bmp",
        ".hidden/x.jpg",
    ]
    touch(tmp_path, *names, "a/notes.txt", "jpg", "a/b/movie.mp4")
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    scan = find_photos(tmp_path)
    assert [photo.path for photo in scan.photos] == sorted(names)
    assert scan.refused == [("pipe.jpg", "a pipe, not a file")]
    photo = scan.photos[0]
    stat = (tmp_path / photo.path).stat()
    assert (photo.size_bytes, photo.mtime_ns) == (stat.st_size, stat.st_mtime_ns)


def test_links(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    touch(root, "a/1.jpg", "blob")
    touch(outside, "secret.jpg", "album/2.jpg")
    (root / "a" / "loop").symlink_to(root)
    (root / "a" / "itself.jpg").symlink_to("itself.jpg")
    (root / "dangling.jpg").symlink_to(root / "gone")
    (root / "inside.jpg").symlink_to(root / "blob")
    (root / "outside.jpg").symlink_to(outside / "secret.jpg")
    (root / "album").symlink_to(outside / "album")
    (root / "up").symlink_to("..")
    (root / "not a photo").symlink_to(outside / "secret.jpg")
    scan = find_photos(root)
    assert [photo.path for photo in scan.photos] == ["a/1.jpg", "inside.jpg"]
    leads_out = "a link that leads out of the folder"
    refused = dict(scan.refused)
    assert set(refused) == {"a/itself.jpg", "album", "dangling.jpg", "outside.jpg", "up"}
    assert [path for path, reason in scan.refused if reason == leads_out] == ["album", "outside.jpg", "up"]


def test_content_decides_and_the_rest_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)  # without any extra
    jpeg, heic = b"\xff\xd8\xff\xe0", b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf"
    for name, start in [
        ("a JPEG by content.HEIC", jpeg),
        ("b.heic", heic),
        ("c.HEIC", heic),
        ("d.NEF", b"MM\0*\0\0\0\x08"),
        ("e.jxl", b"\xff\x0a"),
        ("f.psd", b"8BPS"),
        ("g.xmp", b"<x:xmpmeta>"),
        ("h", b"text"),
        ("i.xmp", b"<x:xmpmeta>"),
    ]:
        (tmp_path / name).write_bytes(start)
    scan = find_photos(tmp_path)
    assert [photo.path for photo in scan.photos] == ["a JPEG by content.HEIC"]
    assert in_words(left_out(scan.others)) == (
        "2 .heic (pip install 'rtsearch[heic]'), 1 .jxl (pip install 'rtsearch[jxl]'), "
        "1 .nef (pip install 'rtsearch[raw]'), 1 .psd (export them as PNG), "
        "3 other files (.xmp without suffix)"
    )
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)  # with all of them
    assert paths(tmp_path) == ["a JPEG by content.HEIC", "b.heic", "c.HEIC", "d.NEF", "e.jxl"]


def test_a_link_in_a_circle_hides_nothing(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    (tmp_path / "circle").symlink_to("circle")
    scan = find_photos(tmp_path)
    assert [photo.path for photo in scan.photos] == ["a.jpg"]
    assert scan.refused == []


def test_links_to_folders_are_counted(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg")
    (tmp_path / "again").symlink_to("a")
    (tmp_path / "a" / "up").symlink_to("..")
    scan = find_photos(tmp_path)
    assert [photo.path for photo in scan.photos] == ["a/1.jpg"]
    assert scan.links == 2


EXCLUDE = Settings().analyze.exclude


def test_previews_bins_and_code_are_not_looked_at(tmp_path: Path) -> None:
    kept = ["a.jpg", "b/git.jpg", "b/thumbnails/c.jpg"]
    junk = ["@eaDir/a.jpg/SYNOPHOTO.jpg", "b/@EADIR/x.jpg", "#recycle/x.jpg", "._a.jpg", ".Trash-1000/x.jpg"]
    junk += [
        "node_modules/x.png",
        ".git/x.png",
        "Catalog.lrdata/1/x.jpg",
        "lost+found/x.jpg",
        ".thumbnails/x.png",
    ]
    touch(tmp_path, *kept, *junk)
    scan = find_photos(tmp_path, exclude=EXCLUDE)
    assert [photo.path for photo in scan.photos] == kept
    assert sum(scan.excluded_counts.values()) == len(junk)
    assert scan.excluded_counts["@eaDir"] == 2
    assert [photo.path for photo in find_photos(tmp_path).photos] == sorted([*kept, *junk])


def test_patterns_of_paths_and_of_a_folder(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "a/1.jpg",
        "a/b/2.jpg",
        "a/b/3.png",
        "b/4.jpg",
        "b/5.png",
        "c/b/6.jpg",
        "d/7.jpg",
        "[x]/8.jpg",
    )
    assert paths(tmp_path, exclude=["a/b", "/d/", "[[]x]"]) == ["a/1.jpg", "b/4.jpg", "b/5.png", "c/b/6.jpg"]
    (tmp_path / "a" / ".rtsearchignore").write_text("# previews\n\n*.PNG\n  /1.jpg  \n")
    (tmp_path / "c" / ".rtsearchignore").write_text("*\n")
    assert paths(tmp_path, exclude=["d"]) == ["[x]/8.jpg", "a/b/2.jpg", "b/4.jpg", "b/5.png"]
    assert ".rtsearchignore" not in find_photos(tmp_path).others


def test_a_file_of_patterns_that_cannot_be_read_closes_its_folder(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b/private.jpg")
    os.mkfifo(tmp_path / "b" / ".rtsearchignore")
    scan = find_photos(tmp_path)
    assert [photo.path for photo in scan.photos] == ["a.jpg"]
    assert scan.refused == [("b/", "cannot be read: a pipe, not a file")]


def test_a_folder_without_photos_says_what_is_there_instead(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    touch(outside, "1.jpg")
    touch(root, "._a.jpg", "notes.txt")
    (root / "back").symlink_to(root)
    for i in range(5):
        (root / f"{i}.jpg").symlink_to(outside / "1.jpg")
    with pytest.raises(SourceError) as caught:
        find_photos(root, exclude=EXCLUDE)
    reason = "a link that leads out of the folder"
    assert str(caught.value) == (
        f"{root} has no photos that can be looked at; 0.jpg: {reason}; 1.jpg: {reason}; 2.jpg: {reason}; "
        "and 2 more; analyze.exclude: 1 x ._*; "
        "1 linked folder not followed: photos count under their own names; "
        "left out: 1 other file (.txt)"
    )


def test_a_root_that_is_a_link(tmp_path: Path) -> None:
    touch(tmp_path, "real/a.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert paths(tmp_path / "link") == ["a.jpg"]


def test_the_library_inside_the_photos_is_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "lib/thumbs/x.jpg")
    assert paths(tmp_path, tmp_path / "lib") == ["a.jpg"]
    assert paths(tmp_path, tmp_path / "elsewhere") == ["a.jpg", "lib/thumbs/x.jpg"]


def test_the_library_in_place_of_the_photos(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    with pytest.raises(SourceError, match="is the library itself"):
        find_photos(tmp_path, tmp_path / "b" / "..")


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xff.jpg")).write_bytes(b"x")
    scan = find_photos(tmp_path)
    assert [photo.path for photo in scan.photos] == ["a.jpg"]
    assert scan.refused == [("b\\xff.jpg", "its name is not UTF-8: rename it")]


def test_a_folder_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.jpg", "closed/b.jpg")
    real = os.scandir

    def scandir(folder: Path) -> object:
        if folder.name in refusing:
            raise PermissionError(13, "Permission denied")
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    refusing = {"closed"}
    scan = find_photos(tmp_path)
    assert [photo.path for photo in scan.photos] == ["a.jpg"]
    assert scan.refused == [("closed/", "cannot be read: Permission denied")]
    refusing = {tmp_path.name}
    with pytest.raises(SourceError, match="Permission denied"):
        find_photos(tmp_path)
