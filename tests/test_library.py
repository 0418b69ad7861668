"""The library on disk, on small generated rows: what is written is read; half-written never counts."""

from __future__ import annotations

import errno
import json
import os
import sys
import zlib
from pathlib import Path

import forked
import numpy as np
import pyarrow.parquet as pq
import pytest

from rtsearch.errors import (
    DamagedError,
    FeatureSpaceError,
    FormatError,
    LibraryBusyError,
    LibraryError,
    NotALibraryError,
    PhotoError,
    VectorError,
)
from rtsearch.library import (
    FeatureSpace,
    Library,
    LibraryWriter,
    Manifest,
    ObjectRows,
    PhotoRow,
    PhotoState,
    check_library,
    export_npz,
)
from rtsearch.library.files import sha256_of
from rtsearch.library.manifest import FORMAT_VERSION, StoredFile, fingerprint_of

DIM = 6
SPACE = FeatureSpace(recipe={"model": "m", "size": 416, "taps": [1, 2]}, class_names=("cat", "dog"), dim=DIM)


def photo(path: str, state: PhotoState = PhotoState.OK, reason: str = "") -> PhotoRow:
    return PhotoRow(path, 1000 + len(path), 10**18 + len(path), 640, 480, state, reason)


def objects(n: int, seed: int = 0) -> ObjectRows:
    rng = np.random.default_rng(seed)
    return ObjectRows(
        xyxy=rng.uniform(0, 400, (n, 4)).astype(np.float32),
        label=rng.integers(0, 2, n).astype(np.int32),
        score=rng.uniform(0, 1, n).astype(np.float32),
        whole=rng.uniform(0, 1, n) > 0.5,
        vector=rng.normal(size=(n, DIM)).astype(np.float32),
    )


def jpegs(path: str, n: int) -> list[bytes]:
    return [b"\xff\xd8\xff" + f"<{path} {i}>".encode() for i in range(n)]


def write(folder: Path, counts: dict[str, int], per_fragment: int = 2, space: FeatureSpace = SPACE) -> None:
    """Add photos with so many objects each, ``per_fragment`` photos to a commit."""
    with LibraryWriter.open(folder, space, photo_root=folder.parent) as writer:
        for i, (path, n) in enumerate(counts.items()):
            state = PhotoState.OK if n else PhotoState.EMPTY
            writer.add(photo(path, state), objects(n, len(path)) if n else None, jpegs(path, n))
            if (i + 1) % per_fragment == 0:
                writer.commit()
        writer.commit()


def content(folder: Path) -> dict[str, list[tuple[bytes, ...]]]:
    """Every photo with the bytes of its objects' values and thumbnails, read through the public calls."""
    library = Library.open(folder)
    photos = library.photos()
    packs = [path.read_bytes() for path in library.pack_paths]
    found: dict[str, list[tuple[bytes, ...]]] = {path: [] for path in photos.path}
    for batch in library.objects(batch_rows=3):
        for i in range(len(batch["label"])):
            offset, length = int(batch["thumb_offset"][i]), int(batch["thumb_bytes"][i])
            thumb = packs[batch["pack"][i]][offset : offset + length]
            values = [batch[c][i].tobytes() for c in ("xyxy", "label", "score", "whole", "vector")]
            found[photos.path[batch["photo"][i]]].append((*values, thumb))
    return found


def expected(counts: dict[str, int]) -> dict[str, list[tuple[bytes, ...]]]:
    found = {}
    for path, n in counts.items():
        rows = objects(n, len(path))
        half = rows.vector.astype(np.float16)
        columns = (rows.xyxy, rows.label, rows.score, rows.whole, half)
        found[path] = [
            (*(column[i].tobytes() for column in columns), thumb) for i, thumb in enumerate(jpegs(path, n))
        ]
    return found


def files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


COUNTS = {"a.jpg": 3, "b/with blank.png": 0, "b/Ünïcödé 写真.webp": 2, "c.gif": 1, "dd.bmp": 5}


@pytest.mark.parametrize("counts", [{}, {"a.jpg": 0}, {"a.jpg": 1}, COUNTS])
def test_what_is_written_is_read(tmp_path: Path, counts: dict[str, int]) -> None:
    write(tmp_path / "lib", counts)
    assert content(tmp_path / "lib") == expected(counts)
    library = Library.open(tmp_path / "lib")
    assert (library.photo_count, library.object_count) == (len(counts), sum(counts.values()))
    assert library.photos().path == list(counts)
    assert check_library(library) == []
    assert library.info()["no_objects"] == sum(n == 0 for n in counts.values())


def test_row_order_is_the_order_of_adding(tmp_path: Path) -> None:
    write(tmp_path, {f"{i}.jpg": i % 3 for i in range(20)}, per_fragment=3)
    batches = list(Library.open(tmp_path).objects(("photo", "pack"), batch_rows=2))
    order = np.concatenate([b["photo"] for b in batches])
    assert order.tolist() == [i for i in range(20) for _ in range(i % 3)]
    assert list(batches[0]) == ["photo", "pack"]


@pytest.mark.slow
def test_many_rows_need_several_row_groups(tmp_path: Path) -> None:
    counts = {f"{i:05d}.jpg": 500 for i in range(20)}
    write(tmp_path, counts, per_fragment=100)
    assert Library.open(tmp_path).object_count == 10_000
    assert content(tmp_path) == expected(counts)


def test_states_and_reasons_are_remembered(tmp_path: Path) -> None:
    with LibraryWriter.open(tmp_path, SPACE, photo_root=tmp_path) as writer:
        writer.add(photo("bad.jpg", PhotoState.FAILED, "zero bytes"))
        writer.commit()
    table = Library.open(tmp_path).photos()
    assert table.row(0) == photo("bad.jpg", PhotoState.FAILED, "zero bytes")
    assert Library.open(tmp_path).info()["failed"] == 1


def test_settings_and_class_names_are_remembered(tmp_path: Path) -> None:
    settings = {"detect": {"threshold": 0.3}}
    LibraryWriter.open(tmp_path, SPACE, photo_root=tmp_path, settings=settings).close()
    library = Library.open(tmp_path)
    assert library.manifest.settings == settings
    assert library.space == SPACE
    assert library.photo_root == tmp_path.resolve()


def test_uncommitted_photos_do_not_count(tmp_path: Path) -> None:
    write(tmp_path, {"a.jpg": 2})
    before = files(tmp_path)
    with LibraryWriter.open(tmp_path, SPACE, photo_root=tmp_path) as writer:
        writer.add(photo("b.jpg"), objects(4), jpegs("b", 4))
        assert writer.open_photos == 1
    assert files(tmp_path) == before
    assert list(content(tmp_path)) == ["a.jpg"]


def test_files_that_the_manifest_does_not_name_are_removed(tmp_path: Path) -> None:
    write(tmp_path, {"a.jpg": 2})
    before = files(tmp_path)
    (tmp_path / "thumbs" / "000002.pack").write_bytes(b"\xff\xd8\xffleft by a kill")
    (tmp_path / "objects" / "000002.parquet.tmp").write_bytes(b"PAR1left by a kill")
    (tmp_path / "images" / "000002.parquet.tmp").write_bytes(bytes(100))
    (tmp_path / "images" / "notes.txt").write_text("not ours, stays")
    LibraryWriter.open(tmp_path, SPACE, photo_root=tmp_path).close()
    assert files(tmp_path) == before | {"images/notes.txt"}


@pytest.mark.parametrize(
    "gone",
    [set(), {"missing.jpg"}, {"a.jpg"}, {"dd.bmp"}, {"b/with blank.png", "c.gif"}, set(COUNTS)],
)
def test_drop(tmp_path: Path, gone: set[str]) -> None:
    write(tmp_path, COUNTS)
    with LibraryWriter.open(tmp_path, SPACE, photo_root=tmp_path) as writer:
        assert writer.drop(gone) == len(gone & set(COUNTS))
    left = {path: n for path, n in COUNTS.items() if path not in gone}
    assert content(tmp_path) == expected(left)
    assert check_library(Library.open(tmp_path)) == []
    fragments = Library.open(tmp_path).fragments
    named = {f.path(tmp_path, part).relative_to(tmp_path).as_posix() for f in fragments for part in PARTS}
    assert files(tmp_path) == named | {"manifest.json", "lock"}
    write(tmp_path, {"new.jpg": 2})
    assert content(tmp_path) == expected({**left, "new.jpg": 2})


PARTS = ("images", "objects", "thumbs")


def test_the_stamp_changes_with_the_content_only(tmp_path: Path) -> None:
    write(tmp_path, {"a.jpg": 1})
    stamps = [Library.open(tmp_path).stamp]
    LibraryWriter.open(tmp_path, SPACE, photo_root=tmp_path).close()
    with LibraryWriter.open(tmp_path, SPACE, photo_root=tmp_path) as writer:
        writer.move(tmp_path / "elsewhere")
    assert Library.open(tmp_path).stamp == stamps[0]
    write(tmp_path, {"b.jpg": 0})
    stamps.append(Library.open(tmp_path).stamp)
    with LibraryWriter.open(tmp_path, SPACE, photo_root=tmp_path) as writer:
        writer.drop({"a.jpg"})
    stamps.append(Library.open(tmp_path).stamp)
    assert len(set(stamps)) == 3


def test_a_vector_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    rows = objects(2)
    for bad in (np.nan, np.inf, 1e6):
        rows.vector[1, 2] = bad
        with LibraryWriter.open(tmp_path, SPACE, photo_root=tmp_path) as writer:
            with pytest.raises(VectorError, match="NaN"):
                writer.add(photo("a.jpg"), rows, jpegs("a", 2))
            writer.add(photo("b.jpg"), objects(1), jpegs("b", 1))
            writer.commit()
            assert writer.drop({"b.jpg"}) == 1
    assert Library.open(tmp_path).photo_count == 0


# What stands in the way of opening -------------------------------------------------------------------------


def test_missing_empty_and_foreign_folders(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "letter.txt").write_text("hello")
    (tmp_path / "file").write_text("hello")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "manifest.json").write_text('{"name": "a web page"}')
    for name, words in [
        ("missing", "missing"),
        ("empty", "empty"),
        ("foreign", "no library"),
        ("file", "not the folder of a library"),
        ("other", "not the manifest"),
    ]:
        with pytest.raises(NotALibraryError, match=words) as caught:
            Library.open(tmp_path / name)
        place = "LIB" if name == "file" else tmp_path / name
        assert f"rtsearch analyze PHOTOS {place}" in str(caught.value)
        assert "\n" not in str(caught.value)
    for name in ("foreign", "file", "other"):
        with pytest.raises(NotALibraryError):
            LibraryWriter.open(tmp_path / name, SPACE, photo_root=tmp_path)
    assert (tmp_path / "foreign" / "letter.txt").read_text() == "hello"
    assert files(tmp_path / "foreign") == {"letter.txt"}


def test_a_folder_left_by_a_kill_before_the_first_manifest(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    (tmp_path / ".manifest.json.12ab34cd").write_text("{")
    write(tmp_path, {"a.jpg": 1})
    assert not (tmp_path / ".manifest.json.12ab34cd").exists()
    assert content(tmp_path) == expected({"a.jpg": 1})


def test_a_newer_format(tmp_path: Path) -> None:
    write(tmp_path, {"a.jpg": 1})
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": FORMAT_VERSION + 1, "more": 1}))
    before = path.read_text()
    for opening in (Library.open, lambda f: LibraryWriter.open(f, SPACE, photo_root=tmp_path)):
        with pytest.raises(FormatError, match=r"format \d+.*update rtsearch"):
            opening(tmp_path)
    assert path.read_text() == before


def test_a_manifest_that_is_a_pipe(tmp_path: Path) -> None:
    write(tmp_path, {"a.jpg": 1})
    (tmp_path / "manifest.json").unlink()
    os.mkfifo(tmp_path / "manifest.json")
    with pytest.raises(NotALibraryError, match=r"manifest\.json cannot be read: a pipe, not a file"):
        Library.open(tmp_path)


@pytest.mark.parametrize("seed", range(8))
def test_a_damaged_manifest(tmp_path: Path, seed: int) -> None:
    write(tmp_path, {"a.jpg": 1})
    path = tmp_path / "manifest.json"
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(seed)
    data[rng.integers(20, len(data) - 20)] ^= 1 << int(rng.integers(0, 7))
    for damaged in (bytes(data), path.read_bytes()[: len(data) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(LibraryError, match=r"manifest\.json|format"):
            Library.open(tmp_path)


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000, b'{"format": NaN}'])
def test_a_manifest_that_is_something_else(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(text)
    with pytest.raises((NotALibraryError, DamagedError), match=r"manifest\.json"):
        Library.open(tmp_path)


def test_another_feature_space_is_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path, {"a.jpg": 1})
    other = FeatureSpace(recipe={**SPACE.recipe, "model": "other", "size": 640}, class_names=(), dim=DIM)
    with pytest.raises(FeatureSpaceError) as caught:
        LibraryWriter.open(tmp_path, other, photo_root=tmp_path)
    message = str(caught.value)
    assert SPACE.fingerprint[:12] in message
    assert other.fingerprint[:12] in message
    assert 'model: "m", this run "other"; size: 416, this run 640' in message
    with pytest.raises(FeatureSpaceError):
        Library.open(tmp_path).require(other.recipe)
    Library.open(tmp_path).require({"taps": (1, 2), "size": 416, "model": "m"})


def make_old(folder: Path) -> None:
    """Turn a library into one of format 1, whose objects had no checksum of their thumbnail."""
    manifest = Manifest.read(folder)
    fragments = []
    for fragment in manifest.fragments:
        path = fragment.path(folder, "objects")
        with path.open("rb") as file:
            table = pq.read_table(file).drop_columns(["thumb_crc32", "times_s", "track"])
        pq.write_table(table, path, compression="none", use_dictionary=False)
        stored = StoredFile(bytes=path.stat().st_size, sha256=sha256_of(path))
        files = fragment.files.model_copy(update={"objects": stored})
        fragments.append(fragment.model_copy(update={"files": files}))
    manifest.model_copy(update={"fragments": tuple(fragments)}).write(folder)
    document = json.loads((folder / "manifest.json").read_text()) | {"version": 1}
    del document["checksum"]
    (folder / "manifest.json").write_text(json.dumps(document | {"checksum": fingerprint_of(document)}))


def crc32(folder: Path) -> list[int]:
    return [crc for batch in Library.open(folder).objects(("thumb_crc32",)) for crc in batch["thumb_crc32"]]


def test_a_library_of_format_1_is_read_and_added_to(tmp_path: Path) -> None:
    write(tmp_path, COUNTS)
    known = crc32(tmp_path)
    assert known == [zlib.crc32(jpeg) for path, n in COUNTS.items() for jpeg in jpegs(path, n)]
    make_old(tmp_path)
    assert content(tmp_path) == expected(COUNTS)
    assert check_library(Library.open(tmp_path)) == []
    assert crc32(tmp_path) == [-1] * len(known)
    write(tmp_path, {"new.jpg": 1})
    with LibraryWriter.open(tmp_path, SPACE, photo_root=tmp_path) as writer:
        writer.drop({"a.jpg"})
    left = {path: n for path, n in COUNTS.items() if path != "a.jpg"} | {"new.jpg": 1}
    assert content(tmp_path) == expected(left)
    assert sorted(crc32(tmp_path))[:-1] == [-1] * (len(known) - 3)
    assert check_library(Library.open(tmp_path)) == []


@pytest.mark.parametrize("name", [b"Trip:2024.lib", b"s3:x.lib", b"file:y", b"caf\xe9.lib", b"a b%20c"])
@pytest.mark.parametrize("relative", [False, True])
def test_a_path_is_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: bytes, relative: bool
) -> None:
    """pyarrow would take some of them for addresses, others cannot be encoded."""
    monkeypatch.chdir(tmp_path)
    folder = Path(os.fsdecode(name)) if relative else tmp_path / os.fsdecode(name)
    write(folder, COUNTS)
    assert content(folder) == expected(COUNTS)
    with LibraryWriter.open(folder, SPACE, photo_root=folder) as writer:
        writer.drop({"a.jpg"})
    assert check_library(Library.open(folder)) == []
    assert Library.open(folder).photo_root == tmp_path
    assert len(Library.open(folder).photos()) == len(COUNTS) - 1
    assert [path.name for path in tmp_path.iterdir()] == [os.fsdecode(name)]


@pytest.mark.slow
def test_two_writers(tmp_path: Path) -> None:
    with LibraryWriter.open(tmp_path, SPACE, photo_root=tmp_path) as writer:
        code = (
            "import sys, pathlib\n"
            "from rtsearch.library import FeatureSpace, LibraryWriter\n"
            "from rtsearch.errors import LibraryBusyError\n"
            "folder = pathlib.Path(sys.argv[1])\n"
            "space = FeatureSpace.model_validate_json(sys.argv[2])\n"
            "try:\n"
            "    LibraryWriter.open(folder, space, photo_root=folder)\n"
            "except LibraryBusyError as error:\n"
            "    print(error)\n"
        )
        argv = [sys.executable, "-c", code, str(tmp_path), SPACE.model_dump_json()]
        said = forked.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout
        assert f"(pid {os.getpid()})" in said
        assert "try again" in said
        with pytest.raises(LibraryBusyError):
            LibraryWriter.open(tmp_path, SPACE, photo_root=tmp_path)
        assert Library.open(tmp_path).photo_count == 0  # readers are welcome
        writer.add(photo("a.jpg"), objects(1), jpegs("a.jpg", 1))
        writer.commit()
    LibraryWriter.open(tmp_path, SPACE, photo_root=tmp_path).close()


def test_photo_paths_never_leave_the_root(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    (root / "in").mkdir(parents=True)
    (root / "out").symlink_to(tmp_path)
    write(tmp_path / "lib", {"in/a.jpg": 1})
    library = Library.open(tmp_path / "lib", photo_root=root)
    assert library.photo_path("in/a.jpg") == root / "in" / "a.jpg"
    for path in ("", "../secret.jpg", "/etc/passwd", "in/../../x", "in//a", "./a", "out/secret.jpg", "a\0b"):
        with pytest.raises(PhotoError, match="leads out"):
            library.photo_path(path)


def test_export(tmp_path: Path) -> None:
    write(tmp_path / "lib", COUNTS)
    library = Library.open(tmp_path / "lib")
    assert export_npz(library, tmp_path / "out.npz", lambda v: v[:, :2] * 2) == 11
    with np.load(tmp_path / "out.npz") as out:
        assert sorted(out) == ["class_names", "label", "path", "score", "vector", "whole", "xyxy"]
        assert out["class_names"].tolist() == list(library.space.class_names)
        assert out["class_names"].dtype.kind == "U"
        assert out["path"].tolist() == [path for path, n in COUNTS.items() for _ in range(n)]
        first = objects(3, len("a.jpg"))
        np.testing.assert_array_equal(out["xyxy"][:3], first.xyxy)
        np.testing.assert_array_equal(
            out["vector"][:3], first.vector.astype(np.float16)[:, :2] * np.float32(2)
        )
    write(tmp_path / "none", {})
    assert export_npz(Library.open(tmp_path / "none"), tmp_path / "none.npz") == 0
    with np.load(tmp_path / "none.npz") as out:
        assert out["vector"].shape == (0, DIM)


def test_an_export_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "lib", COUNTS)
    library = Library.open(tmp_path / "lib")
    photo = tmp_path / "mine.jpg"
    photo.write_bytes(b"a photo")
    with pytest.raises(LibraryError, match=r"mine\.jpg: vectors are written as \.npz"):
        export_npz(library, photo)
    assert photo.read_bytes() == b"a photo"
    old = tmp_path / "out.npz"
    old.write_bytes(b"an older one")

    def fill(file, **_: object) -> None:
        file.write(b"PK")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np, "savez", fill)
    with pytest.raises(LibraryError, match=r"out\.npz cannot be written: No space left on device$"):
        export_npz(library, old)
    assert old.read_bytes() == b"an older one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lib", "mine.jpg", "out.npz"]


def test_opening_reads_the_manifest_only(tmp_path: Path) -> None:
    write(tmp_path, COUNTS)
    for part in PARTS:
        for path in (tmp_path / part).iterdir():
            path.unlink()
    assert Library.open(tmp_path).object_count == 11
