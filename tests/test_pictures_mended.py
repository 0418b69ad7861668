"""JPEGs that lack their end, and colours of pictures that carry a profile."""

from __future__ import annotations

import functools
import io
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms
from test_images import exif, jpeg_with, quarters, saved_with

from rtsearch.config import LiveSettings
from rtsearch.errors import PhotoError
from rtsearch.images.decode import decode_photo, photo_header, quiet_decoders, read_photo
from rtsearch.images.embedded import embedded
from rtsearch.sources import open_source
from rtsearch.sources.jpegs import decode_picture
from rtsearch.types import U8Array

# JPEGs that lack their end --------------------------------------------------------------------------------


@functools.cache
def jpeg(*, progressive: bool = False) -> bytes:
    """A picture of 320 x 240 pixels that has something in each of its rows."""
    noise = np.random.default_rng(0).integers(0, 255, (60, 80, 3)).astype(np.uint8)
    smooth = cv2.resize(noise, (320, 240), interpolation=cv2.INTER_CUBIC)
    options = [cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive), cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    return cv2.imencode(".jpg", smooth, options)[1].tobytes()


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize(("missing", "most_rows"), [(1, 0), (2, 0), (30, 24)])
def test_a_jpeg_that_lacks_its_last_bytes_is_taken(
    tmp_path: Path, progressive: bool, missing: int, most_rows: int
) -> None:
    path, data = tmp_path / "a.jpg", jpeg(progressive=progressive)
    path.write_bytes(data[:-missing])
    with quiet_decoders():
        decoded = decode_photo(path.read_bytes(), photo_header(path, 1.0))
    whole = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    off = np.flatnonzero((decoded.bgr != whole).any((1, 2)))
    assert len(off) <= most_rows
    assert decoded.note.startswith("lacks its last bytes")
    assert (f"{len(off)} of 240 rows" in decoded.note) == bool(len(off))


def test_a_jpeg_that_lacks_its_last_bytes_is_turned_upright(tmp_path: Path) -> None:
    whole = jpeg_with(exif(6, "<"), jpeg())
    (tmp_path / "whole.jpg").write_bytes(whole)
    (tmp_path / "a.jpg").write_bytes(whole[:-2])
    with quiet_decoders():
        np.testing.assert_array_equal(read_photo(tmp_path / "a.jpg"), read_photo(tmp_path / "whole.jpg"))


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("share", [0.5, 0.8])
def test_a_jpeg_that_lacks_much_is_refused(tmp_path: Path, progressive: bool, share: float) -> None:
    data = jpeg(progressive=progressive)
    (tmp_path / "a.jpg").write_bytes(data[: int(share * len(data))])
    with quiet_decoders(), pytest.raises(PhotoError, match="truncated or damaged JPEG"):
        read_photo(tmp_path / "a.jpg")


# Profiles -------------------------------------------------------------------------------------------------

# Red, green and blue in XYZ under the light that profiles are made for (D50).
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
DISPLAY_P3 = np.array(
    [[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]]
)

WHITE = struct.pack(">3i", 63190, 65536, 54061)


def profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile of version 2 (ICC.1:2001-04)."""
    kind = b"prtr" if space == b"CMYK" else b"mntr"
    pcs = b"Lab " if space == b"CMYK" else b"XYZ "
    at = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        table += name + struct.pack(">II", at + len(body), len(value))
        body += value + b"\0" * (-len(value) % 4)
    head = struct.pack(">I4sI4s4s4s", at + len(body), b"none", 0x02400000, kind, space, pcs)
    head += bytes(12) + b"acsp" + bytes(28) + WHITE
    return head.ljust(128, b"\0") + table + body


def curve(gamma: float) -> bytes:
    return b"curv" + struct.pack(">IIH", 0, 1, int(gamma * 256))


def colour_profile(primaries: np.ndarray, gamma: float) -> bytes:
    columns = {
        name: b"XYZ " + bytes(4) + struct.pack(">3i", *(round(v * 65536) for v in primaries[:, i]))
        for i, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))
    }
    return profile(b"RGB ", {**columns, **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve(gamma))})


def ink_profile() -> bytes:
    """Four inks to Lab, by the corners of their cube alone: paper, and dark red where there is any ink."""
    ramp = bytes(range(256))
    corners = b"".join(b"\xff\x80\x80" if i == 0 else b"\x40\xb0\xa0" for i in range(16))
    unit = struct.pack(">9i", *(65536 if i % 4 == 0 else 0 for i in range(9)))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + unit + 4 * ramp + corners + 3 * ramp
    return profile(b"CMYK", {b"A2B0": table})


def in_srgb(bgr: U8Array, primaries: np.ndarray, gamma: float) -> np.ndarray:
    """The obvious way: to light, to the colours of sRGB, to its curve."""
    light = (bgr[..., ::-1] / 255.0) ** gamma @ (np.linalg.inv(SRGB) @ primaries).T
    light = light.clip(0, 1)
    curved = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return curved[..., ::-1] * 255


def colours() -> U8Array:
    """Flat fields of muted colours, which are inside of sRGB whatever the primaries."""
    values = np.random.default_rng(1).integers(80, 180, (4, 8, 3)).astype(np.uint8)
    return np.kron(values, np.ones((8, 8, 1), np.uint8))


def written(bgr, kind, icc, mode="RGB", **options):
    out = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(bgr[:, :, ::-1])).convert(mode)
    picture.save(out, kind, icc_profile=icc, **options)
    return out.getvalue()


WAYS: list[tuple[str, dict[str, Any]]] = [
    ("JPEG", {"quality": 100, "subsampling": 0}),
    ("PNG", {}),
    ("PNG", {"mode": "RGBA"}),
    ("WEBP", {"lossless": True}),
    ("WEBP", {"lossless": True, "mode": "RGBA"}),
    ("TIFF", {}),
    ("AVIF", {"quality": 100, "subsampling": "4:4:4"}),
]


@pytest.mark.parametrize(("kind", "options"), WAYS)
@pytest.mark.parametrize(("primaries", "gamma"), [(DISPLAY_P3, 2.2), (SRGB, 1.8)])
def test_colours_become_those_of_srgb(
    tmp_path: Path, kind: str, options: dict[str, object], primaries: np.ndarray, gamma: float
) -> None:
    icc = colour_profile(primaries, gamma)
    (tmp_path / "a").write_bytes(written(colours(), kind, icc, **options))
    expected = in_srgb(colours(), primaries, gamma)
    assert np.abs(expected - colours()).max() > 5
    assert np.abs(read_photo(tmp_path / "a") - expected)[4::8, 4::8].max() < 4


@pytest.mark.parametrize("kind", ["WEBP", "PNG"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_animations_have_the_colours_of_srgb_and_are_upright(
    tmp_path: Path, kind: str, orientation: int
) -> None:
    path = tmp_path / f"a.{kind.lower()}"
    frames = [Image.fromarray(np.ascontiguousarray(each[:, :, ::-1])) for each in (colours(), colours() + 9)]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    icc = colour_profile(DISPLAY_P3, 2.2)
    frames[0].save(
        path, save_all=True, append_images=frames[1:], duration=100, icc_profile=icc, exif=exif, **options
    )
    with open_source(str(path), LiveSettings()) as source:
        seen = [frame.bgr for frame in source]
        assert source.wh == (seen[0].shape[1], seen[0].shape[0])
    for bgr, given in zip(seen, (colours(), colours() + 9), strict=True):
        expected = in_srgb(given, DISPLAY_P3, 2.2)
        expected = np.rot90(expected, -1) if orientation == 6 else expected
        assert bgr.shape == expected.shape
        assert np.abs(bgr - expected)[4::8, 4::8].max() < 4


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_pictures_of_a_network_have_the_colours_of_srgb(kind: str) -> None:
    options = next(options for known, options in WAYS if known == kind)
    bgr = decode_picture(written(colours(), kind, colour_profile(DISPLAY_P3, 2.2), **options))
    assert np.abs(bgr - in_srgb(colours(), DISPLAY_P3, 2.2))[4::8, 4::8].max() < 4


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_greys_become_those_of_srgb(tmp_path: Path, kind: str) -> None:
    icc = profile(b"GRAY", {b"wtpt": b"XYZ " + bytes(4) + WHITE, b"kTRC": curve(1.0)})
    (tmp_path / "a").write_bytes(written(colours(), kind, icc, "L"))
    grey = np.asarray(Image.open(tmp_path / "a"))[:, :, None].repeat(3, 2)
    assert np.abs(read_photo(tmp_path / "a") - in_srgb(grey, SRGB, 1.0))[4::8, 4::8].max() < 4


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_inks_become_colours_of_srgb(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a").write_bytes(written(quarters(), kind, ink_profile(), "CMYK"))
    with Image.open(tmp_path / "a") as inks:
        expected = ImageCms.profileToProfile(
            inks, io.BytesIO(ink_profile()), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
        plain = np.asarray(inks.convert("RGB"))
    bgr = read_photo(tmp_path / "a")
    assert np.abs(bgr[:, :, ::-1].astype(int) - np.asarray(expected)).max() <= 1
    assert np.abs(bgr[:, :, ::-1].astype(int) - plain).max() > 50


@pytest.mark.parametrize(
    "icc",
    [
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        b"damaged",
        b"\0" * 300,
        ink_profile(),
    ],
    ids=["sRGB", "damaged", "zeros", "of inks"],
)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_profiles_that_change_nothing(tmp_path: Path, kind: str, icc: bytes) -> None:
    (tmp_path / "a").write_bytes(
        written(colours(), kind, icc, **({"lossless": True} if kind == "WEBP" else {}))
    )
    np.testing.assert_array_equal(read_photo(tmp_path / "a"), colours())


def test_a_profile_and_an_orientation(tmp_path: Path) -> None:
    icc = colour_profile(SRGB, 1.0)
    for name, data in [
        ("a.jpg", saved_with(6, "JPEG", icc, quality=100)),
        ("a.tif", saved_with(6, "TIFF", icc)),
    ]:
        (tmp_path / name).write_bytes(data)
        turned = np.rot90(quarters(), -1)
        assert np.abs(read_photo(tmp_path / name).astype(int) - turned)[4::8, 4::8].max() <= 60


def test_of_two_profiles_of_a_png_the_first_counts() -> None:
    first, second = colour_profile(DISPLAY_P3, 2.2), colour_profile(SRGB, 1.0)
    one, other = (written(colours(), "PNG", icc) for icc in (first, second))
    end, begin, pixels = one.index(b"IDAT") - 4, other.index(b"iCCP") - 4, other.index(b"IDAT") - 4
    assert embedded(one[:end] + other[begin:pixels] + one[end:], "PNG").icc == first
