"""The library on disk: what was found in a folder of photos, ready to be searched.

    photos -> LibraryWriter -> fragments named by a manifest -> Library -> index

See ``manifest`` for what counts, ``schema`` for what a row holds, ``writer`` for how it survives a kill at
any instant, ``store`` for reading, ``check`` for finding damage, ``photos`` for finding and decoding photos.
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
