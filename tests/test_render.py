"""The picture, part by part: frame, boxes, labels, strips, notes, and what does not fit."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rtsearch.config import Settings
from rtsearch.render import boxes as boxes_module
from rtsearch.render.boxes import boxed_frame
from rtsearch.render.layout import COLOUR_PX, Canvas, lay_out
from rtsearch.render.painter import compose
from rtsearch.render.text import text_wh
from rtsearch.render.theme import DARK, object_colour
from rtsearch.types import Detections, Frame, Neighbours, Scene

GROUND = DARK.ground
WINDOW = (600, 456)  # four strips leave 200 px to the frame, and one of 300 px stands on the left
HEADER = 200
THUMB = 60
LEFT = 136  # of the crops
TOP = 204  # of the first strip
CANVAS = Canvas(WINDOW, HEADER, THUMB, results=16)
FRAME = (60, 50, 40)


def scene(boxes=(), *, names=(), scores=(), thumbs=(), notes=(), frame_wh=(300, 200), rows=4):
    """Objects in a frame of one colour; what is not given is made up, crops such as nobody sees."""
    n = len(boxes)
    found = Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores or [0.5] * n, np.float32),
        np.zeros(n, np.int32),
        np.zeros((n, 0), np.float32),
    )
    none = Neighbours(np.zeros((n, 0), np.int32), np.zeros((n, 0), np.float32))
    bgr = np.full((frame_wh[1], frame_wh[0], 3), FRAME, np.uint8)
    names, thumbs = tuple(names) or ("cup",) * n, tuple(thumbs) or ((crop(90, GROUND),),) * n
    return Scene(Frame(0, 0.0, None, bgr), found, names, none, THUMB, thumbs, tuple(notes), rows=rows)


def crop(width, colour):
    return np.full((THUMB, width, 3), colour, np.uint8)


def colour_at(picture, x, y):
    return tuple(int(v) for v in picture[y, x])


def boxes_for(n):
    return [[5 + i, 50, 60 + i, 150] for i in range(n)]


# A frame of its own -----------------------------------------------------------------------------------------


def test_a_frame_at_its_own_size_has_boxes_and_the_numbers_of_tracks():
    show = Settings().show
    bare = scene([[100, 80, 400, 300]], frame_wh=(640, 360))
    tracks = [np.array([number]) for number in (0, 7, 8)]
    scenes = [
        dataclasses.replace(bare, detections=dataclasses.replace(bare.detections, track=track))
        for track in tracks
    ]
    unnumbered, seven, eight = (boxed_frame(one, show) for one in scenes)
    assert seven.shape == bare.frame.bgr.shape
    assert (bare.frame.bgr == FRAME).all()
    assert colour_at(seven, 100, 200) == object_colour(0)
    assert (seven[310:] == FRAME).all()
    rows, columns = np.nonzero((seven != eight).any(2))
    assert rows.max() < 80  # the label stands above the box
    assert columns.max() < 120  # and begins with the number
    assert (unnumbered[60:80] != seven[60:80]).any()
    silent = boxed_frame(scenes[1], show.model_copy(update={"text": "none"}))
    assert (silent[:79] == FRAME).all()


# Header ----------------------------------------------------------------------------------------------------


def test_a_frame_without_objects():
    picture = compose(scene(), CANVAS)
    assert picture.shape == (456, 600, 3)
    assert (picture[:200, :300] == FRAME).all()
    assert (picture[:200, 300:] == GROUND).all()
    assert (picture[200:] == GROUND).all()


@pytest.mark.parametrize(
    ("frame_wh", "shown_wh"),
    [
        ((300, 200), (300, 200)),
        ((1280, 720), (356, 200)),
        ((30, 20), (300, 200)),
        ((200, 400), (228, 456)),  # beside the strips
        ((6000, 400), (600, 40)),
        ((5000, 1), (600, 1)),
        ((1, 5000), (1, 456)),
    ],
)
def test_the_frame_is_scaled_not_squashed_and_never_cut(frame_wh, shown_wh):
    picture = compose(scene(frame_wh=frame_wh), dataclasses.replace(CANVAS, text="names"))
    rows, columns = np.nonzero((picture == FRAME).all(2))
    assert (columns.max() - columns.min() + 1, rows.max() - rows.min() + 1) == shown_wh
    assert len(rows) == shown_wh[0] * shown_wh[1]


def test_boxes_have_the_colour_of_their_strip_and_scale_with_the_frame():
    boxes = [[100, 100, 200, 200], [400, 200, 500, 380]]
    picture = compose(scene(boxes, frame_wh=(600, 400)), CANVAS)
    for i, (x1, y1, x2, y2) in enumerate(np.array(boxes) // 2):
        assert colour_at(picture, x1, (y1 + y2) // 2) == object_colour(i)
        assert colour_at(picture, x2 - 1, (y1 + y2) // 2) == object_colour(i)
        assert colour_at(picture, (x1 + x2) // 2, y2 - 1) == object_colour(i)
        assert colour_at(picture, (x1 + x2) // 2, (y1 + y2) // 2) == FRAME
        assert colour_at(picture, 2, TOP + i * (THUMB + 4) + 5) == object_colour(i)


def test_the_label_stands_on_its_box_in_its_colour():
    picture = compose(scene([[50, 100, 150, 180]], names=["cup"], scores=[0.87]), CANVAS)
    width, height = text_wh("cup: 0.87", 13)
    patch = picture[100 - height : 100, 50 : 50 + width + 6]
    assert (patch[0] == object_colour(0)).all()
    assert patch.min() < 60  # letters
    other = compose(scene([[50, 100, 150, 180]], names=["cup"], scores=[0.88]), CANVAS)
    assert (other[100 - height : 100] != picture[100 - height : 100]).any()


def test_labels_do_not_cover_each_other():
    boxes = [[0, 0, 300, 200], [4, 2, 290, 190], [8, 4, 280, 180]]
    picture = compose(scene(boxes, names=["whole image", "table", "cup"]), CANVAS)
    height = text_wh("x", 13)[1]
    for i, name in enumerate(["whole image", "table", "cup"]):
        patch = (picture[:HEADER, :300] == object_colour(i)).all(2)
        widths = [text_wh(f"{name}: 0.50", 13)[0] + 6]
        full_rows = [y for y in range(HEADER) if patch[y, :130].sum() >= widths[0] * 0.95]
        assert full_rows, name
    assert height * 3 < HEADER


def labels_in(picture, x=40):
    """Rows of the frame's part of a picture that labels cover there."""
    covered = (picture[:HEADER, x] != FRAME).any(axis=1)
    return int(covered[1:-1].sum())


def test_of_many_labels_in_one_place_only_some_are_shown():
    picture = compose(scene([[0, 0, 300, 200]] * 40), CANVAS)
    assert labels_in(picture) == pytest.approx(4 * text_wh("x", 13)[1], abs=2)
    assert (picture[5:195, 100:295] == FRAME).all()


def test_a_label_stays_with_its_box():
    """The second one's would have to stand below a box that is as low as itself: it is left out."""
    boxes = [[20, 60, 120, 150], [22, 62, 110, 68]]
    one, two = (compose(scene(boxes[:n]), CANVAS) for n in (1, 2))
    outside = (one != two).any(2)[:HEADER, :300]
    outside[62:68, 22:110] = False
    assert outside[:60].sum() == 0
    assert outside[60:].sum() <= 120 * text_wh("x", 13)[1]


@pytest.mark.parametrize(("score", "line_px"), [(0.05, 1), (0.24, 1), (0.25, 2), (0.9, 2)])
def test_boxes_of_weak_objects_are_thin(score, line_px):
    canvas = Canvas((1280, 720), 300, THUMB, results=16)
    picture = compose(scene([[100, 50, 200, 150]], scores=[score], frame_wh=(640, 360), rows=4), canvas)
    x, y, width, height = lay_out(canvas, (640, 360), 4).frame
    assert height >= 240
    row = picture[y + height * 120 // 360, x : x + width]
    assert (row == object_colour(0)).all(1).sum() in (2 * line_px, 2 * line_px + 2)  # both sides


def test_weak_objects_have_a_label_only_where_there_is_room():
    boxes = [[0, 50, 150, 190], [0, 52, 140, 185]]
    for score, labels in ((0.3, 2), (0.2, 1)):
        picture = compose(scene(boxes, scores=[0.9, score]), CANVAS)
        assert labels_in(picture) // text_wh("x", 13)[1] == labels
    apart = [[0, 50, 90, 190], [160, 50, 250, 185]]
    picture = compose(scene(apart, scores=[0.9, 0.2]), CANVAS)
    assert labels_in(picture) // text_wh("x", 13)[1] == labels_in(picture, 200) // text_wh("x", 13)[1] == 1


def test_what_has_its_strip_in_backend_is_labelled_first():
    boxes = [[0, 20 + i, 150, 40] for i in range(8)]
    for first in (0, 4):
        there = dataclasses.replace(scene(boxes, rows=8), first=first)
        picture = compose(there, CANVAS)
        height = text_wh("x", 13)[1]
        assert tuple(picture[20 + first - height, 3]) == object_colour(first)


@given(
    st.lists(
        st.tuples(st.integers(0, 280), st.integers(0, 180), st.integers(5, 200), st.integers(5, 200)),
        max_size=30,
    )
)
def test_no_label_covers_another(places):
    boxes = [[x, y, min(300, x + w), min(200, y + h)] for x, y, w, h in places]
    taken: list[tuple[int, int, int, int]] = []
    view = np.zeros((200, 300, 3), np.uint8)
    for box in boxes:
        before = len(taken)
        boxes_module._tag(view, box, np.full((14, 60, 3), 255, np.uint8), taken, 3)
        for x1, y1, x2, y2 in taken[before:]:
            assert 0 <= x1 < x2 <= 300
            assert 0 <= y1 < y2 <= 200
            assert y1 <= max(box[3], 186) or y1 == 0
            for other in taken[:before]:
                assert x2 <= other[0] or other[2] <= x1 or y2 <= other[1] or other[3] <= y1


@given(
    st.lists(
        st.lists(st.floats(-2000, 4000, width=32), min_size=4, max_size=4).map(
            lambda v: [*sorted(v[:2]), *sorted(v[2:])]
        ),
        max_size=4,
    ),
    st.integers(1, 2000),
    st.integers(1, 2000),
    st.integers(320, 700),
    st.integers(240, 600),
    st.integers(100, 480),
)
@example([[0.0, 0.0, 0.0, 0.0]], 1, 2, 320, 240, 100)  # a label was wider than the room beside the frame
def test_any_frame_in_any_window(rows, frame_w, frame_h, width, height, header):
    boxes = [[x1, y1, x2, y2] for x1, x2, y1, y2 in rows]
    canvas = Canvas((width, height), header, THUMB, 16, scale=1 + header % 3 / 2)
    picture = compose(scene(boxes, frame_wh=(frame_w, frame_h), notes=("a",), rows=-1), canvas)
    assert picture.shape == (height, width, 3)
    assert picture.dtype == np.uint8


# Strips ----------------------------------------------------------------------------------------------------


def test_crops_stand_side_by_side_in_order():
    thumbs = [[crop(40, (1, 2, 3)), crop(70, (4, 5, 6)), None, crop(30, (7, 8, 9))]]
    strip = compose(scene(boxes_for(1), thumbs=thumbs), CANVAS)[TOP : TOP + THUMB]
    left = LEFT
    for width, colour in ((40, (1, 2, 3)), (70, (4, 5, 6)), (60, (34, 63, 86)), (30, (7, 8, 9))):
        assert (strip[:, left : left + width] == colour).all()
        assert (strip[:, left + width : left + width + 4] == GROUND).all()
        left += width + 4
    assert (strip[:, left:] == GROUND).all()


def test_crops_are_scaled_down_to_end_at_the_edge_and_none_is_cut():
    widths = (90, 70, 110, 80, 150, 60, 90)
    thumbs = [[crop(width, (i, i, i)) for i, width in zip(range(100, 240, 20), widths, strict=True)]]
    strip = compose(scene(boxes_for(1), thumbs=thumbs), CANVAS)[TOP : TOP + THUMB]
    seen = [value for value in dict.fromkeys(strip[THUMB // 2, LEFT:, 0].tolist()) if value != GROUND[0]]
    assert seen == list(range(100, 100 + 20 * len(seen), 20))
    assert (strip[THUMB // 2, 597:] == seen[-1]).all()
    shown = [int((strip[THUMB // 2, :, 0] == value).sum()) for value in seen]
    heights = [int((strip[:, :, 0] == value).any(1).sum()) for value in seen]
    assert len(set(heights)) == 1
    for width, wide in zip(widths, shown, strict=False):
        assert wide == pytest.approx(width * heights[0] / THUMB, abs=1.5)


def test_the_strip_names_its_object():
    picture = compose(scene(boxes_for(2), names=["cup", "dining table"]), CANVAS)
    first, second = (picture[y : y + height, :LEFT] for _, y, _, height in places(4)[:2])
    assert (first[:, :4] == object_colour(0)).all()
    assert (second[:, :4] == object_colour(1)).all()
    assert first[:, 4:].max() > 200
    assert (first[:, 4:] != second[:, 4:]).any()


def places(strips, frame_wh=(300, 200)):
    return lay_out(CANVAS, frame_wh, strips).strips


@pytest.mark.parametrize("name", ["a very long name of a class that fits nowhere", "Kaffeemühle", ""])
def test_names_of_any_kind_stay_in_their_cell(name):
    picture = compose(scene(boxes_for(1), names=[name]), CANVAS)
    assert (picture[TOP : TOP + THUMB, LEFT - 4 :] == GROUND).all()


def test_letters_beyond_ascii_are_drawn_as_they_are():
    plain = compose(scene(boxes_for(1), names=["Kaffeemuhle"]), CANVAS)
    accented = compose(scene(boxes_for(1), names=["Kaffeemühle"]), CANVAS)
    assert (plain[TOP : TOP + THUMB, :LEFT] != accented[TOP : TOP + THUMB, :LEFT]).any()


# Notes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "told"),
    [
        (0, ["+ 3 more objects below"]),
        (1, ["+ 1 more object above", "+ 2 more objects below"]),
        (3, ["+ 3 more objects above"]),
    ],
)
def test_strips_that_do_not_fit_are_counted_not_drawn(first, told):
    seven = dataclasses.replace(scene(boxes_for(7), notes=["clip.mp4"]), first=first)
    four = scene(boxes_for(4), notes=["clip.mp4", *told])
    counted, shown = compose(seven, CANVAS), compose(four, CANVAS)
    np.testing.assert_array_equal(counted[:200, 300:], shown[:200, 300:])
    for place, (_, top, *_) in enumerate(places(7)):
        assert (counted[top : top + THUMB, :4] == object_colour(first + place)).all()


def test_a_strip_continues_in_the_free_ones_below_it():
    thumbs = [[crop(90, (i, i, i)) for i in range(100, 200, 5)]] * 2
    told = scene(boxes_for(2), thumbs=thumbs)
    picture = compose(dataclasses.replace(told, strips=(0, 2)), CANVAS)
    lines = [picture[y + THUMB // 2, LEFT:, 0].tolist() for _, y, *_ in places(4)]
    seen = [[value for value in dict.fromkeys(line) if value != GROUND[0]] for line in lines]
    assert seen[0] == seen[2] == list(range(100, 100 + 5 * len(seen[0]), 5))
    assert seen[1] == seen[3] == list(range(seen[0][-1] + 5, seen[0][-1] + 5 + 5 * len(seen[1]), 5))
    assert (picture[places(4)[1][1] :][:THUMB, :132] == GROUND).all()  # one name for both lines


def test_crops_of_another_height_are_scaled_until_the_right_ones_are_there():
    thumbs = [[np.full((THUMB // 2, 40, 3), 200, np.uint8)]]
    strip = compose(scene(boxes_for(1), thumbs=thumbs), CANVAS)[TOP : TOP + THUMB]
    assert (strip[:, LEFT : LEFT + 80] == 200).all()
    assert (strip[:, LEFT + 80 :] == GROUND).all()


@pytest.mark.parametrize("width", [40, 80])
def test_a_crop_of_another_shape_than_its_place_is_shown_whole(width):
    told = scene(boxes_for(1), thumbs=[[crop(width, (0, 200, 0)), crop(50, (0, 0, 200))]])
    there = compose(dataclasses.replace(told, shapes=((1.0, 50 / 60),)), CANVAS)[TOP : TOP + THUMB]
    high = min(THUMB, THUMB * THUMB // width)
    assert (there == (0, 200, 0)).all(2).sum() == min(width, THUMB) * high
    assert (there[:, LEFT + 64 : LEFT + 114] == (0, 0, 200)).all()


@pytest.mark.parametrize(
    ("frame_wh", "where"), [((300, 200), "beside"), ((640, 100), "below"), ((900, 430), "over")]
)
def test_notes_are_told_wherever_the_frame_leaves_room(frame_wh, where):
    layout = lay_out(CANVAS, frame_wh, 4 if where == "beside" else 0)
    assert layout.notes_are == where
    rows = 4 if where == "beside" else 0
    plain, noted = (
        compose(scene(notes=n, frame_wh=frame_wh, rows=rows), CANVAS) for n in ((), ("clip.mp4", "30"))
    )
    x, y, width, height = layout.notes
    changed = (plain != noted).any(2)
    assert changed[y : y + height, x : x + width].any()
    changed[y : y + height, x : x + width] = False
    assert not changed.any()


def test_notes_stand_beside_the_frame_one_below_the_other():
    def panel(*notes):
        return compose(scene(notes=notes), CANVAS)[:200, 300:]

    one, two = panel("clip.mp4"), panel("clip.mp4", "30 frames/s")
    line_px = text_wh("x", 14)[1] + 4
    written = [np.flatnonzero((panel != GROUND).any(axis=(1, 2))) for panel in (one, two)]
    assert written[0][0] - line_px == written[1][0]
    first = slice(written[0][0], written[0][-1] + 1)
    np.testing.assert_array_equal(one[first], two[first.start - line_px : first.stop - line_px])
    assert written[1][-1] < 198


@pytest.mark.parametrize(("frame_wh", "count"), [((600, 200), 3), ((300, 200), 60)])
def test_notes_that_do_not_fit_are_left_out(frame_wh, count):
    picture = compose(scene(notes=["a long line of text " * 9] * count, frame_wh=frame_wh), CANVAS)
    assert (picture[200:] == GROUND).all()
    assert (picture[:170, :300] == FRAME).sum() >= 170 * 280 * 3


def test_all_text_is_in_the_font_of_the_canvas():
    file = Path(cv2.__file__).parent / "qt" / "fonts" / "DejaVuSans-Bold.ttf"
    if not file.is_file():
        pytest.skip("this OpenCV brings no fonts")
    told = scene([[50, 100, 150, 180]], names=["cup"], notes=["clip.mp4"])
    plain, own = (compose(told, dataclasses.replace(CANVAS, font=font)) for font in ("", str(file)))
    changed = (plain != own).any(2)
    assert changed[80:100, 50:120].any()  # the label of the box
    assert changed[150:HEADER, 300:].any()  # the notes
    assert changed[HEADER:, :132].any()  # the label of the strip
    assert not changed[HEADER:, 132:].any()


def test_without_text_there_are_boxes_and_crops_only():
    cup = [50, 100, 150, 180]
    told = scene([cup], thumbs=[[crop(90, (0, 0, 200))]], notes=["clip.mp4"], frame_wh=(600, 200), rows=1)
    canvas = dataclasses.replace(CANVAS, text="none")
    picture = compose(told, canvas)
    layout = lay_out(canvas, (600, 200), 1)
    assert layout.label_width == canvas.px(COLOUR_PX)
    assert layout.frame[3] == 200
    colours = {object_colour(0), FRAME, GROUND, (0, 0, 200)}
    assert {tuple(map(int, pixel)) for pixel in np.unique(picture.reshape(-1, 3), axis=0)} <= colours
    assert colour_at(picture, cup[0], 120) == object_colour(0)
    assert colour_at(picture, 3, layout.strips[0][1] + 5) == object_colour(0)


def test_with_names_only_nothing_is_told_of_the_run_or_of_scores():
    canvas = dataclasses.replace(CANVAS, text="names")
    one, two = (
        compose(scene([[50, 100, 150, 180]], scores=[score], notes=notes), canvas)
        for score, notes in ((0.5, ["clip.mp4"]), (0.9, []))
    )
    np.testing.assert_array_equal(one, two)
    other = compose(scene([[50, 100, 150, 180]], names=["dog"]), canvas)
    assert (one != other)[:HEADER].any()  # the box
    assert (one != other)[HEADER:, :132].any()  # the strip
