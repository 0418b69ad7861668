"""Recordings overwrite no existing file unasked, and name the part files of killed runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rtsearch.errors import RecordError
from rtsearch.recording import left_parts, refuse_existing


def ended_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_only_a_file_that_holds_something_is_refused(tmp_path: Path) -> None:
    empty, full = tmp_path / "empty.jsonl", tmp_path / "full.jsonl"
    empty.touch()
    refuse_existing([])
    refuse_existing([tmp_path / "none.jsonl", empty, Path(os.devnull)])
    full.write_text("{}", encoding="utf-8")
    with pytest.raises(RecordError, match=r"full\.jsonl exists already; --overwrite replaces it"):
        refuse_existing([empty, full])
    with pytest.raises(RecordError, match="is a folder; give the name of a file"):
        refuse_existing([tmp_path])


@pytest.mark.parametrize("name", ["o.mp4", "o.parquet", "a+b [1].mp4"])
def test_parts_of_killed_runs_are_found(tmp_path: Path, name: str) -> None:
    path, killed = tmp_path / name, ended_pid()
    part = tmp_path / f".{path.stem}.{killed}.part{path.suffix}"
    others = (
        f".{path.stem}.{os.getpid()}.part{path.suffix}",
        f".x.{killed}.part{path.suffix}",
        name,
        ".o.part",
    )
    piece = tmp_path / f".{path.stem}-0012.{killed}.part{path.suffix}"
    for each in (part.name, piece.name, *others):
        (tmp_path / each).touch()
    assert set(left_parts(path)) == {part, piece}
    assert left_parts(tmp_path / "missing" / name) == []


def test_a_command_that_is_given_again_keeps_what_there_is(cli, library, short_clip) -> None:
    run = ("run", library, "--source", short_clip, "--headless", "--record", "o.jsonl")
    Path("o.jsonl").write_text("hours of work\n", encoding="utf-8")
    part = Path(f".o.{ended_pid()}.part.mp4")
    part.write_bytes(b"x" * 2_000_000)
    done = cli(*run, "--out", "o.mp4")
    assert "o.jsonl exists already; --overwrite replaces it, or choose another name" in done.complaint
    assert f"left {part} (2.0 MB)" in done.err
    assert Path("o.jsonl").read_text(encoding="utf-8") == "hours of work\n"
    done = cli(*run, "--overwrite")
    assert "written: o.jsonl" in done.err
    assert len(Path("o.jsonl").read_text(encoding="utf-8").splitlines()) == 12
