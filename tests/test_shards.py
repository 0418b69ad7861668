"""An index in shards: groups stay whole, exact answers are those of one tree, missing shards are named."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Sequence

import naive
import numpy as np
import pytest

from rtsearch.config import SearchSettings
from rtsearch.errors import ServiceError
from rtsearch.library.narrowing import narrow
from rtsearch.library.search_index import SearchIndex
from rtsearch.search import KDTree
from rtsearch.service.shards import Question, Shard, ask_all, mask_of, shard_numbers
from rtsearch.types import Neighbours

EXACT = SearchSettings(exact=True)
PATIENCE_S = 60.0


class Local:
    """Shards of an index in this process; some may be slow, or lost."""

    def __init__(
        self, index: SearchIndex, count: int, slow: Sequence[int] = (), lost: Sequence[int] = ()
    ) -> None:
        numbers = shard_numbers(index.leaders, count)
        self.rows = [np.flatnonzero(numbers == shard).astype(np.int32) for shard in range(count)]
        self.shards = [Shard.of(index.whole, rows) for rows in self.rows]
        self.slow, self.lost = slow, lost
        self.waited: list[float] = []

    def __len__(self) -> int:
        return len(self.shards)

    def ask(self, number: int, question: Question, index: SearchIndex) -> Callable[[float], Neighbours]:
        def wait(most_s: float) -> Neighbours:
            self.waited.append(most_s)
            if number in self.slow:
                raise TimeoutError
            if number in self.lost:
                raise ServiceError("lost")
            return self.shards[number].near(question, mask_of(index, self.rows[number]))

        return wait


def queries(index: SearchIndex) -> np.ndarray:
    rng = np.random.default_rng(3)
    return index.points(np.arange(6, dtype=np.int32)) + rng.normal(0, 0.05, (6, index.dim)).astype(np.float32)


@pytest.mark.parametrize("count", [1, 2, 5, 64])
def test_groups_stay_whole_and_are_dealt_out_evenly(count):
    leaders = np.repeat(np.arange(0, 40_000, 2, dtype=np.int32), 2)
    numbers = shard_numbers(leaders, count)
    np.testing.assert_array_equal(numbers[::2], numbers[1::2])
    sizes = np.bincount(numbers, minlength=count)
    assert len(sizes) == count
    assert sizes.max() - sizes.min() < 0.25 * len(leaders) / count + 2
    np.testing.assert_array_equal(shard_numbers(leaders, count), numbers)


@pytest.mark.parametrize("count", [1, 3, 64])
@pytest.mark.parametrize("distinct", [False, True])
@pytest.mark.parametrize("classes", [(), ("red",)])
def test_exact_stays_exact(blob_index, count, distinct, classes):
    """Also with more shards than objects: some are empty, or have fewer than are wanted."""
    index = narrow(blob_index, SearchSettings(classes=classes), distinct=distinct)
    shards, points = Local(blob_index, count), queries(blob_index)
    for k in (1, 7, len(blob_index)):
        found, missing = ask_all(shards, index, points, k, EXACT, PATIENCE_S)
        one = index.near(points, k, exact=True)
        assert missing == ()
        np.testing.assert_array_equal(found.distance, one.distance)
        np.testing.assert_array_equal(np.sort(found.row, 1), np.sort(one.row, 1))


@pytest.mark.slow
def test_the_recall_of_the_whole_is_what_was_asked():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(200, 24))
    vectors = (centres[rng.integers(0, 200, 20_000)] + 0.4 * rng.normal(size=(20_000, 24))).astype(np.float32)
    asked = vectors[rng.choice(20_000, 300, False)] + rng.normal(0, 0.1, (300, 24)).astype(np.float32)
    true = naive.nearest_rows(vectors, asked, 10)[1]

    def share(rows: np.ndarray) -> float:
        return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(rows, true, strict=True)]))

    one = share(KDTree.build(vectors).query(asked, 10, recall=0.9)[1])
    numbers = shard_numbers(np.arange(20_000, dtype=np.int32), 4)
    parts = [np.flatnonzero(numbers == number).astype(np.int32) for number in range(4)]
    found = [Shard(KDTree.build(vectors[rows]), rows).near(Question(asked, 10, False, 0.9)) for rows in parts]
    row = np.concatenate([near.row for near in found], 1)
    order = np.argsort(np.concatenate([near.distance for near in found], 1), 1)[:, :10]
    whole = share(np.take_along_axis(row, order, 1))
    assert whole >= min(one, 0.9)


def test_a_shard_with_all_the_nearest_is_asked_for_all(blob_index):
    """A group of near duplicates that are all found lies in one shard."""
    points, k = queries(blob_index), 20
    shards = Local(blob_index, 8)
    shards.rows = [np.sort(np.concatenate(shards.rows[:4])), *shards.rows[4:]]
    shards.shards = [Shard.of(blob_index.whole, rows) for rows in shards.rows]
    found, missing = ask_all(shards, blob_index, points, k, EXACT, PATIENCE_S)
    assert len(shards.waited) > len(shards)
    assert missing == ()
    np.testing.assert_array_equal(found.distance, blob_index.near(points, k, exact=True).distance)


@pytest.mark.parametrize(("slow", "lost"), [((1,), ()), ((), (0, 2)), ((1,), (2,))])
def test_missing_shards_are_named_and_the_others_answer(blob_index, slow, lost):
    shards, points = Local(blob_index, 3, slow, lost), queries(blob_index)
    found, missing = ask_all(shards, blob_index, points, 5, EXACT, PATIENCE_S)
    assert missing == tuple(sorted({*slow, *lost}))
    there = np.concatenate([shards.rows[number] for number in range(3) if number not in missing])
    assert np.isin(found.row[found.row >= 0], there).all()
    assert (found.row[:, 0] >= 0).all()


def test_nobody_answers(blob_index):
    with pytest.raises(ServiceError, match=r"none of 2 shards answers within 0.5 s"):
        ask_all(Local(blob_index, 2, slow=(0, 1)), blob_index, queries(blob_index), 5, EXACT, 0.5)


def test_all_shards_share_one_deadline(blob_index):
    shards = Local(blob_index, 3)
    ask_all(shards, blob_index, queries(blob_index), 5, EXACT, 2.0)
    assert shards.waited == sorted(shards.waited, reverse=True)
    assert max(shards.waited) <= 2.0
    shards.waited.clear()
    ask_all(shards, blob_index, queries(blob_index), 5, EXACT, 0.0)
    assert set(shards.waited) == {0.0}


def test_a_shard_travels(blob_index):
    shard = Local(blob_index, 2).shards[0]
    copy = pickle.loads(pickle.dumps(shard))
    question = Question(queries(blob_index), 4, True, 0.98)
    np.testing.assert_array_equal(copy.near(question).row, shard.near(question).row)


def test_several_threads_ask_one_shard(blob_index):
    shards, index = Local(blob_index, 2), narrow(blob_index, SearchSettings(classes=("red",)), distinct=True)
    points = queries(blob_index)
    true = ask_all(shards, index, points, 4, EXACT, PATIENCE_S)[0].row
    wrong: list[int] = []

    def ask() -> None:
        for turn in range(20):
            row = ask_all(shards, index, points, 4, EXACT, PATIENCE_S)[0].row
            wrong.extend([turn] * (not np.array_equal(row, true)))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
