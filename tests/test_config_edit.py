"""Settings changed in a settings file, all else left as it is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rtsearch.config import load_settings
from rtsearch.config.edit import save_settings
from rtsearch.errors import ConfigError

MASKS = ["0,0 1,0 1,1", "2 0,0 1,0 1,0.2"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "live:\n  masks: {}\n"),
        (
            "# mine\nshow:\n  results: 9   # few\n",
            "# mine\nshow:\n  results: 9   # few\n\nlive:\n  masks: {}\n",
        ),
        ("live:\n  mirror: true # a mirror\n", "live:\n  masks: {}\n  mirror: true # a mirror\n"),
        ("live: # of mine\n  mirror: true", "live: # of mine\n  masks: {}\n  mirror: true"),
        ("live:\n  masks: []  # none yet\n  loop: true\n", "live:\n  masks: {}  # none yet\n  loop: true\n"),
        (
            "live:\n  masks:\n    - 0,0 1,0 1,1  # old\n    - 0,0 1,0 0,1\n  # the next\n  loop: true\n",
            "live:\n  masks: {}\n  # the next\n  loop: true\n",
        ),
        ("live:\n  masks:\n  loop: true\n", "live:\n  masks: {}\n  loop: true\n"),
        ("live:\n", "live:\n  masks: {}\n"),
    ],
)
def test_comments_and_other_settings_stay(tmp_path: Path, before: str, after: str) -> None:
    path = tmp_path / "show.yaml"
    path.write_text(before, encoding="utf-8")
    then = load_settings(None) if "masks:\n  loop" in before else load_settings(path)
    save_settings(path, {"live.masks": MASKS})
    assert path.read_text(encoding="utf-8") == after.replace("{}", '["0,0 1,0 1,1", "2 0,0 1,0 1,0.2"]')
    now = load_settings(path)
    assert now.live.masks == tuple(MASKS)
    assert now.show == then.show


def test_several_settings_are_saved_at_once(tmp_path: Path) -> None:
    path = tmp_path / "show.yaml"
    path.write_text("live:\n  masks: []\n", encoding="utf-8")
    save_settings(path, {"live.regions": ["0,0 1,0 1,1"], "live.masks": MASKS, "show.results": 9})
    now = load_settings(path)
    assert (now.live.regions, now.live.masks, now.show.results) == (("0,0 1,0 1,1",), tuple(MASKS), 9)


def test_a_file_is_made_where_there_is_none(tmp_path: Path) -> None:
    save_settings(tmp_path / "new.yaml", {"live.masks": MASKS})
    assert load_settings(tmp_path / "new.yaml").live.masks == tuple(MASKS)


@pytest.mark.parametrize("text", ["{live: {loop: true}}", "live: {loop: true}\n"])
def test_a_file_in_one_line_is_left_as_it_is(tmp_path: Path, text: str) -> None:
    path = tmp_path / "show.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"write into it by hand: live\.masks = \['0,0 1,0 1,1', "):
        save_settings(path, {"live.masks": MASKS})
    assert path.read_text(encoding="utf-8") == text


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match="cannot write settings to"):
        save_settings(tmp_path / "new.yaml", {"live.masks": MASKS})
