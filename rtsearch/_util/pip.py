"""Download wheels with pip, so that pip's own mirrors, proxies and settings are used."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from rtsearch.errors import DownloadError

__all__ = ["download_wheel"]


def download_wheel(requirement: str, folder: Path, limit_s: float) -> Path:
    """Return the path of a wheel that pip downloads into an empty folder; nothing is installed.

    Args:
        requirement: ``name==version``.
        folder: empty folder for the wheel.
        limit_s: time after which pip is stopped, s.

    Raises:
        DownloadError: pip is missing, has failed or has not finished in time.
    """
    options = ["--quiet", "--no-input", "--disable-pip-version-check", "--no-deps", "--retries", "2"]
    options += ["--dest", str(folder)]
    # Only wheels are taken, as a source package would run its own set-up code.
    command = [*_pip(), "download", *options, "--only-binary", ":all:", requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired:
        raise DownloadError(f"pip did not finish within {limit_s:.0f} s") from None
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise DownloadError(f"pip: {lines[-1] if lines else 'brought no wheel'}")
    return wheels[0]


def _pip() -> list[str]:
    """Return the command of this environment's pip, or else of any pip, which downloads as well."""
    own = [sys.executable, "-m", "pip"]
    if subprocess.run([*own, "--version"], capture_output=True, check=False).returncode == 0:
        return own
    for name in ("pip3", "pip"):
        if found := shutil.which(name):
            return [found]
    raise DownloadError("pip is not installed; run: python -m ensurepip")
