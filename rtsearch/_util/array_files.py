"""Map array files of numpy into memory without parsing their headers."""

from __future__ import annotations

import io
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtsearch._util.regular_files import open_regular
from rtsearch.errors import DamagedError

__all__ = ["load_array"]


def load_array(path: Path, dtype: type[np.generic], shape: tuple[int, ...]) -> NDArray[Any]:
    """Map an array that ``np.save`` wrote, read-only, where the file holds exactly this type and shape.

    The header is compared with the expected one. numpy would parse it as Python, and a forged header could
    nest without end or claim more memory than there is.

    Raises:
        DamagedError: the file is missing, not a regular file, or has other content.
    """
    header = io.BytesIO()
    described = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, described)
    start = header.tell()
    try:
        with open_regular(path) as file:
            whole_bytes = start + np.dtype(dtype).itemsize * math.prod(shape)
            fits = os.fstat(file.fileno()).st_size == whole_bytes
            if fits and file.read(start) == header.getvalue():
                # A plain array of the same memory: an item of a memmap takes four times as long.
                return np.memmap(file, dtype, "r", start, shape).view(np.ndarray)
    except (OSError, ValueError) as error:
        raise DamagedError(f"{path} cannot be read ({error})") from None
    raise DamagedError(f"{path} is not the expected array {shape} of {np.dtype(dtype)}")
