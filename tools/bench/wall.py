"""The wall of a large library in a browser: time to its pictures, frames while it moves, JS heap.

    python tools/bench/wall.py [--objects 100000] [--keep FOLDER] [--shots FOLDER]

The library is that of ``library.py``. Headless Chromium, 1440x900, opens /library of a server that has just
been started:

    first_ms        from opening the page to the first tile on the canvas
    covered_ms      ... until every cell on the screen shows something
    whole_ms        ... until every cell shows its own crop
    arranged_ms     ... until the final arrangement is shown
    frame_ms        from picture to picture of the browser while it is zoomed and dragged, and the time of the
                    page's own drawing, ``paint_ms``
    again_ms        the first tile of a second visit

Chromium draws without a GPU here: frames take several times as long as on a screen.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from camera import quantiles
from library import write_library
from web import CHROMIUM, FLAGS, site_of

from rtsearch.config import Settings
from rtsearch.library import Library
from rtsearch.library.index import open_index
from rtsearch.models import default_folder, pull
from rtsearch.pipeline import open_pipeline

WH = (1440, 900)

# The times of the browser's pictures and of the page's own drawing, ms, once it moves.
NOTE = """() => {
  window.noted = { frames: [], paints: [] };
  const paint = rtsearch.paint.bind(rtsearch);
  rtsearch.paint = (at) => {
    const begun = performance.now();
    paint(at);
    noted.paints.push(performance.now() - begun);
  };
  let last = 0;
  const next = (at) => { if (last) noted.frames.push(at - last); last = at; requestAnimationFrame(next); };
  requestAnimationFrame(next);
}"""
# The page allows no texts to be run, so it is asked from picture to picture.
UNTIL = "new Promise((done) => { const ask = () => (%s ? done() : requestAnimationFrame(ask)); ask(); })"
SOME = "window.rtsearch?.tiles.size > 0"
COVERED = "rtsearch.wall && rtsearch.lacks === 0"
WHOLE = f"{COVERED} && !rtsearch.asked.size && ![...rtsearch.tiles.values()].some((t) => t.partial)"
ARRANGED = "document.body.dataset.ready === 'true'"


def look(port: int, shots: str) -> dict[str, Any]:
    """What a headless Chromium sees of the page."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        context = opened.new_context(viewport={"width": WH[0], "height": WH[1]})
        page = context.new_page()
        tools = context.new_cdp_session(page)
        begun_s = time.time()
        page.goto(f"http://127.0.0.1:{port}/library")
        found: dict[str, Any] = {}
        for name, when in (("first", SOME), ("covered", COVERED), ("whole", WHOLE), ("arranged", ARRANGED)):
            page.evaluate(UNTIL % when)
            found[f"{name}_ms"] = round((time.time() - begun_s) * 1e3)
            if shots:
                page.screenshot(path=f"{shots}/{name}.png")
        page.evaluate(NOTE)
        _move(page)
        found["frame_ms"] = quantiles(page.evaluate("noted.frames"))
        found["paint_ms"] = quantiles(page.evaluate("noted.paints"))
        found["frames"] = page.evaluate("noted.frames.length")
        if shots:
            page.screenshot(path=f"{shots}/moved.png")
        tools.send("HeapProfiler.collectGarbage")
        found["heap_mb"] = round(page.evaluate("performance.memory.usedJSHeapSize") / 1e6, 1)
        begun_s = time.time()
        page.goto(f"http://127.0.0.1:{port}/library")
        page.evaluate(UNTIL % SOME)
        found["again_ms"] = round((time.time() - begun_s) * 1e3)
        opened.close()
    return found


def _move(page: Any) -> None:
    """Zoom into three places and out again, and drag the wall about at each."""
    for x, y in ((720, 480), (260, 300), (1200, 760)):
        page.mouse.move(x, y)
        for _ in range(14):
            page.mouse.wheel(0, -150)
            page.wait_for_timeout(60)
        page.mouse.down()
        for step in range(30):
            page.mouse.move(x - 16 * step, y - 5 * step)
            page.wait_for_timeout(16)
        page.mouse.up()
        for _ in range(14):
            page.mouse.wheel(0, 150)
            page.wait_for_timeout(60)


def measure(folder: Path, objects: int, shots: str) -> dict[str, Any]:
    write_library(folder, objects)
    with open_pipeline(Settings()) as pipeline:
        index = open_index(Library.open(folder), Settings())
        index.warm_up(Settings().show.results)
        with site_of(index, pipeline) as (_, port):
            command = [sys.executable, __file__, "--browser", str(port), "--shots", shots]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return {"objects": len(index), **json.loads(done.stdout)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--keep", type=Path, help="folder for the library; default: a temporary one")
    parser.add_argument("--shots", default="", help="folder for pictures of the page")
    parser.add_argument("--browser", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.browser:
        print(json.dumps(look(given.browser, given.shots)))
        return
    if CHROMIUM is None:
        sys.exit("chromium-headless-shell is not installed")
    pull(Settings().model.name, default_folder())
    with tempfile.TemporaryDirectory(prefix="rtsearch-") as name:
        print(json.dumps(measure(given.keep or Path(name), given.objects, given.shots)))


if __name__ == "__main__":
    main()
