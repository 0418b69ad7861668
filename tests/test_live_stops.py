"""How playing ends: errors with the stage's name, Ctrl-C at any moment, and no thread left."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import cv2
import pytest
from playing import SETTINGS, Given, Watcher, lines, run

from rtsearch.errors import RecordError, SourceError, StageError
from rtsearch.live import Controls, Outputs

pytestmark = pytest.mark.usefixtures("no_thread_is_left")

# Errors ----------------------------------------------------------------------------------------------------


class MeltedError(Exception):
    pass


def melt(*_args, **_kwargs):
    raise MeltedError("it melted")


@pytest.mark.parametrize("at", [0, 1, 8])
@pytest.mark.parametrize("live", [False, True])
def test_an_error_of_the_source(blob_index, tmp_path, at, live):
    source = Given(list(range(20)), live=live, every_s=0.02, before=lambda n: melt() if n == at else None)
    with pytest.raises(StageError, match="capture: it melted") as caught:
        run(source, blob_index, Outputs(records=(tmp_path / "o.jsonl",)))
    assert caught.value.stage == "capture"
    assert isinstance(caught.value.cause, MeltedError)
    assert source.closed.is_set()
    shown = [line["frame"] for line in lines(tmp_path / "o.jsonl")]
    assert shown == list(range(at)) if not live else shown == sorted(shown)


@pytest.mark.parametrize(
    ("stage", "target"),
    [
        ("detect", "blobs.BlobDetector.detect"),
        ("detect", "blobs.BlobDescriber.describe"),
        ("search", "rtsearch.library.index.SearchIndex.near"),
        ("search", "rtsearch.library.thumbnails.ThumbCache.get"),
    ],
)
@pytest.mark.parametrize("at", [1, 6])
def test_an_error_of_a_stage(blob_index, monkeypatch, stage, target, at):
    import importlib

    module, kind, verb = target.rsplit(".", 2)
    owner = getattr(importlib.import_module(module), kind)
    real, calls = getattr(owner, verb), iter(range(1, 1000))

    def fails(self, *args, **kwargs):
        return melt() if next(calls) >= at else real(self, *args, **kwargs)

    monkeypatch.setattr(owner, verb, fails)
    source = Given(list(range(500)))
    with pytest.raises(StageError, match=f"^{stage}: it melted$") as caught:
        run(source, blob_index, Outputs(screen=Watcher()))
    assert caught.value.stage == stage
    assert source.closed.is_set()


def test_an_error_that_explains_itself_stays_as_it_is(blob_index):
    def lost(number: int) -> None:
        if number == 3:
            raise SourceError("camera 0 is gone; plug it in")

    with pytest.raises(SourceError, match="camera 0 is gone; plug it in"):
        run(Given(list(range(10)), before=lost), blob_index)


@pytest.mark.parametrize("verb", ["show", "pump"])
def test_an_error_of_the_window_ends_the_run(blob_index, verb):
    screen = Watcher()
    setattr(screen, verb, melt)
    source = Given(list(range(500)))
    with pytest.raises((MeltedError, StageError), match="it melted"):
        run(source, blob_index, Outputs(screen=screen))
    assert source.closed.is_set()


def test_an_error_of_the_progress_ends_the_run(blob_index):
    with pytest.raises(MeltedError):
        run(Given(list(range(500))), blob_index, progress=melt)


@pytest.mark.parametrize("name", ["o.mp4", "o.jsonl", "o.csv", "o.parquet"])
def test_a_place_that_cannot_be_written_is_said_before_anything_is_played(blob_index, tmp_path, name):
    source = Given(list(range(10)), before=melt)
    path = tmp_path / "missing" / name
    with pytest.raises(RecordError, match=f"missing/{name} cannot be written"):
        run(source, blob_index, Outputs(video=path) if name == "o.mp4" else Outputs(records=(path,)))


def test_what_was_recorded_before_an_error_stays(blob_index, tmp_path):
    outputs = Outputs(video=tmp_path / "o.mp4", records=(tmp_path / "o.jsonl",))
    with pytest.raises(StageError):
        run(Given(list(range(40)), before=lambda n: melt() if n == 25 else None), blob_index, outputs)
    assert len(lines(tmp_path / "o.jsonl")) == 25
    capture = cv2.VideoCapture(str(tmp_path / "o.mp4"))
    assert sum(1 for _ in iter(lambda: capture.read()[0], False)) == 25
    capture.release()


# Ctrl-C ----------------------------------------------------------------------------------------------------


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def once_at(number: int, act: Callable[[], object]) -> Callable[[int], object]:
    return lambda n: act() if n == number else None


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("at", [0, 1, 9])
def test_ctrl_c_while_a_frame_is_captured(blob_index, tmp_path, at, live):
    source = Given(list(range(10_000)), live=live, before=once_at(at, press_ctrl_c))
    report = run(source, blob_index, Outputs(records=(tmp_path / "o.jsonl",)))
    assert report.frames_shown < 10_000
    assert len(lines(tmp_path / "o.jsonl")) == report.frames_shown
    assert source.closed.is_set()


def test_ctrl_c_while_the_source_waits(blob_index):
    source = Given([0, 1], before=lambda n: n == 1 and (press_ctrl_c(), source.closed.wait(30)))
    start_s = time.monotonic()
    assert run(source, blob_index).frames_shown <= 1
    assert time.monotonic() - start_s < 20


def test_ctrl_c_while_a_picture_is_shown(blob_index, tmp_path):
    screen = Watcher()
    show = screen.show

    def pressing(scene, picture):
        show(scene, picture)
        if len(screen.scenes) == 4:
            press_ctrl_c()

    screen.show = pressing
    outputs = Outputs(screen=screen, video=tmp_path / "o.mp4", records=(tmp_path / "o.jsonl",))
    report = run(Given(list(range(10_000))), blob_index, outputs)
    assert report.frames_shown == len(lines(tmp_path / "o.jsonl")) == 4
    assert cv2.VideoCapture(str(tmp_path / "o.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 4


def test_ctrl_c_while_paused(blob_index):
    controls = Controls(SETTINGS.detect, SETTINGS.show, paused=True)
    threading.Timer(0.3, press_ctrl_c).start()
    report = run(Given(list(range(100))), blob_index, Outputs(screen=Watcher()), controls=controls)
    assert report.frames_shown == 0


@pytest.mark.parametrize("delay_s", [0.0, 0.01, 0.05, 0.2])
def test_ctrl_c_at_any_moment(blob_index, tmp_path, delay_s):
    timer = threading.Timer(delay_s, press_ctrl_c)

    def frames() -> Iterator[int]:
        timer.start()
        yield from range(100_000)

    source = Given([])
    source._numbers = enumerate(frames())
    report = run(source, blob_index, Outputs(records=(tmp_path / "o.jsonl",)))
    timer.join()
    assert len(lines(tmp_path / "o.jsonl")) == report.frames_shown < 100_000


def test_signals_are_as_before_afterwards(blob_index):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    run(Given([0, 1]), blob_index)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
