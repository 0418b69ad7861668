"""Files that are whole or not there."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import forked
import pytest

from rtsearch._util.atomic import publish, replacing, write_atomic


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", ["a", "ä" * 127, os.fsdecode(b"caf\xe9"), "s3:x", ".hidden"])
def test_a_file_is_replaced(tmp_path: Path, name: str) -> None:
    for content in (b"", b"old", b"new"):
        write_atomic(tmp_path / name, content)
        assert (tmp_path / name).read_bytes() == content
        assert names(tmp_path) == [name]


def test_what_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "a"
    write_atomic(path, b"old")

    def interrupted() -> None:
        with replacing(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, b"new")
    with pytest.raises(FileNotFoundError):
        write_atomic(tmp_path / "missing" / "a", b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_no_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "foreign").write_bytes(b"foreign")
    (tmp_path / "a").symlink_to(tmp_path / "foreign")
    write_atomic(tmp_path / "a", b"new")
    assert (tmp_path / "foreign").read_bytes() == b"foreign"
    assert not (tmp_path / "a").is_symlink()


def test_file_and_folder_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is only renamed may be empty after a power cut; what is only written may be nowhere."""
    events: list[str] = []
    real, replace = os.fsync, Path.replace

    def fsync(descriptor: int) -> None:
        events.append("sync " + Path(f"/proc/self/fd/{descriptor}").resolve().name.partition(".")[0])
        real(descriptor)

    def rename(self: Path, target: Path) -> Path:
        events.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", rename)
    write_atomic(tmp_path / "a", b"new")
    (tmp_path / "part").touch()
    publish(tmp_path / "part", tmp_path / "b")
    assert events == [
        "sync ",
        "rename",
        f"sync {tmp_path.name}",
        "sync part",
        "rename",
        f"sync {tmp_path.name}",
    ]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_syncs_no_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").resolve() == tmp_path.resolve():
            raise OSError(number, os.strerror(number))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write_atomic(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


def test_many_writers_of_one_file(tmp_path: Path) -> None:
    contents = [bytes([i]) * 100_000 for i in range(8)]
    threads = [threading.Thread(target=write_atomic, args=(tmp_path / "a", data)) for data in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "a").read_bytes() in contents
    assert names(tmp_path) == ["a"]


@pytest.mark.slow
def test_a_reader_never_sees_a_part(tmp_path: Path) -> None:
    """A writer is killed in the middle of its writing."""
    path = tmp_path / "a"
    write_atomic(path, b"old")
    code = (
        "import sys, os; from pathlib import Path; from rtsearch._util.atomic import replacing\n"
        "with replacing(Path(sys.argv[1])) as file:\n"
        "    file.write(b'half'); file.flush(); print('now', flush=True); sys.stdin.read()"
    )
    with forked.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"now\n"
        assert path.read_bytes() == b"old"
        writer.send_signal(signal.SIGKILL)
    assert path.read_bytes() == b"old"
