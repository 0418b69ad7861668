"""The page in a real browser, headless Chromium: one browser and one live server for all tests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import barcode
import blobs
import cv2
import pytest
from browsing import NEEDS_CHROMIUM, NUMBERS, SCREENS, chromium, pages
from page import served
from test_films import look, write

from rtsearch.config import load_settings
from rtsearch.library import Library
from rtsearch.library.index import open_index
from rtsearch.web import Access

pytestmark = [pytest.mark.slow, NEEDS_CHROMIUM]

TOKEN = "a secret of the tests"

# A click in the middle of the box, which moves on with the next frame.
CLICK_BOX = """(() => {
  const { picture: { canvas, boxes: [{ at: [x, y, w, h] }] } } = rtsearch.places.get(0);
  const { left, top } = canvas.getBoundingClientRect();
  const at = { clientX: left + x + w / 2, clientY: top + y + h / 2, bubbles: true };
  canvas.dispatchEvent(new MouseEvent("click", at));
})()"""

# The lower edge of the lowest crop.
LOWEST = """
Math.max(...[...document.querySelectorAll(".tile")].map((tile) => tile.getBoundingClientRect().bottom))
"""

# The brightest red of the picture of the first source, without its bar code.
BRIGHTEST = """(() => {
  const { canvas, context } = rtsearch.places.get(0).picture;
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height / 2);
  let most = 0;
  for (let i = 0; i < data.length; i += 4) if (data[i + 1] < data[i] / 2) most = Math.max(most, data[i]);
  return most;
})()"""

# A dim picture with so many objects was drawn.
DRAWN = """(count) => new Promise((done, fail) => {
  setTimeout(() => fail(new Error("no such picture came")), 20000);
  const fits = ({ dims, shown }) => dims && shown.length === count;
  document.addEventListener("drawn", ({ detail }) => { if (fits(detail)) done(); });
})"""

# The wall has come to rest.
STILL = """new Promise((done) => {
  const look = () => (rtsearch.goal ? requestAnimationFrame(look) : done());
  look();
})"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("camera")) as opened:
        yield opened


@pytest.fixture(scope="module")
def server(barcode_index):
    with served(barcode_index, ["web.photos=true"], frames=100_000) as running:
        yield running


@pytest.fixture
def open_page(browser, server):
    with pages(browser, server.port) as opened:
        yield opened
        server.site.controls.change(paused=False)


def test_frame_boxes_and_strips_belong_together(open_page):
    page = open_page()
    page.locator(".tile").first.wait_for()
    seen = page.evaluate(NUMBERS, 12)
    assert [shown for shown, *_ in seen] == [said for _, said, *_ in seen]
    assert all(abs(left - (10 + 3 * (number % 80))) < 2 for number, _, left, _ in seen)
    # When the thing goes back to the left, its strip before that stays for a moment.
    assert {strips for *_, strips in seen} <= {1, 2}


def test_pointing_pinning_and_more_like_this(open_page):
    page = open_page()
    strip = page.locator(".strip").first
    strip.hover()
    page.locator(".strip.lit").wait_for()
    assert page.evaluate("rtsearch.lit.size") == 1
    page.locator(".tile").nth(1).click()
    sheet = page.locator(".sheet.open")
    sheet.locator(".box").wait_for()  # in the photo
    assert sheet.get_by_text(".png").count() == 1
    sheet.get_by_text("More like this").click()
    page.locator(".strip.pinned", has_text="like ").wait_for()
    page.keyboard.press("Escape")
    page.locator(".sheet:not(.open)").wait_for(state="attached")
    page.evaluate(CLICK_BOX)
    page.locator(".strip.pinned").nth(1).wait_for()
    page.keyboard.press("Escape")
    page.locator(".strip.pinned").first.wait_for(state="detached")


def test_each_crop_is_fetched_once(open_page, server):
    sent = server.site.hub.meter.summary()["counts"].get("crops", 0)
    page = open_page()
    rows: set[int] = set()
    for _ in range(3):
        page.evaluate(NUMBERS, 25)
        rows |= set(
            page.evaluate("[...document.querySelectorAll('.tile')].map((t) => Number(t.dataset.row))")
        )
    assert server.site.hub.meter.summary()["counts"]["crops"] - sent <= len(server.site.index)
    assert len(rows) > 5


def test_search_with_a_photo_and_back(open_page, tmp_path):
    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), barcode.picture(9))
    page = open_page()
    page.locator(".tile").first.wait_for()
    page.set_input_files("#file", photo)
    page.get_by_text("back to the live picture").wait_for()
    assert page.locator("#source").inner_text() == "photo.png"
    assert page.locator(".strip:not(.gone) .name").all_inner_texts() == ["red"]
    page.keyboard.press("Escape")
    assert page.evaluate(NUMBERS, 2)[0][0] >= 0
    page.set_input_files("#file", {"name": "x.jpg", "mimeType": "image/jpeg", "buffer": b"no photo"})
    page.locator(".toast.open", has_text="cannot be read").wait_for()


def test_neighbours_that_are_too_far_are_left_out_of_a_search_with_a_photo(open_page, server, tmp_path):
    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), barcode.picture(9))
    page = open_page()
    page.locator(".tile").first.wait_for()
    server.site.change({"show": {"max_distance": 0.001}})
    page.set_input_files("#file", photo)
    page.get_by_text("back to the live picture").wait_for()
    assert page.locator(".strip:not(.gone) .name").all_inner_texts() == ["red"]
    assert page.locator(".strip:not(.gone) .tile").count() == 0
    server.site.change({"show": {"max_distance": 0}})


def test_words_stand_in_place_of_names(open_page, server):
    server.site.change({"show": {"labels": ["red=rot", "blue="]}})
    page, wall = open_page(), open_page("/library")
    page.locator(".strip .name", has_text="rot").first.wait_for()
    assert re.fullmatch(r"rot\s*\d*", page.locator("#seen").inner_text().strip())  # a number where it jumps
    assert set(page.evaluate("rtsearch.places.get(0).picture.boxes.map((box) => box.name)")) == {"rot"}
    page.locator(".tile").first.click()
    page.locator(".sheet.open .facts").wait_for()
    assert "red" not in page.locator(".sheet.open .facts p").first.inner_text()
    page.keyboard.press("c")
    with page.expect_response(lambda answer: answer.request.method == "PATCH"):
        page.locator(".sheet.open .chips button", has_text="rot").click()
    assert server.site.controls.now.detect.classes == ("red",)
    wall.locator("#labels button").first.wait_for()
    assert sorted(wall.locator("#labels button").all_inner_texts()) == ["blue", "green", "rot"]
    server.site.change({"show": {"labels": []}, "detect": {"classes": []}})
    page.locator(".strip .name", has_text="red").first.wait_for()


def test_a_crop_of_a_film_shows_its_moment(browser, tmp_path):
    write(tmp_path / "photos" / "film.avi", [blobs.draw(1000 + s // 8, 2) for s in range(24)], 1)
    look(tmp_path / "photos", tmp_path / "lib")
    index = open_index(Library.open(tmp_path / "lib"), load_settings(None, ["project.dim=6"]))
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.set_default_timeout(20_000)
    with served(index, ["web.photos=true"]) as server:
        page.goto(f"http://127.0.0.1:{server.port}/library")
        page.locator("body[data-ready=true]").wait_for()
        page.evaluate("rtsearch.sheets.show('crop', 0)")
        page.locator(".sheet.open .box").wait_for()
        words = page.locator(".sheet.open .facts").inner_text()
        page.evaluate("document.querySelector('.sheet.open img').decode()")
        assert page.evaluate("document.querySelector('.sheet.open img').naturalWidth") == 160  # the film's
    context.close()
    t_s = float(index.times_s[0, 0])
    assert f"at 0:{int(t_s):02d}, seen 0:" in words
    assert "film.avi" in words


def test_one_strip_fills_its_room(open_page, barcode_index, tmp_path):
    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), barcode.picture(9))
    with served(barcode_index) as alone:
        for wh in SCREENS.values():
            page = open_page("/", wh, alone.port)
            page.set_input_files("#file", photo)
            page.get_by_text("close").wait_for()
            page.wait_for_function("() => !document.querySelector('.strip .number:empty')")  # of examples
            page.locator(".strip .tile").first.wait_for()
            room = page.locator("#strips").bounding_box()
            assert room["y"] + 0.7 * room["height"] < page.evaluate(LOWEST) <= room["y"] + room["height"] + 1
            page.context.close()


def test_controls_and_keys_change_the_server(open_page, server):
    page = open_page()
    page.locator(".tile").first.wait_for()
    page.keyboard.press("c")
    slider = page.locator(".sheet.open label", has_text="threshold").locator("input")
    with page.expect_response(lambda answer: answer.request.method == "PATCH"):
        slider.fill("0.35")
    assert server.site.controls.now.detect.threshold == 0.35
    page.keyboard.press("h")
    page.locator(".sheet.open", has_text="AGPL-3.0").wait_for()
    page.keyboard.press("Escape")
    for paused in (True, False):
        with page.expect_response("**/api/control"):
            page.keyboard.press(" ")
        assert server.site.controls.now.paused is paused
    server.site.change({"detect": {"threshold": 0.3}})


def test_words_light_what_they_describe_and_dim_the_rest(open_page, server):
    page = open_page()
    page.locator(".tile").first.wait_for()
    page.keyboard.press("/")
    box = page.get_by_label("look for")
    box.fill("striped")
    box.press("Enter")
    page.locator(".sheet.open", has_text='"striped" is not known').wait_for()
    assert server.site.controls.now.chooser is None
    box.fill("blue")  # the thing is red
    box.press("Enter")
    page.evaluate(DRAWN, 0)
    dark = page.evaluate(BRIGHTEST)
    box.fill("red")
    box.press("Enter")
    page.evaluate(DRAWN, 1)
    assert dark < 100 < 200 < page.evaluate(BRIGHTEST)
    page.get_by_text("close").click()
    page.locator("#looked", has_text="red").click()
    page.locator("#looked").wait_for(state="hidden")
    assert server.site.controls.now.chooser is None


def test_the_wall_is_searched_by_words(open_page):
    page = open_page("/library")
    page.locator("body[data-ready=true]").wait_for()
    scale = page.evaluate("rtsearch.view.scale")
    page.keyboard.press("/")
    box = page.get_by_label("words to look for")
    box.press_sequentially("blue-")  # "-" zooms elsewhere
    box.press("Backspace")
    box.press("Enter")
    page.locator(".sheet.open .near .tile").first.wait_for()
    assert page.locator(".sheet.open h2").inner_text() == "blue"
    found = page.locator(".near .tile").count()
    assert found > 3
    page.wait_for_function("(found) => rtsearch.marks.length === found", arg=found)
    assert page.evaluate("rtsearch.view.scale") == scale
    box.fill("unicorn")
    box.press("Enter")
    page.locator(".toast.open", has_text='"unicorn" is not known').wait_for()
    box.fill("")
    box.press("Enter")
    page.locator(".sheet:not(.open)").wait_for(state="attached")
    assert page.evaluate("rtsearch.marks.length") == 0


@pytest.mark.parametrize("kind", SCREENS)
def test_parts_have_their_places_on_every_screen(open_page, kind):
    width, height = SCREENS[kind]
    page = open_page("/", (width, height))
    page.locator(".tile").first.wait_for()
    page.evaluate(NUMBERS, 3)

    def box(selector: str) -> tuple[float, float, float, float]:
        at = page.locator(selector).first.bounding_box()
        assert at is not None
        return at["x"], at["y"], at["x"] + at["width"], at["y"] + at["height"]

    frame, panel, strips, tools = box(".frame"), box("#panel"), box("#strips"), box("#tools")
    for x1, y1, x2, y2 in (frame, panel, strips, tools):
        assert 0 <= x1 < x2 <= width
        assert 0 <= y1 < y2 <= height
    assert frame[3] <= strips[1]
    assert tools[3] <= strips[1] + 1
    assert panel[0] >= frame[2] or panel[1] >= frame[3]
    assert (frame[2] - frame[0]) * (frame[3] - frame[1]) > 0.12 * width * height
    right = page.evaluate(
        "Math.max(...[...document.querySelectorAll('.tile')].map((t) => t.getBoundingClientRect().right))"
    )
    assert right <= strips[2] + 1


def test_the_kiosk_is_the_picture_alone(open_page):
    for wh in (SCREENS["desktop"], SCREENS["upright"]):
        page = open_page("/kiosk", wh)
        page.locator(".tile").first.wait_for()
        assert page.locator("#panel").is_hidden()
        assert page.evaluate("getComputedStyle(document.body).cursor") == "none"
        frame = page.locator(".frame").bounding_box()
        assert (frame["x"], frame["y"]) == (0, 0)
        assert frame["width"] == wh[0] or frame["height"] == wh[1]


def test_a_phone_is_shown_among_the_sources(open_page):
    page, phone = open_page(), open_page("/phone", SCREENS["phone"])
    phone.get_by_text("Start the camera").click()
    phone.locator(".tile").first.wait_for()
    page.locator(".frame").nth(1).wait_for()
    page.wait_for_function("() => document.querySelectorAll('.strip:not(.gone)').length >= 2")
    phone.close()
    page.locator(".frame").nth(1).wait_for(state="detached")


def test_the_library_is_a_wall(open_page):
    page = open_page("/library")
    page.locator("#labels button").first.wait_for()
    page.locator("body[data-ready=true]").wait_for()
    scale = page.evaluate("rtsearch.view.scale")
    page.mouse.move(720, 480)
    page.mouse.wheel(0, -600)
    page.evaluate(STILL)
    assert page.evaluate("rtsearch.view.scale") > scale
    page.mouse.click(720, 480)
    page.locator(".sheet.open").get_by_text("More like this").click()
    page.locator(".sheet.open .near .tile").first.wait_for()
    assert page.evaluate("rtsearch.tiles.size") > 0
    page.get_by_text("red", exact=True).first.click()
    page.locator("#labels button[aria-pressed=true]").wait_for()


def test_the_kiosk_walks_through_the_library_and_outlives_the_server(browser, barcode_index):
    """The last picture stays while the server is away, and it comes back by itself."""
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    page = context.new_page()
    page.set_default_timeout(20_000)
    access = Access(TOKEN)
    with served(barcode_index, ["show.attract_s=1"], access) as first:
        port = first.port
        page.goto(f"http://127.0.0.1:{port}/kiosk?token={TOKEN.replace(' ', '%20')}")
        page.locator(".attract.open .tile").nth(4).wait_for()
    page.locator(".attract.open .tile").nth(4).wait_for()
    with served(barcode_index, ["show.attract_s=60"], access, frames=100_000, port=port):
        page.locator(".attract:not(.open)").wait_for(state="attached")
        page.locator(".strip .tile").first.wait_for()
        assert page.evaluate(NUMBERS, 3)
    assert page.evaluate("rtsearch.places.get(0).picture.bitmap.width") == barcode.WH[0]
    context.close()
