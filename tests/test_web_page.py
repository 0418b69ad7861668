"""The page in a browser: sizes of frames and crops, colours, dropped photos, files, every control."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import barcode
import cv2
import pytest
from browsing import NEEDS_CHROMIUM, SCREENS, chromium, pages
from clips import write_clip
from page import served
from sent import until
from test_library_watch import NEW, Growing
from test_web_growth import OVERRIDES

from rtsearch.config import Settings
from rtsearch.sources import Paced, open_source
from rtsearch.web import Access

pytestmark = [pytest.mark.slow, NEEDS_CHROMIUM]

GROUND = "getComputedStyle(document.body.parentElement).backgroundColor"

# A photo of base64 as a file that is dropped or pasted.
GIVE = """([data, how]) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const given = new DataTransfer();
  given.items.add(new File([bytes], "given.png", { type: "image/png" }));
  if (how === "paste") { dispatchEvent(new ClipboardEvent("paste", { clipboardData: given })); return true; }
  dispatchEvent(new DragEvent("dragenter"));
  const shaded = document.getElementById("drop").classList.contains("open");
  dispatchEvent(new DragEvent("drop", { dataTransfer: given, cancelable: true }));
  return shaded && !document.getElementById("drop").classList.contains("open");
}"""

# Frames that are drawn of two that come at once; the second may be decoded long before the first.
AT_ONCE = """async (wait) => {
  const { scene, picture } = rtsearch.places.get(0), seen = [];
  const jpeg = await new Promise((done) => picture.canvas.toBlob(done, "image/jpeg"));
  document.addEventListener("drawn", ({ detail }) => seen.push(detail.frame));
  const come = (frame) => rtsearch.scene({ scene: { ...scene, frame }, jpeg, received: performance.now() });
  const decode = createImageBitmap, turns = [wait ? new Promise((done) => setTimeout(done, 200)) : 0, 0];
  window.createImageBitmap = async (jpeg) => { await turns.shift(); return decode(jpeg); };
  await Promise.all([come(9001), come(9002)]);
  window.createImageBitmap = decode;
  return seen.filter((frame) => frame > 9000);
}"""

# Left, upper edge, width and height of so many strips.
PLACES = """async (count) => {
  const { stripSizes } = await import("/static/layout.js"), { rects, rem } = rtsearch;
  const { columns, width, beside, pitch, room } = stripSizes(rects.strips, count, rem, rects.kind);
  const of = (slot) => [(slot % columns) * beside, Math.floor(slot / columns) * pitch, width, room];
  return Array.from({ length: count }, (_, slot) => of(slot));
}"""

# Room of the frames of so many sources, and left, upper edge, width and height of each.
CELLS = """async (count) => {
  const { arrange, cells } = await import("/static/layout.js");
  const { frames } = arrange(16 / 9, rtsearch.rem, { sources: count });
  return [frames, cells(frames, Array(count).fill(16 / 9)).map(({ x, y, w, h }) => [x, y, w, h])];
}"""

# Colour in the middle of the wall's last cell.
LAST_CELL = """(() => {
  const { view, wall, ratio, context } = rtsearch;
  const x = (innerWidth / 2 + (wall.columns - 0.5 - view.x) * view.scale) * ratio;
  const y = (innerHeight / 2 + (wall.rows - 0.5 - view.y) * view.scale) * ratio;
  return [...context.getImageData(x, y, 1, 1).data.slice(0, 3)].join();
})()"""

# What the page asks the browser to keep awake. Headless Chromium has no screen, and grants nothing.
LOCKS = """
window.asked = [];
const ask = navigator.wakeLock.request.bind(navigator.wakeLock);
navigator.wakeLock.request = (kind) => { window.asked.push(kind); return ask(kind); };
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("camera")) as opened:
        yield opened


@pytest.fixture
def open_page(browser, server):
    with pages(browser, server.port) as opened:
        yield opened
        server.site.controls.change(paused=False)


@pytest.fixture(scope="module")
def server(barcode_index):
    with served(barcode_index, ["show.theme=light"], frames=100_000) as running:
        yield running


def test_frames_come_as_large_as_they_are_shown(open_page):
    page = open_page("/", (250, 700))
    for width in (250, 280):
        page.set_viewport_size({"width": width, "height": 700})
        page.wait_for_function("(width) => rtsearch.places.get(0)?.picture.bitmap.width === width", arg=width)
    assert page.evaluate("rtsearch.places.get(0).picture.canvas.width") == 280
    page.set_viewport_size({"width": 1440, "height": 900})  # no frame is enlarged by the server
    page.wait_for_function("(width) => rtsearch.places.get(0).picture.bitmap.width === width", arg=320)


@pytest.mark.parametrize("wait", [False, True], ids=["together", "newest first"])
def test_of_two_frames_that_come_at_once_the_newest_is_drawn(open_page, server, wait):
    page = open_page()
    page.locator(".tile").first.wait_for()
    server.ask("/api/control", "POST", {"do": "pause"})
    page.wait_for_function("() => rtsearch.state.paused && !rtsearch.next.size")
    assert page.evaluate(AT_ONCE, wait)[-1] == 9002


def test_colours_follow_the_settings_while_it_runs(open_page, server):
    page = open_page()
    phone, wall, kiosk = open_page("/phone"), open_page("/library"), open_page("/kiosk")
    for each in (page, phone, wall, kiosk):
        assert each.evaluate(GROUND) == "rgb(240, 238, 232)"
    page.locator(".tile").first.wait_for()
    server.site.change({"show": {"theme": "#102030 #f0f0f0 #ff0000"}})
    for each in (page, kiosk):
        each.wait_for_function(f"() => {GROUND} === 'rgb(16, 32, 48)'")
    page.locator(".strip").first.hover()
    page.wait_for_function(
        "() => getComputedStyle(document.querySelector('.strip .name')).color === 'rgb(255, 0, 0)'"
    )
    server.site.change({"show": {"theme": "light"}})


def test_larger_crops_leave_room_for_fewer_strips(open_page, server):
    page = open_page()
    page.locator(".tile").first.wait_for()
    assert page.evaluate("rtsearch.rects.most") == 6
    for height, strips in ((60, 8), (150, 3), (420, 1)):
        server.site.change({"show": {"thumb_height": height}})
        page.wait_for_function("(most) => rtsearch.rects.most === most", arg=strips)
    server.site.change({"show": {"thumb_height": 76}})


@pytest.mark.parametrize("kind", ["phone", "upright"])
def test_a_sheet_that_covers_the_strips_takes_their_clicks(open_page, kind):
    page = open_page("/", SCREENS[kind])
    page.locator(".tile").first.click()
    page.locator(".sheet.open").get_by_text("More like this").click()
    page.locator(".sheet.open").get_by_text("close").click()
    page.locator(".strip.pinned", has_text="like ").wait_for()


def test_strips_lie_beside_each_other_where_the_screen_is_wide(open_page):
    page = open_page()
    page.locator(".tile").first.wait_for()
    for count, columns in ((1, 1), (3, 1), (4, 2), (6, 2)):
        places = page.evaluate(PLACES, count)
        room = page.evaluate("rtsearch.rects.strips")
        assert len({left for left, *_ in places}) == columns
        assert len(set(map(tuple, places))) == count
        assert max(left + width for left, _, width, _ in places) == pytest.approx(room["w"], abs=2)
        assert max(top + height for _, top, _, height in places) <= room["h"] + 1


def test_the_strips_of_a_photo_take_the_room_of_those_before(open_page, tmp_path):
    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), barcode.picture(9))
    page = open_page()
    page.locator(".tile").first.wait_for()
    page.evaluate("rtsearch.slots.take([1, 2, 3, 4, 5, 6], 0, 6)")  # as of six objects
    page.set_input_files("#file", photo)
    page.get_by_text("back to the live picture").wait_for()
    assert page.evaluate("rtsearch.rows") == 1


@pytest.mark.parametrize("path", ["/", "/library", "/phone"])
def test_a_photo_that_is_too_large_is_not_sent(open_page, server, path, tmp_path):
    page = open_page(path)
    page.wait_for_function("() => document.getElementById('file').onchange")
    with (tmp_path / "x.jpg").open("wb") as large:
        large.truncate((server.site.settings.web.upload_mb << 20) + 1)
    page.set_input_files("#file", tmp_path / "x.jpg")
    page.locator(".toast.open", has_text="larger than 20 MB").wait_for()


def test_numbers_have_their_nouns(open_page):
    counts = (
        """import("/static/page.js").then(({ counted }) => [counted(1, "photo"), counted(1234, "object")])"""
    )
    assert open_page("/").evaluate(counts) == ["1 photo", "1,234 objects"]


def test_the_end_of_the_wall_has_the_colour_of_the_page(open_page):
    page = open_page("/library")  # of a light theme
    page.locator("body[data-ready=true]").wait_for()
    assert page.evaluate("rtsearch.wall.objects < rtsearch.wall.columns * rtsearch.wall.rows")
    page.wait_for_function(f"() => rtsearch.tiles.size > 0 && ({LAST_CELL}) === '240,238,232'")


def test_a_crop_that_is_damaged_leaves_its_place_empty(open_page):
    page = open_page("/library")  # from where no crops are fetched
    page.locator("body[data-ready=true]").wait_for()
    made = """async () => {
      const { makeTile } = await import("/static/strips.js");
      const tile = makeTile(0, "data:image/jpeg;base64,AAAA");
      await tile.ready;
      return tile.element.children.length;
    }"""
    assert page.evaluate(made) == 0


def test_a_library_alone_shows_where_to_drop_a_photo_and_examples(open_page, barcode_index, tmp_path):
    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), barcode.picture(9))
    with served(barcode_index) as alone:
        for wh in (SCREENS["desktop"], SCREENS["phone"]):
            page = open_page("/", wh, alone.port)
            page.locator(".strip .tile").first.wait_for()
            with page.expect_file_chooser() as chooser:
                page.get_by_text("Drop a photo here").click()
            chooser.value.set_files(photo)
            page.get_by_text("close").wait_for()
            assert page.locator(".blank").count() == 0
            page.wait_for_function("() => document.querySelectorAll('.strip:not(.gone)').length === 1")
            page.keyboard.press("Escape")
            page.locator(".blank").wait_for()
            page.context.close()


def test_frames_of_several_sources_lie_side_by_side(open_page):
    page = open_page()
    page.locator(".tile").first.wait_for()
    for wh in SCREENS.values():
        page.set_viewport_size({"width": wh[0], "height": wh[1]})
        for count in range(1, 6):
            frames, places = page.evaluate(CELLS, count)
            for x, y, w, h in places:
                assert w / h == pytest.approx(16 / 9, abs=0.05)
                assert frames["x"] <= x < x + w <= frames["x"] + frames["w"] + 4
                assert frames["y"] <= y < y + h <= frames["y"] + frames["h"] + 4
            assert max(w for _, _, w, _ in places) * count > 0.2 * frames["w"]


def test_who_may_only_look_is_offered_no_more(browser, barcode_index):
    problems: list[str] = []
    public = Access("a secret of the tests", public=True)
    with served(barcode_index, ["web.public=true"], public, frames=100_000) as server:
        context = browser.new_context(viewport={"width": 1280, "height": 720})
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
        page.goto(f"http://127.0.0.1:{server.port}/")
        page.locator(".tile").first.wait_for()
        assert page.locator("#tools button:visible").count() == 2  # the library, keys
        for key in "cp n":
            page.keyboard.press(key)
        page.locator(".sheet.open", has_text="Numbers").wait_for()
        assert not server.site.controls.now.paused
        page.goto(f"http://127.0.0.1:{server.port}/?token=a%20secret%20of%20the%20tests&x=1")
        page.locator(".tile").first.wait_for()
        assert page.url == f"http://127.0.0.1:{server.port}/?x=1"  # the cookie has the token
        page.keyboard.press("p")
        page.locator(".sheet.open .qr").wait_for()
        context.close()
    assert problems == []


@pytest.mark.parametrize("how", ["drop", "paste"])
@pytest.mark.parametrize("path", ["/", "/library"])
def test_a_photo_that_is_dropped_or_pasted_is_searched_with(open_page, how, path):
    page = open_page(path)
    page.locator(".tile" if path == "/" else "body[data-ready=true]").first.wait_for()
    data = base64.b64encode(cv2.imencode(".png", barcode.picture(9))[1].tobytes()).decode()
    assert page.evaluate(GIVE, [data, how])
    if path == "/":
        page.get_by_text("back to the live picture").wait_for()
        assert page.locator("#source").inner_text() == "given.png"
    else:
        page.locator(".sheet.open .near .tile").first.wait_for()


def test_a_file_is_stepped_through_sought_in_and_looped(open_page, barcode_index, tmp_path):
    clip = write_clip(tmp_path / "clip.avi", range(120), wh=(96, 64))
    source = Paced(open_source(str(clip), Settings().live, loop=True))
    with served(barcode_index, source=source) as server:
        page = open_page("/", at=server.port)
        page.locator("#time").wait_for()
        assert page.locator("#length").inner_text() == "0:04"
        assert page.locator("#seek").evaluate("seek => seek.defaultValue") == "0"  # before the first frame
        at = "rtsearch.places.get(0).scene.t_s"
        page.wait_for_function(f"() => {at} >= 0")
        page.keyboard.press(" ")
        page.wait_for_function("() => rtsearch.state.paused")
        page.locator("#seek").fill("2")
        page.wait_for_function(f"() => Math.abs({at} - 2) < 0.01")
        page.keyboard.press(".")
        page.wait_for_function(f"() => Math.abs({at} - 2 - 1 / 30) < 0.01")
        page.keyboard.press(",")
        page.wait_for_function(f"() => Math.abs({at} - 2) < 0.01")
        page.get_by_label("one frame on").click()
        page.wait_for_function(f"() => Math.abs({at} - 2 - 1 / 30) < 0.01")
        page.locator("#panel").click(position={"x": 5, "y": 5})  # from the slider, whose arrows are its own
        page.keyboard.press("ArrowLeft")
        page.wait_for_function(f"() => {at} < 0.01")
        assert page.locator("#now").inner_text() == "0:00"
        loops = server.site.controls.now.loop
        with page.expect_response(lambda answer: answer.request.method == "PATCH"):
            page.keyboard.press("l")
        assert server.site.controls.now.loop is not loops


def test_every_control_changes_the_settings(open_page, server):
    page = open_page()
    page.locator(".tile").first.wait_for()
    page.keyboard.press("c")
    for label, value in (
        ("threshold", "0.4"),
        ("max overlap", "0.6"),
        ("results", "20"),
        ("similar by", "0.75"),
    ):
        with page.expect_response(lambda answer: answer.request.method == "PATCH"):
            page.locator(".sheet.open label", has_text=label).locator("input").fill(value)
    now = server.site.now
    assert (now.detect.threshold, now.detect.max_overlap, now.show.results) == (0.4, 0.6, 20)
    assert now.describe.meaning == 0.75
    until(lambda: server.site.live_index.begun is not server.site.index)  # what was opened is searched
    page.wait_for_function("() => !rtsearch.state.opening")
    size = "parseFloat(document.documentElement.style.fontSize)"
    before = page.evaluate(size)
    page.locator(".sheet.open label", has_text="size of text").locator("input").fill("1.3")
    assert page.evaluate(size) == pytest.approx(1.3 * before, abs=0.02)
    page.keyboard.press("Escape")
    page.keyboard.press("-")
    assert page.evaluate(size) == pytest.approx(1.2 * before, abs=0.02)
    for text in ("none", "all"):
        page.keyboard.press("t")
        page.wait_for_function("(text) => rtsearch.state.text === text", arg=text)
    page.locator(".strip .score", has_text=re.compile(r"^[01]\.\d\d$")).first.wait_for(state="attached")
    page.keyboard.press("n")
    numbers = page.locator(".sheet.open .numbers")
    numbers.get_by_text("camera to browser").wait_for()
    assert numbers.get_by_text("frames a second").count() == 1
    page.keyboard.press("p")
    page.locator(".sheet.open .qr").wait_for()
    page.locator(".sheet.open", has_text="--host 0.0.0.0").wait_for()  # no phone reaches this server
    changed = {"threshold": 0.3, "max_overlap": Settings().detect.max_overlap}
    server.site.change(
        {"detect": changed, "show": {"results": 5, "text": "names"}, "describe": {"meaning": 0.5}}
    )


def test_a_kiosk_keeps_the_screen_on(browser, server):
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    context.add_init_script(LOCKS)
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.goto(f"http://127.0.0.1:{server.port}/kiosk")
    assert page.evaluate("window.asked") == ["screen"]
    # Browsers let go of the screen with a page that is hidden.
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    assert page.evaluate("window.asked") == ["screen", "screen"]
    context.close()


def test_a_kiosk_goes_on_with_a_library_that_has_grown(browser, tmp_path: Path):
    """The last picture stays, and crops are those of the state that was searched."""
    growing = Growing(tmp_path)
    with served(growing.index, OVERRIDES, frames=100_000) as server, pages(browser, server.port) as opened:
        page = opened("/kiosk", SCREENS["desktop"])
        page.locator(".strip .tile img").first.wait_for()
        page.evaluate("window.same = true")
        growing.analyze(NEW)
        new = growing.build()
        page.wait_for_function("(state) => rtsearch.state.library === state", arg=new.library.state)
        page.locator(f'.strip .tile img[src^="/thumb/{new.library.state}/"]').first.wait_for()
        assert page.evaluate("window.same && rtsearch.places.size") == 1
