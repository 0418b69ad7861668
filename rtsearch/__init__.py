"""rtsearch: reverse object search in real time.

    open_library   a library, searched for the objects of a photo or for what is like one of its own
    open_pipeline  a network that finds and describes objects
    analyze        photos to library
    Library        a library's tables on disk
    KDTree         nearest neighbours of vectors of your own; GrowingTree while rows come and go
    errors         every exception that rtsearch raises on purpose

Importing the package loads none of its heavy dependencies; a name loads what it needs when it is first used.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

__all__ = [
    "GrowingTree",
    "KDTree",
    "Library",
    "__version__",
    "analyze",
    "errors",
    "open_library",
    "open_pipeline",
]
__version__ = "0.1.0"

# onnxruntime 1.32 writes a device id into the home folder when it is imported, and reports to its maker
# nine seconds later. Only this variable stops it, and only before the import; child processes inherit it.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

_MODULES = {
    "GrowingTree": "rtsearch.search",
    "KDTree": "rtsearch.search",
    "Library": "rtsearch.library",
    "analyze": "rtsearch.jobs.analyze",
    "open_library": "rtsearch.library_search",
    "open_pipeline": "rtsearch.pipeline",
}

if TYPE_CHECKING:
    from rtsearch import errors
    from rtsearch.jobs.analyze import analyze
    from rtsearch.library import Library
    from rtsearch.library_search import open_library
    from rtsearch.pipeline import open_pipeline
    from rtsearch.search import GrowingTree, KDTree
else:  # hidden from type checkers, which would take any name for an attribute

    def __getattr__(name: str) -> object:
        """Import a name of ``__all__`` when it is first used (PEP 562)."""
        if name == "errors":
            return import_module("rtsearch.errors")
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_MODULES[name]), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
