"""Memories that are killed, damaged, full, shared, too old, of others; and what is forgotten."""

from __future__ import annotations

import errno
import json
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import forked
import memories
import numpy as np
import pytest
from memories import BAG, CUP, HOUR_NS, NS, PERSON, entry, found, opened, until, watch, write
from test_memory import names_of, nearest, stored

from rtsearch.errors import (
    FeatureSpaceError,
    FormatError,
    LibraryBusyError,
    LibraryError,
    NotALibraryError,
    UnknownRowError,
)
from rtsearch.library import Library, check_library
from rtsearch.library.manifest import fingerprint_of
from rtsearch.library.reader_lock import ReaderLock
from rtsearch.memory.folder import MemoryFolder, hour_of
from rtsearch.memory.forgetting import Wanted, forget
from rtsearch.memory.info import about

SCRIPT = Path(__file__).with_name("memories.py")
THEN_NS = (time.time_ns() // HOUR_NS) * HOUR_NS - 48 * HOUR_NS


def fill(folder: Path, hours: int = 3, each: int = 4) -> None:
    """Hours of two days ago: in each a person, then cups."""
    for h in range(hours):
        at_ns = THEN_NS + h * HOUR_NS
        entries = [entry(each * h + i, at_ns + i * NS, PERSON if i == 0 else CUP) for i in range(each)]
        write(folder, entries, hour_of(at_ns))


def close_hours(folder: Path, entries: int) -> None:
    with opened(folder) as memory:
        until(lambda: memory.recall.findable == entries and not open_files(folder))


def open_files(folder: Path) -> list[Path]:
    return list(folder.glob("index/.building-*"))


def files_with(folder: Path, content: bytes) -> list[str]:
    return [str(path) for path in folder.rglob("*") if path.is_file() and content in path.read_bytes()]


def alter(path: Path, **changes: object) -> None:
    """Change values of a manifest, with a checksum that fits."""
    document = json.loads(path.read_bytes())
    document.pop("checksum")
    document |= changes
    document["checksum"] = fingerprint_of(document)
    path.write_text(json.dumps(document))


# Folders ---------------------------------------------------------------------------------------------------


def test_a_new_memory_is_its_owners_alone(tmp_path):
    with opened(tmp_path / "deep" / "m"):
        pass
    assert (tmp_path / "deep" / "m").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o755, 0o710, 0o704])
def test_a_folder_that_others_can_read_is_refused(tmp_path, mode):
    (tmp_path / "m").mkdir()
    (tmp_path / "m").chmod(mode)
    with pytest.raises(LibraryError, match=r"others can read .*chmod 700"):
        opened(tmp_path / "m")
    (tmp_path / "m").chmod(0o700)
    with opened(tmp_path / "m"):
        pass
    (tmp_path / "m").chmod(mode)
    with pytest.raises(LibraryError, match="others can read"):
        MemoryFolder.open(tmp_path / "m")


def test_a_foreign_folder_is_refused(tmp_path, blob_index):
    (tmp_path / "m").mkdir(0o700)
    (tmp_path / "m" / "letter.txt").write_text("dear")
    with pytest.raises(NotALibraryError, match=r"holds other files \(letter\.txt\)"):
        opened(tmp_path / "m")
    (tmp_path / "file").write_text("dear")
    with pytest.raises(NotALibraryError, match="is no folder"):
        opened(tmp_path / "file")
    with pytest.raises(NotALibraryError, match="is no memory"):
        MemoryFolder.open(tmp_path / "nowhere")
    blob_index.library.folder.chmod(0o700)
    with pytest.raises(NotALibraryError, match="library of photos"):
        opened(blob_index.library.folder)


def test_another_feature_space_is_refused(tmp_path):
    with opened(tmp_path / "m"):
        pass
    other = memories.FeatureSpace(recipe={"model": "other"}, class_names=("cup",), dim=8)
    with pytest.raises(FeatureSpaceError, match="model"):
        memories.LiveMemory.open(tmp_path / "m", other, None, memories.settings())


def test_a_newer_memory_is_refused(tmp_path):
    with opened(tmp_path / "m"):
        pass
    alter(tmp_path / "m" / "manifest.json", settings={"memory": {"format": 2}})
    with pytest.raises(FormatError, match=r"memory format 2.*update rtsearch"):
        opened(tmp_path / "m")


def test_two_runs_into_one_memory(tmp_path):
    with opened(tmp_path / "m") as memory:
        with pytest.raises(LibraryBusyError, match="another run remembers"):
            opened(tmp_path / "m")
        watch(memory, found((1, CUP, 1)), 1)
    assert len(stored(tmp_path / "m")) == 1
    with opened(tmp_path / "m"):
        pass


# Damage ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["manifest", "objects", "thumbs", "images", "gone"])
@pytest.mark.parametrize("closed", [False, True])
def test_a_damaged_hour_is_named_and_left_out(tmp_path, caplog, what, closed):
    folder = tmp_path / "m"
    fill(folder)
    if closed:
        close_hours(folder, 12)
    hour = folder / "hours" / hour_of(THEN_NS + HOUR_NS)
    if what == "manifest":
        (hour / "manifest.json").write_bytes(b"{}")
    elif what == "gone":
        (hour / "manifest.json").unlink()
    else:
        path = sorted((hour / what).iterdir())[0]
        path.write_bytes(path.read_bytes()[:-10])
    with opened(folder) as memory:
        until(lambda: memory.recall.findable == 8)
        assert hour.name in caplog.text
        assert "left out" in caplog.text
        assert [names_of(memory, nearest(memory, i))[0].endswith(f"-{i}") for i in (0, 3, 8, 11)] == [
            True
        ] * 4
        assert not any(names_of(memory, nearest(memory, i))[0].endswith(f"-{i}") for i in (4, 7))
        watch(memory, found((1, CUP, 99)), 1)
        assert memory.remembers
    assert about(MemoryFolder.open(folder))["damaged"] == [hour.name]


def test_a_damaged_projection_is_made_again(tmp_path):
    fill(tmp_path / "m")
    close_hours(tmp_path / "m", 12)
    (tmp_path / "m" / "projection.npy").write_bytes(b"nonsense")
    with opened(tmp_path / "m") as memory:
        until(lambda: memory.recall.findable == 12)
        assert names_of(memory, nearest(memory, 5))[0].endswith("-5")


def test_a_full_disk_ends_remembering_and_nothing_else(tmp_path, monkeypatch, caplog):
    def full(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with opened(tmp_path / "m") as memory:
        watch(memory, found((1, CUP, 1)), 1)
        until(lambda: len(stored(tmp_path / "m")) == 1)
        monkeypatch.setattr(os, "fsync", full)
        watch(memory, found((2, CUP, 2)), 1, begin_s=10)
        until(lambda: not memory.remembers)
        watch(memory, found((3, CUP, 3)), 1, begin_s=20)
        assert [names_of(memory, nearest(memory, 1))] != [[""]]  # what is known is still found
        assert "no space left" in memory.report().problem
    assert caplog.text.count("nothing is remembered any more") == 1
    monkeypatch.undo()
    assert len(stored(tmp_path / "m")) == 1
    with opened(tmp_path / "m") as memory:
        watch(memory, found((1, CUP, 5)), 1)
    assert len(stored(tmp_path / "m")) == 2


def test_a_disk_that_stalls_drops_and_counts(tmp_path, monkeypatch):
    monkeypatch.setattr("rtsearch.memory.keeper._WAITING", 2)
    monkeypatch.setattr("rtsearch.memory.keeper.FLUSH_S", 0)
    waits, goes_on, real = threading.Event(), threading.Event(), os.fsync

    def stalled(descriptor):
        waits.set()
        goes_on.wait(60)
        real(descriptor)

    with opened(tmp_path / "m") as memory:
        monkeypatch.setattr(os, "fsync", stalled)
        watch(memory, found((1, CUP, 0)), 1)
        assert waits.wait(60)
        for i in range(1, 21):  # none of these waits for the disk
            watch(memory, found((i + 1, CUP, i)), 1, begin_s=10 * i)
        assert (memory.report().entries, memory.report().dropped) == (3, 18)
        goes_on.set()
    assert len(stored(tmp_path / "m")) == 3


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_moments(tmp_path, seed):
    rng = random.Random(seed)
    folder = tmp_path / "m"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    known: set[str] = set()
    for _ in range(3):
        process = forked.Popen(
            [sys.executable, str(SCRIPT), str(folder), "60"],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        time.sleep(rng.uniform(0, 2))
        process.kill()
        process.communicate()
        now = set(stored(folder))
        assert now >= known
        known = now
        for hour in MemoryFolder.open(folder).hour_names():
            assert check_library(Library.open(folder / "hours" / hour)) == []
    assert known
    with opened(folder) as memory:
        until(lambda: memory.recall.findable == len(known))
    assert list(folder.rglob("*.tmp")) == []


# Keeping and forgetting ------------------------------------------------------------------------------------


def test_hours_that_are_too_old_are_dropped(tmp_path):
    fill(tmp_path / "m", hours=4)
    with opened(tmp_path / "m") as memory:
        until(lambda: memory.recall.findable == 16)
    names = MemoryFolder.open(tmp_path / "m").hour_names()
    age_days = (time.time_ns() - (THEN_NS + 2 * HOUR_NS)) / (24 * HOUR_NS)
    with opened(tmp_path / "m", f"memory.keep_days={age_days}") as memory:
        until(lambda: MemoryFolder.open(tmp_path / "m").hour_names() == names[2:])
        until(lambda: memory.recall.findable == 8)
        assert not names_of(memory, nearest(memory, 1))[0].endswith("-1")
        assert names_of(memory, nearest(memory, 9))[0].endswith("-9")
    assert files_with(tmp_path / "m", entry(1, NS).jpeg[100:]) == []
    close_hours(tmp_path / "m", 8)


def test_a_memory_that_is_too_large_drops_its_oldest_hours(tmp_path):
    fill(tmp_path / "m", hours=4)
    close_hours(tmp_path / "m", 16)
    names = MemoryFolder.open(tmp_path / "m").hour_names()
    total = about(MemoryFolder.open(tmp_path / "m"))["bytes"]
    with opened(tmp_path / "m", f"memory.keep_gb={total * 0.6 / 1e9}") as memory:
        until(lambda: MemoryFolder.open(tmp_path / "m").hour_names() == names[2:])
        until(lambda: memory.recall.findable == 8)


WANTED = [
    (Wanted(labels=(PERSON,)), [0, 4, 8]),
    (Wanted(before_ns=THEN_NS + HOUR_NS), [0, 1, 2, 3]),
    (Wanted(before_ns=THEN_NS + HOUR_NS + 2 * NS), [0, 1, 2, 3, 4, 5]),
    (Wanted(before_ns=THEN_NS + HOUR_NS, labels=(PERSON,)), [0]),
    (Wanted(labels=(BAG,)), []),
]


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize(("wanted", "gone"), WANTED)
def test_what_is_forgotten_is_nowhere_on_the_disk(tmp_path, wanted, gone, closed):
    folder = tmp_path / "m"
    fill(folder)
    if closed:
        close_hours(folder, 12)
    every = list(stored(folder))
    assert forget(MemoryFolder.open(folder), wanted) == len(gone)
    for i in range(12):
        jpeg = entry(i, NS).jpeg
        vector = entry(i, NS).vector.astype(np.float16).tobytes()
        assert bool(files_with(folder, jpeg[100:])) == (i not in gone), i
        assert bool(files_with(folder, vector)) == (i not in gone), i
    assert list(stored(folder)) == [name for name in every if int(name.split("-")[-1]) not in gone]
    with opened(folder) as memory:
        until(lambda: memory.recall.findable == 12 - len(gone))
        kept = next(i for i in range(1, 12) if i not in gone)
        assert memory.recall.jpeg(nearest(memory, kept)[0]) == entry(kept, NS).jpeg


def test_single_entries_are_forgotten_by_their_names(tmp_path):
    fill(tmp_path / "m")
    memory = MemoryFolder.open(tmp_path / "m")
    name = list(stored(tmp_path / "m"))[5]
    assert forget(memory, Wanted(names=frozenset([name]))) == 1
    assert name not in stored(tmp_path / "m")
    with pytest.raises(UnknownRowError, match=name):
        forget(memory, Wanted(names=frozenset([name])))


def test_nothing_is_forgotten_while_a_run_remembers_or_a_program_reads(tmp_path):
    fill(tmp_path / "m")
    with opened(tmp_path / "m"), pytest.raises(LibraryBusyError):
        forget(MemoryFolder.open(tmp_path / "m"), Wanted(labels=(PERSON,)))
    memory = MemoryFolder.open(tmp_path / "m")
    reader = ReaderLock(memory.hour(memory.hour_names()[0]))
    with pytest.raises(LibraryBusyError, match="reads"):
        forget(memory, Wanted(labels=(PERSON,)))
    del reader
    assert forget(memory, Wanted(labels=(PERSON,))) == 3


def test_crops_that_a_kill_has_left_are_forgotten_too(tmp_path):
    fill(tmp_path / "m")
    memory = MemoryFolder.open(tmp_path / "m")
    left = memory.hour(memory.hour_names()[1]) / "thumbs" / "000099.pack.tmp"
    left.write_bytes(entry(1000, NS).jpeg)
    forget(memory, Wanted(labels=(BAG,)))
    assert files_with(tmp_path / "m", entry(1000, NS).jpeg[100:]) == []


def test_a_damaged_hour_is_forgotten_whole_by_its_age(tmp_path):
    fill(tmp_path / "m")
    memory = MemoryFolder.open(tmp_path / "m")
    hour = memory.hour(memory.hour_names()[0])
    (hour / "manifest.json").write_bytes(b"{}")
    assert forget(memory, Wanted(labels=(PERSON,))) == 2
    assert hour.exists()
    forget(memory, Wanted(before_ns=THEN_NS + HOUR_NS))
    assert not hour.exists()
    assert files_with(tmp_path / "m", entry(0, NS).jpeg[100:]) == []


def test_a_removal_that_was_killed_is_finished(tmp_path):
    fill(tmp_path / "m")
    memory = MemoryFolder.open(tmp_path / "m")
    hour = memory.hour(memory.hour_names()[0])
    hour.rename(hour.with_name(f".gone-{hour.name}"))
    with opened(tmp_path / "m") as live:
        until(lambda: live.recall.findable == 8)
    assert files_with(tmp_path / "m", entry(0, NS).jpeg[100:]) == []


def test_a_link_in_the_place_of_a_folder_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    with opened(tmp_path / "m"):
        pass
    (tmp_path / "m" / "hours").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LibraryError, match="is a link"):
        opened(tmp_path / "m")
