"""Download files with the tools of package managers, so that their mirrors, proxies and settings are used."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rtsearch._util.wording import one_line
from rtsearch.errors import DownloadError

__all__ = ["download_wheel", "run_download"]


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
    return run_download(command, folder, limit_s, "*.whl", tool="pip")


def run_download(command: Sequence[str], folder: Path, limit_s: float, pattern: str, tool: str = "") -> Path:
    """Run a tool that downloads one file into an empty folder, and return the file.

    Args:
        command: the tool with its arguments.
        folder: current folder of the tool.
        limit_s: time after which it is stopped, s.
        pattern: names that the file may have.
        tool: name for messages; "" takes the first word of the command.

    Raises:
        DownloadError: the tool has failed or has not finished in time.
    """
    tool = tool or command[0]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise DownloadError(f"{tool} did not finish within {limit_s:.0f} s") from None
    files = list(folder.glob(pattern))
    if done.returncode or len(files) != 1:
        said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise DownloadError(f"{tool}: {one_line(said[-1] if said else 'brought no file')}")
    return files[0]


def _pip() -> list[str]:
    """Return the command of this environment's pip, or else of any pip, which downloads as well."""
    own = [sys.executable, "-m", "pip"]
    if subprocess.run([*own, "--version"], capture_output=True, check=False).returncode == 0:
        return own
    for name in ("pip3", "pip"):
        if found := shutil.which(name):
            return [found]
    raise DownloadError("pip is not installed; run: python -m ensurepip")
