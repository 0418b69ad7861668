"""rtsearch engine: what it builds and says, and how it refuses."""

from __future__ import annotations

import json
import re
import shutil

import fake_tensorrt
import pytest
from fake_device import FakeDevice

from rtsearch.engines import Machine, check, installed_flavours, load_flavour, read_passport
from rtsearch.errors import EngineError, RunnerError

needs_rtx = pytest.mark.skipif(
    "tensorrt_rtx" not in installed_flavours(),
    reason="TensorRT-RTX is not installed: pip install 'rtsearch[rtx]'",
)


@pytest.fixture
def folder(model, tmp_path, monkeypatch):
    """A folder of engines with the default model in it, on a machine without a GPU."""
    place = tmp_path / "engines"
    place.mkdir()
    shutil.copy(model, place)
    monkeypatch.setenv("RTSEARCH_ENGINES", str(place))

    def no_gpu(_runtime):
        raise RunnerError("no GPU here")

    monkeypatch.setattr("rtsearch.runners.open_device", no_gpu)
    return place


@pytest.fixture
def with_gpu(monkeypatch):
    monkeypatch.setattr("rtsearch.runners.open_device", lambda _: FakeDevice(compute_capability=(9, 0)))
    monkeypatch.setattr("rtsearch.engines.load_flavour", lambda *_, **__: fake_tensorrt.flavour())


@needs_rtx
def test_build_list_and_info_and_a_second_build_has_nothing_to_do(cli, folder):
    done = cli("engine", "build", "yolo26n", "--size", "96", "--batch", "2,1,1", "--json")
    assert done.code == 0, done.err
    built = done.json["engines"]
    assert [entry["inputs"]["images"] for entry in built] == [
        [[1, 3, 96, 96], "float32"],
        [[2, 3, 96, 96], "float32"],
    ]
    assert [entry["model"] for entry in built] == ["yolo26n", "yolo26n"]
    assert built[0]["taps"] == ["deep32"]
    assert built[0]["describe"]["name"] == "form-colour-class"
    assert cli("engine", "list", "--json").json == built
    assert cli("engine", "info", built[0]["file"], "--json").json == built[0]
    said = cli("engine", "info", built[0]["file"]).out
    assert "boxes 1x189x4 float32" in said
    assert re.search(r"^precision +fp16$", said, re.MULTILINE)
    table = cli("engine", "list").out
    assert "2x3x96x96" in "".join(table.split())
    version = load_flavour("tensorrt_rtx").version
    for entry in built:
        machine = Machine("tensorrt_rtx", version, "any", entry["compute_capabilities"][0])
        assert check(folder / entry["file"], machine).passport == read_passport(folder / entry["file"])
    made = {path: path.stat().st_mtime_ns for path in folder.glob("*.tensorrt_rtx.engine")}
    again = cli("engine", "build", "yolo26n", "--size", "96")
    assert again.err.startswith("ready: ")
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*.tensorrt_rtx.engine")} == made


def test_no_engines(cli, folder):
    assert cli("engine", "list", "--json").json == []
    assert "rtsearch engine build MODEL" in cli("engine", "list").err


def test_an_engine_without_a_passport_is_listed_as_such(cli, folder):
    (folder / "stray.engine").write_bytes(b"x")
    (entry,) = cli("engine", "list", "--json").json
    assert "has no passport" in entry["problem"]
    assert "not run" in " ".join(cli("engine", "list").out.split())


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("build", "nothing"), "no model named nothing"),
        (
            ("build", "yolo26n", "--batch", "1,x"),
            "--batch 1,x: expected numbers of pictures, for example 1,8",
        ),
        (("build", "yolo26n", "--batch", ""), "expected numbers"),
        (("build", "yolo26n", "--batch", "0"), "a batch of 0 pictures"),
        (("build", "yolo26n", "--size", "100"), "multiples of 32"),
        (("build", "yolo26n", "--precision", "int8"), "'int8' is not one of"),
        (("build", "yolo26n", "--flavour", "openvino"), "'openvino' is not one of"),
        (("info", "no.engine"), "no.engine has no passport"),
        (("adopt", "no.engine", "--model", "yolo26n"), "no GPU here"),
        (("adopt", "no.engine", "--model", "nothing"), "no model named nothing"),
    ],
)
@needs_rtx
def test_refusals_are_one_line(cli, folder, arguments, complaint):
    assert complaint in cli("engine", *arguments).complaint
    assert list(folder.glob("*.engine")) == []


@pytest.mark.skipif("tensorrt" in installed_flavours(), reason="TensorRT is installed")
def test_a_library_that_is_not_installed(cli, folder):
    complaint = cli("engine", "build", "yolo26n", "--flavour", "tensorrt").complaint
    assert "run: pip install tensorrt, from the vendor's package index" in complaint


def test_adopting_says_what_that_means(cli, folder, with_gpu):
    theirs = folder / "theirs.engine"
    theirs.write_bytes(bytes(100))
    done = cli("engine", "adopt", theirs, "--model", "yolo26n")
    assert done.code == 0
    assert (
        "An engine is code that runs with your rights: adopt only a file whose maker you trust." in done.err
    )
    passport = read_passport(theirs)
    assert (passport.origin, passport.gpu, passport.compute_capabilities) == ("adopted", "numpy", ("9.0",))
    assert "adopted" in cli("engine", "list").out
    theirs.write_bytes(bytes(99))
    with pytest.raises(EngineError):
        check(theirs, Machine("tensorrt", "11.4.0", "numpy", "9.0"))


def test_building_on_a_gpu(cli, folder, with_gpu):
    done = cli("engine", "build", "yolo26n", "--size", "64", "--precision", "fp32", "--json")
    (entry,) = done.json["engines"]
    assert entry["file"].endswith("yolo26n-64x64-b1-fp32.tensorrt-sm90.engine")
    assert (entry["gpu"], entry["precision"]) == ("numpy", "fp32")


def test_building_tells_machines_how_far_it_is(cli, folder, with_gpu, monkeypatch):
    monkeypatch.setattr("rtsearch.cli.engine._PROGRESS_S", 0.0)
    build = ("engine", "build", "yolo26n", "--size", "64", "--batch", "1,2", "--json", "--progress")
    *steps, last = map(json.loads, cli(*build).out.splitlines())
    assert len(last["engines"]) == 2
    shares = [step["share"] for step in steps]
    assert shares == sorted(shares)
    assert (steps[0], shares.count(0.5)) == ({"what": "preparing the network", "share": 0.0}, 1)
    assert {"Timing", "Building"} <= {step["what"] for step in steps}
    assert 0.5 < shares[-1] <= 1


def test_progress_is_for_machines(cli, folder):
    done = cli("engine", "build", "yolo26n", "--progress")
    assert done.code != 0
    assert "--progress needs --json" in done.err


def test_help_has_examples(cli):
    for command in ("build", "info", "adopt"):
        assert "Example:" in cli("engine", command, "--help").out
