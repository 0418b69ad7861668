"""A source played through the pipeline, live, or again with what was found before.

session     the main loop; stages: its threads; sinks: what is drawn and written
controls    what the user changes and asks for; report: the figures at the end
channel     one source: capture_side, choosing_side, search_side and view, a part for each thread;
            live_frame: the record that goes through them
stabilizer  tracks, strips and neighbours that stay; neighbour_hysteresis: the neighbours of one object;
            strips: their grid; room: of a picture
compositor  the picture; notes: the lines in it; mosaic: several sources in one;
            loader: crops fetched meanwhile
library_watch  puts a library that has grown in force; live_index: what is searched; library_crops: its crops
shuffle     what the source ``random`` shows
"""

from rtsearch.live.areas import Areas
from rtsearch.live.controls import Chooser, Controls
from rtsearch.live.library_watch import LibraryWatch, follow_library, watch_library
from rtsearch.live.report import LiveReport, SourceReport
from rtsearch.live.session import play, show_again
from rtsearch.live.shuffle import library_photos
from rtsearch.live.sinks import Display, Outputs, SceneSink
from rtsearch.live.stabilizer import Steadied
from rtsearch.live.stages import FrameLookup
from rtsearch.live.strip_grid import GridChoice

__all__ = [
    "Areas",
    "Chooser",
    "Controls",
    "Display",
    "FrameLookup",
    "GridChoice",
    "LibraryWatch",
    "LiveReport",
    "Outputs",
    "SceneSink",
    "SourceReport",
    "Steadied",
    "follow_library",
    "library_photos",
    "play",
    "show_again",
    "watch_library",
]
