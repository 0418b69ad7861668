"""The index: derived from the fragments, found by its settings, rebuilt when damaged."""

from __future__ import annotations

import errno
import shutil
import tempfile
from pathlib import Path

import blobs
import cv2
import naive
import numpy as np
import pytest

from rtsearch.config import Settings, load_settings
from rtsearch.errors import DamagedError, FeatureSpaceError, LibraryBusyError, LibraryError, VectorError
from rtsearch.library import Library, export_npz, library_lock
from rtsearch.library.index import build_index, open_index, remembered_settings
from rtsearch.library.thumbnails import ThumbCache
from rtsearch.search import KDTree

SETTINGS = load_settings(None, ["project.dim=6"])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of 30 blob photos in several fragments, without an index."""
    folder = tmp_path_factory.mktemp("blobs")
    blobs.write_photos(folder / "photos", 30)
    blobs.run(folder / "photos", folder / "lib", commit_photos=7)
    return folder / "lib"


@pytest.fixture
def lib(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "lib")
    return tmp_path / "lib"


def opened(lib: Path, settings: Settings = SETTINGS):
    return open_index(Library.open(lib), settings)


def columns(lib: Path) -> dict[str, np.ndarray]:
    batches = list(Library.open(lib).objects())
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def index_folders(lib: Path) -> list[str]:
    return sorted(path.name for path in (lib / "index").iterdir() if path.is_dir())


def library_of(folder: Path, photos: int, objects: int) -> Path:
    """A blob library of so many photos with so many objects each."""
    for i in range(photos):
        path = folder / "photos" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(".png", blobs.draw(i, objects))[1].tobytes())
    blobs.run(folder / "photos", folder / "lib")
    return folder / "lib"


# What it answers -------------------------------------------------------------------------------------------


def test_no_objects(tmp_path):
    lib = library_of(tmp_path, 3, 0)
    with pytest.raises(LibraryError, match="holds no objects to search; analyse other photos"):
        opened(lib)
    assert not (lib / "index").exists()


@pytest.mark.parametrize(("photos", "objects"), [(1, 1), (1, 2), (2, 1), (5, 4)])
def test_small_libraries(tmp_path, photos, objects):
    lib = library_of(tmp_path, photos, objects)
    index = opened(lib)
    n = photos * objects
    assert len(index) == n
    found = index.search(columns(lib)["vector"].astype(np.float32), 3, exact=True)
    assert found.row.shape == (n, 3)
    if n > 1:  # a lone object has no spread: every place is the same
        np.testing.assert_array_equal(found.row[:, 0], np.arange(n))
    assert ((found.row >= 0).sum(1) == min(3, n)).all()
    assert np.isinf(found.distance[found.row < 0]).all()


def test_rows_tell_what_the_library_holds(lib):
    index, expected = opened(lib), columns(lib)
    photos = Library.open(lib).photos()
    assert len(index) == len(expected["label"]) == Library.open(lib).object_count
    hits = index.hits(np.arange(len(index), dtype=np.int32))
    assert [hit["photo"] for hit in hits] == [photos.path[i] for i in expected["photo"]]
    assert [index.photo(row) for row in range(len(index))] == [hit["photo"] for hit in hits]
    assert [hit["label"] for hit in hits] == [("blue", "green", "red")[i] for i in expected["label"]]
    np.testing.assert_array_equal([hit["xyxy"] for hit in hits], expected["xyxy"])
    assert index.hits(np.zeros(0, np.int32)) == []
    cache = ThumbCache(index.thumb_places, 1 << 20)
    for row in range(len(index)):
        brightest = cache.get(row).reshape(-1, 3).mean(0).argmax()
        assert brightest == expected["label"][row]


def test_the_whole_image_has_a_name(lib, monkeypatch):
    index = opened(lib)
    table = {**index._table, "label": np.full(len(index), -1, np.int32)}
    monkeypatch.setattr(index, "_table", table)
    assert index.hits(np.array([0], np.int32))[0]["label"] == "whole image"


def test_neighbours_are_those_of_the_projected_vectors(lib):
    index = opened(lib)
    vectors = columns(lib)["vector"].astype(np.float32)
    searched = index.projection.apply(vectors)
    distance, _ = naive.nearest_rows(searched, searched, 5)
    found = index.search(vectors, 5, exact=True)
    np.testing.assert_allclose(found.distance, distance, atol=2e-3)
    assert index.dim == searched.shape[1] == 6


def test_a_description_of_another_width_is_refused(lib):
    with pytest.raises(VectorError, match="expected"):
        opened(lib).search(np.zeros((1, blobs.DIM + 1), np.float32), 5)


def test_no_queries(lib):
    found = opened(lib).search(np.zeros((0, blobs.DIM), np.float32), 5)
    assert found.row.shape == (0, 5)


def test_names_of_any_bytes(tmp_path):
    name = "Straße 写真 \udcff.png"
    lib = library_of(tmp_path, 2, 1)
    try:
        (tmp_path / "photos" / "0.png").rename(tmp_path / "photos" / name)
    except OSError:
        pytest.skip("this file system takes no such names")
    report = blobs.run(tmp_path / "photos", lib)
    index = opened(lib)
    photos = {index.photo(row) for row in range(len(index))}
    refused = {path for path, _ in report.refused}
    assert photos | refused >= {"1.png"}
    assert name in photos or refused


def test_vectors_are_exported_exactly_as_they_are_searched(lib, tmp_path):
    index = open_index(Library.open(lib), SETTINGS)
    export_npz(index.library, tmp_path / "v.npz", index.projection.apply)
    exported = np.load(tmp_path / "v.npz")["vector"]
    assert exported.dtype == np.float32
    np.testing.assert_array_equal(exported, index.points(np.arange(len(index), dtype=np.int32)))


# When it is built ------------------------------------------------------------------------------------------


@pytest.fixture
def compiled(monkeypatch):
    """As on a machine whose first search is over, which says nothing about compiling."""
    monkeypatch.setattr("rtsearch.library.index.search_is_compiled", lambda: True)


def test_the_first_compilation_is_told(lib, monkeypatch):
    monkeypatch.setattr("rtsearch.library.index.search_is_compiled", lambda: False)
    for lines in (2, 1):  # the index is built, and then there
        told = []
        open_index(Library.open(lib), SETTINGS, told.append)
        assert len(told) == lines
        assert told[0] == "compiling the search, once per machine (about half a minute)"


@pytest.mark.usefixtures("compiled")
def test_a_second_opening_builds_nothing(lib):
    told = []
    open_index(Library.open(lib), SETTINGS, told.append)
    assert len(told) == 1
    assert "building the index of" in told[0]
    stamp = {path: path.stat().st_mtime_ns for path in lib.rglob("index/*/*")}
    open_index(Library.open(lib), SETTINGS, told.append)
    assert len(told) == 1
    assert {path: path.stat().st_mtime_ns for path in lib.rglob("index/*/*")} == stamp


@pytest.mark.usefixtures("compiled")
def test_an_index_of_an_older_format_is_built_again(lib, monkeypatch):
    with monkeypatch.context() as older:
        older.setattr("rtsearch.library.index._FORMAT", 4)
        opened(lib)
    (before,) = index_folders(lib)
    told = []
    open_index(Library.open(lib), SETTINGS, told.append)
    assert "building the index of" in told[0]
    (after,) = index_folders(lib)
    assert after != before


def test_a_score_moves_no_object_in_an_index_that_is_opened_again(tmp_path):
    blocks = [{"kind": "form", "width": 5}, {"kind": "class", "width": 3}]
    recipe = {"model": "blobs", "version": 1, "describe": {"blocks": blocks}}
    blobs.write_photos(tmp_path / "photos", 6)
    blobs.run(tmp_path / "photos", tmp_path / "lib", blobs.BlobPipeline(feature_space=recipe))
    built = opened(tmp_path / "lib")
    again = opened(tmp_path / "lib")
    vectors = columns(tmp_path / "lib")["vector"].astype(np.float32)
    weaker = vectors.copy()
    weaker[:, 5:] *= 0.5
    np.testing.assert_array_equal(again.projection.apply(vectors), built.projection.apply(vectors))
    np.testing.assert_allclose(again.projection.apply(weaker), built.projection.apply(vectors), atol=1e-5)


@pytest.mark.parametrize(
    "override", ["project.dim=5", "project.seed=1", "project.method=random", "describe.meaning=0.9"]
)
def test_other_settings_make_another_index_and_remove_the_old_one(lib, override):
    opened(lib)
    before = index_folders(lib)
    other = open_index(Library.open(lib), load_settings(None, ["project.dim=6", override]), remember=True)
    after = index_folders(lib)
    assert len(before) == len(after) == 1
    assert before != after
    assert len(other) == Library.open(lib).object_count


def test_a_library_remembers_how_it_was_indexed(lib):
    assert remembered_settings(Library.open(lib)) == {
        "model": {"name": "yolo26n", "size": 416},
        "describe": {"embedder": ""},
    }
    build_index(Library.open(lib), load_settings(None, ["project.dim=5", "describe.meaning=0.9"]))
    again = load_settings(None, ["project.seed=3"], remembered_settings(Library.open(lib)))
    assert (again.project.dim, again.describe.meaning, again.project.seed) == (5, 0.9, 3)
    assert load_settings(None, ["project.dim=7"], remembered_settings(Library.open(lib))).project.dim == 7


def test_a_look_with_other_settings_changes_nothing_for_others(lib):
    build_index(Library.open(lib), load_settings(None, ["project.dim=6"]))
    own = index_folders(lib)
    for dim in (4, 5):
        other = opened(
            lib, load_settings(None, [f"project.dim={dim}"], remembered_settings(Library.open(lib)))
        )
        assert other.dim == dim
        assert len(index_folders(lib)) == 2  # its own, and the last that was asked for
        assert set(own) < set(index_folders(lib))
        assert load_settings(None, [], remembered_settings(Library.open(lib))).project.dim == 6
    open_index(Library.open(lib), load_settings(None, ["project.dim=5"]), remember=True)
    assert load_settings(None, [], remembered_settings(Library.open(lib))).project.dim == 5


@pytest.mark.parametrize("damage", [b"", b"{", b'{"project": {"dim": 1e9}}', b'{"other": 1}', b"[" * 99999])
def test_remembered_settings_that_are_damaged_are_left_out(lib, damage, caplog):
    opened(lib)
    (lib / "index" / "settings.json").write_bytes(damage)
    assert "project" not in remembered_settings(Library.open(lib))
    assert "default" in caplog.text or len(damage) > 1 << 16


@pytest.mark.parametrize("override", ["search.exact=true", "show.results=50", "detect.threshold=0.9"])
def test_settings_that_do_not_shape_the_index_leave_it_alone(lib, override):
    opened(lib)
    before = index_folders(lib)
    opened(lib, load_settings(None, ["project.dim=6", override]))
    assert index_folders(lib) == before


def test_new_photos_make_another_index(lib, made, tmp_path):
    opened(lib)
    before, count = index_folders(lib), Library.open(lib).object_count
    shutil.copytree(made.parent / "photos", tmp_path / "photos")
    (tmp_path / "photos" / "new.png").write_bytes(cv2.imencode(".png", blobs.draw(77, 4))[1].tobytes())
    blobs.run(tmp_path / "photos", lib)
    assert len(opened(lib)) == count + 4
    assert index_folders(lib) != before


def test_building_twice_gives_the_same_bytes(lib):
    build_index(Library.open(lib), SETTINGS)
    first = {path.name: path.read_bytes() for path in lib.glob("index/*/*")}
    build_index(Library.open(lib), SETTINGS)
    assert {path.name: path.read_bytes() for path in lib.glob("index/*/*")} == first


def test_what_a_killed_build_left_is_swept(lib):
    opened(lib)
    (lib / "index" / ".building-1").mkdir()
    (lib / "index" / ".building-1" / "photo.npy").write_bytes(b"half")
    build_index(Library.open(lib), SETTINGS)
    assert len(index_folders(lib)) == 1


def test_a_build_that_fails_leaves_the_old_index(lib, monkeypatch):
    opened(lib)
    before = index_folders(lib)

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(KDTree, "build", full)
        with pytest.raises(LibraryError, match="no space left on the disk"):
            opened(lib, load_settings(None, ["project.dim=5"]))
    assert index_folders(lib) == before
    assert len(opened(lib)) == Library.open(lib).object_count


def add_photos(lib: Path, seeds: range) -> None:
    """Analyse more photos into a library of the folder ``photos`` beside it."""
    photos = lib.parent / "photos"
    if not photos.exists():
        shutil.copytree(Library.open(lib).photo_root, photos)
    for seed in seeds:
        (photos / f"x{seed}.png").write_bytes(cv2.imencode(".png", blobs.draw(seed, 4))[1].tobytes())
    blobs.run(photos, lib)


def as_others_see_it(lib: Path) -> set[str]:
    return {path.relative_to(lib).as_posix() for path in lib.rglob("*")}


def test_a_library_that_is_being_written_for_the_first_time(lib, tmp_path, monkeypatch):
    """The index is built for the reader alone, who may not wait for hours."""
    expected = opened(lib).search(columns(lib)["vector"].astype(np.float32), 5, exact=True)
    shutil.rmtree(lib / "index")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    told: list[str] = []
    with library_lock(lib):
        before = as_others_see_it(lib)
        indexes = [open_index(Library.open(lib), SETTINGS, told.append) for _ in range(2)]
        assert as_others_see_it(lib) == before
    assert told[0].startswith(f"another process is writing to {lib}: building an index of")
    assert list((tmp_path / "tmp").iterdir()) == []
    for index in indexes:
        found = index.search(columns(lib)["vector"].astype(np.float32), 5, exact=True)
        np.testing.assert_array_equal(found.row, expected.row)
        assert [hit["photo"] for hit in index.hits(found.row[:3, 0])] == [index.photo(i) for i in range(3)]


def test_a_library_that_is_being_added_to_is_searched_as_it_was(lib):
    opened(lib)
    count, query = Library.open(lib).object_count, columns(lib)["vector"].astype(np.float32)
    add_photos(lib, range(70, 73))
    told: list[str] = []
    with library_lock(lib):
        index = open_index(Library.open(lib), SETTINGS, told.append)
    assert told == [
        f"another process is writing to {lib}: searching {count} objects of {count + 12}, "
        "those that are indexed"
    ]
    assert len(index) == index.library.object_count == count
    found = index.search(query, 1, exact=True)
    np.testing.assert_allclose(found.distance, 0, atol=1e-3)
    cache = ThumbCache(index.thumb_places, 1 << 20)
    for row, label in enumerate(columns(lib)["label"][:count]):
        assert cache.get(row).reshape(-1, 3).mean(0).argmax() == label
    assert len(opened(lib)) == count + 12


def test_an_index_of_photos_that_are_gone_is_not_taken(lib):
    opened(lib)
    add_photos(lib, range(70, 72))
    (lib.parent / "photos" / "000.png").unlink()
    add_photos(lib, range(0))
    with library_lock(lib):
        index = opened(lib)
    assert len(index) == Library.open(lib).object_count
    assert "000.png" not in {index.photo(row) for row in range(len(index))}


def test_what_would_change_a_library_waits_for_the_writer(lib, tmp_path):
    empty = library_of(tmp_path / "empty", 3, 0)
    with library_lock(lib), library_lock(empty):
        with pytest.raises(LibraryBusyError, match="try again"):
            build_index(Library.open(lib), SETTINGS)
        with pytest.raises(LibraryBusyError, match="try again"):
            open_index(Library.open(lib), SETTINGS, remember=True)
        with pytest.raises(LibraryBusyError, match="try again"):
            opened(empty)


def test_an_index_that_is_there_needs_no_lock(lib):
    opened(lib)
    with library_lock(lib):
        assert len(opened(lib)) == Library.open(lib).object_count


def test_a_damaged_fragment_is_named(lib):
    objects = sorted((lib / "objects").iterdir())[1]
    objects.write_bytes(objects.read_bytes()[:-100])
    with pytest.raises(DamagedError, match=objects.name):
        opened(lib)


def test_another_feature_space_is_refused_by_name(lib):
    library = Library.open(lib)
    library.require({"model": "blobs", "version": 1})
    with pytest.raises(FeatureSpaceError, match='model: "blobs"'):
        library.require({"model": "yolo26n", "version": 1})


# Real pictures ---------------------------------------------------------------------------------------------


def test_every_object_of_a_real_library_finds_itself_first(index, library):
    vectors = columns(library)["vector"].astype(np.float32)
    found = index.search(vectors, 16)
    assert len(vectors) >= 60
    assert (found.distance[:, 0] < 1e-2).mean() >= 0.99
    own = (found.row[:, 0] == np.arange(len(vectors))) | (found.distance[:, 0] < 1e-2)
    assert own.mean() >= 0.99
    assert (np.diff(found.distance, axis=1) >= 0).all()
