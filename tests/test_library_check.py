"""Damage to a library's files: found, named, and repaired by looking at the photos again."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from blobs import BlobPipeline, content, expected_files, files, run, write_photos

from rtsearch.config import Settings, load_settings
from rtsearch.errors import DamagedError, LibraryError
from rtsearch.jobs.analyze import Progress, Upkeep, analyze
from rtsearch.library import Library, Manifest, check_library, cut_files
from rtsearch.library import fragment as fragment_module
from rtsearch.library.files import sha256_of
from rtsearch.library.manifest import PARTS, FragmentFiles, StoredFile
from rtsearch.library.pages import unpacked_bytes

COUNT = 20


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos, and a library of them in several fragments."""
    folder = tmp_path_factory.mktemp("sound")
    write_photos(folder / "photos", COUNT)
    run(folder / "photos", folder / "lib", commit_photos=6)
    return folder


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    shutil.copytree(sound / "lib", tmp_path / "lib")
    return tmp_path / "lib"


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(bytes(data))


def flip_data(path: Path) -> None:
    """The last byte of the first column: footers hold bytes that nothing depends on."""
    column = pq.read_metadata(path).row_group(0).column(0)
    data = bytearray(path.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    data[start + column.total_compressed_size - 1] ^= 4
    path.write_bytes(bytes(data))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


def remove(path: Path) -> None:
    path.unlink()


DAMAGE = [flip, truncate, lengthen, remove]


def damaged_file(folder: Path, part: str) -> tuple[Path, set[str], int]:
    """A file of the second fragment, its photos with objects, and the number of all its photos."""
    library = Library.open(folder)
    fragment = library.fragments[1]
    photos = library.photos()
    inside = range(library.fragments[0].photos, library.fragments[0].photos + fragment.photos)
    with_objects = {photos.path[i] for i in inside if photos.state[i] == "ok"}
    return fragment.path(folder, part), with_objects, fragment.photos


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("part", PARTS)
def test_check_names_the_file_and_the_photos(folder: Path, part: str, damage) -> None:
    path, with_objects, all_photos = damaged_file(folder, part)
    damage(path)
    problems = check_library(Library.open(folder))
    assert [problem.file for problem in problems] == [f"{part}/{path.name}"]
    problem = problems[0]
    if part == "images":
        assert problem.photo_count == all_photos
    else:
        assert set(problem.photos) == with_objects
        assert problem.photo_count == len(with_objects)
        assert problem.photos[0] in str(problem)
    assert problem.file in str(problem)


def test_a_pipe_in_place_of_a_file_is_not_waited_for(folder: Path, sound: Path) -> None:
    for part in PARTS:
        path = damaged_file(folder, part)[0]
        whole = path.read_bytes()
        remove(path)
        os.mkfifo(path)
        assert [problem.file for problem in check_library(Library.open(folder))] == [f"{part}/{path.name}"]
        path.unlink()
        path.write_bytes(whole)
    lock = folder / "lock"
    lock.unlink()
    os.mkfifo(lock)
    with pytest.raises(LibraryError, match=r"lock is a pipe, not a file: remove it"):
        run(sound / "photos", folder)


def test_a_pipe_in_place_of_an_empty_pack_is_not_waited_for(tmp_path: Path) -> None:
    """A pack without crops has no bytes, as a pipe has none."""
    write_photos(tmp_path / "photos", 4)
    for path in tmp_path.rglob("*.png"):
        path.write_bytes(b"no picture")
    run(tmp_path / "photos", tmp_path / "lib")
    pack = Library.open(tmp_path / "lib").pack_paths[0]
    pack.unlink()
    os.mkfifo(pack)
    assert "not a file" in check_library(Library.open(tmp_path / "lib"))[0].what


def test_files_that_are_cut_are_seen_without_reading_them(folder: Path) -> None:
    library = Library.open(folder)
    assert cut_files(library) == []
    first, second = (fragment.path(folder, "thumbs") for fragment in library.fragments[:2])
    first.unlink()
    truncate(second)
    size = second.stat().st_size
    assert cut_files(library) == [
        f"thumbs/{first.name}: it is missing",
        f"thumbs/{second.name}: it has {size} bytes instead of {size + 7}",
    ]


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("part", PARTS)
def test_repair_looks_at_the_photos_again(sound: Path, folder: Path, part: str, damage) -> None:
    path, _, all_photos = damaged_file(folder, part)
    damage(path)
    pipeline = BlobPipeline()
    report = analyze(sound / "photos", folder, pipeline, Settings(), upkeep=Upkeep(repair=True))
    assert report.analysed == all_photos
    assert [text.partition(":")[0] for text in report.damaged] == [f"{part}/{path.name}"]
    assert content(folder) == content(sound / "lib")
    assert check_library(Library.open(folder)) == []
    assert files(folder) == expected_files(folder)


@pytest.mark.parametrize("part", PARTS)
def test_a_repair_that_is_stopped_loses_nothing(sound: Path, folder: Path, part: str) -> None:
    """What is damaged goes when its photos have been looked at again, and no sooner."""
    flip(damaged_file(folder, part)[0])
    before = Manifest.read(folder).fragments
    stop = threading.Event()
    stop.set()
    report = analyze(
        sound / "photos", folder, BlobPipeline(), Settings(), upkeep=Upkeep(repair=True), stop=stop
    )
    assert (report.interrupted, report.analysed) == (True, 0)
    assert Manifest.read(folder).fragments == before
    analyze(sound / "photos", folder, BlobPipeline(), Settings(), upkeep=Upkeep(repair=True))
    assert content(folder) == content(sound / "lib")


def test_a_repair_that_is_stopped_half_way_goes_on(sound: Path, folder: Path) -> None:
    names = {fragment.name for fragment in Library.open(folder).fragments}
    for name in names:
        flip(folder / "thumbs" / f"{name}.pack")
    settings = load_settings(None, ["analyze.commit_photos=1"])
    stop = threading.Event()
    half: list[int] = []

    def count(progress: Progress) -> None:
        half.append(progress.done)
        if progress.done == COUNT // 2:
            stop.set()

    upkeep = Upkeep(repair=True)
    report = analyze(
        sound / "photos", folder, BlobPipeline(), settings, upkeep=upkeep, stop=stop, progress=count
    )
    assert report.interrupted
    assert set(Library.open(folder).photos().path) == set(Library.open(sound / "lib").photos().path)
    again = analyze(sound / "photos", folder, BlobPipeline(), settings, upkeep=upkeep)
    assert again.analysed == COUNT - len(half)
    assert content(folder) == content(sound / "lib")
    assert check_library(Library.open(folder)) == []


def test_a_repair_keeps_what_it_cannot_look_at_again(tmp_path: Path) -> None:
    """Rows of photos on a drive that is away stay, although crops beside them are damaged."""
    photos, drive, folder = tmp_path / "photos", tmp_path / "photos" / "sub", tmp_path / "lib"
    write_photos(photos, 12)
    run(photos, folder, commit_photos=4)
    before = content(folder)
    flip(folder / "thumbs" / "000002.pack")
    assert Library.open(folder).photos().path[4:8] == ["008.png", "010.png", "sub/001.png", "sub/003.png"]
    drive.rename(tmp_path / "unplugged")
    report = analyze(photos, folder, BlobPipeline(), Settings(), upkeep=Upkeep(repair=True))
    assert (report.analysed, report.missing) == (2, [("sub/", 6)])
    after = content(folder)
    assert {path: row[0] for path, row in after.items()} == {path: row[0] for path, row in before.items()}
    assert [after[path] for path in before if "sub" not in path] == [
        before[path] for path in before if "sub" not in path
    ]
    report = analyze(photos, folder, BlobPipeline(), Settings(), upkeep=Upkeep(repair=True, drop=True))
    assert (report.dropped, len(Library.open(folder).photos())) == (6, 6)


def test_repair_of_a_sound_library_does_nothing(sound: Path, folder: Path) -> None:
    stamp = Library.open(folder).stamp
    report = analyze(sound / "photos", folder, BlobPipeline(), Settings(), upkeep=Upkeep(repair=True))
    assert (report.damaged, report.analysed) == ([], 0)
    assert Library.open(folder).stamp == stamp


@pytest.mark.parametrize("part", ["images", "objects"])
def test_reading_damage_names_the_file_and_the_way_out(sound: Path, folder: Path, part: str) -> None:
    for damage in (flip_data, truncate, lengthen, remove):
        path = damaged_file(folder, part)[0]
        whole = path.read_bytes()
        damage(path)
        library = Library.open(folder)
        with pytest.raises(DamagedError, match=r"is damaged \(.*--repair") as caught:
            library.photos() if part == "images" else list(library.objects())
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
        if part == "images":
            with pytest.raises(DamagedError, match="--repair"):
                run(sound / "photos", folder)
        path.write_bytes(whole)


def test_no_flipped_bit_upsets_the_reader(folder: Path) -> None:
    """Not even in the headers, which no checksum covers before they are parsed."""
    library = Library.open(folder)
    rng = np.random.default_rng(0)
    for part in ("images", "objects"):
        path = library.fragments[0].path(folder, part)
        whole = path.read_bytes()
        rows = library.fragments[0].photos if part == "images" else library.fragments[0].objects
        ends = np.r_[rng.integers(0, 400, 60), rng.integers(len(whole) - 1500, len(whole), 140)]
        for place in ends % len(whole):
            data = bytearray(whole)
            data[place] ^= 1 << int(rng.integers(0, 8))
            path.write_bytes(bytes(data))
            try:
                if part == "images":
                    read = len(library.photos()) - (COUNT - rows)
                else:
                    read = sum(len(batch["label"]) for batch in library.objects())
                    read -= library.object_count - rows
            except DamagedError as error:
                read = rows if path.name in str(error) else -1
            assert read == rows
        path.write_bytes(whole)


# What the hashes cannot see: files written wrongly from the start ------------------------------------


def rewrite(folder: Path, part: str, **columns: object) -> None:
    """Replace columns of a table of the first fragment, and have the manifest agree."""
    manifest = Manifest.read(folder)
    fragment = manifest.fragments[0]
    path = fragment.path(folder, part)
    table = pq.read_table(path)
    for name, values in columns.items():
        i = table.schema.get_field_index(name)
        field = table.schema.field(i)
        table = table.set_column(i, field, pa.array(values, type=field.type))
    pq.write_table(table, path, compression="zstd")
    stored = {p: fragment.stored(p) for p in PARTS}
    stored[part] = StoredFile(bytes=path.stat().st_size, sha256=sha256_of(path))
    fragments = (fragment.model_copy(update={"files": FragmentFiles(**stored)}), *manifest.fragments[1:])
    manifest.model_copy(update={"fragments": fragments}).write(folder)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("photo", 99, "a photo that is not there"),
        ("photo", -1, "a photo that is not there"),
        ("thumb_offset", 10**12, "outside its pack"),
        ("thumb_bytes", -5, "outside its pack"),
        ("score", float("nan"), "NaN"),
        ("times_s", float("inf"), "the time of an object"),
    ],
)
def test_values_out_of_range(folder: Path, column: str, value: float, words: str) -> None:
    n = Library.open(folder).fragments[0].objects
    good = np.concatenate([batch[column] for batch in Library.open(folder).objects((column,))])[:n]
    bad = good.copy()
    bad[-1] = value
    rewrite(folder, "objects", **{column: bad if bad.ndim == 1 else bad.tolist()})
    problems = check_library(Library.open(folder))
    assert len(problems) == 1
    assert words in problems[0].what


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "a/../../b", ""])
def test_photo_paths_that_lead_outside_are_refused_on_reading(folder: Path, path: str) -> None:
    n = Library.open(folder).fragments[0].photos
    rewrite(folder, "images", path=[path, *(f"{i}.jpg" for i in range(n - 1))])
    with pytest.raises(DamagedError, match="leads out of the photo root"):
        Library.open(folder).photos()


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        (lambda n: ["a" * 20_000_000, *map(str, range(n - 1))], "decompresses to more"),
        (lambda n: ["a" * 1_000_000] * n, "texts are longer"),  # a dictionary has it once
    ],
)
def test_a_small_table_that_would_fill_the_memory_is_refused(folder: Path, paths, words: str) -> None:
    fragment = Library.open(folder).fragments[0]
    rewrite(folder, "images", path=paths(fragment.photos))
    assert fragment.path(folder, "images").stat().st_size < 20_000
    with pytest.raises(DamagedError, match=words):
        Library.open(folder).photos()


def test_pages_of_objects_are_held_against_their_number(folder: Path, monkeypatch) -> None:
    """A writer of Parquet makes no page that is larger than its rows, so the limit comes down to the page."""
    rows = sum(len(batch["label"]) for batch in Library.open(folder).objects())
    assert rows == Library.open(folder).object_count
    monkeypatch.setattr(fragment_module, "_USUAL_BYTES", 0)
    monkeypatch.setattr(fragment_module, "_MOST_ROW_BYTES", 0)
    with pytest.raises(DamagedError, match="decompresses to more than its objects"):
        list(Library.open(folder).objects())


@pytest.mark.parametrize("options", [{}, {"use_dictionary": False}, {"data_page_version": "2.0"}])
def test_pages_are_counted_as_they_are_written(tmp_path: Path, options: dict[str, Any]) -> None:
    """The footer counts page headers too, which are some 50 bytes."""
    path = tmp_path / "a.parquet"
    table = pa.table({"text": ["a" * 100_000] * 3 + ["b"], "number": np.arange(4)})
    pq.write_table(table, path, compression="zstd", **options)
    group = pq.read_metadata(path).row_group(0)
    promised = sum(group.column(i).total_uncompressed_size for i in range(2))
    with path.open("rb") as file:
        assert promised - 300 < unpacked_bytes(file) < promised
    whole = path.read_bytes()
    for broken in (b"", whole[:-1], whole[:4] + b"\x1c" * 90 + whole[94:], b"PAR1\xff\xff\xff\x7fPAR1"):
        path.write_bytes(broken)
        with path.open("rb") as file, pytest.raises(ValueError, match=r"footer|header|pages"):
            unpacked_bytes(file)


def test_a_photo_in_two_fragments(folder: Path) -> None:
    library = Library.open(folder)
    n = library.fragments[0].photos
    twice = library.photos().path[-1]
    rewrite(folder, "images", path=[*library.photos().path[: n - 1], twice])
    problems = check_library(Library.open(folder))
    assert [problem.photos for problem in problems] == [(twice,)]
    assert "repeats" in problems[0].what
