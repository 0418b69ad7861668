"""The sound of a recorded video: as long as the picture, and in time with it, whatever became of the frames.

In the test clip the picture turns white at the moment at which a tone begins.
"""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import blobs
import numpy as np
import pytest
from clips import FFMPEG, write_clip
from playing import SETTINGS, Watcher

from rtsearch.live import Outputs, play
from rtsearch.recording import VideoRecorder, ffmpeg
from rtsearch.recording import mp4 as video_module
from rtsearch.sources import Paced, VideoFile
from rtsearch.types import Frame

pytestmark = [
    pytest.mark.usefixtures("no_thread_is_left"),
    pytest.mark.skipif(
        FFMPEG is None or shutil.which("ffprobe") is None,
        reason="ffmpeg is not installed: apt-get install ffmpeg",
    ),
]

RATE = 44_100
TONE_S = 1.2
WHITE = f"color=black:s=160x120:r=25:d=3,drawbox=c=white:t=fill:enable='gte(t,{TONE_S})'"
TONE = f"aevalsrc='if(gte(t,{TONE_S}),sin(2*PI*880*t),0)':d=3:s={RATE}"
# A player shows a picture for a frame's interval, here 40 ms; the tone's beginning is found to the ms.
WITHIN_S = 0.03


def make_clip(path: Path, *options: str, before_sound: tuple[str, ...] = ()) -> Path:
    assert FFMPEG is not None
    command = [FFMPEG, "-v", "error", "-y", "-f", "lavfi", "-i", WHITE, *before_sound, "-f", "lavfi"]
    command += ["-i", TONE, "-c:v", "libx264", "-preset", "veryfast", "-c:a", "aac", *options, str(path)]
    subprocess.run(command, check=True)
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("sound") / "a clip.mp4")


def facts(path: Path) -> dict[str, dict[str, float]]:
    """Start and duration of each kind of stream, s."""
    command = ["ffprobe", "-v", "error", "-show_entries", "stream=codec_type,start_time,duration"]
    done = subprocess.run([*command, "-of", "json", str(path)], capture_output=True, check=True)
    return {
        stream["codec_type"]: {key: float(stream[key]) for key in ("start_time", "duration")}
        for stream in json.loads(done.stdout)["streams"]
    }


def loud_s(path: Path) -> list[float]:
    """When the tone begins, s, each time that it does."""
    assert FFMPEG is not None
    command = [FFMPEG, "-v", "error", "-i", str(path), "-vn", "-ac", "1", "-ar", str(RATE)]
    command += ["-af", "aresample=async=1:first_pts=0", "-f", "s16le", "-"]
    pcm = np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, np.int16)
    blocks = np.abs(pcm[: len(pcm) // 44 * 44].astype(int)).reshape(-1, 44).max(1) > 4000  # of 1 ms
    return [float(i) * 44 / RATE for i in np.flatnonzero(np.diff(blocks.astype(int), prepend=0) == 1)]


def white_s(path: Path) -> list[float]:
    """When the picture turns white, s, each time that it does."""
    with VideoFile(str(path)) as source:
        pictures = [(frame.pts_s, frame.bgr.mean() > 128) for frame in source]
    light = np.diff([int(white) for _, white in pictures], prepend=0) == 1
    return [float(pictures[i][0] or 0.0) for i in np.flatnonzero(light)]


def record_frames(out: Path, frames: Iterable[Frame], sound: Path | None) -> None:
    with VideoRecorder(out, 25.0, sound) as recorder:
        for frame in frames:
            recorder.write(frame.bgr, frame.pts_s or 0.0)


def frames_of(clip: Path, keep: Callable[[int], bool] = lambda _: True) -> list[Frame]:
    with VideoFile(str(clip)) as source:
        return [frame for frame in source if keep(frame.id)]


def check(out: Path, turns: int = 1) -> None:
    found = facts(out)
    assert set(found) == {"video", "audio"}
    assert found["audio"]["start_time"] == found["video"]["start_time"] == 0
    assert abs(found["audio"]["duration"] - found["video"]["duration"]) < 0.05
    whites, louds = white_s(out), loud_s(out)
    assert len(whites) == len(louds) == turns
    assert np.abs(np.subtract(whites, louds)).max() < WITHIN_S, (whites, louds)


KEPT: list[tuple[str, Callable[[int], bool]]] = [
    ("all", lambda n: True),
    ("every third", lambda n: n % 3 == 0),
    ("from 0.4 s on", lambda n: n >= 10),
    ("a gap before the tone", lambda n: n < 5 or n >= 30),
    ("an odd rhythm", lambda n: n % 7 in (0, 1, 5) or n == 30),
    ("until 1.6 s", lambda n: n < 40),
]


@pytest.mark.parametrize(("_what", "keep"), KEPT, ids=[what for what, _ in KEPT])
def test_sound_stays_with_the_picture(_what: str, keep: Callable[[int], bool], clip: Path, tmp_path: Path):
    record_frames(tmp_path / "o.mp4", frames_of(clip, keep), clip)
    check(tmp_path / "o.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["o.mp4"]


@pytest.mark.parametrize(
    ("name", "options", "before_sound"),
    [
        ("clip.mkv", (), ()),
        ("clip.ts", (), ()),
        ("clip.mov", ("-bf", "3"), ()),
        ("late sound.mp4", (), ("-itsoffset", "0.5")),
        ("-o; $(clip) 'x'.mp4", (), ()),
    ],
)
def test_sound_of_other_files(name: str, options: Any, before_sound: Any, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / name, *options, before_sound=before_sound)
    record_frames(tmp_path / "o.mp4", frames_of(clip), clip)
    assert loud_s(tmp_path / "o.mp4")[0] == pytest.approx(TONE_S + 0.5 * bool(before_sound), abs=WITHIN_S)
    assert white_s(tmp_path / "o.mp4")[0] == pytest.approx(TONE_S, abs=1e-3)


def test_sound_follows_jumps(clip: Path, tmp_path: Path) -> None:
    """Twice around, then from the middle: the tone begins anew each time."""
    frames = frames_of(clip)
    record_frames(tmp_path / "o.mp4", [*frames, *frames, *frames[20:60]], clip)
    check(tmp_path / "o.mp4", turns=3)


def test_too_many_jumps_leave_the_picture(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ffmpeg, "MOST_PIECES", 2)
    record_frames(tmp_path / "o.mp4", frames_of(clip) * 3, clip)
    assert set(facts(tmp_path / "o.mp4")) == {"video"}
    assert [r.message for r in caplog.records] == [f"{tmp_path}/o.mp4 has no sound: there are 3 jumps in it"]


def test_a_file_without_sound(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clip = write_clip(tmp_path / "silent.avi", range(10), 25)
    record_frames(tmp_path / "o.mp4", frames_of(clip), clip)
    assert set(facts(tmp_path / "o.mp4")) == {"video"}
    assert not caplog.records


def test_sound_that_is_gone_or_damaged_leaves_the_picture(
    clip: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = tmp_path / "clip.mp4"
    shutil.copyfile(clip, copy)
    frames = frames_of(copy)
    copy.unlink()
    record_frames(tmp_path / "o.mp4", frames, copy)
    assert set(facts(tmp_path / "o.mp4")) == {"video"}
    assert len(frames_of(tmp_path / "o.mp4")) == len(frames)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o.mp4"]


def test_a_second_ctrl_c_leaves_the_picture(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(video_module, "add_sound", interrupted)
    with pytest.raises(KeyboardInterrupt):
        record_frames(tmp_path / "o.mp4", frames_of(clip), clip)
    assert set(facts(tmp_path / "o.mp4")) == {"video"}
    assert [path.name for path in tmp_path.iterdir()] == ["o.mp4"]


def test_without_ffmpeg_one_line_says_so(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(video_module, "find_ffmpeg", lambda: None)
    with caplog.at_level(logging.WARNING):
        record_frames(tmp_path / "o.mp4", frames_of(clip), clip)
        record_frames(tmp_path / "o.mp4", frames_of(clip), None)
    assert [record.message for record in caplog.records] == [
        f"{tmp_path}/o.mp4 will have no sound: ffmpeg is not installed"
    ]
    assert set(facts(tmp_path / "o.mp4")) == {"video"}


# Through the live loop -------------------------------------------------------------------------------------


@pytest.mark.parametrize("paced", [False, True])
def test_a_run_has_the_sound_of_its_file(blob_index: Any, clip: Path, tmp_path: Path, paced: bool) -> None:
    """By the wall clock, with a detector that is too slow, most frames are dropped."""
    source = Paced(VideoFile(str(clip))) if paced else VideoFile(str(clip))
    pipeline: Any = blobs.BlobPipeline(blobs.BlobDetector(0.15 if paced else 0))
    # The query frame fills the picture, so that it turns white as the clip does.
    show = SETTINGS.show.model_copy(update={"window_wh": (320, 240), "header_height": 240})
    settings = SETTINGS.model_copy(update={"show": show})
    screen = Watcher()
    report = play(source, pipeline, blob_index, settings, Outputs(screen, tmp_path / "o.mp4"))
    assert (report.dropped > 10) == paced
    found = facts(tmp_path / "o.mp4")
    assert found["video"]["duration"] == pytest.approx(3, abs=0.3 if paced else 0.01)
    assert abs(found["audio"]["duration"] - found["video"]["duration"]) < 0.05
    assert loud_s(tmp_path / "o.mp4")[0] == pytest.approx(TONE_S, abs=WITHIN_S)
    turned = next(scene.frame.pts_s for scene in screen.scenes if scene.frame.bgr.mean() > 128)
    assert white_s(tmp_path / "o.mp4")[0] == pytest.approx(turned, abs=1e-3)
    assert turned >= TONE_S - 1e-3


def test_a_run_that_is_stopped_has_as_much_sound(blob_index: Any, clip: Path, tmp_path: Path) -> None:
    pipeline: Any = blobs.BlobPipeline()
    screen = Watcher(lambda screen: len(screen.scenes) < 40)
    begun_s = time.monotonic()
    play(VideoFile(str(clip)), pipeline, blob_index, SETTINGS, Outputs(screen, tmp_path / "o.mp4"))
    found = facts(tmp_path / "o.mp4")
    assert found["video"]["duration"] == pytest.approx(1.6, abs=0.001)
    assert found["audio"]["duration"] == pytest.approx(1.6, abs=0.05)
    assert time.monotonic() - begun_s < 20
