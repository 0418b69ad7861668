#!/usr/bin/env python3
"""What this machine's NVIDIA GPU does, in figures, each with the name of what made it. Needs no network.

    python tools/gpu_check.py --json
    python tools/gpu_check.py --wheels FOLDER      takes packages that are missing from a folder of wheels

Parity with the CPU on real photos; time of every step of a pass, and of the whole pass with and without a
CUDA graph; photos per second at batch 1, 8 and 32; memory; a steady run. Beside them what the machine could
do at best: its copy rate, and its rate of float16 arithmetic. It runs with every runtime (cuda-bindings,
PyCUDA) and every engine library that works here, and says of the others why they do not. Where no library can
run the network, kernels and graphs are still measured, around outputs that the CPU computed. What fails is
reported, and leaves the other figures. Each is told on stderr as soon as it is there.

Exit code: 0 measured, 3 nothing to measure here (no GPU or no driver), 2 something it needs is missing.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import platform
import site
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpu_stand import Bench

BATCHES = (1, 8, 32)
PACKAGES = (
    *("cuda-bindings", "pycuda", "nvidia-cuda-nvrtc", "tensorrt", "tensorrt-rtx-cu13"),
    *("numpy", "onnx", "onnxruntime", "opencv-python", "opencv-python-headless"),
)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], epilog=__doc__[__doc__.index("Exit code") :]
    )
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    parser.add_argument("--model", default="yolo26n", help="a prepared model: its name or file")
    parser.add_argument("--size", type=int, default=640, help="side of the network's input, px")
    parser.add_argument("--precision", choices=("fp16", "fp32"), default="fp16")
    parser.add_argument("--frames", type=int, default=2000, help="frames of each timing, after a warm-up")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the steady run")
    parser.add_argument("--photos", type=Path, help="folder of photos; default: those of the demo's packages")
    parser.add_argument("--wheels", type=Path, help="folder of wheels, for packages that are missing")
    args = parser.parse_args(argv)
    if args.wheels is not None and not args.wheels.is_dir():
        parser.error(f"--wheels {args.wheels} is no folder")
    with contextlib.ExitStack() as stack:
        try:
            if args.wheels is not None:
                stack.enter_context(unpacked(args.wheels))
        except subprocess.CalledProcessError as error:
            print(f"gpu_check: --wheels {args.wheels}: {' '.join(error.stderr.split())}", file=sys.stderr)
            return 2
        sys.path.append(str(Path(__file__).resolve().parents[1]))  # from a checkout nothing need be installed
        try:
            from rtsearch.errors import RtsearchError
        except ImportError as error:
            print(f"gpu_check: {error}; install rtsearch, or give --wheels FOLDER", file=sys.stderr)
            return 2
        try:
            report = check(args)
        except (RtsearchError, ImportError) as error:
            print(f"gpu_check: {' '.join(str(error).split())}", file=sys.stderr)
            return 2
    print(json.dumps(report) if args.json else as_text(report))
    return 0 if report["runtimes"] else 3


@contextlib.contextmanager
def unpacked(wheels: Path) -> Iterator[Path]:
    """A temporary folder with the packages of a folder of wheels, found before all that is installed.

    It is made one of Python's folders of packages: cuda-bindings looks for NVRTC in these, not in sys.path.
    """
    with tempfile.TemporaryDirectory() as prefix:
        folder = Path(site.getsitepackages([prefix])[0])
        files = sorted(str(path) for path in wheels.glob("*.whl"))
        if files:
            pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps")
            command = [*pip, "--no-compile", "--target", str(folder), *files]
            subprocess.run(command, check=True, stderr=subprocess.PIPE, text=True)
        site.PREFIXES.insert(0, prefix)
        sys.path.insert(0, str(folder))
        try:
            yield folder
        finally:
            site.PREFIXES.remove(prefix)
            sys.path.remove(str(folder))


def check(args: argparse.Namespace) -> dict[str, Any]:
    """The whole report."""
    report: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": platform.platform(terse=True),
        "packages": {name: version for name in PACKAGES if (version := version_of(name))},
        "gpu": None,
        "runtimes": [],
        "not_run": {},
        "figures": [],
    }
    from gpu_figures import copy_rates
    from gpu_stand import StandIn, prepare

    devices = open_devices(report)
    if not devices:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in report["not_run"].items())
        report["summary"] = f"nothing was measured: no GPU can be used here ({reasons})"
        return report
    report["gpu"] = gpu_facts(devices[0])
    try:
        bench = prepare(args, report)
        with tempfile.TemporaryDirectory() as folder:  # of engines: they are built once for all runtimes
            for place, device in enumerate(devices):
                bench.label = {"runtime": device.runtime}
                with bench.part("copy rate"):
                    copy_rates(bench, device)
                measure_device(bench, device, Path(folder), first=place == 0)
    finally:
        for device in devices:
            device.close()
    names = sorted(
        {f["network"] for f in report["figures"] if "network" in f and f["network"] != StandIn.title}
    )
    report["summary"] = (
        f"measured on {report['gpu']['name']} with {', '.join(names)}"
        if names
        else "no TensorRT can run here: kernels and graphs were measured around outputs of the CPU; "
        + "; ".join(f"{name}: {reason}" for name, reason in report["not_run"].items())
    )
    return report


def open_devices(report: dict[str, Any]) -> list[Any]:
    """A device for every runtime that works here."""
    from gpu_stand import reason_of

    from rtsearch.runners import open_device

    devices = []
    for runtime in ("cuda", "pycuda"):
        try:
            devices.append(open_device(runtime))
            report["runtimes"].append(runtime)
        except Exception as error:  # a package that is half there fails in its own ways
            report["not_run"][runtime] = reason_of(error)
    return devices


def gpu_facts(device: Any) -> dict[str, Any]:
    from rtsearch.errors import RtsearchError

    facts: dict[str, Any] = {
        "name": device.name,
        "compute_capability": ".".join(map(str, device.compute_capability)),
    }
    with contextlib.suppress(RtsearchError), device.use():
        facts["memory_mb"] = device.memory_bytes()[1] >> 20
    with contextlib.suppress(OSError, subprocess.SubprocessError, LookupError, ValueError):
        query = ["nvidia-smi", "--query-gpu=driver_version,clocks.max.sm", "--format=csv,noheader"]
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
        facts["driver"], facts["clock"] = (part.strip() for part in done.stdout.splitlines()[0].split(","))
    return facts


def measure_device(bench: Bench, device: Any, folder: Path, *, first: bool) -> None:
    """Everything that one runtime can do."""
    from gpu_figures import floor, measure_pass
    from gpu_stand import Engines, StandIn, reason_of

    steady = bench.args.seconds if first else 0.0
    batches = BATCHES if bench.spec.batch is None else (bench.spec.batch,)
    ran = False
    for name in ("tensorrt", "tensorrt_rtx"):
        bench.label = {"runtime": device.runtime}
        try:
            engines = Engines(bench, device, name, folder)
            engines.open(batches[0]).close()
        except Exception as error:  # of the library too, whose exceptions have no common base
            bench.report["not_run"][name] = reason_of(error)
            continue
        bench.label |= {"network": engines.title, "precision": bench.args.precision}
        measure_pass(bench, device, engines.open, batches, steady_s=0.0 if ran else steady)
        if first:
            with bench.part("floor of the network"):
                floor(bench, device, engines.flavour)
        ran = True
    if not ran:
        bench.label = {
            **{"runtime": device.runtime, "network": StandIn.title},
            "precision": bench.args.precision,
        }
        measure_pass(bench, device, lambda batch: StandIn(bench, device, batch), batches, steady_s=steady)


def version_of(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def as_text(report: dict[str, Any]) -> str:
    """For people."""
    from gpu_stand import line_of

    lines = [report["summary"]]
    for key in ("machine", "packages", "gpu", "network"):
        if report.get(key):
            lines.append(f"{key}: {json.dumps(report[key])}")
    lines += [f"not run: {name}: {reason}" for name, reason in report["not_run"].items()]
    lines += map(line_of, report["figures"])
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
