"""Kinds of pictures that Pillow and the extras read, told by content, each become the same picture."""

from __future__ import annotations

import base64
import io
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_images import encoded, quarters

from rtsearch.errors import PhotoError, UnreadPhotoError
from rtsearch.images.decode import photo_header, quiet_decoders, read_photo
from rtsearch.images.formats import KINDS, PHOTO_SUFFIXES, kind_of, kind_of_suffix
from rtsearch.types import U8Array

# 32 x 16 pixels in four quarters: red, green / blue, white. Their writers are no dependencies of ours.
HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAXxtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAAC"
    "JpbG9jAAAAAERAAAEAAQAAAAABoAABAAAAAAAAAVsAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRtAAAA"
    "AAABAAAA/GlwcnAAAADcaXBjbwAAAHVodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHr"
    "oCQGEAAQApQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbqrprm4CGgwIAAAAyAAAADAIRiAAEABkQBwXPBiQAAABNjb2xybmNseAABAA0A"
    "BoAAAAAUaXNwZQAAAAAAAABAAAAAQAAAAChjbGFwAAAAIAAAAAEAAAAQAAAAAf///+AAAAAC////0AAAAAIAAAAQcGl4aQAAAAADCA"
    "gIAAAAGGlwbWEAAAAAAAAAAQABBYECAwWEAAABY21kYXQAAAFXKAGvBjIePbqw8XQoLl7fEHf//aL+h9ZoyX8rdL4Wvkfa8H/9jK8m"
    "KZwiz9BpmCJTPQ3+VCXwiB/69Z/+UBipHZM4752L8huxtc8xgmwL/COgQ5GmJIya13UTzpv1uIhahiN7cFxzwBc0n25eYQeX2HzCmT"
    "MR8NTJ9REVMyHrIgT7dOXpYwV4l8ISP79f+4AE24Mkg3j53stz/95/Dk4l8OAXzgI6Rb/3nAfPTCABJwtgpMD2L6sNhIgFdNQL9Riy"
    "rqDOJ3kcqHMhMQhbbT2MVCxa55a74YuYkZXZ7NW09TCIc9ErhXGJhAU2lD5CezONT7UYRhwb4DgYGJNDW3lzhZiNHALU+2NxzRqJGT"
    "KA4b9BXr2alRMOgez4Ror0Au7Zd2udWeWJ1mcwIaLxp4P0i6j+xV73xPaTDtO58jl2aiu3wPOaX/Rrkp8b+LmQT6ZWW+EzC7p8eA=="
)
JXL = base64.b64decode(
    "/wrDBwAliAIANAS1nyAAABUqo4wbvJzr+fJDh8W0jesMbbVtYQljs70wSEg4g22MP9usWZ7qoaPJlWxaLvqEjjD7Dc4mM4fOhB6Cef"
    "tMkAyZJ+Z/cEOsQ/jQ06AKXAfKAECFFDhDbVXpci4Z096hLGCtpRnW5BcKHW8dPnZ3wOk/+IKiDRngbw2TTulJxvh6eV9uIGEsh/7/"
    "a3BalXcQOoje/+5TG35iEB6x3EUcEB+g+yfU1OwAMIIwkT+bYtzmRaeoDla1LoWSlxyjpR2Op25HAACMJ16mmNbV0LjTSDaAsbgwAB"
    "/T3I9eyFWP4m8cKNnmhJ/s+JuEEAF/YSIPYsI7f/LPLt+4G5VfmSS09ErFjkenSCCYAQ=="
)


def saved(kind: str, **options: object) -> bytes:
    """The quarters, written by Pillow."""
    out = io.BytesIO()
    mode = str(options.pop("mode", "RGB"))
    Image.fromarray(quarters()[:, :, ::-1]).convert(mode).save(out, kind, **options)
    return out.getvalue()


def deep_tiff() -> bytes:
    out = io.BytesIO()
    grey = quarters().mean(2).astype(np.uint16) * 257
    Image.fromarray(grey).save(out, "TIFF")
    return out.getvalue()


def dng(bgr: U8Array) -> bytes:
    """A camera's raw file: one colour per pixel, red and green, green and blue."""
    height, width = bgr.shape[:2]
    values = np.empty((height, width), np.uint16)
    for y, x, channel in ((0, 0, 2), (0, 1, 1), (1, 0, 1), (1, 1, 0)):
        values[y::2, x::2] = bgr[y::2, x::2, channel].astype(np.uint16) * 257
    identity = (32404, -15371, -4985, -9692, 18760, 415, 556, -2040, 10572)  # sRGB, in ten-thousandths
    longs = {254: 0, 256: width, 257: height, 278: height, 279: values.nbytes, 50717: 65535}
    shorts = {258: 16, 259: 1, 262: 32803, 274: 6, 277: 1}
    tags = {tag: (4, 1, struct.pack("<I", value)) for tag, value in longs.items()}
    tags |= {tag: (3, 1, struct.pack("<H", value)) for tag, value in shorts.items()}
    tags |= {
        271: (2, 5, b"Acme\0"),
        272: (2, 4, b"One\0"),
        273: (4, 1, bytes(4)),
        33421: (3, 2, struct.pack("<HH", 2, 2)),
        33422: (1, 4, bytes([0, 1, 1, 2])),
        50706: (1, 4, bytes([1, 4, 0, 0])),
        50708: (2, 9, b"Acme One\0"),
        50721: (10, 9, b"".join(struct.pack("<ii", value, 10_000) for value in identity)),
        50728: (5, 3, struct.pack("<II", 1, 1) * 3),
    }
    behind = 8 + 2 + 12 * len(tags) + 4
    entries = longer = b""
    for tag, (kind, count, value) in sorted(tags.items()):
        place = value.ljust(4, b"\0")
        if len(value) > 4:
            place = struct.pack("<I", behind + len(longer))
            longer += value + b"\0" * (len(value) % 2)
        entries += struct.pack("<HHI", tag, kind, count) + place
    strip = struct.pack("<HHI", 273, 4, 1)
    entries = entries.replace(strip + bytes(4), strip + struct.pack("<I", behind + len(longer)))
    start = b"II*\0" + struct.pack("<IH", 8, len(tags))
    return start + entries + bytes(4) + longer + values.tobytes()


READ = {
    "a.tif": ("TIFF", saved("TIFF")),
    "LZW.tiff": ("TIFF", saved("TIFF", compression="tiff_lzw")),
    "JPEG inside.tif": ("TIFF", saved("TIFF", compression="jpeg", quality=100)),
    "palette.tif": ("TIFF", saved("TIFF", mode="P")),
    "CMYK.tif": ("TIFF", saved("TIFF", mode="CMYK")),
    "two pages.tif": (
        "TIFF",
        saved("TIFF", save_all=True, append_images=[Image.new("RGB", (64, 64))]),
    ),
    "a.avif": ("AVIF", saved("AVIF", quality=100)),
    "a.jp2": ("JPEG 2000", saved("JPEG2000")),
    "a.j2k": ("JPEG 2000", saved("JPEG2000", no_jp2=True)),
    "a.ppm": ("Netpbm", saved("PPM")),
    "a.jfif": ("JPEG", saved("JPEG", quality=100)),
    "a.mpo": ("JPEG", saved("MPO", quality=100, save_all=True, append_images=[Image.new("RGB", (32, 16))])),
    "a.apng": ("PNG", saved("PNG", save_all=True, append_images=[Image.new("RGB", (32, 16))])),
    "a JPEG by content.HEIC": ("JPEG", saved("JPEG", quality=100)),
    "an AVIF by content.jpg": ("AVIF", saved("AVIF", quality=100)),
}


def expect_quarters(bgr: U8Array) -> None:
    """Compare the middles of the quarters: lossy kinds smear colours across the borders."""
    assert bgr.shape == (16, 32, 3)
    assert bgr.flags.c_contiguous
    assert np.abs(bgr[4::8, 8::16].astype(int) - quarters()[4::8, 8::16]).max() <= 30


@pytest.mark.parametrize("name", READ)
def test_kinds_that_are_always_read(tmp_path: Path, name: str) -> None:
    kind, data = READ[name]
    (tmp_path / name).write_bytes(data)
    assert photo_header(tmp_path / name, 120.0).kind == kind
    expect_quarters(read_photo(tmp_path / name))


@pytest.mark.parametrize(
    ("module", "name", "data"), [("pi_heif", "a.heic", HEIC), ("pillow_jxl", "a.jxl", JXL)]
)
def test_kinds_that_an_extra_reads(tmp_path: Path, module: str, name: str, data: bytes) -> None:
    pytest.importorskip(module)
    (tmp_path / name).write_bytes(data)
    expect_quarters(read_photo(tmp_path / name))


def test_raw_files_of_cameras(tmp_path: Path) -> None:
    pytest.importorskip("rawpy")
    (tmp_path / "a.dng").write_bytes(dng(np.kron(quarters(), np.ones((8, 8, 1), np.uint8))))
    bgr = read_photo(tmp_path / "a.dng")  # held upright: its first row is the left side
    assert bgr.shape == (128, 64, 3)
    assert np.abs(bgr[32::64, 16::32].astype(int) - np.rot90(quarters(), -1)[8::16, 4::8]).max() <= 30


@pytest.mark.parametrize(
    ("name", "data", "extra"),
    [
        ("a.heic", HEIC, "heic"),
        ("a.jxl", JXL, "jxl"),
        ("a.jpg", HEIC, "heic"),
        ("a.CR2", b"II*\0" * 9, "raw"),
    ],
)
def test_without_an_extra_the_message_names_it(
    tmp_path: Path, name: str, data: bytes, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (tmp_path / name).write_bytes(data)
    with pytest.raises(PhotoError, match=rf"is read by an extra: pip install 'rtsearch\[{extra}\]'"):
        read_photo(tmp_path / name)


def test_deep_grey_is_not_burnt_out(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(deep_tiff())
    assert read_photo(tmp_path / "a.tif")[4::8, 8::16, 0].tolist() == [[85, 85], [85, 255]]


def test_other_kinds_of_the_same_beginning_are_refused(tmp_path: Path) -> None:
    for name, data in [
        ("half.tif", READ["a.tif"][1][:200]),
        ("half.avif", READ["a.avif"][1][:100]),
        ("half.jp2", READ["a.jp2"][1][:90]),
        ("film.jpg", b"\0\0\0\x18ftypisom" + bytes(40)),
        ("script.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
    ]:
        (tmp_path / name).write_bytes(data)
        with quiet_decoders(), pytest.raises(PhotoError) as caught:
            read_photo(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_pillows_warnings_are_kept_quiet(tmp_path: Path) -> None:
    """A TIFF with stray tags makes Pillow warn for each of them."""
    data = bytearray(saved("TIFF"))
    at = struct.unpack_from("<I", data, 4)[0]
    struct.pack_into("<HHI", data, at + 2 + 12, 257, 3, 2)  # two heights
    (tmp_path / "a.tif").write_bytes(bytes(data))
    code = (
        "import sys, pathlib, warnings\n"
        "from rtsearch.images.decode import quiet_decoders, read_photo\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "with quiet_decoders():\n"
        "    read_photo(path)\n"
        "print('ours', file=sys.stderr)\n"
        "read_photo(path)\n"
    )
    argv = [sys.executable, "-c", code, str(tmp_path / "a.tif")]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60, env={**os.environ})
    quiet, _, loud = done.stderr.partition("ours\n")
    assert quiet == ""
    assert "Warning" in loud


def test_the_table_is_consistent() -> None:
    suffixes = [suffix for kind in KINDS for suffix in kind.suffixes]
    assert len(suffixes) == len(set(suffixes)) == len(PHOTO_SUFFIXES)
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in suffixes)
    assert all(bool(kind.module) == bool(kind.extra) for kind in KINDS)
    for name, (kind, data) in READ.items():
        found = kind_of(data[:32], Path(name).suffix)
        assert found is not None
        assert found.name == kind
    assert kind_of_suffix(".JPG") is kind_of(encoded(".jpg", quarters())[:32])
    assert kind_of_suffix(".bmp") is kind_of(encoded(".bmp", quarters())[:32])
    for start in (b"", b"P", b"P6", b"\0\0\0\x18ftyp"):
        assert kind_of(start) is None


def test_a_reader_that_does_not_load_is_no_fault_of_the_photo(tmp_path: Path, monkeypatch) -> None:
    """So that the photo is tried again: what has failed for its own sake is not."""

    def missing(name: str) -> None:
        raise ImportError("libheif.so.1: cannot open shared object file")

    path = tmp_path / "a.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(8) + b"mif1" + bytes(100))
    monkeypatch.setattr("rtsearch.images.formats.importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr("rtsearch.images.decoders.importlib.import_module", missing)
    with pytest.raises(UnreadPhotoError, match=r"does not load: libheif\.so"):
        photo_header(path, 120)
