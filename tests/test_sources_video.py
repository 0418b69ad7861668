"""Video files: every frame, with the times of the container; seek, loop, damaged tails; the wall clock."""

from __future__ import annotations

import itertools
import logging
import math
import subprocess
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import FFMPEG, container_times, needs_ffmpeg, paint, read_number, write_clip, write_vfr_clip
from hypothesis import given
from hypothesis import strategies as st

from rtsearch.config import LiveSettings
from rtsearch.errors import SourceError
from rtsearch.sources import Paced, Source, VideoFile, open_source
from rtsearch.sources.timeline import Timeline
from rtsearch.types import Frame

LIVE = LiveSettings()
TICKS = [0, 1, 2, 7, 8, 9, 10, 25, 26, 60, 61, 62, 90]


def times(source: Source) -> list[float]:
    return [f.pts_s for f in source if f.pts_s is not None]


# Times ------------------------------------------------------------------------------------------------------

ODD_TIMES = [
    ([], []),
    ([0.0], [0.0]),
    ([0.1, 0.2, 0.5], [0.1, 0.2, 0.5]),
    ([math.nan, 0.1, math.nan, 0.3], [0.0, 0.1, 0.2, 0.3]),
    ([0.0, 0.0, 0.0, 0.3], [0.0, 0.1, 0.2, 0.3]),  # missing
    ([1.0, 1.1, 0.0, 1.3], [1.0, 1.1, 1.2, 1.3]),  # one missing, given as 0
    ([0.0, 0.1, 0.05, 0.2], [0.0, 0.1, 0.11, 0.2]),  # one odd
    ([5.0, 5.1, 1.0, 1.1], [5.0, 5.1, 5.2, 5.3]),  # counts anew
    ([0.0, 0.1, 90_000.0, 90_000.1], [0.0, 0.1, 0.2, 0.3]),  # jumps ahead by a day
]


@pytest.mark.parametrize(("raw", "mended"), ODD_TIMES)
def test_odd_times_are_mended(raw: list[float], mended: list[float]) -> None:
    timeline = Timeline(fps=10)
    assert [timeline.mend(t) for t in raw] == pytest.approx(mended)


@given(st.lists(st.floats(allow_infinity=True, allow_nan=True, width=32), max_size=50))
def test_mended_times_are_finite_and_never_go_back(raw: list[float]) -> None:
    timeline = Timeline(fps=30)
    mended = [timeline.mend(t) for t in raw]
    assert all(math.isfinite(t) for t in mended)
    assert all(b >= a for a, b in itertools.pairwise(mended))


@given(st.lists(st.floats(0.001, 3599), max_size=50))
def test_good_times_are_kept(steps: list[float]) -> None:
    raw = list(itertools.accumulate(steps, initial=0.0))
    timeline = Timeline(fps=30)
    assert [timeline.mend(t) for t in raw] == pytest.approx(raw)


# Files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["clip.avi", "clip.mp4"])
def test_every_frame_comes_once_at_its_time(name: str, tmp_path: Path) -> None:
    with open_source(str(write_clip(tmp_path / name, range(40), fps=20)), LIVE) as source:
        frames = list(source)
        assert not source.camera
        assert (source.live, source.fps, source.frames, source.wh) == (False, 20, 40, (320, 240))
    assert [read_number(f.bgr) for f in frames] == list(range(40)) == [f.id for f in frames]
    assert [f.pts_s for f in frames] == pytest.approx([i / 20 for i in range(40)], abs=0.001)
    assert all(b.captured_s >= a.captured_s for a, b in itertools.pairwise(frames))


@needs_ffmpeg
@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.ts"])
def test_variable_frame_rate_keeps_the_times_of_the_container(name: str, tmp_path: Path) -> None:
    path = write_vfr_clip(tmp_path / name, TICKS)
    with VideoFile(str(path)) as source:
        frames = list(source)
    assert [read_number(f.bgr) for f in frames] == TICKS
    assert [f.pts_s for f in frames] == pytest.approx(container_times(path), abs=1e-5)
    assert source.begins_s == frames[0].pts_s
    assert [(f.pts_s or 0) - source.begins_s for f in frames] == pytest.approx(
        [t / 30 for t in TICKS], abs=0.002
    )


@needs_ffmpeg
def test_raw_stream_without_times_counts_frames(tmp_path: Path) -> None:
    path = write_vfr_clip(tmp_path / "clip.h264", range(10))
    with VideoFile(str(path)) as source:
        assert source.frames is None
        fps = source.fps or 0
        assert times(source) == pytest.approx([i / fps for i in range(10)])


@needs_ffmpeg
def test_rotation_flag_is_honoured(tmp_path: Path) -> None:
    path, turned = write_vfr_clip(tmp_path / "upright.mp4", range(3)), tmp_path / "turned.mp4"
    quiet = [str(FFMPEG), "-v", "quiet", "-y"]
    ways = (["-display_rotation:v:0", "90", "-i", str(path)], ["-i", str(path), "-metadata:s:v", "rotate=90"])
    for way in ways:  # the first since FFmpeg 6, the second before
        if subprocess.run([*quiet, *way, "-c", "copy", str(turned)], check=False).returncode == 0:
            break
    subprocess.run([*quiet, "-i", str(turned), "-frames:v", "1", str(tmp_path / "wanted.png")], check=True)
    wanted = cv2.imread(str(tmp_path / "wanted.png"))
    assert wanted is not None
    with VideoFile(str(turned)) as source:
        assert source.wh == (240, 320)
        picture = next(source).bgr
    assert picture.shape == wanted.shape == (320, 240, 3)
    assert np.abs(picture.astype(int) - wanted).mean() < 3


@pytest.mark.parametrize("seconds", [0, 0.01, 0.05, 0.5, 0.999, 1.0, 1.95, -3])
def test_seek_goes_to_the_first_frame_at_or_after(seconds: float, tmp_path: Path) -> None:
    with VideoFile(str(write_clip(tmp_path / "clip.mp4", range(40), fps=20))) as source:
        next(source)
        source.seek(seconds)
        frame = next(source)
        wanted = max(0, math.ceil(seconds * 20 - 0.02))
        assert (read_number(frame.bgr), frame.pts_s) == (wanted, pytest.approx(wanted / 20, abs=0.001))
        assert frame.id == 1
        assert [read_number(f.bgr) for f in source] == list(range(wanted + 1, 40))


@needs_ffmpeg
def test_seek_is_exact_with_variable_frame_rate(tmp_path: Path) -> None:
    with VideoFile(str(write_vfr_clip(tmp_path / "clip.mp4", TICKS))) as source:
        for tick in [*TICKS, *reversed(TICKS), 3, 11, 59, 89]:
            source.seek(tick / 30)
            assert read_number(next(source).bgr) == min(t for t in TICKS if t >= tick)


@needs_ffmpeg
def test_seek_without_times_in_the_file(tmp_path: Path) -> None:
    with VideoFile(str(write_vfr_clip(tmp_path / "clip.h264", range(60)))) as source:
        source.seek(1.0)
        frame = next(source)
        assert frame.pts_s == pytest.approx(1.0, abs=0.001)
        assert read_number(frame.bgr) == round((source.fps or 0) * 1.0)


def test_seek_past_the_end_ends(tmp_path: Path) -> None:
    with VideoFile(str(write_clip(tmp_path / "clip.avi", range(5)))) as source:
        source.seek(100)
        assert list(source) == []
        source.seek(0)
        assert [read_number(f.bgr) for f in source] == [0, 1, 2, 3, 4]


def test_loop_starts_again(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.avi", range(3))
    with open_source(str(path), LIVE, loop=True) as source:
        frames = list(itertools.islice(source, 7))
    assert [read_number(f.bgr) for f in frames] == [0, 1, 2, 0, 1, 2, 0]
    assert [f.id for f in frames] == list(range(7))
    assert frames[3].pts_s == frames[0].pts_s


@pytest.mark.parametrize("share", [0.9, 0.5, 0.2])
def test_a_cut_file_plays_up_to_there_and_says_so(
    share: float, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    data = write_clip(tmp_path / "whole.avi", range(40)).read_bytes()
    path = tmp_path / "cut.avi"
    path.write_bytes(data[: int(len(data) * share)])
    with caplog.at_level(logging.WARNING), VideoFile(str(path)) as source:
        numbers = [read_number(f.bgr) for f in source]
    assert numbers[: len(numbers) - 1] == list(range(len(numbers) - 1))
    assert 0 < len(numbers) < 40
    assert "its header promises" in caplog.text
    assert capfd.readouterr() == ("", "")


def test_a_whole_file_ends_quietly(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with VideoFile(str(write_clip(tmp_path / "clip.mp4", range(10)))) as source:
        list(source)
    assert caplog.text == ""


def test_noise_in_the_middle_does_not_stop_a_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write_clip(tmp_path / "clip.avi", range(40))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4000] = np.random.default_rng(0).bytes(4000)
    path.write_bytes(bytes(data))
    with VideoFile(str(path)) as source:
        numbers = [read_number(f.bgr) for f in source]
    assert numbers[:15] == list(range(15))
    assert 39 in numbers
    assert capfd.readouterr() == ("", "")


def test_a_file_cut_inside_its_header_is_an_error(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", range(40))
    path.write_bytes(path.read_bytes()[:5000])  # its index is at the end
    with pytest.raises(SourceError, match="holds no video"):
        open_source(str(path), LIVE)


def test_close_from_another_thread_ends_the_iteration(tmp_path: Path) -> None:
    source = VideoFile(str(write_clip(tmp_path / "clip.avi", range(30))), loop=True)
    timer = threading.Timer(0.2, source.close)
    timer.start()
    assert sum(1 for _ in source) > 0
    timer.join()
    source.seek(0)
    assert list(source) == []
    source.close()


def test_a_real_clip_gives_every_frame(clip: Path) -> None:
    with open_source(str(clip), LIVE) as source:
        seen = times(source)
        assert (source.frames, len(seen), seen[-1]) == (250, 250, pytest.approx(9.96, abs=0.001))


# The wall clock ---------------------------------------------------------------------------------------------


class Clock:
    """Time that passes only when told; waiting makes it pass."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s

    def wait(self, seconds: float) -> bool:
        self.now_s += max(0.0, seconds)
        return False


def paced(source: Source, clock: Clock) -> Paced:
    player = Paced(source, now=clock)
    player._stop.wait = clock.wait  # type: ignore[assignment]
    return player


def test_paced_shows_every_frame_on_time_to_a_fast_reader(tmp_path: Path) -> None:
    clock = Clock()
    with paced(VideoFile(str(write_clip(tmp_path / "clip.avi", range(30), fps=20))), clock) as player:
        for i, frame in enumerate(player):
            assert clock.now_s - 1000 == pytest.approx(i / 20, abs=1e-6)
            assert read_number(frame.bgr) == frame.id == i
        assert player.dropped == 0


@pytest.mark.parametrize("step_s", [0.061, 0.103, 0.137, 0.519])
def test_paced_shows_the_frame_of_the_moment_to_a_slow_reader(step_s: float, tmp_path: Path) -> None:
    """Whenever a frame is handed out, it is the last one whose time has come: no off-by-one."""
    clock = Clock()
    seen = []
    with paced(VideoFile(str(write_clip(tmp_path / "clip.avi", range(60), fps=20))), clock) as player:
        for frame in player:
            elapsed_s = clock.now_s - 1000
            number = read_number(frame.bgr)
            assert number == min(59, math.floor(elapsed_s * 20 + 1e-6))
            assert number == frame.id
            seen.append(number)
            clock.now_s += step_s
        assert player.dropped == 60 - len(seen)
    assert seen[-1] == 59


@needs_ffmpeg
def test_paced_keeps_variable_frame_rates(tmp_path: Path) -> None:
    clock = Clock()
    with paced(VideoFile(str(write_vfr_clip(tmp_path / "clip.mp4", TICKS))), clock) as player:
        shown = [(read_number(f.bgr), clock.now_s - 1000) for f in player]
    assert [n for n, _ in shown] == TICKS
    assert [t for _, t in shown] == pytest.approx([t / 30 for t in TICKS], abs=0.002)


def test_paced_goes_on_without_a_rush_after_a_pause_and_a_loop(tmp_path: Path) -> None:
    clock = Clock()
    video = VideoFile(str(write_clip(tmp_path / "clip.avi", range(10), fps=10)), loop=True)
    with paced(video, clock) as player:
        first = [next(player) for _ in range(3)]
        clock.now_s += 60
        player.resume()
        rest = [(next(player), clock.now_s) for _ in range(10)]
    numbers = [read_number(f.bgr) for f in [*first, *(f for f, _ in rest)]]
    assert numbers == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2]
    assert np.diff([t for _, t in rest]) == pytest.approx([0.1] * 9, abs=0.002)


def test_paced_seeks_at_once_even_after_the_end(tmp_path: Path) -> None:
    clock = Clock()
    with paced(VideoFile(str(write_clip(tmp_path / "clip.avi", range(20), fps=10))), clock) as player:
        next(player)
        begun_s = clock.now_s
        player.seek(1.5)
        assert [read_number(f.bgr) for f in player] == [15, 16, 17, 18, 19]
        assert clock.now_s - begun_s == pytest.approx(0.4, abs=0.002)
        player.seek(0.2)
        assert read_number(next(player).bgr) == 2


def test_paced_refuses_a_source_without_times() -> None:
    class Timeless(Source):
        def __next__(self) -> Frame:
            return Frame(0, 0.0, None, paint(0))

        def close(self) -> None:
            pass

    with pytest.raises(ValueError, match="keeps its own time"):
        next(Paced(Timeless("timeless")))


def test_paced_by_the_real_clock_keeps_step(tmp_path: Path) -> None:
    with Paced(VideoFile(str(write_clip(tmp_path / "clip.avi", range(20), fps=40)))) as player:
        frames = list(player)
    numbers = [read_number(f.bgr) for f in frames]
    assert numbers == sorted(set(numbers))
    assert numbers[0] == 0
    assert numbers[-1] == 19
    assert frames[-1].captured_s - frames[0].captured_s >= 19 / 40 - 0.001
    assert len(frames) + player.dropped == 20


def test_paced_close_ends_a_wait() -> None:
    class Slow(Source):
        def __next__(self) -> Frame:
            self.id = getattr(self, "id", -1) + 1
            return Frame(self.id, 0.0, self.id * 1000.0, paint(self.id))

        def close(self) -> None:
            pass

    player = Paced(Slow("slow"))
    next(player)
    timer = threading.Timer(0.2, player.close)
    timer.start()
    assert list(player) == []
    timer.join()
