"""Download a package with the tool of its kind, and check the size and the hash of what came.

The tools know the mirrors, proxies and settings of the machine. None of them installs anything, and no script
of a package is run.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

from rtsearch._util.pip import download_wheel, run_download
from rtsearch.errors import DownloadError
from rtsearch.jobs.demo.packages import Package

__all__ = ["check_download", "download", "require_tool"]


def download(package: Package, folder: Path, limit_s: float) -> Path:
    """Return the file of a package, downloaded into an empty folder and checked.

    Args:
        package: the package.
        folder: empty folder for the file.
        limit_s: time after which the tool is stopped, s.

    Raises:
        DownloadError: the tool is missing, has failed or was too slow, or the file is not the expected one.
    """
    tools: dict[str, Callable[[Package, Path, float], Path]] = {
        "pip": _with_pip,
        "npm": _with_npm,
        "apt-get": _with_apt,
    }
    path = tools[package.manager](package, folder, limit_s)
    check_download(package, path)
    return path


def require_tool(package: Package) -> None:
    """Check that the tool that downloads a package is installed; pip is looked for when it is run.

    Raises:
        DownloadError: it is not.
    """
    if package.manager != "pip" and shutil.which(package.manager) is None:
        raise DownloadError(f"{package.manager} is not installed")


def check_download(package: Package, path: Path) -> None:
    """Compare the size and the SHA-256 of a downloaded file with the expected ones.

    Raises:
        DownloadError: they differ.
    """
    size = path.stat().st_size
    if size != package.bytes:
        raise DownloadError(f"{package.manager} brought {size:,} bytes instead of {package.bytes:,}")
    with path.open("rb") as file:
        got = hashlib.file_digest(file, "sha256").hexdigest()
    if got != package.sha256:
        raise DownloadError(
            f"{package.manager} brought another file (sha256 {got[:12]}, not {package.sha256[:12]})"
        )


def _with_pip(package: Package, folder: Path, limit_s: float) -> Path:
    return download_wheel(f"{package.name}=={package.version}", folder, limit_s)


def _with_npm(package: Package, folder: Path, limit_s: float) -> Path:
    options = ["--silent", "--ignore-scripts", "--fetch-retries=1", "--pack-destination", str(folder)]
    command = ["npm", "pack", *options, f"{package.name}@{package.version}"]
    return run_download(command, folder, limit_s, "*.tgz")


def _with_apt(package: Package, folder: Path, limit_s: float) -> Path:
    options = ["-qq", "--option", "Acquire::Retries=1"]
    return run_download(
        ["apt-get", "download", *options, f"{package.name}={package.version}"], folder, limit_s, "*.deb"
    )
