"""Catalogue of networks, their download, and their conversion to one ONNX file with named outputs.

catalogue          names, licences, hashes and places
fetch              a file of the catalogue, from the first place whose bytes have the right hash
checkpoint         a PyTorch file, read with numpy alone and without running anything in it
ultralytics        the checkpoint's layers as an ONNX graph
checkpoint_import  such a checkpoint as a prepared model
layouts            exported detectors, known by the look of their graph
onnx_import        such an export as a prepared model
taps               the maps that describe objects, found by their role in the graph
prepare            the finished file: outputs ``boxes``, ``scores``, ``tap0``.. and a ModelSpec inside it
store              the folder of prepared models
"""

from rtsearch.models.catalogue import CATALOGUE, CatalogueEntry, Place, Progress, catalogue_entry
from rtsearch.models.spec import ModelSpec, Tap
from rtsearch.models.store import default_folder, import_onnx, pull, resolve

__all__ = [
    "CATALOGUE",
    "CatalogueEntry",
    "ModelSpec",
    "Place",
    "Progress",
    "Tap",
    "catalogue_entry",
    "default_folder",
    "import_onnx",
    "pull",
    "resolve",
]
