"""rtsearch: reverse object search in real time.

Importing the package loads none of its heavy dependencies; import the stage that you need:
``rtsearch.detect``, ``rtsearch.search``, ``rtsearch.library``, ``rtsearch.live``.
"""

__all__ = ["__version__"]
__version__ = "0.1.0"
