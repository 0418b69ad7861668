"""What a model says about itself, and how it is read without loading onnx."""

import contextlib
import dataclasses
import json
import subprocess
import sys

import exports
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtsearch.errors import ModelError, UnknownModelError
from rtsearch.models import ModelSpec, Tap, files

SPEC = ModelSpec(
    name="tiny",
    family="yolo26",
    licence="MIT",
    licence_url="",
    source_sha256="ab",
    recipe=1,
    classes=("cat", "Hündin"),
    needs_nms=True,
    pixel_order="bgr",
    pixel_scale=1.0,
    pad_value=114,
    input_wh=(96, 64),
    flexible=False,
    multiple=32,
    batch=1,
    taps=(Tap("tap0", "deep8", 8, 6),),
)


@pytest.mark.parametrize("spec", [dataclasses.replace(SPEC, taps=(), classes=(), batch=None), SPEC])
def test_a_description_survives_the_journey(spec):
    again = ModelSpec.from_json(spec.to_json(), sha256="cd")
    assert again == spec
    assert again.sha256 == "cd"


@pytest.mark.parametrize(
    "change",
    [
        {"name": None},
        {"classes": "cat"},
        {"needs_nms": "perhaps"},
        {"pixel_order": "hsv"},
        {"input_wh": [96]},
        {"taps": [{"name": "tap0"}]},
        {"batch": "many"},
    ],
)
def test_a_damaged_description_is_refused(change):
    with pytest.raises(ModelError, match="description is damaged"):
        ModelSpec.from_json(json.dumps({**json.loads(SPEC.to_json()), **change}))
    for text in ("{", "[" * 100_000):
        with pytest.raises(ModelError, match="description is damaged"):
            ModelSpec.from_json(text)


def test_a_description_without_a_field_is_refused():
    values = json.loads(SPEC.to_json())
    for name in values:
        with pytest.raises(ModelError, match="description is damaged"):
            ModelSpec.from_json(json.dumps({key: value for key, value in values.items() if key != name}))


def test_metadata_is_read_as_onnx_reads_it():
    made = exports.ultralytics_export(metadata={"names": "Hündin", "empty": "", "long": "x" * 1000})
    whole = made.SerializeToString()
    assert files.metadata(whole) == {prop.key: prop.value for prop in made.metadata_props}
    assert files.metadata(b"") == {}
    for size in range(len(whole) - 1100, len(whole)):
        try:  # cut between two fields, it is a shorter whole
            cut = files.metadata(whole[:size])
        except ValueError:
            continue
        again = onnx.ModelProto.FromString(whole[:size])
        assert cut == {prop.key: prop.value for prop in again.metadata_props}


@given(st.binary(max_size=60))
def test_no_bytes_upset_the_reading_of_metadata(content):
    with contextlib.suppress(ValueError):  # UnicodeDecodeError is one
        read = files.metadata(content)
        assert all(type(text) is str for pair in read.items() for text in pair)


def test_opening_a_model_does_not_load_what_makes_them():
    code = (
        "import sys, rtsearch.models; print(*[m for m in ('onnx', 'onnxruntime', 'cv2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_files_without_a_description(tmp_path):
    path = tmp_path / "a.onnx"
    with pytest.raises(UnknownModelError, match=r"cannot read .*a\.onnx: No such file"):
        ModelSpec.read(path)
    path.write_bytes(exports.classifier().SerializeToString())
    with pytest.raises(ModelError, match=r"run: rtsearch model import .*a\.onnx"):
        ModelSpec.read(path)
    path.write_bytes(b"text")
    with pytest.raises(ModelError, match="not a whole ONNX file"):
        ModelSpec.read(path)
