"""Small wheels, npm packages, Debian packages and Qt resource files, made from scratch."""

from __future__ import annotations

import hashlib
import io
import struct
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from rtsearch.jobs.demo.packages import Package

SUFFIXES = {"pip": ".whl", "npm": ".tgz", "apt-get": ".deb"}


def photo(seed: int = 0, wh: tuple[int, int] = (96, 64), suffix: str = ".jpg") -> bytes:
    """A picture of noise, no two seeds alike."""
    noise = np.random.default_rng(seed).integers(0, 255, (wh[1] // 8, wh[0] // 8, 3), np.uint8)
    picture = cv2.resize(noise, wh, interpolation=cv2.INTER_NEAREST)
    return cv2.imencode(suffix, picture)[1].tobytes()


def write_package(path: Path, files: Mapping[str, bytes], links: Mapping[str, str] | None = None) -> Path:
    """Write a .whl, .tgz or .deb that holds files, and symbolic links where the kind knows them."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
            for name, content in files.items():
                wheel.writestr(name, content)
    elif path.suffix == ".tgz":
        path.write_bytes(_tar(files, links or {}, "w:gz"))
    else:
        members = {
            "debian-binary": b"2.0\n",
            "control.tar.xz": _tar({"./control": b"odd"}, {}, "w:xz"),
            "data.tar.xz": _tar(files, links or {}, "w:xz"),
        }
        path.write_bytes(b"!<arch>\n" + b"".join(_ar(name, data) for name, data in members.items()))
    return path


def _tar(files: Mapping[str, bytes], links: Mapping[str, str], mode: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:  # type: ignore[call-overload]
        for name, target in links.items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            tar.addfile(link)
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _ar(name: str, content: bytes) -> bytes:
    head = f"{name:16}{0:<12}{0:<6}{0:<6}{'100644':8}{len(content):<10}`\n".encode()
    return head + content + b"\n" * (len(content) % 2)


def resource_file(files: Mapping[str, bytes], packed: str = "") -> bytes:
    """A Qt resource file of one folder ``photos``; the file called ``packed`` is marked as compressed."""
    names, data, nodes = b"", b"", []

    def named(text: str) -> int:
        nonlocal names
        at = len(names)
        names += struct.pack(">HI", len(text), 0) + text.encode("utf-16-be")
        return at

    nodes.append(struct.pack(">IHIIQ", named(""), 2, 1, 1, 0))
    nodes.append(struct.pack(">IHIIQ", named("photos"), 2, len(files), 2, 0))
    for name, content in files.items():
        nodes.append(struct.pack(">IHHHIQ", named(name), int(name == packed), 0, 0, len(data), 0))
        data += struct.pack(">I", len(content)) + content
    start = 24
    head = struct.pack(">4sIIIII", b"qres", 3, start + len(data) + len(names), start, start + len(data), 0)
    return head + data + names + b"".join(nodes)


def package_of(path: Path, manager: str = "npm", **changes: object) -> Package:
    """Return the catalogue's entry of a package file: all of its pictures, and its LICENSE."""
    content = path.read_bytes()
    entry: dict[str, object] = {
        "manager": manager,
        "name": "some-photos",
        "version": "1.0",
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "short": "some",
        "about": "Noise.",
        "photos": ("*.jpg", "*.png"),
        "papers": ("*LICENSE",),
    }
    return Package(**entry | changes)  # type: ignore[arg-type]
