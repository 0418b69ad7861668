"""Define settings, frozen and typed, with one default each, and load them.

settings   sections, types, ranges, defaults
load       reads settings; from weak to strong: defaults, values that a library remembers,
           ``--config FILE``, ``--set section.key=value``, options of a command
document   writes settings as text: all with their comments, or only the changed ones
messages   words the messages about unknown settings and invalid values
"""

from __future__ import annotations

from rtsearch.config.load import load_settings
from rtsearch.config.settings import (
    AnalyzeSettings,
    DescribeSettings,
    DetectSettings,
    GpuSettings,
    LiveSettings,
    MemorySettings,
    ModelSettings,
    ProjectSettings,
    SearchSettings,
    Settings,
    ShowSettings,
    VideoSettings,
    WebSettings,
)

__all__ = [
    "AnalyzeSettings",
    "DescribeSettings",
    "DetectSettings",
    "GpuSettings",
    "LiveSettings",
    "MemorySettings",
    "ModelSettings",
    "ProjectSettings",
    "SearchSettings",
    "Settings",
    "ShowSettings",
    "VideoSettings",
    "WebSettings",
    "load_settings",
]
