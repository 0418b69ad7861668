"""Remembering: tracks become entries, entries are found again, beside a library and after the run."""

from __future__ import annotations

import time

import cv2
import memories
import numpy as np
import pytest
from memories import (
    BAG,
    CUP,
    HOUR_NS,
    NS,
    PERSON,
    described,
    entry,
    found,
    frame,
    opened,
    until,
    watch,
    write,
)

from rtsearch.config import SearchSettings
from rtsearch.errors import ConfigError
from rtsearch.memory.block import Block, joined, runs_to_join, write_block
from rtsearch.memory.entry import name_of, path_in, source_of, with_path
from rtsearch.memory.folder import MemoryFolder, hour_of
from rtsearch.memory.hour_names import HourNames
from rtsearch.memory.hours import names_in, read_hour
from rtsearch.memory.learning import FITS, Learner, load_projection
from rtsearch.memory.open_rows import OpenRows
from rtsearch.memory.opening import open_recollection, read_rest
from rtsearch.memory.recall import FIRST_ROW, Narrowing, Recollection
from rtsearch.search.projection import Projection


def stored(folder):
    """All entries of a memory by name: their hour and place in it."""
    memory = MemoryFolder.open(folder)
    return {
        name: (hour, i)
        for hour in memory.hour_names()
        for i, name in enumerate(names_in(read_hour(memory, hour).rows))
    }


def nearest(memory, seed, k=1, narrowing=None):
    points = memory.recall.projection.apply(described(seed)[None])
    return memory.recall.near(points, k, exact=True, narrowing=narrowing).row[0].tolist()


def names_of(memory, rows):
    return [hit["photo"] for hit in memory.recall.hits(np.array(rows, np.int32))]


# Entries ---------------------------------------------------------------------------------------------------


def test_a_track_becomes_one_entry(tmp_path):
    begin_ns = time.time_ns()
    with opened(tmp_path / "m") as memory:
        watch(memory, found((7, CUP, 1)), 2.0, begin_s=5, now_ns=begin_ns)
        assert memory.report().entries == 1
    ((name, (hour, _)),) = stored(tmp_path / "m").items()
    assert name.startswith("door/")
    rows = read_hour(MemoryFolder.open(tmp_path / "m"), hour).rows
    first_ns, last_ns = rows.columns["seen_ns"][0].tolist()
    assert abs(first_ns - begin_ns) < 1000  # a length is kept as float64
    assert last_ns == begin_ns + 19 * NS // 10
    at_s, first_s, last_s = rows.columns["times_s"][0].tolist()
    assert (first_s, round(last_s, 6)) == (5.0, 6.9)
    assert first_s <= at_s <= last_s
    assert rows.columns["label"].tolist() == [CUP]


def test_the_crop_is_the_best_and_holds_the_path(tmp_path):
    with opened(tmp_path / "m") as memory:
        sharp, blurred = frame(1, 0.0), np.asarray(cv2.GaussianBlur(frame(1, 0.0).bgr, (31, 31), 0), np.uint8)
        for i in range(20):
            bgr = sharp.bgr if i == 8 else blurred
            shown = type(sharp)(i, i / 4, i / 4, bgr)
            objects = found((3, CUP, i))
            objects.xyxy[:] += i
            memory.see(0, 0, "door", shown, objects, time.time_ns())
        memory.close()
        jpeg = memory.recall.jpeg(nearest(memory, 1)[0])
        hit = memory.recall.hits(np.array(nearest(memory, 1), np.int32))[0]
        assert hit["t_s"] == 2.0
        assert hit["xyxy"] == [18, 28, 78, 128]
        assert jpeg is not None
        path = path_in(jpeg)
        assert path[0] == (0.0, 10, 20, 70, 120)
        assert len(path) <= 12
        assert all(point[0] * 4 == point[1] - 10 for point in path)  # each with its own time
        crop = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert crop is not None
        assert 100 <= crop.shape[0] <= 128  # of a box of 60 x 100, with its margin
        assert 60 <= crop.shape[1] <= 80


def test_the_vector_is_the_mean(tmp_path):
    with opened(tmp_path / "m") as memory:
        for i in range(10):
            memory.see(0, 0, "door", frame(0, i / 4), found((3, CUP, i)), time.time_ns())
    ((hour, _),) = stored(tmp_path / "m").values()
    vector = read_hour(MemoryFolder.open(tmp_path / "m"), hour).vectors[0]
    assert np.allclose(vector, np.mean([described(i) for i in range(10)], axis=0), atol=2e-3)


def test_a_flicker_is_no_entry(tmp_path):
    with opened(tmp_path / "m") as memory:
        watch(memory, found((7, CUP, 1)), 0.2)
        assert memory.report().entries == 0


def test_a_track_that_stays_becomes_an_entry_every_minute(tmp_path):
    with opened(tmp_path / "m") as memory:
        watch(memory, found((7, CUP, 1)), 150)
        assert memory.report().entries == 3
        rows = np.arange(FIRST_ROW, FIRST_ROW + 3, dtype=np.int32)
        assert len(set(memory.recall.column("visit", rows).tolist())) == 1
        spans = memory.recall.column("seen_ns", rows)
        assert (np.diff(spans, axis=1) <= 61 * NS).all()


@pytest.mark.parametrize(
    ("classes", "kept"), [("", [CUP, BAG]), ("person", [PERSON]), ("person,bag", [PERSON, BAG])]
)
def test_persons_are_remembered_only_if_they_are_named(tmp_path, classes, kept):
    with opened(tmp_path / "m", f"memory.classes={classes}" if classes else "memory.classes=[]") as memory:
        watch(memory, found((1, PERSON, 1), (2, CUP, 2), (3, BAG, 3)), 1)
        rows = np.arange(FIRST_ROW, FIRST_ROW + len(memory.recall), dtype=np.int32)
        assert sorted(memory.recall.column("label", rows).tolist()) == kept


def test_a_class_that_there_is_not_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"memory\.classes.*teapot"):
        opened(tmp_path / "m", "memory.classes=teapot")
    assert not (tmp_path / "m").exists()


def test_a_jump_ends_tracks(tmp_path):
    with opened(tmp_path / "m") as memory:
        for i in range(5):
            memory.see(0, 0, "door", frame(i, i / 10), found((1, CUP, 1)), time.time_ns())
        memory.see(0, 1, "door", frame(0, 500), found((2, CUP, 2)), time.time_ns())
        assert memory.report().entries == 1


def test_names(tmp_path):
    assert source_of("rtsp://admin:secret@door.local/live") == "rtsp-admin-door.local-live"
    assert source_of("/videos/dog walk.mp4") == "videos-dog-walk.mp4"
    assert source_of("///") == "source"
    assert name_of("door", 1_700_000_000_123_456_789, 42) == "door/20231114T221320.123-42"


@pytest.mark.parametrize(
    "jpeg", [b"", b"\xff\xd8\xff\xfe", b"\xff\xd8\xff\xfe\x00\x09nonsense", b"\xff\xd8\xff\xe0"]
)
def test_no_path_in_other_bytes(jpeg):
    assert path_in(jpeg) == []


def test_a_path_survives():
    path = [(1.25, 1.0, 2.0, 3.0, 4.0), (2.0, 5.0, 6.0, 7.0, 8.0)]
    assert path_in(with_path(entry(1, NS).jpeg[:2] + b"rest", path)) == path


# Finding ---------------------------------------------------------------------------------------------------


def test_what_was_seen_is_found_at_once(tmp_path):
    with opened(tmp_path / "m") as memory:
        for i in range(5):
            watch(memory, found((i + 1, CUP, i)), 1, begin_s=10 * i)
        for i in range(5):
            assert nearest(memory, i) == [FIRST_ROW + i]


def test_what_is_seen_now_is_not_found(tmp_path):
    with opened(tmp_path / "m", "memory.blind_s=3600") as memory:
        watch(memory, found((1, CUP, 1)), 1)
        assert len(memory.recall) == 1
        assert nearest(memory, 1) == [-1]
    with opened(tmp_path / "m", "memory.blind_s=3600") as memory:  # nor after the next start
        until(lambda: len(memory.recall) == 1)
        assert nearest(memory, 1) == [-1]


def test_blindness_ends(tmp_path):
    with opened(tmp_path / "m", "memory.blind_s=0.3") as memory:
        watch(memory, found((1, CUP, 1)), 1)
        until(lambda: nearest(memory, 1) == [FIRST_ROW])


def test_the_next_run_finds_it_too(tmp_path):
    with opened(tmp_path / "m") as memory:
        for i in range(20):
            watch(memory, found((i + 1, CUP, i)), 1, begin_s=10 * i)
        before = [names_of(memory, nearest(memory, i)) for i in range(20)]
    with opened(tmp_path / "m") as memory:
        until(lambda: memory.recall.findable == 20)
        assert [names_of(memory, nearest(memory, i)) for i in range(20)] == before
        jpegs = {memory.recall.jpeg(nearest(memory, i)[0]) for i in range(20)}
        assert None not in jpegs
        assert len(jpegs) == 20


def test_narrowing(tmp_path):
    with opened(tmp_path / "m") as memory:
        watch(memory, found((1, CUP, 1), (2, BAG, 2)), 1)
        only = Narrowing(labels=(BAG,))
        assert memory.recall.column("label", np.array(nearest(memory, 1, 1, only), np.int32)).tolist() == [
            BAG
        ]
        assert nearest(memory, 1, 1, Narrowing(since_ns=time.time_ns() + HOUR_NS)) == [-1]


def test_rows_that_are_gone_are_no_error(tmp_path):
    with opened(tmp_path / "m") as memory:
        index = memory.beside(memory.empty_index(), SearchSettings())
        rows = np.array([FIRST_ROW + 5], np.int32)
        assert index.points(rows).tolist() == [[0.0] * 4]
        assert index.shapes(rows).tolist() == [1.0]
        assert index.hits(rows)[0]["photo"] == ""
        assert index.time_mark(FIRST_ROW + 5) == ""
        assert memory.recall.jpeg(FIRST_ROW + 5) is None


def test_beside_a_library(tmp_path, blob_index):
    space = memories.FeatureSpace(
        recipe=blob_index.library.space.recipe,
        class_names=("blue", "green", "red"),
        dim=blob_index.library.dim,
    )
    settings = memories.settings()
    with memories.LiveMemory.open(tmp_path / "m", space, blob_index.projection, settings) as memory:
        vector = next(iter(blob_index.library.objects(("vector",))))["vector"][3].astype(np.float32)
        objects = found((1, 1, 0))
        objects.vector[0] = vector
        watch(memory, objects, 1)
        index = memory.beside(blob_index, SearchSettings())
        near = index.near(index.projection.apply(vector[None]), 4, exact=True)
        rows = near.row[0].tolist()
        assert FIRST_ROW in rows[:2]
        assert (np.diff(near.distance[0]) >= 0).all()
        array = np.array(rows, np.int32)
        points = index.points(array)
        query = index.projection.apply(vector[None])
        assert np.allclose(np.linalg.norm(points - query, axis=1), near.distance[0], atol=1e-3)
        of_library = [row for row in rows if row < FIRST_ROW]
        assert index.hits(array)[rows.index(FIRST_ROW)]["photo"].startswith("door/")
        assert index.hits(np.array(of_library, np.int32)) == blob_index.hits(np.array(of_library, np.int32))
        assert index.photos_of(array)[rows.index(FIRST_ROW)] >= FIRST_ROW
        assert (
            memory.beside(blob_index, SearchSettings(folders=("sub",))).near(query, 4).row.max() < FIRST_ROW
        )


def test_a_library_that_changes_takes_the_memory_along(tmp_path, blob_index):
    space = memories.FeatureSpace(
        recipe=blob_index.library.space.recipe,
        class_names=("blue", "green", "red"),
        dim=blob_index.library.dim,
    )
    first = Projection.fit([np.array([described(i) for i in range(50)])], memories.settings().project)
    with memories.LiveMemory.open(tmp_path / "m", space, first, memories.settings()) as memory:
        for i in range(5):
            watch(memory, found((i + 1, 1, i)), 1, begin_s=10 * i)
        point = blob_index.projection.apply(described(3)[None])
        assert memory.beside(blob_index, SearchSettings()).remembered(point, 1).row.tolist() == [[-1]]
        until(lambda: memory.recall.fits == 1)
        index = memory.beside(blob_index, SearchSettings())
        (row,) = index.remembered(point, 1, exact=True).row[0]
        assert index.hits(np.array([row], np.int32))[0]["photo"] == names_of(memory, nearest(memory, 3))[0]
        assert np.allclose(index.points(np.array([row], np.int32)), point, atol=1e-2)
    kept = load_projection(memory.recall.memory)
    assert kept is not None
    assert np.array_equal(kept.matrix, blob_index.projection.matrix)


# Hours -----------------------------------------------------------------------------------------------------


def old_hours(folder, hours, each=5):
    """Entries of some past hours; return the numbers, which say what each looks like."""
    begin_ns = (time.time_ns() // HOUR_NS) * HOUR_NS - 3 * 24 * HOUR_NS
    for h in range(hours):
        at_ns = begin_ns + h * HOUR_NS
        write(folder, [entry(each * h + i, at_ns + i * NS) for i in range(each)], hour_of(at_ns))
    return range(hours * each)


def blocks_of(memory):
    return [part for part in memory.recall.parts if isinstance(part, Block)]


@pytest.mark.parametrize(
    ("sizes", "runs"),
    [
        ([], []),
        ([5], []),
        ([5, 5], [[0, 1]]),
        ([10, 5], []),
        ([9, 5], [[0, 1]]),
        ([20, 10, 5], []),
        ([20, 10, 5, 5], [[0, 1, 2, 3]]),
        ([40, 10, 5, 5], [[1, 2, 3]]),
        ([1, 1, 1, 50], [[0, 1, 2, 3]]),
    ],
)
def test_neighbours_of_like_size_are_joined(sizes, runs):
    assert runs_to_join([(1, rows) for rows in sizes]) == runs


def test_few_blocks_of_at_most_64_hours_hold_a_week():
    blocks: list[tuple[int, int]] = []
    for hour in range(200):
        blocks.append((1, 4000 + hour * 977 % 2000))
        for run in runs_to_join(blocks):
            hours, rows = zip(*(blocks[place] for place in run), strict=True)
            blocks[run[0] : run[-1] + 1] = [(sum(hours), sum(rows))]
        assert runs_to_join(blocks) == []
        assert len(blocks) <= hour // 64 + 7
        assert max(hours for hours, _ in blocks) <= 64
    assert sum(hours for hours, _ in blocks) == 200


def test_hours_are_closed_and_joined(tmp_path):
    numbers = old_hours(tmp_path / "m", 15)
    with opened(tmp_path / "m") as memory:
        until(lambda: memory.recall.findable == 75)
        until(lambda: len(blocks_of(memory)) == 4)  # of 8, 4, 2 and 1 hours
        assert all(names_of(memory, nearest(memory, i))[0].endswith(f"-{i}") for i in numbers)
        assert memory.recall.jpeg(nearest(memory, 37)[0]) == entry(37, NS).jpeg
    found_again = open_recollection(MemoryFolder.open(tmp_path / "m"), memory.recall.projection)
    assert found_again.uncovered == ()
    assert found_again.useless == ()
    assert len(found_again.recall) == 75
    hour = MemoryFolder.open(tmp_path / "m").hour_names()[0]
    assert len(read_hour(MemoryFolder.open(tmp_path / "m"), hour).rows.packs) == 1


def test_rows_keep_their_numbers_when_their_hour_is_closed(tmp_path):
    """Two open parts of an hour become its block, and that one part of a larger one."""
    old_hours(tmp_path / "m", 2, each=6)
    memory = MemoryFolder.open(tmp_path / "m")
    hours = [read_hour(memory, name) for name in memory.hour_names()]
    projection = Learner(memory, memories.settings()).projection
    recall = Recollection(memory, projection)
    parts = [OpenRows(name, projection, 0) for name in (memory.hour_names()[0],) * 2]
    for number in range(6):
        parts[number // 4].add(entry(number, NS))
    for part in parts:
        recall.put(part, 1000)
    points = projection.apply(hours[0].vectors)
    rows = recall.near(points, 1, exact=True).row[:, 0]
    assert rows.tolist() == [FIRST_ROW + i for i in (0, 1, 2, 3, 1000, 1001)]
    blocks = [write_block(memory, projection, projection.apply(hour.vectors), hour.rows) for hour in hours]
    recall.take_over(blocks[0], parts)
    recall.put(blocks[1])
    assert recall.near(points, 1, exact=True).row[:, 0].tolist() == rows.tolist()
    both = write_block(memory, projection, *joined(blocks))
    assert both.tree.dtype == np.float16  # nothing was rounded once more, nor stored wider
    recall.take_over(both, blocks)
    assert recall.near(points, 1, exact=True).row[:, 0].tolist() == rows.tolist()
    assert [hit["photo"].split("-")[-1] for hit in recall.hits(rows)] == ["0", "1", "2", "3", "4", "5"]
    assert [recall.jpeg(row) for row in rows.tolist()] == [entry(i, NS).jpeg for i in range(6)]
    assert np.allclose(recall.points(rows), points, atol=1e-3)


def test_a_track_ends_where_its_film_begins_again(tmp_path):
    begin_ns = time.time_ns()
    with opened(tmp_path / "m") as memory:
        for i, at_s in enumerate([5 + i / 10 for i in range(30)] + [i / 10 for i in range(30)]):
            memory.see(0, 0, "door", frame(i, at_s), found((1, CUP, 3)), begin_ns + i * NS // 10)
    kept = MemoryFolder.open(tmp_path / "m")
    times = np.concatenate([read_hour(kept, name).rows.columns["times_s"] for name in kept.hour_names()])
    assert times[:, 1:].tolist() == [[5, 7.9], [0, 2.9]]


def test_a_block_that_is_damaged_is_made_again(tmp_path):
    numbers = old_hours(tmp_path / "m", 3)
    with opened(tmp_path / "m") as memory:
        until(lambda: memory.recall.findable == 15)
    for tree in (tmp_path / "m" / "index").glob("*/kdtree.bin"):
        data = bytearray(tree.read_bytes())
        data[-100] ^= 1
        tree.write_bytes(data)
    with opened(tmp_path / "m") as memory:
        until(lambda: memory.recall.findable == 15)
        assert all(names_of(memory, nearest(memory, i))[0].endswith(f"-{i}") for i in numbers)


def test_a_memory_is_read_while_it_grows(tmp_path):
    old_hours(tmp_path / "m", 2)
    with opened(tmp_path / "m") as memory:
        watch(memory, found((1, CUP, 999)), 1)
        until(lambda: len(stored(tmp_path / "m")) == 11)  # written out, though the run goes on
        other = open_recollection(MemoryFolder.open(tmp_path / "m"), memory.recall.projection)
        read_rest(other, other.uncovered, 0)
        assert other.recall.findable == 11


def test_an_hour_that_was_closed_is_not_opened_again():
    names = HourNames(["20260501T13"])
    at_ns = 1_777_640_400 * NS  # 2026-05-01 13:00 UTC
    assert hour_of(at_ns) == "20260501T13"
    assert names.name(at_ns) == "20260501T13-2"
    assert names.name(at_ns + HOUR_NS) == "20260501T14"
    names.close("20260501T13-2")
    assert names.name(at_ns) == "20260501T13-3"  # the clock was set back
    assert names.name(at_ns + 5) == "20260501T13-3"


def test_a_clock_that_is_set_back(tmp_path):
    now_ns = time.time_ns()
    with opened(tmp_path / "m") as memory:
        for turn, at_ns in enumerate((now_ns, now_ns - 5 * HOUR_NS, now_ns + HOUR_NS, now_ns)):
            watch(memory, found((turn + 1, CUP, turn)), 1, begin_s=10 * turn, now_ns=at_ns)
        assert memory.report().entries == 4
        assert [nearest(memory, i) for i in range(4)] != [[-1]] * 4
    assert len(stored(tmp_path / "m")) == 4
    with opened(
        tmp_path / "m", "memory.blind_s=30"
    ) as memory:  # what seems to come is not kept from being found
        until(lambda: len(memory.recall) == 4)
        assert nearest(memory, 2) != [-1]


def test_the_projection_is_learned_without_a_library(tmp_path):
    with opened(tmp_path / "m") as memory:
        first = memory.recall.projection
        for i in range(FITS[0]):
            watch(memory, found((i + 1, CUP, i)), 1, begin_s=10 * i)
        until(lambda: memory.recall.projection is not first)
        assert memory.recall.findable == FITS[0]
        assert [names_of(memory, nearest(memory, i)) for i in range(FITS[0])] == [
            names_of(memory, [row]) for row in (nearest(memory, i)[0] for i in range(FITS[0]))
        ]
        kept = memory.recall.projection
    with opened(tmp_path / "m") as memory:
        assert np.array_equal(memory.recall.projection.matrix, kept.matrix)
