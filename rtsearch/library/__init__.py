"""Store the objects of a folder of photos on disk, and open them for search.

    photos -> LibraryWriter -> fragments named by a manifest -> Library -> index

manifest    fragments that belong to the library
schema      columns of objects and photos
writer      adds fragments, and survives a kill at any instant
reader      reads a library
index       searches the objects of a library
integrity   finds damage
photos      finds the photos of a folder
merge       joins libraries of parts of the same photos
export      writes all objects to one .npz file
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
