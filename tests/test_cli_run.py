"""rtsearch run on the command line, Ctrl-C, and commands as processes of their own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import forked
import numpy as np
import pytest
from commands import NEIGHBOUR_KEYS, OBJECT_KEYS

from rtsearch.library import Library


def test_run_without_a_display_says_so_and_goes_on(cli, library, short_clip):
    done = cli("run", library, "--source", short_clip, "--record", "seen.jsonl", "--json")
    assert done.code == 0
    assert done.err == "there is no display: running without a window\n"
    assert done.json["frames_shown"] == 12


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), ", and nothing is written; give --out OUT.mp4, or --headless"),
        (("--set", "show.fullscreen=true", "--record", "seen.jsonl"), ", and show.fullscreen asks for one"),
    ],
)
def test_a_run_that_nobody_would_see(cli, library, short_clip, monkeypatch, options, words):
    monkeypatch.setenv("DISPLAY", ":987")
    done = cli("run", library, "--source", short_clip, *options)
    assert f"rtsearch: the display :987 does not answer{words}" in done.complaint


def test_run(cli, library, short_clip):
    done = cli(
        *("run", library, "--source", short_clip, "--headless", "--json"),
        *("--out", "o.mp4", "--record", "o.jsonl"),
    )
    assert done.code == 0
    report = done.json
    assert {
        "frames_in",
        "frames_shown",
        "dropped",
        "fps",
        "objects",
        "stage_ms",
        "latency_ms",
    } <= report.keys()
    assert (report["frames_in"], report["frames_shown"], report["dropped"]) == (12, 12, 0)
    assert {"capture", "detect", "describe", "search"} <= report["stage_ms"].keys()
    for times in [*report["stage_ms"].values(), report["latency_ms"]]:
        assert {"p50", "p99"} <= times.keys()
    written = [json.loads(line) for line in Path("o.jsonl").read_text(encoding="utf-8").splitlines()]
    assert written[0].pop("video")["frames"] == 12
    assert list(written[0]) == ["frame", "t_s", "wh", "objects", "shown", "began"]
    assert [list(line) for line in written[1:]] == [["frame", "t_s", "wh", "objects", "shown"]] * 11
    assert [line["frame"] for line in written] == list(range(12))
    objects = [item for line in written for item in line["objects"]]
    assert [list(item) for item in objects] == [OBJECT_KEYS] * len(objects)
    assert {tuple(near) for item in objects for near in item["neighbours"]} == {tuple(NEIGHBOUR_KEYS)}
    capture = cv2.VideoCapture("o.mp4")
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 12
    capture.release()


def test_a_video_of_frames_in_pieces(cli, library, short_clip):
    """At the size of the source, with boxes; where nothing is drawn the pixels are those of the source."""
    Path("o.mp4").write_text("not touched", encoding="utf-8")
    options = ("--out-style", "frame", "--split", "1h", "--set", "video.crf=1")
    done = cli("run", library, "--source", short_clip, "--headless", "--out", "o.mp4", *options)
    assert done.code == 0
    assert done.err.splitlines()[-1] == "written: o-0001.mp4"
    assert sorted(path.name for path in Path().iterdir()) == ["o-0001.mp4", "o.mp4"]
    pictures = [_first_picture(path) for path in (short_clip, "o-0001.mp4")]
    assert pictures[0].shape == pictures[1].shape
    apart = cv2.absdiff(*pictures).max(2)
    assert np.median(apart) <= 3
    assert (apart > 60).sum() > 100


def _first_picture(path: Path | str) -> np.ndarray:
    capture = cv2.VideoCapture(str(path))
    picture = capture.read()[1]
    capture.release()
    return picture


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--split", "1h"), "are of a video; give --out"),
        (("--out-style", "frame"), "are of a video; give --out"),
        (("--out", "o.mp4", "--split", "1 week"), "--split 1 week: expected a length from 1s on"),
        (
            ("--out", "o.mp4", "--out-style", "frame", "--source", "x.mp4"),
            "--out-style frame is of one source",
        ),
    ],
)
def test_videos_that_cannot_be(cli, library, short_clip, options, words):
    assert words in cli("run", library, "--source", short_clip, "--headless", *options).complaint


def test_several_sources_of_which_none_is_there(cli, library):
    dead = ("--source", "http://ann:geheim@127.0.0.1:1/a", "--source", "rtsp://127.0.0.1:1/b")
    done = cli("run", library, *dead, "--headless", "--set", "live.open_timeout_s=3")
    assert "cannot be opened: Connection refused" in done.complaint
    assert "geheim" not in done.err


def test_a_setting_plays_files_over_and_over(library, short_clip, tmp_path):
    command = [forked.COMMAND, "run", library, "--headless", "--record", "o.jsonl"]
    command += ["--set", "live.loop=true", "--set", f"live.source={short_clip}"]
    with forked.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        record = tmp_path / "o.jsonl"
        while process.poll() is None and not (record.exists() and record.read_bytes().count(b"\n") > 30):
            time.sleep(0.05)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
    frames = [json.loads(line).get("frame") for line in record.read_text().splitlines()]
    assert frames[:30] == list(range(30))  # of a clip of twelve


def test_run_tells_its_figures(cli, library, short_clip):
    done = cli("run", library, "--source", short_clip, "--headless")
    assert (done.code, done.out) == (0, "")
    assert re.search(r"12 frames at [\d.]+/s, 0 dropped, \d+ objects?, \d+ neighbours", done.err)


def test_run_on_one_photo_tells_no_rate(cli, library, photos):
    done = cli("run", library, "--source", photos / "skimage-coffee.png", "--headless")
    assert done.err.startswith("1 frame, 0 dropped, ")


def test_run_at_the_clips_own_speed(cli, library, short_clip):
    report = cli("run", library, "--source", short_clip, "--headless", "--realtime", "--json").json
    assert report["frames_shown"] + report["dropped"] == 12


@pytest.mark.parametrize("source", ["photo", "folder"])
def test_run_on_photos(cli, library, photos, tmp_path, source):
    folder = tmp_path / "two photos"
    folder.mkdir()
    for name in ("skimage-coffee.png", "skimage-chelsea.png"):
        shutil.copyfile(photos / name, folder / name)
    spec = folder if source == "folder" else folder / "skimage-coffee.png"
    report = cli("run", library, "--source", spec, "--headless", "--json").json
    assert report["frames_shown"] == (2 if source == "folder" else 1)
    assert report["objects"] >= 1


def test_random_photos_of_the_library(cli, own_library, photos, monkeypatch):
    """They go on for ever; here until the library has shown five."""
    from rtsearch import live

    play, shown = live.play, []

    def five(source, *args, progress, **more):
        def told(count: int) -> None:
            shown.append(count)
            progress(count)
            if count == 5:
                os.kill(os.getpid(), signal.SIGINT)

        return play(source, *args, progress=told, **more)

    monkeypatch.setattr(live, "play", five)
    done = cli("run", own_library, "--source", "random", "--headless", "--json")
    assert (done.code, shown) == (0, [1, 2, 3, 4, 5])
    assert done.json["frames_shown"] == 5
    assert "random goes on until you stop it with Ctrl-C" in done.err


def test_a_library_that_moved_with_its_photos(cli, own_library, photos, tmp_path):
    moved = tmp_path / "moved photos"
    shutil.copytree(photos, moved)
    manifest = Library.open(own_library).manifest
    assert Path(manifest.photo_root) == photos
    opened = Library.open(own_library, moved)
    assert opened.photo_path("skimage-coffee.png") == moved / "skimage-coffee.png"


# Real processes --------------------------------------------------------------------------------------------


def test_the_installed_command(rtsearch, library, tmp_path):
    """It is started as a user does; test_private.py does so with a query."""
    command = [forked.COMMAND, "library", "info", library, "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["objects"]
    done = rtsearch("run", tmp_path / "none")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1


def interrupted(args: list[str | Path], until: Callable[[], bool]) -> subprocess.CompletedProcess[str]:
    """A command that gets Ctrl-C once ``until`` holds."""
    command = [forked.COMMAND, *args]
    environment = {name: value for name, value in os.environ.items() if "DISPLAY" not in name}
    process = forked.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    deadline_s = time.monotonic() + 120
    while not until() and process.poll() is None and time.monotonic() < deadline_s:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


@pytest.mark.slow
def test_ctrl_c_ends_a_run_with_its_report(library, long_clip, tmp_path):
    record = tmp_path / "o.jsonl"
    done = interrupted(
        ["run", library, "--source", long_clip, "--headless", "--record", record, "--json"],
        lambda: record.exists() and record.stat().st_size > 300,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert 0 < report["frames_shown"] < 3000
    assert len(record.read_text().splitlines()) == report["frames_shown"]


@pytest.mark.slow
def test_ctrl_c_ends_an_analysis_that_the_next_one_goes_on_with(cli, photos, tmp_path):
    lib, some = tmp_path / "lib", tmp_path / "photos"
    some.mkdir()
    for photo in sorted(photos.iterdir())[:20]:
        shutil.copyfile(photo, some / photo.name)
    command = ["analyze", some, lib, "--set", "analyze.commit_photos=1"]
    done = interrupted(command, lambda: len(list(lib.glob("images/*.parquet"))) >= 3)
    assert done.returncode == 130, done.stderr
    assert "the same command continues" in done.stderr
    known = Library.open(lib).photo_count
    assert 3 <= known < 20
    report = cli("analyze", some, lib, "--json").json
    assert report["kept"] == known
    assert report["kept"] + report["analysed"] == 20


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("command", ["--version", "config", "run --help", "model info --json", ""])
@pytest.mark.parametrize(
    ("where", "why"), [(">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")]
)
def test_an_output_that_takes_nothing(model, tmp_path, command, where, why):
    options: dict[str, Any] = {"stderr": subprocess.PIPE, "text": True, "timeout": 60, "cwd": tmp_path}
    if where == ">/dev/full":
        with Path("/dev/full").open("w") as full:
            done = forked.run([forked.COMMAND, *command.split()], stdout=full, **options)
    else:  # a descriptor that is closed from the start
        done = subprocess.run(["bash", "-c", f"{forked.COMMAND} {command} {where}"], check=False, **options)
    said = f"rtsearch: standard output cannot be written: {why}; redirect it to a place that can be"
    assert (done.returncode, done.stderr.splitlines()) == (2, [said])


def test_an_output_that_nobody_reads(rtsearch, model):
    command = f"{forked.COMMAND} model info --json | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=60)
    assert "Traceback" not in done.stderr


def test_a_folder_without_photos_says_what_is_there_instead(cli, own_library: Path, tmp_path: Path) -> None:
    (tmp_path / "designs").mkdir()
    (tmp_path / "designs/poster.psd").write_bytes(b"8BPS")
    said = cli("run", own_library, "--headless", "--source", tmp_path / "designs").complaint
    assert "no photos that can be looked at" in said
    assert "1 .psd (export them as PNG)" in said
