"""Recordings shown again: every frame with its own boxes, strips as they were, foreign records refused."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import blobs
import cv2
import numpy as np
import pytest
from barcode import WH, number_of, picture
from clips import FFMPEG, write_clip, write_vfr_clip
from playing import SETTINGS, Given, Watcher, lines, run
from test_live_stops import press_ctrl_c

from rtsearch.config import LiveSettings
from rtsearch.errors import RecordError, StageError
from rtsearch.jobs.replay import ReplayReport, replay
from rtsearch.live import Controls, Outputs, play
from rtsearch.recording import Recording
from rtsearch.render.layout import canvas_of, lay_out
from rtsearch.sources import Paced, Source, open_source

pytestmark = pytest.mark.usefixtures("no_thread_is_left")

FRAMES = 60


def make_video(path: Path, numbers: list[int], fps: float = 50.0) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, WH)
    for number in numbers:
        writer.write(picture(number))
    writer.release()
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("replay") / "clip.avi", list(range(FRAMES)))


def opened(video: Path) -> Source:
    return open_source(str(video), LiveSettings())


def record_run(
    source: Source, index: Any, path: Path, screen: Watcher, sleep_s: float = 0, **more: Any
) -> Any:
    pipeline: Any = blobs.BlobPipeline(blobs.BlobDetector(sleep_s))
    return play(source, pipeline, index, SETTINGS, Outputs(screen, records=(path,)), **more)


def show(
    source: Source, record: Path, index: Any, screen: Watcher | None = None, **more: Any
) -> ReplayReport:
    with Recording(record) as recording:
        return replay(source, recording, index, SETTINGS, Outputs(screen), **more)


@pytest.fixture(scope="module")
def recorded(
    video: Path, barcode_index: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Watcher]:
    """The record of a run that saw every frame, and what was on screen."""
    path, screen = tmp_path_factory.mktemp("recorded") / "o.jsonl", Watcher()
    record_run(opened(video), barcode_index, path, screen)
    assert len(screen.scenes) == FRAMES
    return path, screen


def panels(screen: Watcher) -> list[Any]:
    """The pictures without the notes, which tell of the run: the query frame, and the strips."""
    for scene, shown in zip(screen.scenes, screen.pictures, strict=True):
        x, y, width, height = lay_out(
            canvas_of(SETTINGS.show), scene.frame.bgr.shape[1::-1], scene.rows
        ).notes
        shown[y : y + height, x : x + width] = 0
    return screen.pictures


def has_own_boxes(scene: Any) -> bool:
    number = number_of(scene.frame.bgr)
    # JPEG blurs the edge of the rectangle.
    return len(scene.detections) >= 1 and abs(scene.detections.xyxy[0, 0] - (10 + 3 * number)) <= 2


# Frame by frame --------------------------------------------------------------------------------------------


def test_a_replay_looks_as_the_run_did(recorded: Any, video: Path, barcode_index: Any) -> None:
    path, live = recorded
    screen = Watcher()
    report = show(opened(video), path, barcode_index, screen)
    assert (report.frames_in, report.frames_shown, report.dropped) == (FRAMES, FRAMES, 0)
    assert (report.bare, report.lines) == (0, FRAMES)
    assert report.objects == sum(len(line["objects"]) for line in lines(path))
    for scene, before in zip(screen.scenes, live.scenes, strict=True):
        assert scene.frame.id == before.frame.id == number_of(scene.frame.bgr)
        assert has_own_boxes(scene)
        assert (scene.strips, scene.names, scene.held) == (before.strips, before.names, before.held)
        assert (scene.rows, scene.faint) == (before.rows, before.faint)
        assert (scene.neighbours.row == before.neighbours.row).all()
    for again, before in zip(panels(screen), panels(live), strict=True):
        assert (again == before).all()


def test_strips_and_those_that_have_just_gone(blob_index: Any, tmp_path: Path) -> None:
    """Photos that change every three frames, so that tracks end and strips are taken over."""
    numbers = [12 * i + i // 3 for i in range(24)]
    live, screen = Watcher(), Watcher()
    run(Given(numbers), blob_index, Outputs(live, records=(tmp_path / "o.jsonl",)))
    source = Given(numbers)
    source.frames = None  # the numbers are those of a longer one
    report = show(source, tmp_path / "o.jsonl", blob_index, screen)
    assert report.bare == 0
    assert any(scene.held for scene in live.scenes)
    for again, before in zip(panels(screen), panels(live), strict=True):
        assert (again == before).all()


@pytest.mark.parametrize("slow", [False, True])
def test_a_record_by_the_wall_clock_has_lines_for_the_frames_that_were_seen(
    video: Path, barcode_index: Any, tmp_path: Path, slow: bool
) -> None:
    report = record_run(
        Paced(opened(video)), barcode_index, tmp_path / "o.jsonl", Watcher(), 0.05 if slow else 0
    )
    seen = [line["frame"] for line in lines(tmp_path / "o.jsonl")]
    assert (report.dropped > 10) or not slow
    screen = Watcher()
    again = show(opened(video), tmp_path / "o.jsonl", barcode_index, screen)
    assert again.frames_shown == FRAMES
    assert again.bare == FRAMES - len(seen)
    assert [scene.frame.id for scene in screen.scenes if len(scene.detections)] == seen
    assert all(has_own_boxes(scene) for scene in screen.scenes if len(scene.detections))


def test_a_replay_by_the_wall_clock(recorded: Any, video: Path, barcode_index: Any) -> None:
    screen = Watcher()
    report = show(Paced(opened(video)), recorded[0], barcode_index, screen)
    assert report.frames_shown + report.dropped == FRAMES
    assert report.bare == 0
    numbers = [number_of(scene.frame.bgr) for scene in screen.scenes]
    assert numbers == sorted(numbers)
    assert all(has_own_boxes(scene) for scene in screen.scenes)


@pytest.mark.skipif(FFMPEG is None, reason="ffmpeg is not installed: apt-get install ffmpeg")
def test_variable_frame_rate(barcode_index: Any, tmp_path: Path) -> None:
    clip = write_vfr_clip(tmp_path / "clip.mp4", [0, 1, 2, 9, 10, 25, 26, 31])
    record_run(opened(clip), barcode_index, tmp_path / "o.jsonl", Watcher())
    assert show(opened(clip), tmp_path / "o.jsonl", barcode_index).bare == 0


def test_the_viewer_goes_to_another_place(recorded: Any, video: Path, barcode_index: Any) -> None:
    controls = Controls(SETTINGS.detect, SETTINGS.show)

    places_s = {10: 0.8, 20: 0.2}  # by number of pictures that were shown

    def goes_on(screen: Watcher) -> bool:
        if (to_s := places_s.pop(len(screen.scenes), None)) is not None:
            controls.seek(to_s)
        return len(screen.scenes) < 30

    screen = Watcher(goes_on)
    report = show(opened(video), recorded[0], barcode_index, screen, controls=controls)
    numbers = [number_of(scene.frame.bgr) for scene in screen.scenes]
    assert {40, 10} <= set(numbers)
    assert report.bare == 0
    assert all(has_own_boxes(scene) for scene in screen.scenes)


def test_a_run_that_was_looped_and_jumped(video: Path, barcode_index: Any, tmp_path: Path) -> None:
    """Its frame numbers are no places in the file any more; its times are."""
    controls = Controls(SETTINGS.detect, SETTINGS.show, loop=True)

    places_s = {10: 0.5}

    def goes_on(screen: Watcher) -> bool:
        if (to_s := places_s.pop(len(screen.scenes), None)) is not None:
            controls.seek(to_s)
        return len(screen.scenes) < 100

    live = Watcher(goes_on)
    record_run(opened(video), barcode_index, tmp_path / "o.jsonl", live, controls=controls)
    seen = {number_of(scene.frame.bgr) for scene in live.scenes}
    assert len(seen) == FRAMES
    screen = Watcher()
    report = show(opened(video), tmp_path / "o.jsonl", barcode_index, screen)
    assert report.frames_shown == FRAMES
    assert report.bare == 0
    assert all(has_own_boxes(scene) for scene in screen.scenes)


# Records that are odd --------------------------------------------------------------------------------------


def altered(recorded: Any, tmp_path: Path, alter: Callable[[list[dict[str, Any]]], object]) -> Path:
    written = lines(recorded[0])
    alter(written)
    path = tmp_path / "altered.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in written), encoding="utf-8")
    return path


def test_frames_without_a_line_are_bare(
    recorded: Any, video: Path, barcode_index: Any, tmp_path: Path
) -> None:
    def alter(written: list[dict[str, Any]]) -> None:
        del written[10:20], written[0]

    path = altered(recorded, tmp_path, alter)
    screen = Watcher()
    assert show(opened(video), path, barcode_index, screen).bare == 11
    bare = [scene.frame.id for scene in screen.scenes if not len(scene.detections)]
    assert bare == [0, *range(10, 20)]
    assert all(has_own_boxes(scene) for scene in screen.scenes if len(scene.detections))


def test_a_record_without_strips(recorded: Any, video: Path, barcode_index: Any, tmp_path: Path) -> None:
    """As any tool may write it."""
    path = altered(recorded, tmp_path, lambda written: [line.pop("shown") for line in written])
    screen = Watcher()
    assert show(opened(video), path, barcode_index, screen).bare == 0
    assert all(has_own_boxes(scene) and scene.strips == (0,) for scene in screen.scenes)
    nearest = [[hit["row"] for hit in line["objects"][0]["neighbours"]] for line in lines(path)]
    assert [scene.neighbours.row[0].tolist() for scene in screen.scenes] == nearest


@pytest.mark.parametrize("cut", [1, 5, 200])
def test_a_last_line_that_was_cut_off(
    recorded: Any, video: Path, barcode_index: Any, tmp_path: Path, cut: int, caplog: Any
) -> None:
    path = tmp_path / "cut.jsonl"
    path.write_bytes(recorded[0].read_bytes()[:-cut])
    report = show(opened(video), path, barcode_index)
    whole = cut == 1  # only the line's end is missing
    assert (report.lines, report.bare) == ((FRAMES, 0) if whole else (FRAMES - 1, 1))
    assert [r.message for r in caplog.records] == (
        [] if whole else [f"{path}: the last line was cut off; it is left out"]
    )


CONTENTS = [
    (b"", "holds no frame"),
    (b"\n", "line 1 is none of a record"),
    (b"nonsense", "holds no frame"),  # a first line that was cut off
    (b"nonsense\n", "line 1 is none of a record"),
    (b"\xff\xfe\n", "line 1 is none of a record"),
    (b"[]\n", "line 1 is none of a record"),
    (b"[" * 100_000 + b"\n", "line 1 is none of a record"),
    (b'{"frame": 0}\n', "line 1 is none of a record"),
    (b'{"frame": true, "t_s": 0, "objects": []}\n', "line 1 is none of a record"),
    (b'{"frame": 0, "t_s": NaN, "objects": []}\n', "line 1 is none of a record"),
    (b'{"frame": 0, "t_s": ' + b"9" * 400 + b', "objects": []}\n', "line 1 is none of a record"),
    (b'{"frame": 0, "t_s": ' + b"9" * 5000 + b', "objects": []}\n', "line 1 is none of a record"),
    (b'{"frame": 0, "t_s": 1e300, "objects": []}\n', "line 1 is none of a record"),
    (b'{"frame": ' + b"9" * 400 + b', "t_s": 0, "objects": []}\n', "line 1 is none of a record"),
    (b'{"frame": -1, "t_s": 0, "objects": []}\n', "line 1 is none of a record"),
    (b'{"frame": 0, "t_s": 0, "objects": 7}\n', "line 1 is none of a record"),
    (b'{"frame": 0, "t_s": 0, "objects": []}\n' * 2, "line 2: frame 0 comes after frame 0"),
]


@pytest.mark.parametrize(("content", "words"), CONTENTS)
def test_files_that_are_no_records(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "o.jsonl"
    path.write_bytes(content)
    with pytest.raises(RecordError, match=words) as caught:
        Recording(path)
    assert str(caught.value).count(str(path)) == 1


def test_a_line_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtsearch.recording.reader._MOST_LINE_BYTES", 1000)
    (tmp_path / "o.jsonl").write_bytes(b"x" * 5000)
    with pytest.raises(RecordError, match="line 1 is longer than any record's"):
        Recording(tmp_path / "o.jsonl")


def test_a_record_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"none\.jsonl cannot be read: No such file"):
        Recording(tmp_path / "none.jsonl")
    with pytest.raises(RecordError, match="cannot be read: Is a directory"):
        Recording(tmp_path)


def set_at(i: int, key: str, value: Any, of: str = "objects") -> Callable[[list[dict[str, Any]]], object]:
    return lambda written: written[i][of][0].update({key: value})


DAMAGES = [
    (set_at(7, "xyxy", [0, 0, 5000, 10]), "line 8: an object lies outside of the 320x240 frame"),
    (set_at(7, "xyxy", [0, 0, 5]), "line 8: it is damaged"),
    (set_at(7, "xyxy", "abcd"), "line 8: it is damaged"),
    (set_at(7, "label", "unicorn"), "the library knows no unicorn"),
    (set_at(7, "score", 1e308), "line 8: it is damaged"),  # beyond what 32 bits hold
    (set_at(7, "track", 99), "line 8: the strips shown are not those of its objects"),
    (set_at(7, "strip", -1, "shown"), "there is no such strip"),
    (set_at(7, "strip", 10**9, "shown"), "there is no such strip"),
    (set_at(7, "rows", [10**6], "shown"), "a strip shows what the library does not hold"),
    (set_at(7, "neighbours", [{"row": 10**6, "photo": "000.png"}]), "object 1000000 of .* is not of 000.png"),
    (set_at(7, "neighbours", [{"row": 0, "photo": "other.png"}]), "is not of other.png; the record was made"),
    (set_at(7, "neighbours", None), "line 8: it is damaged"),
]


@pytest.mark.parametrize(("alter", "words"), DAMAGES)
def test_lines_that_cannot_be_shown(
    alter: Any, words: str, recorded: Any, video: Path, barcode_index: Any, tmp_path: Path
) -> None:
    source = opened(video)
    with pytest.raises(RecordError, match=words):
        show(source, altered(recorded, tmp_path, alter), barcode_index)
    assert list(source) == []  # closed


# Other videos ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("numbers", "fps", "words"),
    [
        (list(range(FRAMES)), 60.0, "line 2: frame 1 is at 0.020 s, but at 0.017 s of .*another video"),
        (list(range(FRAMES)), 25.0, "line 2: frame 1 is at 0.020 s, but at 0.040 s of .*another video"),
        (list(range(5)), 50.0, r"goes on until 1\.2 s, .* only until 0\.1 s; the record is of another video"),
    ],
)
def test_a_record_of_another_video(
    numbers: list[int], fps: float, words: str, recorded: Any, barcode_index: Any, tmp_path: Path
) -> None:
    other = make_video(tmp_path / "other.avi", numbers, fps)
    with pytest.raises(RecordError, match=words):
        show(opened(other), recorded[0], barcode_index)


def test_a_record_says_what_it_is_of(recorded: Any, video: Path, barcode_index: Any, tmp_path: Path) -> None:
    """Same rate and size, a little longer: only the number of frames tells."""
    longer = make_video(tmp_path / "longer.avi", list(range(FRAMES + 3)))
    with Recording(recorded[0]) as recording:
        assert recording.video == {"name": video.name, "frames": FRAMES, "wh": [*WH], "fps": 50.0}
    with pytest.raises(RecordError, match=rf"is of {video.name}, {FRAMES} frames"):
        show(opened(longer), recorded[0], barcode_index)


def test_a_record_of_another_library(recorded: Any, video: Path, blob_index: Any) -> None:
    with pytest.raises(RecordError, match="made with another library, or before it was changed"):
        show(opened(video), recorded[0], blob_index)


def test_ctrl_c_ends_a_replay(recorded: Any, video: Path, barcode_index: Any) -> None:
    def goes_on(screen: Watcher) -> bool:
        if len(screen.scenes) == 5:
            press_ctrl_c()
        return True

    report = show(opened(video), recorded[0], barcode_index, Watcher(goes_on))
    assert 5 <= report.frames_shown < FRAMES


def test_a_fault_of_ours_has_the_stages_name(
    recorded: Any, video: Path, barcode_index: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("it melted")

    monkeypatch.setattr("rtsearch.library.thumbnails.ThumbCache.get", fails)
    with pytest.raises(StageError, match="replay: it melted"):
        show(opened(video), recorded[0], barcode_index, Watcher())


# The command -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_replay_on_the_command_line(cli: Any, library: Path, clip: Path, tmp_path: Path) -> None:
    """A real clip: recorded, then shown again, both as a video; the two videos show the same strips."""
    capture = cv2.VideoCapture(str(clip))
    writer = cv2.VideoWriter("short.avi", cv2.VideoWriter.fourcc(*"MJPG"), 25, (640, 272))
    for _ in range(8):
        writer.write(capture.read()[1])
    writer.release()
    capture.release()
    done = cli(
        *("run", library, "--source", "short.avi", "--headless", "--json"),
        *("--record", "o.jsonl", "--out", "live.mp4"),
    )
    assert done.code == 0
    again = cli("replay", "short.avi", "o.jsonl", library, "--out", "again.mp4", "--headless", "--json")
    assert again.code == 0, again.err
    report = again.json
    assert list(report) == [field.name for field in dataclasses.fields(ReplayReport)]
    assert (report["frames_in"], report["frames_shown"], report["lines"]) == (8, 8, 8)
    assert (report["dropped"], report["bare"], report["objects"]) == (0, 0, done.json["objects"])
    live, replayed = (cv2.VideoCapture(name) for name in ("live.mp4", "again.mp4"))
    for _ in range(8):
        before, after = live.read()[1], replayed.read()[1]
        same = np.abs(before.astype(int) - after).mean(2)
        assert same[200:].mean() < 1  # strips; both were compressed
        assert same[:200, :440].mean() < 1
    live.release()
    replayed.release()


def test_replay_that_cannot_be(cli: Any, library: Path, clip: Path, tmp_path: Path) -> None:
    write_clip(Path("clip.avi"), range(3))
    Path("o.jsonl").write_text('{"frame":0,"t_s":0.0,"objects":[]}\n', encoding="utf-8")
    assert "no source" in cli("replay", "none.avi", "o.jsonl", library).complaint
    assert "none.jsonl cannot be read" in cli("replay", "clip.avi", "none.jsonl", library).complaint
    assert "none.lib" in cli("replay", "clip.avi", "o.jsonl", "none.lib").complaint
    assert (
        "clip.avi is read by this command"
        in cli("replay", "clip.avi", "o.jsonl", library, "--out", "clip.avi").complaint
    )
    assert "written as .mp4" in cli("replay", "clip.avi", "o.jsonl", library, "--out", "x.avi").complaint
    done = cli("replay", "clip.avi", "o.jsonl", library, "--headless")
    assert done.code == 0
    assert "3 frames" in done.err
    assert "2 without a record" in done.err
