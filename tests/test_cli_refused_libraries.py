"""Libraries that are none, of others or damaged: one line that names them and the way out, exit code 2."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import blobs
import cv2
import numpy as np
import onnx
import onnxruntime
import pytest

from rtsearch.library import Manifest, library_lock
from rtsearch.library.manifest import FORMAT_VERSION

# Libraries that are none -----------------------------------------------------------------------------------


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
        (_a_file, "is a file, not the folder of a library"),
        (_foreign, "is no library (it has no manifest.json)"),
        (_text_as_manifest, "is damaged (it is not JSON)"),
    ],
)
def test_folders_that_are_no_library(cli, tmp_path, photos, clip, make, message):
    lib = tmp_path / "no lib"
    make(lib)
    before = sorted(lib.rglob("*")) if lib.is_dir() else lib.exists()
    for command in commands_on(lib, photos / "skimage-coffee.png", clip):
        complaint = cli(*command).complaint
        assert f"{lib.name} {message}" in complaint or f"{lib.name}/manifest.json {message}" in complaint
    assert (sorted(lib.rglob("*")) if lib.is_dir() else lib.exists()) == before


def test_a_library_of_a_newer_version(cli, own_library, photos, clip):
    manifest = own_library / "manifest.json"
    document = json.loads(manifest.read_text())
    document["version"] = 999
    manifest.write_text(json.dumps(document))
    commands = commands_on(own_library, photos / "skimage-coffee.png", clip)
    for command in (*commands, ["analyze", photos, own_library]):
        said = f"has library format 999, this version of rtsearch knows {FORMAT_VERSION}: "
        assert said in cli(*command).complaint


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


@pytest.mark.slow
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


def test_damage_is_told_by_whoever_meets_it(cli, own_library, photos):
    run = ("run", own_library, "--source", photos / "skimage-coffee.png", "--headless")
    for command in (("analyze", photos, own_library), run):
        assert "damaged:" not in cli(*command).err
    pack = next((own_library / "thumbs").iterdir())
    pack.write_bytes(pack.read_bytes()[:-1])
    for command in (("analyze", photos, own_library), run):
        done = cli(*command)
        assert done.code == 0
        assert f"damaged: thumbs/{pack.name}: it has" in done.err
        assert f"rtsearch library check {own_library}" in done.err
    next((own_library / "images").iterdir()).unlink()
    complaint = cli("analyze", photos, own_library).complaint
    assert "is damaged (No such file or directory)" in complaint
    assert f"rtsearch library check {own_library}" in complaint


def test_a_damaged_index_is_rebuilt_and_said(cli, own_library, photos):
    (folder,) = (own_library / "index").glob("*/")
    (folder / "photo.npy").write_bytes(b"")
    done = cli("query", own_library, photos / "skimage-coffee.png", "--json")
    assert done.code == 0
    assert "the index is built again" in done.err
    assert done.json["objects"]


def name_network(lib: Path, section: str, key: str, file: Path) -> None:
    """Let the manifest of a library say that it was made with this network."""
    manifest = Manifest.read(lib)
    settings = manifest.settings | {section: manifest.settings[section] | {key: str(file)}}
    manifest.model_copy(update={"settings": settings}).write(lib)


@pytest.mark.parametrize(("section", "key"), [("model", "name"), ("describe", "embedder")])
def test_a_library_cannot_make_us_load_any_network(
    cli, own_library, photos, model, tmp_path, monkeypatch, section, key
):
    """A manifest names a file; it is loaded only if it is what the library was made with."""
    other = onnx.load(model)
    other.doc_string = "another file"
    onnx.save(other, tmp_path / "other.onnx")
    name_network(own_library, section, key, tmp_path / "other.onnx")

    def load(*_args: object, **_options: object) -> None:
        raise AssertionError("loaded")

    monkeypatch.setattr(onnxruntime, "InferenceSession", load)
    for command in (
        ("query", own_library, photos / "skimage-coffee.png"),
        ("run", own_library, "--source", photos, "--headless"),
        ("analyze", photos, own_library),
    ):
        assert "sha256" in cli(*command).complaint


@pytest.mark.parametrize("place", ["inside", "relative"])
def test_a_network_that_came_with_a_library_is_left_out(cli, own_library, photos, model, monkeypatch, place):
    monkeypatch.chdir(own_library)
    shutil.copyfile(model, own_library / "yolo.onnx")
    name_network(
        own_library, "model", "name", Path("yolo.onnx") if place == "relative" else own_library / "yolo.onnx"
    )
    done = cli("query", own_library, photos / "skimage-coffee.png", "--json")
    assert done.code == 0  # with the default network, which it was made with
    assert "may have come with it" in done.err
    assert done.json["objects"]


def test_two_writers(cli, own_library, photos):
    with library_lock(own_library):
        assert "try again" in cli("analyze", photos, own_library).complaint
        assert cli("library", "info", own_library).code == 0


def test_arguments_in_the_place_of_others(cli, library, photos, clip, tmp_path):
    photo, lib = photos / "skimage-coffee.png", tmp_path / "lib"
    for command in (["run"], ["library", "info"], ["library", "check"], ["library", "rebuild"]):
        for folder in (photos, photos.parent):
            assert f"{folder} is a folder of photos; make a library" in cli(*command, folder).complaint
        assert f"{photo} is a photo, not the folder of a library" in cli(*command, photo).complaint
        assert f"{clip} is a file, not the folder of a library" in cli(*command, clip).complaint
    assert f"{photo} is a photo, not the folder of a library" in cli("query", photo, library).complaint
    assert f"{photos} is a folder of photos" in cli("query", photos, library).complaint
    assert f"{library} is a folder; give one photo" in cli("query", library, library).complaint
    assert f"give the folder that it lies in, {photos}" in cli("analyze", photo, lib).complaint
    assert f"{clip} is not a folder" in cli("analyze", clip, lib).complaint
    assert (
        f"{library} is a library; the folder of photos goes first" in cli("analyze", library, lib).complaint
    )
    assert f"{library} is a library" in cli("analyze", library, photos).complaint
    assert not lib.exists()
    assert (
        f"{photo} cannot be a folder for the demo: File exists"
        in cli("demo", "--offline", "--out", photo).complaint
    )


def test_sources_in_the_place_of_the_library(cli, library, clip, tmp_path):
    for given in ([clip, library], [library, clip], [library, "--headless", clip], [clip, "--json", library]):
        complaint = cli("run", *given).complaint
        assert "run takes the library, and sources with --source: " in complaint
        assert f": rtsearch run {library} --source {clip}; see: rtsearch run --help" in complaint
    complaint = cli("run", library, "-s", "a.mp4", "b c.mp4", "0").complaint  # what a shell makes of *.mp4
    assert f"rtsearch run {library} --source a.mp4 --source 'b c.mp4' --source 0;" in complaint
    assert "--source 2 --source 3 and so on;" in cli("run", library, *map(str, range(9))).complaint
    assert "rtsearch run none.lib --source none.mp4;" in cli("run", "none.lib", "none.mp4").complaint
    assert "No such option: --sauce" in cli("run", library, "--sauce", clip).complaint
    assert "give the folder of a library" in cli("run").complaint
