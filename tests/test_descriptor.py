import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from naive import roi_mean

from rtsearch.models.spec import ModelSpec, Tap
from rtsearch.perception.colour_histogram import colour_histograms
from rtsearch.perception.descriptor import Describer
from rtsearch.perception.roi_pooling import roi_means

WH = (64, 48)
TAPS = (Tap("tap0", "deep8", 8, 5), Tap("tap1", "deep16", 16, 7))
PICTURE = np.zeros((96, 128, 3), np.uint8)


def spec(taps=TAPS):
    return ModelSpec(
        name="tiny",
        family="test",
        licence="unknown",
        licence_url="",
        source_sha256="",
        recipe=1,
        classes=("cat", "dog", "cup"),
        needs_nms=False,
        pixel_order="rgb",
        pixel_scale=1 / 255,
        pad_value=114,
        input_wh=WH,
        flexible=False,
        multiple=32,
        batch=None,
        taps=taps,
    )


def found(boxes, seed=0):
    rng = np.random.default_rng(seed)
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    return SimpleNamespace(
        xyxy=boxes * 2,
        logits=rng.normal(-6, 3, (len(boxes), 3)).astype(np.float32),
        whole=np.zeros(len(boxes), bool),
        maps=tuple(
            rng.normal(size=(tap.channels, WH[1] // tap.stride, WH[0] // tap.stride)).astype(np.float32)
            for tap in TAPS
        ),
        input_xyxy=boxes,
        input_wh=WH,
    )


@pytest.mark.parametrize(
    "boxes",
    [
        pytest.param([], id="none"),
        pytest.param([[8, 8, 24, 40]], id="whole cells"),
        pytest.param([[3, 5, 31, 33], [0, 0, 64, 48]], id="parts of cells"),
        pytest.param([[20, 20, 21, 21]], id="one pixel"),
        pytest.param([[20, 20, 20, 20], [64, 48, 64, 48], [0, 0, 0, 0]], id="zero area"),
        pytest.param([[30, 20, 20, 10]], id="inside out"),
        pytest.param([[-20, -30, 10, 10], [60, 40, 90, 99]], id="over the edge"),
        pytest.param([[-50, -50, -40, -40], [200, 200, 300, 300]], id="outside"),
    ],
)
def test_means_agree_with_the_obvious_way(boxes):
    objects = found(boxes)
    for tap_map in objects.maps:
        means = roi_means(tap_map, objects.input_xyxy, WH)
        expected = [roi_mean(tap_map, box, WH, 0.5) for box in objects.input_xyxy]
        assert means.dtype == np.float32
        np.testing.assert_allclose(means, np.reshape(expected, means.shape), rtol=1e-4, atol=1e-5)


@given(st.lists(st.tuples(*[st.floats(-100, 200, width=32)] * 4), max_size=5))
def test_every_number_is_finite_for_any_box(boxes):
    describer = Describer(spec())
    vectors = describer.describe(PICTURE, found(boxes))
    assert vectors.shape == (len(boxes), describer.dim)
    assert np.isfinite(vectors).all()


@pytest.mark.parametrize("value", [0.0, 1e30, np.nan, np.inf])
def test_constant_and_broken_maps_give_finite_vectors(value):
    objects = found([[8, 8, 24, 40]])
    objects.maps = tuple(np.full_like(tap_map, value) for tap_map in objects.maps)
    assert np.isfinite(Describer(spec()).describe(PICTURE, objects).astype(np.float16)).all()


def test_an_object_is_described_alike_whoever_is_beside_it():
    boxes = [[3, 5, 31, 33], [0, 0, 64, 48], [40, 2, 63, 47]]
    together = found(boxes)
    describer = Describer(spec())
    vectors = describer.describe(PICTURE, together)
    for i in range(len(boxes)):
        alone = SimpleNamespace(
            **{
                **vars(together),
                "xyxy": together.xyxy[i : i + 1],
                "logits": together.logits[i : i + 1],
                "whole": together.whole[i : i + 1],
                "input_xyxy": together.input_xyxy[i : i + 1],
            }
        )
        np.testing.assert_allclose(describer.describe(PICTURE, alone)[0], vectors[i], rtol=1e-3, atol=1e-4)


def test_without_taps_says_so_and_falls_back_to_class_and_colour(caplog):
    describer = Describer(spec(taps=()))
    assert "no taps" in caplog.text
    objects = found([[8, 8, 24, 40]])
    objects.maps = ()
    vector = describer.describe(PICTURE, objects)[0]
    np.testing.assert_allclose(vector[:-3], colour_histograms(PICTURE, objects.xyxy)[0])
    np.testing.assert_allclose(vector[-3:], np.sqrt(1 / (1 + np.exp(-objects.logits[0]))), rtol=1e-5)


def test_form_blocks_have_unit_length():
    vector = Describer(spec()).describe(PICTURE, found([[8, 8, 24, 40]]))[0]
    np.testing.assert_allclose([np.linalg.norm(vector[:5]), np.linalg.norm(vector[5:12])], 1, rtol=1e-5)


def test_a_whole_image_has_no_class():
    objects = found([[0, 0, 64, 48], [8, 8, 24, 40]])
    objects.whole[0] = True
    vectors = Describer(spec()).describe(PICTURE, objects)
    assert not vectors[0, -3:].any()
    assert vectors[1, -3:].any()


@pytest.mark.parametrize("logit", [-1e4, -100.0, 0.0, 100.0, 1e4])
def test_extreme_scores_stay_probabilities(logit):
    objects = found([[8, 8, 24, 40]])
    objects.logits[:] = logit
    assert 0 <= Describer(spec()).describe(PICTURE, objects)[0, -1] <= 1


def test_recipe_is_json_and_tells_the_layout_apart():
    recipe = Describer(spec()).recipe
    assert json.loads(json.dumps(recipe)) == recipe
    assert sum(block["width"] for block in recipe["blocks"]) == Describer(spec()).dim
    other = spec(taps=(dataclasses.replace(TAPS[0], channels=9),))
    assert Describer(other).recipe != recipe
