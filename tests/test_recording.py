"""Records in lines and tables: their shape, what survives a kill or a full disk."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import forked
import numpy as np
import pyarrow.parquet as pq
import pytest
from recorded import NAMES, FakeLibrary, detections, frame, recorded

from rtsearch import recording as record
from rtsearch.errors import RecordError
from rtsearch.recording import (
    CSV_COLUMNS,
    CsvRecorder,
    JsonlRecorder,
    object_records,
    open_record,
    shown_records,
)
from rtsearch.recording import parquet as table
from rtsearch.types import Neighbours

# Lines ------------------------------------------------------------------------------------------------------

CASES: list[tuple[int, list[list[int]], list[dict[str, Any]]]] = [
    (0, [], []),
    (
        1,
        [[]],
        [
            {
                "track": 2**40,
                "xyxy": [0, 0.3, 0.7, 1],
                "label": "whole image",
                "score": 0.3333,
                "neighbours": [],
            }
        ],
    ),
    (
        2,
        [[7, -1], [-1, -1]],
        [
            {
                "track": 2**40,
                "xyxy": [0, 0.3, 0.7, 1],
                "label": "whole image",
                "score": 0.3333,
                "neighbours": [
                    {
                        "row": 7,
                        "photo": "é/7.jpg",
                        "xyxy": [0, 1, 2.2, 7],
                        "label": "dog",
                        "distance": 0.33333,
                        "folded": 1,
                    }
                ],
            },
            {
                "track": 2**40 + 1,
                "xyxy": [1.3, 1.7, 2, 2.3],
                "label": "person",
                "score": 0.3333,
                "neighbours": [],
            },
        ],
    ),
]


@pytest.mark.parametrize(("n", "rows", "wanted"), CASES)
def test_objects_as_recorded(n: int, rows: list[list[int]], wanted: list[dict[str, Any]]) -> None:
    k = len(rows[0]) if rows else 3
    row = np.array(rows, np.int32).reshape(n, k)
    distance = np.where(row < 0, np.inf, 1 / 3).astype(np.float32)
    objects = object_records(detections(n), NAMES, Neighbours(row, distance), FakeLibrary())
    assert objects == wanted
    assert [list(o) for o in objects] == [["track", "xyxy", "label", "score", "neighbours"]] * n
    near = [hit for o in objects for hit in o["neighbours"]]
    assert [list(h) for h in near] == [["row", "photo", "xyxy", "label", "distance", "folded"]] * len(near)


def test_neighbours_stay_with_their_object() -> None:
    row = np.array([[3, -1, -1], [-1, -1, -1], [5, 6, 4]], np.int32)
    distance = np.where(row < 0, np.inf, row).astype(np.float32)
    objects = object_records(detections(3), NAMES, Neighbours(row, distance), FakeLibrary())
    near = [[(h["row"], h["photo"], h["distance"]) for h in o["neighbours"]] for o in objects]
    assert near == [[(3, "é/3.jpg", 3)], [], [(5, "é/5.jpg", 5), (6, "é/6.jpg", 6), (4, "é/4.jpg", 4)]]


def test_lines_have_the_times_of_the_file_or_of_the_run(tmp_path: Path) -> None:
    for times, wanted in (([0.5, 0.75], [0.5, 0.75]), ([None, None], [0.0, 0.125])):
        with JsonlRecorder(tmp_path / "run.jsonl") as recorder:
            for i, pts_s in enumerate(times):
                recorder.write(frame(i + 4, pts_s), [{"label": "é"}])
        lines = (tmp_path / "run.jsonl").read_text(encoding="utf-8").splitlines()
        read = [json.loads(line) for line in lines]
        captured = [line.pop("time", None) for line in read]
        assert [time is None for time in captured] == [pts_s is not None for pts_s in times]
        began = datetime.fromisoformat(read[0].pop("began"))
        assert began.tzinfo is not None
        at = time.time() - time.monotonic() + frame(4).captured_s
        assert began.timestamp() == pytest.approx(at, abs=1)
        if captured[1] is not None:
            assert (datetime.fromisoformat(captured[1]) - began).total_seconds() == pytest.approx(
                0.125, abs=0.05
            )
        assert read == [
            {"frame": i + 4, "t_s": t_s, "wh": [320, 240], "objects": [{"label": "é"}]}
            for i, t_s in enumerate(wanted)
        ]


def test_every_line_is_on_disk_when_written(tmp_path: Path) -> None:
    recorder = JsonlRecorder(tmp_path / "run.jsonl")
    for i in range(3):
        recorder.write(frame(i), [])
        assert len((tmp_path / "run.jsonl").read_bytes().splitlines()) == i + 1
    recorder.close()


@pytest.mark.parametrize("name", ["a.txt", "a", "a.json", "a.mp4"])
def test_a_kind_that_is_not_known(name: str, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"a.*: objects are recorded as \.jsonl, \.csv or \.parquet"):
        open_record(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("signals", [(signal.SIGKILL,), (signal.SIGINT,), (signal.SIGTERM,)])
def test_a_kill_loses_no_line(signals: tuple[signal.Signals], tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np; from pathlib import Path; from rtsearch.recording import JsonlRecorder\n"
        "from rtsearch.types import Frame\n"
        "recorder = JsonlRecorder(Path(sys.argv[1]))\n"
        "for i in range(10**9):\n"
        "    recorder.write(Frame(i, i, i, np.zeros((1, 1, 3), np.uint8)), [{'label': 'x' * 500}])\n"
        "    print(i, flush=True)\n"
    )
    path = tmp_path / "run.jsonl"
    process = forked.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    while int(process.stdout.readline()) < 200:
        pass
    process.send_signal(signals[0])
    said = [int(line) for line in process.stdout.read().split()]
    process.stdout.close()
    process.wait()
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) >= max(said, default=200) + 1
    assert [json.loads(line)["frame"] for line in lines if line.endswith(b"\n")][-1] >= max(said, default=200)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("nowhere/run", "cannot be written: there is no folder .*nowhere; make it first"),
        ("folder", "cannot be written: Is a directory"),
    ],
)
@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_a_record_that_cannot_be_written(place: str, words: str, suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"folder{suffix}").mkdir()
    with pytest.raises(RecordError, match=words):
        open_record((tmp_path / place).with_suffix(suffix))


@pytest.mark.parametrize("kind", [JsonlRecorder, CsvRecorder])
def test_full_disk_is_named(kind: Any) -> None:
    with pytest.raises(RecordError, match="the disk is full"), kind(Path("/dev/full")) as recorder:
        recorder.write(frame(0), [])


def test_half_a_line_is_taken_back(tmp_path: Path) -> None:
    class Nearly:
        """A file on a disk with room for 160 bytes."""

        def __init__(self, file: Any) -> None:
            self._file = file

        def write(self, data: bytes) -> int:
            return int(self._file.write(data[: 160 - self._file.tell()]))

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

    with JsonlRecorder(tmp_path / "run.jsonl") as recorder:
        recorder._file = Nearly(recorder._file)  # type: ignore[assignment]
        recorder.write(frame(0), [])
        with pytest.raises(RecordError, match="disk is full"):
            recorder.write(frame(1), [])
    assert json.loads((tmp_path / "run.jsonl").read_text())["frame"] == 0


def test_strips_as_recorded() -> None:
    rows = np.array([[5, 3], [7, -1], [-1, -1]], np.int32)
    assert shown_records(detections(0), NAMES, (), rows[:0], 0) == []
    assert shown_records(detections(3), NAMES, (4, 0, 1), rows, 2) == [
        {"track": 2**40, "strip": 4, "label": "whole image", "score": 0.3333, "rows": [5, 3]},
        {"track": 2**40 + 1, "strip": 0, "label": "person", "score": 0.3333, "rows": [7]},
        {"track": 2**40 + 2, "strip": 1, "label": "cat", "score": 0.3333, "rows": []}
        | {"xyxy": [2.7, 3, 3.3, 3.7]},
    ]


# Tables -----------------------------------------------------------------------------------------------------


def utf8(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


@pytest.mark.parametrize("frames", [0, 1, 2, 30])
def test_csv_has_a_row_per_neighbour(frames: int, tmp_path: Path) -> None:
    written = recorded(tmp_path / "run.csv", frames)
    with (tmp_path / "run.csv").open(encoding="utf-8", newline="") as file:
        names, *rows = csv.reader(file)
    assert tuple(names) == CSV_COLUMNS
    wanted = []
    for seen, objects in written:
        for i, item in enumerate(objects):
            of_object = [seen.id, seen.pts_s, i, item["track"], "cat", 0.5, *item["xyxy"]]
            wanted += [
                [
                    *of_object,
                    j,
                    n["row"],
                    utf8(n["photo"]),
                    n["label"],
                    *n["xyxy"],
                    n["distance"],
                    n["folded"],
                    n.get("t_s", ""),
                    "",
                ]
                for j, n in enumerate(item["neighbours"], 1)
            ] or [[*of_object, *[""] * 12]]
    assert rows == [[str(value) for value in row] for row in wanted]


@pytest.mark.parametrize("group", [1, 7, 1024])
@pytest.mark.parametrize("frames", [0, 1, 2, 30])
def test_parquet_has_a_row_per_object(
    frames: int, group: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "_GROUP_ROWS", group)
    written = recorded(tmp_path / "run.parquet", frames)
    read = pq.read_table(tmp_path / "run.parquet")
    assert read.schema == table.SCHEMA
    wanted = []
    for seen, objects in written:
        for i, item in enumerate(objects):
            near = item["neighbours"]
            of_object = [seen.id, seen.pts_s, i, item["track"], "cat", 0.5, *item["xyxy"]]
            columns = ("row", "photo", "label", "xyxy", "distance", "folded")
            lists = [[n[key] for n in near] for key in columns] + [[n.get("t_s") for n in near]]
            lists[1] = [utf8(photo) for photo in lists[1]]
            wanted.append(dict(zip(table.SCHEMA.names, [*of_object, *lists, None], strict=True)))
    assert read.to_pylist() == wanted
    assert [path.name for path in tmp_path.iterdir()] == ["run.parquet"]


@pytest.mark.parametrize("name", [b"s3:x.parquet", b"Trip:2024.parquet", b"caf\xe9.parquet"])
def test_the_path_of_a_table_is_a_path(name: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pyarrow would take some of them for addresses, others cannot be encoded."""
    monkeypatch.chdir(tmp_path)
    path = Path(os.fsdecode(name))
    recorded(path, 3)
    with path.open("rb") as file:
        assert pq.read_table(file).num_rows > 0
    assert list(tmp_path.iterdir()) == [tmp_path / path]


def test_names_that_are_no_utf8_come_back_from_lines(tmp_path: Path) -> None:
    written = recorded(tmp_path / "run.jsonl", 8)
    lines = (tmp_path / "run.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["objects"] for line in lines] == [objects for _, objects in written]


def test_an_older_table_stays_until_the_new_one_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "run.parquet"
    recorded(path, 3)
    objects = recorded(tmp_path / "other.csv", 2)[1][1]

    def run() -> None:
        with open_record(path) as recorder:
            recorder.write(frame(77), objects)
            assert pq.read_table(path).num_rows == 3
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    assert pq.read_table(path)["frame"].to_pylist() == [77]


@pytest.mark.parametrize("name", ["run.jsonl", "run.csv", "run.parquet"])
def test_an_older_record_stays_until_a_frame_comes(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    recorded(path, 4)
    before = path.read_bytes()
    recorded(path, 0)
    assert path.read_bytes() == before
    with pytest.raises(KeyboardInterrupt), open_record(path):
        raise KeyboardInterrupt
    assert path.read_bytes() == before
    with open_record(path) as recorder:
        recorder.write(frame(7), [])
    recorded(tmp_path / f"none{path.suffix}", 0)
    empty = (tmp_path / f"none{path.suffix}").read_bytes()
    if name == "run.jsonl":
        line = json.loads(path.read_bytes())  # and nothing of the older one
        assert (line["frame"], line["t_s"], line["objects"], empty) == (7, 0, [], b"")
    else:
        assert path.read_bytes() == empty
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([name, f"none{path.suffix}"])


def test_a_full_disk_ends_a_table_and_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "_GROUP_ROWS", 1)
    free = iter([10**9, 10**9])
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=next(free, 10**6)))
    with pytest.raises(RecordError, match=r"run\.parquet: the disk is full"):
        recorded(tmp_path / "run.parquet", 30)
    assert pq.read_table(tmp_path / "run.parquet").num_rows == 3


def test_what_is_public() -> None:
    assert all(hasattr(record, name) for name in record.__all__)
