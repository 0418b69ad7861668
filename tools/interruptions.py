"""Commands that are killed and interrupted at random moments: is anything lost, broken, or left running?

    python tools/interruptions.py [--times 60] [--seed 0] [--signal KILL|INT] [--within SECONDS] [--only KIND]

``analyze``, ``run``, ``run --remember`` and ``analyze --again`` are started in turn and get a SIGKILL (of the
process alone, as from the kernel) so many times, then as many a SIGINT (of their group, as from a terminal),
at moments between start and end. One JSON object says how many ended how, and what was wrong; the exit code
is 1 then. After each:

    library    opens, holds at least what it held before, and every byte is right
    record     each whole line is JSON, in the order of the frames
    described  the library that is described anew has all of its objects, by the old network or the new one
    memory     every hour is sound, and holds at least the entries that it held before
    video      the file under its own name plays, and so does what a kill has left of one
    processes  none of the group is left after 20 s
    Ctrl-C     the exit code is 130 (or the signal itself, as long as modules are loaded), or 0 at the end
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rtsearch.errors import RtsearchError
from rtsearch.jobs.demo import demo_clip, gather_photos
from rtsearch.library import Library, check_library
from rtsearch.memory.folder import MemoryFolder
from rtsearch.memory.hours import names_in, open_hour, read_table
from rtsearch.sources import VideoFile

PHOTOS = 40
LONGEST_S = 300.0
KINDS = ("analyze", "run", "remember", "again")
SIZES = (416, 320)  # px, of the network's input; boxes are described with each in turn
ENDS_WITHIN_S = 20.0
DONE, INTERRUPTED = 0, (128 + signal.SIGINT, -signal.SIGINT)


class Place:
    """Photos, a clip, a library and the files of a run, in one folder.

    Args:
        folder: empty.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clip = demo_clip()
        everything = folder / "all"
        gather_photos(everything, self.clip)
        self.photos = folder / "photos"
        self.photos.mkdir()
        for photo in sorted(everything.iterdir())[:PHOTOS]:
            shutil.copy(photo, self.photos)
        self.library, self.growing = folder / "lib", folder / "growing"
        self.record, self.video = folder / "run.jsonl", folder / "run.mp4"
        self.memory, self.described = folder / "memory", folder / "described"
        self.held: set[str] = set()
        self.remembered: set[str] = set()

    def command(self, name: str) -> list[str]:
        """Return a command line; what an earlier one has written is taken away where it has to be."""
        rtsearch = [sys.executable, "-P", "-m", "rtsearch"]
        if name == "analyze":
            if self.growing.exists() and len(self.held) == PHOTOS:
                shutil.rmtree(self.growing)
                self.held = set()
            return [
                *rtsearch,
                "analyze",
                str(self.photos),
                str(self.growing),
                "--set",
                "analyze.commit_photos=4",
            ]
        if name == "again":
            if not self.described.exists():
                shutil.copytree(self.library, self.described)
            before = Library.open(self.described).space.read_recipe.input_wh
            size = SIZES[0] if before != (SIZES[0], SIZES[0]) else SIZES[1]
            changed = ["--set", f"model.size={size}", "--set", "analyze.commit_photos=4"]
            return [*rtsearch, "analyze", str(self.described), "--again", *changed]
        if name == "remember":
            kept = ["--headless", "--remember", str(self.memory), "--set", "memory.classes=person,car,dog"]
            return [*rtsearch, "run", str(self.library), "--source", str(self.clip), *kept]
        for path in self.folder.glob("*run*.*"):
            path.unlink()
        outputs = ["--headless", "--record", str(self.record), "--out", str(self.video)]
        return [*rtsearch, "run", str(self.library), "--source", str(self.clip), *outputs]

    def problems(self, name: str) -> Iterator[str]:
        """Yield what is wrong with what a command has left."""
        kinds = {
            "analyze": self._library_problems,
            "run": self._run_problems,
            "again": self._described_problems,
        }
        yield from kinds.get(name, self._memory_problems)()

    def _memory_problems(self) -> Iterator[str]:
        if not (self.memory / "manifest.json").exists():
            if self.remembered:
                yield "the memory is gone"
            return
        names: set[str] = set()
        try:
            memory = MemoryFolder.open(self.memory)
            for hour in memory.hour_names():
                names |= set(names_in(read_table(memory, hour)))
                yield from map(str, check_library(open_hour(memory, hour)))
        except RtsearchError as error:
            yield str(error)
            return
        if lost := self.remembered - names:
            yield f"{len(lost)} entries are lost"
        self.remembered = names

    def _described_problems(self) -> Iterator[str]:
        try:
            library, whole = Library.open(self.described), Library.open(self.library)
            yield from map(str, check_library(library))
        except RtsearchError as error:
            yield str(error)
            return
        if (library.photo_count, library.object_count) != (whole.photo_count, whole.object_count):
            yield f"{library.object_count} of {whole.object_count} objects are there"

    def _library_problems(self) -> Iterator[str]:
        if not (self.growing / "manifest.json").exists():
            if self.held:
                yield "the library is gone"
            return
        try:
            library = Library.open(self.growing)
            paths = set(library.photos().path)
            yield from map(str, check_library(library))
        except RtsearchError as error:
            yield str(error)
            return
        if lost := self.held - paths:
            yield f"{len(lost)} photos are lost"
        self.held = paths

    def _run_problems(self) -> Iterator[str]:
        if self.record.exists():
            *whole, _ = self.record.read_bytes().split(b"\n")
            try:
                numbers = [json.loads(line)["frame"] for line in whole]
            except (ValueError, KeyError) as error:
                yield f"a line of the record: {error}"
                return
            if numbers != sorted(set(numbers)):
                yield "lines of the record are out of order"
        for video in self.folder.glob("*run*.mp4"):
            # A part of less than the first fragment, a second, holds no picture yet.
            if (video == self.video or video.stat().st_size > 100_000) and not plays(video):
                yield f"{video.name} of {video.stat().st_size} bytes does not play"


def plays(video: Path) -> bool:
    """Tell whether a video has a picture."""
    try:
        with VideoFile(str(video)) as source:
            return next(source).bgr.size > 0
    except (RtsearchError, StopIteration):
        return False


def start(command: list[str]) -> subprocess.Popen[str]:
    """Start a command in a group of its own."""
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, process_group=0
    )


def alive(group: int) -> bool:
    """Tell whether any process of a group runs."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def stop(process: subprocess.Popen[str], number: signal.Signals, after_s: float) -> tuple[int | None, str]:
    """Send a signal after a while; return the exit code (None where it did not end) and what was said."""
    try:
        return process.wait(after_s), process.communicate()[1]
    except subprocess.TimeoutExpired:
        if number == signal.SIGKILL:
            process.kill()
        else:
            os.killpg(process.pid, number)
    try:
        _, words = process.communicate(timeout=ENDS_WITHIN_S)
        return process.returncode, words
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return None, process.communicate()[1]


def wait_for_group(group: int) -> bool:
    """Wait until all processes of a group have ended; False where some had to be killed."""
    deadline_s = time.monotonic() + ENDS_WITHIN_S
    while alive(group):
        if time.monotonic() > deadline_s:
            os.killpg(group, signal.SIGKILL)
            return False
        time.sleep(0.05)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--times", type=int, default=60, help="of each signal")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--signal", choices=("KILL", "INT"), help="one of them only")
    parser.add_argument("--only", choices=KINDS, help="one kind of command only")
    parser.add_argument("--within", type=float, default=LONGEST_S, help="latest moment, seconds")
    arguments = parser.parse_args()
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a script's background ignores it, and so do children
    signals = (
        [signal.Signals[f"SIG{arguments.signal}"]] if arguments.signal else [signal.SIGKILL, signal.SIGINT]
    )
    kinds = (arguments.only,) if arguments.only else KINDS
    rng = random.Random(arguments.seed)
    ends: Counter[str] = Counter()
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="rtsearch-interruptions-") as name:
        place = Place(Path(name))
        analyse = [sys.executable, "-P", "-m", "rtsearch", "analyze", str(place.photos), str(place.library)]
        subprocess.run(analyse, check=True, capture_output=True)
        lasts_s = {}
        for kind in kinds:
            begun_s = time.monotonic()
            subprocess.run(place.command(kind), check=True, capture_output=True, timeout=LONGEST_S)
            lasts_s[kind] = time.monotonic() - begun_s
        if "analyze" in kinds:
            place.held = set(Library.open(place.growing).photos().path)
        for number in signals:
            for i in range(arguments.times):
                kind = kinds[i % len(kinds)]
                process = start(place.command(kind))
                after_s = rng.uniform(0, min(lasts_s[kind], arguments.within))
                code, words = stop(process, number, after_s)
                ends[f"{kind} {number.name}: {code}"] += 1
                problems = (
                    list(place.problems(kind)) if wait_for_group(process.pid) else ["processes are left"]
                )
                # Before the first line of rtsearch is run, Python itself ends by a traceback.
                begun = f"{os.sep}rtsearch{os.sep}" in words or "Traceback" not in words
                if code is None or (begun and number == signal.SIGINT and code not in (DONE, *INTERRUPTED)):
                    problems.append(f"ended with {code}: {words[-300:]}")
                if begun and "Traceback" in words:
                    problems.append(words[-500:])
                wrong += [f"{kind}, {number.name} after {after_s:.2f} s: {problem}" for problem in problems]
                sys.stderr.write(f"{number.name} {i + 1} of {arguments.times}, {len(wrong)} problems\n")
        entries = len(place.remembered)
    figures = {"ends": dict(sorted(ends.items())), "entries": entries, "wrong": wrong}
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
