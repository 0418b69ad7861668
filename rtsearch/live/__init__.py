"""A source played through the pipeline, live.

contract  what the loop is given, what it says at the end
player    threads, stop; channel: one source of a run; grid: several in one picture
steady    tracks, strips and neighbours that stay; near: the neighbours of one object
easel     the picture; loader: crops fetched beside the drawing
"""

from rtsearch.live.contract import Controls, LiveReport, Outputs, Screen, SourceReport
from rtsearch.live.player import library_photos, play

__all__ = ["Controls", "LiveReport", "Outputs", "Screen", "SourceReport", "library_photos", "play"]
