"""Several machines analyse parts of one folder, and their libraries are joined."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from rtsearch.config import Settings
from rtsearch.errors import DamagedError, FeatureSpaceError, LibraryError, NotALibraryError
from rtsearch.jobs.analyze import Upkeep, analyze
from rtsearch.jobs.compare import Part
from rtsearch.library import Library, LibraryWriter, check_library
from rtsearch.library.manifest import PARTS
from rtsearch.library.merge import merge_libraries

COUNT = 3


@pytest.fixture(scope="module")
def some_photos(photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("some") / "photos"
    folder.mkdir()
    for photo in sorted(photos.rglob("*.*"))[::4]:
        shutil.copy2(photo, folder / photo.name)
    return folder


@pytest.fixture(scope="module")
def parts(some_photos, pipeline, tmp_path_factory):
    home = tmp_path_factory.mktemp("parts")
    for number in range(1, COUNT + 1):
        folder = home / f"{number}.lib"
        analyze(some_photos, folder, pipeline, Settings(), upkeep=Upkeep(part=Part(number, COUNT)))
    return [home / f"{number}.lib" for number in range(1, COUNT + 1)]


@pytest.fixture(scope="module")
def whole(some_photos, pipeline, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "whole.lib"
    analyze(some_photos, folder, pipeline, Settings())
    return folder


def objects_of(folder):
    """Everything the library knows of its objects, in the order of paths."""
    library = Library.open(folder)
    paths = library.photos().path
    rows = []
    for batch in library.objects(("photo", "xyxy", "label", "score", "vector", "thumb_crc32")):
        for i, photo in enumerate(batch["photo"].tolist()):
            rows.append((paths[photo], *(batch[name][i].tobytes() for name in list(batch)[1:])))
    return sorted(rows)


def test_parts_cover_every_photo_once(parts, whole):
    paths = [path for part in parts for path in Library.open(part).photos().path]
    assert all(Library.open(part).photo_count for part in parts)
    assert sorted(paths) == sorted(Library.open(whole).photos().path)


def test_joined_parts_are_the_library_of_the_whole(parts, whole, tmp_path):
    joined = tmp_path / "joined.lib"
    report = merge_libraries(joined, parts)
    assert objects_of(joined) == objects_of(whole)
    assert report.objects == Library.open(whole).object_count
    assert check_library(Library.open(joined)) == []


def test_crops_are_linked(parts, tmp_path):
    joined = tmp_path / "joined.lib"
    merge_libraries(joined, parts)
    packs = {path.stat().st_ino for part in parts for path in (part / "thumbs").iterdir()}
    assert {path.stat().st_ino for path in (joined / "thumbs").iterdir()} == packs


def test_merging_again_changes_nothing(parts, tmp_path):
    joined = tmp_path / "joined.lib"
    merge_libraries(joined, parts)
    manifest = (joined / "manifest.json").read_bytes()
    assert set(merge_libraries(joined, parts).added.values()) == {0}
    assert (joined / "manifest.json").read_bytes() == manifest


def test_a_part_that_is_named_twice_counts_once(parts, tmp_path):
    link = tmp_path / "link.lib"
    link.symlink_to(parts[0])
    report = merge_libraries(tmp_path / "joined.lib", [parts[0], link, parts[1], parts[0]])
    assert report.added == {str(part): Library.open(part).photo_count for part in parts[:2]}
    with pytest.raises(LibraryError, match="cannot be merged into itself"):
        merge_libraries(parts[0], [link])


def test_the_last_part_counts_where_several_hold_a_photo(parts, whole, tmp_path):
    joined = tmp_path / "joined.lib"
    merge_libraries(joined, [whole, *parts])
    assert objects_of(joined) == objects_of(whole)
    assert Library.open(joined).photo_count == Library.open(whole).photo_count


def test_an_analysis_goes_on_from_the_joined_library(parts, some_photos, pipeline, tmp_path):
    joined = tmp_path / "joined.lib"
    merge_libraries(joined, parts[:2])
    report = analyze(some_photos, joined, pipeline, Settings())
    assert report.analysed == Library.open(parts[2]).photo_count
    assert merge_libraries(joined, parts).objects == Library.open(joined).object_count


def test_a_part_of_a_known_library_drops_nothing(whole, some_photos, pipeline, tmp_path):
    copy = tmp_path / "copy.lib"
    shutil.copytree(whole, copy)
    report = analyze(some_photos, copy, pipeline, Settings(), upkeep=Upkeep(part=Part(1, COUNT)))
    assert (report.analysed, report.dropped) == (0, 0)
    assert objects_of(copy) == objects_of(whole)


def test_damaged_parts_are_refused_and_nothing_changes(parts, tmp_path):
    joined, broken = tmp_path / "joined.lib", tmp_path / "broken.lib"
    merge_libraries(joined, parts[:1])
    before = objects_of(joined)
    shutil.copytree(parts[1], broken)
    pack = next((broken / "thumbs").iterdir())
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.write_bytes(data)
    with pytest.raises(DamagedError, match="library check"):
        merge_libraries(joined, [broken])
    assert objects_of(joined) == before
    assert len(list((joined / "thumbs").iterdir())) == len(Library.open(joined).fragments)


def test_what_does_not_belong_together_is_refused(parts, tmp_path, library):
    with pytest.raises(LibraryError, match="--photos FOLDER"):
        merge_libraries(tmp_path / "a.lib", [parts[0], library])
    with pytest.raises(LibraryError, match="into itself"):
        merge_libraries(parts[0], [parts[0]])
    with pytest.raises(NotALibraryError):
        merge_libraries(tmp_path / "b.lib", [tmp_path / "nothing"])
    assert not (tmp_path / "b.lib").exists()
    space = Library.open(parts[0]).space
    other = space.model_copy(update={"recipe": {**space.recipe, "model": "another"}})
    with LibraryWriter.open(tmp_path / "other.lib", other, photo_root=Library.open(parts[0]).photo_root):
        pass
    with pytest.raises(FeatureSpaceError, match="another"):
        merge_libraries(tmp_path / "c.lib", [parts[0], tmp_path / "other.lib"])


def test_folders_that_are_mounted_elsewhere_are_named(parts, some_photos, tmp_path):
    moved = tmp_path / "photos"
    shutil.copytree(some_photos, moved)
    merge_libraries(tmp_path / "joined.lib", parts, moved)
    assert Library.open(tmp_path / "joined.lib").photo_root == moved


@pytest.mark.parametrize("text", ["", "3", "0/3", "4/3", "a/b", "1/0", "-1/3", "1/3/5", "1/1000000", "²/3"])
def test_parts_that_are_none(text):
    with pytest.raises(ValueError, match="expected a part such as 3/16"):
        Part.parse(text)


def test_parts_are_even():
    paths = [f"album {i // 100}/DSC{i:05d}.JPG" for i in range(20_000)]
    shares = np.bincount([next(n for n in range(16) if Part(n + 1, 16).holds(path)) for path in paths])
    assert shares.min() > 1100
    assert shares.sum() == len(paths)


def test_the_commands(rtsearch, parts, tmp_path):
    done = rtsearch("library", "merge", tmp_path / "joined.lib", *parts, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["photos"] == sum(Library.open(part).photo_count for part in parts)
    assert set(PARTS) <= {path.name for path in (tmp_path / "joined.lib").iterdir()}
    refused = rtsearch("analyze", tmp_path, tmp_path / "x.lib", "--part", "5/4")
    assert refused.returncode == 2
    assert "expected a part such as 3/16" in refused.stderr
