"""Every setting: its section, type, range and default.

``config.yaml`` at the top of the project documents them, and a copy beside this module is what an installed
rtsearch prints; a test holds both against this module.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from rtsearch._util.user_paths import path_of

__all__ = [
    "AnalyzeSettings",
    "DescribeSettings",
    "DetectSettings",
    "GpuSettings",
    "LiveSettings",
    "ModelSettings",
    "ProjectSettings",
    "SearchSettings",
    "Settings",
    "ShowSettings",
]

Share = Annotated[float, Field(ge=0, le=1)]
Width = Annotated[int, Field(ge=16, le=7680)]
Height = Annotated[int, Field(ge=16, le=4320)]


def _pair(given: object) -> object:
    """Two numbers, also as ``1280x720`` or with a comma or a space between them."""
    pair = re.split(r"\s*[xX,\s]\s*", given.strip()) if isinstance(given, str) else given
    if not isinstance(pair, list | tuple) or len(pair) != 2 or "" in pair:
        raise PydanticCustomError("pair", "expected width and height, such as 1280x720")
    return pair


Names = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...],
    BeforeValidator(
        lambda given: [one.strip() for one in given.split(",")] if isinstance(given, str) else given
    ),
]
"""A list, or names with commas between them."""


def _shape(shape: str) -> str:
    """Width by height as ``16:9``, between 1:4 and 4:1, or ""."""
    sides = re.fullmatch(r"(\d{1,5})[:/x](\d{1,5})", shape.strip())
    if shape.strip() and (sides is None or not int(sides[2]) <= 4 * int(sides[1]) <= 16 * int(sides[2]) > 0):
        raise PydanticCustomError("shape", "expected width by height, such as 16:9, from 1:4 to 4:1")
    return "" if sides is None else f"{int(sides[1])}:{int(sides[2])}"


def _font_file(path: str) -> str:
    """The path of a font that can be read, "" for none; one of the system's may go by its file name alone."""
    if not path:
        return path
    from PIL import ImageFont

    path = str(path_of(path))
    try:
        ImageFont.truetype(path, 16)
    except (OSError, ValueError) as error:
        problem = f"not a font that can be read ({error})" if Path(path).exists() else "no such file"
        raise PydanticCustomError("font", "{problem}", {"problem": problem}) from None
    return path


class _Section(BaseModel):
    # A camera's number is a name too: YAML reads `source: 0` as a number.
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=False, allow_inf_nan=False, coerce_numbers_to_str=True
    )


class ModelSettings(_Section):
    """Network, and the size of its input.

    Attributes:
        name: a name of ``rtsearch model list`` or the path of a file made by ``rtsearch model import``.
        size: side of the square input, px; a multiple of 32. Networks with a fixed input ignore it.
        threads: CPU threads of the network; 0 chooses by the number of cores.
    """

    name: str = "yolo26n"
    size: Annotated[int, Field(ge=64, le=1280, multiple_of=32)] = 416
    threads: Annotated[int, Field(ge=0, le=256)] = 0


class DetectSettings(_Section):
    """Thresholds and filters of detected objects.

    Attributes:
        threshold: least confidence.
        overlap: measure of two objects' overlap, whatever their classes: ``iou``, intersection over union, or
            ``covered``, the share of the less confident one that the other covers.
        max_overlap: of two objects that overlap by more than this share, the less confident one is dropped.
        nms_iou: intersection over union above which the weaker of two boxes of one class is dropped; used
            only for networks that do not suppress duplicates themselves.
        classes: names of the classes that are looked for; none for all. Others count for nothing: they take
            no object's place, and are left out before overlaps are looked at.
        min_px: an object whose box has a shorter side is left out; px of the picture.
        max_objects: the most confident ones that are kept; in a live picture, those that a frame misses for a
            moment are counted too.
        whole_image: add one object that covers the full frame (reverse image search).
    """

    threshold: Share = 0.3
    overlap: Literal["iou", "covered"] = "iou"
    max_overlap: Share = 0.65
    nms_iou: Share = 0.65
    classes: Names = ()
    min_px: Annotated[int, Field(ge=0, le=4320)] = 0
    max_objects: Annotated[int, Field(ge=1, le=300)] = 50
    whole_image: bool = False


class DescribeSettings(_Section):
    """Weights of an object's description.

    Attributes:
        meaning: 1 compares what kind of thing an object is, 0 what it looks like; fixed when an index is
            built, changed without analysing again.
        embedder: ONNX file of a second network that adds its vector of every object's crop; "" for none.
            Part of a library's feature space.
    """

    meaning: Share = 0.5
    embedder: str = ""


class ProjectSettings(_Section):
    """Projection of descriptions to the searched vectors; fixed when an index is built.

    Attributes:
        method: what shortens the looks: ``pca``, fitted on the library, or a Gaussian ``random`` projection.
        dim: dimensions that are searched.
        seed: of all that is random.
    """

    method: Literal["pca", "random"] = "pca"
    dim: Annotated[int, Field(ge=2, le=1000)] = 64
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0


class SearchSettings(_Section):
    """Accuracy of the search.

    Attributes:
        exact: search until the answer is proved.
        recall: share of the true neighbours that the approximate search promises on average.
    """

    exact: bool = False
    recall: Annotated[float, Field(ge=0.5, le=0.999)] = 0.98


class AnalyzeSettings(_Section):
    """Limits and sizes of an analysis.

    Attributes:
        workers: threads that decode photos; 0 chooses by the number of cores.
        commit_photos: photos per fragment; a crash loses at most one fragment's work.
        commit_s: seconds after which a fragment is closed even if it is not full.
        thumb_px: longer side of the stored crops, px.
        max_photo_mp: larger pictures are refused (millions of pixels).
        exclude: patterns of names of files and folders that are not looked at, or of paths where they have a
            ``/``; folders may have more in a file ``.rtsearchignore``.
    """

    workers: Annotated[int, Field(ge=0, le=64)] = 0
    commit_photos: Annotated[int, Field(ge=1, le=100_000)] = 512
    commit_s: Annotated[float, Field(gt=0, le=3600)] = 30.0
    thumb_px: Annotated[int, Field(ge=32, le=420)] = 128
    max_photo_mp: Annotated[float, Field(gt=0, le=1000)] = 120.0
    exclude: Names = (
        *("#recycle", "#snapshot", "@eaDir", "@Recycle", "@tmp", ".@__thumb", ".thumbnails", ".thumb", "._*"),
        *("__MACOSX", "*.lrdata", "$RECYCLE.BIN", "System Volume Information", ".Trash*", "lost+found"),
        *(".git", ".hg", ".svn", "node_modules", "__pycache__", ".venv", "site-packages"),
    )


class LiveSettings(_Section):
    """Sources, and the way they are played.

    Attributes:
        source: what is played when no ``--source`` is given: camera number, file, URL, folder, ``random``.
        loop: video files begin again at their end, as with ``--loop``.
        camera_wh: width and height asked of a camera, px.
        camera_fps: pictures per second asked of a camera; 0 leaves it to the camera.
        aspect: width by height of the pictures of cameras and streams that do not say it, as ``16:9``;
            "" where their pixels are square.
        mirror: left and right of cameras and streams change sides, as people who stand before one expect;
            never those of files, photos and the screen.
        open_timeout_s: time that a camera or stream has to answer.
        picture_timeout_s: time that it then has for its first picture, and for each where it gives few.
        snapshot_s: time from one picture to the next, of a web address that gives a single picture.
        random_s: seconds between the photos of ``random`` and of a folder.
        cache_mb: most memory for decoded thumbnails, MB.
    """

    source: Annotated[str, Field(repr=False)] = "0"  # it may hold a password
    loop: bool = False
    camera_wh: Annotated[tuple[Width, Height], BeforeValidator(_pair)] = (640, 480)
    camera_fps: Annotated[float, Field(ge=0, le=240)] = 0.0
    aspect: Annotated[str, AfterValidator(_shape)] = ""
    mirror: bool = False
    open_timeout_s: Annotated[float, Field(gt=0, le=120)] = 10.0
    picture_timeout_s: Annotated[float, Field(gt=0, le=600)] = 30.0
    snapshot_s: Annotated[float, Field(ge=0.1, le=3600)] = 1.0
    random_s: Annotated[float, Field(gt=0, le=3600)] = 4.0
    cache_mb: Annotated[int, Field(ge=1, le=4096)] = 64


class ShowSettings(_Section):
    """The picture: the query frame on top, one strip of neighbours per object below it.

    Attributes:
        window_wh: width and height of the picture, px; a window opens smaller where the screen is.
        header_height: least height of the query frame, which takes the room that strips leave; px of a
            picture whose shorter side is 720 px, larger ones have everything in proportion.
        thumb_height: least height of a line of crops, px likewise.
        results: neighbours per object.
        fill: further neighbours where a line of narrow crops would end before the picture does;
            the neighbours of records and JSON are always ``results``.
        fullscreen: start in full screen.
        text: ``all``, only the ``names`` of objects (no scores, nothing about the run), or ``none``.
        font: TrueType or OpenType file of all text in the picture; "" for the built-in one.
    """

    window_wh: Annotated[
        tuple[Annotated[Width, Field(ge=320)], Annotated[Height, Field(ge=240)]], BeforeValidator(_pair)
    ] = (1280, 720)
    header_height: Annotated[int, Field(ge=100, le=480)] = 200
    thumb_height: Annotated[int, Field(ge=60, le=420)] = 76
    results: Annotated[int, Field(ge=5, le=100)] = 16
    fill: bool = True
    fullscreen: bool = False
    text: Literal["all", "names", "none"] = "all"
    font: Annotated[str, AfterValidator(_font_file)] = ""


class GpuSettings(_Section):
    """Use of an NVIDIA GPU.

    Attributes:
        engine: what runs the network there: ``tensorrt``, ``tensorrt_rtx``, ``auto`` for the first that is
            installed, if there is a GPU, or ``none``.
        precision: of the engine.
        runtime: ``cuda`` (NVIDIA's own bindings), ``pycuda``, or ``auto``: the first that is installed.
    """

    engine: Literal["auto", "tensorrt", "tensorrt_rtx", "none"] = "auto"
    precision: Literal["fp16", "fp32"] = "fp16"
    runtime: Literal["auto", "cuda", "pycuda"] = "auto"


class Settings(_Section):
    """Settings of all sections."""

    model: ModelSettings = ModelSettings()
    detect: DetectSettings = DetectSettings()
    describe: DescribeSettings = DescribeSettings()
    project: ProjectSettings = ProjectSettings()
    search: SearchSettings = SearchSettings()
    analyze: AnalyzeSettings = AnalyzeSettings()
    live: LiveSettings = LiveSettings()
    show: ShowSettings = ShowSettings()
    gpu: GpuSettings = GpuSettings()
