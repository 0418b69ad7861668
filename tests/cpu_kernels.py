"""kernels.cu compiled as C++ and callable from Python, one launch at a time."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
from shared import once

from rtsearch.gpu import kernels

COMPILER = shutil.which("g++") or ""
_LOCK = threading.Lock()  # shared memory of a block is static memory here


def build(factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The kernels and a function to launch each of them, compiled once in a run of the tests."""
    return ctypes.CDLL(str(once(factory, "kernels", _compile) / "kernels.so"))


def _compile(folder: Path) -> None:
    text = '#include "cuda_shim.h"\n#include "kernels.cu"\n'
    for kernel in kernels.KERNELS:
        text += (
            f'extern "C" void launch_{kernel}(const unsigned* grid, const unsigned* block, void** arguments)'
        )
        text += f" {{ shim::launch({kernel}, grid, block, arguments); }}\n"
    for struct in ("Plan", "Picture", "Upload", "Row", "Map"):
        text += f'extern "C" int size_of_{struct}() {{ return sizeof({struct}); }}\n'
    text += 'extern "C" float half_to_float(unsigned short bits) { return from_half(bits); }\n'
    text += 'extern "C" unsigned short float_to_half(float value) { return to_half(value); }\n'
    source = folder / "kernels.cpp"
    source.write_text(text)
    includes = [f"-I{Path(__file__).parent}", f"-I{Path(kernels.__file__).parent}"]
    command = [COMPILER, "-std=c++20", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    command += [*includes, str(source), "-o", str(folder / "kernels.so")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def functions(library: ctypes.CDLL) -> dict[str, object]:
    """By name, what a FakeDevice launches."""

    def launcher(name):
        function = getattr(library, f"launch_{name}")

        def launch(grid, block, *arguments):
            values = [np.array(argument) for argument in arguments]
            places = (ctypes.c_void_p * len(values))(*[value.ctypes.data for value in values])
            with _LOCK:
                function((ctypes.c_uint * 3)(*grid), (ctypes.c_uint * 3)(*block), places)

        return launch

    return {name: launcher(name) for name in kernels.KERNELS}
