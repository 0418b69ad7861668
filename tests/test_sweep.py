"""Removal within a library: its own files go, foreign files stay, whatever the library says."""

from __future__ import annotations

import shutil
from pathlib import Path

import blobs
import pytest

from rtsearch.config import load_settings
from rtsearch.errors import LibraryError
from rtsearch.library import Library
from rtsearch.library.index import build_index, open_index
from rtsearch.library.sweep import remove_index

SETTINGS = load_settings(None, ["project.dim=6"])
OTHER = load_settings(None, ["project.dim=5"])
PARTS = {"images": ".parquet", "objects": ".parquet", "thumbs": ".pack"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of photos and a library of them with its index."""
    folder = tmp_path_factory.mktemp("sweep")
    blobs.write_photos(folder / "photos", 5)
    blobs.run(folder / "photos", folder / "lib")
    build_index(Library.open(folder / "lib"), SETTINGS)
    return folder


@pytest.fixture
def lib(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made / "lib", tmp_path / "lib")
    return tmp_path / "lib"


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A folder of somebody's files, some of them with names that a library gives."""
    folder = tmp_path / "foreign"
    for name in ("taxes/2024.txt", "0123456789abcdef/index.json", "000009.pack", "202401.parquet"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"PAR1" if name.endswith("parquet") else b"\xff\xd8\xff")
    return folder


def listing(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def test_an_index_that_is_a_link_is_refused(lib: Path, foreign: Path) -> None:
    shutil.rmtree(lib / "index")
    (lib / "index").symlink_to(foreign)
    before = listing(foreign)
    for open_it in (open_index, build_index):
        with pytest.raises(LibraryError, match=r"index is a link"):
            open_it(Library.open(lib), SETTINGS)
    assert listing(foreign) == before


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_is_a_link_is_refused(made: Path, lib: Path, foreign: Path, part: str) -> None:
    for path in (lib / part).iterdir():
        shutil.copy(path, foreign)
    shutil.rmtree(lib / part)
    (lib / part).symlink_to(foreign)
    before = listing(foreign)
    with pytest.raises(LibraryError, match=rf"{part} is a link"):
        blobs.run(made / "photos", lib)
    assert listing(foreign) == before


def test_a_link_in_the_place_of_an_index_is_not_followed(lib: Path, foreign: Path) -> None:
    (key,) = (lib / "index").glob("*/")
    shutil.rmtree(key)
    key.symlink_to(foreign / "0123456789abcdef")
    (lib / "index" / "fedcba9876543210").symlink_to(foreign)
    before = listing(foreign)
    with pytest.raises(LibraryError, match="move it elsewhere"):
        open_index(Library.open(lib), SETTINGS)
    build_index(Library.open(lib), OTHER)
    assert listing(foreign) == before


def test_an_index_folder_with_foreign_files_stays(lib: Path) -> None:
    (key,) = (lib / "index").glob("*/")
    (key / "photo.npy").write_bytes(b"damaged")
    (key / "notes.txt").write_text("somebody's")
    (lib / "index" / "backup").mkdir()
    with pytest.raises(LibraryError, match=f"{key.name} is in the way"):
        open_index(Library.open(lib), SETTINGS)
    build_index(Library.open(lib), OTHER)
    assert (key / "notes.txt").read_text() == "somebody's"
    assert (key / "photo.npy").exists()
    assert (lib / "index" / "backup").is_dir()


def test_only_folders_of_an_index_are_removed(tmp_path: Path) -> None:
    for name, files, gone in [
        ("0123456789abcdef", (), True),
        ("0123456789abcdef", ("photo.npy", ".kdtree.bin.4711"), True),
        (".building-12", ("photo.npy",), True),
        ("0123456789abcdef", ("photo.npy", "other.npy"), False),
        ("0123456789ABCDEF", ("photo.npy",), False),
        ("holiday", ("photo.npy",), False),
    ]:
        folder = tmp_path / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for file in files:
            (folder / file).touch()
        assert remove_index(folder, {"photo.npy", "kdtree.bin"}) is gone
        assert folder.exists() is not gone
    assert remove_index(tmp_path / ".building-99", {"photo.npy"})


def test_foreign_files_beside_fragments_stay_and_are_not_written_over(made: Path, lib: Path) -> None:
    number = Library.open(lib).manifest.next_fragment
    foreign = {
        lib / "thumbs" / f"{number:06d}.pack": b"RIFF",
        lib / "objects" / f"{number + 1:06d}.parquet.tmp": b"{}",
        lib / "images" / "202401.parquet": b"a,b",
        lib / "images" / "notes.txt": b"PAR1",
    }
    for path, data in foreign.items():
        path.write_bytes(data)
    (lib / "thumbs" / f"{number + 2:06d}.pack.tmp").symlink_to(made / "photos" / "000.png")
    photo = (made / "photos" / "000.png").read_bytes()
    shutil.copytree(made / "photos", lib.parent / "photos")
    (lib.parent / "photos" / "new.png").write_bytes(photo)
    blobs.run(lib.parent / "photos", lib)
    assert {path: path.read_bytes() for path in foreign} == foreign
    assert (made / "photos" / "000.png").read_bytes() == photo
    assert Library.open(lib).fragments[-1].name == f"{number + 3:06d}"
