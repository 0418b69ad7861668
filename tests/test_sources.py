"""open_source: what a text means, and the clear error when it is not there. Photos, folders, random."""

from __future__ import annotations

import errno
import itertools
import os
import random
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import cv2
import numpy as np
import pytest
from clips import paint, read_number, write_clip

from rtsearch.config import LiveSettings, Settings
from rtsearch.errors import PhotoError, SourceError
from rtsearch.images.decode import read_photo
from rtsearch.sources import Paced, open_source
from rtsearch.sources import slideshow as photos
from rtsearch.types import U8Array

LIVE = LiveSettings(open_timeout_s=1.0, random_s=2.0)


def save_photo(path: Path, number: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), paint(number))
    return path


MISSING = [
    ("", "no source given"),
    ("   ", "no source given"),
    ("nowhere.mp4", "did you mean .*nowhere2.mp4"),
    ("something", "no such file, folder or camera"),
    ("97", "camera 97 cannot be opened: there is no /dev/video97; cameras found:"),
    ("/dev/video97", "camera /dev/video97 cannot be opened: there is no /dev/video97"),
    ("zero.mp4", "zero.mp4 is empty"),
    ("text.mp4", "text.mp4 holds no video"),
    ("text.jpg", "text.jpg cannot be shown: not a picture"),
    ("empty", "empty cannot be shown: there are no photos in it"),
    ("shot%04d.png", "holds no video"),
    ("random", "random cannot be shown"),
    ("screen:1,2,3", "expected screen:x,y,w,h"),
    ("screen:1,2,0,4", "at least 1 pixel"),
    ("http://127.0.0.1:1/live", "http://127.0.0.1:1/live cannot be opened: Connection refused"),
    ("rtsp://user:secret@127.0.0.1:1/live", r"rtsp://user:\*\*\*@127.0.0.1:1/live cannot be opened"),
    ("http://127.0.0.1:1/clip.mp4", "cannot be opened: Connection refused"),
    ("udp://127.0.0.1:45871", "gives no picture within 1 s"),
]


@pytest.mark.parametrize(("spec", "words"), MISSING)
def test_what_is_not_there_is_named(
    spec: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "nowhere2.mp4").write_bytes(b"x")
    (tmp_path / "zero.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video\n" * 100)
    (tmp_path / "text.jpg").write_text("no photo\n" * 100)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=words) as caught:
        open_source(spec, LIVE)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")  # neither OpenCV nor FFmpeg adds lines of its own


def test_password_is_never_in_a_message() -> None:
    with pytest.raises(SourceError) as caught:
        open_source("rtsp://user:secret@127.0.0.1:1/live", LIVE)
    assert "secret" not in str(caught.value)


def test_photo_is_one_frame(tmp_path: Path) -> None:
    path = save_photo(tmp_path / "ein Bild ä.png", 7)
    with open_source(str(path), LIVE) as source:
        frames = list(source)
    assert (source.live, source.frames, source.wh, source.status) == (False, 1, (320, 240), "ok")
    assert [read_number(f.bgr) for f in frames] == [7]
    assert (frames[0].name, frames[0].pts_s) == (str(path), 0.0)


def test_folder_shows_each_photo_once_in_order(tmp_path: Path) -> None:
    for i in range(5):
        save_photo(tmp_path / f"sub{i % 2}" / f"{i}.PNG", i)
    (tmp_path / "notes.txt").write_text("not shown")
    (tmp_path / "sub0" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "loop").symlink_to(tmp_path)
    with open_source(str(tmp_path), LIVE) as source:
        frames = list(source)
    assert [read_number(f.bgr) for f in frames] == [0, 2, 4, 1, 3]
    assert [f.id for f in frames] == [0, 1, 2, 3, 4]
    assert [f.pts_s for f in frames] == [0, 2, 4, 6, 8]
    assert source.fps == 0.5


def test_random_follows_the_callers_order_and_may_go_on_for_ever(tmp_path: Path) -> None:
    paths = [save_photo(tmp_path / f"{i}.png", i) for i in range(3)]
    with open_source("random", LIVE, photos=itertools.cycle(paths)) as source:
        numbers = [read_number(f.bgr) for f in itertools.islice(source, 7)]
    assert numbers == [0, 1, 2, 0, 1, 2, 0]
    assert list(source) == []


def test_random_gives_up_when_no_photo_is_left(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"gone\.png: cannot be read"):
        open_source("random", LIVE, photos=itertools.repeat(tmp_path / "gone.png"))


@pytest.fixture
def _quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "_LOOK_AGAIN_S", 0.01)


def lines(caplog: pytest.LogCaptureFixture, words: str) -> int:
    return sum(words in record.getMessage() for record in caplog.records)


def in_order(paths: list[Path]) -> Iterator[Path]:
    return itertools.cycle(paths)


def at_random(paths: list[Path]) -> Iterator[Path]:
    while True:
        yield random.choice(paths)


def each_once(paths: list[Path]) -> None:
    return None


@pytest.mark.parametrize("empty", [False, True], ids=["folder gone", "folder empty"])
@pytest.mark.parametrize("order", [each_once, in_order, at_random])
@pytest.mark.usefixtures("_quick_looks")
def test_photos_that_are_away_are_waited_for(
    order: Callable[[list[Path]], Iterator[Path] | None],
    empty: bool,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    home, away = tmp_path / "photos", tmp_path / "away"
    paths = [save_photo(home / f"{i}.png", i) for i in range(5)]
    endless = order(paths)
    spec = str(home) if endless is None else "random"
    numbers = []
    with open_source(spec, LIVE, photos=endless or ()) as source, ThreadPoolExecutor(1) as reader:
        numbers += [read_number(next(source).bgr) for _ in range(2)]
        for times in (1, 2):
            home.rename(away)
            if empty:  # where a stick was mounted, a folder stays
                home.mkdir()
            waiting = reader.submit(next, source)
            while source.status == "ok":
                assert not waiting.done()
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.1)  # ten looks, and one line
            assert lines(caplog, "no photo can be read") == times
            if empty:
                home.rmdir()
            away.rename(home)
            numbers.append(read_number(waiting.result(timeout=20).bgr))
            assert source.status == "ok"
            assert lines(caplog, "can be read again") == times
        if endless is None:
            numbers += [read_number(frame.bgr) for frame in source]
    assert lines(caplog, "left out") == 0
    assert len(caplog.records) == 4
    if order is not at_random:
        assert numbers == [0, 1, 2, 3, 4][: len(numbers)]
        assert len(numbers) == (5 if endless is None else 4)


def test_close_wakes_who_waits_for_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "_LOOK_AGAIN_S", 1e6)
    for i in range(3):
        save_photo(tmp_path / "photos" / f"{i}.png", i)
    with ThreadPoolExecutor(1) as reader:
        source = Paced(open_source(str(tmp_path / "photos"), LIVE))
        next(source)
        shutil.rmtree(tmp_path / "photos")
        waiting = reader.submit(next, source, None)
        while source.status == "ok":
            assert not waiting.done()
        source.close()
        assert waiting.result(timeout=20) is None


@pytest.mark.parametrize("gone", [{2}, {2, 3}, {0, 1, 2, 3}, {3, 4}, {0, 1, 3, 4}])
def test_deleted_photos_are_left_out_while_others_are_there(
    gone: set[int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = [save_photo(tmp_path / f"{i}.png", i) for i in range(5)]
    with open_source(str(tmp_path), LIVE) as source:
        next(source)
        next(source)
        for number in gone:
            paths[number].unlink()
        assert [read_number(frame.bgr) for frame in source] == sorted({2, 3, 4} - gone)
    assert lines(caplog, "left out") == len(caplog.records) == len({2, 3, 4} & gone)


def test_a_broken_photo_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good, broken = save_photo(tmp_path / "good.png", 1), tmp_path / "broken.png"
    broken.write_bytes(b"no photo")
    with open_source("random", LIVE, photos=itertools.cycle([broken, good])) as source:
        assert [read_number(next(source).bgr) for _ in range(4)] == [1, 1, 1, 1]
    reason = "not a picture of a known kind"
    assert [record.getMessage() for record in caplog.records] == [f"left out: {broken}: {reason}"]


@pytest.mark.usefixtures("_quick_looks")
def test_endless_broken_photos_are_waited_for_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = save_photo(tmp_path / "1.png", 1)
    with (
        open_source("random", LIVE, photos=itertools.repeat(path)) as source,
        ThreadPoolExecutor(1) as reader,
    ):
        next(source)
        path.write_bytes(b"no photo")
        waiting = reader.submit(next, source)
        while source.status == "ok":
            assert not waiting.done()
        save_photo(tmp_path / "new" / "2.png", 2).replace(path)
        assert read_number(waiting.result(timeout=20).bgr) == 2
    assert len(caplog.records) == 3


def test_a_slide_show_by_the_clock_shows_each_photo_however_late(tmp_path: Path) -> None:
    for i in range(4):
        save_photo(tmp_path / f"{i}.png", i)
    clock_s = [100.0]

    def read(path: Path) -> U8Array:
        clock_s[0] += 30.0 if path.stem == "2" else 0.0  # it was away
        return read_photo(path)

    def wait(seconds: float) -> bool:
        clock_s[0] += seconds
        return False

    with Paced(open_source(str(tmp_path), LIVE, read=read), now=lambda: clock_s[0]) as player:
        player._stop.wait = wait  # type: ignore[assignment]
        seen = [(read_number(frame.bgr), clock_s[0]) for frame in player]
    assert seen == [(0, 100), (1, 102), (2, 132), (3, 134)]
    assert player.dropped == 0


def test_a_slide_show_leaves_out_what_is_excluded(tmp_path: Path) -> None:
    for i, name in enumerate(
        ("1.png", "._1.png", "@eaDir/1.png", "trip/2.png", "trip/private/3.png", "z.PNG")
    ):
        save_photo(tmp_path / name, i)
    (tmp_path / "trip" / ".rtsearchignore").write_text("# not for everybody\nprivate\n")
    with open_source(str(tmp_path), LIVE, exclude=Settings().analyze.exclude) as source:
        assert [read_number(frame.bgr) for frame in source] == [0, 3, 5]
    with open_source(str(tmp_path), LIVE) as source:
        assert source.frames == 5  # .rtsearchignore holds for every reader


def test_a_pipe_among_photos_is_not_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    os.mkfifo(tmp_path / "1.png")
    save_photo(tmp_path / "2.png", 2)
    with open_source(str(tmp_path), LIVE) as source:
        assert [read_number(frame.bgr) for frame in source] == [2]
    assert "a pipe, not a file" in caplog.text


def test_callers_reader_is_used(tmp_path: Path) -> None:
    def read(path: Path) -> U8Array:
        if path.stem == "1":
            raise PhotoError(f"{path}: refused")
        return np.full((4, 5, 3), int(path.stem), np.uint8)

    for i in range(3):
        (tmp_path / f"{i}.jpg").touch()
    with open_source(str(tmp_path), LIVE, read=read) as source:
        assert [int(f.bgr[0, 0, 0]) for f in source] == [0, 2]


def test_a_file_may_be_called_random(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_photo(tmp_path / "random" / "1.png", 1)
    monkeypatch.chdir(tmp_path)
    with open_source("./random", LIVE) as source:
        assert source.frames == 1


def test_paths_are_written_in_many_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    path = save_photo(tmp_path / "ein Bild ä#1.png", 7)
    save_photo(tmp_path / "~clip.png", 8)  # there is no such user
    ways = {"~/ein Bild ä#1.png": 7, "~clip.png": 8, f"file://{quote(str(path))}": 7}
    ways |= {f"file://localhost{quote(str(path))}": 7, f"FILE://{quote(str(path))}": 7}
    for spec, number in ways.items():
        with open_source(spec, LIVE) as source:
            assert read_number(next(source).bgr) == number
    with pytest.raises(SourceError, match=r"no source '~nobody-here\.png'"):
        open_source("~nobody-here.png", LIVE)


def test_image_sequence_is_a_video(tmp_path: Path) -> None:
    for i in range(4):
        save_photo(tmp_path / f"shot{i:04d}.png", i)
    with open_source(str(tmp_path / "shot%04d.png"), LIVE) as source:
        assert [read_number(f.bgr) for f in source] == [0, 1, 2, 3]


def test_video_is_opened_by_its_content(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.avi", range(3)).rename(tmp_path / "clip without suffix")
    with open_source(str(path), LIVE) as source:
        assert len(list(source)) == 3


def test_users_own_switches_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
    monkeypatch.setenv(key, "fflags;genpts")
    with open_source(str(write_clip(tmp_path / "clip.avi", range(2))), LIVE) as source:
        assert len(list(source)) == 2
    assert os.environ[key] == "fflags;genpts"


@pytest.mark.parametrize("paced", [False, True])
def test_a_folder_is_played_over_and_over(tmp_path: Path, paced: bool) -> None:
    for i in range(3):
        save_photo(tmp_path / f"{i}.png", i)
    live = LIVE.model_copy(update={"random_s": 0.02})
    opened = open_source(str(tmp_path), live)
    with Paced(opened) if paced else opened as source:
        source.loop = True
        frames = [next(source) for _ in range(7)]
        source.loop = False
        frames += list(source)
    assert [read_number(frame.bgr) for frame in frames] == [0, 1, 2, 0, 1, 2, 0, 1, 2]
    assert [frame.pts_s for frame in frames] == pytest.approx([0.02 * i for i in range(9)])


def test_a_pipe_is_no_source(tmp_path: Path) -> None:
    for name in ("x.mp4", "x.jpg", "x"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(SourceError, match=f"{name} is a pipe, not a file or folder$"):
            open_source(str(tmp_path / name), LIVE)


def test_a_folder_that_cannot_be_read_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    save_photo(tmp_path / "1.png", 1)
    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(path)

    monkeypatch.setattr("rtsearch.sources.slideshow.os.scandir", refuse)
    assert photos.photos_under(tmp_path) == [tmp_path / "1.png"]
    assert "closed: the folder cannot be read: Permission denied" in caplog.text
