"""Objects of a folder of photos on disk, ready to be searched.

    photos -> LibraryWriter -> fragments named by a manifest -> Library -> index

manifest    names the fragments that count       schema   columns of a row
writer      survives a kill at any instant       reader   reads what the manifest names
integrity   finds damage                         photos   finds and decodes photos
index       vectors that are searched            thumbnails   crops, decoded on demand
"""

from rtsearch.library.export import export_npz
from rtsearch.library.files import library_lock
from rtsearch.library.integrity import Problem, check_library, cut_files
from rtsearch.library.manifest import FeatureSpace, Fragment, Manifest
from rtsearch.library.reader import Library
from rtsearch.library.schema import ObjectRows, PhotoRow, PhotoState, PhotoTable
from rtsearch.library.writer import LibraryWriter

__all__ = [
    "FeatureSpace",
    "Fragment",
    "Library",
    "LibraryWriter",
    "Manifest",
    "ObjectRows",
    "PhotoRow",
    "PhotoState",
    "PhotoTable",
    "Problem",
    "check_library",
    "cut_files",
    "export_npz",
    "library_lock",
]
