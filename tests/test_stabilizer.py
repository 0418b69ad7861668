"""Neighbours that stay: never worse than stated, and never kept without proof; against brute force."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtsearch.config import SearchSettings
from rtsearch.live.neighbour_hysteresis import CLEARLY, DISORDER, POOL_FRAMES, Candidates, Room, Shown
from rtsearch.live.stabilizer import Stabilizer
from rtsearch.types import Detections, F32Array, Frame, I32Array, Neighbours

DIM, K = 6, 5
EXACT = SearchSettings(exact=True)
BLACK = np.zeros((90, 1600, 3), np.uint8)


@dataclasses.dataclass(frozen=True)
class Place:
    """Room for ``crops`` of each object in a grid of ``strips``."""

    crops: int = K
    strips: int = 6

    @property
    def grid(self) -> tuple[int, int]:
        return self.strips, self.strips

    @property
    def most_crops(self) -> int:
        return self.crops

    @property
    def stays_s(self) -> float:
        return 0.0

    @property
    def still(self) -> int:
        return self.strips

    def importance(self, found: Detections) -> F32Array:
        return np.ones(len(found), np.float32)

    def ground(self, found: Detections) -> F32Array:
        return np.ones(len(found), np.float32)

    def room(self, grid: int, lines: int, most_distance: float) -> Room:
        return Room(self.crops, distance=most_distance)


HERE = Place()


class Rows:
    """An index by brute force; so many rows in turn are of one photo."""

    def __init__(self, n: int, seed: int = 0, of_a_photo: int = 1) -> None:
        self.vectors: F32Array = np.random.default_rng(seed).standard_normal((n, DIM)).astype(np.float32)
        self.searches = 0
        self.of_a_photo = of_a_photo

    def near(self, points: F32Array, k: int, /, *, exact: bool = True, recall: float = 1) -> Neighbours:
        self.searches += len(points)
        row = np.full((len(points), k), -1, np.int32)
        distance = np.full((len(points), k), np.inf, np.float32)
        for i, point in enumerate(points):
            far = np.sqrt(((self.vectors - point) ** 2).sum(1))
            best = np.argsort(far, kind="stable")[:k]
            row[i, : len(best)], distance[i, : len(best)] = best, far[best]
        return Neighbours(row, distance)

    def points(self, rows: I32Array, /) -> F32Array:
        return self.vectors[rows]

    def photos_of(self, rows: I32Array, /) -> I32Array:
        return (rows // self.of_a_photo).astype(np.int32)

    def shapes(self, rows: I32Array, /) -> F32Array:
        return np.ones(len(rows), np.float32)

    def candidates(self, query: F32Array, k: int) -> Candidates:
        near = self.near(query[None], k)
        rows = near.row[0][near.row[0] >= 0]
        radius = float(near.distance[0, -1])
        return Candidates(rows, self.vectors[rows], radius, self.photos_of(rows), self.shapes(rows))


def found(n: int = 1, left: float = 0) -> Detections:
    xyxy = np.array([[left + 100 * i, 0, left + 100 * i + 50, 50] for i in range(n)], np.float32).reshape(
        -1, 4
    )
    return Detections(xyxy, np.full(n, 0.5, np.float32), np.zeros(n, np.int32), np.zeros((n, 3), np.float32))


def at(found: Detections, points: F32Array) -> Detections:
    """The same objects, lying at (n, DIM) points of the searched space."""
    return dataclasses.replace(found, vector=points)


def walk(steps: int, step: float, seed: int) -> F32Array:
    rng = np.random.default_rng(seed)
    walked: F32Array = np.cumsum(rng.normal(0, step, (steps, DIM)), axis=0).astype(np.float32)
    return walked


def test_a_frame_without_objects() -> None:
    steady = Stabilizer(Rows(50), EXACT)
    seen = steady.update(Frame(0, 0.0, None, BLACK), at(found(0), np.zeros((0, DIM), np.float32)), HERE)
    assert (len(seen.detections), seen.neighbours.row.shape, seen.strips) == (0, (0, 0), ())
    assert (steady.asked, steady.searched) == (0, 0)


@pytest.mark.parametrize("n", [1, 3, 5, 20, 500])
@pytest.mark.parametrize("step", [0.0, 0.003, 0.05, 1.0])
def test_what_is_shown_is_within_the_bound_of_the_true_neighbours(n: int, step: float) -> None:
    index, shown = Rows(n), Shown(DIM)
    k = min(K, n)
    for point in walk(60, step, 3):
        query = shown.look(point, 0, K)
        if query is not None:
            shown.renew(index.candidates(query, 4 * K))
        shown.settle(Room(K))
        true = index.near(shown.query[None], k).distance[0]
        np.testing.assert_allclose(
            shown.distance, np.linalg.norm(index.vectors[shown.row] - shown.query, axis=1), atol=1e-5
        )
        assert len(set(shown.row.tolist())) == k
        assert (np.sort(shown.distance) <= CLEARLY * true + 1e-5).all()
        assert (
            shown.distance[:-1] <= DISORDER * np.minimum.accumulate(shown.distance[::-1])[::-1][1:] + 1e-5
        ).all()


@settings(max_examples=60)
@given(st.integers(0, 1000), st.sampled_from([0.001, 0.01, 0.05, 0.2]), st.sampled_from([4, 19, 20, 21, 300]))
def test_a_search_is_left_out_only_where_the_answer_is_proved(seed: int, step: float, n: int) -> None:
    index, shown = Rows(n, seed), Shown(DIM)
    for point in walk(30, step, seed):
        query = shown.look(point, 0, K)
        if query is None:  # then the true neighbours are among those of the last search
            true = set(index.near(shown.query[None], K).row[0].tolist()) - {-1}
            assert true <= set(shown._near.row.tolist())
        else:
            shown.renew(index.candidates(query, 4 * K))
        shown.settle(Room(K))


def test_few_searches_are_needed_for_an_object_that_changes_little() -> None:
    steady = Stabilizer(Rows(2000), EXACT)
    for t, point in enumerate(walk(100, 0.01, 1)):
        steady.update(Frame(t, 0.0, None, BLACK), at(found(), point[None]), HERE)
    assert steady.asked == 100
    assert steady.searched <= 20


def test_noise_changes_what_is_shown_far_less_than_the_bare_search() -> None:
    index, rng = Rows(2000), np.random.default_rng(5)
    steady = Stabilizer(index, EXACT)
    kept, bare = [], []
    for t in range(80):
        point = rng.normal(0, 0.08, (1, DIM)).astype(np.float32)
        seen = steady.update(Frame(t, 0.0, None, BLACK), at(found(), point), HERE)
        kept.append(seen.neighbours.row[0])
        bare.append(index.near(point, K).row[0])
    settled = POOL_FRAMES
    changed_kept = np.mean([a != b for a, b in zip(kept[settled:], kept[settled + 1 :], strict=False)])
    changed_bare = np.mean([a != b for a, b in zip(bare[settled:], bare[settled + 1 :], strict=False)])
    assert changed_kept * 5 <= changed_bare


def opposite(index: Rows) -> tuple[F32Array, F32Array]:
    """(1, DIM) each: two rows that lie far apart."""
    far = np.abs(index.vectors - index.vectors[0]).sum(1).argmax()
    return index.vectors[:1], index.vectors[far][None]


def of_class(label: int) -> Detections:
    return dataclasses.replace(found(), label=np.array([label], np.int32))


def test_another_object_in_the_same_place_is_not_pooled_with_the_last() -> None:
    index = Rows(500)
    steady = Stabilizer(index, EXACT)
    here, there = opposite(index)
    for t in range(12):
        point = here if t < 10 else there
        seen = steady.update(Frame(t, 0.0, None, BLACK), at(found(), point), HERE)
    assert np.sort(seen.neighbours.distance[0]) == pytest.approx(index.near(there, K).distance[0], abs=1e-5)


@pytest.mark.parametrize(("label", "far"), [(1, True), (1, False), (0, True)])
def test_what_a_single_frame_says_changes_nothing(label: int, far: bool) -> None:
    """A person who is a bird for a moment stays among people."""
    index = Rows(500)
    steady = Stabilizer(index, EXACT)
    here, there = opposite(index)
    other = there if far else here + np.float32(0.3)
    rows = []
    for t in range(30):
        odd = t >= 10 and t % 2 == 0
        objects = at(of_class(label if odd else 0), other if odd else here)
        rows.append(steady.update(Frame(t, 0.0, None, BLACK), objects, HERE).neighbours.row[0].tolist())
    assert rows[9:] == [rows[9]] * 21


def test_crops_follow_the_word_where_vectors_cannot_tell() -> None:
    """Two frames say nothing; when the word of a track changes, it is another thing in the next frame."""
    index = Rows(500)
    steady = Stabilizer(index, EXACT)
    here = index.vectors[:1]
    there = here + np.float32(0.3)
    words = []
    for t in range(25):
        is_other = 8 <= t < 10 or t >= 14
        objects = at(of_class(int(is_other)), there if is_other else here)
        seen = steady.update(Frame(t, 0.0, None, BLACK), objects, HERE)
        words.append(int(seen.detections.label[0]))
        changed = words[-2:] == [1, 1]
        query = steady.query_of(int(seen.detections.track[0]))
        assert query == pytest.approx((there if changed else here)[0], abs=1e-5)
    assert words == sorted(words)
    assert 14 < words.index(1) < 23


def test_photos_have_nothing_to_do_with_each_other() -> None:
    index = Rows(500)
    steady = Stabilizer(index, EXACT)
    for t in range(6):
        point = index.vectors[t : t + 1] + np.float32(0.01)
        seen = steady.update(
            Frame(t, 0.0, None, BLACK, f"{t}.jpg"), at(found(2), np.repeat(point, 2, 0)), HERE
        )
        both = seen.neighbours.row.ravel().tolist()
        assert both == index.near(point, 2 * K).row[0].tolist()  # none twice
        assert seen.strips == (0, 1)
        assert not seen.held


def test_an_object_that_is_missed_keeps_its_strip_and_neighbours() -> None:
    index = Rows(500)
    steady = Stabilizer(index, EXACT)
    for t in range(10):
        before = steady.update(Frame(t, 0.0, None, BLACK), at(found(2, 5 * t), index.vectors[:2]), HERE)
    only_second = Detections(
        *(getattr(found(2, 50), name)[1:] for name in ("xyxy", "score", "label", "vector"))
    )
    seen = steady.update(Frame(10, 0.0, None, BLACK), at(only_second, index.vectors[1:2]), HERE)
    assert seen.strips == (1, 0)
    assert seen.held == {1}
    assert seen.neighbours.row[::-1].tolist() == before.neighbours.row.tolist()
    assert seen.detections.xyxy[1, 0] == pytest.approx(50, abs=10)
    for t in range(11, 40):
        seen = steady.update(Frame(t, 0.0, None, BLACK), at(only_second, index.vectors[1:2]), HERE)
    assert seen.strips == (1,)
    assert not seen.held


def test_the_number_of_results_may_change() -> None:
    index = Rows(500)
    steady = Stabilizer(index, EXACT)
    for t, k in enumerate([5, 9, 30, 5]):
        seen = steady.update(Frame(t, 0.0, None, BLACK), at(found(), index.vectors[:1]), Place(k))
        assert set(seen.neighbours.row[0]) == set(index.near(index.vectors[:1], k).row[0])
    none = at(found(0), np.zeros((0, DIM), np.float32))
    for t, k in enumerate([3, 9, 1]):  # while it is missed, it shows what it showed
        missed = steady.update(Frame(4 + t, 0.0, None, BLACK), none, Place(k))
        assert missed.held == {0}
        assert missed.neighbours.row.tolist() == seen.neighbours.row.tolist()


def test_what_is_shown_stays_where_it_is_while_more_is_wanted() -> None:
    index = Rows(2000)
    steady = Stabilizer(index, EXACT)
    rng = np.random.default_rng(3)
    rows: list[list[int]] = []
    for t, k in enumerate([*[8] * 10, *range(9, 30), *range(29, 7, -1)]):
        point = index.vectors[:1] + rng.normal(0, 0.001, (1, DIM)).astype(np.float32)
        seen = steady.update(Frame(t, 0.0, None, BLACK), at(found(), point), Place(k)).neighbours
        rows.append(seen.row[0].tolist())
        assert len(set(rows[-1])) == k
        assert seen.distance.max() <= CLEARLY * index.near(point, k).distance.max() + 1e-3
    firsts = [row[:8] for row in rows[9:]]
    assert firsts == [firsts[0]] * len(firsts)


def test_after_a_cut_nothing_is_left_of_the_scene_before() -> None:
    index = Rows(500)
    steady = Stabilizer(index, EXACT)
    for t in range(10):
        before = steady.update(Frame(t, 0.0, None, BLACK), at(found(2), index.vectors[:2]), HERE)
    point = index.vectors[:1] + np.float32(0.05)
    seen = steady.update(Frame(10, 0.0, None, BLACK + np.uint8(200)), at(found(1), point), HERE)
    assert not seen.held
    assert seen.strips == (0,)
    assert seen.detections.track[0] not in before.detections.track
    assert seen.neighbours.row.tolist() == index.near(point, K).row.tolist()


def test_what_is_seen_has_a_strip_before_what_is_missed() -> None:
    index = Rows(500)
    steady = Stabilizer(index, EXACT)
    for t in range(10):
        steady.update(Frame(t, 0.0, None, BLACK), at(found(2), index.vectors[:2]), Place(strips=2))
    elsewhere = at(found(1, 700), index.vectors[2:3])
    below = [
        steady.update(Frame(t, 0.0, None, BLACK), elsewhere, Place(strips=2)).strips[0] == 2
        for t in range(10, 20)
    ]
    assert below == [True] * 8 + [False] * 2  # eight frames in which they may come back


@pytest.mark.parametrize(("fps", "held"), [(30, 15), (10, 5), (4, 2), (60, 15)])
def test_what_is_missed_stays_for_half_a_second(fps: int, held: int) -> None:
    index = Rows(500)
    steady = Stabilizer(index, EXACT)
    none = at(found(0), np.zeros((0, DIM), np.float32))
    for t in range(30):
        steady.update(Frame(t, 0.0, t / fps, BLACK), at(found(), index.vectors[:1]), HERE)
    kept = [len(steady.update(Frame(t, 0.0, t / fps, BLACK), none, HERE).held) for t in range(30, 60)]
    assert kept == [1] * held + [0] * (30 - held)


@pytest.mark.parametrize(("most", "held"), [(None, [0, 1, 2]), (5, [0, 1, 2]), (4, [1, 2]), (2, []), (1, [])])
def test_no_more_objects_are_shown_than_are_wanted_held_ones_included(
    most: int | None, held: list[int]
) -> None:
    """Three objects of which the first is missed for longer than the others, then two new ones."""
    index = Rows(500)
    steady = Stabilizer(index, EXACT)
    three = at(found(3), index.vectors[:3])
    for t in range(10):
        before = steady.update(Frame(t, 0.0, None, BLACK), three, HERE, most)
    columns = [getattr(three, name)[1:] for name in ("xyxy", "score", "label", "vector")]
    steady.update(Frame(10, 0.0, None, BLACK), Detections(*columns), HERE, most)
    elsewhere = at(found(2, 700), index.vectors[3:5])
    seen = steady.update(Frame(11, 0.0, None, BLACK), elsewhere, HERE, most)
    shown = seen.detections.track.tolist()
    assert sorted(shown[2:]) == [before.detections.track[i] for i in held]
    again = steady.update(Frame(12, 0.0, None, BLACK), three, HERE, most)  # nothing of them was forgotten
    assert again.detections.track.tolist()[:3] == before.detections.track.tolist()[:3]
    assert again.neighbours.row.tolist()[:3] == before.neighbours.row.tolist()[:3]


def test_a_whole_image_is_none_of_the_objects_that_are_counted() -> None:
    index = Rows(500)
    steady = Stabilizer(index, EXACT)
    whole = dataclasses.replace(found(), label=np.array([-1], np.int32))
    steady.update(Frame(0, 0.0, None, BLACK), at(found(1, 300), index.vectors[:1]), HERE, 1)
    seen = steady.update(Frame(1, 0.0, None, BLACK), at(whole, index.vectors[1:2]), HERE, 1)
    assert seen.held == {1}
