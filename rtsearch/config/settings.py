"""Define section, type, range and default of every setting.

``config.yaml`` at the top of the project documents them; a copy beside this module is printed by an installed
rtsearch. A test compares both with this module.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from rtsearch.config.fields import (
    AreaTexts,
    Aspect,
    FontFile,
    Height,
    Hours,
    LabelPairs,
    LogoFile,
    Moment,
    Names,
    Share,
    Theme,
    Width,
    pair,
)

__all__ = [
    "AnalyzeSettings",
    "DescribeSettings",
    "DetectSettings",
    "GpuSettings",
    "LiveSettings",
    "MemorySettings",
    "ModelSettings",
    "ProjectSettings",
    "SearchSettings",
    "SendSettings",
    "Settings",
    "ShowSettings",
    "StorageSettings",
    "VideoSettings",
    "WebSettings",
]


class _Section(BaseModel):
    # Numbers are coerced to text, as YAML reads the camera in `source: 0` as a number.
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=False, allow_inf_nan=False, coerce_numbers_to_str=True
    )


class ModelSettings(_Section):
    """Network and size of its input.

    Attributes:
        name: name in ``rtsearch model list``, or path of a file made by ``rtsearch model import``.
        size: side of the square input, px; a multiple of 32. Networks with a fixed input ignore it.
        threads: number of CPU threads of the network; 0 chooses by the number of cores.
        precision: ``float32``, ``int8`` (the file of ``rtsearch model quantize``), or ``auto``: int8 where
            that file is there, its descriptions compare with those of float32, and it saves time here.
    """

    name: str = "yolo26n"
    size: Annotated[int, Field(ge=64, le=1280, multiple_of=32)] = 416
    threads: Annotated[int, Field(ge=0, le=256)] = 0
    precision: Literal["auto", "float32", "int8"] = "auto"


class DetectSettings(_Section):
    """Thresholds and filters of detected objects.

    Attributes:
        threshold: lowest confidence of an object.
        overlap: measure of the overlap of two objects of any classes: ``iou``, intersection over union, or
            ``covered``, the share of the less confident object that the other one covers.
        max_overlap: share above which the less confident of two overlapping objects is dropped.
        nms_iou: intersection over union above which the weaker of two boxes of one class is dropped; used
            only for networks that do not suppress duplicates themselves.
        classes: names of the classes that are detected; empty for all classes. Objects of other classes are
            left out before overlaps are compared, so they do not suppress any.
        min_px: shortest side of an object's box, px of the picture; smaller objects are dropped.
        max_objects: number of the most confident objects that are kept; in a live picture it includes objects
            that are missed for a moment.
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
    """Contents and weights of an object's description.

    Attributes:
        meaning: 1 compares what kind of thing an object is, 0 what it looks like; fixed when an index is
            built; a change needs no new analysis.
        embedder: ONNX file of a second network whose vector of the crop is added to every description; "" for
            none. It is part of a library's feature space.
        text: name of a pair of networks (``rtsearch model import-text``) that gives every crop a vector for
            searches by words; "" for none.
    """

    meaning: Share = 0.5
    embedder: str = ""
    text: str = ""


class ProjectSettings(_Section):
    """Projection of descriptions to the searched vectors; fixed when an index is built.

    Attributes:
        method: ``pca``, fitted on the library, or a Gaussian ``random`` projection.
        dim: number of dimensions of the searched vectors.
        seed: seed of the random numbers.
    """

    method: Literal["pca", "random"] = "pca"
    dim: Annotated[int, Field(ge=2, le=1000)] = 64
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0


class SearchSettings(_Section):
    """Accuracy of the search, and the part of the library that is searched.

    Attributes:
        exact: search until the answer is proved to be exact.
        recall: share of the true neighbours that the approximate search finds on average.
        classes: names of the classes that neighbours are of; empty for all.
        folders: folders that the photos of neighbours lie in or below, relative to the folder of all photos;
            empty for all.
        since: date, or date and time, in ISO format; photos of neighbours were changed since; "" for all.
            Without a zone it is local time.
        backend: ``tree`` searches the library's own index, ``postgres`` the table that
            ``library export --postgres`` has written.
        postgres: address of that database, without a password; what it leaves out comes from libpq's
            variables, such as PGHOST and PGPASSWORD, and from ``~/.pgpass``.
    """

    exact: bool = False
    recall: Annotated[float, Field(ge=0.5, le=0.999)] = 0.98
    classes: Names = ()
    folders: Names = ()
    since: Moment = ""
    backend: Literal["tree", "postgres"] = "tree"
    postgres: Annotated[str, Field(repr=False)] = "postgresql://"  # no repr, as it may hold a password


class AnalyzeSettings(_Section):
    """Limits and sizes of an analysis.

    Attributes:
        workers: number of threads that decode photos; 0 chooses by the number of cores.
        commit_photos: number of photos per fragment; a crash loses at most one fragment's work.
        commit_s: seconds after which a fragment is closed even if it is not full.
        min_px: shortest side of the box of an object that is stored, px of the photo; ``detect.min_px``
            counts where it is larger.
        looks: 2 looks at each picture a second time, larger, and finds more; the CPU only.
        thumb_px: longer side of the stored crops, px.
        videos: look at films, too.
        video_fps: pictures per second of a film that are looked at, beside the first one after each cut.
        max_photo_mp: largest size of a photo, megapixels; larger ones are refused.
        exclude: patterns for names of files and folders that are skipped, or for paths where they contain a
            ``/``; a file ``.rtsearchignore`` adds patterns for its folder.
    """

    workers: Annotated[int, Field(ge=0, le=64)] = 0
    commit_photos: Annotated[int, Field(ge=1, le=100_000)] = 512
    commit_s: Annotated[float, Field(gt=0, le=3600)] = 30.0
    min_px: Annotated[int, Field(ge=0, le=4320)] = 40
    looks: Annotated[int, Field(ge=1, le=2)] = 1
    thumb_px: Annotated[int, Field(ge=32, le=640)] = 360
    videos: bool = True
    video_fps: Annotated[float, Field(ge=0.1, le=30)] = 2.0
    max_photo_mp: Annotated[float, Field(gt=0, le=1000)] = 120.0
    exclude: Names = (
        *("#recycle", "#snapshot", "@eaDir", "@Recycle", "@tmp", ".@__thumb", ".thumbnails", ".thumb", "._*"),
        *("__MACOSX", "*.lrdata", "$RECYCLE.BIN", "System Volume Information", ".Trash*", "lost+found"),
        *(".git", ".hg", ".svn", "node_modules", "__pycache__", ".venv", "site-packages"),
    )


class LiveSettings(_Section):
    """Sources and the way they are played.

    Attributes:
        source: source that is played without ``--source``: camera number, file, URL, folder, ``random``.
        loop: restart video files at their end, as with ``--loop``.
        camera_wh: requested width and height of a camera's pictures, px.
        camera_fps: requested pictures per second of a camera; 0 leaves the rate to the camera.
        aspect: aspect ratio such as ``16:9`` for cameras and streams that do not tell theirs; "" for square
            pixels.
        mirror: flip cameras and streams horizontally, as people in front of a camera expect; files, photos
            and the screen are never flipped.
        regions: parts of the pictures in which objects count, each as corners ``x,y x,y x,y`` in shares of
            width and height, after the number of the source (from 1) where it is of one only; none for
            everywhere. The middle of its box decides where an object is.
        masks: parts in which they do not count, such as a monitor, a mirror or a poster in view.
        find: words such as "red cup": the objects that they describe are lit, shown and recorded, no others.
        open_timeout_s: time limit for the answer of a camera or stream.
        picture_timeout_s: time limit for its first picture, and for every picture of a slow one.
        snapshot_s: interval between requests to a web address that gives a single picture.
        random_s: interval between the photos of ``random`` and of a folder.
        cache_mb: memory for decoded thumbnails, MB.
    """

    source: Annotated[str, Field(repr=False)] = "0"  # no repr, as a URL may hold a password
    loop: bool = False
    camera_wh: Annotated[tuple[Width, Height], BeforeValidator(pair)] = (640, 480)
    camera_fps: Annotated[float, Field(ge=0, le=240)] = 0.0
    aspect: Aspect = ""
    mirror: bool = False
    regions: AreaTexts = ()
    masks: AreaTexts = ()
    find: str = ""
    open_timeout_s: Annotated[float, Field(gt=0, le=120)] = 10.0
    picture_timeout_s: Annotated[float, Field(gt=0, le=600)] = 30.0
    snapshot_s: Annotated[float, Field(ge=0.1, le=3600)] = 1.0
    random_s: Annotated[float, Field(gt=0, le=3600)] = 4.0
    cache_mb: Annotated[int, Field(ge=1, le=4096)] = 64


class MemorySettings(_Section):
    """Content and limits of a memory, and its place in the picture.

    Attributes:
        classes: names of the classes that are remembered; empty for all but persons.
        strip: ``mixed``, what is remembered stands among the neighbours of the library, or ``own``, each
            object has a strip of it beside that of the library.
        blind_s: time after an object was last seen in which it is not found.
        keep_days: age after which hours are dropped.
        keep_gb: size of all hours together, GB, above which the oldest are dropped.
    """

    classes: Names = ()
    strip: Literal["mixed", "own"] = "mixed"
    blind_s: Annotated[float, Field(ge=0, le=86_400)] = 30.0
    keep_days: Annotated[float, Field(gt=0, le=36_500)] = 7.0
    keep_gb: Annotated[float, Field(gt=0, le=100_000)] = 10.0


class ShowSettings(_Section):
    """Layout of the picture.

    Attributes:
        composition: ``strips`` shows the frame on top and one strip of neighbours per object below it,
            ``wall`` the camera and large crops of at most two objects; ``auto`` is ``wall`` in full screen.
        window_wh: width and height of the picture, px; a window opens smaller on a smaller screen.
        header_height: least height of the query frame, which takes 62 % of the height where it can; in px
            of a picture whose shorter side is 720 px, and in proportion for other pictures.
        thumb_height: least height of a line of crops, in the same px.
        results: number of neighbours per object.
        fill: show as many neighbours as fill their lines; records and JSON always have ``results``.
        distinct: show near duplicates, such as copies of one photo, once; ``results`` counts distinct ones.
        max_distance: largest distance of a neighbour that is shown; 0 takes the one from which on neighbours
            of the library's own objects are mostly of other classes.
        fullscreen: start in full screen.
        labels: words that are shown instead of the names of classes, ``class=word`` each; ``class=`` hides
            the word. Records keep the names.
        text: ``all``, ``names`` (names of objects, without scores and notes about the run), or ``none``.
        font: TrueType or OpenType file for all text in the picture; "" for the built-in one, and one with
            Latin, Cyrillic and Greek for letters that it lacks.
        theme: colours of the picture: ``dark``, ``light``, or those of ground, text and corners, such as
            ``#0e0f0f #e8e6e1 #ffaf50``.
        caption: line of text over the lower left of the frame, such as the title of a work; "" for none.
        logo: PNG, with or without alpha, over the lower right of the frame; "" for none.
        monitor: name or number of the monitor that the window opens on and fills, as ``xrandr
            --listmonitors`` has them; "" for any.
        keys: let keys and the mouse do something.
        attract_s: seconds without an object after which a wall, and the page as a kiosk, walk through the
            library; 0 for never.
        hours: hours of the day, such as ``09:00-18:30``, outside of which the window is black; "" for none.
        privacy: what is made unrecognisable in frames before they are drawn, recorded or sent: ``persons``,
            ``faces`` (the upper part of persons), or ``none``.
    """

    composition: Literal["auto", "strips", "wall"] = "auto"
    window_wh: Annotated[
        tuple[Annotated[Width, Field(ge=320)], Annotated[Height, Field(ge=240)]], BeforeValidator(pair)
    ] = (1280, 720)
    header_height: Annotated[int, Field(ge=100, le=480)] = 200
    thumb_height: Annotated[int, Field(ge=60, le=420)] = 76
    results: Annotated[int, Field(ge=5, le=100)] = 16
    fill: bool = True
    distinct: bool = True
    max_distance: Annotated[float, Field(ge=0, le=1000)] = 0.0
    fullscreen: bool = False
    labels: LabelPairs = ()
    text: Literal["all", "names", "none"] = "names"
    font: FontFile = ""
    theme: Theme = "dark"
    caption: Annotated[str, Field(max_length=200)] = ""
    logo: LogoFile = ""
    monitor: str = ""
    keys: bool = True
    attract_s: Annotated[float, Field(ge=0, le=3600)] = 20.0
    hours: Hours = ""
    privacy: Literal["none", "faces", "persons"] = "none"

    def word(self, name: str) -> str:
        """Return what is shown instead of the name of a class."""
        words = (pair.partition("=") for pair in self.labels)
        return next((word.strip() for shown, _, word in words if shown.strip() == name), name)


class VideoSettings(_Section):
    """Quality of videos that are written.

    Attributes:
        crf: constant rate factor of H.264: less is better and larger, 0 loses nothing.
    """

    crf: Annotated[int, Field(ge=0, le=51)] = 23


class WebSettings(_Section):
    """Page and API of ``serve``, and limits of what their clients may ask for.

    Attributes:
        public: clients without the token may look; they change nothing and learn no paths.
        photos: the photos of the library are shown, not only their crops.
        hosts: further names of this server, beside its addresses and the name of the machine.
        clients: largest number of clients that look at once.
        phones: largest number of phones that send their cameras' pictures at once.
        upload_mb: largest photo that may be sent, MB.
        jpeg_quality: quality of the frames that are sent.
    """

    public: bool = False
    photos: bool = False
    hosts: Names = ()
    clients: Annotated[int, Field(ge=1, le=1000)] = 64
    phones: Annotated[int, Field(ge=0, le=64)] = 4
    upload_mb: Annotated[int, Field(ge=1, le=200)] = 20
    jpeg_quality: Annotated[int, Field(ge=30, le=95)] = 80


class SendSettings(_Section):
    """Other programs that get what a run sees.

    Attributes:
        to: addresses, such as ``osc://127.0.0.1:9000``, that are sent to without ``--send``.
    """

    to: Annotated[Names, Field(repr=False)] = ()  # no repr, as a URL may hold a password


class GpuSettings(_Section):
    """Use of an NVIDIA GPU.

    Attributes:
        engine: library that runs the network on the GPU: ``tensorrt``, ``tensorrt_rtx``, ``auto`` for the
            first installed one on machines with a GPU, or ``none``.
        precision: precision of the engine.
        runtime: ``cuda`` (NVIDIA's own bindings), ``pycuda``, or ``auto`` for the first installed one.
    """

    engine: Literal["auto", "tensorrt", "tensorrt_rtx", "none"] = "auto"
    precision: Literal["fp16", "fp32"] = "fp16"
    runtime: Literal["auto", "cuda", "pycuda"] = "auto"


class StorageSettings(_Section):
    """Object storage.

    Attributes:
        cache_mb: room on the disk for files that are fetched from it, MB.
    """

    cache_mb: Annotated[int, Field(ge=1, le=100_000_000)] = 10_240


class Settings(_Section):
    """Settings of all sections."""

    model: ModelSettings = ModelSettings()
    detect: DetectSettings = DetectSettings()
    describe: DescribeSettings = DescribeSettings()
    project: ProjectSettings = ProjectSettings()
    search: SearchSettings = SearchSettings()
    analyze: AnalyzeSettings = AnalyzeSettings()
    live: LiveSettings = LiveSettings()
    memory: MemorySettings = MemorySettings()
    show: ShowSettings = ShowSettings()
    video: VideoSettings = VideoSettings()
    web: WebSettings = WebSettings()
    send: SendSettings = SendSettings()
    storage: StorageSettings = StorageSettings()
    gpu: GpuSettings = GpuSettings()
