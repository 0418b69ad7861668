"""An index that is damaged or made up: never believed, built again from the fragments."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import shutil
from pathlib import Path

import blobs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_index import SETTINGS, columns, opened

from rtsearch.errors import LibraryError, RtsearchError
from rtsearch.library import Library, index_files
from rtsearch.library import index as index_module
from rtsearch.library.index import remembered_settings
from rtsearch.library.index_files import PhotoPaths, are_safe_paths
from rtsearch.library.schema import is_safe_path
from rtsearch.search import KDTree
from rtsearch.search.arrays import TreeArrays
from rtsearch.search.calibrate import Calibration
from rtsearch.search.store import save_arrays


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of 30 blob photos with its index."""
    folder = tmp_path_factory.mktemp("blobs")
    blobs.write_photos(folder / "photos", 30)
    blobs.run(folder / "photos", folder / "lib", commit_photos=7)
    opened(folder / "lib")
    return folder / "lib"


@pytest.fixture
def lib(indexed: Path, tmp_path: Path) -> Path:
    shutil.copytree(indexed, tmp_path / "lib")
    return tmp_path / "lib"


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) * 2 // 3] ^= 0x10
    path.write_bytes(data)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


FILES = ["index.json", "photo.npy", "xyxy.npy", "label.npy", "pack.npy", "thumb_bytes.npy", "paths.npy"]
FILES += ["leader.npy", "times_s.npy", "track.npy"]
FILES += [
    "colours.npy",
    "thumb_crc32.npy",
    "paths_end.npy",
    "thumb_offset.npy",
    "projection.npy",
    "kdtree.bin",
]


def numpy_file(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def with_header(text: str) -> bytes:
    """A file of numpy's whose header is this, and a page of zeros."""
    return b"\x93NUMPY\x02\x00" + len(text).to_bytes(4, "little") + text.encode() + bytes(4096)


MADE_UP = {
    "nested": lambda a: with_header("[" * 10_000),
    "no Python": lambda a: with_header("{'descr': '<i4', 'shape': (3, '"),
    "huge": lambda a: with_header(str({"descr": "<i4", "fortran_order": False, "shape": (2**62,)})),
    "negative": lambda a: with_header(str({"descr": "<i4", "fortran_order": False, "shape": (-1,)})),
    "structured": lambda a: np.zeros(a.shape, [("a", np.int32), ("b", np.float64)]),
    "text": lambda a: np.full(a.shape, "text"),
    "objects": lambda a: np.full(a.shape, None),
    "NaN": lambda a: np.full(a.shape, np.nan),
    "wider": lambda a: a.astype(np.complex128),
    "longer": lambda a: np.concatenate([a, a]),
    "other axes": lambda a: a.reshape(-1, 1),
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")) if a.itemsize > 1 else a[:-1],
    "negative numbers": lambda a: np.full_like(a, -9) if a.dtype.kind == "i" else np.full(a.shape, -9),
}


def test_the_list_of_files_is_the_whole_list(lib):
    (folder,) = (lib / "index").glob("*/")
    assert {path.name for path in folder.iterdir()} == set(FILES) == index_files.FILES


@pytest.mark.parametrize("damage", [_truncate, _flip, _empty, Path.unlink])
def test_a_damaged_index_is_built_again(lib, damage, caplog):
    expected = opened(lib).search(columns(lib)["vector"].astype(np.float32), 5, exact=True)
    (folder,) = (lib / "index").glob("*/")
    for path in sorted(folder.iterdir()):
        damage(path)
        with caplog.at_level(logging.WARNING):
            index = opened(lib)
        assert path.name.partition(".")[0] in caplog.text, path.name
        caplog.clear()
        found = index.search(columns(lib)["vector"].astype(np.float32), 5, exact=True)
        np.testing.assert_array_equal(found.distance, expected.distance)
        np.testing.assert_array_equal(found.row, expected.row)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"files": []}', '{"files": {"a": 1}}', '{"files": {}}', "\xff"]
)
def test_a_list_of_files_that_says_something_else(lib, text):
    (folder,) = (lib / "index").glob("*/")
    (folder / "index.json").write_text(text, encoding="latin-1")
    (folder / "photo.npy").write_bytes(b"not numpy")
    assert len(opened(lib)) == Library.open(lib).object_count


def test_numbers_that_lead_nowhere_are_not_believed(lib):
    """Hashes guard against accidents; ranges are looked at as well."""
    (folder,) = (lib / "index").glob("*/")
    n = Library.open(lib).object_count
    made_up = {
        "photo": np.full(n, 999, np.int32),
        "label": np.full(n, 3, np.int32),
        "times_s": np.full((n, 3), np.inf),
    }
    for name, values in made_up.items():
        np.save(folder / f"{name}.npy", values)
        sign(folder)
        assert opened(lib).hits(np.arange(n, dtype=np.int32))[0]["photo"] == "000.png"


@pytest.mark.parametrize("name", ["photo", "xyxy", "label", "pack", "paths", "paths_end", "projection"])
def test_a_made_up_array_is_built_again(lib, name, caplog):
    (folder,) = (lib / "index").glob("*/")
    path = folder / f"{name}.npy"
    array = np.load(path)
    for make in MADE_UP.values():
        content = make(array)
        path.write_bytes(content if isinstance(content, bytes) else numpy_file(content))
        sign(folder)
        with pytest.raises((RtsearchError, OSError)):
            index_module._load(Library.open(lib), SETTINGS, folder)
    with caplog.at_level(logging.WARNING):
        index = opened(lib)
    assert "the index is built again" in caplog.text
    assert index.hits(np.zeros(1, np.int32))[0]["photo"] == "000.png"


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"format": 3, "fragments": [], "files": {"photo.npy": {"bytes": 1e999, "sha256": ""}}}',
        '{"format": 3, "fragments": [], "files": {"../../photo.npy": {"bytes": 1, "sha256": ""}}}',
        " " * (1 << 20) + "{}",
    ],
    ids=["nested", "infinite", "outside", "large"],
)
def test_a_made_up_list_of_files_is_built_again(lib, text, caplog):
    (folder,) = (lib / "index").glob("*/")
    (folder / "index.json").write_text(text)
    with caplog.at_level(logging.WARNING):
        assert len(opened(lib)) == Library.open(lib).object_count
    assert "the index is built again" in caplog.text
    assert len(caplog.text) < 1000


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(lib, caplog):
    (folder,) = (lib / "index").glob("*/")
    (folder / "label.npy").unlink()
    os.mkfifo(folder / "label.npy")
    with pytest.raises(LibraryError, match="in the way of the index"):
        opened(lib)
    (folder / "label.npy").unlink()
    (lib / "index" / "settings.json").unlink()
    os.mkfifo(lib / "index" / "settings.json")
    assert "project" not in remembered_settings(Library.open(lib))


@pytest.mark.parametrize("name", ["../../../etc/passwd", "/etc/passwd", "a/../../b", "a//b", "", "a\0b"])
def test_a_photo_outside_of_its_folder_is_not_named(lib, name, caplog):
    (folder,) = (lib / "index").glob("*/")
    paths = list(Library.open(lib).photos().path)
    PhotoPaths.save(folder, [name, *paths[1:]])
    sign(folder)
    with caplog.at_level(logging.WARNING):
        assert opened(lib).photo(0) == "000.png"
    assert "leads out of the photo folder" in caplog.text


@given(paths=st.lists(st.text("./a\0", max_size=6), max_size=8))
def test_paths_are_safe_where_each_of_them_is(paths):
    encoded = [path.encode() for path in paths]
    end = np.cumsum([len(e) for e in encoded], dtype=np.int64)
    text = np.frombuffer(b"".join(encoded), np.uint8)
    assert are_safe_paths(text, end) == all(map(is_safe_path, paths))


def sign(folder: Path) -> None:
    """Make the list of files say that all of them are as they should be."""
    document = json.loads((folder / "index.json").read_text())
    for name in document["files"]:
        data = (folder / name).read_bytes()
        document["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "index.json").write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("name", "value"), [("half", 0x7C00), ("slot_norm", -np.inf), ("probes", -1), ("row", 1 << 30)]
)
def test_a_made_up_tree_is_built_again(lib, name, value, caplog):
    query = columns(lib)["vector"].astype(np.float32)
    expected = opened(lib).search(query, 5)
    (folder,) = (lib / "index").glob("*/")
    tree = KDTree.load(folder)
    arrays = {**tree._arrays._asdict(), **tree._calibration._asdict()}
    arrays[name] = np.full_like(arrays[name], value)
    save_arrays(
        folder,
        TreeArrays(*(arrays[field] for field in TreeArrays._fields)),
        Calibration(*(arrays[field] for field in Calibration._fields)),
    )
    sign(folder)
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(opened(lib).search(query, 5).row, expected.row)
    assert f"the index is built again: {folder}" in caplog.text
    assert f"array {name} holds" in caplog.text
