"""The command line: what it answers, and one line with exit code 2 for everything that can be wrong."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import blobs
import cv2
import exports
import numpy as np
import onnx
import pytest
from clips import write_clip

from rtsearch.cli import main
from rtsearch.config import Settings
from rtsearch.library import Library, library_lock

COMMANDS = [
    (),
    ("run",),
    ("analyze",),
    ("query",),
    ("library",),
    ("library", "info"),
    ("library", "check"),
    ("library", "rebuild"),
    ("library", "export"),
    ("library", "map"),
    ("library", "sheet"),
    ("model",),
    ("model", "list"),
    ("model", "pull"),
    ("model", "import"),
    ("model", "info"),
    ("demo",),
    ("doctor",),
]


@dataclasses.dataclass
class Done:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        """Its one line of JSON."""
        assert self.out.count("\n") == 1, self.out
        return json.loads(self.out)

    @property
    def complaint(self) -> str:
        """Its one line about what is wrong; earlier lines may have said how far it came."""
        assert self.code == 2, self
        assert self.out == "", self
        lines = self.err.splitlines()
        assert lines, self
        assert lines[-1].startswith("rtsearch: "), self
        assert sum(line.startswith("rtsearch: ") for line in lines) == 1, self
        assert "Traceback" not in self.err
        return lines[-1]


@pytest.fixture
def cli(monkeypatch, capfd, tmp_path) -> Callable[..., Done]:
    """Runs a command in this process, without a display, in an empty folder."""
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def call(*args: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["rtsearch", *map(str, args)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capfd.readouterr()
        code = end.value.code
        return Done(code if isinstance(code, int) else 0, out, err)

    return call


@pytest.fixture(scope="module")
def blob_photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("blob photos") / "photos"
    blobs.write_photos(folder, 8)
    return folder


@pytest.fixture
def blob_lib(blob_photos, tmp_path) -> Path:
    """A library that no network of ours has made."""
    blobs.run(blob_photos, tmp_path / "blobs.lib")
    return tmp_path / "blobs.lib"


# Help ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help(cli, command):
    done = cli(*command, "--help")
    assert done.code == 0
    assert done.err == ""
    assert " ".join(("Usage: rtsearch", *command)) in done.out
    assert max(map(len, done.out.splitlines())) <= 100


def test_every_command_is_known_here(cli):
    listed = set()
    for group in ((), ("library",), ("model",)):
        text = cli(*group, "--help").out.partition("Commands")[2]
        listed |= {(*group, name) for name in re.findall(r"^│ (\w+)  ", text, re.MULTILINE)}
    assert {command for command in COMMANDS if command} == listed


def test_no_command_shows_the_help(cli):
    for group in ((), ("library",), ("model",)):
        done = cli(*group)
        assert (done.code, done.err) == (2, "")
        assert "Usage: rtsearch" in done.out


def test_version(cli):
    done = cli("--version")
    assert done.code == 0
    assert re.fullmatch(r"rtsearch \d+\.\d+\.\d+\n", done.out)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--nope"], "No such option: --nope; see: rtsearch --help"),
        (["rnu"], "No such command 'rnu'"),
        (["run"], "Missing argument 'LIB'; see: rtsearch run --help"),
        (["run", "a", "b"], "unexpected extra argument"),
        (["run", "a", "--realtme"], "--realtime"),
        (["run", "a", "--source"], "requires an argument"),
        (["analyze", "a"], "Missing argument 'LIB'"),
        (["query", "a"], "Missing argument 'PHOTO'"),
        (["library", "chekc"], "Did you mean 'check'?"),
        (["library", "export", "a"], "Missing option '--vectors'"),
        (["library", "map", "a", "--out", "b", "--objects", "many"], "Invalid value for '--objects'"),
        (["model", "pull"], "Missing argument 'NAME'"),
        (["doctor", "a"], "unexpected extra argument"),
    ],
)
def test_wrong_arguments(cli, args, message):
    complaint = cli(*args).complaint
    assert message in complaint
    assert "; see: rtsearch" in complaint


# Settings --------------------------------------------------------------------------------------------------

WITH_SETTINGS = [
    ("run", "L"),
    ("analyze", "P", "L"),
    ("query", "L", "P"),
    ("library", "info", "L"),
    ("library", "rebuild", "L"),
    ("library", "export", "L", "--vectors", "V"),
    ("library", "map", "L", "--out", "O"),
    ("library", "sheet", "L", "--out", "O"),
    ("model", "info"),
    ("demo",),
]


@pytest.mark.parametrize("command", WITH_SETTINGS, ids=" ".join)
def test_wrong_settings_on_every_command(cli, command, tmp_path):
    (tmp_path / "c.yaml").write_text("detect: {treshold: 0.4}\n")
    assert "unknown setting detect.treshold" in cli(*command, "--config", tmp_path / "c.yaml").complaint
    assert "unknown setting show.colour" in cli(*command, "--set", "show.colour=red").complaint
    assert "detect.threshold = 2" in cli(*command, "--set", "detect.threshold=2").complaint
    assert "expected section.key=value" in cli(*command, "--set", "threshold").complaint
    assert "missing.yaml: No such file" in cli(*command, "--config", "missing.yaml").complaint


def test_defaults_then_file_then_set_then_options(cli, own_library, tmp_path):
    def dim(*args: object) -> int:
        return cli("library", "info", own_library, "--json", *args).json["dim"]

    config = tmp_path / "c.yaml"
    config.write_text("project: {dim: 32}\nlive: {source: from_the_file.mp4}\n")
    assert dim() == Settings().project.dim
    assert dim("--config", config) == 32
    assert dim("--config", config, "--set", "project.dim=16") == 16
    assert dim("--set", "project.dim=16", "--config", config) == 16
    run = ["run", own_library, "--headless", "--config", config]
    assert "from_the_file.mp4" in cli(*run).complaint
    assert "from_the_set.mp4" in cli(*run, "--set", "live.source=from_the_set.mp4").complaint
    with_option = cli(*run, "--set", "live.source=from_the_set.mp4", "--source", "from_the_option.mp4")
    assert "from_the_option.mp4" in with_option.complaint


# Libraries that are none -----------------------------------------------------------------------------------


def commands_on(lib: Path, photo: Path, source: Path) -> list[list[object]]:
    return [
        ["run", lib, "--source", source, "--headless"],
        ["query", lib, photo],
        ["library", "info", lib],
        ["library", "check", lib],
        ["library", "rebuild", lib],
        ["library", "export", lib, "--vectors", "v.npz"],
        ["library", "map", lib, "--out", "m.png"],
        ["library", "sheet", lib, "--out", "s.png"],
    ]


def _nothing(lib: Path) -> None:
    pass


def _a_file(lib: Path) -> None:
    lib.write_bytes(b"x")


def _text_as_manifest(lib: Path) -> None:
    lib.mkdir()
    (lib / "manifest.json").write_text("hello")


def _foreign(lib: Path) -> None:
    lib.mkdir()
    (lib / "holiday.txt").write_text("sunny")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_nothing, "is missing; make a library with: rtsearch analyze"),
        (Path.mkdir, "is empty"),
        (_a_file, "no folder|not a folder|no library|not a library"),
        (_foreign, "holds no library|not a library|no library"),
        (_text_as_manifest, "manifest"),
    ],
)
def test_folders_that_are_no_library(cli, tmp_path, photos, clip, make, message):
    lib = tmp_path / "no lib"
    make(lib)
    before = sorted(lib.rglob("*")) if lib.is_dir() else lib.exists()
    for command in commands_on(lib, photos / "skimage-coffee.png", clip):
        complaint = cli(*command).complaint
        assert re.search(message, complaint), complaint
        assert "no lib" in complaint
    assert (sorted(lib.rglob("*")) if lib.is_dir() else lib.exists()) == before


def test_a_library_of_a_newer_version(cli, own_library, photos, clip):
    manifest = own_library / "manifest.json"
    document = json.loads(manifest.read_text())
    (number,) = [key for key in document if "format" in key]
    document[number] = 999
    manifest.write_text(json.dumps(document))
    for command in commands_on(own_library, photos / "skimage-coffee.png", clip):
        assert re.search("newer|version", cli(*command).complaint)
    assert re.search("newer|version", cli("analyze", photos, own_library).complaint)


def test_a_library_of_another_feature_space(cli, blob_lib, blob_photos, photos, clip):
    for command in (
        ["run", blob_lib, "--source", clip, "--headless"],
        ["query", blob_lib, photos / "skimage-coffee.png"],
        ["analyze", blob_photos, blob_lib],
    ):
        assert 'model: "blobs", this run "yolo26n"' in cli(*command).complaint


def test_a_library_without_objects(cli, tmp_path, clip):
    (tmp_path / "photos").mkdir()
    cv2.imwrite(str(tmp_path / "photos" / "grey.png"), np.full((60, 80, 3), 120, np.uint8))
    assert cli("analyze", tmp_path / "photos", tmp_path / "lib").code == 0
    assert cli("library", "info", tmp_path / "lib", "--json").json["objects"] == 0
    complaint = cli("run", tmp_path / "lib", "--source", clip, "--headless").complaint
    assert "holds no objects to search" in complaint


def test_damage_is_found_named_and_repaired(cli, own_library, photos):
    assert cli("library", "check", own_library).out == f"{own_library} is sound\n"
    assert cli("library", "check", own_library, "--json").json == {"problems": []}
    pack = next((own_library / "thumbs").iterdir())
    data = bytearray(pack.read_bytes())
    data[1000] ^= 1
    pack.write_bytes(data)
    done = cli("library", "check", own_library)
    assert done.code == 2
    assert done.out.startswith(f"damaged: thumbs/{pack.name}: ")
    assert "analyze --repair" in done.err
    (problem,) = cli("library", "check", own_library, "--json").json["problems"]
    assert problem["file"] == f"thumbs/{pack.name}"
    assert problem["photos"]
    shutil.rmtree(own_library / "index")
    repaired = cli("analyze", "--repair", photos, own_library)
    assert repaired.code == 0
    assert f"damaged: thumbs/{pack.name}" in repaired.err
    assert cli("library", "check", own_library).code == 0


def test_a_damaged_index_is_rebuilt_and_said(cli, own_library, photos):
    (folder,) = (own_library / "index").iterdir()
    (folder / "photo.npy").write_bytes(b"")
    done = cli("query", own_library, photos / "skimage-coffee.png", "--json")
    assert done.code == 0
    assert "the index is built again" in done.err
    assert done.json["objects"]


def test_two_writers(cli, own_library, photos):
    with library_lock(own_library):
        assert "try again" in cli("analyze", photos, own_library).complaint
        assert cli("library", "info", own_library).code == 0


# Photos and sources that are none --------------------------------------------------------------------------


def test_folders_without_photos(cli, tmp_path):
    assert "missing" in cli("analyze", tmp_path / "missing", tmp_path / "lib").complaint
    (tmp_path / "empty").mkdir()
    assert "no photos" in cli("analyze", tmp_path / "empty", tmp_path / "lib").complaint
    (tmp_path / "empty" / "notes.txt").write_text("x")
    assert "no photos" in cli("analyze", tmp_path / "empty", tmp_path / "lib").complaint
    assert "notes.txt" in cli("analyze", tmp_path / "empty" / "notes.txt", tmp_path / "lib").complaint
    assert not (tmp_path / "lib").exists()


def bad_photos(folder: Path, good: Path) -> dict[str, str]:
    """Files that are no photos, with what is said of each."""
    data = good.read_bytes()
    folder.mkdir(exist_ok=True)
    (folder / "text.jpg").write_text("no picture at all")
    (folder / "empty.png").write_bytes(b"")
    (folder / "half.png").write_bytes(data[: len(data) // 2])
    (folder / "folder.jpg").mkdir(exist_ok=True)
    return {
        "missing.jpg": "No such file",
        "text.jpg": "not a JPEG, PNG, GIF, WebP or BMP picture",
        "empty.png": "empty",
        "half.png": "truncated or damaged PNG",
        "folder.jpg": "irectory",
    }


def test_photos_that_cannot_be_queried(cli, library, photos, tmp_path):
    for name, message in bad_photos(tmp_path / "bad", photos / "skimage-coffee.png").items():
        complaint = cli("query", library, tmp_path / "bad" / name).complaint
        assert message in complaint
        assert name in complaint


def test_photos_that_cannot_be_analysed_are_named_and_the_rest_goes_on(cli, photos, tmp_path):
    folder = tmp_path / "some bad"
    bad = bad_photos(folder, photos / "skimage-coffee.png")
    shutil.copyfile(photos / "skimage-coffee.png", folder / "Kaffeemühle [alt].png")
    done = cli("analyze", folder, tmp_path / "lib", "--json")
    assert done.code == 0
    assert done.json["objects"] >= 1
    assert done.json["library_objects"] == done.json["objects"]
    assert {path for path, _ in done.json["failed"]} == {"text.jpg", "empty.png", "half.png"}
    for name in ("text.jpg", "empty.png", "half.png"):
        (line,) = [line for line in done.err.splitlines() if line.startswith(f"left out {name}")]
        assert bad[name] in line
    found = cli("query", tmp_path / "lib", folder / "Kaffeemühle [alt].png", "--json").json
    assert found["photo"] == str(folder / "Kaffeemühle [alt].png")
    assert found["objects"][0]["neighbours"][0]["photo"] == "Kaffeemühle [alt].png"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "no source given"),
        ("missing.mp4", "no source 'missing.mp4'"),
        ("bad/text.mp4", "text.mp4"),
        ("bad/empty.mp4", "empty.mp4 is empty"),
        ("bad/no photos", "no photos"),
        ("bad/text.jpg", "text.jpg"),
        ("77", "camera 77"),
        ("http://127.0.0.1:9/video.mjpg", "127.0.0.1:9"),
        ("rtsp://127.0.0.1:9/x", "127.0.0.1:9"),
        ("screen", "screen|display|mss"),
        ("screen:1,2", "screen"),
    ],
)
def test_sources_that_cannot_be_played(cli, library, tmp_path, source, message):
    bad = tmp_path / "here" / "bad"
    (bad / "no photos").mkdir(parents=True)
    (bad / "text.mp4").write_text("no video at all " * 100)
    (bad / "text.jpg").write_text("no picture at all")
    (bad / "empty.mp4").write_bytes(b"")
    done = cli(
        *("run", library, "--headless", "--source", source, "--set", "live.open_timeout_s=1"),
        *("--out", "o.mp4", "--record", "o.jsonl"),
    )
    assert re.search(message, done.complaint)
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == ["bad"]


def test_a_source_is_not_written_over(cli, library, clip, tmp_path):
    copy = tmp_path / "clip.mp4"
    shutil.copyfile(clip, copy)
    before = copy.read_bytes()
    for option in ("--out", "--record"):
        complaint = cli("run", library, "--headless", "--source", copy, option, copy).complaint
        assert "is the source" in complaint
        assert copy.read_bytes() == before


@pytest.mark.parametrize("option", ["--out", "--record"])
def test_places_that_cannot_be_written(cli, library, clip, option):
    complaint = cli("run", library, "--headless", "--source", clip, option, "no/such/folder/o.mp4").complaint
    assert "no/such/folder" in complaint
    assert "/proc" in cli("run", library, "--headless", "--source", clip, option, "/proc/o.mp4").complaint


def test_sheets_that_cannot_be_written(cli, library, photos):
    photo = photos / "skimage-coffee.png"
    assert "use .png or .jpg" in cli("query", library, photo, "--out", "sheet.xyz").complaint
    assert "/proc/" in cli("query", library, photo, "--out", "/proc/sheet.png").complaint
    assert "/proc" in cli("library", "export", library, "--vectors", "/proc/v.npz").complaint


# Models ----------------------------------------------------------------------------------------------------


def test_models_that_are_not_there(cli, library, clip, photos, tmp_path, monkeypatch):
    monkeypatch.setenv("RTSEARCH_ENGINES", str(tmp_path / "engines"))
    assert "yolo26n" in cli("model", "pull", "yolo99").complaint
    assert "run: rtsearch model pull yolo26n" in cli("model", "info").complaint
    for command in (
        ["run", library, "--source", clip, "--headless"],
        ["query", library, photos / "skimage-coffee.png"],
        ["analyze", photos, tmp_path / "lib"],
    ):
        assert "run: rtsearch model pull yolo26n" in cli(*command).complaint
        assert "no model named mine" in cli(*command, "--set", "model.name=mine").complaint
        assert "no model file mine.onnx" in cli(*command, "--set", "model.name=mine.onnx").complaint


def test_files_that_are_no_detector(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("RTSEARCH_ENGINES", str(tmp_path / "engines"))
    (tmp_path / "text.onnx").write_text("no network at all")
    onnx.save(exports.classifier(), str(tmp_path / "classifier.onnx"))
    assert "missing.onnx" in cli("model", "import", tmp_path / "missing.onnx").complaint
    assert "text.onnx" in cli("model", "import", tmp_path / "text.onnx").complaint
    assert "classifier.onnx" in cli("model", "import", tmp_path / "classifier.onnx").complaint
    assert "import" in cli("model", "info", "--set", f"model.name={tmp_path / 'classifier.onnx'}").complaint
    assert not list(tmp_path.glob("engines/*.onnx"))


def test_an_imported_model_is_used_by_name(cli, tmp_path, monkeypatch, photos):
    monkeypatch.setenv("RTSEARCH_ENGINES", str(tmp_path / "engines"))
    onnx.save(exports.ultralytics_export(wh=(96, 64)), str(tmp_path / "mine.onnx"))
    done = cli("model", "import", tmp_path / "mine.onnx")
    assert done.code == 0
    assert "--set model.name=mine" in done.err
    facts = cli("model", "info", "--set", "model.name=mine", "--json").json
    assert facts["name"] == "mine"
    assert len(facts["classes"]) == 3
    assert "imported: mine" in cli("model", "list").out


# Answers ---------------------------------------------------------------------------------------------------


def test_model_list_shows_licences(cli, model):
    done = cli("model", "list")
    assert done.code == 0
    assert "yolo26n" in done.out
    assert "AGPL-3.0" in done.out
    assert "Apache-2.0" in done.out
    listed = cli("model", "list", "--json").json
    assert {entry["name"]: entry["here"] for entry in listed}["yolo26n"] is True
    assert {"name", "licence", "bytes", "sha256", "input_wh", "classes", "places"} <= listed[0].keys()


def test_model_info(cli, model):
    facts = cli("model", "info", "--json").json
    assert (facts["name"], facts["licence"], len(facts["classes"])) == ("yolo26n", "AGPL-3.0", 80)
    assert "yolo26n" in cli("model", "info").out


def test_pulling_what_is_there(cli, model):
    done = cli("model", "pull", "yolo26n")
    assert done.code == 0
    assert "AGPL-3.0" in done.err


def test_library_info(cli, library, photos):
    facts = cli("library", "info", library, "--json").json
    opened = Library.open(library)
    assert list(facts)[:6] == ["photos", "objects", "failed", "dim", "model", "bytes"]
    assert facts["photos"] == len(list(photos.iterdir())) == opened.photo_count
    assert (facts["objects"], facts["failed"]) == (opened.object_count, 0)
    assert (facts["dim"], facts["model"]) == (Settings().project.dim, "yolo26n")
    on_disk = sum(
        p.stat().st_size for part in ("images", "objects", "thumbs") for p in (library / part).iterdir()
    )
    assert facts["bytes"] == on_disk
    assert f"{opened.object_count}" in cli("library", "info", library).out


def test_analyze_again_looks_at_nothing(cli, own_library, photos):
    report = cli("analyze", photos, own_library, "--json").json
    assert report["found"] == report["kept"] == len(list(photos.iterdir()))
    assert (report["analysed"], report["dropped"], report["failed"]) == (0, 0, [])
    assert report["library_objects"] == Library.open(own_library).object_count


def test_library_rebuild_and_export(cli, own_library):
    done = cli("library", "rebuild", own_library, "--set", "project.dim=12")
    assert done.code == 0
    assert "12 dimensions" in done.err
    done = cli("library", "export", own_library, "--vectors", "v.npz", "--set", "project.dim=12")
    assert done.code == 0
    with np.load("v.npz", allow_pickle=False) as data:
        assert set(data.files) == {"path", "xyxy", "whole", "label", "score", "vector"}
        n = Library.open(own_library).object_count
        assert data["vector"].shape == (n, 12)
        assert {len(data[name]) for name in data.files} == {n}


OBJECT_KEYS = ["track", "xyxy", "label", "score", "neighbours"]
NEIGHBOUR_KEYS = ["row", "photo", "xyxy", "label", "distance"]


def test_query(cli, library, photos):
    photo = photos / "skimage-coffee.png"
    done = cli("query", library, photo, "--json", "--out", "new folder/sheet.png")
    found = done.json
    assert list(found) == ["photo", "objects"]
    assert found["photo"] == str(photo)
    assert [list(item) for item in found["objects"]] == [OBJECT_KEYS] * len(found["objects"])
    assert "cup" in {item["label"] for item in found["objects"]}
    for item in found["objects"]:
        assert [list(near) for near in item["neighbours"]] == [NEIGHBOUR_KEYS] * 16
        assert item["neighbours"][0]["photo"] == "skimage-coffee.png"
        assert item["neighbours"][0]["distance"] < 0.01
        distances = [near["distance"] for near in item["neighbours"]]
        assert distances == sorted(distances)
    assert cv2.imread("new folder/sheet.png").shape[1] == 1280
    said = cli("query", library, photo)
    assert said.code == 0
    assert re.search(
        r"^cup 0\.\d\d at \[.*\]; nearest: cup in skimage-coffee.png at 0\.00", said.out, re.MULTILINE
    )


def test_query_of_a_photo_without_objects(cli, library, tmp_path):
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((60, 80, 3), 120, np.uint8))
    assert cli("query", library, tmp_path / "grey.png", "--json").json["objects"] == []
    done = cli("query", library, tmp_path / "grey.png")
    assert (done.code, done.out) == (0, "")
    assert "no objects found" in done.err


def test_query_of_the_whole_image(cli, library, photos):
    found = cli(
        *("query", library, photos / "skimage-moon.png", "--json"),
        *("--set", "detect.whole_image=true", "--set", "show.results=5"),
    ).json
    assert found["objects"][0]["label"] == "whole image"
    assert len(found["objects"][0]["neighbours"]) == 5


@pytest.fixture(scope="module")
def short_clip(tmp_path_factory, clip) -> Path:
    """The first twelve frames of the real clip."""
    path = tmp_path_factory.mktemp("short") / "short clip.avi"
    capture = cv2.VideoCapture(str(clip))
    writer = None
    for _ in range(12):
        bgr = capture.read()[1]
        if writer is None:
            code = cv2.VideoWriter.fourcc(*"MJPG")
            writer = cv2.VideoWriter(str(path), code, 25, (bgr.shape[1], bgr.shape[0]))
        writer.write(bgr)
    writer.release()
    capture.release()
    return path


def test_run_without_a_display_says_so_and_goes_on(cli, library, short_clip):
    done = cli("run", library, "--source", short_clip, "--json")
    assert done.code == 0
    assert done.err == "there is no display: running without a window\n"
    assert done.json["frames_shown"] == 12


def test_run_with_a_display_that_does_not_answer(cli, library, short_clip, monkeypatch):
    monkeypatch.setenv("DISPLAY", ":987")
    done = cli("run", library, "--source", short_clip)
    assert done.code == 0
    assert "the display :987 does not answer: running without a window" in done.err


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
    assert [list(line) for line in written] == [["frame", "t_s", "objects"]] * 12
    assert [line["frame"] for line in written] == list(range(12))
    objects = [item for line in written for item in line["objects"]]
    assert [list(item) for item in objects] == [OBJECT_KEYS] * len(objects)
    assert {tuple(near) for item in objects for near in item["neighbours"]} == {tuple(NEIGHBOUR_KEYS)}
    capture = cv2.VideoCapture("o.mp4")
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 12
    capture.release()


def test_run_tells_its_figures(cli, library, short_clip):
    done = cli("run", library, "--source", short_clip, "--headless")
    assert (done.code, done.out) == (0, "")
    assert re.search(r"12 frames at [\d.]+/s, 0 dropped, \d+ objects", done.err)


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


def test_photos_of_the_library_that_are_played_find_their_own_objects_first(cli, library, photos):
    assert cli("run", library, "--source", photos, "--headless", "--record", "o.jsonl").code == 0
    names = sorted(path.name for path in photos.iterdir())
    own = [
        item["neighbours"][0]["photo"] == names[line["frame"]] and item["neighbours"][0]["distance"] < 0.01
        for line in map(json.loads, Path("o.jsonl").read_text(encoding="utf-8").splitlines())
        for item in line["objects"]
    ]
    assert len(own) == Library.open(library).object_count
    assert np.mean(own) >= 0.99


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


def test_a_library_that_moved_with_its_photos(cli, own_library, photos, tmp_path):
    moved = tmp_path / "moved photos"
    shutil.copytree(photos, moved)
    manifest = Library.open(own_library).manifest
    assert Path(manifest.photo_root) == photos
    opened = Library.open(own_library, moved)
    assert opened.photo_path("skimage-coffee.png") == moved / "skimage-coffee.png"


# Real processes --------------------------------------------------------------------------------------------


def test_the_installed_command(rtsearch, library, photos, tmp_path):
    done = rtsearch("query", library, photos / "skimage-coffee.png", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["objects"]
    done = rtsearch("run", tmp_path / "none")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1


def interrupted(args: list[object], until: Callable[[], bool]) -> subprocess.CompletedProcess[str]:
    """A command that gets Ctrl-C once ``until`` holds."""
    command = [str(Path(sys.executable).parent / "rtsearch"), *map(str, args)]
    environment = {name: value for name, value in os.environ.items() if "DISPLAY" not in name}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    deadline_s = time.monotonic() + 120
    while not until() and process.poll() is None and time.monotonic() < deadline_s:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def test_ctrl_c_ends_a_run_with_its_report(library, tmp_path):
    clip = write_clip(tmp_path / "long.avi", range(3000))
    record = tmp_path / "o.jsonl"
    done = interrupted(
        ["run", library, "--source", clip, "--headless", "--record", record, "--json"],
        lambda: record.exists() and record.stat().st_size > 300,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert 0 < report["frames_shown"] < 3000
    assert len(record.read_text().splitlines()) == report["frames_shown"]


def test_ctrl_c_ends_an_analysis_that_the_next_one_goes_on_with(cli, photos, tmp_path):
    lib = tmp_path / "lib"
    command = ["analyze", photos, lib, "--set", "analyze.commit_photos=1"]
    done = interrupted(command, lambda: len(list(lib.glob("images/*.parquet"))) >= 3)
    assert done.returncode == 130, done.stderr
    assert "the same command goes on from there" in done.stderr
    known = Library.open(lib).photo_count
    assert 3 <= known < len(list(photos.iterdir()))
    report = cli(*command, "--json").json
    assert report["kept"] == known
    assert report["kept"] + report["analysed"] == len(list(photos.iterdir()))


def test_an_output_that_nobody_reads(rtsearch, model):
    command = f"{Path(sys.executable).parent / 'rtsearch'} model info --json | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=60)
    assert "Traceback" not in done.stderr
