"""Headless Chromium for tests of the page: a browser, pages whose mistakes fail the test, what they show."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import barcode
import cv2
import numpy as np
import pytest

CHROMIUM = shutil.which("chromium-headless-shell")
NEEDS_CHROMIUM = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium-headless-shell")
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
    *("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"),
]
SCREENS = {"desktop": (1440, 900), "upright": (1080, 1920), "4K": (3840, 2160), "phone": (390, 844)}

# The number that the canvas shows, by the bar code's squares, and where its box is drawn.
NUMBERS = """(count) => new Promise((done, fail) => {
  setTimeout(() => fail(new Error("no pictures came")), 20000);
  const seen = [];
  document.addEventListener("drawn", ({ detail }) => {
    const { picture } = rtsearch.places.get(0), { canvas, context } = picture;
    let number = 0;
    for (let bit = 0; bit < 8; bit++) {
      const x = ((40 * bit + 20) / 320) * canvas.width, y = (220 / 240) * canvas.height;
      if (context.getImageData(x, y, 1, 1).data[0] > 45) number += 1 << bit;
    }
    const left = (picture.boxes[0].at[0] / picture.area.w) * 320;
    seen.push([number, detail.frame % 256, left, rtsearch.strips.strips.size]);
    if (seen.length === count) done(seen);
  });
})"""


def fake_camera(path: Path) -> Path:
    """A film of bar codes that Chromium takes for a camera."""
    with path.open("wb") as file:
        file.write(b"YUV4MPEG2 W320 H240 F10:1 Ip A1:1 C420jpeg\n")
        for number in range(10):
            yuv = cv2.cvtColor(barcode.picture(number), cv2.COLOR_BGR2YUV_I420)
            file.write(b"FRAME\n" + np.ascontiguousarray(yuv).tobytes())
    return path


@contextmanager
def chromium(folder: Path) -> Iterator[Any]:
    """A browser whose camera shows bar codes."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs the extra test")
    camera = fake_camera(folder / "camera.y4m")
    with sync_api.sync_playwright() as playwright:
        flags = [*FLAGS, f"--use-file-for-fake-video-capture={camera}"]
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield opened
        opened.close()


def _is_problem(said: Any) -> bool:
    """Tell whether a message of the console is one that no user has caused."""
    return said.type == "error" and "422" not in said.text


@contextmanager
def pages(browser: Any, port: int) -> Iterator[Callable[..., Any]]:
    """Gives what opens pages of a server; at the end nothing may have gone wrong on them."""
    contexts: list[Any] = []
    problems: list[str] = []

    def opened(path: str = "/", wh: tuple[int, int] = SCREENS["desktop"], at: int = 0) -> Any:
        context = browser.new_context(viewport={"width": wh[0], "height": wh[1]}, permissions=["camera"])
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda said: problems.append(said.text) if _is_problem(said) else None)
        page.goto(f"http://127.0.0.1:{at or port}{path}")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert problems == []
