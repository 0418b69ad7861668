"""Readers beside a writer: what a reader has opened stays whole until it is closed."""

from __future__ import annotations

import errno
import fcntl
import subprocess
import sys
from pathlib import Path

import blobs
import forked
import numpy as np
import pytest

from rtsearch.config import load_settings
from rtsearch.library import Library, LibraryWriter
from rtsearch.library.index import open_index
from rtsearch.library.reader_lock import ReaderLock, without_readers
from rtsearch.library.thumbnails import GREY, ThumbCache

SETTINGS = load_settings(None, ["project.dim=6"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    blobs.write_photos(tmp_path / "photos", 20)
    blobs.run(tmp_path / "photos", tmp_path / "lib", commit_photos=6)
    return tmp_path


def change_photos(folder: Path) -> None:
    """Delete one photo of the first fragment and change one of another, and bring the library up to date."""
    (folder / "photos" / "000.png").unlink()
    (folder / "photos" / "sub" / "009.png").write_bytes((folder / "photos" / "014.png").read_bytes())
    blobs.run(folder / "photos", folder / "lib")


def test_crops_stay_while_the_library_is_open(folder: Path) -> None:
    lib = folder / "lib"
    index = open_index(Library.open(lib), SETTINGS)
    expected = [ThumbCache(index.thumb_places, 1 << 24).get(row) for row in range(len(index))]
    cache = ThumbCache(index.thumb_places, 1 << 24)
    change_photos(folder)
    open_index(Library.open(lib), SETTINGS)
    for row, picture in enumerate(expected):
        np.testing.assert_array_equal(cache.get(row), picture)
        assert np.unique(picture).tolist() != [GREY]
    np.testing.assert_array_equal(index.points(np.arange(len(index), dtype=np.int32)).shape, (len(index), 6))
    assert sum(len(batch["label"]) for batch in index.library.objects()) == len(index)
    assert blobs.files(lib) > blobs.expected_files(lib)
    del index, cache
    LibraryWriter.open(lib, Library.open(lib).space, photo_root=folder / "photos").close()
    assert {name for name in blobs.files(lib) if "index" not in name} == blobs.expected_files(lib)


def test_a_reader_in_another_process_counts_until_it_ends(folder: Path) -> None:
    lib = folder / "lib"
    code = (
        "import sys, pathlib; from rtsearch.library import Library\n"
        "library = Library.open(pathlib.Path(sys.argv[1])); print('open', flush=True); sys.stdin.read()"
    )
    with forked.Popen(
        [sys.executable, "-c", code, str(lib)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"open\n"
        with without_readers(lib) as alone:
            assert alone is False
        reader.kill()
    with without_readers(lib) as alone:
        assert alone is True


def test_without_readers_replaced_files_go_at_once(folder: Path) -> None:
    change_photos(folder)
    assert blobs.files(folder / "lib") == blobs.expected_files(folder / "lib")


def test_without_locks_replaced_files_stay_until_the_next_writer(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lib, real = folder / "lib", fcntl.flock

    def flock(descriptor: int, operation: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").resolve() == lib.resolve():
            raise OSError(errno.ENOLCK, "No locks available")
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    change_photos(folder)
    assert blobs.files(lib) > blobs.expected_files(lib)
    LibraryWriter.open(lib, Library.open(lib).space, photo_root=folder / "photos").close()
    assert blobs.files(lib) == blobs.expected_files(lib)


def test_a_missing_folder_has_no_reader(tmp_path: Path) -> None:
    ReaderLock(tmp_path / "missing")
    assert list(tmp_path.iterdir()) == []
