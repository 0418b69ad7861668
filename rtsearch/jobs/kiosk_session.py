"""Write what starts a kiosk with the computer: a systemd user unit, and sessions for X11 and for Wayland."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from rtsearch._util.atomic import write_atomic
from rtsearch.errors import RtsearchError

__all__ = ["console_script", "unit_text", "write_sessions", "x11_session"]

_MARK = "Written by rtsearch kiosk install"
_ENDS = "case $? in 0|2) {}exit;; esac  # it was told to end, or cannot begin"


def write_sessions(command: Sequence[str], home: Path) -> list[str]:
    """Write the files below a home folder.

    Args:
        command: of the kiosk, with absolute paths.
        home: folder of the user.

    Returns:
        lines that name each file and what starts it.

    Raises:
        RtsearchError: a file of that name is not from here, or cannot be written.
    """
    unit = home / ".config/systemd/user/rtsearch-kiosk.service"
    x11 = home / ".local/share/rtsearch/kiosk-x11"
    wayland = home / ".local/share/rtsearch/kiosk-wayland"
    _write(unit, unit_text(command), 0o644)
    console = x11.with_name("kiosk-console")
    _write(x11, x11_session(command), 0o755)
    _write(console, console_script(x11), 0o755)
    _write(wayland, _wayland_session(command), 0o755)
    return [
        f"{unit}: on a desktop that logs in by itself: systemctl --user enable --now rtsearch-kiosk",
        f"{console}: without a desktop, from a text console: {shlex.quote(str(console))} :0",
        f"{x11}: the session that it starts, with openbox",
        f"{wayland}: the same with Wayland: cage -- {shlex.quote(str(wayland))}, or with labwc: "
        f"labwc -S {shlex.quote(str(wayland))}",
    ]


def unit_text(command: Sequence[str]) -> str:
    """Return the text of a systemd user unit that keeps a command running within a graphical session."""
    return f"""# {_MARK}.
[Unit]
Description=rtsearch, the picture on the screen
PartOf=graphical-session.target
After=graphical-session.target
# A desktop may start this before its display: tried until it is there.
StartLimitIntervalSec=0

[Service]
ExecStartPre=-/bin/sh -c "xset s off s noblank -dpms"
ExecStart={" ".join(map(_unit_quoted, command))}
Restart=on-failure
RestartSec=2
# Exit code 2: it cannot begin, and says why in the journal.
RestartPreventExitStatus=2
TimeoutStopSec=30

[Install]
WantedBy=graphical-session.target
"""


def x11_session(command: Sequence[str]) -> str:
    """Return the script of an X11 session that shows the picture and nothing else."""
    return f"""#!/bin/sh
# {_MARK}.
xsetroot -solid black
xset s off s noblank -dpms  # the screen stays on
openbox &
while :; do
    {shlex.join(command)}
    {_ENDS.format('touch "$0.ended"; ')}
    xset q >/dev/null 2>&1 || exit 1  # the X server has gone; whoever has started it starts it again
    sleep 2
done
"""


def console_script(session: Path) -> str:
    """Return the script that starts an X server with a session, again and again until the kiosk is ended.

    ``xinit`` does not tell how its session ended, nor that the X server was lost.
    """
    quoted, ended = shlex.quote(str(session)), shlex.quote(f"{session}.ended")
    return f"""#!/bin/sh
# {_MARK}. Its arguments are those of the X server, such as :0 vt1 -nocursor.
rm -f {ended}
until [ -e {ended} ]; do
    xinit {quoted} -- "$@"
    [ -e {ended} ] || sleep 2
done
"""


def _wayland_session(command: Sequence[str]) -> str:
    return f"""#!/bin/sh
# {_MARK}. The windows are those of X11, so the compositor needs Xwayland.
while :; do
    {shlex.join(command)}
    {_ENDS.format("")}
    # Once the compositor has gone, whoever has started it starts it again. labwc is not the parent.
    kill -0 ${{LABWC_PID:-$PPID}} 2>/dev/null || exit 1
    sleep 2
done
"""


def _unit_quoted(word: str) -> str:
    """Return a word of a command as systemd reads it."""
    word = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{word}"'


def _write(path: Path, text: str, mode: int) -> None:
    try:
        if path.exists() and _MARK not in path.read_text(encoding="utf-8", errors="replace"):
            raise RtsearchError(f"{path} is not from here; move it elsewhere first")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, text.encode())
        path.chmod(mode)
    except OSError as error:
        raise RtsearchError(f"{path} cannot be written: {error.strerror}") from None
