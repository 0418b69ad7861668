"""Hours of the day."""

from __future__ import annotations

import pytest

from rtsearch._util.opening_hours import is_open
from rtsearch.config import load_settings
from rtsearch.errors import ConfigError


@pytest.mark.parametrize(
    ("hours", "minute", "opened"),
    [
        ("", 0, True),
        ("09:00-18:30", 9 * 60 - 1, False),
        ("09:00-18:30", 9 * 60, True),
        ("9:00 - 18:30", 18 * 60 + 29, True),
        ("09:00-18:30", 18 * 60 + 30, False),
        ("20:00-02:00", 20 * 60, True),
        ("20:00-02:00", 60, True),
        ("20:00-02:00", 2 * 60, False),
        ("20:00-02:00", 12 * 60, False),
        ("08:00-24:00", 24 * 60 - 1, True),
    ],
)
def test_hours(hours, minute, opened):
    assert is_open(hours, minute) == opened


@pytest.mark.parametrize("hours", ["9-18", "09:00", "09:60-10:00", "24:00-25:00", "10:00-10:00", "x"])
def test_hours_that_are_none(hours):
    with pytest.raises(ConfigError, match=r"show\.hours = .*: expected"):
        load_settings(None, [f"show.hours={hours}"])
