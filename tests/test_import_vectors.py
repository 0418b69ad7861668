"""Vectors files of the program of 2017 become libraries; wrong files end in one line."""

from __future__ import annotations

import math
import random
import struct
from pathlib import Path

import blobs
import cv2
import numpy as np
import pytest

from rtsearch.config import load_settings
from rtsearch.errors import FeatureSpaceError, LibraryError, SourceError
from rtsearch.jobs.analyze import analyze
from rtsearch.jobs.import_vectors import import_vectors
from rtsearch.library import Library, check_library
from rtsearch.library.dlib_vectors import read_dlib_vectors
from rtsearch.library.index import open_index
from rtsearch.library_search import open_library

SETTINGS = load_settings(None, ["project.dim=6"])
PHOTOS, DIM = 9, 16


# An independent writer of the stream -----------------------------------------------------------------------


def whole(number: int) -> bytes:
    size = max(1, (abs(number).bit_length() + 7) // 8)
    return bytes([size | (0x80 if number < 0 else 0)]) + abs(number).to_bytes(size, "little")


def compact(number: float, digits: int) -> bytes:
    """A number as newer versions of dlib write it: mantissa and exponent, without low bytes that are zero."""
    if not math.isfinite(number):
        exponent = 32_002 if math.isnan(number) else 32_000 if number > 0 else 32_001
        return whole(0) + whole(exponent)
    fraction, exponent = math.frexp(number)
    mantissa, exponent = int(fraction * 2**digits), exponent - digits
    for _ in range(8):
        if mantissa & 0xFF == 0:
            mantissa, exponent = mantissa >> 8, exponent + 8
    return whole(mantissa) + whole(exponent)


def decimal(number: float, digits: int) -> bytes:
    """A number as older versions write it: as C++ prints it, and a blank."""
    return f"{number:.{math.ceil(digits * 0.30103) + 1}g} ".encode()


def numbers(values, real, digits: int) -> bytes:
    return whole(len(values)) + b"".join(real(float(value), digits) for value in values)


def stream(real, *, features: bool, projected: bool = True, **changed) -> bytes:
    """The bytes of a file about the objects of some photos."""
    made = {**objects(), **changed}
    vectors = [numbers(row, real, 24 if features else 53) for row in made["vectors"]]
    table = whole(len(vectors)) + b"".join(vectors)
    parts = [table, (table if projected else whole(0)) if features else b""]
    parts += [whole(len(made["crops"]))] + [numbers(row, real, 24) for row in made["crops"]]
    parts.append(numbers(made["scores"], real, 24))
    names = [name.encode() for name in made["names"]]
    parts += [whole(len(names))] + [whole(len(name)) + name for name in names]
    if not features:
        axes = np.random.default_rng(1).random((20, DIM))
        parts += [whole(-20), whole(-DIM)] + [real(float(value), 53) for value in axes.ravel()]
        parts.append(numbers(np.zeros(20), real, 53))
    return b"".join(parts)


def objects() -> dict[str, list]:
    """Boxes of the blob photos, some with fractions and beyond their photo, and what describes them."""
    pipeline = blobs.BlobPipeline()
    rng = np.random.default_rng(0)
    made: dict[str, list] = {"vectors": [], "crops": [], "scores": [], "names": []}
    for photo in range(PHOTOS):
        bgr = blobs.draw(photo, 1 + photo % 3)
        for x1, y1, x2, y2 in pipeline.detector._one(bgr).xyxy.tolist():
            made["crops"].append([x1 + 0.25, y1 - (100 if photo == 4 else 0), x2 - x1, y2 - y1])
            made["vectors"].append(rng.normal(0, 40, DIM))
            made["scores"].append(rng.random())
            made["names"].append(f"/{'sub/' if photo % 2 else ''}{photo:02d}.png")
    return made


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for photo in range(PHOTOS):
        path = tmp_path / "photos" / ("sub" if photo % 2 else "") / f"{photo:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(".png", blobs.draw(photo, 1 + photo % 3))[1].tobytes())
    return tmp_path / "photos"


def write(folder: Path, data: bytes) -> Path:
    path = folder / "vectors.dat"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("real", [compact, decimal])
@pytest.mark.parametrize(
    "kind", [{"features": False}, {"features": True}, {"features": True, "projected": False}]
)
def test_a_file_is_read_as_it_was_written(tmp_path, real, kind):
    made = objects()
    known = read_dlib_vectors(write(tmp_path, stream(real, **kind)))
    np.testing.assert_allclose(known.vectors, made["vectors"], rtol=1e-6)
    crops = np.array(made["crops"])
    np.testing.assert_allclose(known.xyxy, np.c_[crops[:, :2], crops[:, :2] + crops[:, 2:]], rtol=1e-6)
    np.testing.assert_allclose(known.scores, made["scores"], rtol=1e-6)
    assert known.paths == [name[1:] for name in made["names"]]
    assert (known.projection is None) == kind["features"]


@pytest.mark.parametrize(
    ("data", "number"),
    [
        (b"\x01\x00\x01\x28", 0.0),
        (b"\x01\x01\x01\x00", 1.0),
        (b"\x81\x03\x81\x01", -1.5),
        (b"\x02\x00\x01\x81\x08", 1.0),
        (b"0 ", 0.0),
        (b"-12.5 ", -12.5),
        (b"1.25e-03 ", 0.00125),
        (b"3e+2 ", 300.0),
    ],
)
def test_numbers_of_both_kinds(tmp_path, data, number):
    from rtsearch.library.dlib_stream import DlibStream

    assert DlibStream(write(tmp_path, b"\x01\x01" + data)).numbers().tolist() == [pytest.approx(number)]


def test_an_imported_library_is_whole_and_searched(tmp_path, photos):
    file = write(tmp_path, stream(compact, features=False))
    lib = tmp_path / "old.lib"
    told = []
    report = import_vectors(file, photos, lib, SETTINGS, progress=lambda *now: told.append(now))
    made = objects()
    assert (report.photos, report.objects, report.failed) == (PHOTOS, len(made["names"]), [])
    assert told[-1] == (PHOTOS, PHOTOS)
    library = Library.open(lib)
    assert check_library(library) == []
    index = open_index(library, SETTINGS)
    point = index.projection.apply(np.array(made["vectors"][:1], np.float32))
    row = int(index.near(point, 1).row[0, 0])
    assert index.photo(row) == made["names"][0][1:]
    assert all(0 <= side <= 160 for box in index.boxes.tolist() for side in box)
    assert import_vectors(file, photos, lib, SETTINGS).kept == PHOTOS
    with pytest.raises(FeatureSpaceError, match="--again"):
        analyze(photos, lib, blobs.BlobPipeline(), SETTINGS)
    with open_library(lib) as searchable:
        near = searchable.similar(row, 3)
        assert [each.row for each in near] == index.others(row, 3).row[0].tolist()
        assert searchable.crop(row).ndim == 3
        with pytest.raises(FeatureSpaceError, match=r"was imported.*--again"):
            searchable.search(photos / made["names"][0][1:])


def test_photos_that_are_gone_are_named(tmp_path, photos):
    (photos / "00.png").unlink()
    (photos / "02.png").write_bytes(b"no picture")
    report = import_vectors(
        write(tmp_path, stream(decimal, features=True)), photos, tmp_path / "lib", SETTINGS
    )
    assert [path for path, _ in report.failed] == ["00.png", "02.png"]
    assert report.photos == PHOTOS - 2
    (photos / "00.png").write_bytes((photos / "04.png").read_bytes())
    again = import_vectors(tmp_path / "vectors.dat", photos, tmp_path / "lib", SETTINGS)
    assert (again.photos, again.kept) == (1, PHOTOS - 2)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no whole number at byte 0"),
        (b"hello", "no whole number at byte 0"),
        (whole(2**62), "have no room in the file"),
        (whole(1) + whole(2**40), "have no room in the file"),
        (whole(3) + whole(65_537) + bytes(300_000), "have no room in the file"),
        (stream(compact, features=False) + b"more", "more behind them"),
        (stream(compact, features=False, crops=[[0, 0, 1, 1]]), "do not fit"),
        (stream(compact, features=False, scores=[math.nan] * len(objects()["scores"])), "infinite or none"),
        (stream(compact, features=False, names=["/a.png"]), "1 file names"),
        (struct.pack("<Q", 1 << 60) * 4, "vectors file of ReverseObjectSearchFast"),
    ],
)
def test_wrong_files_end_in_one_line(tmp_path, photos, data, words):
    with pytest.raises(LibraryError, match=words) as caught:
        import_vectors(write(tmp_path, data), photos, tmp_path / "lib", SETTINGS)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "lib").exists()


def test_any_file_that_is_cut_or_altered_is_refused_or_read(tmp_path):
    rng = random.Random(0)
    for real in (compact, decimal):
        good = stream(real, features=False)
        for _ in range(150):
            data = bytearray(good)
            if rng.random() < 0.5:
                del data[rng.randrange(len(data)) :]
            else:
                for _ in range(rng.randrange(1, 4)):
                    data[rng.randrange(len(data))] = rng.randrange(256)
            try:
                known = read_dlib_vectors(write(tmp_path, bytes(data)))
            except LibraryError:
                continue
            assert len(known.vectors) == len(known.xyxy) == len(known.scores) == len(known.paths) > 0


@pytest.mark.parametrize("name", ["/../secret.png", "//etc/passwd", "/a/../../b.png"])
def test_paths_stay_in_their_folder(tmp_path, photos, name):
    made = objects()["names"]
    data = stream(compact, features=False, names=[made[0], name, *made[2:]])
    with pytest.raises(LibraryError, match="leads out of the folder of photos"):
        import_vectors(write(tmp_path, data), photos, tmp_path / "lib", SETTINGS)


def test_a_folder_without_the_photos_is_refused(tmp_path):
    file = write(tmp_path, stream(compact, features=False))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=r"has none of the 9 photos of .*, such as 00\.png"):
        import_vectors(file, tmp_path / "empty", tmp_path / "lib", SETTINGS)


def test_imported_vectors_keep_their_distances(tmp_path, photos):
    lib, settings = tmp_path / "lib", load_settings(None, [f"project.dim={DIM}", "show.distinct=false"])
    import_vectors(write(tmp_path, stream(compact, features=True)), photos, lib, settings)
    index = open_index(Library.open(lib), settings)
    vectors = np.concatenate([batch["vector"] for batch in index.library.objects(("vector",))]).astype(float)
    near = index.near(index.points(np.arange(len(index), dtype=np.int32)), len(index), exact=True)
    wanted = np.linalg.norm(vectors[:, None] - vectors, axis=2)
    for row, found in enumerate(near.row):
        assert np.all(np.diff(wanted[row][found]) > -1e-2 * wanted[row].max())
