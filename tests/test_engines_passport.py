"""An engine that is unknown, altered or made for another machine is never run."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtsearch.engines import Machine, Passport, check, passport_path, read_passport
from rtsearch.engines.passport import prefix_bytes, write_engine
from rtsearch.errors import EngineError
from rtsearch.models import ModelSpec, Tap

HERE = Machine("tensorrt", "11.4.0", "H200", "9.0")
ENGINE = b"ptrt" + bytes(range(256)) * 4
SPEC = ModelSpec(
    name="tiny",
    family="ultralytics",
    licence="MIT",
    licence_url="",
    source_sha256="s" * 64,
    recipe=2,
    classes=("cat",),
    needs_nms=False,
    pixel_order="rgb",
    pixel_scale=1 / 255,
    pad_value=114,
    input_wh=(96, 64),
    flexible=False,
    multiple=32,
    batch=1,
    taps=(Tap("tap0", "deep32", 32, 10),),
    sha256="m" * 64,
)


def passport(content=ENGINE, **changed) -> Passport:
    values = {
        "engine_sha256": hashlib.sha256(content).hexdigest(),
        "engine_bytes": len(content),
        "origin": "built",
        "flavour": HERE.flavour,
        "version": HERE.version,
        "compute_capabilities": (HERE.compute_capability,),
        "gpu": HERE.gpu,
        "precision": "fp16",
        "recipe": 1,
        "inputs": {"images": ((1, 3, 64, 96), "float16")},
        "outputs": {"boxes": ((1, 126, 4), "float32")},
        "describe": {"name": "form-colour-class", "version": 1},
        "model_sha256": SPEC.sha256,
        "model": SPEC.to_json(),
    }
    return Passport(**{**values, **changed})


@pytest.fixture
def engine(tmp_path):
    path = tmp_path / "tiny.engine"
    write_engine(path, ENGINE, passport())
    return path


def test_what_was_hashed_is_what_is_handed_on(engine):
    checked = check(engine, HERE, model_sha256=SPEC.sha256)
    assert checked.content == ENGINE
    assert checked.passport == passport()
    assert checked.passport.spec == SPEC
    engine.write_bytes(b"changed after the check")
    assert checked.content == ENGINE


def test_only_the_two_files_are_left(engine):
    assert sorted(path.name for path in engine.parent.iterdir()) == ["tiny.engine", "tiny.engine.json"]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"flavour": "tensorrt_rtx"}, "it was made by tensorrt, here is tensorrt_rtx"),
        ({"version": "11.4.1"}, r"made by tensorrt 11\.4\.0, here is 11\.4\.1"),
        ({"compute_capability": "8.6"}, r"made for compute capability 9\.0, here is 8\.6"),
        ({"gpu": "H100"}, "made for H200, here is H100"),
    ],
)
def test_another_machine(engine, changed, reason):
    with pytest.raises(EngineError, match=f"tiny.engine is not run: .*{reason}") as caught:
        check(engine, dataclasses.replace(HERE, **changed))
    assert "rtsearch engine build tiny" in str(caught.value)


def test_an_engine_for_several_generations_runs_on_any_gpu_of_them(tmp_path):
    path = tmp_path / "x.engine"
    write_engine(path, ENGINE, passport(compute_capabilities=("8.6", "9.0"), gpu=""))
    assert check(path, dataclasses.replace(HERE, gpu="another")).content == ENGINE
    with pytest.raises(EngineError, match=r"8\.6, 9\.0, here is 7\.5"):
        check(path, dataclasses.replace(HERE, compute_capability="7.5"))


def test_another_model_of_the_same_name(engine):
    with pytest.raises(EngineError, match="made of another tiny"):
        check(engine, HERE, model_sha256="n" * 64)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it has 0 bytes, its passport says 1028"),
        (ENGINE[:-1], "it has 1027 bytes"),
        (ENGINE + b"x", "it has 1029 bytes"),
        (ENGINE[:500] + b"\xff" + ENGINE[501:], "its bytes are not those of its passport"),
    ],
)
def test_other_bytes(engine, content, reason):
    engine.write_bytes(content)
    with pytest.raises(EngineError, match=f"tiny.engine is not run: {reason}"):
        check(engine, HERE)


@given(st.integers(0, len(ENGINE) - 1), st.integers(1, 255))
def test_no_single_byte_can_be_changed(tmp_path_factory, place, step):
    path = tmp_path_factory.mktemp("changed") / "x.engine"
    altered = bytearray(ENGINE)
    altered[place] = (altered[place] + step) % 256
    write_engine(path, bytes(altered), passport())
    with pytest.raises(EngineError, match="not those of its passport"):
        check(path, HERE)


def test_without_a_passport(engine):
    passport_path(engine).unlink()
    with pytest.raises(EngineError, match=r"has no passport, so it is not run.*rtsearch engine adopt"):
        check(engine, HERE)


def test_a_passport_without_an_engine(engine):
    engine.unlink()
    with pytest.raises(EngineError, match=r"cannot read .*tiny\.engine: No such file"):
        check(engine, HERE)


def test_a_length_that_nobody_has_memory_for_is_no_reason_to_ask_for_it(engine):
    huge = passport(engine_bytes=1 << 40)
    write_engine(engine, ENGINE, huge)
    with pytest.raises(EngineError, match="it has 1028 bytes"):
        check(engine, HERE)
    with engine.open("wb") as file:
        os.truncate(file.fileno(), 1 << 40)  # a hole; takes no room on the disk
    with pytest.raises(EngineError, match="it has 1099511627776 bytes"):
        check(engine, HERE)


def _as_json(**changed):
    return json.dumps({**dataclasses.asdict(passport()), **changed})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is damaged"),
        ("[]", "is damaged"),
        ("{", "is damaged"),
        ("[" * 100_000, "is damaged"),
        ('{"format": 1}', "is damaged"),
        (_as_json(format=2), "another version of rtsearch"),
        (_as_json(flavour="os"), "is damaged.*tensorrt"),
        (_as_json(origin="found"), "is damaged"),
        (_as_json(engine_bytes="many"), "is damaged"),
        (_as_json(inputs={"images": "large"}), "is damaged"),
        (_as_json(model="{}"), "is damaged"),
        (" " * (1 << 20) + "{}", "cannot read .*more than"),
    ],
)
def test_a_passport_that_is_damaged(engine, text, reason):
    passport_path(engine).write_text(text)
    with pytest.raises(EngineError, match=reason) as caught:
        read_passport(engine)
    assert "\n" not in str(caught.value)


# Engines with a text in front ------------------------------------------------------------------------------


def prefixed(text: bytes, content: bytes = ENGINE) -> bytes:
    return struct.pack("<i", len(text)) + text + content


@pytest.mark.parametrize(
    ("content", "length"),
    [
        (b"", 0),
        (b"abc", 0),
        (ENGINE, 0),
        (prefixed(b"{}"), 6),
        (prefixed(b'{"stride": 32, "names": {"0": "cat"}}'), 41),
        (prefixed(b"[1, 2]"), 0),
        (prefixed(b"not json"), 0),
        (prefixed(b"[" * 5000), 0),
        (struct.pack("<i", -5) + b"{}" + ENGINE, 0),
        (struct.pack("<i", 1 << 30) + b"{}" + ENGINE, 0),
        (struct.pack("<i", 3) + b"{}", 0),
    ],
)
def test_the_text_that_exporters_write_in_front(content, length):
    assert prefix_bytes(content) == length


@given(st.binary(max_size=64))
def test_any_bytes_may_be_asked_for_a_prefix(content):
    assert 0 <= prefix_bytes(content) <= len(content)


def test_the_text_is_hashed_but_not_handed_on(tmp_path):
    path, content = tmp_path / "x.engine", prefixed(b'{"stride": 32}')
    write_engine(path, content, passport(content))
    assert check(path, HERE).content == ENGINE
    path.write_bytes(prefixed(b'{"stride": 64}'))
    with pytest.raises(EngineError, match="not those of its passport"):
        check(path, HERE)


def test_a_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(EngineError, match="cannot write"):
        write_engine(tmp_path / "file" / "x.engine", ENGINE, passport())
