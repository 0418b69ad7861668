"""Make docs/page.jpg and docs/wall.jpg: the page and the wall of the demo, as Chromium draws them today.

    python tools/demo_pictures.py --out demo-out && python tools/page_pictures.py --out demo-out

Needs Debian's chromium-headless-shell and the extra ``test``.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

TOP = Path(__file__).resolve().parents[1]
RTSEARCH = Path(sys.executable).parent / "rtsearch"
WH = (1100, 688)
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")


def main() -> None:
    """Serve the demo's library, and write both pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=TOP / "demo-out", help="folder of the demo")
    parser.add_argument("--at", type=float, default=14.0, help="moment of the clip, s")
    options = parser.parse_args()
    command = [RTSEARCH, "serve", options.out / "library", "--source", options.out / "clip.mp4"]
    with subprocess.Popen([*command, "--port", "0", "--json"], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            take(json.loads(child.stdout.readline())["url"], options.at)
        finally:
            child.terminate()


def take(url: str, at_s: float) -> None:
    """Write the pictures of a server."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium-headless-shell"), args=list(FLAGS)
        )
        page = browser.new_page(viewport={"width": WH[0], "height": WH[1]})
        page.goto(url)
        page.locator(".tile").first.wait_for()
        page.wait_for_function("(at) => rtsearch.places.get(0).scene.t_s >= at", arg=at_s)
        page.keyboard.press(" ")
        page.wait_for_timeout(1500)  # strips glide and fade
        save(page, "page.jpg")
        page.goto(f"{url}library")
        page.locator("body[data-ready=true]").wait_for()
        page.wait_for_timeout(1500)
        save(page, "wall.jpg")
        browser.close()


def save(page: Any, name: str) -> None:
    """Write what a browser shows as a JPEG of docs/."""
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.save(TOP / "docs" / name, quality=86, optimize=True)


if __name__ == "__main__":
    main()
