"""The command line: help, arguments, settings, and what each command but run answers."""

from __future__ import annotations

import importlib
import os
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from commands import NEIGHBOUR_KEYS, OBJECT_KEYS
from rich.console import Console

from rtsearch._util.wording import counted
from rtsearch.cli.common import answer_facts
from rtsearch.config import Settings
from rtsearch.library import Library

COMMANDS = [
    (),
    ("run",),
    ("replay",),
    ("analyze",),
    ("query",),
    ("find",),
    ("show",),
    ("seen",),
    ("memory",),
    ("memory", "info"),
    ("memory", "forget"),
    ("serve",),
    ("cluster",),
    ("cluster", "serve"),
    ("library",),
    ("library", "import"),
    ("library", "merge"),
    ("library", "import"),
    ("library", "words"),
    ("library", "info"),
    ("library", "check"),
    ("library", "rebuild"),
    ("library", "export"),
    ("library", "map"),
    ("library", "sheet"),
    ("model",),
    ("model", "list"),
    ("model", "pull"),
    ("model", "bench"),
    ("model", "quantize"),
    ("model", "import"),
    ("model", "info"),
    ("engine",),
    ("engine", "build"),
    ("engine", "list"),
    ("engine", "info"),
    ("engine", "adopt"),
    ("kiosk",),
    ("kiosk", "run"),
    ("kiosk", "status"),
    ("kiosk", "install"),
    ("config",),
    ("demo",),
    ("doctor",),
]


GROUPS = (("cluster",), ("library",), ("memory",), ("model",), ("engine",), ("kiosk",))


# Help ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help(cli, command):
    done = cli(*command, "--help")
    assert done.code == 0
    assert done.err == ""
    assert " ".join(("Usage: rtsearch", *command)) in done.out
    assert max(map(len, done.out.splitlines())) <= 100
    assert "<bool>" not in done.out
    if command not in ((), *GROUPS):
        assert f"rtsearch {' '.join(command)}" in done.out.partition("Example")[2]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_breaks_no_placeholder(cli, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "80")
    rows = [line for line in cli(*command, "--help").out.splitlines() if line.startswith("│")]
    assert rows
    for row in rows:
        if row.startswith("│       "):  # the second line of an explanation, and of nothing beside it
            assert "  " not in row.strip("│ "), row


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_each_example_of_the_help_has_a_line_of_its_own(cli, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "400")
    examples = cli(*command, "--help").out.partition("Examples:")[2].partition("╭")[0]
    for line in examples.splitlines():
        assert line.count(" rtsearch ") <= 1, line


def test_help_flows(cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    assert "Later runs analyse new and changed photos" in cli("analyze", "--help").out


def test_completion(cli, monkeypatch, tmp_path):
    monkeypatch.setenv("_RTSEARCH_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "rtsearch library ch")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert cli().out.split() == ["check"]
    monkeypatch.delenv("_RTSEARCH_COMPLETE")
    monkeypatch.setattr("shellingham.detect_shell", lambda: ("bash", "/bin/bash"))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    assert "completion cannot be installed" in cli("--install-completion").complaint
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cli("--install-completion").code == 0
    assert "rtsearch" in (tmp_path / ".bash_completions" / "rtsearch.sh").read_text()


def test_every_command_is_known_here(cli):
    listed = set()
    for group in ((), *GROUPS):
        text = cli(*group, "--help").out.partition("Commands")[2]
        listed |= {(*group, name) for name in re.findall(r"^│ (\w+)  ", text, re.MULTILINE)}
    assert {command for command in COMMANDS if command} == listed


def test_a_group_alone_shows_its_help(cli):
    for group in GROUPS:
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
        (["run"], "give the folder of a library, or --remember FOLDER"),
        (["run", "a", "b"], "run takes the library, and sources with --source: rtsearch run a"),
        (["query", "a", "b", "c"], "unexpected extra argument"),
        (["query", "a", "b", *(f"c{i}.jpg" for i in range(1000))], "c20.jpg c21.jpg ...; see"),
        (["run", "a", "--realtme"], "--realtime"),
        (["run", "a", "--source"], "requires an argument"),
        (["analyze", "a"], "Missing argument 'LIB'"),
        (["query", "a"], "Missing argument 'PHOTO'"),
        (["library", "chekc"], "Did you mean 'check'?"),
        (["library", "export", "a"], "nothing to write; give --vectors"),
        (
            ["library", "map", "a", "--out", "b", "--objects", "many"],
            "rtsearch: --objects: expected a whole number; see",
        ),
        (
            ["serve", "a", "--port", "70000"],
            "rtsearch: --port: expected a number less than or equal to 65535; see",
        ),
        (["run", "a", "--clock", "sun"], "rtsearch: --clock: 'sun' is not one of 'wall', 'every'"),
        (["analyze", "a", "b", "--part", "5"], "rtsearch: --part: expected a part such as 3/16"),
        (["analyze", "a", "--again", "--repair"], "rtsearch: --again goes without --repair"),
        (["model", "pull"], "Missing argument 'NAME'"),
        (["doctor", "a"], "unexpected extra argument"),
    ],
)
def test_wrong_arguments(cli, args, message):
    complaint = cli(*args).complaint
    assert message in complaint
    assert "Invalid value" not in complaint
    assert "; see: rtsearch" in complaint


def next_steps(cli) -> list[str]:
    done = cli()
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert [line.split()[0] for line in lines] == ["network", "library", "camera", "help"]
    assert "rtsearch --help" in lines[3]
    return [line[9:] for line in lines[:3]]


def test_what_is_next_on_a_bare_machine(cli, monkeypatch, tmp_path):
    monkeypatch.setenv("RTSEARCH_ENGINES", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("rtsearch.sources.cameras", dict)
    assert next_steps(cli) == [
        "yolo26n is not here yet (5.5 MB, AGPL-3.0): rtsearch model pull yolo26n, "
        "or the first analyze downloads it",
        "none in this folder: rtsearch analyze FOLDER_OF_PHOTOS pictures.lib",
        "none found; there is no display: rtsearch run pictures.lib --source CLIP.mp4 --out seen.mp4",
    ]


def test_what_is_next_where_all_is_there(cli, model, library, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "Pictures").mkdir()
    monkeypatch.setattr("rtsearch.sources.cameras", lambda: {"/dev/video0": "HD Webcam"})
    monkeypatch.setattr("rtsearch.ui.display.display_problem", str)
    assert next_steps(cli) == [
        "yolo26n is here",
        "none in this folder: rtsearch analyze ~/Pictures pictures.lib",
        "/dev/video0 (HD Webcam): rtsearch run pictures.lib",
    ]
    Path("demo-out").mkdir()
    Path("demo-out/library").symlink_to(library)
    demo = f"demo-out/library has {Library.open(library).object_count} objects: "
    assert next_steps(cli)[1:] == [
        f"{demo}rtsearch query demo-out/library PHOTO.jpg",
        "/dev/video0 (HD Webcam): rtsearch run demo-out/library",
    ]
    Path("demo-out/library").unlink()
    Path("a program").mkdir()
    Path("a program/manifest.json").write_text("{}")
    Path("my lib").symlink_to(library)
    os.utime("a program/manifest.json", (2e9, 2e9))
    assert next_steps(cli)[1:] == [
        f"my lib has {Library.open(library).object_count} objects: rtsearch query 'my lib' PHOTO.jpg",
        "/dev/video0 (HD Webcam): rtsearch run 'my lib'",
    ]


# Settings --------------------------------------------------------------------------------------------------

WITH_SETTINGS = [
    ("run", "L"),
    ("kiosk", "L"),
    ("analyze", "P", "L"),
    ("query", "L", "P"),
    ("library", "info", "L"),
    ("library", "rebuild", "L"),
    ("library", "export", "L", "--vectors", "V"),
    ("library", "map", "L", "--out", "O"),
    ("library", "sheet", "L", "--out", "O"),
    ("model", "info"),
    ("config",),
    ("demo",),
]


@pytest.mark.parametrize("command", WITH_SETTINGS, ids=" ".join)
def test_wrong_settings_on_every_command(cli, command, tmp_path):
    (tmp_path / "c.yaml").write_text("detect: {treshold: 0.4}\n")
    assert "did you mean detect.threshold?" in cli(*command, "--config", tmp_path / "c.yaml").complaint
    assert "no setting show.colour" in cli(*command, "--set", "show.colour=red").complaint
    assert "detect.threshold = 2" in cli(*command, "--set", "detect.threshold=2").complaint
    assert "did you mean detect.threshold?" in cli(*command, "--set", "threshold").complaint
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


def test_config_prints_the_settings(cli, tmp_path):
    done = cli("config")
    assert (done.code, done.err) == (0, "")
    assert "  threshold: 0.3         # least confidence of an object; 0 to 1\n" in done.out
    assert cli("config", "--json").json == Settings().model_dump(mode="json")
    (tmp_path / "mine.yaml").write_text(done.out.replace("size: 416", "size: 320"))
    with_file = ("--config", tmp_path / "mine.yaml", "--set", "detect.threshold=0.4")
    done = cli("config", "--changed", *with_file)
    assert done.out == "model:\n  size: 320  # default: 416\ndetect:\n  threshold: 0.4  # default: 0.3\n"
    assert cli("config", "--changed", "--json", *with_file).json == {
        "model": {"size": 320},
        "detect": {"threshold": 0.4},
    }
    assert cli("config", "--json", *with_file).json["model"]["size"] == 320
    assert "size: 320 " in cli("config", *with_file).out


def test_config_where_nothing_is_changed(cli):
    done = cli("config", "--changed")
    assert (done.code, done.out, done.err) == (0, "", "all settings have their defaults\n")


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
    said = cli("model", "info").out
    assert re.search(r"^name +yolo26n$", said, re.MULTILINE)
    assert re.search(r"^input +416 x 416 px$", said, re.MULTILINE)
    assert re.search(r"^needs nms +no$", said, re.MULTILINE)
    assert max(map(len, said.splitlines())) > 200  # nothing is folded that does not go to a terminal
    assert cli("model", "info", "yolo26n", "--set", "model.name=other", "--json").json == facts
    assert cli("model", "info", model, "--json").json["name"] == "yolo26n"
    assert "no model named mine" in cli("model", "info", "mine").complaint


def test_facts_fold_in_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr("rtsearch.cli.common.output", Console(force_terminal=True, width=40))
    answer_facts(
        {"long_name": "a house by the sea, and a dog before it", "n": 12_345, "b": None, "c": [True, []]}
    )
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "long name  a house by the sea, and a dog",
        "           before it",
        "n          12,345",
        "b          any",
        "c          yes, none",
    ]


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
    assert facts["meaning"] == Settings().describe.meaning
    said = cli("library", "info", library).out
    assert re.search(rf"^objects +{opened.object_count:,}$", said, re.MULTILINE)
    assert re.search(r"^model +yolo26n, 416 x 416 px$", said, re.MULTILINE)
    fragments = counted(len(list((library / "objects").iterdir())), "fragment")  # slow machines write several
    assert re.search(rf"^size +\d+\.\d MB in {fragments}$", said, re.MULTILINE)
    assert re.search(rf"^meaning +{Settings().describe.meaning}$", said, re.MULTILINE)


def test_analyze_again_looks_at_nothing(cli, own_library, photos):
    report = cli("analyze", photos, own_library, "--json").json
    assert report["found"] == report["kept"] == len(list(photos.iterdir()))
    assert (report["analysed"], report["dropped"], report["failed"]) == (0, 0, [])
    assert report["library_objects"] == Library.open(own_library).object_count


@pytest.mark.slow
def test_library_rebuild_and_export(cli, own_library):
    done = cli("library", "rebuild", own_library, "--set", "project.dim=12")
    assert done.code == 0
    assert "12 dimensions" in done.err
    done = cli("library", "export", own_library, "--vectors", "v.npz", "--set", "project.dim=12")
    assert done.code == 0
    with np.load("v.npz", allow_pickle=False) as data:
        assert set(data.files) == {"path", "xyxy", "whole", "label", "score", "vector", "class_names"}
        n = Library.open(own_library).object_count
        assert data["vector"].shape == (n, 12)
        assert {len(data[name]) for name in data.files if name != "class_names"} == {n}
        assert data["class_names"][data["label"][~data["whole"]]].dtype.kind == "U"


def test_query(cli, library, photos):
    photo = photos / "skimage-coffee.png"
    done = cli("query", library, photo, "--json", "--out", "a sheet.png")
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
    written = cv2.imread("a sheet.png")
    assert written is not None
    assert written.shape[1] == 1280
    others = cli("query", library, photo, "--json", "--not-itself").json["objects"]
    nearest = {near["photo"] for item in others for near in item["neighbours"]}
    assert nearest
    assert photo.name not in nearest
    said = cli("query", library, photo)
    assert said.code == 0
    assert re.search(
        r"^cup 0\.\d\d at \[.*\]; nearest: cup in skimage-coffee.png at distance 0\.00",
        said.out,
        re.MULTILINE,
    )


def test_query_says_the_same_as_its_sheet_where_nothing_is_near(cli, library, photos):
    done = cli(
        "query", library, photos / "skimage-coffee.png", "--not-itself", "--set", "show.max_distance=0.01"
    )
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines
    for line in lines:
        assert "; nothing within distance 0.010 (show.max_distance); nearest: " in line
        assert re.search(r" at distance \d\.\d{3}$", line)


@pytest.mark.parametrize(("composition", "said"), [("wall", True), ("strips", False), ("auto", False)])
def test_query_says_that_its_sheets_are_strips(cli, library, photos, tmp_path, composition, said):
    sheet = tmp_path / f"{composition}.png"
    done = cli(
        *("query", library, photos / "skimage-coffee.png", "--out", sheet),
        *("--set", f"show.composition={composition}"),
    )
    assert done.code == 0
    assert sheet.exists()
    assert ("show.composition=wall changes nothing" in done.err) is said


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


def test_ctrl_c_while_a_package_is_imported(cli, monkeypatch):
    def interrupted():
        raise ImportError("initialization failed") from KeyboardInterrupt()

    monkeypatch.setattr("rtsearch.cli.entry._run", interrupted)
    done = cli("doctor")
    assert (done.code, done.err) == (130, "rtsearch: stopped\n")
    monkeypatch.setattr("rtsearch.cli.entry._run", lambda: importlib.import_module("no_such_package"))
    with pytest.raises(ImportError, match="no_such_package"):
        cli("doctor")
