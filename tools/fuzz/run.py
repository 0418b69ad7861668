"""Fuzz a reader of files that others may have made.

    python tools/fuzz/run.py TARGET [libFuzzer options, e.g. -max_total_time=600]

A target is a module beside this one. Its inputs begin with small real files; they are changed at random, and
those that reach other lines of rtsearch are changed further. A reader may refuse an input by a RtsearchError.
Any other exception, a crash, an input that takes longer than 20 s or more memory than the limit ends the run,
and the input is kept as crash-* or timeout-* in the present folder; ``run.py TARGET FILE`` repeats it.
"""

from __future__ import annotations

import importlib
import logging
import resource
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests"))  # makes small networks

TARGETS = ("checkpoint", "fragments", "index_files", "manifest", "networks", "photos", "records", "tree")
MEMORY_BYTES = 1 << 30
"""Most memory beyond what a process has after its first inputs; each of them is a file of kilobytes."""
COMPILED = ("rtsearch.search", "rtsearch.perception")
"""Packages that are loaded first, without instrumentation: numba cannot compile what atheris adds."""


class Target(Protocol):
    """A reader to fuzz.

    Attributes:
        seeds: real inputs, from which others are made.
        most_bytes: length of the longest input.
        mutate: makes an input from another one, of a length at most, with a seed; None changes bytes.
    """

    seeds: Iterable[bytes]
    most_bytes: int
    mutate: Callable[[bytes, int, int], bytes] | None

    def __call__(self, data: bytes) -> None:
        """Read an input; an input that is refused is no error."""


def load(name: str) -> Target:
    """Make the target of a module beside this one."""
    made: Target = importlib.import_module(name).Target()
    return made


def limit_memory(extra_bytes: int) -> None:
    """Limit the address space of this process to what it has now and so many bytes."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = pages * resource.getpagesize() + extra_bytes
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def main() -> None:
    try:
        import atheris
    except ImportError:
        sys.exit("fuzzing needs atheris: pip install 'rtsearch[fuzz]'")
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: run.py TARGET [libFuzzer options]; targets: {', '.join(TARGETS)}")
    logging.disable()
    warnings.simplefilter("error", RuntimeWarning)  # numpy's, of numbers that are none
    for name in COMPILED:
        importlib.import_module(name)
    with atheris.instrument_imports(include=["rtsearch"]):
        target = load(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="rtsearch-fuzz-") as folder:
        for i, seed in enumerate(target.seeds):
            Path(folder, f"{i:03d}").write_bytes(seed)
            target(seed)  # loads what is loaded on first use
        options = [f"-max_len={target.most_bytes}", "-timeout=20", "-rss_limit_mb=0", "-len_control=0"]
        replayed = any(Path(argument).is_file() for argument in sys.argv[2:])
        arguments = [sys.argv[0], *options, *sys.argv[2:], *([] if replayed else [folder])]
        limit_memory(MEMORY_BYTES)
        atheris.Setup(arguments, target, custom_mutator=target.mutate)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
