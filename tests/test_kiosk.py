"""The supervisor of a kiosk, with real processes: crashes, hangs, orderly ends, status."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sent import until

from rtsearch._util.heartbeat import VARIABLE, heartbeat
from rtsearch.errors import DisplayError, RtsearchError
from rtsearch.jobs.kiosk import KioskLimits, StatusFile, Supervisor
from rtsearch.jobs.kiosk_session import console_script, unit_text, write_sessions, x11_session

SHORT = KioskLimits(start_s=20, hang_s=0.7, stop_s=0.5, steady_s=60, first_wait_s=0.05, longest_wait_s=0.1)

BEATS = f"import os, sys, time; beat = lambda: os.write(int(os.environ[{VARIABLE!r}]), b'.')\n"
COUNTS = "n = int(open(sys.argv[1]).read() or 0); open(sys.argv[1], 'w').write(str(n + 1))\n"


@pytest.fixture
def file(tmp_path: Path) -> StatusFile:
    return StatusFile(tmp_path / "state")


class Kiosk:
    """A supervisor of a script; the script's first argument is a file that holds 0."""

    def __init__(self, tmp_path: Path, file: StatusFile, script: str, **more) -> None:
        (tmp_path / "count").write_text("0")
        self.said: list[str] = []
        self.stop = threading.Event()
        command = [sys.executable, "-S", "-c", BEATS + COUNTS + script, str(tmp_path / "count")]
        self.supervisor = Supervisor(command, Path("my.lib"), file, self.said.append, limits=SHORT, **more)

    def run(self) -> None:
        self.supervisor.run(self.stop)

    def __enter__(self) -> Kiosk:
        self._thread = threading.Thread(target=self.run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()


def test_a_run_that_ends_in_order_is_not_started_again(tmp_path, file):
    kiosk = Kiosk(tmp_path, file, "beat()")
    kiosk.run()
    status = file.read()
    assert status is not None
    assert (status.state, status.starts, status.crashes, status.hangs) == ("ended", 1, 0, 0)
    assert (status.library, status.pid, status.child) == ("my.lib", os.getpid(), None)
    assert kiosk.said == []


def test_crashes_and_hangs_are_counted(tmp_path, file):
    script = """
beat()
if n == 0: sys.exit('rtsearch: the disk is away')
if n == 1: os.kill(os.getpid(), 9)
if n == 2: time.sleep(60)
if n == 3: import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)
"""
    kiosk = Kiosk(tmp_path, file, script)
    kiosk.run()
    status = file.read()
    assert status is not None
    assert (status.starts, status.crashes, status.hangs) == (5, 2, 2)
    assert status.last_end.endswith("its picture stood still for 1 s")
    assert kiosk.said == [
        "rtsearch: the disk is away",
        "the run ended: the disk is away; it starts again in 0 s",
        "the run ended: signal 9; it starts again in 0 s",
        *["the run ended: its picture stood still for 1 s; it starts again in 0 s"] * 2,
    ]


def test_a_kiosk_that_is_told_to_end_ends_its_run(tmp_path, file):
    with Kiosk(tmp_path, file, "while True: beat(); time.sleep(0.1)") as kiosk:
        until(lambda: (status := file.read()) and status.state == "playing")
        status = file.read()
        assert status is not None
        assert status.child is not None
        assert file.is_held()
        with pytest.raises(RtsearchError, match="a kiosk runs already"):
            Kiosk(tmp_path, StatusFile(tmp_path / "state"), "beat()").run()
        kiosk.stop.set()
    with pytest.raises(ProcessLookupError):
        os.kill(status.child, 0)
    assert not file.is_held()


def test_a_display_that_has_gone_ends_the_kiosk(tmp_path, file):
    kiosk = Kiosk(tmp_path, file, "sys.exit(2)", display=lambda: "the display :0 does not answer")
    with pytest.raises(DisplayError, match="the display :0 does not answer; the kiosk ends"):
        kiosk.run()
    status = file.read()
    assert status is not None
    assert (status.state, status.starts) == ("ended", 1)


def test_a_run_ends_when_its_supervisor_has_gone(monkeypatch):
    reader, writer = os.pipe()
    monkeypatch.setenv(VARIABLE, str(writer))
    heart = heartbeat()
    assert heart is not None
    assert heart.beat()
    assert os.read(reader, 10) == b"."
    os.close(reader)
    monkeypatch.setattr(heart, "_next_s", 0)
    assert not heart.beat()
    os.close(writer)


@pytest.mark.parametrize("value", ["", "x", "-1", "99999", str(2**70)])
def test_no_heartbeat_without_a_pipe(monkeypatch, value):
    monkeypatch.setenv(VARIABLE, value)
    assert heartbeat() is None


def test_a_full_pipe_does_not_stop_a_run(monkeypatch):
    reader, writer = os.pipe()
    monkeypatch.setenv(VARIABLE, str(writer))
    heart = heartbeat()
    assert heart is not None
    with contextlib.suppress(BlockingIOError):
        while os.write(writer, bytes(4096)):
            pass
    assert heart.beat()
    os.close(reader)
    os.close(writer)


def test_a_run_sends_heartbeats(blob_index, monkeypatch):
    from playing import Given, run

    reader, writer = os.pipe()
    monkeypatch.setenv(VARIABLE, str(writer))
    run(Given([0, 1]), blob_index)
    assert os.read(reader, 10)
    os.close(reader)
    report = run(Given(list(range(10_000)), live=True, every_s=0.001), blob_index)
    assert report.frames_in < 10_000
    os.close(writer)


# Sessions ---------------------------------------------------------------------------------------------------


def test_sessions_are_written_once_and_replace_nothing_else(tmp_path):
    command = ["/usr/bin/python3", "-m", "rtsearch", "kiosk", '/home/a b/"my" 100% $lib']
    lines = write_sessions(command, tmp_path)
    assert len(lines) == 4
    unit = tmp_path / ".config/systemd/user/rtsearch-kiosk.service"
    assert unit.read_text() == unit_text(command)
    assert '"/home/a b/\\"my\\" 100%% $$lib"' in unit_text(command)
    write_sessions([*command, "--again"], tmp_path)
    assert "--again" in unit.read_text()
    for path in (tmp_path / ".local/share/rtsearch").iterdir():
        assert os.access(path, os.X_OK)
        assert subprocess.run(["sh", "-n", path], check=False).returncode == 0
    unit.write_text("[Unit]\nDescription=mine\n")
    with pytest.raises(RtsearchError, match="is not from here"):
        write_sessions(command, tmp_path)
    assert "mine" in unit.read_text()


@pytest.mark.parametrize(("code", "starts"), [(0, 1), (2, 1), (75, 1)])
def test_when_a_session_ends(tmp_path, code, starts):
    """0 and 2 end it; 75 too where the X server has gone."""
    for name, text in (("xsetroot", "true"), ("openbox", "true"), ("xset", '[ "$1" = s ]')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    kiosk = tmp_path / "my kiosk"
    kiosk.write_text(f"#!/bin/sh\necho started\nexit {code}\n")
    kiosk.chmod(0o755)
    (tmp_path / "session").write_text(x11_session([str(kiosk)]))
    done = subprocess.run(
        ["sh", str(tmp_path / "session")],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "started\n" * starts
    assert (tmp_path / "session.ended").exists() == (code in (0, 2))


def test_the_session_of_wayland_ends_with_its_compositor(tmp_path):
    kiosk = tmp_path / "kiosk"
    kiosk.write_text("#!/bin/sh\necho started\nsleep 0.5\nexit 75\n")
    kiosk.chmod(0o755)
    write_sessions([str(kiosk)], tmp_path)
    session = tmp_path / ".local/share/rtsearch/kiosk-wayland"
    command = ["sh", "-c", '"$0" & sleep 0.1', str(session)]  # as a compositor that dies
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as compositor:
        compositor.wait()
        assert compositor.stdout is not None
        assert compositor.stdout.read() == "started\n"  # until the session, too, has ended


def test_the_session_goes_on_while_labwc_runs(tmp_path):
    """labwc is not the parent of what it has started, and says which process it is."""
    kiosk = tmp_path / "kiosk"
    kiosk.write_text('#!/bin/sh\necho started\n[ -e "$0.once" ] && exit 0\n: > "$0.once"\nexit 75\n')
    kiosk.chmod(0o755)
    write_sessions([str(kiosk)], tmp_path)
    session = tmp_path / ".local/share/rtsearch/kiosk-wayland"
    environment = {**os.environ, "LABWC_PID": str(os.getpid())}
    command = ["sh", "-c", '"$0" &', str(session)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        assert parent.stdout.read() == "started\nstarted\n"


def test_the_console_starts_the_session_until_the_kiosk_ends(tmp_path):
    """xinit, which tells nothing, in the place of an X server that is lost twice."""
    session = tmp_path / "my session"
    (tmp_path / "xinit").write_text(
        f'#!/bin/sh\necho "$@"\n[ $(wc -l < "{tmp_path}/said") = 3 ] && touch "$1.ended"\nexit 0\n'
    )
    (tmp_path / "sleep").write_text("#!/bin/sh\n")
    for name in ("xinit", "sleep"):
        (tmp_path / name).chmod(0o755)
    (tmp_path / "console").write_text(console_script(session))
    with (tmp_path / "said").open("w") as said:
        subprocess.run(
            ["sh", str(tmp_path / "console"), ":0", "vt1"],
            env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
            stdout=said,
            timeout=60,
            check=True,
        )
    assert (tmp_path / "said").read_text() == f"{session} -- :0 vt1\n" * 3


# The command line -------------------------------------------------------------------------------------------


@pytest.fixture
def _own_folder(monkeypatch, tmp_path):
    monkeypatch.setattr("rtsearch.jobs.kiosk.status_folder", lambda: tmp_path / "state")


@pytest.mark.usefixtures("_own_folder")
def test_a_kiosk_that_cannot_begin_says_so_once(cli, blob_index, tmp_path):
    lib = blob_index.library.folder
    done = cli("kiosk", lib)
    assert done.err.startswith("rtsearch: there is no display; start the kiosk in a session")
    assert (done.code, done.out) == (75, "")  # whoever has started it starts display and kiosk again
    bad = tmp_path / "show.yaml"
    bad.write_text("show: {fullscren: true}\n")
    for options, words in (
        (("--config", bad), "show.fullscren"),
        (("--config", tmp_path / "none.yaml"), "none.yaml"),
        (("--send", "ndi://x"), "--send ndi://x"),
    ):
        done = cli("kiosk", lib, *options)
        assert done.code == 2
        assert words in done.err
    assert cli("kiosk", tmp_path / "no.lib").code == 2


@pytest.mark.usefixtures("_own_folder")
def test_the_status_of_a_kiosk(cli, tmp_path):
    file = StatusFile(tmp_path / "state")
    done = cli("kiosk", "status")
    assert (done.code, done.out.startswith("no kiosk has run here")) == (1, True)
    with Kiosk(tmp_path, file, "while True: beat(); time.sleep(0.1)"):
        until(lambda: (status := file.read()) and status.state == "playing")
        done = cli("kiosk", "status", "--json")
        assert (done.code, done.json["state"], done.json["starts"]) == (0, "playing", 1)
    assert (tmp_path / "state/kiosk.json").write_bytes(
        (tmp_path / "state/kiosk.json").read_bytes().replace(b'"ended"', b'"playing"')
    )
    done = cli("kiosk", "status")  # of a supervisor that was killed
    assert done.code == 1
    assert "ended" in done.out


def test_kiosk_install(cli, blob_index, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    config = tmp_path / "show.yaml"
    config.write_text("show: {text: none}\n")
    done = cli("kiosk", "install", blob_index.library.folder, "--config", config)
    assert done.code == 0, done.err
    unit = (tmp_path / ".config/systemd/user/rtsearch-kiosk.service").read_text()
    assert f'"{blob_index.library.folder}" "--config" "{config}"' in unit
