"""Remembering from the command line: a run keeps what it sees, and seen, info and forget answer."""

from __future__ import annotations

import json
import shutil
import time

import cv2
import pytest
from clips import shorten
from memories import HOUR_NS, NS, entry, write

from rtsearch.memory.folder import hour_of


@pytest.fixture(scope="module")
def seen_clip(clip, tmp_path_factory):
    """The first frames of the real clip."""
    copy = tmp_path_factory.mktemp("clip") / clip.name
    shutil.copyfile(clip, copy)
    shorten(copy, 120)
    return copy


@pytest.fixture(scope="module")
def remembered(rtsearch, seen_clip, tmp_path_factory):
    """The memory of a run over the clip, without a library, and what the run said."""
    folder = tmp_path_factory.mktemp("memory") / "seen"
    done = rtsearch(
        *("run", "--source", seen_clip, "--headless", "--remember", folder, "--json"),
        *("--set", "memory.blind_s=0", "--set", "memory.classes=person,car,bicycle"),
    )
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


def test_a_run_without_a_library_remembers(remembered, cli):
    folder, report = remembered
    assert report["memory"]["entries"] > 0
    assert report["memory"]["dropped"] == 0
    info = cli("memory", "info", folder, "--json").json
    assert info["entries"] == report["memory"]["entries"]
    assert info["damaged"] == []
    assert sum(info["classes"].values()) == info["entries"]
    assert "entries" in cli("memory", "info", folder).out


def test_seen_tells_when_and_where(remembered, cli, seen_clip, tmp_path):
    folder, _ = remembered
    capture = cv2.VideoCapture(str(seen_clip))
    capture.set(cv2.CAP_PROP_POS_FRAMES, 108)
    cv2.imwrite(str(tmp_path / "photo.png"), capture.read()[1])
    done = cli("seen", folder, tmp_path / "photo.png", "--json")
    assert done.code == 0, done.err
    seen = done.json["seen"]
    assert seen == sorted(seen, key=lambda each: each["to"], reverse=True)
    assert all(each["source"].endswith(seen_clip.name) for each in seen)
    assert all(each["distance"] <= done.json["limit"] for each in seen)
    assert all(each["path"] for each in seen)
    again = cli("seen", folder, "--row", seen[0]["row"], "--json").json["seen"]
    assert seen[0]["row"] in [each["row"] for each in again if each["distance"] == 0]
    assert "looked for the" in cli("seen", folder, tmp_path / "photo.png").err


def test_what_was_not_seen_is_told_by_what_is_nearest(remembered, cli, photos):
    folder, _ = remembered
    done = cli("seen", folder, photos / "skimage-chelsea.png", "--class", "cat", "--json").json
    assert done["seen"] == []
    assert sum(moment["entries"] for moment in done["beyond"]) == 5
    distances = [moment["distance"] for moment in done["beyond"]]
    assert distances == sorted(distances)
    assert distances[0] > done["limit"]
    said = cli("seen", folder, photos / "skimage-chelsea.png", "--class", "cat")
    assert "seen 0 times within" in said.err
    assert "the nearest, which lie beyond it:" in said.err
    assert len(said.out.splitlines()) == len(done["beyond"])


def test_what_is_missing_is_said(cli, tmp_path):
    assert "--remember" in cli("run").complaint
    assert "no memory" in cli("memory", "info", tmp_path / "nowhere").complaint
    (tmp_path / "nowhere").mkdir()
    assert "--row" in cli("seen", tmp_path / "nowhere").complaint


def test_forget(cli, tmp_path):
    folder = tmp_path / "seen"
    at_ns = (time.time_ns() // HOUR_NS - 24) * HOUR_NS
    write(folder, [entry(i, at_ns + i * NS) for i in range(4)], hour_of(at_ns))
    names = [entry(i, at_ns + i * NS).name for i in range(4)]
    assert cli("memory", "forget", folder, "--row", names[2], "--json").json == {"forgotten": 1}
    assert names[2] in cli("memory", "forget", folder, "--row", names[2]).complaint
    assert "1 entry" in cli("memory", "forget", folder, "--row", names[0]).err
    assert cli("memory", "forget", folder, "--class", "cup", "--json").json == {"forgotten": 2}
    assert cli("memory", "info", folder, "--json").json["entries"] == 0
