"""Words about what plays, with a tiny pair of networks that knows colours."""

from __future__ import annotations

import threading
import time

import blobs
import numpy as np
import pytest
from playing import SETTINGS, Watcher, run
from test_embedder import mean_colour
from test_text_pair import text_network, tokenizer_file

from rtsearch.errors import RunnerError, WordsError
from rtsearch.live import Controls, Outputs
from rtsearch.perception.embedder import Embedder
from rtsearch.sources import Source
from rtsearch.types import Detections, Frame
from rtsearch.words import FrameWords, LiveWords, import_pair

pytest.importorskip("tokenizers", reason="needs the extra words")

NAMES = ("mug", "mug", "mug")  # of what the blob network finds, whatever its colour
RED, BLUE = 2, 0  # labels


@pytest.fixture(scope="module")
def engines(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    files = {
        "image": mean_colour(folder / "image.onnx"),
        "text": text_network(folder / "text.onnx"),
        "tokenizer": tokenizer_file(folder / "tokenizer.json"),
    }
    import_pair("tiny", files, folder / "engines")
    return folder / "engines"


@pytest.fixture
def told():
    return []


@pytest.fixture
def words(engines, told, monkeypatch):
    monkeypatch.setenv("RTSEARCH_ENGINES", str(engines))
    with LiveWords("tiny", told.append) as opened:
        yield opened


class Embedded:
    """The image network, and the number of crops of each of its calls."""

    def __init__(self, monkeypatch, before=lambda: None):
        self.crops = []
        self._embed = Embedder.embed

        def embed(network, bgr, xyxy):
            before()
            vectors = self._embed(network, bgr, xyxy)
            self.crops.append(len(xyxy))
            return vectors

        monkeypatch.setattr(Embedder, "embed", embed)


class Mugs(Source):
    """A red and a blue mug that move to and fro."""

    def __init__(self, frames):
        super().__init__("mugs", fps=25.0, frames=frames, wh=(160, 120))
        self._numbers = iter(range(frames))

    def __next__(self) -> Frame:
        number = next(self._numbers)
        bgr, x = np.zeros((120, 160, 3), np.uint8), 20 + abs(number % 40 - 20)
        bgr[20:50, x : x + 30] = (20, 20, 220)
        bgr[70:100, x : x + 30] = (220, 20, 20)
        return Frame(number, time.monotonic(), number / 25, bgr)

    def close(self) -> None:
        pass


def lit_in_a_run(index, words, text, frames, goes_on=lambda _watcher: True):
    """Labels that are lit in each frame of a run, and the number of frames that were shown."""
    watcher = Watcher(goes_on)
    chooser = words.chooser(text, NAMES)
    controls = Controls(SETTINGS.detect, SETTINGS.show, chooser=chooser)
    pipeline = blobs.BlobPipeline(class_names=NAMES)
    report = run(Mugs(frames), index, Outputs(screen=watcher), pipeline, controls=controls)
    return [scene.detections.label.tolist() for scene in watcher.scenes], report.frames_shown


# "red" alone names nothing that could be found without a pair.
@pytest.mark.parametrize(("text", "at_first"), [("red", []), ("red mug", [RED])])
def test_a_red_mug_is_lit_and_each_is_embedded_once(blob_index, words, told, monkeypatch, text, at_first):
    embedded = Embedded(monkeypatch)

    def goes_on(watcher):
        return sum(len(scene.detections) > 0 for scene in watcher.scenes) < 60 or not embedded.crops

    lit, _ = lit_in_a_run(blob_index, words, text, 3000, goes_on)
    assert lit[0] == at_first
    assert lit[-1] == [RED]
    assert sum(embedded.crops) == 2
    assert told == []


def test_no_frame_waits_for_a_slow_pair(blob_index, words, monkeypatch):
    released = threading.Event()
    embedded = Embedded(monkeypatch, released.wait)
    lit, shown = lit_in_a_run(blob_index, words, "red mug", 20)
    assert (shown, embedded.crops) == (20, [])
    assert lit == [[RED]] * 20
    released.set()


def test_an_error_of_the_pair_is_told_once_and_the_words_go_on(blob_index, words, told, monkeypatch):
    failed = threading.Event()

    def fail():
        failed.set()
        raise RunnerError("the pair has melted")

    Embedded(monkeypatch, fail)
    lit, _ = lit_in_a_run(blob_index, words, "red mug", 3000, lambda _: not (failed.is_set() and told))
    assert lit == [[RED]] * len(lit)
    assert told == ["the pair has melted; words are looked for by classes and colours, without the pair tiny"]
    assert isinstance(words.chooser("blue mug", NAMES), FrameWords)
    with pytest.raises(WordsError, match="red"):
        words.chooser("red", NAMES)


def test_a_pair_that_is_not_here_is_told_and_the_words_go_on(engines, told, monkeypatch):
    monkeypatch.setenv("RTSEARCH_ENGINES", str(engines))
    with LiveWords("other", told.append) as words:
        assert isinstance(words.chooser("red mug", NAMES), FrameWords)
        assert isinstance(words.chooser("blue mug", NAMES), FrameWords)
        assert words.chooser(" ", NAMES) is None
    assert len(told) == 1
    assert "import-text" in told[0]


def test_a_track_is_embedded_again_at_twice_the_area(words, monkeypatch):
    embedded = Embedded(monkeypatch)
    chooser = words.chooser("red", NAMES)
    bgr = np.full((100, 100, 3), (220, 20, 20), np.uint8)
    bgr[40:, 40:] = (20, 20, 220)

    def see(left):
        box, track = np.array([[left, left, 100, 100]], np.float32), np.array([1], np.int64)
        one = np.zeros(1, np.int32)
        return chooser.matching(bgr, Detections(box, np.ones(1, np.float32), one, box, track)).tolist()

    def wait_for(lit, left):
        until_s = time.monotonic() + 30
        while see(left) != [lit] and time.monotonic() < until_s:
            time.sleep(0.001)
        assert see(left) == [lit]

    wait_for(True, 60)  # all red
    assert [see(left) for left in (50, 45, 60) * 5] == [[True]] * 15
    wait_for(False, 0)  # mostly blue, and 6.25 times as large
    assert embedded.crops == [1, 1]


def test_a_text_that_is_too_long_for_the_pair_is_refused(words):
    with pytest.raises(WordsError, match="500 tokens"):
        words.chooser("red " * 500, NAMES)
