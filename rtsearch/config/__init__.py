"""Settings: frozen, typed, one default each.

settings   sections, types, ranges, defaults
load       weakest first: the defaults, what a library remembers, ``--config FILE``,
           ``--set section.key=value``, a command's own options
document   all settings with their comments, or those that differ from the defaults, as text
messages   one line about an unknown setting or a wrong value
"""

from __future__ import annotations

from rtsearch.config.load import load_settings
from rtsearch.config.settings import (
    AnalyzeSettings,
    DescribeSettings,
    DetectSettings,
    GpuSettings,
    LiveSettings,
    ModelSettings,
    ProjectSettings,
    SearchSettings,
    Settings,
    ShowSettings,
)

__all__ = [
    "AnalyzeSettings",
    "DescribeSettings",
    "DetectSettings",
    "GpuSettings",
    "LiveSettings",
    "ModelSettings",
    "ProjectSettings",
    "SearchSettings",
    "Settings",
    "ShowSettings",
    "load_settings",
]
