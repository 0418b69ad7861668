"""Make a gallery of the picture: both compositions, on several screens and with two sources, and two films.

    python tools/gallery.py LIB CLIP CLIP [CLIP ...] [--out DIR] [--screens 1280x720 1080x1920]
                            [--at 4 9] [--side 1280] [--seconds 20] [--set NAME=VALUE]

Plays each clip without a window on each screen, and beside the next clip, in each composition: sixteen
pictures per composition of four clips. Keeps the pictures at the given times as
DIR/COMPOSITION-WIDTHxHEIGHT-CLIP-TIMEs.webp, and writes a film of all clips, one after the other, per
composition (none with --seconds 0), and DIR/gallery.md, which shows all.
What the pictures show belongs to those who own clips and library.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

SCREENS = ("1280x720", "1080x1920", "3840x2160")
COMPOSITIONS = ("wall", "strips")
QUALITY = 80  # of the pictures
FILM_CRF = 30


class Shot(NamedTuple):
    """Clips that play side by side on a screen, in a composition."""

    composition: str
    screen: str
    clips: tuple[Path, ...]

    @property
    def name(self) -> str:
        """Name of its files."""
        stems = "+".join(clip.stem for clip in self.clips)
        return f"{self.composition}-{self.screen}-{stems}"


def main() -> None:
    """Play all, and write the gallery."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("library", type=Path)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=Path("gallery"), help="folder that gets the pictures")
    parser.add_argument("--screens", nargs="+", default=SCREENS, metavar="WIDTHxHEIGHT", help="sizes, px")
    parser.add_argument("--at", type=float, nargs="+", default=[6.0], help="times of the pictures, s")
    parser.add_argument("--side", type=int, default=1280, help="longest side of the pictures, px")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of the films")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="NAME=VALUE")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    lines = ["# Gallery", ""]
    for shot in shots(options.clips, options.screens):
        print(shot.name, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            film = Path(folder) / "shot.mp4"
            play(options.library, shot, film, max(options.at) + 1.0, options.settings)
            lines += [picture_of(film, at_s, shot, options) for at_s in options.at]
    if options.seconds:
        with tempfile.TemporaryDirectory() as folder:
            clip = in_turn(options.clips, options.seconds, Path(folder) / "clips.mp4")
            for composition in COMPOSITIONS:
                shot = Shot(composition, options.screens[0], (clip,))
                film = options.out / f"{shot.name}.mp4"
                play(
                    options.library, shot, film, options.seconds, [*options.settings, f"video.crf={FILM_CRF}"]
                )
                lines.append(f"- film: [{film.name}]({film.name})")
    (options.out / "gallery.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def shots(clips: list[Path], screens: Sequence[str]) -> Iterator[Shot]:
    """Yield every clip on every screen in each composition, then each clip beside the next one."""
    for composition in COMPOSITIONS:
        for screen, clip in product(screens, clips):
            yield Shot(composition, screen, (clip,))
        for clip, other in zip(clips, clips[1:] + clips[:1], strict=True) if len(clips) > 1 else ():
            yield Shot(composition, screens[0], (clip, other))


def in_turn(clips: Sequence[Path], seconds: float, film: Path) -> Path:
    """Write the beginnings of clips one after the other, of 1280x720 px and so many seconds in all."""
    each = seconds / len(clips)
    command = ["ffmpeg", "-v", "error"]
    for clip in clips:
        command += ["-t", f"{each:g}", "-i", str(clip)]
    alike = "scale=1280:720:force_original_aspect_ratio=increase,crop=1280:720,fps=30,setsar=1"
    parts = [f"[{i}:v]{alike}[v{i}]" for i in range(len(clips))]
    parts.append("".join(f"[v{i}]" for i in range(len(clips))) + f"concat=n={len(clips)}")
    subprocess.run([*command, "-filter_complex", ";".join(parts), "-crf", "16", str(film)], check=True)
    return film


def play(library: Path, shot: Shot, film: Path, seconds: float, settings: list[str]) -> None:
    """Play a shot into a film, without losses that the eye sees."""
    command = [
        str(Path(sys.executable).parent / "rtsearch"),
        "run",
        str(library),
        "--headless",
        "--overwrite",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for i, clip in enumerate(shot.clips):
            command += ["--source", str(beginning(clip, seconds, Path(folder) / f"{i}{clip.suffix}"))]
        command += ["--out", str(film), "--set", "video.crf=16"]
        command += ["--set", f"show.composition={shot.composition}"]
        command += ["--set", f"show.window_wh={shot.screen}"]
        for setting in settings:
            command += ["--set", setting]
        subprocess.run(command, check=True)


def beginning(clip: Path, seconds: float, part: Path) -> Path:
    """Copy the beginning of a clip; returns the copy."""
    command = ["ffmpeg", "-v", "error", "-i", str(clip), "-t", f"{seconds:g}", "-c", "copy", "-an", str(part)]
    subprocess.run(command, check=True)
    return part


def picture_of(film: Path, at_s: float, shot: Shot, options: argparse.Namespace) -> str:
    """Save the picture of a film at a time, or its last one; return its line of the gallery."""
    capture = cv2.VideoCapture(str(film))
    last = max(0.0, capture.get(cv2.CAP_PROP_FRAME_COUNT) - 1)
    capture.set(cv2.CAP_PROP_POS_FRAMES, min(last, round(at_s * capture.get(cv2.CAP_PROP_FPS))))
    read, bgr = capture.read()
    capture.release()
    if not read:
        raise SystemExit(f"{film} has no picture at {at_s} s")
    scale = min(1.0, options.side / max(bgr.shape[:2]))
    size = round(scale * bgr.shape[1]), round(scale * bgr.shape[0])
    small = np.asarray(cv2.resize(bgr, size, interpolation=cv2.INTER_AREA))
    path = options.out / f"{shot.name}-{at_s:g}s.webp"
    cv2.imwrite(str(path), small, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
    return f"![{shot.name}]({path.name})\n"


if __name__ == "__main__":
    main()
