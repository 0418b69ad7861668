"""Download networks and convert them to prepared models: one ONNX file each, with named outputs.

catalogue          names, licences, hashes and places of networks
fetch              downloads a file from the first place whose bytes have the right hash
checkpoint         reads a PyTorch file with numpy, without running code from it
ultralytics        converts the layers of a checkpoint to an ONNX graph
checkpoint_import  makes a prepared model from a checkpoint
view               looks at a graph: producers, shapes, quantised operators
layouts            recognises detectors in exported graphs; one module per decoder
class_names        reads class names of files and of metadata
onnx_import        makes a prepared model from an export
taps               finds the maps that describe objects, by their role in the graph
prepare            names the outputs ``boxes``, ``scores``, ``tap0``.. and stores a ModelSpec in the file
quantize           computes the convolutions of a prepared model in int8
store              finds and adds models in the folder of prepared models
"""

from rtsearch.models.catalogue import CATALOGUE, CatalogueEntry, Place, Progress, catalogue_entry
from rtsearch.models.spec import ModelSpec, Tap
from rtsearch.models.store import default_folder, import_onnx, int8_path, pull, resolve

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
    "int8_path",
    "pull",
    "resolve",
]
