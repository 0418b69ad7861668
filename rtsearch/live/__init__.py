"""A source played through the pipeline, live, or again with what was found before.

contract  what the loop is given, what it says at the end
player    the main loop; stages: its threads; showing: what is drawn and written
channel   one source of a run; grid: several in one picture
steady    tracks, strips and neighbours that stay; near: the neighbours of one object; rows: room for strips
easel     the picture; loader: crops fetched beside the drawing
shuffle   what the source ``random`` shows
"""

from rtsearch.live.channel import Recall
from rtsearch.live.contract import Controls, LiveReport, Outputs, Screen, SourceReport
from rtsearch.live.session import play, show_again
from rtsearch.live.shuffle import library_photos
from rtsearch.live.stabilizer import Steadied
from rtsearch.live.strips import Rows

__all__ = [
    "Controls",
    "LiveReport",
    "Outputs",
    "Recall",
    "Rows",
    "Screen",
    "SourceReport",
    "Steadied",
    "library_photos",
    "play",
    "show_again",
]
