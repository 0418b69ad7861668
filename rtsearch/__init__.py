"""rtsearch: reverse object search in real time.

Importing the package loads none of its heavy dependencies; import the stage that you need:
``rtsearch.detect``, ``rtsearch.search``, ``rtsearch.library``, ``rtsearch.live``.
"""

import os

__all__ = ["__version__"]
__version__ = "0.1.0"

# onnxruntime 1.32 writes a device id into the home folder when it is imported, and reports to its maker
# nine seconds later. Only this variable stops it, and only before the import; child processes inherit it.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
