"""Options of playing sources, which run and replay share, and the outputs that they ask for."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtsearch.cli.common import keep_older, tell
from rtsearch.config import Settings

if TYPE_CHECKING:
    from rtsearch.live import Display, Outputs, SceneSink
    from rtsearch.send import Address, OutletReport

__all__ = [
    "Clock",
    "FindOption",
    "OutStyle",
    "OutStyleOption",
    "Playing",
    "SendOption",
    "SplitOption",
    "length_s",
    "outlet_addresses",
    "tell_outlets",
    "with_find",
]

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class OutStyle(StrEnum):
    """Picture that a video shows."""

    PICTURE = "picture"
    FRAME = "frame"


OutStyleOption = Annotated[
    OutStyle,
    typer.Option(
        help="Of --out: the [bold]picture[/bold] with its strips, or the [bold]frame[/bold] of the source "
        "at its own size, with boxes and the numbers of tracks."
    ),
]
SendOption = Annotated[
    list[str] | None,
    typer.Option(
        "--send",
        metavar="URL",
        help="Send objects to another program (osc://HOST:9000, tuio://HOST:3333, mqtt://HOST/PREFIX, "
        "https://HOST/PATH, - for JSON lines on standard output) or the picture (v4l2:/dev/video10, "
        "pipe:FILE, ndi:NAME); default: send.to. May be repeated.",
    ),
]
SplitOption = Annotated[
    str | None,
    typer.Option(
        metavar="LENGTH", help="Write --out in pieces of this length, OUT-0001.mp4 and so on: 1h, 30m, 90s."
    ),
]


FindOption = Annotated[
    str | None,
    typer.Option(
        "--find",
        metavar="WORDS",
        help='Show and record only what words describe, such as "red cup" or "two dogs"; default: live.find.',
    ),
]


def with_find(overrides: Sequence[str] | None, words: str | None) -> list[str]:
    """Return settings of the command line with the words of ``--find``."""
    return [*(overrides or ()), *([] if words is None else [f"live.find={json.dumps(words)}"])]


def length_s(text: str | None) -> float | None:
    """Return a length such as ``1h``, ``30m`` or ``90s`` in seconds."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)([smhd])", text.strip())
    seconds = float(match[1]) * _UNITS_S[match[2]] if match else 0.0
    if seconds < 1:
        raise typer.BadParameter(f"--split {text}: expected a length from 1s on, such as 1h, 30m or 90s")
    return seconds


def outlet_addresses(
    given: Sequence[str] | None, settings: Settings, *, as_json: bool
) -> tuple[Address, ...]:
    """Return the addresses of ``--send``, else of the settings; named pipes are made.

    Args:
        given: by the options.
        settings: of the command.
        as_json: the report is written to standard output.

    Raises:
        SendError: an address is wrong, or given twice.
    """
    texts = list(given) if given else list(settings.send.to)
    if not texts:
        return ()
    from rtsearch.send import parse_address, require_outlet

    addresses = tuple(parse_address(text) for text in texts)
    for address in addresses:
        if addresses.count(address) > 1:
            raise typer.BadParameter(f"--send {address.name} is given twice")
        if address.scheme == "-" and as_json:
            raise typer.BadParameter("--send - and --json both write to standard output; give one of the two")
        require_outlet(address)
    return addresses


def tell_outlets(outlets: Sequence[OutletReport]) -> None:
    """Print what was sent to each program."""
    for outlet in outlets:
        problem = f"; {outlet.problem}" if outlet.problem else ""
        tell(f"sent to {outlet.name}: {outlet.sent:,}, {outlet.dropped:,} dropped{problem}")


class Clock(StrEnum):
    """Clock that the frames of a file wait for."""

    WALL = "wall"
    EVERY = "every"


@dataclass(frozen=True, slots=True)
class Playing:
    """Options of playing sources.

    Attributes:
        headless: without a window, even where one can be opened.
        out: the picture as a video.
        records: the objects and neighbours.
        clock: None: the wall clock where files are only watched, else every frame.
        loop: files and folders begin again at their end.
        overwrite: replace videos and records that are there already.
        style: of the video.
        split_s: length of its pieces; None for one file.
        stays: the last picture stays at the end of the sources.
        from_s: time of the first source at which it stands still in the beginning; None plays it.
        send: addresses of other programs.
        settings_file: gets the parts of the picture that the user sets in the window.
        patient: wait for a camera or stream that is not there, also for the only one.
        remember: folder of the memory that gets what is seen; None remembers nothing.
    """

    headless: bool = False
    out: Path | None = None
    records: tuple[Path, ...] = ()
    clock: Clock | None = None
    loop: bool = False
    overwrite: bool = False
    style: OutStyle = OutStyle.PICTURE
    split_s: float | None = None
    stays: bool = False
    from_s: float | None = None
    send: tuple[Address, ...] = ()
    patient: bool = False
    remember: Path | None = None
    settings_file: Path | None = None

    def __post_init__(self) -> None:
        if self.out is None and (self.split_s is not None or self.style is not OutStyle.PICTURE):
            raise typer.BadParameter("--split and --out-style are of a video; give --out OUT.mp4, too")

    @property
    def written(self) -> list[Path]:
        """Files that are written, or name the pieces that are: the video and the records."""
        return [path for path in (self.out, *self.records) if path is not None]

    def outputs(self, screen: Display | None, settings: Settings, scenes: SceneSink | None = None) -> Outputs:
        """Return the outputs of a run; a window and a page are among them, if any."""
        from rtsearch.live import Outputs

        return Outputs(
            screen,
            self.out,
            self.records,
            style=self.style.value,
            split_s=self.split_s,
            crf=settings.video.crf,
            scenes=scenes,
            stays=self.stays,
            send=self.send,
        )

    def keep_older(self) -> None:
        """See ``common.keep_older``; pieces of a video go on counting, so they replace none."""
        keep_older(
            [path for path in self.written if self.split_s is None or path != self.out],
            overwrite=self.overwrite,
        )

    def tell_written(self) -> None:
        """Name the files that were written."""
        from rtsearch.recording import piece_paths

        pieces = [] if self.out is None or self.split_s is None else piece_paths(self.out)
        names = [*(pieces[-1:] or filter(None, [self.out])), *self.records]
        tell(f"written: {', '.join(map(str, names))}")
