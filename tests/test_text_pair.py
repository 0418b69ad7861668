"""Pairs of networks for pictures and texts: tiny real ones, made here, and everything that does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from test_embedder import mean_colour

from rtsearch.errors import LibraryError, ModelError, UnknownModelError, WordsError
from rtsearch.words import CropVectors, TextPair, embed_crops, import_pair, pair_of

pytest.importorskip("tokenizers", reason="needs the extra words")

# Every word of the tiny language is a colour or nothing: the vector of a text is the mean of its words.
WORDS = {"[UNK]": (0, 0, 0), "red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "mug": (0.1, 0.1, 0.1)}
LENGTH = 6


def tokenizer_file(path: Path, words=tuple(WORDS)) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(path))
    return path


def text_network(path: Path, length: int | str = LENGTH, dim: int = 3, *, mask: bool = False) -> Path:
    """A network whose vector is the sum of the vectors of the words; padding is word 0."""
    table = np.zeros((len(WORDS), dim), np.float32)
    table[:, :3] = list(WORDS.values())
    inputs = [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["n", length])]
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["hidden"])]
    hidden = "hidden"
    if mask:
        inputs.append(helper.make_tensor_value_info("attention_mask", TensorProto.INT32, ["n", length]))
        nodes += [
            helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["mask", "last"], ["mask3"]),
            helper.make_node("Mul", ["hidden", "mask3"], ["masked"]),
        ]
        hidden = "masked"
    nodes.append(helper.make_node("ReduceSum", [hidden, "first"], ["text_embeds"], keepdims=0))
    graph = helper.make_graph(
        nodes,
        "text",
        inputs,
        [
            helper.make_tensor_value_info("hidden", TensorProto.FLOAT, ["n", length, dim]),
            helper.make_tensor_value_info("text_embeds", TensorProto.FLOAT, ["n", dim]),
        ],
        [
            numpy_helper.from_array(table, "table"),
            numpy_helper.from_array(np.array([1], np.int64), "first"),
            numpy_helper.from_array(np.array([2], np.int64), "last"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture
def files(tmp_path):
    return {
        "image": mean_colour(tmp_path / "image.onnx"),
        "text": text_network(tmp_path / "text.onnx"),
        "tokenizer": tokenizer_file(tmp_path / "tokenizer.json"),
    }


@pytest.fixture
def pair(files, tmp_path):
    return import_pair("tiny", files, tmp_path / "engines")


@pytest.mark.parametrize(("length", "mask"), [(LENGTH, False), ("length", False), (LENGTH, True)])
def test_texts_and_pictures_meet(files, tmp_path, length, mask):
    text_network(files["text"], length, mask=mask)
    pair = import_pair("tiny", files, tmp_path / "engines")
    plain = [np.full((9, 12, 3), bgr, np.uint8) for bgr in ((0, 0, 255), (0, 255, 0), (255, 0, 0))]
    pictures = pair.images.embed_crops(plain)
    for i, text in enumerate(("red mug", "green mug", "blue mug")):
        vector = pair.embed_text(text)
        assert np.linalg.norm(vector) == pytest.approx(1)
        assert (pictures @ vector).argmax() == i


def test_a_pair_is_found_by_its_name(pair, tmp_path):
    again = TextPair("tiny", tmp_path / "engines")
    assert again.fingerprint == pair.fingerprint
    assert np.array_equal(again.embed_text("red"), pair.embed_text("red"))
    assert [path.name for path in (tmp_path / "engines").iterdir()] == ["tiny.words"]


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "expected words"), (" \n", "expected words"), ("red " * 500, "500 tokens, the network takes 6")],
)
def test_texts_that_are_refused(pair, text, said):
    with pytest.raises(WordsError, match=said):
        pair.embed_text(text)


def test_texts_of_unknown_words_have_no_direction(pair):
    with pytest.raises(ModelError, match="NaN or zeros"):
        pair.embed_text("красная кружка")


def test_pairs_that_do_not_fit(files, tmp_path):
    def refused(said, error=ModelError, **changed):
        with pytest.raises(error, match=said):
            import_pair("tiny", {**files, **changed}, tmp_path / "engines")
        assert list((tmp_path / "engines").glob("*")) == []

    other = tmp_path / "other.onnx"
    refused("vectors of 3 numbers.*of 5", text=text_network(other, dim=5))
    refused("knows 6 words", tokenizer=tokenizer_file(tmp_path / "t.json", (*WORDS, "beyond")))
    refused("no network of texts", text=mean_colour(tmp_path / "pictures.onnx"))
    refused("no network of pictures", image=files["text"])
    refused("cannot be opened", text=files["tokenizer"])
    refused("no file of the package tokenizers", tokenizer=files["image"])
    refused("no file", error=UnknownModelError, image=tmp_path / "nothing.onnx")


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 65])
def test_names_that_are_no_names(files, tmp_path, name):
    with pytest.raises(ModelError, match="cannot be called"):
        import_pair(name, files, tmp_path / "engines")


def test_altered_files_are_refused(pair, files, tmp_path):
    folder = tmp_path / "engines" / "tiny.words"
    with pytest.raises(ModelError, match="is there already"):
        import_pair("tiny", files, tmp_path / "engines")
    (folder / "text.onnx").write_bytes(b"")
    with pytest.raises(ModelError, match=r"text\.onnx is missing or altered"):
        TextPair("tiny", tmp_path / "engines")
    (folder / "pair.json").write_text("[" * 5000, "utf-8")
    with pytest.raises(ModelError, match="cannot be read"):
        TextPair("tiny", tmp_path / "engines")
    with pytest.raises(UnknownModelError, match="import-text"):
        TextPair("other", tmp_path / "engines")


@pytest.fixture
def own_index(own_library):
    from rtsearch.config import Settings
    from rtsearch.library import Library
    from rtsearch.library.index import open_index

    return open_index(Library.open(own_library), Settings())


def test_crops_are_found_as_by_comparing_all(own_index, pair):
    from rtsearch.library.thumbnails import ThumbCache

    assert embed_crops(own_index, pair) == len(own_index)
    assert embed_crops(own_index, pair) == 0
    assert pair_of(own_index.library) == "tiny"
    crops = ThumbCache(own_index.thumb_places, 1 << 26)
    naive = pair.images.embed_crops([crops.get(row) for row in range(len(own_index))])
    for _ in range(2):  # the second time from the files that the first has written
        vectors = CropVectors(own_index.library, pair)
        for text in ("red", "green mug", "blue"):
            hits = vectors.nearest(pair.embed_text(text), 12)
            likeness = naive @ pair.embed_text(text)
            assert hits.likeness == pytest.approx(np.sort(likeness)[::-1][:12], abs=2e-3)
            assert likeness[hits.rows] == pytest.approx(hits.likeness, abs=2e-3)
    assert len(vectors.nearest(pair.embed_text("red"), 10**6).rows) == len(own_index)


def test_work_that_was_stopped_goes_on(own_index, pair):
    import threading

    stop = threading.Event()
    done = embed_crops(own_index, pair, lambda done, total: stop.set(), stop)
    assert done < len(own_index)
    with pytest.raises(WordsError, match="library words"):
        CropVectors(own_index.library, pair)
    assert done + embed_crops(own_index, pair) == len(own_index)
    assert len(CropVectors(own_index.library, pair)) == len(own_index)


def test_damaged_vectors_are_made_again(own_index, pair):
    embed_crops(own_index, pair)
    CropVectors(own_index.library, pair)
    folder = own_index.library.folder / "words" / pair.fingerprint[:16]
    short = next(folder.glob("short-*.npy"))
    short.write_bytes(b"\x93NUMPY")
    assert CropVectors(own_index.library, pair).nearest(pair.embed_text("red"), 3).likeness[0] > 0
    part = next(path for path in folder.glob("*.npy") if "-" not in path.name)
    part.write_bytes(part.read_bytes()[:-2])
    with pytest.raises(WordsError, match="not all crops"):
        CropVectors(own_index.library, pair)
    assert embed_crops(own_index, pair) > 0


def test_a_name_that_leads_elsewhere_is_passed_over(own_index, pair, tmp_path):
    embed_crops(own_index, pair)
    name = own_index.library.folder / "words" / pair.fingerprint[:16] / "pair.txt"
    for foreign in ("../tiny", "/etc/passwd", "", "tiny\n", "x" * 65):
        name.write_text(foreign)
        assert pair_of(own_index.library) is None
    name.unlink()
    name.mkdir()
    assert pair_of(own_index.library) is None
    with pytest.raises(UnknownModelError, match=r"can be named '\.\./tiny'"):
        TextPair("../tiny", tmp_path / "engines")


def test_a_library_that_cannot_be_written_to_is_searched(own_index, pair):
    embed_crops(own_index, pair)
    folder = own_index.library.folder / "words" / pair.fingerprint[:16]
    CropVectors(own_index.library, pair)
    for path in folder.glob("*-*.npy"):  # of another state of the library, in a folder that stays as it is
        path.rename(path.with_name(f"{path.name.split('-')[0]}-00000000.npy"))
    folder.chmod(0o500)
    try:
        vectors = CropVectors(own_index.library, pair)
        assert len(vectors.nearest(pair.embed_text("red"), 5).rows) == 5
    finally:
        folder.chmod(0o700)


def test_vectors_belong_to_the_crops_whatever_their_fragment_is_called(own_index, pair, monkeypatch):
    """A date that has changed gives a fragment another name."""
    embed_crops(own_index, pair)
    renamed = [
        fragment.model_copy(update={"name": f"9{fragment.name[1:]}"})
        for fragment in own_index.library.fragments
    ]
    manifest = own_index.library.manifest.model_copy(update={"fragments": tuple(renamed)})
    monkeypatch.setattr(own_index.library, "manifest", manifest)
    assert embed_crops(own_index, pair) == 0
    assert len(CropVectors(own_index.library, pair)) == len(own_index)


def test_only_some_crops_are_looked_at(own_index, pair):
    embed_crops(own_index, pair)
    vectors = CropVectors(own_index.library, pair)
    allowed = np.arange(len(own_index)) % 3 == 0
    hits = vectors.nearest(pair.embed_text("red"), 10**6, allowed)
    assert sorted(hits.rows.tolist()) == np.flatnonzero(allowed).tolist()
    every = vectors.nearest(pair.embed_text("red"), 10**6)
    assert [row for row in every.rows.tolist() if allowed[row]] == hits.rows.tolist()


def test_links_are_not_followed(own_index, pair, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (own_index.library.folder / "words").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LibraryError, match="is a link"):
        embed_crops(own_index, pair)
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.slow
def test_a_red_mug_is_found_by_the_commands(rtsearch, files, pipeline, tmp_path):
    """Mugs of three colours are analysed as whole images, as a detector need not take drawings for mugs."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, bgr in (("blue", (200, 40, 20)), ("red", (30, 20, 210)), ("green", (40, 180, 40))):
        picture = np.full((200, 240, 3), bgr, np.uint8)
        cv2.ellipse(picture, (170, 100), (30, 40), 0, 0, 360, (90, 90, 90), 8)
        cv2.imwrite(str(photos / f"{name}.png"), picture)
    env = {"RTSEARCH_ENGINES": str(tmp_path / "engines")}
    import_pair("tiny", files, tmp_path / "engines")
    from rtsearch.models import default_folder

    (tmp_path / "engines" / "yolo26n.onnx").symlink_to(default_folder() / "yolo26n.onnx")
    lib = tmp_path / "mugs.lib"
    whole = ("--set", "detect.whole_image=true", "--set", "describe.text=tiny")
    made = rtsearch("analyze", photos, lib, *whole, env=env)
    assert made.returncode == 0, made.stderr
    assert "embedded with tiny" in made.stderr
    found = rtsearch("find", lib, "red mug", "--json", env=env)
    assert found.returncode == 0, found.stderr
    answer = json.loads(found.stdout)
    assert answer["objects"][0]["photo"] == "red.png"
    assert answer["looked_for"] == '"red mug" with tiny'
    assert rtsearch("find", lib, "red mug", "--plain", env=env).returncode == 0
    lost = rtsearch("find", lib, "red mug", env={"RTSEARCH_ENGINES": str(default_folder())})
    assert lost.returncode == 2
    assert "import-text" in lost.stderr
