"""Define the errors that rtsearch raises on purpose.

    RtsearchError
    ├── ConfigError(ValueError)          a setting is unknown, of the wrong type or out of range
    ├── VectorError(ValueError)          vectors of the wrong shape, dtype or with NaN/inf
    ├── SourceError(OSError)             a camera, stream, video or folder cannot be played
    ├── PhotoError(ValueError)           one picture cannot be read
    │   └── UnreadPhotoError             for a reason outside of its file: disk, permission, limit
    ├── RecordError(OSError)             a recording cannot be written or read: disk full, no record
    ├── SendError(OSError)               signals cannot be sent to another program
    ├── ModelError
    │   ├── UnknownModelError(LookupError)     no such name in the catalogue, no such file
    │   ├── DownloadError(OSError)             no place had the file, or its hash is wrong
    │   ├── CheckpointError(ValueError)        a checkpoint that is damaged or not understood
    │   └── NotADetectorError(ValueError)      an ONNX file without the outputs of a detector
    ├── RunnerError(RuntimeError)        an inference engine cannot start or failed
    │   └── EngineError                  an engine file cannot be built, or must not be run here
    ├── LibraryError
    │   ├── NotALibraryError(ValueError)       missing, empty or foreign folder
    │   ├── FormatError(ValueError)            written by a newer version
    │   ├── FeatureSpaceError(ValueError)      made by another network or describing recipe
    │   ├── DamagedError(ValueError)           truncated or altered file, named
    │   ├── UnknownRowError(IndexError)        no object of that number
    │   └── LibraryBusyError(TimeoutError)     another process is writing
    ├── ExportError(OSError)             a database cannot be written to
    ├── StorageError                     object storage cannot be reached, or refuses
    ├── ClusterError(OSError)            a Ray cluster cannot be reached, or its machines do not fit
    ├── ServiceError(OSError)            a library's server or database cannot be reached, or answers nonsense
    ├── ServerError(OSError)             the page cannot be served: port taken, certificate wrong
    ├── WordsError(ValueError)           a request in words that is not understood
    ├── DisplayError(RuntimeError)       a picture was wanted on a screen, and no window can open
    ├── StageError(RuntimeError)         a worker thread failed; carries the stage's name
    └── MissingDependencyError(ImportError)    an optional package is not installed

The command line prints the message of a RtsearchError in one line and exits with code 2; so each message
names the object and the way out.
"""

__all__ = [
    "CheckpointError",
    "ClusterError",
    "ConfigError",
    "DamagedError",
    "DisplayError",
    "DownloadError",
    "EngineError",
    "ExportError",
    "FeatureSpaceError",
    "FormatError",
    "LibraryBusyError",
    "LibraryError",
    "MissingDependencyError",
    "ModelError",
    "NotADetectorError",
    "NotALibraryError",
    "PhotoError",
    "RecordError",
    "RtsearchError",
    "RunnerError",
    "SendError",
    "ServerError",
    "ServiceError",
    "SourceError",
    "StageError",
    "StorageError",
    "UnknownModelError",
    "UnknownRowError",
    "UnreadPhotoError",
    "VectorError",
    "WordsError",
]


class RtsearchError(Exception):
    """Base class of all errors that rtsearch raises on purpose."""


class ConfigError(RtsearchError, ValueError):
    """A setting is unknown, of the wrong type or out of range; the message gives its dotted path."""


class VectorError(RtsearchError, ValueError):
    """Vectors of the wrong shape or dtype, or with NaN or infinity in them."""


class WordsError(RtsearchError, ValueError):
    """A request in words that is not understood; the message names the word and those that are near it."""


class SourceError(RtsearchError, OSError):
    """A camera, stream, video, photo or folder cannot be played."""


class PhotoError(RtsearchError, ValueError):
    """One picture cannot be read; the message is the reason that the library stores."""


class UnreadPhotoError(PhotoError):
    """A picture cannot be read now for a reason outside of its file: the disk, a permission, a limit."""


class RecordError(RtsearchError, OSError):
    """A recording cannot be written or read; the message names the file."""


class SendError(RtsearchError, OSError):
    """Signals cannot be sent to another program; the message names its address, without secrets."""


class ModelError(RtsearchError):
    """Base class of errors about networks."""


class UnknownModelError(ModelError, LookupError):
    """The catalogue has no such name, and no such file exists."""


class DownloadError(ModelError, OSError):
    """No place had the file, or the downloaded bytes have the wrong hash."""


class CheckpointError(ModelError, ValueError):
    """A checkpoint is damaged, or has a layer that the converter does not know."""


class NotADetectorError(ModelError, ValueError):
    """An ONNX file has no outputs that boxes and scores can be read from."""


class RunnerError(RtsearchError, RuntimeError):
    """An inference engine cannot start, or failed while running."""


class EngineError(RunnerError):
    """An engine file cannot be built, or must not be run here: unknown, altered, made for another machine."""


class LibraryError(RtsearchError):
    """Base class of errors about library folders."""


class NotALibraryError(LibraryError, ValueError):
    """The folder is missing, empty, unreadable or not a library."""


class FormatError(LibraryError, ValueError):
    """The library was written by a newer version of rtsearch."""


class FeatureSpaceError(LibraryError, ValueError):
    """The library was made by another network or describing recipe; its vectors cannot be compared."""


class DamagedError(LibraryError, ValueError):
    """A file of the library is truncated or altered; the message names it.

    Args:
        message: names the file and the way out.
        reason: what is wrong with the file, where that is known apart.
    """

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason or message


class UnknownRowError(LibraryError, IndexError):
    """The library has no object of that number."""


class LibraryBusyError(LibraryError, TimeoutError):
    """Another process is writing to the library."""


class ExportError(RtsearchError, OSError):
    """A database cannot be reached, or refuses; the message has no secrets."""


class StorageError(RtsearchError):
    """Object storage cannot be reached, or refuses; the message has no secrets."""


class ClusterError(RtsearchError, OSError):
    """A Ray cluster cannot be reached, or one of its machines lacks photos, network or version."""


class ServiceError(RtsearchError, OSError):
    """The server or database of a library cannot be reached, refuses, or answers what cannot be used."""


class ServerError(RtsearchError, OSError):
    """The page cannot be served: the port is taken, the certificate is wrong, a token is missing."""


class DisplayError(RtsearchError, RuntimeError):
    """No window can open, and nothing else would keep the picture."""


class StageError(RtsearchError, RuntimeError):
    """A stage of the live loop failed.

    Args:
        stage: name of the stage (``capture``, ``detect``, ``search``, ``draw``).
        cause: exception that the stage raised.
    """

    def __init__(self, stage: str, cause: BaseException) -> None:
        super().__init__(f"{stage}: {cause}")
        self.stage = stage
        self.cause = cause


class MissingDependencyError(RtsearchError, ImportError):
    """An optional package is not installed; the message says which extra brings it."""
