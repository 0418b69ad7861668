"""Caption and logo in the lower corners of the frame, and themes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rtsearch.config import Settings, ShowSettings, load_settings
from rtsearch.errors import ConfigError
from rtsearch.render.layout import canvas_of
from rtsearch.render.signature import sign
from rtsearch.render.theme import DARK, theme_of, toward
from rtsearch.types import U8Array

RED = (255, 0, 0)


def logo_in(folder: Path, wh: tuple[int, int] = (200, 100), alpha: int = 255) -> Path:
    Image.new("RGBA", wh, (*RED, alpha)).save(folder / "logo.png")
    return folder / "logo.png"


def signed(wh: tuple[int, int] = (800, 450), level: int = 128, **show: object) -> U8Array:
    view = np.full((wh[1], wh[0], 3), level, np.uint8)
    sign(view, canvas_of(ShowSettings.model_validate({"window_wh": (1280, 720), **show})))
    return view


def test_a_logo_stands_at_the_lower_right(tmp_path: Path) -> None:
    view = signed(logo=str(logo_in(tmp_path)))
    rows, columns = np.nonzero((view == RED[::-1]).all(2))
    assert (rows.max(), columns.max()) == (449 - 16, 799 - 16)
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (36, 72)  # 8 % of the height
    assert (view[:300] == 128).all()


def test_a_logo_is_as_clear_as_its_alpha_says(tmp_path: Path) -> None:
    view = signed(logo=str(logo_in(tmp_path, alpha=51)))
    inside = view[450 - 16 - 18, 800 - 16 - 36].tolist()
    assert np.abs(np.array(inside) - (102, 102, 153)).max() <= 2


@pytest.mark.parametrize("wh", [(4, 4), (40, 30), (3840, 2160)])
def test_a_frame_of_any_size_is_signed(tmp_path: Path, wh: tuple[int, int]) -> None:
    long = "A title that is much longer than a small frame is wide"
    view = signed(wh, logo=str(logo_in(tmp_path)), caption=long)
    assert (view != 128).any() == (wh != (4, 4))  # where there is no room, nothing is written


def test_a_caption_can_be_read_on_any_frame() -> None:
    for level in (0, 255):
        view = signed(level=level, caption="Echo, 2026")
        changed = (view != level).any(2)
        rows, columns = np.nonzero(changed)
        assert columns.min() == 16 if level else columns.min() > 16
        assert rows.min() > 380
        panel = view[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert panel.max() > 220
        assert np.median(panel) < 130


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file or directory"),
        (b"GIF89a", "expected a PNG of at most 4096 px a side"),
        (
            b"\x89PNG\r\n\x1a\n" + b"\0" * 8 + b"\0\0\xff\xff\0\0\0\1",
            "expected a PNG of at most 4096 px a side",
        ),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 8 + b"\0\0\0\1\0\0\0\1", ""),
        (b"x" * ((8 << 20) + 1), "it has more than 8,388,608 bytes"),
    ],
)
def test_a_logo_that_cannot_be_read_is_said_in_one_line(
    tmp_path: Path, content: bytes | None, says: str
) -> None:
    path = tmp_path / "logo.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        load_settings(None, [f"show.logo={path}"])
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
    assert str(path) in str(refused.value)


def test_a_damaged_logo_is_refused(tmp_path: Path) -> None:
    path = logo_in(tmp_path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ConfigError, match=r"show\.logo"):
        load_settings(None, [f"show.logo={path}"])


def test_a_logo_that_goes_bad_meanwhile_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    canvas = canvas_of(Settings().show.model_copy(update={"logo": str(tmp_path / "gone.png")}))
    view = np.full((90, 160, 3), 128, np.uint8)
    for _ in range(3):
        sign(view, canvas)
    assert (view == 128).all()
    assert len(caplog.messages) == 1


# Themes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ['"#0E0F0F #E8E6E1 #FFAF50"', "0e0f0f,e8e6e1,ffaf50"])
def test_a_theme_is_a_name_or_three_colours(given: str) -> None:
    settings = load_settings(None, [f"show.theme={given}"])
    assert theme_of(settings.show.theme) == DARK == theme_of("dark")
    light = theme_of("light")
    assert min(light.ground) > 200 > 60 > max(light.ink)


@pytest.mark.parametrize("given", ["pink", '"#fff #000 #f00"', '"#0e0f0f #e8e6e1"', "dark light dark"])
def test_no_theme(given: str) -> None:
    with pytest.raises(ConfigError, match=r"show\.theme.*expected dark, light, or ground, ink and accent"):
        load_settings(None, [f"show.theme={given}"])


def test_pixels_go_to_a_colour_and_arrive() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    np.testing.assert_array_equal(toward(pixels, DARK.ink, 0), pixels)
    assert (toward(pixels, DARK.ink, 1) == DARK.ink).all()
    half = toward(pixels, DARK.ink, 0.5).astype(int)
    assert np.abs(half - (pixels.astype(int) + DARK.ink) / 2).max() <= 1.5
