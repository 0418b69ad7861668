"""Time analysis, a large library, the live loop and the search, one JSON object per line.

    python tools/bench/all.py

About five minutes on two cores. Every script can be run by itself, with more pictures and more time;
``quality.py`` and ``steady.py`` need labelled photos and clips of yours.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
BENCHES = (
    ("analyze.py",),
    ("library.py", "--objects", "100000"),
    ("live.py", "--seconds", "20", "--json"),
    ("search.py", "--quick", "--json"),
)


def main() -> int:
    failed = 0
    for script, *options in BENCHES:
        command = [sys.executable, str(FOLDER / script), *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            failed += 1
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            print(json.dumps({"bench": script, "error": lines[-1] if lines else done.returncode}), flush=True)
        else:
            print(json.dumps({"bench": script, **json.loads(done.stdout)}), flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
