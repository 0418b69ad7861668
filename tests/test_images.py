"""Photo files of every kind that people have, and of the kinds that they should not have."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rtsearch.errors import PhotoError
from rtsearch.images import decoders
from rtsearch.images.decode import decode_photo, photo_header, quiet_decoders, read_photo
from rtsearch.images.headers import read_header
from rtsearch.types import U8Array

RED, GREEN, BLUE, WHITE = (0, 0, 255), (0, 255, 0), (255, 0, 0), (255, 255, 255)

# 32 x 16 pixels in four quarters: red, green / blue, white. OpenCV cannot write these two kinds.
CMYK = base64.b64decode(
    "/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwACAQEBAQECAQEBAgICAgIEAwICAgIFBAQDBAYFBgYGBQYGBgcJCAYHCQcGBggLCAkKCgoKCgYI"
    "CwwLCgwJCgoK/8AAFAgAEAAgBEMRAE0RAFkRAEsRAP/EAB8AAAEFAQEBAQEBAAAAAAAAAAABAgMEBQYHCAkKC//EALUQAAIBAwMCBAMF"
    "BQQEAAABfQECAwAEEQUSITFBBhNRYQcicRQygZGhCCNCscEVUtHwJDNicoIJChYXGBkaJSYnKCkqNDU2Nzg5OkNERUZHSElKU1RVVldY"
    "WVpjZGVmZ2hpanN0dXZ3eHl6g4SFhoeIiYqSk5SVlpeYmZqio6Slpqeoqaqys7S1tre4ubrCw8TFxsfIycrS09TV1tfY2drh4uPk5ebn"
    "6Onq8fLz9PX29/j5+v/aAA4EQwBNAFkASwAAPwD9/K/n/r+f+v38oooor+AOv7/KKKKKKKK/gDr+/wAooooor+/yv7/KKKKKKKK//2Q=="
)
PROGRESSIVE = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAIBAQEBAQIBAQECAgICAgQDAgICAgUEBAMEBgUGBgYFBgYGBwkIBgcJBwYGCAsICQoKCgoK"
    "BggLDAsKDAkKCgr/2wBDAQICAgICAgUDAwUKBwYHCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoK"
    "Cgr/wgARCAAQACADAREAAhEBAxEB/8QAFwABAQEBAAAAAAAAAAAAAAAAAAgHCf/EABgBAQADAQAAAAAAAAAAAAAAAAAHCAkG/9oADAMB"
    "AAIQAxAAAAHF4pv8KUi3CsQbtNawdxKA9UP/xAAUEAEAAAAAAAAAAAAAAAAAAAAw/9oACAEBAAEFAg//xAAUEQEAAAAAAAAAAAAAAAAA"
    "AAAw/9oACAEDAQE/AQ//xAAUEQEAAAAAAAAAAAAAAAAAAAAw/9oACAECAQE/AQ//xAAUEAEAAAAAAAAAAAAAAAAAAAAw/9oACAEBAAY/"
    "Ag//xAAUEAEAAAAAAAAAAAAAAAAAAAAw/9oACAEBAAE/IQ//2gAMAwEAAgADAAAAEAAAAP/EABQRAQAAAAAAAAAAAAAAAAAAADD/2gAI"
    "AQMBAT8QD//EABQRAQAAAAAAAAAAAAAAAAAAADD/2gAIAQIBAT8QD//EABQQAQAAAAAAAAAAAAAAAAAAADD/2gAIAQEAAT8QD//Z"
)


def quarters() -> U8Array:
    bgr = np.zeros((16, 32, 3), np.uint8)
    bgr[:8, :16], bgr[:8, 16:], bgr[8:, :16], bgr[8:, 16:] = RED, GREEN, BLUE, WHITE
    return bgr


def encoded(suffix: str, picture: np.ndarray, *options: int) -> bytes:
    return cv2.imencode(suffix, picture, list(options))[1].tobytes()


def exif(orientation: int, order: str) -> bytes:
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(order + "IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def jpeg_with(tiff: bytes, data: bytes) -> bytes:
    body = b"Exif\0\0" + tiff
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]


def png_with(tiff: bytes, data: bytes) -> bytes:
    end_of_header = 8 + 25
    chunk = b"eXIf" + tiff
    framed = struct.pack(">I", len(tiff)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return data[:end_of_header] + framed + data[end_of_header:]


def png_with_text(tiff: bytes, data: bytes) -> bytes:
    """As ImageMagick writes it: EXIF in hexadecimal digits, packed."""
    digits = (b"Exif\0\0" + tiff).hex()
    text = f"\nexif\n{len(digits) // 2:8d}\n{digits[:72]}\n{digits[72:]}\n".encode()
    body = b"Raw profile type exif\0\0" + zlib.compress(text)
    return data[:33] + png_chunk(b"zTXt", body) + data[33:]


def webp_with(exif_chunk: bytes, data: bytes) -> bytes:
    """An extended WebP with the EXIF behind the picture."""
    flags = (0x10 if Image.open(io.BytesIO(data)).mode == "RGBA" else 0) | 0x08
    header = struct.pack("<4sIB3x", b"VP8X", 10, flags) + struct.pack("<HBHB", 31, 0, 15, 0)
    chunk = struct.pack("<4sI", b"EXIF", len(exif_chunk)) + exif_chunk + b"\0" * (len(exif_chunk) % 2)
    body = b"WEBP" + header + data[12:] + chunk
    return b"RIFF" + struct.pack("<I", len(body)) + body


def saved_with(orientation: int, kind: str, icc: bytes = b"", **options: object) -> bytes:
    """The quarters, written by Pillow."""
    tags = Image.Exif()
    tags[0x0112] = orientation
    out = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(quarters()[:, :, ::-1]))
    picture.save(out, kind, exif=tags, icc_profile=icc, **options)
    return out.getvalue()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_alpha() -> np.ndarray:
    return np.dstack([quarters(), np.full((16, 32), 255, np.uint8)])


def animation(suffix: str) -> bytes:
    frames = cv2.Animation()
    frames.frames = [quarters(), np.zeros_like(quarters())]
    frames.durations = [100, 100]
    return cv2.imencodeanimation(suffix, frames)[1].tobytes()


LOSSLESS_WEBP = (cv2.IMWRITE_WEBP_QUALITY, 101)
FULL = (cv2.IMWRITE_JPEG_QUALITY, 100)
KINDS = {
    "plain.jpg": encoded(".jpg", quarters(), *FULL),
    "progressive.jpg": PROGRESSIVE,
    "CMYK.jpg": CMYK,
    "plain.png": encoded(".png", quarters()),
    "alpha.png": encoded(".png", with_alpha()),
    "16 bit.png": encoded(".png", quarters().astype(np.uint16) * 257),
    "16 bit alpha.png": encoded(".png", with_alpha().astype(np.uint16) * 257),
    "plain.webp": encoded(".webp", quarters(), *LOSSLESS_WEBP),
    "lossy.webp": encoded(".webp", quarters(), cv2.IMWRITE_WEBP_QUALITY, 100),
    "alpha.webp": encoded(".webp", with_alpha(), *LOSSLESS_WEBP),
    "plain.gif": encoded(".gif", quarters()),
    "plain.bmp": encoded(".bmp", quarters()),
    "a PNG by name.jpg": encoded(".png", quarters()),
    "blank and Ünïcödé 写真.jpg": encoded(".jpg", quarters(), *FULL),
    "animated.gif": animation(".gif"),
    "animated.webp": animation(".webp"),
    "trailing bytes.jpg": encoded(".jpg", quarters(), *FULL) + b"more" * 100,
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_becomes_the_same_picture(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(KINDS[name])
    bgr = read_photo(path)
    assert bgr.dtype == np.uint8
    assert bgr.shape == (16, 32, 3)
    assert bgr.flags.c_contiguous
    # Lossy kinds smear colours across the borders of the quarters; their middles are sharp.
    middles = bgr[4::8, 8::16].astype(int) - quarters()[4::8, 8::16]
    assert np.abs(middles).max() <= 30
    header = read_header(io.BytesIO(KINDS[name]))
    assert (header.width, header.height) == (32, 16)


def test_grey_and_bit_deep_pictures_become_three_channels(tmp_path: Path) -> None:
    grey = np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8)
    deep: np.ndarray = grey.astype(np.uint16) * 257
    for suffix, picture in [
        (".png", grey),
        (".png", deep),
        (".bmp", grey),
        (".jpg", grey),
    ]:
        path = tmp_path / f"grey{suffix}"
        path.write_bytes(encoded(suffix, picture))
        bgr = read_photo(path)
        assert bgr.shape == (8, 8, 3)
        assert np.abs(bgr.astype(int) - grey[:, :, None]).max() <= 4


@pytest.mark.parametrize(("suffix", "scale"), [(".png", 1), (".png", 257), (".webp", 1)])
def test_transparent_pixels_show_white(tmp_path: Path, suffix: str, scale: int) -> None:
    bgra = with_alpha()
    bgra[:8, :, 3], bgra[8:, :16, 3] = 0, 128
    path = tmp_path / f"a{suffix}"
    picture = bgra if scale == 1 else bgra.astype(np.uint16) * scale
    path.write_bytes(encoded(suffix, picture, *(LOSSLESS_WEBP if suffix == ".webp" else ())))
    bgr = read_photo(path).astype(int)
    assert (bgr[:8] == 255).all()
    assert np.abs(bgr[8:, :16] - (255, 127, 127)).max() <= 1


@pytest.mark.parametrize(("depth", "off"), [(np.uint8, 1), (np.uint16, 3)])
def test_blending_agrees_with_the_formula(tmp_path: Path, depth: type, off: int) -> None:
    most = np.iinfo(depth).max
    bgra = np.random.default_rng(3).integers(0, most, (150, 31, 4), depth, endpoint=True)
    (tmp_path / "a.png").write_bytes(encoded(".png", bgra))
    share = bgra[:, :, 3:] / most
    expected = 255 * (bgra[:, :, :3] / most * share + 1 - share)
    assert np.abs(read_photo(tmp_path / "a.png") - expected).max() <= off


def upright(picture: np.ndarray, orientation: int) -> np.ndarray:
    """The obvious way: where does pixel (y, x) of the stored picture belong?"""
    h, w = picture.shape[:2]
    out = np.zeros((w, h, 3) if orientation >= 5 else (h, w, 3), np.uint8)
    for y in range(h):
        for x in range(w):
            place = {
                1: (y, x),
                2: (y, w - 1 - x),
                3: (h - 1 - y, w - 1 - x),
                4: (h - 1 - y, x),
                5: (x, y),
                6: (x, h - 1 - y),
                7: (w - 1 - x, h - 1 - y),
                8: (w - 1 - x, y),
            }[orientation]
            out[place] = picture[y, x]
    return out


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(tmp_path: Path, orientation: int, order: str) -> None:
    expected = upright(quarters(), orientation)
    tiff = exif(orientation, order)
    for name, data in [
        ("a.jpg", jpeg_with(tiff, KINDS["plain.jpg"])),
        ("a.png", png_with(tiff, KINDS["plain.png"])),
        ("alpha.png", png_with(tiff, KINDS["alpha.png"])),
        ("as text.png", png_with_text(tiff, KINDS["plain.png"])),
        ("as text.alpha.png", png_with_text(tiff, KINDS["alpha.png"])),
        ("a.webp", webp_with(tiff, KINDS["plain.webp"])),
        ("prefix.webp", webp_with(b"Exif\0\0" + tiff, KINDS["plain.webp"])),
        ("prefix.alpha.webp", webp_with(b"Exif\0\0" + tiff, KINDS["alpha.webp"])),
        ("a.tif", saved_with(orientation, "TIFF")),
        ("a.avif", saved_with(orientation, "AVIF")),
        ("inks.jpg", jpeg_with(tiff, CMYK)),
    ]:
        (tmp_path / name).write_bytes(data)
        bgr = read_photo(tmp_path / name)
        assert bgr.shape == expected.shape, name
        assert np.abs(bgr.astype(int) - expected)[2::4, 2::4].max() <= 60, name


def png_header(width: int, height: int) -> bytes:
    """A PNG file up to where its pixels would be; nobody checks the checksum before that."""
    fields = struct.pack(">IIBB", width, height, 8, 2) + bytes(3)
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + fields + bytes(4) + b"\0\0\0\0IDAT"


def gif_header(screen: tuple[int, int], frame: tuple[int, int]) -> bytes:
    """A GIF without a palette, up to the first bytes of its pixels."""
    picture = b"," + struct.pack("<HHHHB", 0, 0, *frame, 0)
    return b"GIF89a" + struct.pack("<HHBBB", *screen, 0, 0, 0) + picture + bytes(8)


NOISE = np.random.default_rng(0).integers(0, 255, (64, 80, 3)).astype(np.uint8)
BAD = {
    "empty.jpg": (b"", "zero bytes"),
    "text.jpg": (b"Dear diary, today I became a photo.\n" * 10, "not a picture"),
    "tiny.png": (b"\x89PNG\r\n\x1a\n", "truncated header"),
    "zeros.jpg": (bytes(100_000), "not a picture"),
    "start only.jpg": (b"\xff\xd8\xff\xe0", "truncated header"),
    "zeros after start.jpg": (b"\xff\xd8\xff\xe0\x00\x10" + bytes(10**6), "no frame header"),
    "half.jpg": (encoded(".jpg", NOISE)[:4000], "truncated or damaged JPEG"),
    "last bytes gone.jpg": (encoded(".jpg", NOISE)[:-200], "truncated or damaged JPEG"),
    "progressive half.jpg": (PROGRESSIVE[:400], "truncated or damaged JPEG"),
    "half.png": (encoded(".png", NOISE)[:4000], "truncated or damaged PNG"),
    "half.webp": (encoded(".webp", NOISE)[:1000], "truncated or damaged WebP"),
    "half.gif": (encoded(".gif", NOISE)[:1000], "truncated or damaged GIF"),
    "half.bmp": (encoded(".bmp", NOISE)[:1000], "truncated or damaged BMP"),
    "no pixels.png": (png_header(0, 0), "0 x 0 pixels"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_read_gives_the_reason(tmp_path: Path, name: str) -> None:
    data, reason = BAD[name]
    (tmp_path / name).write_bytes(data)
    with quiet_decoders(), pytest.raises(PhotoError, match=reason) as caught:
        read_photo(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match="No such file"):
        read_photo(tmp_path / "missing.jpg")
    with pytest.raises(PhotoError, match="directory"):
        read_photo(tmp_path)


@pytest.mark.parametrize("kind", ["pipe", "link to a device"])
def test_pipes_and_devices_are_no_photos(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.jpg"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(PhotoError, match=r"x\.jpg: cannot be read: a (pipe|device), not a file"):
        read_photo(path)


@pytest.mark.parametrize(
    ("data", "mp"),
    [
        (png_header(100_000, 40_000), 4000),
        (gif_header((65535, 65535), (1, 1)), 4294.8),
        (gif_header((32, 32), (50000, 50000)), 2500),
        (b"BM" + bytes(12) + struct.pack("<Iii", 40, 30_000, -30_000) + bytes(20), 900),
        (b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff\xff\xff" * 2 + bytes(4), 281474976.7),
        (b"\xff\xd8\xff\xc0\0\x11\x08" + struct.pack(">HH", 65500, 65500) + bytes(9), 4290.2),
    ],
)
def test_giants_are_refused_by_their_header(tmp_path: Path, data: bytes, mp: float) -> None:
    (tmp_path / "giant.jpg").write_bytes(data)
    with pytest.raises(PhotoError, match=rf"{mp}\S* megapixels, more than analyze.max_photo_mp = 120"):
        read_photo(tmp_path / "giant.jpg")


def claiming_png(length: int) -> bytes:
    """A PNG whose first chunk of pixels claims to be so long."""
    plain = KINDS["plain.png"]
    at = plain.index(b"IDAT") - 4
    return plain[:at] + struct.pack(">I", length) + plain[at + 4 :]


def tall_png() -> bytes:
    rows = zlib.compress(bytes(2 * 119_999_999), 9)
    header = struct.pack(">IIBBBBB", 1, 119_999_999, 8, 0, 0, 0, 0)
    pixels = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + pixels


def texts_png(count: int) -> bytes:
    """A PNG with packed texts, each of which unpacks to 4 MB."""
    text = png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b" " * (4 << 20), 9))
    return KINDS["plain.png"][:33] + count * text + KINDS["plain.png"][33:]


def resized_jpeg(width: int, height: int) -> bytes:
    data = bytearray(KINDS["plain.jpg"])
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


CLAIMS: tuple[tuple[Callable[[], bytes], int | None, str], ...] = (
    (lambda: KINDS["plain.jpg"], 20 << 30, "32 x 16 pixels in 21.5 GB"),
    (lambda: claiming_png(0xFFFFFFF0), None, "truncated or damaged PNG"),
    (lambda: claiming_png(0x40000000), None, "truncated or damaged PNG"),
    (lambda: texts_png(65), None, "more than 64 packed texts in a PNG"),
    (tall_png, None, "1 x 119999999 pixels, a side of more than 1048576"),
    (lambda: resized_jpeg(10950, 10950), None, "10950 x 10950 pixels in"),
    (lambda: gif_header((9000, 9000), (9000, 9000)), None, "9000 x 9000 pixels in 31 bytes"),
)
READS = """
import resource, sys, pathlib
from rtsearch.images.decode import quiet_decoders, read_photo

resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
for path in sys.argv[1:]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with quiet_decoders():
            read_photo(pathlib.Path(path))
    except ValueError as error:
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, error)
"""


@pytest.mark.slow
def test_what_a_file_claims_takes_no_memory(tmp_path: Path) -> None:
    for i, (make, length, _) in enumerate(CLAIMS):
        path = tmp_path / f"{i}.jpg"
        path.write_bytes(make())
        if length is not None:
            os.truncate(path, length)
    argv = [sys.executable, "-c", READS, *sorted(map(str, tmp_path.iterdir()))]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    for said, (_, _, reason) in zip(done.stdout.splitlines(), CLAIMS, strict=True):
        taken_kb, _, message = said.partition(" ")
        assert reason in message
        assert int(taken_kb) < 50_000, message


def test_numbers_that_are_none_in_a_picture_of_numbers(tmp_path: Path) -> None:
    """Black and white stay what they are, without a warning of numpy in the middle of a progress bar."""
    values = np.array([[np.nan, 0, 2], [np.inf, -np.inf, 1]], np.float32)
    Image.fromarray(values).save(tmp_path / "a.tif")
    grey = read_photo(tmp_path / "a.tif")[:, :, 0]
    assert grey.tolist() == [[0, 0, 255], [255, 0, 127]]


def test_pillows_limit_is_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    monkeypatch.setattr(decoders, "_PILLOW_PIXELS", 100)
    for name in ("alpha.png", "plain.bmp", "half.gif"):
        (tmp_path / name).write_bytes(KINDS.get(name) or BAD[name][0])
        with contextlib.suppress(PhotoError):
            assert read_photo(tmp_path / name).shape == (16, 32, 3)
        assert Image.MAX_IMAGE_PIXELS == 100


def test_the_limit_is_the_callers(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(KINDS["plain.jpg"])
    assert photo_header(path, 32 * 16 / 1e6).width == 32
    with pytest.raises(PhotoError, match="megapixels"):
        photo_header(path, 0.0005)


@given(
    st.binary(max_size=200), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM"])
)
def test_no_bytes_upset_the_header_reader(data: bytes, start: bytes) -> None:
    try:
        header = read_header(io.BytesIO(start + data))
    except PhotoError as error:
        reason = str(error)
    else:
        reason = "read" if header.width > 0 and header.height > 0 else ""
    assert reason


@pytest.mark.parametrize(
    "name", ["plain.jpg", "alpha.png", "plain.webp", "plain.gif", "plain.bmp", "CMYK.jpg"]
)
def test_flipped_bits_give_a_picture_or_a_reason(tmp_path: Path, name: str) -> None:
    rng = np.random.default_rng(1)
    path = tmp_path / name
    for _ in range(60):
        data = bytearray(KINDS[name])
        for place in rng.integers(0, len(data), 3):
            data[place] ^= 1 << int(rng.integers(0, 8))
        path.write_bytes(bytes(data))
        with quiet_decoders(), contextlib.suppress(PhotoError):
            bgr = decode_photo(path.read_bytes(), photo_header(path, 1.0)).bgr
            assert bgr.ndim == 3
            assert bgr.dtype == np.uint8


def test_decoders_are_kept_quiet_and_python_is_not(tmp_path: Path) -> None:
    (tmp_path / "half.jpg").write_bytes(BAD["half.jpg"][0])
    (tmp_path / "half.png").write_bytes(BAD["half.png"][0])
    code = (
        "import sys, pathlib\n"
        "from rtsearch.images.decode import quiet_decoders, read_photo\n"
        "with quiet_decoders():\n"
        "    for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):\n"
        "        try:\n"
        "            read_photo(path)\n"
        "        except ValueError as error:\n"
        "            print('reason:', path.name, file=sys.stderr)\n"
        "print('after', file=sys.stderr)\n"
        "import os\n"
        "os.write(2, b'descriptor')\n"
    )
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    argv = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60, env=environment)
    assert done.stderr == "reason: half.jpg\nreason: half.png\nafter\ndescriptor"


def test_decoders_are_kept_quiet_in_several_threads_at_a_time(tmp_path: Path) -> None:
    """Who plays photos is quiet all the time, and reads each of them quietly in another thread."""
    code = (
        "import os, sys, threading\n"
        "from rtsearch.images.decode import quiet_decoders\n"
        "def inner():\n"
        "    with quiet_decoders():\n"
        "        os.write(2, b'noise')\n"
        "with quiet_decoders():\n"
        "    threads = [threading.Thread(target=inner) for _ in range(8)]\n"
        "    [thread.start() for thread in threads]\n"
        "    [thread.join(10) for thread in threads]\n"
        "    os.write(2, b'noise')\n"
        "    print('python', file=sys.stderr)\n"
        "os.write(2, b'descriptor')\n"
    )
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == "python\ndescriptor"
