"""Class names come from files that people write."""

import exports
import pytest
from exports import save

from rtsearch.errors import ModelError
from rtsearch.models import ModelSpec
from rtsearch.models.class_names import read_names


@pytest.mark.parametrize(
    ("name", "text", "names"),
    [
        ("a.txt", "cat\n\n dog \nHündin\n", ("cat", "dog", "Hündin")),
        ("a.names", "cat", ("cat",)),
        ("a.yaml", "path: x\nnames:\n  0: cat\n  1: dog\n", ("cat", "dog")),
        ("a.yml", "names: [cat, 2]", ("cat", "2")),
    ],
)
def test_names_are_read(tmp_path, name, text, names):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_names(tmp_path / name) == names


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", b""),
        ("a.txt", b"\n \n"),
        ("a.yaml", b"names: 3"),
        ("a.yaml", b"names: {0: cat, 2: dog}"),
        ("a.yaml", b"names: [[cat]]"),
        ("a.yaml", b"[1, 2"),
        ("a.yaml", b"a: &a [x, x]\nnames: [*a, *a]"),
    ],
)
def test_files_without_names(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=f"{name} has no class names; write one per line"):
        read_names(tmp_path / name)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ModelError, match=r"cannot read class names from .*: No such file"):
        read_names(tmp_path / "none.txt")
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelError, match="it is not UTF-8 text"):
        read_names(tmp_path / "a.txt")


@pytest.mark.slow
def test_the_command_takes_names_and_a_size(tmp_path, monkeypatch, rtsearch):
    monkeypatch.setenv("RTSEARCH_ENGINES", str(tmp_path / "engines"))
    (tmp_path / "classes.txt").write_text("cup\nmug\n")
    path = save(exports.free_export(12), tmp_path / "mine.onnx")
    done = rtsearch("model", "import", path, "--names", tmp_path / "classes.txt", "--set", "model.size=128")
    assert "input: 128x128 px or any multiple of 32" in done.stderr
    spec = ModelSpec.read(tmp_path / "engines/mine.onnx")
    assert (spec.classes, spec.input_wh) == (("cup", "mug"), (128, 128))
    done = rtsearch("model", "import", path, "--names", tmp_path / "none.txt")
    assert done.returncode
    assert "cannot read class names" in done.stderr
