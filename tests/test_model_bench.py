"""The networks of a folder are timed, and their times kept."""

import exports
import pytest
from exports import save

from rtsearch.jobs.model_bench import known_times, time_all
from rtsearch.models import import_onnx


def test_times_are_taken_and_kept(tmp_path):
    asked = []
    assert time_all(tmp_path, lambda *what: asked.append(what)) == []
    assert known_times(tmp_path) == {}
    import_onnx(save(exports.yolox_export(), tmp_path / "export"), tmp_path, "a")
    import_onnx(save(exports.ultralytics_export(batch=2), tmp_path / "export"), tmp_path, "b")
    (tmp_path / "c.onnx").write_bytes(b"no model")
    timed = time_all(tmp_path, lambda *what: asked.append(what), 0)
    assert [(one.name, one.input_wh, one.cpu_ms > 0) for one in timed] == [
        ("a", (96, 64), True),
        ("b", (96, 64), True),
    ]
    assert asked == [("a", 0), ("b", 1 / 3), ("c", 2 / 3)]
    assert known_times(tmp_path) == {one.name: one.cpu_ms for one in timed}
    with (tmp_path / "a.onnx").open("ab") as file:
        file.write(b"x")
    assert list(known_times(tmp_path)) == ["b"]  # another file than was timed


@pytest.mark.parametrize("text", ["[", "3", '{"a": 3}', '{"a": {"cpu_ms": "x", "bytes": 1}}', "[" * 100_000])
def test_damaged_times_are_forgotten(tmp_path, text):
    (tmp_path / "a.onnx").write_bytes(b"x")
    (tmp_path / "bench.json").write_text(text)
    assert known_times(tmp_path) == {}
