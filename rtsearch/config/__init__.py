"""Settings: frozen, typed, one default each.

settings   sections, types, ranges, defaults
load       weakest first: the defaults, what a library remembers, ``--config FILE``,
           ``--set section.key=value``, a command's own options
document   all settings with their comments, or those that differ from the defaults, as text
wrong      what is said of a setting that there is not, or of a value that is no good
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
    VideoSettings,
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
    "VideoSettings",
    "load_settings",
]
