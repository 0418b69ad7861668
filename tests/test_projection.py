import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtsearch.config import ProjectSettings
from rtsearch.errors import DamagedError, VectorError
from rtsearch.search.projection import Projection

BLOCKS = [
    {"kind": "form", "name": "deep32", "width": 12},
    {"kind": "colour", "name": "colour", "width": 8},
    {"kind": "class", "name": "class", "width": 30},
]
CLASSES = slice(20, 50)


def library(rows=500, width=20, seed=0):
    """Rows of one block of looks: six hidden dimensions, far from zero."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(rows, 6)) @ rng.normal(size=(6, width)) * 3 + 100).astype(np.float16)


def objects(rows=500, seed=0):
    """Rows laid out as BLOCKS say: looks, and one certain class each, a few of them frequent."""
    rng = np.random.default_rng(seed)
    classes = np.eye(30)[np.minimum(rng.geometric(0.3, rows) - 1, 29)]
    return np.hstack([library(rows, 20, seed), classes.astype(np.float16)])


def settings(**values):
    return ProjectSettings(**{"dim": 8, **values})


def apart(vectors):
    vectors = vectors.astype(np.float64)
    return np.linalg.norm(vectors[:, None] - vectors[None], axis=2)


METHODS = pytest.mark.parametrize("method", ["random", "pca"])


@METHODS
@pytest.mark.parametrize("sizes", [(500,), (0, 1, 499), (100,) * 5])
def test_batches_do_not_matter(method, sizes):
    vectors = objects()
    batches = np.split(vectors, np.cumsum(sizes)[:-1])
    whole = Projection.fit([vectors], settings(method=method), BLOCKS).apply(vectors)
    parts = Projection.fit(iter(batches), settings(method=method), BLOCKS).apply(vectors)
    np.testing.assert_allclose(apart(parts[:50]), apart(whole[:50]), rtol=2e-3, atol=2e-3)


@METHODS
def test_projected_library_is_centred(method):
    projected = Projection.fit([objects()], settings(method=method), BLOCKS).apply(objects())
    assert projected.dtype == np.float32
    np.testing.assert_allclose(projected.mean(0), 0, atol=2e-3)


@METHODS
def test_looks_have_one_total_variance_whatever_their_scale(method):
    vectors = library(width=200).astype(np.float32)
    variances = [
        Projection.fit([vectors * scale], settings(method=method, dim=400))
        .apply(vectors * scale)
        .var(0)
        .sum()
        for scale in (1, 0.01)
    ]
    np.testing.assert_allclose(variances, (1 / 4) ** 2, rtol=0.25 if method == "random" else 1e-3)


def test_random_projection_keeps_distances_on_average():
    vectors = library(width=200)
    projected = Projection.fit([vectors], settings(method="random", dim=400)).apply(vectors)
    ratio = apart(projected[:60])[np.triu_indices(60, 1)] / apart(vectors[:60])[np.triu_indices(60, 1)]
    assert ratio.std() < 0.1 * ratio.mean()


def test_pca_keeps_what_varies_most():
    vectors = library()
    full = apart(Projection.fit([vectors], settings(method="pca", dim=6)).apply(vectors)[:60])
    more = apart(Projection.fit([vectors], settings(method="pca", dim=20)).apply(vectors)[:60])
    np.testing.assert_allclose(full, more, atol=0.02)  # only six dimensions were there


@METHODS
@pytest.mark.parametrize("blocks", [(), BLOCKS[2:], BLOCKS], ids=["looks", "class", "both"])
@pytest.mark.parametrize("dim", [2, 3, 20, 51, 1000])
def test_any_dim_works(method, dim, blocks):
    vectors = objects()[:, CLASSES] if len(blocks) == 1 else objects()
    projection = Projection.fit([vectors], settings(method=method, dim=dim), blocks)
    assert projection.dim == dim
    projected = projection.apply(vectors)
    assert np.isfinite(projected).all()
    assert projected.any()


@METHODS
@pytest.mark.parametrize("vectors", [objects(rows=1), np.full((9, 50), 7.0, np.float16)])
def test_a_library_without_variance_is_finite(method, vectors):
    projection = Projection.fit([vectors], settings(method=method), BLOCKS)
    np.testing.assert_allclose(projection.apply(vectors), 0, atol=1e-4)
    assert np.isfinite(projection.apply(objects())).all()


@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(0, 5),
    class_columns=st.sets(st.integers(0, 11)).map(sorted),
    scale=st.sampled_from([0, 1e-3, 0.3, 1, 100]),
)
def test_classes_are_scaled_to_unit_length_and_all_goes_through_the_matrix(seed, rows, class_columns, scale):
    rng = np.random.default_rng(seed)
    matrix, offset = rng.normal(size=(12, 5)).astype(np.float32), rng.normal(size=5).astype(np.float32)
    vectors = rng.random((rows, 12)).astype(np.float16)
    vectors[:, class_columns] *= np.float16(scale)
    before = vectors.astype(np.float32)
    got = Projection(matrix, offset, np.array(class_columns, np.intp)).apply(before)
    wanted = [naive.projected(row, matrix, offset, class_columns) for row in vectors]
    np.testing.assert_allclose(got, np.reshape(wanted, (rows, 5)), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(before, vectors)  # what was given stays as it was


@given(seed=st.integers(0, 10**6), scale=st.floats(1e-3, 1), whole=st.booleans())
def test_class_blocks_have_unit_length_but_for_a_whole_image(seed, scale, whole):
    rows = np.random.default_rng(seed).random((1, 30)).astype(np.float32) * (0 if whole else scale)
    codes = Projection(np.eye(30, dtype=np.float32), np.zeros(30, np.float32), np.arange(30)).apply(rows)
    assert np.linalg.norm(codes) == pytest.approx(0 if whole else 1, rel=1e-5)


@pytest.mark.parametrize("meaning", [0.25, 0.5, 1])
def test_scores_do_not_order_the_objects_of_a_class(meaning):
    """Alike but for the detector's confidence is alike; without unit length looks came second to that."""
    library_rows = objects(200)
    projection = Projection.fit([library_rows], settings(dim=32), BLOCKS, meaning)
    score = np.linspace(0.25, 0.95, 15)[:, None]
    probability = score * np.where(np.arange(30) == 4, 1, 0.001)
    same_looks = np.hstack([library_rows[:1, :20].repeat(15, axis=0), np.sqrt(probability)])
    other_looks = same_looks.copy()
    other_looks[:, :20] = library_rows[1, :20]
    points = projection.apply(np.vstack([same_looks, other_looks]).astype(np.float16))
    distance = apart(points)
    assert distance[:15, :15].max() < distance[:15, 15:].min()


def test_the_mean_is_that_of_the_scaled_classes():
    vectors = objects(300).astype(np.float32)
    vectors[:, CLASSES] *= np.random.default_rng(1).uniform(0.3, 1, (300, 1))
    projected = Projection.fit([vectors], settings(), BLOCKS).apply(vectors)
    np.testing.assert_allclose(projected.mean(0), 0, atol=2e-3)


def test_meaning_weighs_class_against_looks():
    vectors = objects(20)
    same_looks = vectors[:1].repeat(2, axis=0)
    same_looks[:, CLASSES] = np.eye(30)[:2]
    same_class = vectors[:2].copy()
    same_class[:, CLASSES] = np.eye(30)[0]
    by_class, by_looks = [], []
    for meaning in (0, 0.25, 0.5, 0.75, 1):
        projection = Projection.fit([vectors], settings(dim=32), BLOCKS, meaning)
        by_class.append(apart(projection.apply(same_looks))[0, 1])
        by_looks.append(apart(projection.apply(same_class))[0, 1])
    assert by_class == sorted(by_class)
    assert by_looks == sorted(by_looks, reverse=True)
    assert by_class[0] < 1e-4
    assert 0 < by_looks[-1] < 0.1 * by_looks[0]


@pytest.mark.parametrize(("dim", "least"), [(64, 1.15), (32, 0.95), (16, 0.7)])
def test_no_class_comes_to_lie_on_another(dim, least):
    """80 classes of which the library knows only two: PCA would drop the others onto one point."""
    blocks = [{"kind": "form", "width": 20}, {"kind": "class", "width": 80}]
    vectors = np.hstack([library(100), np.eye(80)[np.arange(100) % 2]])
    projection = Projection.fit([vectors], settings(dim=dim), blocks)
    distance = apart(projection.apply(np.hstack([np.zeros((80, 20)), np.eye(80)])))
    assert distance[~np.eye(80, dtype=bool)].min() > least


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


def test_a_recipe_of_another_width_is_refused():
    with pytest.raises(VectorError, match="recipe"):
        Projection.fit([library()], settings(), BLOCKS)


@pytest.mark.parametrize("vectors", [np.zeros((3, 19)), np.zeros(20)])
def test_vectors_of_another_width_are_refused(vectors):
    with pytest.raises(VectorError, match=r"\(n, 20\)"):
        Projection.fit([library()], settings()).apply(vectors)


@METHODS
def test_seed_decides_what_is_random(method):
    first, again, other = (
        Projection.fit([objects()], settings(seed=seed, method=method), BLOCKS).apply(objects())
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_saved_projection_comes_back(tmp_path):
    projection = Projection.fit([objects()], settings(), BLOCKS)
    projection.save(tmp_path)
    loaded = Projection.load(tmp_path, projection.matrix.shape, BLOCKS)
    np.testing.assert_array_equal(loaded.apply(objects()), projection.apply(objects()))


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"\x93NUMPY\x01\x00",
        np.zeros((21, 8), np.float64),
        np.zeros(21, np.float32),
        np.zeros((0, 8), np.float32),
        np.full((21, 8), np.nan, np.float32),
        np.array([{}]),
    ],
    ids=["missing", "empty", "cut off", "other type", "one row", "no rows", "nan", "pickle"],
)
def test_a_damaged_file_is_named(tmp_path, content):
    path = tmp_path / "projection.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content, allow_pickle=True)
    with pytest.raises(DamagedError, match=r"projection\.npy"):
        Projection.load(tmp_path, (20, 8))


def test_a_file_cut_short_is_named(tmp_path):
    Projection.fit([library()], settings()).save(tmp_path)
    path = tmp_path / "projection.npy"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DamagedError, match=r"projection\.npy"):
        Projection.load(tmp_path, (20, 8))
