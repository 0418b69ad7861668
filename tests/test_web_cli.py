"""The commands that serve the page: what they say, refuse and leave behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import forked
import pytest

from rtsearch.cli.serving import Serving
from rtsearch.web import Address


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--token", "short"), "--token needs at least 8 characters"),
        (("--key", "key.pem"), "--key needs the certificate, too"),
        (("--cert", "none.pem"), "none.pem: no such file"),
        (("--host", "no-such-host.invalid"), "--host no-such-host.invalid"),
        (("--set", "web.clients=0"), "web.clients"),
    ],
)
def test_options_that_are_refused_before_anything_is_opened(cli, library, options, words):
    done = cli("serve", library, "--port", "0", *options)
    assert (done.code, words in done.err) == (2, True), done.err
    assert done.err.count("\n") == 1


def test_a_port_that_is_taken(cli, library):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = cli("serve", library, "--port", port)
    assert (done.code, done.err) == (2, f"rtsearch: port {port} is taken already; choose another: --port\n")


def test_a_package_that_is_missing(cli, library, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("rtsearch.web")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    done = cli("serve", library)
    assert done.code == 2
    assert "pip install 'rtsearch[web]'" in done.err


@pytest.mark.parametrize("opens", [True, False])
def test_a_browser_that_cannot_be_opened_is_told(monkeypatch, capsys, opens):
    monkeypatch.setattr("webbrowser.open", lambda _url: opens)
    with socket.socket() as unused:
        Serving(Address("127.0.0.1", 0), "", unused, opens=True)._tell(8737)
    out, err = capsys.readouterr()
    assert out == "http://127.0.0.1:8737/\n"
    assert ("no browser could be started" in err) is not opens


@pytest.mark.slow
def test_a_served_clip_until_ctrl_c(library, clip, tmp_path):
    """Others than this machine get a token that is made up; the address holds it."""
    command = [Path(sys.executable).parent / "rtsearch", "serve", library, "--source", clip]
    options = ["--host", "0.0.0.0", "--port", "0", "--json"]
    with forked.Popen(
        [*map(str, command), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if "DISPLAY" not in name},
    ) as child:
        assert child.stdout is not None
        told = json.loads(child.stdout.readline())
        assert set(told) == {"url", "token", "version"}
        assert told["url"].endswith(f"/?token={told['token']}")
        port = int(told["url"].split(":")[2].split("/")[0])
        headers = {"Authorization": f"Bearer {told['token']}"}
        asked = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers=headers)
        shown = "rtsearch_shown_total"
        while not any(
            line.startswith(shown) and not line.endswith(" 0")
            for line in urllib.request.urlopen(asked, timeout=60).read().decode().splitlines()
        ):
            pass
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (0, "")
    assert told["token"] not in err
