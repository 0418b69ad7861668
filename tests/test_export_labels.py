"""Boxes for other tools: COCO JSON and YOLO labels."""

from __future__ import annotations

import json
import re
from pathlib import Path

import blobs
import cv2
import numpy as np
import pytest
import yaml
from test_films import blob_film

from rtsearch.config import Settings
from rtsearch.errors import LibraryError
from rtsearch.jobs.analyze import analyze
from rtsearch.library import Library
from rtsearch.library.export_labels import export_coco, export_yolo


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos, empty and damaged ones among them, and a film."""
    folder = tmp_path_factory.mktemp("labels")
    blobs.write_photos(folder / "photos", 20)
    blob_film(folder / "photos" / "film.avi", 8)
    analyze(folder / "photos", folder / "lib", blobs.BlobPipeline(), Settings())
    return folder


def boxes_of(library: Library) -> dict[str, list[tuple[int, list[float]]]]:
    photos, boxes = library.photos(), {}
    for batch in library.objects():
        for number, label, box in zip(batch["photo"], batch["label"], batch["xyxy"], strict=True):
            if photos.path[number] != "film.avi":
                boxes.setdefault(photos.path[number], []).append((int(label), box.tolist()))
    return boxes


@pytest.mark.parametrize("batch_rows", [1, 2, 8192])
def test_coco(made, tmp_path, monkeypatch, batch_rows):
    library = Library.open(made / "lib")
    wanted = boxes_of(library)
    read = library.objects
    monkeypatch.setattr(library, "objects", lambda columns: read(columns, batch_rows))
    counts = export_coco(library, tmp_path / "boxes.json")
    made_of = json.loads((tmp_path / "boxes.json").read_text())
    names = {each["id"]: each["name"] for each in made_of["categories"]}
    assert list(names.values()) == ["blue", "green", "red"]
    images = {image["id"]: image for image in made_of["images"]}
    assert all((image["width"], image["height"]) == (160, 120) for image in images.values())
    assert "film.avi" not in {image["file_name"] for image in images.values()}
    found: dict[str, list[tuple[int, list[float]]]] = {}
    for item in made_of["annotations"]:
        x, y, width, height = item["bbox"]
        assert item["area"] == pytest.approx(width * height)
        box = [x, y, x + width, y + height]
        found.setdefault(images[item["image_id"]]["file_name"], []).append((item["category_id"] - 1, box))
    assert found == wanted
    assert counts.objects == len(made_of["annotations"]) == sum(map(len, wanted.values()))
    assert counts.photos == len(wanted)
    assert counts.photos + counts.empty == len(images)
    assert counts.of_films == library.object_count - counts.objects
    assert len({item["id"] for item in made_of["annotations"]}) == counts.objects


def test_yolo(made, tmp_path):
    library = Library.open(made / "lib")
    counts = export_yolo(library, tmp_path / "yolo")
    about = yaml.safe_load((tmp_path / "yolo" / "data.yaml").read_text())
    assert about["names"] == {0: "blue", 1: "green", 2: "red"}
    assert about["path"] == str(tmp_path / "yolo")
    wanted = boxes_of(library)
    files = sorted((tmp_path / "yolo" / "labels").rglob("*.txt"))
    assert len(files) == len(wanted) == counts.photos
    assert counts == export_coco(library, tmp_path / "boxes.json")
    for path, labelled in wanted.items():
        assert (tmp_path / "yolo" / "images" / path).is_file()
        lines = (tmp_path / "yolo" / "labels" / path).with_suffix(".txt").read_text().splitlines()
        for line, (label, box) in zip(lines, labelled, strict=True):
            number, *shares = map(float, line.split())
            assert number == label
            x, y, width, height = np.array(shares) * [160, 120, 160, 120]
            edges = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
            np.testing.assert_allclose(edges, box, atol=0.01)


def test_what_cannot_be_written(made, tmp_path):
    library = Library.open(made / "lib")
    with pytest.raises(LibraryError, match=r"boxes\.xml: COCO's format is written as \.json"):
        export_coco(library, tmp_path / "boxes.xml")
    with pytest.raises(LibraryError, match=r"cannot be written: No such file"):
        export_coco(library, tmp_path / "missing" / "boxes.json")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    with pytest.raises(LibraryError, match="full is not empty; choose another folder"):
        export_yolo(library, tmp_path / "full")


def test_photos_that_yolo_cannot_tell_apart(tmp_path):
    for name in ("a.png", "a.bmp"):
        (tmp_path / "photos").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "photos" / name), blobs.draw(1))
    blobs.run(tmp_path / "photos", tmp_path / "lib")
    with pytest.raises(LibraryError, match=r"differ by their suffix only, a\.png is one; rename it"):
        export_yolo(Library.open(tmp_path / "lib"), tmp_path / "yolo")


def test_the_command(cli, made, tmp_path):
    done = cli("library", "export", made / "lib", "--coco", tmp_path / "b.json", "--yolo", tmp_path / "y")
    assert done.code == 0
    assert "of films are left out" in done.err
    assert len(re.findall(r"\d+ objects of \d+ photos in .*; \d+ photos? without an object", done.err)) == 2
    assert (tmp_path / "b.json").is_file()
    assert (tmp_path / "y" / "data.yaml").is_file()
    assert "nothing to write; give --vectors" in cli("library", "export", made / "lib").complaint
