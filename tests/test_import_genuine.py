"""Vectors files that dlib itself has written are read, and dlib reads the bytes of the other tests."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_import_vectors import DIM, PHOTOS, SETTINGS, compact, decimal, objects, photos, stream

from rtsearch.jobs.import_vectors import import_vectors
from rtsearch.library import Library, check_library
from rtsearch.library.dlib_vectors import read_dlib_vectors

__all__ = ["photos"]  # the fixture of that file

AXES = 20  # rows of the projection that ``stream`` writes
SOURCE = Path(__file__).with_name("dlib_vectors.cpp")


def has_dlib() -> bool:
    if shutil.which("g++") is None:
        return False
    asks = ["g++", "-x", "c++", "-fsyntax-only", "-"]
    text = "#if !__has_include(<dlib/serialize.h>)\n#error\n#endif\n"
    return subprocess.run(asks, input=text, text=True, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that writes and reads with dlib, compiled."""
    if not has_dlib():
        pytest.skip("g++ or dlib is not installed: apt-get install g++ libdlib-dev")
    built = tmp_path_factory.mktemp("dlib") / "dlib_vectors"
    subprocess.run(["g++", "-std=c++17", "-DDLIB_NO_GUI_SUPPORT", SOURCE, "-o", built, "-ldlib"], check=True)
    return built


def made_of_floats(*, features: bool) -> dict[str, Any]:
    """The objects, with numbers that are exact where a file has floats."""
    made: dict[str, Any] = objects()
    for name in ("crops", "scores", *(["vectors"] * features)):
        made[name] = np.array(made[name], np.float32).astype(float).tolist()
    return made


def values(made: dict[str, Any], *, features: bool) -> list[str]:
    """The values of the objects as text, in the order of a file."""
    axes = [] if features else np.random.default_rng(1).random((AXES, DIM)).ravel().tolist() + [0.0] * AXES
    numbers = [*np.ravel(made["vectors"]), *np.ravel(made["crops"]), *made["scores"]]
    return [*(f"{value:.17g}" for value in numbers), *made["names"], *(f"{value:.17g}" for value in axes)]


def ask(program: Path, what: str, source: Path, target: Path, *, features: bool) -> Path:
    kind = "features" if features else "projected"
    subprocess.run([program, what, kind, source, target], check=True, timeout=60)
    return target


@pytest.mark.parametrize("features", [False, True])
def test_a_file_of_dlib_is_read(program, tmp_path, photos, features):
    made = made_of_floats(features=features)
    text = tmp_path / "values"
    count = len(made["names"])
    text.write_text(" ".join([str(count), str(DIM), str(AXES), *values(made, features=features)]))
    file = ask(program, "write", text, tmp_path / "vectors.dat", features=features)
    assert file.read_bytes() == stream(compact, features=features, projected=False, **made)
    known = read_dlib_vectors(file)
    np.testing.assert_allclose(known.vectors, made["vectors"], rtol=1e-6)
    crops = np.array(made["crops"])
    np.testing.assert_allclose(known.xyxy[:, 2:] - known.xyxy[:, :2], crops[:, 2:], atol=1e-4)
    np.testing.assert_allclose(known.scores, made["scores"], rtol=1e-6)
    assert known.paths == [name[1:] for name in made["names"]]
    report = import_vectors(file, photos, tmp_path / "lib", SETTINGS)
    assert (report.photos, report.objects, report.failed) == (PHOTOS, count, [])
    assert check_library(Library.open(tmp_path / "lib")) == []


@pytest.mark.parametrize("features", [False, True])
@pytest.mark.parametrize("real", [compact, decimal])
def test_dlib_reads_what_the_tests_write(program, tmp_path, real, features):
    file = tmp_path / "vectors.dat"
    made = made_of_floats(features=features)
    file.write_bytes(stream(real, features=features, projected=False, **made))
    back = ask(program, "read", file, tmp_path / "values", features=features).read_text().split()
    wanted = values(made, features=features)
    assert len(back) == len(wanted)
    for got, expected in zip(back, wanted, strict=True):
        assert got == expected or float(got) == pytest.approx(float(expected), rel=1e-6)
