"""Recorded videos: their times, sizes and pieces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from clips import paint, read_number
from recorded import record_clip, shown

from rtsearch.recording import (
    SplitRecorder,
    VideoRecorder,
    piece_paths,
)
from rtsearch.sources import VideoFile

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


@pytest.mark.usefixtures("_video_writer")
@pytest.mark.parametrize(("times", "at"), TIMINGS)
def test_video_keeps_time_and_every_picture(times: list[float], at: list[float], tmp_path: Path) -> None:
    record_clip(tmp_path / "run.mp4", times)
    assert shown(tmp_path / "run.mp4") == [(i, round(t_s, 3)) for i, t_s in enumerate(at)]
    assert [p.name for p in tmp_path.iterdir()] == ["run.mp4"]


@pytest.mark.usefixtures("_video_writer")
@pytest.mark.parametrize("fps", [24000 / 1001, 24, 25, 30000 / 1001, 30, 60])
def test_a_steady_rate_stays_what_it_was(fps: float, tmp_path: Path) -> None:
    record_clip(tmp_path / "run.mp4", [5 + i / fps for i in range(50)], fps)
    with VideoFile(str(tmp_path / "run.mp4")) as source:
        assert source.fps == pytest.approx(fps, rel=1e-4)
        assert source.frames == 50


@pytest.mark.usefixtures("_video_writer")
def test_video_of_odd_and_changing_size(tmp_path: Path) -> None:
    with VideoRecorder(tmp_path / "run.mp4", 10) as recorder:
        for i, wh in enumerate([(321, 241), (321, 241), (640, 480), (160, 120)]):
            recorder.write(paint(i, wh), i / 10)
    with VideoFile(str(tmp_path / "run.mp4")) as source:
        assert source.wh == (320, 240)
        assert [read_number(f.bgr) for f in source] == [0, 1, 2, 3]


@pytest.mark.usefixtures("_video_writer")
def test_video_survives_a_caller_that_draws_over_its_picture(tmp_path: Path) -> None:
    canvas = np.zeros((240, 320, 3), np.uint8)
    with VideoRecorder(tmp_path / "run.mp4", 10) as recorder:
        for i, t_s in enumerate([0, 0.3]):
            canvas[:] = paint(i)
            recorder.write(canvas, t_s)
    assert set(shown(tmp_path / "run.mp4")) >= {(0, 0.0), (1, 0.3)}
    assert [n for n, _ in shown(tmp_path / "run.mp4")] == [0, 1]


@pytest.mark.usefixtures("_video_writer")
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


@pytest.mark.usefixtures("_video_writer")
def test_a_higher_factor_makes_a_smaller_video(tmp_path: Path) -> None:
    for crf in (10, 40):
        with VideoRecorder(tmp_path / f"{crf}.mp4", 10, crf=crf) as recorder:
            for i in range(10):
                noise = np.random.default_rng(i).integers(0, 255, (240, 320, 3), np.uint8)
                recorder.write(noise, i / 10)
    assert (tmp_path / "40.mp4").stat().st_size < (tmp_path / "10.mp4").stat().st_size / 2
