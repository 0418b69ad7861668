"""``rtsearch analyze``: what it says of photos that it did not look at, or not as they should be."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import blobs
import clips
import cv2
import numpy as np
import pytest
from commands import Done

Cli = Callable[..., Done]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A few photos of rectangles, and all that may lie beside photos."""
    root = tmp_path / "photos"
    for name in ("a.jpg", "sub/b.jpg", "sub/c.jpg"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(cv2.imencode(".jpg", blobs.draw(1, wh=(320, 240)))[1].tobytes())
    return root


def test_what_is_left_out_is_said(cli: Cli, folder: Path, tmp_path: Path) -> None:
    (folder / "a.jpg").write_bytes((folder / "a.jpg").read_bytes()[:-2])
    (folder / "drawing.svg").touch()
    (folder / "notes.txt").touch()
    (folder / "again").symlink_to("sub")
    (folder / "._a.jpg").touch()
    (folder / "@eaDir").mkdir()
    os.mkfifo(folder / "pipe.jpg")
    for i in range(25):
        (folder / f"out{i:02d}.jpg").symlink_to(tmp_path)
    done = cli("analyze", folder, tmp_path / "lib")
    assert done.code == 0
    lines = done.err.splitlines()
    for line in [
        "left out out00.jpg: a link that leads out of the folder",
        "... and 6 more",
        "a.jpg lacks its last bytes; it was taken",
        "left out: 1 .svg (export them as PNG), 1 other file (.txt)",
        "left out by analyze.exclude: 1 x ._*, 1 x @eaDir",
        "1 linked folder not followed: photos count under their own names",
    ]:
        assert any(line in said for said in lines), line
    assert sum("leads out" in line for line in lines) == 20
    report = cli("analyze", folder, tmp_path / "lib", "--json").json
    assert {"suffix": ".txt", "files": 1, "way_out": ""} in report["left_out"]
    assert report["excluded"] == {"@eaDir": 1, "._*": 1}
    assert report["links"] == 1
    assert ["pipe.jpg", "a pipe, not a file"] in report["refused"]


def test_of_films_alone_nothing_is_said_of_photos(cli: Cli, tmp_path: Path) -> None:
    film = tmp_path / "films" / "f.avi"
    film.parent.mkdir()
    clips.write_clip(film, range(4), wh=(320, 240))
    said = cli("analyze", film.parent, tmp_path / "lib").err
    assert "1 film of 0.0 minutes analysed" in said
    assert "photos analysed" not in said
    assert "0 unchanged, 0 dropped, 0 failed" in said


def test_folders_that_are_gone_are_kept_or_dropped(cli: Cli, folder: Path, tmp_path: Path) -> None:
    whole = ("--set", "detect.whole_image=true")  # a photo without objects is nothing to lose
    assert cli("analyze", folder, tmp_path / "lib", *whole).code == 0
    shutil.rmtree(folder / "sub")
    done = cli("analyze", folder, tmp_path / "lib", *whole)
    assert "kept 2 photos of sub/, which is empty or missing: mount it, or drop them with --drop" in done.err
    report = cli("analyze", folder, tmp_path / "lib", "--drop", "--json", *whole).json
    assert (report["missing"], report["dropped"]) == ([], 2)


def test_photos_that_cannot_be_read_now_are_named(cli: Cli, folder: Path, tmp_path: Path) -> None:
    complaint = cli("analyze", folder, tmp_path / "lib", "--set", "analyze.max_photo_mp=0.01").complaint
    assert "none of 3 photos" in complaint
    assert "a.jpg: 0.1 megapixels, more than analyze.max_photo_mp = 0.01" in complaint
    assert cli("analyze", folder, tmp_path / "lib").code == 0


def test_a_pipe_as_query(cli: Cli, library: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.jpg")
    assert "x.jpg: cannot be read: a pipe, not a file" in cli("query", library, tmp_path / "x.jpg").complaint


def test_noise_of_decoders_stays_out(cli: Cli, folder: Path, tmp_path: Path) -> None:
    noisy = bytearray(cv2.imencode(".jpg", np.zeros((64, 64, 3), np.uint8))[1].tobytes())
    (folder / "noisy.jpg").write_bytes(bytes(noisy[:-2]) + b"stray bytes" + bytes(noisy[-2:]))
    assert "Corrupt JPEG" not in cli("analyze", folder, tmp_path / "lib").err
