"""Bad input on the command line: one line that names the thing and the way out, exit code 2, nothing lost."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import exports
import numpy as np
import onnx
import pytest

from rtsearch.cli.common import counted, keep_apart
from rtsearch.errors import RecordError
from rtsearch.library import Manifest
from rtsearch.models import CATALOGUE, default_folder
from rtsearch.models.fetch import fetch

# Photos and sources that are none --------------------------------------------------------------------------


def test_photos_of_which_none_can_be_read(cli, tmp_path):
    folder, lib = tmp_path / "photos", tmp_path / "lib"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"no picture")
    (folder / "b.png").write_bytes(b"")
    for _ in range(2):
        complaint = cli("analyze", folder, lib).complaint
        assert f"none of 2 photos in {folder} can be read (a.jpg: not a picture" in complaint
        assert "; b.png: zero bytes)" in complaint
    complaint = cli("query", lib, folder / "a.jpg").complaint
    assert f"none of its photos (2) could be read; analyse others: rtsearch analyze PHOTOS {lib}" in complaint
    cv2.imwrite(str(folder / "c.png"), np.zeros((20, 30, 3), np.uint8))
    assert cli("analyze", folder, lib).code == 0


def test_a_library_without_objects_takes_other_photos(cli, photos, tmp_path):
    """A slip of the keyboard must not decide for ever what a library is of."""
    folder, lib = tmp_path / "photos", tmp_path / "lib"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"no picture")
    assert cli("analyze", folder, lib).code == 2
    other = tmp_path / "others"
    other.mkdir()
    shutil.copyfile(photos / "skimage-coffee.png", other / "coffee.png")
    report = cli("analyze", other, lib, "--json").json
    assert (report["found"], report["dropped"], report["failed"]) == (1, 1, [])
    assert "holds the photos of" in cli("analyze", folder, lib).complaint


def test_folders_without_photos(cli, tmp_path):
    assert (
        "missing is missing: give a folder"
        in cli("analyze", tmp_path / "missing", tmp_path / "lib").complaint
    )
    (tmp_path / "empty").mkdir()
    assert "no photos" in cli("analyze", tmp_path / "empty", tmp_path / "lib").complaint
    (tmp_path / "empty" / "notes.txt").write_text("x")
    assert "no photos" in cli("analyze", tmp_path / "empty", tmp_path / "lib").complaint
    assert (
        "notes.txt is not a folder"
        in cli("analyze", tmp_path / "empty" / "notes.txt", tmp_path / "lib").complaint
    )
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
        "text.jpg": "not a picture of a known kind",
        "empty.png": "empty",
        "half.png": "truncated or damaged PNG",
        "folder.jpg": "is a folder; give one photo, or show all: rtsearch run LIB --source",
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
        ("bad/text.mp4", "text.mp4 holds no video that can be decoded"),
        ("bad/empty.mp4", "empty.mp4 is empty"),
        ("bad/none", "has no photos that can be looked at"),
        ("bad/text.jpg", "text.jpg cannot be shown: not a picture"),
        ("77", "camera 77 cannot be opened"),
        (
            "http://127.0.0.1:9/video.mjpg",
            "video.mjpg cannot be opened: Connection refused; is it being sent",
        ),
        ("rtsp://127.0.0.1:9/x", "127.0.0.1:9/x cannot be opened: Connection refused; is it being sent"),
        ("screen", "the screen cannot be read: "),
        ("screen:1,2", "screen:1,2: expected screen:x,y,w,h in pixels"),
    ],
)
def test_sources_that_cannot_be_played(cli, library, tmp_path, source, message):
    bad = tmp_path / "here" / "bad"
    (bad / "none").mkdir(parents=True)
    (bad / "text.mp4").write_text("no video at all " * 100)
    (bad / "text.jpg").write_text("no picture at all")
    (bad / "empty.mp4").write_bytes(b"")
    done = cli(
        *("run", library, "--headless", "--source", source, "--set", "live.open_timeout_s=1"),
        *("--out", "o.mp4", "--record", "o.jsonl"),
    )
    assert message in done.complaint
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == ["bad"]


@pytest.mark.parametrize("name", ["text.jpg", "folder"])
def test_a_photo_that_cannot_be_played_is_told_once(cli, library, tmp_path, name):
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "text.jpg", tmp_path / "folder" / "text.jpg"):
        path.write_text("no picture at all")
    done = cli("run", library, "--headless", "--source", tmp_path / name)
    assert f"{tmp_path / name} cannot be shown: " in done.complaint
    assert done.err.count("text.jpg") == done.err.count("not a picture") == 1, done.err


def test_a_source_is_not_written_over(cli, library, clip, tmp_path):
    copy = tmp_path / "clip.mp4"
    shutil.copyfile(clip, copy)
    before = copy.read_bytes()
    for option in ("--out", "--record"):
        complaint = cli("run", library, "--headless", "--source", copy, option, copy).complaint
        assert "is read by this command" in complaint
        assert copy.read_bytes() == before


def test_photos_of_the_library_that_have_moved(cli, own_library, photos, tmp_path):
    """Without them nothing random can be shown; the error says what to do, and it helps."""
    moved = {"photo_root": str(tmp_path / "before")}
    Manifest.read(own_library).model_copy(update=moved).write(own_library)
    command = ("run", own_library, "--source", "random", "--headless", "--out", "/proc/o.mp4")
    assert f"are not in {tmp_path / 'before'}; where have they moved? --photos" in cli(*command).complaint
    assert "/proc/o.mp4 cannot be written" in cli(*command, "--photos", photos).complaint


def test_a_photo_of_the_library_is_not_written_over(cli, library, photos, tmp_path):
    (tmp_path / "soft.png").symlink_to(photos / "skimage-coffee.png")
    before = (photos / "skimage-coffee.png").read_bytes()
    for out in (photos / "skimage-coffee.png", tmp_path / "soft.png"):
        for command in (
            ["query", library, photos / "skimage-chelsea.png", "--out", out],
            ["library", "map", library, "--out", out],
            ["library", "sheet", library, "--out", out],
        ):
            assert f"{out} is a photo of {library}; choose another name" in cli(*command).complaint
    assert (photos / "skimage-coffee.png").read_bytes() == before
    (photos.parent / "sheet.png").write_bytes(b"any other file")
    assert cli("library", "sheet", library, "--out", photos.parent / "sheet.png", "--overwrite").code == 0


def test_what_is_read_is_not_written_over(cli, own_library, photos, tmp_path):
    photo = tmp_path / "cup.png"
    shutil.copyfile(photos / "skimage-coffee.png", photo)
    before = {path: path.read_bytes() for path in [photo, *own_library.rglob("*")] if path.is_file()}
    (tmp_path / "hard.png").hardlink_to(photo)
    (tmp_path / "soft.png").symlink_to(photo)
    for out in (photo, tmp_path / "hard.png", tmp_path / "soft.png", tmp_path / "x" / ".." / "cup.png"):
        complaint = cli("query", own_library, photo, "--out", out).complaint
        assert "cup.png is read" in complaint or "hard.png is read" in complaint or "soft.png is" in complaint
    (tmp_path / "lib").symlink_to(own_library)
    inside = next((own_library / "objects").iterdir()).relative_to(own_library)
    for out in (own_library / inside, tmp_path / "lib" / inside, own_library / "manifest.json", own_library):
        for command in (
            ["query", own_library, photo, "--out", out],
            ["library", "export", own_library, "--vectors", out],
            ["library", "map", own_library, "--out", out],
            ["library", "sheet", own_library, "--out", out],
        ):
            assert "lies in the library's own folder" in cli(*command).complaint
    assert {path: path.read_bytes() for path in before} == before
    replacing = cli("library", "export", own_library, "--vectors", photo, "--overwrite")
    assert "written as .npz" in replacing.complaint
    assert photo.read_bytes() == before[photo]


def test_what_is_kept_apart(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    (tmp_path / "ring").symlink_to(tmp_path / "ring")
    lib: Any = SimpleNamespace(folder=tmp_path / "lib", is_photo=lambda path: path.name == "photo")
    outer: Any = SimpleNamespace(folder=tmp_path)
    keep_apart(None, tmp_path / "a", library=outer)
    keep_apart(tmp_path / "b", tmp_path / "a", tmp_path / "ring", library=lib)
    keep_apart(tmp_path / "lib.png", library=lib)
    for out in ("a", "ring"):
        with pytest.raises(RecordError, match="is read by this command"):
            keep_apart(tmp_path / out, tmp_path / "a", tmp_path / "ring")


@pytest.mark.parametrize(
    ("n", "text"), [(0, "0 objects"), (1, "1 object"), (2, "2 objects"), (1234, "1,234 objects")]
)
def test_counts_are_told(n, text):
    assert counted(n, "object") == text


@pytest.mark.parametrize(("option", "name"), [("--out", "o.mp4"), ("--record", "o.jsonl")])
def test_places_that_cannot_be_written(cli, library, clip, option, name):
    run = ("run", library, "--headless", "--source", clip)
    assert f"no/such/folder/{name} cannot" in cli(*run, option, f"no/such/folder/{name}").complaint
    assert f"/proc/{name} cannot" in cli(*run, option, f"/proc/{name}").complaint


def test_records_that_cannot_be(cli, library, clip):
    run = ("run", library, "--headless", "--source", clip)
    complaint = cli(*run, "--record", "o.txt").complaint
    assert "o.txt: objects are recorded as .jsonl, .csv or .parquet" in complaint
    assert "o.csv would be written twice" in cli(*run, "--record", "o.csv", "--record", "o.csv").complaint
    assert list(Path.cwd().iterdir()) == []


def test_sheets_that_cannot_be_written(cli, library, photos):
    photo = photos / "skimage-coffee.png"
    assert "use .png or .jpg" in cli("query", library, photo, "--out", "sheet.xyz").complaint
    assert (
        "/proc/sheet.png cannot be written"
        in cli("query", library, photo, "--out", "/proc/sheet.png").complaint
    )
    assert (
        "/proc/v.npz cannot be written"
        in cli("library", "export", library, "--vectors", "/proc/v.npz").complaint
    )


# Models ----------------------------------------------------------------------------------------------------


@pytest.fixture
def no_network(monkeypatch):
    """No web site answers, and pip looks nowhere."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("PIP_NO_INDEX", "1")


@pytest.mark.usefixtures("no_network")
def test_models_that_are_not_there(cli, library, clip, photos, tmp_path, monkeypatch):
    monkeypatch.setenv("RTSEARCH_ENGINES", str(tmp_path / "engines"))
    assert "no model named yolo99; known are yolo26n" in cli("model", "pull", "yolo99").complaint
    assert "run: rtsearch model pull yolo26n" in cli("model", "info").complaint
    for command in (
        ["run", library, "--source", clip, "--headless"],
        ["query", library, photos / "skimage-coffee.png"],
        ["analyze", photos, tmp_path / "lib"],
    ):
        done = cli(*command, "--offline")
        assert done.err.count("\n") == 1
        assert "run: rtsearch model pull yolo26n" in done.complaint
        assert "no model named mine" in cli(*command, "--set", "model.name=mine").complaint
        assert "no model file mine.onnx" in cli(*command, "--set", "model.name=mine.onnx").complaint
    tried = cli(*command)  # the same for all
    assert tried.err.startswith("downloading yolo26n, once: 5.5 MB, under AGPL-3.0, see https://www.gnu.org/")
    assert tried.err.count("\n") == 3
    assert tried.err.splitlines()[1].startswith("cannot get ")  # and why
    assert tried.complaint == done.complaint
    assert not (tmp_path / "lib").exists()


@pytest.mark.usefixtures("no_network")
def test_the_network_is_fetched_when_it_is_first_needed(cli, library, photos, tmp_path, monkeypatch):
    """From the folder of downloads, where a file with the right hash needs no network."""
    weights = fetch(CATALOGUE[0], default_folder() / "downloads", lambda *_told: None)
    monkeypatch.setenv("RTSEARCH_ENGINES", str(tmp_path / "engines"))
    (tmp_path / "engines" / "downloads").mkdir(parents=True)
    shutil.copy(weights, tmp_path / "engines" / "downloads")
    first, again = (cli("query", library, photos / "skimage-coffee.png") for _ in range(2))
    assert first.err == (
        "downloading yolo26n, once: 5.5 MB, under AGPL-3.0, see https://www.gnu.org/licenses/agpl-3.0.html\n"
    )
    assert (first.code, again.code, again.err) == (0, 0, "")
    assert "cup" in first.out
    assert again.out == first.out


def test_files_that_are_no_detector(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("RTSEARCH_ENGINES", str(tmp_path / "engines"))
    (tmp_path / "text.onnx").write_text("no network at all")
    onnx.save(exports.classifier(), str(tmp_path / "classifier.onnx"))
    assert "missing.onnx: No such file" in cli("model", "import", tmp_path / "missing.onnx").complaint
    assert "text.onnx is not a whole ONNX file" in cli("model", "import", tmp_path / "text.onnx").complaint
    assert "no detector was recognised in" in cli("model", "import", tmp_path / "classifier.onnx").complaint
    assert (
        "is not a prepared model; run: rtsearch model import"
        in cli("model", "info", "--set", f"model.name={tmp_path / 'classifier.onnx'}").complaint
    )
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


def test_a_manifest_is_read_once(cli, library, photos, monkeypatch):
    read = Manifest.read
    folders = []
    monkeypatch.setattr(Manifest, "read", lambda folder: folders.append(folder) or read(folder))
    photo = photos / "skimage-coffee.png"
    for command in (
        ["query", library, photo, "--out", "sheet.png"],
        ["library", "info", library],
        ["library", "sheet", library, "--out", "neighbours.png"],
        ["run", library, "--source", photo, "--headless", "--out", "o.mp4"],
    ):
        folders.clear()
        assert cli(*command).code == 0
        # A run looks once more, beside the loop: the library may have grown since.
        assert folders in ([library], [library] * (1 + (command[0] == "run")))


# Secrets in the wrong place --------------------------------------------------------------------------------


SECRET_URL = "rtsp://adm:geheim@127.0.0.1:1/live"
MISPLACED = [
    ["run", SECRET_URL],
    ["kiosk", "run", SECRET_URL],
    ["serve", SECRET_URL],
    ["find", SECRET_URL, "cup"],
    ["show", SECRET_URL, "1"],
    ["analyze", SECRET_URL, "x.lib"],
    ["query", SECRET_URL, SECRET_URL],
    ["memory", "info", SECRET_URL],
    ["model", "import", SECRET_URL],
    ["config", "--set", f"live.sorce={SECRET_URL}"],
    ["config", "--set", f"live.source=[{SECRET_URL}"],
    ["config", "--set", f"detect.threshold={SECRET_URL}"],
    ["config", "--config", SECRET_URL],
    ["config", "--config", "section.yaml"],
    ["config", "--config", "mapping.yaml"],
    ["config", "--config", "long.yaml"],
    ["config", SECRET_URL],
    [SECRET_URL],
]


@pytest.mark.parametrize("words", MISPLACED, ids=lambda words: " ".join(words)[:40])
def test_a_password_in_the_wrong_place_is_masked(cli, words: list[str]) -> None:
    Path("section.yaml").write_text(f"live: {SECRET_URL}\n")
    Path("mapping.yaml").write_text(f"live:\n  source: {{a: '{SECRET_URL}'}}\n")
    Path("long.yaml").write_text(f"live:\n  source: {{{'a' * 60}: '{SECRET_URL}'}}\n")
    done = cli(*words)
    assert done.code
    assert "geh" not in done.err + done.out
    assert done.complaint


@pytest.mark.parametrize("options", [[], ["--changed"], ["--json"]])
def test_printed_settings_have_no_password(cli, options: list[str]) -> None:
    done = cli("config", *options, "--set", f"live.source={SECRET_URL}")
    assert done.code == 0
    assert "geheim" not in done.out + done.err
    assert "rtsp://adm:***@127.0.0.1:1/live" in done.out
    assert "is printed as ***" in done.err


def test_pictures_that_are_there_are_not_replaced_unasked(cli, library: Path, photos: Path) -> None:
    photo = photos / "skimage-chelsea.png"
    Path("there.png").write_bytes(b"mine")
    writers = [
        ["query", library, photo, "--out", "there.png"],
        ["find", library, "car", "--out", "there.png"],
        ["find", library, photo, "--out", "there.png"],
        ["find", library, photo, "--csv", "there.png"],
        ["library", "export", library, "--vectors", "there.png"],
        ["library", "export", library, "--coco", "there.png"],
        ["show", library, 0, "--out", "there.png"],
        ["library", "map", library, "--out", "there.png"],
        ["library", "sheet", library, "--out", "there.png"],
    ]
    for words in writers:
        assert "there.png exists already; --overwrite replaces it" in cli(*words).complaint
        assert Path("there.png").read_bytes() == b"mine"
    for name in ("map", "map.xyz"):
        words = ["library", "map", library, "--out", name]
        assert f"{name}: cannot write pictures of that kind; use .png or .jpg" in cli(*words).complaint
    assert cli(*writers[-1], "--overwrite").code == 0
    assert Path("there.png").stat().st_size > 1000
