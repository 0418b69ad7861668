"""Libraries and photos on a real S3 server: as on a disk, whoever writes, reads, is killed or damaged."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import cast

import blobs
import forked
import numpy as np
import pytest
from blobs import content, run, write_photos

from rtsearch import __version__
from rtsearch.config import Settings
from rtsearch.errors import DamagedError, LibraryBusyError, NotALibraryError, SourceError, StorageError
from rtsearch.jobs.analyze import Upkeep, analyze
from rtsearch.jobs.cluster import worker
from rtsearch.library import Library, LibraryWriter, PhotoRow, PhotoState, check_library
from rtsearch.library import remote as remote_module
from rtsearch.library.index import open_index
from rtsearch.library.merge import merge_libraries
from rtsearch.library.photo_files import photo_files
from rtsearch.library.thumbnails import GREY, ThumbCache
from rtsearch.search import warm_up
from rtsearch.storage import CACHE, Store, library_folder, open_store, photo_folder
from rtsearch.storage.address import Address, cache_home

SETTINGS = Settings.model_validate({"project": {"dim": 8}})


def store_of(address: str) -> Store:
    parsed = Address.parse(address)
    assert parsed is not None
    return open_store(parsed)


def upload(folder: Path, address: str) -> None:
    store = store_of(address)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            store.write(path.relative_to(folder).as_posix(), path)


def keys(address: str) -> set[str]:
    return {entry.key for entry in store_of(address).entries()}


def objects(address: str) -> dict[str, str]:
    """Hash of each object, by its key."""
    store = store_of(address)
    found = {key: store.read(key, 1 << 30) for key in keys(address)}
    return {key: hashlib.sha256(each.data).hexdigest() for key, each in found.items() if each is not None}


def hashes(folder: Path) -> set[str]:
    files = (path for part in ("images", "objects", "thumbs") for path in (folder / part).iterdir())
    return {hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def another_machine(monkeypatch, tmp_path_factory):
    """Gives this process the empty cache of another machine."""

    def move() -> Path:
        home = tmp_path_factory.mktemp("machine")
        monkeypatch.setenv("XDG_CACHE_HOME", str(home))
        CACHE._used_bytes = None
        return home

    return move


def test_a_library_on_s3_is_the_one_of_a_disk(bucket, tmp_path):
    photos, lib = tmp_path / "photos", f"{bucket}/lib"
    write_photos(photos, 24)
    here = run(photos, Path(lib), commit_photos=10)
    run(photos, tmp_path / "disk", commit_photos=10)
    manifest = store_of(lib).read("manifest.json", 1 << 20)
    assert manifest is not None
    assert manifest.data == (tmp_path / "disk" / "manifest.json").read_bytes()
    stored = objects(lib)
    assert {key for key in stored if "/" in key} == {key for key, sha in stored.items() if sha in key}
    assert set(stored.values()) - {stored["manifest.json"]} == hashes(tmp_path / "disk")
    assert content(Path(lib)) == content(tmp_path / "disk")
    assert check_library(Library.open(Path(lib))) == []
    assert here.analysed == 24
    assert run(photos, Path(lib)).kept == 24


def test_changes_are_followed_as_on_a_disk(bucket, tmp_path, another_machine):
    photos, lib = tmp_path / "photos", Path(f"{bucket}/lib")
    write_photos(photos, 24)
    for library in (lib, tmp_path / "disk"):
        run(photos, library, commit_photos=10)
    (photos / "000.png").unlink()
    (photos / "002.png").write_bytes((photos / "sub" / "001.png").read_bytes())
    os.utime(photos / "004.png", ns=(1, 1))
    another_machine()
    before = keys(str(bucket) + "/lib")
    for library in (lib, tmp_path / "disk"):
        run(photos, library, commit_photos=10)
    assert content(lib) == content(tmp_path / "disk")
    assert check_library(Library.open(lib)) == []
    assert before <= keys(f"{bucket}/lib")  # whoever reads the library of before still finds all of it
    assert hashes(tmp_path / "disk") <= set(objects(f"{bucket}/lib").values())


def test_photos_that_only_have_a_new_date_put_no_crops_again(bucket, tmp_path):
    photos, lib = tmp_path / "photos", f"{bucket}/lib"
    write_photos(photos, 12)
    run(photos, Path(lib))
    thumbs = {key for key in keys(lib) if key.startswith(("thumbs", "objects"))}
    os.utime(photos / "000.png", ns=(1, 1))
    run(photos, Path(lib))
    assert {key for key in keys(lib) if key.startswith(("thumbs", "objects"))} == thumbs
    assert len([key for key in keys(lib) if key.startswith("images")]) == 2


def test_photos_on_s3_are_those_of_a_disk(bucket, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "spool"))
    (tmp_path / "spool").mkdir()
    photos = tmp_path / "photos"
    write_photos(photos, 24)
    (photos / "film.mp4").write_bytes(b"film")
    (photos / "notes.txt").write_bytes(b"notes")
    (photos / "sub" / ".rtsearchignore").write_text("# names\n001.*\n")
    (photos / ".git").mkdir()
    (photos / ".git" / "x.png").write_bytes((photos / "000.png").read_bytes())
    upload(photos, f"{bucket}/photos")
    report = run(Path(f"{bucket}/photos"), tmp_path / "lib")
    expected = run(photos, tmp_path / "disk", videos=False)

    def but_dates(folder: Path) -> dict[str, tuple[object, ...]]:
        return {
            path: (row.size_bytes, row.width, row.height, row.state, row.reason, row.sha256, *found)
            for path, (row, *found) in content(folder).items()
            if isinstance(row, PhotoRow)
        }

    assert but_dates(tmp_path / "lib") == but_dates(tmp_path / "disk")
    assert report.analysed == expected.analysed == 23
    assert report.excluded == expected.excluded == {"001.*": 1, ".git": 1}
    assert [path for path, _ in report.refused] == ["film.mp4"]
    assert list((tmp_path / "spool").iterdir()) == []
    assert Library.open(tmp_path / "lib").manifest.photo_root == f"{bucket}/photos"
    assert run(Path(f"{bucket}/photos"), tmp_path / "lib").kept == 23


def test_a_photo_of_s3_is_fetched_where_it_is_asked_for(bucket, tmp_path):
    photos = tmp_path / "photos"
    write_photos(photos, 3)
    upload(photos, f"{bucket}/photos")
    run(Path(f"{bucket}/photos"), tmp_path / "lib")
    library = Library.open(tmp_path / "lib")
    path = library.photo_path("sub/001.png")
    assert path.read_bytes() == (photos / "sub" / "001.png").read_bytes()
    store_of(f"{bucket}/photos").write("sub/001.png", b"another")
    assert library.photo_path("sub/001.png").read_bytes() == b"another"
    store_of(f"{bucket}/photos").remove(["sub/001.png"])
    assert not library.photo_path("sub/001.png").exists()


def test_workers_of_a_cluster_fetch_photos_of_s3_themselves(bucket, tmp_path, monkeypatch):
    photos, address = tmp_path / "photos", f"{bucket}/photos"
    write_photos(photos, 3)
    upload(photos, address)
    scan = photo_files(photo_folder(address)).find(tmp_path, (), films=False)
    order = worker.Order(version=__version__, root=address, settings="", fingerprint="", networks=(), cores=1)
    monkeypatch.setattr(worker, "_opened", lambda *_: (blobs.BlobPipeline(), Settings()))
    monkeypatch.setattr(worker, "share_cores", lambda _cores: None)
    batch = [(each.path, each.size_bytes, each.mtime_ns, each.known_sha256) for each in scan.photos]
    jobs = worker.look_at_batch(order, batch)
    assert [(job.file.path, job.reason) for job in jobs] == [(each.path, "") for each in scan.photos]
    assert len(jobs) == 3


def test_photos_and_library_in_one_bucket(bucket, tmp_path):
    photos = tmp_path / "photos"
    write_photos(photos, 6)
    upload(photos, bucket)
    assert run(Path(bucket), Path(f"{bucket}/lib")).analysed == 6
    assert run(Path(bucket), Path(f"{bucket}/lib")).kept == 6
    with pytest.raises(SourceError, match="is the library itself"):
        run(Path(bucket), Path(bucket))
    with pytest.raises(SourceError, match="is a library; the photos go first"):
        run(Path(f"{bucket}/lib"), tmp_path / "lib")
    with pytest.raises(SourceError, match="has no photos"):
        run(Path(f"{bucket}/nothing"), tmp_path / "lib")


def test_a_photo_that_changes_after_it_was_listed(bucket, tmp_path, monkeypatch):
    photos = tmp_path / "photos"
    write_photos(photos, 3)
    upload(photos, f"{bucket}/photos")
    store, larger = store_of(f"{bucket}/photos"), b"x" * 100_000
    pipeline = blobs.BlobPipeline()
    real = Store.download

    def download(self, key, *rest):
        if key == "000.png":
            store.write(key, larger)
        elif key == "002.png":
            store.remove([key])
        real(self, key, *rest)

    monkeypatch.setattr(Store, "download", download)
    report = run(Path(f"{bucket}/photos"), tmp_path / "lib", pipeline)
    assert dict(report.failed) == {
        "000.png": "cannot be read: it has changed since it was listed",
        "002.png": "cannot be read: it has gone since it was listed",
    }
    monkeypatch.undo()


def test_an_index_is_built_once_and_fetched_from_then_on(bucket, tmp_path, another_machine):
    photos, lib = tmp_path / "photos", Path(f"{bucket}/lib")
    write_photos(photos, 24)
    run(photos, lib, commit_photos=10)
    first = open_index(Library.open(lib), SETTINGS, remember=True)
    built = [path for path in cache_home().rglob("index/*/*.npy") if path.is_file()]
    another_machine()
    said: list[str] = []
    index = open_index(Library.open(lib), SETTINGS, said.append)
    assert said == []  # nothing was built
    fetched = [path for path in cache_home().rglob("index/*/*.npy") if path.is_file()]
    assert [path.read_bytes() for path in sorted(fetched)] == [path.read_bytes() for path in sorted(built)]
    point = first.points(np.array([3], np.int32))
    np.testing.assert_array_equal(first.near(point, 5, exact=True).row, index.near(point, 5, exact=True).row)
    crops, before = ThumbCache(index.thumb_places, 1 << 24), content(lib)
    wanted = [cast(bytes, row[-1]) for _, *rows in before.values() for row in cast(list, rows)]
    assert sorted(jpeg for row in range(len(index)) if (jpeg := crops.jpeg(row))) == sorted(wanted)
    crops.prefetch(range(len(index)), 60)
    assert all(crops.peek(row, 60) is not None for row in range(len(index)))


def test_a_damaged_index_of_the_cache_is_fetched_anew(bucket, tmp_path, caplog):
    photos, lib = tmp_path / "photos", Path(f"{bucket}/lib")
    write_photos(photos, 12)
    run(photos, lib)
    open_index(Library.open(lib), SETTINGS)
    path = next(path for path in cache_home().rglob("index/*/label.npy"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    said: list[str] = []
    open_index(Library.open(lib), SETTINGS, said.append)
    assert (said, path.read_bytes()) == ([], whole)
    assert "the index is fetched again" in caplog.text


def test_a_damaged_index_on_s3_is_built_again(bucket, tmp_path, another_machine, caplog):
    warm_up()  # or the first opening would say that it compiles
    photos, lib = tmp_path / "photos", Path(f"{bucket}/lib")
    write_photos(photos, 12)
    run(photos, lib)
    open_index(Library.open(lib), SETTINGS)
    store = store_of(str(bucket) + "/lib")
    for key in keys(f"{bucket}/lib"):
        if key.startswith("index/") and not key.endswith(".json"):
            found = store.read(key, 1 << 30)
            assert found is not None
            store.write(key, bytes(len(found.data)))
    another_machine()
    said: list[str] = []
    open_index(Library.open(lib), SETTINGS, said.append)
    assert said == [f"building the index of {Library.open(lib).object_count} objects"]
    another_machine()
    said.clear()
    open_index(Library.open(lib), SETTINGS, said.append)
    assert said == []


def test_the_second_of_two_writers_is_told(bucket, tmp_path, another_machine, monkeypatch):
    photos, lib = tmp_path / "photos", Path(f"{bucket}/lib")
    write_photos(photos, 4)
    run(photos, lib)
    space = Library.open(lib).space
    row = PhotoRow("new.png", 1, 1, 10, 10, PhotoState.EMPTY, "", "0" * 64)
    here = os.environ["XDG_CACHE_HOME"]
    with LibraryWriter.open(lib, space, photo_root=photos) as first:
        first.add(PhotoRow("other.png", 1, 1, 10, 10, PhotoState.EMPTY, "", "1" * 64))
        another_machine()
        with LibraryWriter.open(lib, space, photo_root=photos) as second:
            second.add(row)
            second.commit()
        monkeypatch.setenv("XDG_CACHE_HOME", here)
        with pytest.raises(LibraryBusyError, match=r"another process has written to .* meanwhile"):
            first.commit()
    paths = Library.open(lib).photos().path
    assert "new.png" in paths
    assert "other.png" not in paths
    assert check_library(Library.open(lib)) == []
    left = keys(f"{bucket}/lib")
    monkeypatch.setattr(remote_module, "UNNAMED_STAYS", timedelta(0))
    (photos / "000.png").unlink()
    run(photos, lib)  # a day later, as it were
    now = keys(f"{bucket}/lib")
    named = {
        f"{part}/{each.stored(part).sha256}" for each in Library.open(lib).fragments for part in blobs.PARTS
    }
    assert {key.partition(".")[0] for key in now if "/" in key} == named
    assert left - now


def test_two_who_make_the_same_library(bucket, tmp_path, monkeypatch):
    photos, lib = tmp_path / "photos", Path(f"{bucket}/lib")
    write_photos(photos, 4)
    real = remote_module.Remote.expect_no_others

    def meanwhile(self):
        real(self)
        store_of(f"{bucket}/lib").write("manifest.json", b"{}")

    monkeypatch.setattr(remote_module.Remote, "expect_no_others", meanwhile)
    with pytest.raises(LibraryBusyError):
        run(photos, lib)


def test_a_prefix_that_holds_other_things_is_no_library(bucket, tmp_path):
    photos = tmp_path / "photos"
    write_photos(photos, 2)
    store_of(f"{bucket}/other").write("thesis.txt", b"of somebody")
    with pytest.raises(NotALibraryError, match=r"holds other files \(thesis.txt\)"):
        run(photos, Path(f"{bucket}/other"))
    with pytest.raises(NotALibraryError):
        Library.open(Path(f"{bucket}/other"))
    assert keys(f"{bucket}/other") == {"thesis.txt"}


def test_damage_on_s3_is_found_and_mended(bucket, tmp_path):
    photos, lib = tmp_path / "photos", Path(f"{bucket}/lib")
    write_photos(photos, 12)
    run(photos, lib)
    whole, store = content(lib), store_of(f"{bucket}/lib")
    thumbs = next(key for key in keys(f"{bucket}/lib") if key.startswith("thumbs"))
    found = store.read(thumbs, 1 << 30)
    assert found is not None
    store.write(thumbs, bytes(len(found.data)))
    open_index(Library.open(lib), SETTINGS)  # which needs no crops
    [problem] = check_library(Library.open(lib))
    assert problem.what == "its bytes have changed since it was written"
    crops = ThumbCache(open_index(Library.open(lib), SETTINGS).thumb_places, 1 << 20)
    assert (crops.get(0) == GREY).all()
    analyze(photos, lib, blobs.BlobPipeline(), Settings(), upkeep=Upkeep(repair=True))
    assert content(lib) == whole
    assert check_library(Library.open(lib)) == []


def test_objects_that_are_missing_or_longer_than_they_should_be(bucket, tmp_path):
    photos, lib = tmp_path / "photos", Path(f"{bucket}/lib")
    write_photos(photos, 12)
    run(photos, lib)
    store = store_of(f"{bucket}/lib")
    for part, damage in (("images", None), ("objects", b"x" * 100_000)):
        key = next(key for key in keys(f"{bucket}/lib") if key.startswith(part))
        found = store.read(key, 1 << 30)
        assert found is not None
        CACHE.drop(key.partition("/")[2].partition(".")[0])
        if damage is None:
            store.remove([key])
            with pytest.raises(DamagedError, match="it is missing"):
                Library.open(lib).photos()
        else:
            store.write(key, damage)
            with pytest.raises(DamagedError, match="it has 100000 bytes instead of"):
                list(Library.open(lib).objects())
        store.write(key, found.data)
    with pytest.raises(StorageError, match="more than it may have"):
        store.read("manifest.json", 10)


def test_a_file_of_the_cache_that_is_damaged_is_fetched_anew(bucket, tmp_path):
    photos, lib = tmp_path / "photos", Path(f"{bucket}/lib")
    write_photos(photos, 12)
    run(photos, lib)
    whole = content(lib)
    for path in (cache_home() / "files").iterdir():
        path.write_bytes(bytes(path.stat().st_size))
    assert content(lib) == whole


def test_the_cache_keeps_to_its_limit(bucket, tmp_path, monkeypatch, another_machine):
    photos, lib = tmp_path / "photos", Path(f"{bucket}/lib")
    write_photos(photos, 48)
    run(photos, lib, commit_photos=4)
    fragments = Library.open(lib).fragments
    total = sum(each.stored(part).bytes for each in fragments for part in ("images", "objects"))
    another_machine()
    monkeypatch.setattr(CACHE, "limit_bytes", total // 3)
    library = Library.open(lib)
    list(library.objects())
    assert len(library.photos()) == 48
    used = [path.stat().st_size for path in (cache_home() / "files").iterdir()]
    assert total // 6 < sum(used) <= total // 3
    monkeypatch.setattr(CACHE, "limit_bytes", 100)
    with pytest.raises(StorageError, match=r"more than storage.cache_mb = 0: raise it"):
        list(library.objects())


def test_an_analysis_that_is_killed_goes_on_as_if_it_had_not_been(bucket, tmp_path):
    photos, lib = tmp_path / "photos", f"{bucket}/lib"
    write_photos(photos, 48)
    committed = 0
    for commit_photos in (8, 1):
        process = _start(photos, lib, commit_photos, 0.05)
        before = keys(lib)
        while not any(key.startswith("thumbs") for key in keys(lib) - before):  # in the middle of a commit
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        process.kill()
        process.communicate()
        assert committed <= len(content(Path(lib))) < 48  # a kill never takes away what was committed
        committed = len(content(Path(lib)))
        assert check_library(Library.open(Path(lib))) == []
    run(photos, Path(lib), commit_photos=8)
    run(photos, tmp_path / "fresh")
    assert content(Path(lib)) == content(tmp_path / "fresh")
    assert check_library(Library.open(Path(lib))) == []
    working_copy = library_folder(lib)
    assert [path for part in blobs.PARTS for path in (working_copy / part).iterdir()] == []


def _start(photos: Path, library: str, commit_photos: int, sleep_s: float) -> subprocess.Popen[str]:
    argv = [sys.executable, blobs.__file__, str(photos), library, str(commit_photos), str(sleep_s)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return forked.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def test_libraries_are_copied_to_and_from_s3(bucket, library, tmp_path, cli):
    lib = f"{bucket}/copy.lib"
    merge_libraries(Path(lib), [library])
    done = cli("library", "info", lib, "--json")
    assert (done.code, json.loads(done.out)["photos"]) == (0, Library.open(library).photo_count)
    done = cli("library", "check", lib)
    assert (done.code, done.out) == (0, f"{lib} is sound\n")
    done = cli("library", "merge", tmp_path / "back.lib", lib, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["photos"] == Library.open(library).photo_count
    assert hashes(tmp_path / "back.lib") == hashes(library)
    photo = Library.open(library).photo_root / "skimage-coffee.png"
    found = [json.loads(cli("query", each, photo, "--json").out) for each in (lib, library)]
    assert found[0]["objects"] == found[1]["objects"]
    done = cli("library", "words", lib, "--set", "describe.text=clip")
    assert done.code == 2
    assert str(cache_home()) not in done.err
    done = cli("library", "info", f"{bucket}/missing.lib")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert done.err.startswith(
        f"rtsearch: {bucket}/missing.lib is missing; make a library with: rtsearch analyze"
    )


def test_the_front_door_opens_addresses(bucket, library, photos):
    import rtsearch

    merge_libraries(Path(f"{bucket}/front.lib"), [library])
    with rtsearch.open_library(f"{bucket}/front.lib") as opened, rtsearch.open_library(library) as same:
        photo = photos / "skimage-coffee.png"
        assert opened.search(photo, k=3) == same.search(photo, k=3)
        np.testing.assert_array_equal(opened.crop(0), same.crop(0))
