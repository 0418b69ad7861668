"""Files of all kinds: interlaced, wrongly tagged, damaged, starting late, with sound that lasts longer."""

from __future__ import annotations

import logging
import resource
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import FFMPEG, container_times, ffmpeg, paint, read_number, write_clip
from PIL import Image

from rtsearch.config import LiveSettings
from rtsearch.errors import SourceError
from rtsearch.sources import VideoFile, open_source
from rtsearch.sources.decoder import Decoder, local
from rtsearch.types import U8Array

LIVE = LiveSettings()
pytestmark = pytest.mark.skipif(FFMPEG is None, reason="ffmpeg is not installed: apt-get install ffmpeg")
PATTERN = ("-f", "lavfi", "-i", "testsrc2=s=360x288:r=25:d=1")
TFF = ("-vf", "setfield=tff", "-pix_fmt", "yuv420p")


def pictures(path: Path) -> list[U8Array]:
    with open_source(str(path), LIVE) as source:
        return [frame.bgr for frame in source]


def test_opencv_is_loaded_before_pyav() -> None:
    """Otherwise the first window of OpenCV hangs for ever: both wheels carry parts of libxcb."""
    code = "import sys, rtsearch.sources.decoder; names = list(sys.modules); "
    code += "sys.exit(names.index('cv2') > names.index('av'))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Interlaced, and of wrong tags ------------------------------------------------------------------------------

INTERLACED = {
    "h264.mp4": ("-c:v", "libx264", "-flags", "+ilme+ildct", "-x264opts", "tff=1"),
    "mpeg2.mpg": ("-c:v", "mpeg2video", "-q:v", "3", "-flags", "+ilme+ildct"),
    "mpeg2.ts": ("-c:v", "mpeg2video", "-q:v", "3", "-flags", "+ilme+ildct"),
    "422.mov": ("-c:v", "prores", "-pix_fmt", "yuv422p10le", "-flags", "+ilme+ildct"),
}


@pytest.mark.parametrize("name", INTERLACED)
def test_interlaced_video_gives_its_pictures(name: str, tmp_path: Path) -> None:
    path = ffmpeg(*PATTERN, *TFF, *INTERLACED[name], out=tmp_path / name)
    wanted = pictures(ffmpeg(*PATTERN, "-pix_fmt", "yuv420p", "-c:v", "ffv1", out=tmp_path / "p.mkv"))
    found = pictures(path)
    assert len(found) == len(wanted) == 25
    for a, b in zip(found, wanted, strict=True):
        assert np.abs(a.astype(int) - b).mean() < 8


def test_dv_gives_its_pictures(tmp_path: Path) -> None:
    pattern = ("-f", "lavfi", "-i", "testsrc2=s=720x576:r=25:d=0.4")
    found = pictures(ffmpeg(*pattern, "-c:v", "dvvideo", "-pix_fmt", "yuv420p", out=tmp_path / "dv.avi"))
    wanted = pictures(ffmpeg(*pattern, "-c:v", "ffv1", "-pix_fmt", "yuv420p", out=tmp_path / "p.mkv"))
    assert len(found) == len(wanted) == 10
    wide = [cv2.resize(b, (a.shape[1], a.shape[0])) for a, b in zip(found, wanted, strict=True)]
    assert max(np.abs(a.astype(int) - b).mean() for a, b in zip(found, wide, strict=True)) < 8


def combs(bgr: U8Array) -> float:
    """How much rows differ from the mean of those above and below them."""
    rows = bgr.astype(int)
    return float(np.abs(2 * rows[1:-1] - rows[:-2] - rows[2:]).mean())


def test_moving_things_have_no_combs(tmp_path: Path) -> None:
    moving = ("-f", "lavfi", "-i", "testsrc=s=320x240:r=50:d=1,scroll=h=0.02")
    h264 = ("-pix_fmt", "yuv420p", "-c:v", "libx264", "-qp", "10")
    flags = ("-flags", "+ilme+ildct", "-x264opts", "tff=1")
    woven = ffmpeg(*moving, "-vf", "interlace=scan=tff:lowpass=off", *h264, *flags, out=tmp_path / "i.mp4")
    whole = ffmpeg(*moving, "-vf", "fps=25", *h264, out=tmp_path / "p.mp4")
    assert max(map(combs, pictures(woven)[2:-2])) < 1.5 * max(map(combs, pictures(whole)[2:-2]))


@pytest.mark.parametrize("matrix", [0, 3, 8, 10, 11, 12, 13, 14])
def test_matrix_tags_that_cannot_be_converted_are_passed_over(matrix: int, tmp_path: Path) -> None:
    h264 = ("-pix_fmt", "yuv420p", "-c:v", "libx264")
    wanted = pictures(ffmpeg(*PATTERN, *h264, out=tmp_path / "p.mp4"))
    tag = ("-bsf:v", f"h264_metadata=matrix_coefficients={matrix}")
    found = pictures(ffmpeg(*PATTERN, *h264, *tag, out=tmp_path / "m.mp4"))
    assert len(found) == 25
    for a, b in zip(found, wanted, strict=True):
        assert np.abs(a.astype(int) - b).mean() < 12  # BT.2020 is told apart from BT.601


@pytest.mark.parametrize(
    ("wh", "pixel", "shown"), [("720x576", "64/45", (1024, 576)), ("720x480", "8/9", (640, 480))]
)
@pytest.mark.parametrize("name", ["dvd.mp4", "dvd.vob", "dvd.ts"])
def test_pixels_become_square(name: str, wh: str, pixel: str, shown: tuple[int, int], tmp_path: Path) -> None:
    """A circle stays a circle: it is as wide as it is high."""
    circle = np.zeros((shown[1], shown[0], 3), np.uint8)
    cv2.circle(circle, (shown[0] // 2, shown[1] // 2), 150, (255, 255, 255), -1)
    assert cv2.imwrite(str(tmp_path / "circle.png"), circle)
    scale = ("-vf", f"scale={wh.replace('x', ':')},setsar={pixel}", "-pix_fmt", "yuv420p", "-b:v", "4M")
    with VideoFile(str(ffmpeg("-i", str(tmp_path / "circle.png"), *scale, out=tmp_path / name))) as source:
        bgr = next(source).bgr
        assert source.wh == (bgr.shape[1], bgr.shape[0])
    assert source.wh == pytest.approx(shown, abs=2)
    _, _, width, height = cv2.boundingRect((bgr[:, :, 1] > 127).astype(np.uint8))
    assert (width, height) == pytest.approx((301, 301), abs=4)


# Damaged ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0.3, 0.51, 0.7])
def test_a_damaged_packet_does_not_end_a_film(
    place: float, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pattern = ("-f", "lavfi", "-i", "testsrc2=s=320x240:r=25:d=8")
    h264 = ("-pix_fmt", "yuv420p", "-c:v", "libx264", "-g", "50")
    path = ffmpeg(*pattern, *h264, out=tmp_path / "film.mp4")
    data = bytearray(path.read_bytes())
    begin = int(len(data) * place)
    data[begin : begin + 1000] = bytes(1000)
    path.write_bytes(data)
    with VideoFile(str(path)) as source, caplog.at_level(logging.WARNING):
        frames = list(source)
    assert 190 <= len(frames) <= 200
    assert frames[-1].pts_s == pytest.approx(199 / 25)
    torn = [frame.id for frame in frames if frame.torn]
    assert 0 < len(torn) <= 51  # until the next keyframe
    assert f"of 200 pictures are lost, {len(torn)} are damaged" in caplog.text


def test_whole_films_are_not_torn(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in INTERLACED:
        path = ffmpeg(*PATTERN, *TFF, *INTERLACED[name], out=tmp_path / name)
        with VideoFile(str(path)) as source:
            assert not any(frame.torn for frame in source)
    assert caplog.text == ""


# Times and lengths ------------------------------------------------------------------------------------------


def test_times_are_those_of_the_container(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", range(60), fps=20)
    h264 = ("-fps_mode", "passthrough", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-bf", "3", "-g", "20")
    sound = ("-f", "lavfi", "-i", "sine=d=5")
    late = ("-itsoffset", "2", "-i", str(clip), *sound)
    starts = {
        "late.mp4": (*late, *h264),
        "late.mkv": (*late, *h264),
        "plain.ts": ("-i", str(clip), *h264),
        "open.ts": ("-i", str(clip), *h264, "-x264opts", "open-gop=1", "-output_ts_offset", "9000"),
        "open.mpg": ("-i", str(clip), "-c:v", "mpeg2video", "-bf", "2", "-g", "12", "-b:v", "4M"),
    }
    for name, made in starts.items():
        path = ffmpeg(*made, out=tmp_path / name)
        with VideoFile(str(path)) as source:
            frames = list(source)
            assert [read_number(frame.bgr) for frame in frames] == list(range(60)), name
            assert [frame.pts_s for frame in frames] == pytest.approx(container_times(path), abs=1e-5), name
            source.seek(source.begins_s + 1.5)
            assert read_number(next(source).bgr) == 30, name


LONGER_SOUND = {
    "s.mp4": ("-c:v", "libx264"),
    "s.mkv": ("-c:v", "libx264"),
    "s.ts": ("-c:v", "libx264"),
    "f.mp4": ("-c:v", "libx264", "-movflags", "frag_keyframe+empty_moov"),
    "s.flv": ("-c:v", "libx264", "-ar", "44100"),
    "s.mpg": ("-c:v", "mpeg2video"),
}


@pytest.mark.parametrize("name", LONGER_SOUND)
def test_sound_that_lasts_longer_is_no_loss(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sound = ("-f", "lavfi", "-i", "sine=d=3")
    path = ffmpeg(*PATTERN, *sound, "-pix_fmt", "yuv420p", *LONGER_SOUND[name], out=tmp_path / name)
    with VideoFile(str(path)) as source:
        assert len(list(source)) == 25
        assert source.frames in (25, None)
    assert caplog.text == ""


# Animations, and photos that are no videos ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
def test_animations_play_with_their_own_times(name: str, tmp_path: Path) -> None:
    frames = [Image.fromarray(np.ascontiguousarray(paint(number)[:, :, ::-1])) for number in range(6)]
    path, durations = tmp_path / name, [100, 200, 300, 100, 50, 400]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations, lossless=True)
    times = [0.0, 0.1, 0.3, 0.6, 0.7, 0.75]
    with open_source(str(path), LIVE, loop=True) as source:
        seen = [next(source) for _ in range(8)]
        assert not source.slides
        assert [read_number(frame.bgr) for frame in seen] == [0, 1, 2, 3, 4, 5, 0, 1]
        assert [frame.pts_s for frame in seen] == pytest.approx([*times, 0.0, 0.1])
        assert [frame.id for frame in seen] == list(range(8))
        assert source.seek(0.6)
        assert read_number(next(source).bgr) == 3
        source.loop = False
        assert [read_number(frame.bgr) for frame in source] == [4, 5]


def test_transparency_of_an_animation_is_white(tmp_path: Path) -> None:
    frames = [Image.new("RGBA", (32, 32), (255, 0, 0, alpha)) for alpha in (0, 255, 51)]
    path = tmp_path / "a.webp"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100, lossless=True, exact=True)
    seen = [bgr[16, 16].tolist() for bgr in pictures(path)]
    assert seen == [[255, 255, 255], [0, 0, 255], [204, 204, 255]]


@pytest.mark.parametrize(
    ("side", "more_bytes", "said"),
    [(9000, 0, "too large"), (9000, 1 << 20, "too large"), (4000, 0, "in [0-9]+ bytes"), (2000, 0, "")],
)
def test_a_small_webp_takes_little_memory(tmp_path: Path, side: int, more_bytes: int, said: str) -> None:
    path, small = tmp_path / "a.webp", [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    small[0].save(path, save_all=True, append_images=small[1:], duration=100, lossless=True)
    data = bytearray(path.read_bytes())
    data[24:30] = 2 * (side - 1).to_bytes(3, "little")  # the size of the canvas (RFC 9649, 2.7)
    path.write_bytes(bytes(data) + bytes(more_bytes))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if said:
        with pytest.raises(SourceError, match=said):
            open_source(str(path), LIVE)
    else:
        assert [bgr.shape for bgr in pictures(path)] == [(side, side, 3)] * 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000


@pytest.mark.parametrize("name", ["one.gif", "one.webp", "one.png"])
def test_a_picture_of_one_frame_is_a_photo(name: str, tmp_path: Path) -> None:
    Image.new("RGB", (32, 32), "red").save(tmp_path / name)
    with open_source(str(tmp_path / name), LIVE) as source:
        assert source.slides


@pytest.mark.parametrize("brand", [b"avif", b"heic", b"mif1"])
def test_a_photo_of_tiles_is_no_video_of_one_of_them(brand: bytes, tmp_path: Path) -> None:
    path = tmp_path / "photo.mp4"
    path.write_bytes(b"\0\0\0\x18ftyp" + brand + bytes(8) + b"mif1")
    whole: U8Array = np.full((4, 6, 3), 7, np.uint8)
    with open_source(str(path), LIVE, read=lambda _: whole) as source:
        assert next(source).bgr is whole


def test_names_are_taken_for_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = write_clip(tmp_path / "clip.avi", range(3))
    monkeypatch.chdir(tmp_path)
    for name in ("http:x.avi", "-i.avi", "concat:clip.avi|clip.avi", "b\udce4r.avi"):
        (tmp_path / name).write_bytes(clip.read_bytes())
        assert len(pictures(Path(name))) == 3


def test_tags_may_be_of_any_encoding(tmp_path: Path) -> None:
    path = ffmpeg(*PATTERN, "-metadata", b"title=M\xe4rz", "-c:v", "mpeg4", out=tmp_path / "t.avi")
    assert len(pictures(path)) == 25


def test_a_picture_of_a_cover_is_no_video(tmp_path: Path) -> None:
    cover = tmp_path / "cover.png"
    assert cv2.imwrite(str(cover), np.zeros((32, 32, 3), np.uint8))
    sound = ("-f", "lavfi", "-i", "sine=d=1", "-i", str(cover), "-map", "0", "-map", "1", "-c:v", "copy")
    path = ffmpeg(*sound, "-disposition:v", "attached_pic", out=tmp_path / "song.mp3")
    with pytest.raises(SourceError, match="holds no video"):
        VideoFile(str(path))


def test_a_size_beyond_all_reason_takes_no_memory(tmp_path: Path) -> None:
    """A JPEG whose header claims 32767 x 32767 pixels, as the stream of an AVI file."""
    data = bytearray(write_clip(tmp_path / "clip.avi", range(3)).read_bytes())
    begin = 0
    while (begin := data.find(b"\xff\xc0", begin + 1)) > 0:  # start of frame
        data[begin + 5 : begin + 9] = b"\x7f\xff\x7f\xff"
    (tmp_path / "large.avi").write_bytes(data)
    with pytest.raises(SourceError, match="holds no video"):
        VideoFile(str(tmp_path / "large.avi"))


def test_decoder_says_when_it_holds_nothing(tmp_path: Path) -> None:
    path = ffmpeg("-f", "lavfi", "-i", "sine=d=1", out=tmp_path / "s.wav")
    with pytest.raises(LookupError):
        Decoder(local(str(path)), options={}, limits_s=(None, None))
