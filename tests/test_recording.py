"""Recordings: the shape of a line, the timing of the video, what survives a kill or a full disk."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from clips import FFMPEG, paint, read_number

from rtsearch import recording as record
from rtsearch.errors import RecordError
from rtsearch.recording import (
    CSV_COLUMNS,
    CsvRecorder,
    JsonlRecorder,
    SplitRecorder,
    VideoRecorder,
    object_records,
    open_record,
    piece_paths,
    shown_records,
)
from rtsearch.recording import ffmpeg as ffmpeg_module
from rtsearch.recording import mp4 as video_module
from rtsearch.recording import parquet as table
from rtsearch.sources import VideoFile
from rtsearch.types import Detections, Frame, I32Array, Neighbours

NAMES = ["person", "cat"]


class FakeLibrary:
    def hits(self, rows: I32Array, /) -> list[dict[str, Any]]:
        return [
            {"photo": f"é/{row}.jpg", "xyxy": box, "label": "dog", "folded": int(row) % 3}
            for row, box in ((row, np.array([0.04, 1, 2.25, row], np.float32)) for row in rows)
        ]


def detections(n: int) -> Detections:
    xyxy = np.arange(4 * n, dtype=np.float32).reshape(n, 4) / np.float32(3)
    label = (np.arange(n) % 3 - 1).astype(np.int32)
    track = np.arange(n, dtype=np.int64) + 2**40
    return Detections(xyxy, np.full(n, 1 / 3, np.float32), label, np.zeros((n, 8), np.float32), track)


def frame(number: int, pts_s: float | None = None) -> Frame:
    return Frame(number, 500 + number / 8, pts_s, paint(number))


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
    process = subprocess.Popen(
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


def recorded(path: Path, frames: int) -> list[tuple[Frame, list[dict[str, Any]]]]:
    """Frames with 0, 1, 2, 0, ... objects, recorded; a photo's name needs quotes, another is no UTF-8."""
    names = ["a, b", 'the "é"\n.jpg', os.fsdecode(b"\xff.jpg")]
    written = []
    with open_record(path) as recorder:
        for i in range(frames):
            near: list[dict[str, Any]] = [
                {
                    "row": j,
                    "photo": names[j],
                    "xyxy": [0.0, 1.5, 2.0, j],
                    "label": "dog",
                    "distance": 0.25 * j,
                    "folded": 2 * j,
                }
                for j in range(i % 4)
            ]
            if near:  # of a film
                near[-1] |= {"t_s": 12.5, "seen_s": [10.0, 13.5]}
            objects = [
                {"track": j, "xyxy": [1.0, 2.0, 3.0, i], "label": "cat", "score": 0.5, "neighbours": near}
                for j in range(i % 3)
            ]
            written.append((frame(2 * i, i / 10), objects))
            recorder.write(*written[-1])
    return written


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


# Video ------------------------------------------------------------------------------------------------------


needs_ffmpeg = pytest.mark.skipif(FFMPEG is None, reason="ffmpeg is not installed: apt-get install ffmpeg")


@pytest.fixture(params=[pytest.param("ffmpeg", marks=needs_ffmpeg), "pyav"])
def _writer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "pyav":
        monkeypatch.setattr(video_module, "find_ffmpeg", lambda: None)


def shown(path: Path) -> list[tuple[int, float]]:
    with VideoFile(str(path)) as source:
        return [(read_number(f.bgr), round(f.pts_s or 0.0, 3)) for f in source]


def record_clip(path: Path, times: list[float], fps: float = 10) -> None:
    with VideoRecorder(path, fps) as recorder:
        for i, t_s in enumerate(times):
            recorder.write(paint(i), t_s)


# Times given, and times in the video.
TIMINGS: list[tuple[list[float], list[float]]] = [
    ([7.0], [0]),
    ([7.0, 7.1, 7.2, 7.3], [0, 0.1, 0.2, 0.3]),
    ([7.0, 7.104, 7.196, 7.304], [0, 0.104, 0.196, 0.304]),  # a camera's jitter
    ([7.0, 7.1, 7.5, 7.6], [0, 0.1, 0.5, 0.6]),  # three were dropped
    ([7.0, 7.01, 7.02, 7.5], [0, 0.01, 0.02, 0.5]),  # a burst, then a gap
    ([7.0, 7.0, 6.5, 7.3], [0, 0.01, 0.02, 0.3]),  # times that stand or go back a little
    ([7.0, 7.1, 0.0, 0.1], [0, 0.1, 0.2, 0.3]),  # a loop
    ([1 / 30, 2 / 30, 5 / 30], [0, 1 / 30, 4 / 30]),
]


@pytest.mark.usefixtures("_writer")
@pytest.mark.parametrize(("times", "at"), TIMINGS)
def test_video_keeps_time_and_every_picture(times: list[float], at: list[float], tmp_path: Path) -> None:
    record_clip(tmp_path / "run.mp4", times)
    assert shown(tmp_path / "run.mp4") == [(i, round(t_s, 3)) for i, t_s in enumerate(at)]
    assert [p.name for p in tmp_path.iterdir()] == ["run.mp4"]


@pytest.mark.usefixtures("_writer")
@pytest.mark.parametrize("fps", [24000 / 1001, 24, 25, 30000 / 1001, 30, 60])
def test_a_steady_rate_stays_what_it_was(fps: float, tmp_path: Path) -> None:
    record_clip(tmp_path / "run.mp4", [5 + i / fps for i in range(50)], fps)
    with VideoFile(str(tmp_path / "run.mp4")) as source:
        assert source.fps == pytest.approx(fps, rel=1e-4)
        assert source.frames == 50


@pytest.mark.usefixtures("_writer")
def test_video_of_odd_and_changing_size(tmp_path: Path) -> None:
    with VideoRecorder(tmp_path / "run.mp4", 10) as recorder:
        for i, wh in enumerate([(321, 241), (321, 241), (640, 480), (160, 120)]):
            recorder.write(paint(i, wh), i / 10)
    with VideoFile(str(tmp_path / "run.mp4")) as source:
        assert source.wh == (320, 240)
        assert [read_number(f.bgr) for f in source] == [0, 1, 2, 3]


@pytest.mark.usefixtures("_writer")
def test_video_survives_a_caller_that_draws_over_its_picture(tmp_path: Path) -> None:
    canvas = np.zeros((240, 320, 3), np.uint8)
    with VideoRecorder(tmp_path / "run.mp4", 10) as recorder:
        for i, t_s in enumerate([0, 0.3]):
            canvas[:] = paint(i)
            recorder.write(canvas, t_s)
    assert set(shown(tmp_path / "run.mp4")) >= {(0, 0.0), (1, 0.3)}
    assert [n for n, _ in shown(tmp_path / "run.mp4")] == [0, 1]


@pytest.mark.usefixtures("_writer")
def test_video_is_finished_and_named_when_the_run_fails(tmp_path: Path) -> None:
    path = tmp_path / "run.mp4"
    path.write_text("an older one")

    def run() -> None:
        with VideoRecorder(path, 10) as recorder:
            recorder.write(paint(1), 0.0)
            recorder.write(paint(2), 0.1)
            assert path.read_text() == "an older one"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    assert [n for n, _ in shown(path)] == [1, 2]


class Interrupted:
    """A pipe into which so many bytes go; then, and whenever it is written to again, comes Ctrl-C."""

    def __init__(self, pipe: Any, left_bytes: int) -> None:
        self._pipe = pipe
        self._left_bytes = left_bytes

    def write(self, data: bytes | memoryview) -> None:
        whole = bytes(data)
        given = whole[: self._left_bytes]
        self._pipe.write(given)
        self._pipe.flush()
        self._left_bytes -= len(given)
        if len(given) < len(whole):
            raise KeyboardInterrupt

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipe, name)


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """Where a run writes its video; there is one already."""
    path = tmp_path / "run.mp4"
    path.write_text("an older one")
    return path


def record_until_ctrl_c(path: Path, monkeypatch: pytest.MonkeyPatch, after_bytes: int) -> None:
    """Record pictures through ffmpeg until Ctrl-C comes, so many bytes after its start."""
    started = ffmpeg_module._started

    def start(command: list[str], stdin: int) -> Any:
        process = started(command, stdin)
        if process.stdin is not None:
            process.stdin = Interrupted(process.stdin, after_bytes)  # type: ignore[assignment]
        return process

    monkeypatch.setattr(ffmpeg_module, "_started", start)
    with pytest.raises(KeyboardInterrupt):
        record_clip(path, [i / 10 for i in range(100)])


@needs_ffmpeg
@pytest.mark.parametrize("after_bytes", [0, 1, 100, 250, 10_000, paint(0).nbytes])
def test_ctrl_c_in_the_first_picture_leaves_the_older_video(
    after_bytes: int, older: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_until_ctrl_c(older, monkeypatch, after_bytes)
    assert older.read_text() == "an older one"
    assert list(older.parent.iterdir()) == [older]


@needs_ffmpeg
@pytest.mark.parametrize("pictures", [1.5, 2.5])
def test_ctrl_c_in_a_later_picture_leaves_those_before(
    pictures: float, older: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_until_ctrl_c(older, monkeypatch, int(pictures * paint(0).nbytes))
    assert [n for n, _ in shown(older)] == list(range(int(pictures)))
    assert list(older.parent.iterdir()) == [older]


@pytest.mark.parametrize(
    "where",
    [
        *(pytest.param(name, marks=needs_ffmpeg) for name in ("encodes_h264", "FfmpegSink")),
        *("VideoRecorder._fit", "PyavSink.write"),
    ],
)
def test_ctrl_c_on_the_way_to_the_first_picture_leaves_the_older_video(
    where: str, older: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def press(*_: object) -> None:
        raise KeyboardInterrupt

    if where == "PyavSink.write":
        monkeypatch.setattr(video_module, "find_ffmpeg", lambda: None)
    monkeypatch.setattr(f"rtsearch.recording.mp4.{where}", press)
    with pytest.raises(KeyboardInterrupt):
        record_clip(older, [0.0, 0.1])
    assert older.read_text() == "an older one"
    assert list(older.parent.iterdir()) == [older]


@needs_ffmpeg
@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_while_ffmpeg_finishes_names_no_half_video(
    presses: int, older: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last_words = ffmpeg_module._last_words
    calls: list[float] = []

    def press_first(process: Any, wait_s: float) -> str:
        calls.append(wait_s)
        if len(calls) <= presses:
            process.communicate()  # as in the run's last moment; nothing is left running
            raise KeyboardInterrupt
        return last_words(process, wait_s)

    monkeypatch.setattr(ffmpeg_module, "_last_words", press_first)
    with pytest.raises(KeyboardInterrupt):
        record_clip(older, [0.0, 0.1])
    if presses == 1:
        assert [n for n, _ in shown(older)] == [0, 1]
        assert list(older.parent.iterdir()) == [older]
    else:
        assert older.read_text() == "an older one"


def test_a_recorder_that_was_only_made_leaves_nothing(tmp_path: Path) -> None:
    VideoRecorder(tmp_path / "run.mp4", 10)
    open_record(tmp_path / "run.parquet")
    assert list(tmp_path.iterdir()) == []


def test_a_long_gap_is_shortened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_module, "_MAX_GAP_S", 2.0)
    record_clip(tmp_path / "run.mp4", [0.0, 0.1, 3600.0, 3600.1])
    assert shown(tmp_path / "run.mp4")[-2:] == [(2, 2.1), (3, 2.2)]


def test_no_picture_leaves_no_file(tmp_path: Path) -> None:
    record_clip(tmp_path / "run.mp4", [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("run.avi", "written as .mp4"),
        ("nowhere/run.mp4", "nowhere/run.mp4 cannot be written: there is no folder"),
    ],
)
def test_video_that_cannot_be_written(place: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=words):
        VideoRecorder(tmp_path / place, 10)


@pytest.mark.usefixtures("_writer")
def test_full_disk_stops_the_video_and_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    free = iter([10**9, 10**6])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=next(free, 10**6)))
    with pytest.raises(RecordError, match=r"run\.mp4: the disk is full"):
        record_clip(tmp_path / "run.mp4", [i / 10 for i in range(100)])
    assert [n for n, _ in shown(tmp_path / "run.mp4")] == list(range(30))


@pytest.mark.usefixtures("_writer")
@pytest.mark.parametrize("name", ["run.mp4", "run.parquet"])
def test_a_disk_that_is_full_from_the_start_is_told_in_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / name
    path.write_text("an older one")
    usage = shutil.disk_usage(tmp_path)._replace(free=10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    monkeypatch.setattr(table, "_GROUP_ROWS", 1)
    with pytest.raises(RecordError, match=rf"{name}: the disk is full; nothing was written; free some space"):
        record_clip(path, [0.0, 0.1]) if name.endswith("mp4") else recorded(path, 3)
    assert caplog.messages == []
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert path.read_text() == "an older one"


@needs_ffmpeg
def test_ffmpeg_that_fails_leaves_no_empty_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object) -> None:
        raise RecordError("ffmpeg could not finish the video: it has none")

    recorder = VideoRecorder(tmp_path / "run.mp4", 10)
    recorder.write(paint(0), 0.0)
    assert recorder._sink is not None
    recorder._sink.close()
    next(tmp_path.iterdir()).write_bytes(b"")
    monkeypatch.setattr(type(recorder._sink), "close", fail)
    with pytest.raises(RecordError, match=r"run\.mp4 cannot be written: ffmpeg could not finish"):
        recorder.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["run.jsonl", "run.csv"])
def test_lines_on_a_full_disk_leave_no_empty_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.BytesIO):
        def write(self, data: object) -> int:
            return 0

    place = tmp_path / name
    place.touch()
    monkeypatch.setattr(Path, "open", lambda *args, **kwargs: Full())
    with pytest.raises(RecordError, match=rf"{name}: the disk is full; nothing was written"):
        recorded(place, 3)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "map.png"
    record.save_picture(paint(1), path)
    before = path.read_bytes()
    (tmp_path / "link.png").symlink_to(path)
    record.save_picture(paint(2), tmp_path / "link.png")
    assert (tmp_path / "link.png").is_symlink()
    assert path.read_bytes() != before
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", fail)
    for name in ("map.png", "new.jpg"):
        with pytest.raises(RecordError, match=rf"{name}: the disk is full; nothing was written"):
            record.save_picture(paint(3), tmp_path / name)
    assert path.read_bytes() == before
    with pytest.raises(RecordError, match="there is no folder"):
        record.save_picture(paint(3), tmp_path / "nowhere" / "map.png")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link.png", "map.png"]


@needs_ffmpeg
def test_ffmpeg_that_dies_is_an_error(tmp_path: Path) -> None:
    def run() -> None:
        with VideoRecorder(tmp_path / "run.mp4", 10) as recorder:
            recorder.write(paint(0), 0.0)
            recorder._sink._process.kill()  # type: ignore[union-attr]
            for i in range(1, 100):
                recorder.write(paint(i), i / 10)

    with pytest.raises(RecordError, match="ffmpeg stopped writing the video"):
        run()


@pytest.mark.slow
@pytest.mark.parametrize("ffmpeg", [pytest.param(True, marks=needs_ffmpeg), False])
def test_ctrl_c_and_kill_leave_a_video_that_plays(ffmpeg: bool, tmp_path: Path) -> None:
    code = (
        "import os, sys, time; sys.path.insert(0, sys.argv[2])\n"
        f"os.environ['PATH'] = os.environ['PATH'] if {ffmpeg} else ''\n"
        "from pathlib import Path; from clips import paint\n"
        "from rtsearch.recording import VideoRecorder\n"
        "with VideoRecorder(Path(sys.argv[1]), 10) as recorder:\n"
        "    for i in range(10**6):\n"
        "        recorder.write(paint(i), i / 10); print(i, flush=True); time.sleep(0.001)\n"
    )
    for sent, finds in (
        (signal.SIGINT, lambda: tmp_path / "run.mp4"),
        (signal.SIGKILL, lambda: next(tmp_path.glob(".run.*.part.mp4"))),
    ):
        _interrupt(code, tmp_path / "run.mp4", sent)
        deadline_s = time.monotonic() + 20
        while not _plays(finds) and time.monotonic() < deadline_s:
            time.sleep(0.1)
        numbers = [n for n, _ in shown(finds())]
        assert numbers == list(range(len(numbers)))
        # The last second or so is lost where the one that encodes it is killed.
        assert len(numbers) >= (50 if ffmpeg or sent == signal.SIGINT else 30)
        (tmp_path / "run.mp4").unlink(missing_ok=True)


@needs_ffmpeg
def test_a_video_plays_whatever_ends_its_writers(tmp_path: Path) -> None:
    """As when the power fails: this process and ffmpeg are gone in the same moment."""
    with VideoRecorder(tmp_path / "s3:run.mp4", 10) as recorder:
        for i in range(60):
            recorder.write(paint(i), i / 10)
        part = next(tmp_path.glob(".s3:run.*.part.mp4"))
        deadline_s = time.monotonic() + 20
        while part.stat().st_size < 20_000 and time.monotonic() < deadline_s:
            time.sleep(0.05)
        killed = shutil.copyfile(part, tmp_path / "killed.mp4")
    numbers = [n for n, _ in shown(killed)]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= 10
    with VideoFile(str(tmp_path / "s3:run.mp4")) as source:
        assert source.frames == 60  # the finished one is of one piece


def test_a_video_that_can_grow_no_further_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here for a limit of the process; a disk that is full fails in the same call."""
    monkeypatch.setattr(video_module, "find_ffmpeg", lambda: None)
    path = tmp_path / "run.mp4"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def run() -> None:
        with VideoRecorder(path, 10) as recorder:
            for i in range(1000):
                recorder.write(paint(i), i / 10)
                if i == 50:
                    part = next(tmp_path.glob(".run.*.part.mp4"))
                    resource.setrlimit(resource.RLIMIT_FSIZE, (part.stat().st_size + 1000, before[1]))

    try:
        with pytest.raises(RecordError, match=r"run\.mp4 cannot be written: File too large"):
            run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    numbers = [n for n, _ in shown(next(tmp_path.glob(".run.*.part.mp4")))]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= 30


@pytest.mark.usefixtures("no_thread_is_left")
def test_a_video_in_pieces(tmp_path: Path) -> None:
    """A later run goes on counting, also after pieces that a killed run left."""
    path = tmp_path / "run.mp4"
    for number in (2, 7):
        name = f".run-{number:04d}.1.part.mp4"
        (tmp_path / name).write_bytes(b"left")
    for _ in range(2):
        with SplitRecorder(path, 0.95, lambda piece: VideoRecorder(piece, 10)) as recorder:
            for i in range(25):
                recorder.write(paint(i), 7 + i / 10)
    pieces = piece_paths(path)
    assert [piece.name for piece in pieces] == [f"run-{i:04d}.mp4" for i in range(8, 14)]
    numbers = [[n for n, _ in shown(piece)] for piece in pieces]
    assert numbers == 2 * [list(range(10)), list(range(10, 20)), list(range(20, 25))]


@pytest.mark.usefixtures("no_thread_is_left")
def test_pieces_of_nothing(tmp_path: Path) -> None:
    with SplitRecorder(tmp_path / "run.mp4", 1, lambda piece: VideoRecorder(piece, 10)):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("_writer")
def test_a_higher_factor_makes_a_smaller_video(tmp_path: Path) -> None:
    for crf in (10, 40):
        with VideoRecorder(tmp_path / f"{crf}.mp4", 10, crf=crf) as recorder:
            for i in range(10):
                noise = np.random.default_rng(i).integers(0, 255, (240, 320, 3), np.uint8)
                recorder.write(noise, i / 10)
    assert (tmp_path / "40.mp4").stat().st_size < (tmp_path / "10.mp4").stat().st_size / 2


def _interrupt(code: str, path: Path, sent: signal.Signals) -> None:
    """Run code until 50 pictures are written; then interrupt its group, as a terminal does, or kill it."""
    command = [sys.executable, "-c", code, str(path), str(Path(__file__).parent)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, process_group=0
    )
    assert process.stdout is not None
    while int(process.stdout.readline()) < 50:
        pass
    if sent == signal.SIGINT:
        subprocess.run(["kill", "-INT", "--", f"-{process.pid}"], check=True)
    else:
        process.send_signal(sent)
    process.stdout.close()
    process.wait()


def _plays(finds: Callable[[], Path]) -> bool:
    try:
        return bool(shown(finds()))
    except (OSError, StopIteration):
        return False


def test_what_is_public() -> None:
    assert all(hasattr(record, name) for name in record.__all__)
