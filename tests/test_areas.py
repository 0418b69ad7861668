"""Parts of the picture in which objects count, and parts in which they do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from blobs import as_pipeline
from hypothesis import given
from hypothesis import strategies as st
from playing import Given, Watcher

from rtsearch._util.areas import Area, parse_area, written_area
from rtsearch.config import load_settings
from rtsearch.errors import ConfigError
from rtsearch.live import Areas, Controls, Outputs, play
from rtsearch.live.areas import counting
from rtsearch.render.boxes import boxed_frame, share_of
from rtsearch.render.plan import Plan
from rtsearch.types import WHOLE_IMAGE_LABEL, Detections

LEFT = "0,0 0.5,0 0.5,1 0,1"
LIVE = ["show.window_wh=[640,480]", "show.distinct=false", "search.exact=true"]

thousandths = st.integers(0, 1000).map(lambda n: n / 1000)
areas = st.builds(
    Area,
    st.integers(0, 999),
    st.lists(st.tuples(thousandths, thousandths), min_size=3, max_size=64).map(tuple),
)


@given(areas)
def test_what_is_written_is_read_again(area: Area) -> None:
    assert parse_area(written_area(area)) == area


@pytest.mark.parametrize(
    "text", ["", "2", "0,0 1,1", "0,0 1,0 1,1.5", "0,0 1,0 -1,1", "0 0 1 0 1 1", "0,0 1,0 nan,1", "0,0 " * 65]
)
def test_other_texts_are_no_areas(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_area(text)
    with pytest.raises(ConfigError, match=r"live\.masks = .*: expected"):
        load_settings(None, [f"live.masks=['{text}']"])


def test_settings_take_a_list_or_semicolons() -> None:
    listed = load_settings(None, [f"live.regions=['{LEFT}', '2  0,0 1,0 1,1']"]).live
    assert load_settings(None, [f"live.regions={LEFT}; 2 0,0 1,0 1,1"]).live == listed
    assert Areas.of(listed).regions == (parse_area(LEFT), Area(2, ((0, 0), (1, 0), (1, 1))))


def objects(*middles: tuple[float, float], label: int = 0) -> Detections:
    """Objects of 10 x 10 px around the given points."""
    xyxy = np.array([(x - 5, y - 5, x + 5, y + 5) for x, y in middles], np.float32).reshape(-1, 4)
    n = len(xyxy)
    return Detections(xyxy, np.ones(n, np.float32), np.full(n, label, np.int32), np.zeros((n, 2), np.float32))


def kept(areas: Areas, found: Detections, place: int = 0, *, mirrored: bool = False) -> list[float]:
    outlines = areas.outlines(place, mirrored=mirrored)
    return (counting(found, outlines, (100, 100)).xyxy[:, 0] + 5).tolist()


def test_the_middle_of_an_object_decides() -> None:
    found = objects((10, 50), (49, 50), (51, 50), (90, 50))
    left = parse_area(LEFT)
    assert kept(Areas(), found) == [10, 49, 51, 90]
    assert kept(Areas(regions=(left,)), found) == [10, 49]
    assert kept(Areas(masks=(left,)), found) == [51, 90]
    assert kept(Areas(regions=(left,)), found, mirrored=True) == [51, 90]
    assert kept(Areas(regions=(left,), masks=(parse_area("0,0 0.2,0 0.2,1 0,1"),)), found) == [49]


def test_an_area_of_one_source_leaves_the_others_alone() -> None:
    found, second = objects((10, 50), (90, 50)), parse_area(f"2 {LEFT}")
    assert kept(Areas(masks=(second,)), found, place=0) == [10, 90]
    assert kept(Areas(masks=(second,)), found, place=1) == [90]
    assert kept(Areas(regions=(second,)), found, place=0) == [10, 90]


def test_a_whole_image_counts_everywhere() -> None:
    whole = objects((10, 50), label=WHOLE_IMAGE_LABEL)
    assert kept(Areas(masks=(parse_area(LEFT),)), whole) == [10]


@pytest.mark.slow
def test_a_run_shows_and_records_only_what_counts(blob_index, tmp_path: Path) -> None:
    def middles(*settings: str) -> set[bool]:
        chosen = load_settings(None, [*LIVE, *settings])
        watcher = Watcher()
        play(Given([0, 1, 2, 3]), as_pipeline(None), blob_index, chosen, Outputs(screen=watcher))
        boxes = np.concatenate([scene.detections.xyxy for scene in watcher.scenes])
        return set(((boxes[:, 0] + boxes[:, 2]) / 2 <= 80).tolist())

    assert middles() == {True, False}
    assert middles(f"live.regions={LEFT}") == {True}
    assert middles(f"live.masks={LEFT}") == {False}


def test_a_mask_is_darkened_and_outlined(blob_index) -> None:
    def picture(*settings: str) -> np.ndarray:
        watcher = Watcher()
        chosen = load_settings(None, [*LIVE, "show.composition=strips", *settings])
        play(Given([0]), as_pipeline(None), blob_index, chosen, Outputs(screen=watcher))
        assert boxed_frame(watcher.scenes[-1], chosen.show).shape == (120, 160, 3)
        return watcher.pictures[-1]

    plain, masked = picture(), picture("live.masks=0,0 1,0 1,1 0,1")
    framed = picture("live.regions=0,0 1,0 1,1 0,1")
    assert masked.max(2).sum() < plain.max(2).sum()
    assert (framed != plain).any()


def test_corners_become_areas_and_are_taken_back() -> None:
    areas = Areas().with_corner(0, (0, 0)).with_corner(0, (1, 0))
    assert areas.finished(counts=False) is areas  # two are too few
    assert [outline.is_open for outline in areas.outlines(0, mirrored=False)] == [True]
    assert kept(areas, objects((10, 50), (90, 50))) == [10, 90]
    masked = areas.with_corner(0, (0, 1)).finished(counts=False)
    assert masked.masks == (Area(0, ((0, 0), (1, 0), (0, 1))),)
    assert masked.pending is None
    assert areas.with_corner(2, (0.5, 0.5)).pending == Area(2, ((0.5, 0.5),))  # in another source
    both = masked.with_corner(0, (0, 0)).with_corner(0, (1, 0)).with_corner(0, (1, 1)).finished(counts=True)
    assert both.settings() == {"live.regions": ["0,0 1,0 1,1"], "live.masks": ["0,0 1,0 0,1"]}
    assert areas.taken_back().taken_back() == Areas()
    assert both.taken_back() == Areas(both.regions)
    assert both.taken_back().taken_back() == Areas()


def test_places_of_a_picture_are_shares_of_the_frame() -> None:
    beside = Plan((100, 0, 400, 300), (), range(1), (), (0, 0, 0, 0), "over")
    assert share_of((100, 0), beside, (160, 120)) == (0, 0)
    assert share_of((300, 150), beside, (160, 120)) == (0.5, 0.5)
    assert share_of((99, 150), beside, (160, 120)) is None
    assert share_of((300, 300), beside, (160, 120)) is None
    # On a wall the frame fills its place: of 160 x 120 px the middle 80 are seen.
    wall = Plan((0, 0, 200, 300), (), range(1), (), (0, 0, 0, 0), "over", bands=((200, 0, 100, 150),))
    assert share_of((0, 0), wall, (160, 120)) == (0.25, 0)
    assert share_of((100, 150), wall, (160, 120)) == (0.5, 0.5)


@pytest.mark.parametrize("composition", ["strips", "wall"])
def test_clicks_in_set_up_mode_set_corners(blob_index, composition: str) -> None:
    chosen = load_settings(None, [*LIVE, f"show.composition={composition}"])
    controls = Controls(chosen.detect, chosen.show, sets_up=True)
    screen, places = Watcher(), list(range(0, 640, 40))

    def click(_number: int) -> None:
        while screen.pictures and places:
            controls.corner((places.pop(0), 5))

    source = Given([0] * 40, before=click, every_s=0.02)
    play(source, as_pipeline(None), blob_index, chosen, Outputs(screen=screen), controls=controls)
    pending = controls.now.areas.pending
    assert pending is not None
    shares = [x for x, _ in pending.corners]
    assert shares == sorted(shares)
    assert all(0 <= x < 1 and 0 <= y < 0.1 for x, y in pending.corners)
    assert screen.scenes[-1].outlines[-1].is_open
