"""Films in a library: the times of what is seen, tracks, parts, kills, and films that lie."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import barcode
import blobs
import clips
import cv2
import forked
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from blobs import BlobPipeline, content, expected_files, files
from clips import FFMPEG, needs_ffmpeg

from rtsearch.config import Settings, load_settings
from rtsearch.jobs import film_frames, films
from rtsearch.jobs.analyze import Progress, analyze
from rtsearch.jobs.film_frames import FilmFrames
from rtsearch.jobs.film_tracks import FilmTracks
from rtsearch.jobs.query import query_photo
from rtsearch.library import Library, check_library
from rtsearch.library.film_parts import FilmParts, remove_film_parts
from rtsearch.library.index import open_index
from rtsearch.live import library_photos
from rtsearch.types import Detections

FPS = 25


def write(path: Path, pictures, fps: float) -> Path:
    """A film of given pictures as MJPEG, without another program."""
    first = pictures[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    code = cv2.VideoWriter.fourcc(*"MJPG")
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, fps, (first.shape[1], first.shape[0]))
    for picture in pictures:
        writer.write(picture)
    writer.release()
    return path


def blob_film(path: Path, seconds: int) -> Path:
    """One picture a second; what is seen changes every eight seconds."""
    return write(path, [blobs.draw(second // 8, 2) for second in range(seconds)], 1)


def look(photos: Path, library: Path, **changes):
    settings = Settings.model_validate({"analyze": changes})
    return analyze(photos, library, BlobPipeline(), settings)


def rows_of(library: Path) -> dict[str, np.ndarray]:
    batches = list(Library.open(library).objects())
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


@pytest.fixture
def short_parts(monkeypatch):
    for module in (film_frames, films):
        monkeypatch.setattr(module, "PART_S", 10.0)


# What is found ---------------------------------------------------------------------------------------------


def barcode_film(path: Path, *options: str) -> Path:
    """A film whose rectangle tells by its place which picture it is in, as H.264 with B-frames."""
    pictures = b"".join(barcode.picture(n).tobytes() for n in range(3 * FPS))
    size = f"{barcode.WH[0]}x{barcode.WH[1]}"
    assert FFMPEG is not None
    command = [FFMPEG, "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "bgr24", "-s", size]
    command += ["-r", str(FPS), "-i", "-", "-c:v", "libx264", "-crf", "12", "-bf", "3", "-g", "30"]
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([*command, "-pix_fmt", "yuv420p", *options, str(path)], input=pictures, check=True)
    return path


@needs_ffmpeg
@pytest.mark.parametrize("name", ["a.mp4", "b.mkv", "c.ts"])
def test_the_time_of_a_crop_is_that_of_its_picture(tmp_path, name):
    film = barcode_film(tmp_path / "films" / name)
    report = look(film.parent, tmp_path / "lib", video_fps=4)
    assert (report.films, report.failed, report.incomplete) == (1, [], [])
    assert report.film_s == pytest.approx(3, abs=0.2)
    rows = rows_of(tmp_path / "lib")
    assert 1 <= len(rows["track"]) <= 3
    begins_s = min(clips.container_times(film))
    for box, (t_s, first_s, last_s) in zip(rows["xyxy"], rows["times_s"], strict=True):
        number = round((box[0] - 10) / 3)  # the place of the rectangle in this picture
        assert t_s - begins_s == pytest.approx(number / FPS, abs=0.002)
        assert first_s - begins_s == pytest.approx(0, abs=0.002)
        assert 2.6 <= last_s - begins_s <= 3
        with FilmFrames(film, 25) as frames:
            shown = {round(s.t_s, 3): barcode.number_of(s.bgr) for s in frames.samples()}
        assert shown[round(t_s, 3)] == number


def test_a_thing_is_one_track_and_another_one_after_a_cut(tmp_path):
    blob_film(tmp_path / "films" / "f.avi", 24)
    look(tmp_path / "films", tmp_path / "lib")
    rows = rows_of(tmp_path / "lib")
    tracks = {int(track): rows["times_s"][rows["track"] == track] for track in rows["track"]}
    spans = sorted((times[0, 1], times[0, 2]) for times in tracks.values())
    assert spans == [(0, 7), (0, 7), (8, 15), (8, 15), (16, 23), (16, 23)]
    assert not rows["whole"].any()


def test_a_photo_finds_the_moment_of_a_film(tmp_path):
    blob_film(tmp_path / "films" / "f.avi", 24)
    cv2.imwrite(str(tmp_path / "films" / "photo.png"), blobs.draw(50))
    look(tmp_path / "films", tmp_path / "lib")
    settings = load_settings(None, ["project.dim=6", "show.results=5"])
    index = open_index(Library.open(tmp_path / "lib"), settings)
    cv2.imwrite(str(tmp_path / "query.png"), blobs.draw(1, 2))
    found = query_photo(tmp_path / "query.png", blobs.as_pipeline(), index, settings)
    for item in found.objects:
        nearest = item["neighbours"][0]
        assert nearest["photo"] == "f.avi"
        assert 8 <= nearest["t_s"] <= 15
        assert nearest["seen_s"] == [8, 15]
    of_photo = [near for item in found.objects for near in item["neighbours"] if near["photo"] == "photo.png"]
    assert of_photo
    assert not [near for near in of_photo if "t_s" in near]


def test_views_of_a_track_are_unlike_each_other():
    tracks = FilmTracks(64)
    bgr = np.random.default_rng(0).integers(0, 255, (120, 160, 3)).astype(np.uint8)
    kinds = np.eye(4, dtype=np.float32)
    for t in range(12):
        box = np.array([[10 + t, 10, 60 + t, 60]], np.float32)
        score, label = np.array([0.9 - t / 100], np.float32), np.zeros(1, np.int32)
        tracks.update(bgr, t / 2, Detections(box, score, label, kinds[t // 4][None]), cut=False)
    rows, jpegs, count = tracks.finish()
    assert (len(rows), len(jpegs), count) == (3, 3, 1)
    np.testing.assert_allclose(np.sort(rows.vector, axis=0), np.sort(kinds[:3], axis=0), atol=1e-6)
    assert rows.times_s[:, 1:].tolist() == [[0, 5.5]] * 3
    assert FilmTracks(64).finish()[0].vector.shape == (0, 0)


def test_random_photos_are_no_films(tmp_path):
    blob_film(tmp_path / "films" / "f.avi", 8)
    look(tmp_path / "films", tmp_path / "lib")
    index = open_index(Library.open(tmp_path / "lib"), load_settings(None, ["project.dim=6"]))
    assert list(library_photos(index)) == []
    cv2.imwrite(str(tmp_path / "films" / "photo.png"), blobs.draw(50))
    look(tmp_path / "films", tmp_path / "lib")
    index = open_index(Library.open(tmp_path / "lib"), load_settings(None, ["project.dim=6"]))
    drawn = library_photos(index)
    assert {next(drawn).name for _ in range(20)} == {"photo.png"}


def test_films_are_left_out_where_that_is_wanted(tmp_path):
    blob_film(tmp_path / "films" / "f.avi", 4)
    (tmp_path / "films" / "code.ts").write_text("export const a = 1;")
    cv2.imwrite(str(tmp_path / "films" / "photo.png"), blobs.draw(50))
    without = look(tmp_path / "films", tmp_path / "lib", videos=False)
    assert (without.found, without.films) == (1, 0)
    assert {(left.suffix, left.way_out) for left in without.left_out} == {
        (".avi", "analyze.videos=true looks at films"),
        (".ts", ""),
    }
    assert look(tmp_path / "films", tmp_path / "lib").films == 1
    assert look(tmp_path / "films", tmp_path / "lib").analysed == 0


def test_films_that_are_known_stay_where_only_photos_are_looked_at(tmp_path):
    film = blob_film(tmp_path / "films" / "f.avi", 4)
    cv2.imwrite(str(tmp_path / "films" / "photo.png"), blobs.draw(50))
    look(film.parent, tmp_path / "lib")
    before = content(tmp_path / "lib")
    report = look(film.parent, tmp_path / "lib", videos=False)
    assert (report.dropped, report.missing, content(tmp_path / "lib")) == (0, [], before)
    film.unlink()
    assert look(film.parent, tmp_path / "lib", videos=False).dropped == 1
    assert Library.open(tmp_path / "lib").photos().path == ["photo.png"]


def raw_film(path: Path, pictures: list[np.ndarray], pixels: str) -> Path:
    """A film of 25 pictures a second that are not compressed; those of AVI in RGB begin at the bottom."""
    assert FFMPEG is not None
    height, width = pictures[0].shape[:2]
    command = [FFMPEG, "-v", "error", "-f", "rawvideo", "-pix_fmt", "bgr24", "-s", f"{width}x{height}"]
    command += ["-r", str(FPS), "-i", "-", "-c:v", "rawvideo", "-pix_fmt", pixels, str(path)]
    subprocess.run(command, input=b"".join(picture.tobytes() for picture in pictures), check=True)
    return path


@needs_ffmpeg
@pytest.mark.parametrize(
    ("name", "pixels"), [("a.avi", "bgr24"), ("a.avi", "yuyv422"), ("a.nut", "rgb24"), ("a.nut", "gray16le")]
)
def test_pictures_that_are_not_compressed(tmp_path, name, pixels):
    """A cut on the right is seen, and the pictures are the right way up."""
    plain = [clips.paint(7)] * 20
    after = clips.paint(8)
    after[:, 80:] = 255 - after[:, 80:]
    with FilmFrames(raw_film(tmp_path / name, plain + [after] * 20, pixels), 2) as frames:
        samples = list(frames.samples())
    assert [(round(sample.t_s * FPS), sample.cut) for sample in samples] == [
        *((0, True), (13, False), (20, True), (25, False), (38, False))
    ]
    assert clips.read_number(samples[0].bgr) == 7


# Stopping and going on -------------------------------------------------------------------------------------


def test_a_stopped_film_goes_on_with_the_next_part(tmp_path, short_parts):
    blob_film(tmp_path / "films" / "f.avi", 60)
    stop, told, detector = threading.Event(), [], blobs.BlobDetector()

    def progress(now: Progress) -> None:
        told.append(now)
        if now.film_s >= 34:
            stop.set()

    pipeline = BlobPipeline(detector)
    report = analyze(tmp_path / "films", tmp_path / "lib", pipeline, Settings(), progress=progress, stop=stop)
    assert report.interrupted
    assert Library.open(tmp_path / "lib").photo_count == 0
    assert len(list((tmp_path / "lib" / "films").iterdir())) == 3
    assert [now.film_s for now in told] == sorted(now.film_s for now in told)
    assert {(now.film, now.films_s) for now in told} == {("f.avi", 60)}
    again = BlobPipeline()
    assert not analyze(tmp_path / "films", tmp_path / "lib", again, Settings()).interrupted
    assert again.detector.seen == 30
    look(tmp_path / "films", tmp_path / "fresh")
    assert content(tmp_path / "lib") == content(tmp_path / "fresh")
    assert files(tmp_path / "lib") == expected_files(tmp_path / "lib")
    assert not (tmp_path / "lib" / "films").exists()


@needs_ffmpeg
def test_parts_are_the_same_where_a_film_is_entered(tmp_path, monkeypatch):
    """Keyframes need not be where a part begins."""
    for module in (film_frames, films):
        monkeypatch.setattr(module, "PART_S", 1.0)
    film = barcode_film(tmp_path / "films" / "a.mp4")
    with FilmFrames(film, 4) as frames:
        whole = [(s.t_s, s.part, barcode.number_of(s.bgr)) for s in frames.samples()]
    assert {part for _, part, _ in whole} == {0, 1, 2}
    for part in (1, 2):
        with FilmFrames(film, 4) as frames:
            entered = [(s.t_s, s.part, barcode.number_of(s.bgr)) for s in frames.samples(part)]
        assert entered == [sample for sample in whole if sample[1] >= part]


def start(photos: Path, library: Path, sleep_s: float) -> subprocess.Popen[str]:
    argv = [sys.executable, str(Path(blobs.__file__)), str(photos), str(library), "1", str(sleep_s)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return forked.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


@pytest.mark.slow
@pytest.mark.parametrize("kills", [int(os.environ.get("RTSEARCH_KILLS", "4"))])
def test_killed_at_random_moments(tmp_path, kills):
    rng = random.Random(kills)
    photos, library = tmp_path / "films", tmp_path / "lib"
    blob_film(photos / "a.avi", 300)
    blob_film(photos / "b.avi", 70)
    killed = 0
    for turn in range(20 * kills):
        process = start(photos, library, 0.004)
        until_s = time.monotonic() + 60
        while not (library / "manifest.json").exists() and process.poll() is None:
            assert time.monotonic() < until_s
            time.sleep(0.005)
        try:
            process.communicate(timeout=rng.uniform(0.3, 1.5))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            killed += 1
        if killed == kills or (process.returncode == 0 and turn):
            break
    assert killed
    look(photos, library)
    look(photos, tmp_path / "fresh")
    assert content(library) == content(tmp_path / "fresh")
    assert files(library) == expected_files(library)
    assert check_library(Library.open(library)) == []


def spoilt(table: pa.Table, damage: str) -> pa.Table:
    """A table of a part that was made up: values are missing, impossible, or of another kind."""

    def column(name: str, values: list) -> pa.Table:
        at = table.schema.names.index(name)
        return table.set_column(at, name, pa.array(values, table.schema.field(name).type))

    if damage == "gaps":
        return column("jpeg", [None, *table["jpeg"].to_pylist()[1:]])
    if damage == "times":
        return column("times_s", [[float("inf")] * 3, *table["times_s"].to_pylist()[1:]])
    if damage == "tracks":
        return table.replace_schema_metadata({"tracks": "1000000"})
    if damage == "unnamed":
        return table.replace_schema_metadata(None)
    return table.rename_columns([name.upper() for name in table.schema.names])


@pytest.mark.parametrize(
    "damage", ["cut", "flipped", "foreign", "gaps", "times", "tracks", "unnamed", "other"]
)
def test_a_damaged_part_is_looked_at_again(tmp_path, short_parts, damage):
    blob_film(tmp_path / "films" / "f.avi", 40)
    stop = threading.Event()
    analyze(
        *(tmp_path / "films", tmp_path / "lib", BlobPipeline(), Settings()),
        progress=lambda now: stop.set() if now.film_s >= 34 else None,
        stop=stop,
    )
    second = sorted((tmp_path / "lib" / "films").iterdir())[1]
    data = bytearray(second.read_bytes())
    if damage == "cut":
        second.write_bytes(data[: len(data) // 2])
    elif damage == "flipped":
        data[len(data) // 3] ^= 255
        second.write_bytes(data)
    elif damage == "foreign":
        second.write_bytes(b"PAR1 and nothing else")
    else:
        pq.write_table(spoilt(pq.read_table(second), damage), second)
    look(tmp_path / "films", tmp_path / "lib")
    look(tmp_path / "films", tmp_path / "fresh")
    assert content(tmp_path / "lib") == content(tmp_path / "fresh")


def test_only_parts_are_removed(tmp_path):
    folder = tmp_path / "films"
    folder.mkdir()
    ours = [f"{'ab' * 8}-0000.parquet", f".{'cd' * 8}-0001.parquet.1a2b3c4d"]
    for name in ours:
        (folder / name).write_bytes(b"PAR1...")
    kept = {
        f"{'ef' * 8}-0000.parquet": b"PAR1",
        "notes.parquet": b"PAR1",
        f"{'ab' * 8}-0001.parquet": b"mine",
    }
    for name, data in kept.items():
        (folder / name).write_bytes(data)
    remove_film_parts(tmp_path, ["ef" * 8])
    assert {path.name for path in folder.iterdir()} == set(kept)
    assert FilmParts(tmp_path, "ab" * 8, 8).done() == []


# Films that are changed, damaged or none -------------------------------------------------------------------


def test_a_film_is_looked_at_once(tmp_path):
    film = blob_film(tmp_path / "films" / "f.avi", 8)
    assert look(film.parent, tmp_path / "lib").analysed == 1
    os.utime(film, (1, 1))
    report = look(film.parent, tmp_path / "lib")
    assert (report.kept, report.analysed) == (1, 0)
    blob_film(film, 16)
    report = look(film.parent, tmp_path / "lib")
    assert (report.changed, report.analysed, report.film_s) == (1, 1, 15)
    photos = Library.open(tmp_path / "lib").photos()
    assert (photos.path, photos.length_s, photos.width) == (["f.avi"], [15], [160])


def test_films_that_lie(tmp_path):
    folder = tmp_path / "films"
    good = blob_film(folder / "good.avi", 40)
    data = good.read_bytes()
    (folder / "cut.avi").write_bytes(data[: len(data) // 2])
    (folder / "empty.mp4").touch()
    (folder / "text.mkv").write_text("no film at all")
    report = look(folder, tmp_path / "lib")
    assert dict(report.failed).keys() == {"empty.mp4", "text.mkv"}
    assert all("holds no video that can be decoded" in reason for _, reason in report.failed)
    assert [path for path, note in report.incomplete if "and promises 40.0 s" in note] == ["cut.avi"]
    assert look(folder, tmp_path / "lib").analysed == 0
    states = dict(zip(*(lambda t: (t.path, t.state))(Library.open(tmp_path / "lib").photos()), strict=True))
    assert states == {"cut.avi": "ok", "empty.mp4": "failed", "good.avi": "ok", "text.mkv": "failed"}


class Melting(blobs.BlobDescriber):
    """What large objects look like cannot be told."""

    def describe(self, bgr, found):
        vectors = super().describe(bgr, found)
        return vectors * np.float32(np.nan) if (found.score > 0.5).any() else vectors


def test_a_film_without_descriptions_fails_alone(tmp_path):
    large = np.zeros((120, 160, 3), np.uint8)
    large[10:110, 10:150, 2] = 200
    write(tmp_path / "films" / "a.avi", [large] * 8, 1)
    blob_film(tmp_path / "films" / "b.avi", 8)
    cv2.imwrite(str(tmp_path / "films" / "photo.png"), blobs.draw(50))
    pipeline = BlobPipeline(describer=Melting())
    report = analyze(tmp_path / "films", tmp_path / "lib", pipeline, Settings())
    assert [path for path, _ in report.failed] == ["a.avi"]
    assert "NaN" in report.failed[0][1]
    photos = Library.open(tmp_path / "lib").photos()
    assert dict(zip(photos.path, photos.state, strict=True)) == {
        "a.avi": "failed",
        "b.avi": "ok",
        "photo.png": "ok",
    }


def test_another_least_size_is_told_by_the_setting_that_was_given(tmp_path, caplog):
    blob_film(tmp_path / "films" / "f.avi", 4)
    look(tmp_path / "films", tmp_path / "lib", min_px=60)
    look(tmp_path / "films", tmp_path / "lib")
    assert "was made with analyze.min_px = 60; what is added now has " in caplog.text
    caplog.clear()
    larger = Settings.model_validate({"detect": {"min_px": 80}})
    analyze(tmp_path / "films", tmp_path / "lib", blobs.BlobPipeline(), larger)
    assert "what is added now has 80 (to keep it: --set detect.min_px=60)" in caplog.text


def test_another_rate_of_samples_is_told(tmp_path, caplog):
    blob_film(tmp_path / "films" / "f.avi", 4)
    look(tmp_path / "films", tmp_path / "lib")
    assert caplog.text == ""
    look(tmp_path / "films", tmp_path / "lib", video_fps=4)
    assert "was made with analyze.video_fps = 2.0; what is added now has 4.0" in caplog.text


def test_a_folder_that_goes_away_keeps_its_films(tmp_path):
    blob_film(tmp_path / "films" / "a.avi", 8)
    blob_film(tmp_path / "films" / "b.avi", 8)
    look(tmp_path / "films", tmp_path / "lib")
    before = content(tmp_path / "lib")
    shutil.rmtree(tmp_path / "films")
    (tmp_path / "films").mkdir()
    blob_film(tmp_path / "films" / "sub" / "c.avi", 16)
    look(tmp_path / "films", tmp_path / "lib")
    assert before.items() <= content(tmp_path / "lib").items()
