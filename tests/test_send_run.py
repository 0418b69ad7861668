"""Runs and replays that send what they see, and what the command line refuses of it."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import numpy as np
import pytest
from playing import PHOTOS, Given, Watcher, lines, run
from sent import until

from rtsearch.live import Outputs
from rtsearch.send import parse_address
from rtsearch.sources import Status

pytestmark = pytest.mark.usefixtures("no_thread_is_left")


def test_a_run_without_outlets_reports_none(blob_index):
    assert run(Given([0, 1]), blob_index).outlets == ()


def test_lines_on_standard_output_are_those_of_the_record(blob_index, tmp_path, capfd):
    """Of a source that is slow enough for every scene to be sent."""
    source = Given(list(range(PHOTOS)), every_s=0.02)
    outputs = Outputs(records=(tmp_path / "o.jsonl",), send=(parse_address("-"),))
    report = run(source, blob_index, outputs)
    sent = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    (outlet,) = report.outlets
    assert outlet.name == "-"
    assert outlet.sent == len(sent)
    assert outlet.sent + outlet.dropped == PHOTOS
    assert sent[-1]["frame"] == PHOTOS - 1  # the newest is never dropped
    recorded = {line["frame"]: line for line in lines(tmp_path / "o.jsonl")}
    for line in sent:
        own = {key: recorded[line["frame"]][key] for key in line}  # the first line says more
        assert {**line, "objects": None} == {**own, "objects": None}
        assert len(line["objects"]) == len(own["objects"])
        strips = recorded[line["frame"]]["shown"]
        for shown, item, strip in zip(line["objects"], own["objects"], strips, strict=False):
            # What is sent has the class that the track was called most, as its strip has.
            assert {**shown, "neighbours": None} == {**item, "neighbours": None, "label": strip["label"]}
            # No crop is on screen twice, so an object may show fewer than a record has of it.
            assert 0 < len(shown["neighbours"]) <= len(item["neighbours"])
            assert all(near.keys() == item["neighbours"][0].keys() for near in shown["neighbours"])
    assert "send" in report.stage_ms


def test_a_peer_that_takes_nothing_holds_no_frame_back(blob_index, monkeypatch):
    monkeypatch.setattr("rtsearch.send.webhook._ANSWER_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:  # accepts, and never answers
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        report = run(Given(list(range(60))), blob_index, Outputs(send=(parse_address(url),)))
    assert report.frames_shown == 60
    (outlet,) = report.outlets
    assert (outlet.sent, outlet.dropped) == (0, 60)


def test_the_picture_in_a_pipe_is_the_one_that_is_shown(blob_index, tmp_path):
    from rtsearch.send import require_outlet

    address = parse_address(f"pipe:{tmp_path / 'raw.bgr'}")
    require_outlet(address)
    got: list[bytes] = []

    def read() -> None:
        with (tmp_path / "raw.bgr").open("rb") as pipe:
            while data := pipe.read(640 * 480 * 3):
                got.append(data)

    reader = threading.Thread(target=read)
    reader.start()
    screen = Watcher()
    source = Given(list(range(40)), before=lambda number: number != 30 or until(lambda: got))
    report = run(source, blob_index, Outputs(screen=screen, send=(address,)))
    reader.join()
    shown = {picture.tobytes() for picture in screen.pictures}
    assert got
    assert all(data in shown for data in got)
    assert np.frombuffer(got[-1], np.uint8).any()
    assert report.outlets[0].sent == len(got)


def test_a_lost_source_has_no_objects(blob_index, capfd):
    after = iter([None, None, None])

    class Losing(Given):
        status: Status = "ok"

        def __next__(self):
            if next(after, "lost") == "lost":
                self.status = "reconnecting"
                self.closed.wait(20)
            return super().__next__()

    source = Losing([PHOTOS * i for i in range(4)], live=True)
    sent: list[dict] = []

    def goes_on(_) -> bool:
        sent.extend(json.loads(line) for line in capfd.readouterr().out.splitlines())
        return not (sent and sent[0]["objects"] and not sent[-1]["objects"])

    screen = Watcher(goes_on)
    run(source, blob_index, Outputs(screen=screen, send=(parse_address("-"),)))
    assert sent[-1]["objects"] == []
    assert sent[0]["objects"]


# The command line -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--send", "rtp://host"), "--send rtp://host: expected an address that begins with osc:"),
        (("--send", "osc://127.0.0.1:x"), "port could not be cast"),
        (("--send", "mqtt://u:hunter2@h:0"), "--send mqtt://u:***@h:0: port 0 is none"),
        (("--send", "-", "--send", "-"), "--send - is given twice"),
        (("--send", "-", "--json"), "both write to standard output"),
        (("--set", "send.to=rtp://x"), "--send rtp://x: expected an address"),
        (("--send", "-", "--source", "1"), "--send sends the objects of one source"),
        (("--send", "pipe:/nowhere/raw"), "no pipe can be made there"),
    ],
)
def test_what_is_refused(cli, library, options, words):
    done = cli("run", library, "--headless", "--source", "none.mp4", *options)
    assert done.code == 2
    assert words in done.err
    assert "hunter2" not in done.err


def test_a_package_that_is_not_installed(cli, library, monkeypatch):
    import sys

    for name in [name for name in sys.modules if name.split(".")[0] == "paho"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "paho", None)
    done = cli("run", library, "--headless", "--source", "none.mp4", "--send", "mqtt://h")
    assert done.code == 2
    assert "pip install 'rtsearch[send]'" in done.err


def test_run_and_replay_send(cli, library, short_clip):
    """A run is recorded and sent; its replay sends the same, but for what only the record knew."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        url = f"osc://127.0.0.1:{receiver.getsockname()[1]}"
        options = ("--headless", "--clock", "every", "--record", "o.jsonl", "--send", url)
        done = cli("run", library, "--source", short_clip, *options)
        assert done.code == 0, done.err
        assert f"sent to {url}: " in done.err
        assert b"/rtsearch/frame" in receiver.recv(2000)
    done = cli("replay", short_clip, "o.jsonl", library, "--headless", "--send", "-")
    assert done.code == 0, done.err
    sent = [json.loads(line) for line in done.out.splitlines()]
    recorded = {line["frame"]: line for line in lines(Path("o.jsonl"))}
    assert sent
    for line in sent:
        own = recorded[line["frame"]]
        assert [item["track"] for item in line["objects"]] == [item["track"] for item in own["objects"]]
        for shown, item in zip(line["objects"], own["objects"], strict=True):
            known = {near["row"]: near["distance"] for near in item["neighbours"]}
            for near in shown["neighbours"]:
                assert near["distance"] == known.get(near["row"])
