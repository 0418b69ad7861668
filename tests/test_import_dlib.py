"""The vectors file of ReverseObjectSearchFast becomes a library of its own feature space."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import blobs
import cv2
import numpy as np
import pytest
from dlib_writer import integer, saved
from hypothesis import given
from hypothesis import strategies as st

from rtsearch.config import load_settings
from rtsearch.errors import FeatureSpaceError, FormatError, SourceError
from rtsearch.jobs.import_dlib import import_dlib
from rtsearch.library import Library
from rtsearch.library.dlib_stream import read_dlib
from rtsearch.library.index import open_index

HEADER = Path("/usr/include/dlib/serialize.h")
SETTINGS = load_settings(None, ["show.distinct=false"])
N, DIM = 30, 12


def objects(n: int = N, dim: int = DIM) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(5)
    vectors = rng.normal(40, 3, (n, dim)).astype(np.float32)
    xywh = np.stack([rng.uniform(0, 60, n), rng.uniform(0, 40, n), *rng.uniform(10, 50, (2, n))], axis=1)
    names = [f"/{i % 10:02d}.png" for i in range(n)]
    return vectors, xywh.astype(np.float32), rng.uniform(0.3, 1, n).astype(np.float32), names


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("old") / "photos"
    folder.mkdir()
    for i in range(10):
        assert cv2.imwrite(str(folder / f"{i:02d}.png"), blobs.draw(i))
    return folder


@pytest.mark.parametrize("form", ["new", "old"])
@pytest.mark.parametrize("features_only", [False, True])
def test_both_forms_and_both_kinds_are_read(tmp_path: Path, form: str, features_only: bool) -> None:
    vectors, xywh, scores, names = objects()
    path = tmp_path / "vectors.dat"
    path.write_bytes(saved(vectors, xywh, scores, names, features_only=features_only, form=form))
    found = read_dlib(path)
    assert np.array_equal(found.vectors, vectors)
    assert np.array_equal(found.xywh, xywh)
    assert np.array_equal(found.scores, scores)
    assert found.names == tuple(names)
    assert found.projected is not features_only


@pytest.mark.parametrize("form", ["new", "old"])
@given(
    values=st.lists(st.floats(width=32, allow_nan=True, allow_infinity=True), min_size=4, max_size=4),
    name=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)
def test_any_floats_and_names_come_back(tmp_path_factory, form: str, values, name: str) -> None:
    path = tmp_path_factory.mktemp("dlib") / "v"
    row = np.array([values], np.float32)
    path.write_bytes(saved(row, np.ones((1, 4)), np.ones(1), [name], form=form))
    found = read_dlib(path)
    assert np.array_equal(found.vectors, row, equal_nan=True)
    assert found.names == (name,)


@pytest.mark.skipif(
    not HEADER.is_file() or shutil.which("g++") is None, reason="apt-get install libdlib-dev g++"
)
@pytest.mark.slow
def test_what_dlib_itself_writes_is_read(tmp_path: Path) -> None:
    source = tmp_path / "write.cpp"
    source.write_text(
        """
        #include <dlib/serialize.h>
        #include <dlib/matrix.h>
        #include <fstream>
        #include <limits>
        int main(int, char** argv) {
            std::vector<std::vector<double>> projected{{0.1, -2.5e-30, 3e20}, {0, -1, 1.0 / 3}};
            std::vector<std::vector<float>> crops{{1, 2, 3.5f, 4}, {0, 0, 10, 20}};
            std::vector<float> scores{0.25f, 0.75f};
            std::vector<std::string> names{"/a b.jpg", "/\\xc3\\xa9/c.png"};
            dlib::matrix<double> v(2, 3);
            v = 0.5;
            std::vector<double> means{1, 2};
            std::ofstream out(argv[1], std::ios::binary);
            dlib::serialize(projected, out); dlib::serialize(crops, out); dlib::serialize(scores, out);
            dlib::serialize(names, out); dlib::serialize(v, out); dlib::serialize(means, out);
        }
        """
    )
    program, path = tmp_path / "write", tmp_path / "vectors.dat"
    subprocess.run(["g++", "-O0", "-w", str(source), "-o", str(program)], check=True)
    subprocess.run([str(program), str(path)], check=True)
    found = read_dlib(path)
    wanted = np.array([[0.1, -2.5e-30, 3e20], [0, -1, 1 / 3]]).astype(np.float32)
    assert np.array_equal(found.vectors, wanted)
    assert found.xywh.tolist() == [[1, 2, 3.5, 4], [0, 0, 10, 20]]
    assert found.scores.tolist() == [0.25, 0.75]
    assert found.names == ("/a b.jpg", "/é/c.png")


@pytest.mark.parametrize("form", ["new", "old"])
def test_every_cut_is_refused(tmp_path: Path, form: str) -> None:
    whole = saved(*objects(3, 2), form=form)
    path = tmp_path / "cut.dat"
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(FormatError, match=r"is empty|is no vectors file"):
            read_dlib(path)


@pytest.mark.parametrize(
    "content",
    [
        integer(2**62),
        integer(10**15) + integer(1),
        integer(1) + integer(2**40),
        integer(1) + integer(1) + b"x",
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        integer(-5),
        saved(*objects(3, 2)) + b"\0",
        saved(objects(3, 2)[0], objects(2, 2)[1], objects(3, 2)[2], objects(3, 2)[3]),
    ],
)
def test_other_files_take_no_memory(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.dat"
    path.write_bytes(content)
    with pytest.raises(FormatError, match="is no vectors file"):
        read_dlib(path)


def test_a_library_is_made_and_searched(tmp_path: Path, photos: Path) -> None:
    vectors, xywh, scores, names = objects()
    path, lib = tmp_path / "vectors.dat", tmp_path / "old.lib"
    path.write_bytes(saved(vectors, xywh, scores, names))
    report = import_dlib(path, photos, lib, SETTINGS)
    assert (report.objects, report.photos, report.dim, report.failed) == (N, 10, DIM, [])
    index = open_index(Library.open(lib), SETTINGS)
    order = [int(name[1:3]) for name in names]
    stored = sorted(range(N), key=lambda row: order[row])
    points = index.points(np.arange(N, dtype=np.int32))
    near = index.near(points, 4, exact=True)
    for place in range(N):
        distances = np.linalg.norm(vectors - vectors[stored[place]], axis=1)
        assert [stored[row] for row in near.row[place]] == np.argsort(distances)[:4].tolist()


def test_an_import_goes_on_and_tries_again_what_failed(tmp_path: Path, photos: Path) -> None:
    here = tmp_path / "photos"
    shutil.copytree(photos, here)
    (here / "03.png").rename(tmp_path / "03.png")
    path, lib = tmp_path / "vectors.dat", tmp_path / "old.lib"
    path.write_bytes(saved(*objects()))
    first = import_dlib(path, here, lib, SETTINGS)
    assert [name for name, _ in first.failed] == ["03.png"]
    assert first.objects == N - 3
    (tmp_path / "03.png").rename(here / "03.png")
    second = import_dlib(path, here, lib, SETTINGS)
    assert (second.objects, second.photos, second.failed) == (N, 10, [])


def test_objects_without_a_use_are_left_out(tmp_path: Path, photos: Path) -> None:
    vectors, xywh, scores, names = objects()
    vectors[0, 0], xywh[1, 2], xywh[2, 0], scores[3] = np.nan, -4, 5000, np.inf
    path = tmp_path / "vectors.dat"
    path.write_bytes(saved(vectors, xywh, scores, names))
    report = import_dlib(path, photos, tmp_path / "old.lib", SETTINGS)
    assert (report.left_out, report.objects) == (4, N - 4)


def test_what_cannot_be_imported_is_told_in_one_line(tmp_path: Path, photos: Path, cli) -> None:
    path, lib = tmp_path / "vectors.dat", tmp_path / "old.lib"
    path.write_bytes(saved(*objects()))
    with pytest.raises(SourceError, match=r"holds none of the 10 photos"):
        import_dlib(path, tmp_path, lib, SETTINGS)
    path.write_bytes(saved(*objects()[:3], ["/../../etc/passwd"] * N))
    with pytest.raises(FormatError, match="is no photo below a folder"):
        import_dlib(path, photos, lib, SETTINGS)
    assert not lib.exists()
    path.write_bytes(saved(*objects()))
    done = cli("library", "import", path, photos, lib, "--json")
    assert (done.code, '"objects": 30' in done.out) == (0, True)
    path.write_bytes(saved(*objects(), form="old"))
    with pytest.raises(FeatureSpaceError):
        import_dlib(path, photos, lib, SETTINGS)
    path.write_bytes(b"hello")
    done = cli("library", "import", path, photos, tmp_path / "none.lib")
    assert done.code == 2
    assert len(done.err.strip().splitlines()) == 1
