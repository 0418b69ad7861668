"""Analyses that are killed, interrupted or run out of disk, and go on: in the end the library is the same."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import forked
import pytest
from blobs import content, expected_files, files, run, write_photos

from rtsearch.errors import LibraryError
from rtsearch.library import Library, LibraryWriter, check_library

COUNT = 48
BLOBS = Path(__file__).with_name("blobs.py")


def start(photos: Path, library: Path, commit_photos: int, sleep_s: float) -> subprocess.Popen[str]:
    """Analyse in a process of its own."""
    argv = [sys.executable, str(BLOBS), str(photos), str(library), str(commit_photos), str(sleep_s)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return forked.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def wait_for_library(process: subprocess.Popen[str], library: Path) -> None:
    """Until the process has opened the library for writing, or has ended."""
    deadline_s = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline_s:
        pid = library / "lock"
        if pid.exists() and pid.read_text().strip() == str(process.pid):
            return
        time.sleep(0.005)


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_random_moments(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    photos, library = tmp_path / "photos", tmp_path / "lib"
    write_photos(photos, COUNT)
    committed, kills = 0, 0
    for _ in range(4):  # all the work takes 5 s until one was killed, then 0.5
        sleep_s = 0.02 if kills else 0.2
        process = start(photos, library, commit_photos=rng.choice([1, 4, 16]), sleep_s=sleep_s)
        wait_for_library(process, library)
        try:
            process.communicate(timeout=rng.uniform(0, 0.4))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            kills += 1
        now = len(content(library)) if (library / "manifest.json").exists() else 0
        assert now >= committed  # a kill never takes away what was committed
        committed = now
    assert kills
    run(photos, library)
    run(photos, tmp_path / "fresh")
    assert content(library) == content(tmp_path / "fresh")
    assert list(content(library)) == list(content(tmp_path / "fresh"))
    assert files(library) == expected_files(library)
    assert check_library(Library.open(library)) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("commit_photos", [4, 1000])
def test_changed_photos_keep_their_objects_until_they_have_new_ones(
    tmp_path: Path, number: signal.Signals, commit_photos: int
) -> None:
    photos, library = tmp_path / "photos", tmp_path / "lib"
    write_photos(photos, COUNT)
    run(photos, library, commit_photos=10)
    before = {path: rows[1:] for path, rows in content(library).items()}
    changed = sorted(photos.rglob("*.png"))
    for path in changed[::2]:
        path.write_bytes(path.read_bytes() + b"more")  # the same picture in other bytes
    for path in changed:
        os.utime(path, ns=(1, 1))
    process = start(photos, library, commit_photos, sleep_s=0.2)
    wait_for_library(process, library)
    named = set((library / "thumbs").iterdir())
    deadline_s = time.monotonic() + 60
    while not set((library / "thumbs").iterdir()) - named:  # until it has looked at the first photo
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert {path: rows[1:] for path, rows in content(library).items()} == before
    assert check_library(Library.open(library)) == []
    run(photos, library)
    run(photos, tmp_path / "fresh")
    assert content(library) == content(tmp_path / "fresh")
    assert files(library) == expected_files(library)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_commits_and_ends_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    photos, library = tmp_path / "photos", tmp_path / "lib"
    write_photos(photos, COUNT)
    process = start(photos, library, commit_photos=1000, sleep_s=0.2)
    deadline_s = time.monotonic() + 60
    while not list(library.glob("thumbs/*")):  # the first photo has been looked at; the others take 5 s
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    word, analysed = out.split()
    assert word == "interrupted"
    assert len(content(library)) == int(analysed) > 0
    report = run(photos, library)
    assert (report.kept, report.analysed) == (int(analysed), COUNT - int(analysed))


class _FullDisk:
    """Stands in for ``os.fsync``: no space from the n-th call on."""

    def __init__(self, calls_left: int) -> None:
        self.calls_left = calls_left

    def __call__(self, descriptor: int) -> None:
        self.calls_left -= 1
        if self.calls_left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("calls", [0, 1, 2, 5, 8, 9, 20])
def test_a_disk_that_fills_up_at_any_write(
    tmp_path: Path, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, library = tmp_path / "photos", tmp_path / "lib"
    write_photos(photos, 12)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", _FullDisk(calls))
        with pytest.raises(
            LibraryError, match=r"no space left on the disk of .*lib; what was committed is kept"
        ):
            run(photos, library, commit_photos=4)
    if (library / "manifest.json").exists():
        assert check_library(Library.open(library)) == []
    run(photos, library)
    run(photos, tmp_path / "fresh")
    assert content(library) == content(tmp_path / "fresh")
    assert files(library) == expected_files(library)


@pytest.mark.parametrize("calls", [0, 3, 6, 7])
def test_a_disk_that_fills_up_while_photos_are_dropped(
    tmp_path: Path, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, library = tmp_path / "photos", tmp_path / "lib"
    write_photos(photos, 12)
    run(photos, library, commit_photos=4)
    before = content(library)
    space = Library.open(library).space
    monkeypatch.setattr(os, "fsync", _FullDisk(calls))
    with LibraryWriter.open(library, space, photo_root=photos) as writer, pytest.raises(LibraryError):
        writer.drop({"000.png", "sub/009.png"})
    monkeypatch.undo()
    after = content(library)
    assert after in (before, {k: v for k, v in before.items() if k not in ("000.png", "sub/009.png")})
    LibraryWriter.open(library, space, photo_root=photos).close()
    assert files(library) == expected_files(library)
    assert content(library) == after


def test_a_kill_between_files_and_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worst moment: a fragment is whole under its final names, the manifest does not know it yet."""
    photos, library = tmp_path / "photos", tmp_path / "lib"
    write_photos(photos, 12)
    run(photos, library, commit_photos=4)
    (photos / "new.png").write_bytes((photos / "000.png").read_bytes())
    old_manifest = (library / "manifest.json").read_bytes()
    run(photos, library)
    (library / "manifest.json").write_bytes(old_manifest)
    assert files(library) != expected_files(library)
    report = run(photos, library)
    assert report.analysed == 1
    assert files(library) == expected_files(library)
    run(photos, tmp_path / "fresh")
    assert content(library) == content(tmp_path / "fresh")
