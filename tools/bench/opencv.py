"""What the installed OpenCV takes for its part of a frame: one JSON object.

    python tools/bench/opencv.py CLIP [--with OTHER_PYTHON]

``--with`` names a Python with another OpenCV, and nothing else of ours. The two take turns, process by
process, so that a busy machine slows both alike. Times are medians of CPU time, ms. To measure the display,
have one: Xvfb will do.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import cv2
import numpy as np

WH = (1280, 720)
ROUNDS = 5
REPEATS = 120
WINDOW = "opencv"


def timed(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Median CPU ms of the whole process: what OpenCV does in threads of its own counts too."""
    work()
    spent = []
    for _ in range(repeats):
        start_s = time.process_time()
        work()
        spent.append((time.process_time() - start_s) * 1e3)
    return statistics.median(spent)


def measure(clip: str) -> dict[str, float | str]:
    cv2.setNumThreads(1)
    capture = cv2.VideoCapture(clip, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    ok, frame = capture.read()
    if not ok:
        sys.exit(f"{clip} holds no video")
    frame = np.ascontiguousarray(cv2.resize(frame, WH))
    jpeg = cv2.imencode(".jpg", frame)[1]
    small = cv2.resize(frame, (416, 234))
    figures: dict[str, float | str] = {"opencv": cv2.__version__}
    figures["decode a video frame"] = timed(capture.read)
    figures["decode a 720p JPEG"] = timed(lambda: cv2.imdecode(jpeg, cv2.IMREAD_COLOR))
    figures["scale 720p to 416x234"] = timed(lambda: cv2.resize(frame, (416, 234)))
    figures["planes of the network"] = timed(lambda: cv2.dnn.blobFromImage(small, 1 / 255, swapRB=True))
    figures["halve by area"] = timed(lambda: cv2.resize(frame, (640, 360), interpolation=cv2.INTER_AREA))
    if os.environ.get("DISPLAY"):
        cv2.namedWindow(WINDOW, cv2.WINDOW_NORMAL | cv2.WINDOW_GUI_NORMAL)
        cv2.resizeWindow(WINDOW, *WH)

        def show() -> None:
            cv2.imshow(WINDOW, frame)
            cv2.pollKey()

        figures["show 720p"] = timed(show)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clip")
    parser.add_argument("--with", dest="other", metavar="PYTHON")
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.once:
        print(json.dumps(measure(arguments.clip)))
        return
    rounds: dict[str, list[dict[str, float]]] = {}
    for python in [sys.executable, *([arguments.other] if arguments.other else [])] * ROUNDS:
        done = subprocess.run(
            [python, __file__, arguments.clip, "--once"], capture_output=True, text=True, check=True
        )
        figures = json.loads(done.stdout)
        rounds.setdefault(figures.pop("opencv"), []).append(figures)
    print(
        json.dumps(
            {
                version: {part: round(statistics.median(r[part] for r in runs), 3) for part in runs[0]}
                for version, runs in rounds.items()
            }
        )
    )


if __name__ == "__main__":
    main()
