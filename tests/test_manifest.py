"""Manifests that somebody has made up, with right checksums: one line, whatever a value is replaced by."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import blobs
import pytest

from rtsearch.config import load_settings
from rtsearch.errors import DamagedError, LibraryError, RtsearchError
from rtsearch.library import Library, check_library, cut_files
from rtsearch.library.index import build_index, remembered_settings
from rtsearch.library.manifest import fingerprint_of

RECIPE = {
    "model": "blobs",
    "model_sha256": "0" * 64,
    "input_wh": [160, 120],
    "describe": {
        "version": 1,
        "blocks": [{"kind": "colour", "width": blobs.DIM - 3}, {"kind": "class", "width": 3}],
        "embedder": {"sha256": "1" * 64},
    },
}
NESTED: list[Any] = []
for _ in range(200):
    NESTED = [NESTED]
VALUES = [
    *(
        None,
        True,
        -1,
        0,
        3,
        2**31,
        2**63,
        10**400,
        0.5,
        float("nan"),
        float("inf"),
        "",
        "x",
        "a\0b",
        "\x1b[31m",
    ),
    *("\ud800", "\udcff", "../../etc", "/" + "a" * 300, "long" * 5000, [], [1], [[]], {}, {"a": 1}, NESTED),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("manifest")
    blobs.write_photos(folder / "photos", 6)
    pipeline = blobs.BlobPipeline(feature_space=RECIPE)
    blobs.run(folder / "photos", folder / "lib", pipeline, commit_photos=4)
    return folder / "lib"


@pytest.fixture
def lib(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "lib")
    return tmp_path / "lib"


def write(lib: Path, document: dict[str, Any]) -> None:
    """Replace a manifest, with the checksum that it ought to have."""
    document.pop("checksum", None)
    (lib / "manifest.json").write_text(json.dumps({**document, "checksum": fingerprint_of(document)}))


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where values stand in a JSON document."""
    if path:
        yield path
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


def changed(document: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    document = json.loads(json.dumps(document))
    inside: Any = document
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = value
    return document


def use(lib: Path) -> None:
    """Do what the commands do with a library before they need a network."""
    library = Library.open(lib)
    json.dumps(library.info(), allow_nan=False)
    cut_files(library)
    settings = load_settings(None, ["project.dim=5"], remembered_settings(library))
    check_library(library)
    library.photo_path("a.png")
    build_index(library, settings)


def test_any_value_in_any_place_is_used_or_refused_in_one_line(lib: Path) -> None:
    document = json.loads((lib / "manifest.json").read_text())
    document["fragments"] = document["fragments"][:1]
    document["settings"] = {"model": document["settings"]["model"]}
    tried = refused = 0
    apart = 1 if "RTSEARCH_LONG" in os.environ else 2
    for number, path in enumerate(places(document)):
        if path == ("checksum",):
            continue
        for value in VALUES[number % apart :: apart]:
            write(lib, changed(document, path, value))
            tried += 1
            try:
                use(lib)
            except RtsearchError as error:
                message = str(error)
                assert "\n" not in message, (path, value)
                assert len(message) < 1000, (path, value)
                refused += 1
    assert tried > 900 // apart
    assert refused > tried * 2 // 3


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("space", "recipe"), [], "space.recipe"),
        (("space", "recipe", "describe"), [], "describe"),
        (("space", "recipe", "describe", "blocks", 0), {"kind": "colour"}, "width"),
        (("space", "recipe", "describe", "blocks", 0, "width"), 9, "numbers wide together"),
        (("space", "class_names", 0), "\ud800", "space.class_names"),
        (("photo_root",), "\ud800", "photo_root"),
        (("photo_root",), "photos", "no absolute path"),
        (("settings", "model"), 5, "settings.model"),
        (("settings", "model", "size"), "large", "settings.model.size"),
        (("fragments", 0, "objects"), 2**31 - 1, "more objects in fragment 000001 than its file"),
        (("fragments", 0, "photos"), 2**31 - 1, "more photos than can be counted"),
        (("fragments", 0, "photos"), 10**6, "more photos in fragment 000001 than its file"),
        (("fragments", 1, "name"), "000001", "named twice"),
        (("version",), "2", "no version"),
    ],
)
def test_what_is_wrong_is_said(lib: Path, path: tuple[Any, ...], value: Any, said: str) -> None:
    write(lib, changed(json.loads((lib / "manifest.json").read_text()), path, value))
    with pytest.raises(DamagedError, match=r"manifest\.json is damaged .*restore it from a backup") as caught:
        remembered_settings(Library.open(lib))
    assert said in str(caught.value)


def test_every_command_refuses_a_made_up_manifest(cli, lib: Path, tmp_path: Path) -> None:
    document = json.loads((lib / "manifest.json").read_text())
    write(lib, changed(document, ("space", "recipe"), ["no recipe"]))
    photo = next(tmp_path.rglob("*.pack"))
    for command in [
        ("run", lib, "--source", photo, "--headless"),
        ("query", lib, photo),
        *(("library", name, lib) for name in ("info", "check", "rebuild")),
        ("library", "export", lib, "--vectors", "v.npz"),
        ("library", "map", lib, "--out", "m.png"),
        ("library", "sheet", lib, "--out", "s.png"),
    ]:
        assert "manifest.json is damaged (space.recipe" in cli(*command).complaint
    with pytest.raises(LibraryError, match=r"space\.recipe"):
        blobs.run(Path(document["photo_root"]), lib)
