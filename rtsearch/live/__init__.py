"""A source played through the pipeline, live: threads and clocks in ``player``, steady strips in ``steady``."""

from rtsearch.live.player import Controls, LiveReport, Outputs, Screen, library_photos, play

__all__ = ["Controls", "LiveReport", "Outputs", "Screen", "library_photos", "play"]
