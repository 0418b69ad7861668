"""Readers of files that others may have made: their fuzz targets, for as many inputs as there is time for."""

from __future__ import annotations

import importlib
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "tools" / "fuzz"
INPUTS = 30
TARGETS = {path.stem for path in FOLDER.glob("*.py")} - {"inputs", "made", "run"}


@pytest.fixture(scope="module", autouse=True)
def _tools() -> Any:
    sys.path.insert(0, str(FOLDER))
    yield
    sys.path.remove(str(FOLDER))


def test_every_target_has_a_module() -> None:
    assert set(importlib.import_module("run").TARGETS) == TARGETS


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_changed_files_are_read_or_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    change = importlib.import_module("inputs")
    monkeypatch.setattr("logging.root.manager.disable", 50)
    target = importlib.import_module("run").load(name)
    changed = target.mutate or change.changed_bytes
    seeds = list(target.seeds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of zip members that are there twice, and of Pillow
        warnings.simplefilter("error", RuntimeWarning)
        for seed in seeds:
            target(seed)
        for i in range(INPUTS):
            target(changed(seeds[i % len(seeds)], target.most_bytes, i))


def test_changes_are_the_same_in_every_run_and_within_bounds() -> None:
    change = importlib.import_module("inputs")
    data = b'{"a": [1, 2, {"b": "c"}]}\n{"a": 0}\n'
    for changed in (change.changed_json, change.changed_bytes):
        made = [changed(data, 64, seed) for seed in range(300)]
        assert made == [changed(data, 64, seed) for seed in range(300)]
        assert len(set(made)) > 100
        assert max(map(len, made)) <= 64
