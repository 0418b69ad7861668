"""Nothing is told to anybody: onnxruntime's telemetry is off before it is loaded."""

from __future__ import annotations

import ast
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[1]
LOADS = "import rtsearch.runners.onnx, pathlib; print(len(list(pathlib.Path('/proc/self/task').iterdir())))"
REPORTS_AFTER_S = 9  # measured with onnxruntime 1.32

long = pytest.mark.skipif("RTSEARCH_LONG" not in os.environ, reason="takes long: make soak")


def newcomer(home: Path) -> dict[str, str]:
    """The environment of a user who has set nothing; this process has switched telemetry off already."""
    kept = {name: value for name, value in os.environ.items() if "DISPLAY" not in name}
    for name in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME"):
        kept.pop(name, None)
    return kept | {"HOME": str(home), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def traces(home: Path) -> list[Path]:
    words = ("microsoft", "onnxruntime", "deviceid")
    return [path for path in home.rglob("*") if any(word in path.name.lower() for word in words)]


# A query runs the network; doctor only loads what the next test loads.
@pytest.mark.parametrize("command", ["query", pytest.param("doctor", marks=long)])
def test_a_command_leaves_no_device_id(library: Path, photos: Path, tmp_path: Path, command: str) -> None:
    args: list[str | Path] = [library, photos / "skimage-coffee.png", "--json"] if command == "query" else []
    done = subprocess.run(
        [Path(sys.executable).parent / "rtsearch", command, *args],
        env=newcomer(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert command == "doctor" or json.loads(done.stdout)["objects"]
    assert traces(tmp_path) == []


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc")
def test_no_thread_waits_to_report(tmp_path: Path) -> None:
    """Loading onnxruntime starts a thread for its telemetry, and none without."""
    done = subprocess.run(
        [sys.executable, "-c", LOADS],
        env=newcomer(tmp_path) | {"OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) == 1
    assert traces(tmp_path) == []


@long
def test_nothing_is_sent(tmp_path: Path) -> None:
    """A proxy that all traffic would have to pass waits for longer than telemetry does."""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        through = dict.fromkeys(("https_proxy", "http_proxy", "all_proxy", "HTTPS_PROXY"), address)
        proxy.settimeout(2 * REPORTS_AFTER_S)
        process = subprocess.Popen(
            [sys.executable, "-c", "import rtsearch.runners.onnx; input()"],
            env=newcomer(tmp_path) | through,
            stdin=subprocess.PIPE,
        )
        try:
            with pytest.raises(TimeoutError):
                proxy.accept()
        finally:
            process.communicate(b"\n")
    assert process.returncode == 0


def test_rtsearch_comes_before_onnxruntime() -> None:
    """A script that loads onnxruntime on its own does so inside a function, when rtsearch is there."""
    for path in sorted((TOP / "tools").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        first = [
            name.split(".")[0]
            for node in tree.body
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in (
                [str(node.module)] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            )
        ]
        assert "onnxruntime" not in first, path
        if "import onnxruntime" in path.read_text(encoding="utf-8"):
            assert "rtsearch" in first, path


def test_nobody_is_told_to_start_ray_with_its_usage_stats() -> None:
    files = [*(TOP / "docs").rglob("*"), *(TOP / "rtsearch").rglob("*.py"), TOP / "README.md"]
    asked = []
    for path in files:
        if path.suffix in (".md", ".yaml", ".py"):
            text = re.sub(r'"\s*\n\s*"', "", path.read_text(encoding="utf-8"))  # a text of several lines
            asked += re.findall(r"ray start .*?(?=ray start |$)", text, re.MULTILINE)
    assert len(asked) >= 6
    assert [words for words in asked if "--disable-usage-stats" not in words] == []
