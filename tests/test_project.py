import json

import numpy as np
import pytest

from rtsearch.config import ProjectSettings
from rtsearch.errors import DamagedError, VectorError
from rtsearch.project import Projection


def library(rows=500, width=20, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(rows, 6)) @ rng.normal(size=(6, width)) * 3 + 100).astype(np.float16)


def settings(**values):
    return ProjectSettings(**{"dim": 8, **values})


@pytest.mark.parametrize("method", ["random", "pca"])
@pytest.mark.parametrize("sizes", [(500,), (0, 1, 499), (100,) * 5])
def test_batches_do_not_matter(method, sizes):
    vectors = library()
    batches = np.split(vectors, np.cumsum(sizes)[:-1])
    whole = Projection.fit([vectors], settings(method=method)).apply(vectors)
    np.testing.assert_allclose(
        Projection.fit(iter(batches), settings(method=method)).apply(vectors), whole, rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("method", ["random", "pca"])
def test_projected_library_is_centred(method):
    vectors = library()
    projected = Projection.fit([vectors], settings(method=method)).apply(vectors)
    assert projected.dtype == np.float32
    np.testing.assert_allclose(projected.mean(0), 0, atol=2e-3)


def test_pca_keeps_all_distances_when_it_keeps_all_directions():
    vectors = library()
    scaled = (vectors - vectors.mean(0, np.float64)) / vectors.std(0, dtype=np.float64)
    projected = Projection.fit([vectors], settings(method="pca", dim=6)).apply(vectors)
    expected = np.linalg.norm(scaled[:50, None] - scaled[None, :50], axis=2)
    np.testing.assert_allclose(
        np.linalg.norm(projected[:50, None] - projected[None, :50], axis=2), expected, rtol=0.01, atol=0.05
    )


def test_random_projection_keeps_distances_on_average():
    vectors = library(width=200)
    scaled = (vectors - vectors.mean(0, np.float64)) / vectors.std(0, dtype=np.float64)
    projected = Projection.fit([vectors], settings(dim=400)).apply(vectors)
    ratio = np.linalg.norm(projected[1:] - projected[:-1], axis=1) / np.linalg.norm(
        scaled[1:] - scaled[:-1], axis=1
    )
    assert 0.9 < np.median(ratio) < 1.1


@pytest.mark.parametrize("method", ["random", "pca"])
@pytest.mark.parametrize("dim", [2, 20, 21, 1000])
def test_any_dim_works(method, dim):
    projection = Projection.fit([library()], settings(method=method, dim=dim))
    assert projection.dim == dim
    assert np.isfinite(projection.apply(library())).all()


@pytest.mark.parametrize("method", ["random", "pca"])
@pytest.mark.parametrize("vectors", [library(rows=1), np.full((9, 20), 7.0, np.float16)])
def test_a_library_without_variance_is_finite(method, vectors):
    projection = Projection.fit([vectors], settings(method=method))
    np.testing.assert_array_equal(projection.apply(vectors), 0)
    assert np.isfinite(projection.apply(library())).all()


@pytest.mark.parametrize(
    "batches",
    [
        [],
        [np.zeros((0, 20), np.float16)],
        [library(), library(width=19)],
        [np.full((3, 20), np.nan)],
        [np.zeros(20)],
    ],
    ids=["nothing", "no rows", "two widths", "nan", "one vector"],
)
def test_what_cannot_be_fitted_is_refused(batches):
    with pytest.raises(VectorError):
        Projection.fit(batches, settings())


@pytest.mark.parametrize("vectors", [np.zeros((3, 19)), np.zeros(20)])
def test_vectors_of_another_width_are_refused(vectors):
    with pytest.raises(VectorError, match=r"\(n, 20\)"):
        Projection.fit([library()], settings()).apply(vectors)


def test_seed_decides_the_random_axes():
    first, again, other = (Projection.fit([library()], settings(seed=s)).apply(library()) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_saved_projection_comes_back(tmp_path):
    projection = Projection.fit([library()], settings(method="pca"))
    projection.save(tmp_path)
    loaded = Projection.load(tmp_path)
    assert loaded.settings == projection.settings
    np.testing.assert_array_equal(loaded.apply(library()), projection.apply(library()))


def _truncate(folder):
    path = folder / "projection.npy"
    path.write_bytes(path.read_bytes()[:-4])


def _say_other_shape(folder):
    path = folder / "projection.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"shape": [10**12, 8]}))


def _hold_nan(folder):
    np.save(folder / "projection.npy", np.full((21, 8), np.nan, np.float32))


def _hold_pickle(folder):
    np.save(folder / "projection.npy", np.array([{}]), allow_pickle=True)


@pytest.mark.parametrize(
    "harm",
    [
        lambda folder: (folder / "projection.npy").unlink(),
        lambda folder: (folder / "projection.json").write_text("{"),
        lambda folder: (folder / "projection.json").write_text("[]"),
        lambda folder: (folder / "projection.npy").write_bytes(b""),
        _truncate,
        _say_other_shape,
        _hold_nan,
        _hold_pickle,
    ],
)
def test_damaged_files_are_named(tmp_path, harm):
    Projection.fit([library()], settings()).save(tmp_path)
    harm(tmp_path)
    with pytest.raises(DamagedError, match=r"projection\.npy"):
        Projection.load(tmp_path)
