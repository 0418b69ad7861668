"""Events, counts and availability at Debian's mosquitto."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sent import Seen, person, scene, until

from rtsearch.send import Outlets, parse_address
from rtsearch.send.mqtt import PASSWORD_VARIABLE

mqtt = pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is not installed")

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
PASSWD = shutil.which("mosquitto_passwd")

pytestmark = [
    pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed"),
    pytest.mark.usefixtures("no_thread_is_left"),
    pytest.mark.slow,
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Broker:
    """mosquitto on a free port, whose messages are kept in memory only."""

    def __init__(self, folder: Path, *lines: str) -> None:
        self.port = free_port()
        self._file = folder / "mosquitto.conf"
        listens = f"listener {self.port} 127.0.0.1"
        self._file.write_text("\n".join([listens, "persistence false", *lines, ""]), encoding="utf-8")
        self.start()

    def start(self) -> None:
        assert MOSQUITTO is not None
        self._process = subprocess.Popen(
            [MOSQUITTO, "-c", str(self._file)], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        assert self._process.stderr is not None
        assert any(" running" in line for line in self._process.stderr), "mosquitto does not start"
        until(self._answers)  # newer ones say that they run before they listen

    def _answers(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        self._process.terminate()
        assert self._process.stderr is not None
        self._process.stderr.read()
        self._process.stderr.close()
        self._process.wait(10)


class Listener:
    """Client that hears everything; ``seen`` holds ``(topic, payload, kept)``."""

    def __init__(self, port: int, topic: str = "#") -> None:
        self.seen = Seen()
        ready = Seen()
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        self._client.on_message = lambda _, __, got: self.seen.add(
            (got.topic, got.payload.decode(), got.retain)
        )
        self._client.on_subscribe = lambda *given: ready.add(given)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._client.subscribe(topic)
        ready.count(1)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    opened = Broker(tmp_path, "allow_anonymous true")
    yield opened
    opened.stop()


def outlets(url: str) -> Outlets:
    return Outlets([parse_address(url)], lambda: None)


def of(topic: str, seen: list[Any]) -> list[str]:
    return [payload for name, payload, _ in seen if name == topic]


def kept(port: int, most: int) -> dict[str, str]:
    """What the broker keeps, by topic: so many messages."""
    listener = Listener(port)
    try:
        seen = listener.seen.wait(lambda seen: len(seen) == most)
    finally:
        listener.close()
    return {topic: payload for topic, payload, retained in seen if retained}


def test_events_counts_and_discovery(broker):
    listener = Listener(broker.port)
    with outlets(f"mqtt://127.0.0.1:{broker.port}/hall") as out:
        out.put_scene(scene(0, [person(1), person(2), (3, 1, person(3)[2])]))
        listener.seen.wait(lambda seen: len(of("hall/event", seen)) == 3)
        out.put_scene(scene(30, [person(1, 300.0), person(2)]))
        listener.seen.wait(lambda seen: of("hall/count/cell_phone", seen) == ["1", "0"])
    seen = listener.seen.wait(lambda seen: of("hall/available", seen) == ["online", "offline"])
    listener.close()
    events = [json.loads(payload) for payload in of("hall/event", seen)]
    assert [(event["event"], event["object"]["track"]) for event in events] == [
        *(("new", 1), ("new", 2), ("new", 3)),
        *(("end", 3), ("update", 1)),
        *(("end", 1), ("end", 2)),
    ]
    assert of("hall/count/person", seen) == ["2", "0"]  # zero at the end of the run
    sensor = json.loads(*of("homeassistant/sensor/rtsearch_hall/cell_phone/config", seen))
    assert sensor["name"] == "cell phone"
    assert (sensor["state_topic"], sensor["availability_topic"]) == (
        "hall/count/cell_phone",
        "hall/available",
    )
    assert sensor["unique_id"] == "rtsearch_hall_cell_phone"
    stays = kept(broker.port, 5)
    assert stays.keys() == {
        *("hall/available", "hall/count/person", "hall/count/cell_phone"),
        *(f"homeassistant/sensor/rtsearch_hall/{name}/config" for name in ("person", "cell_phone")),
    }
    assert stays["hall/available"] == "offline"


def test_counts_that_a_killed_run_has_left_are_put_right(broker):
    listener = Listener(broker.port)
    listener._client.publish("rtsearch/count/dog", "2", qos=1, retain=True).wait_for_publish(10)
    with outlets(f"mqtt://127.0.0.1:{broker.port}") as out:
        numbers = iter(range(100_000))

        def right() -> bool:
            out.put_scene(scene(next(numbers), [person(1)]))
            return of("rtsearch/count/dog", listener.seen.items) == ["2", "0"]

        until(right)
    listener.close()


def test_the_last_will_of_a_run_that_dies(broker):
    listener = Listener(broker.port)
    out = outlets(f"mqtt://127.0.0.1:{broker.port}")
    out.put_scene(scene(0, [person(1)]))
    listener.seen.wait(lambda seen: of("rtsearch/available", seen) == ["online"])
    peer: Any = out._all[0]._peer
    peer._client.socket().shutdown(socket.SHUT_RDWR)  # as where the power fails
    listener.seen.wait(lambda seen: of("rtsearch/available", seen) == ["online", "offline"])
    out.close()
    listener.close()


def test_a_broker_that_is_started_again(broker, caplog):
    """What has changed meanwhile is told, and kept values are told again."""
    listener = Listener(broker.port)
    with outlets(f"mqtt://127.0.0.1:{broker.port}") as out:
        out.put_scene(scene(0, [person(1)]))
        listener.seen.wait(lambda seen: of("rtsearch/count/person", seen) == ["1"])
        listener.close()
        broker.stop()
        numbers = iter(range(1, 100_000))

        def failed() -> str:
            out.put_scene(scene(next(numbers), [person(1)]))
            return out.reports()[0].problem

        until(failed)
        broker.start()
        listener = Listener(broker.port)
        out.put_scene(scene(next(numbers), [person(2)]))
        seen = listener.seen.wait(lambda seen: len(of("rtsearch/event", seen)) == 2)
        listener.seen.wait(lambda seen: of("rtsearch/count/person", seen) == ["1"])
    listener.close()
    events = [json.loads(payload) for payload in of("rtsearch/event", seen)]
    assert [(event["event"], event["object"]["track"]) for event in events] == [("end", 1), ("new", 2)]
    name = f"mqtt://127.0.0.1:{broker.port}/rtsearch"
    said = [record.getMessage() for record in caplog.records if name in record.getMessage()]
    assert said[-1] == f"{name}: works again"
    assert out.reports()[0].problem == ""


@pytest.mark.skipif(PASSWD is None, reason="mosquitto_passwd is not installed")
def test_a_broker_that_refuses(tmp_path, caplog, monkeypatch):
    assert PASSWD is not None
    subprocess.run([PASSWD, "-b", "-c", tmp_path / "users", "ann", "right"], check=True, capture_output=True)
    (tmp_path / "users").chmod(0o644)  # mosquitto gives its rights up
    broker = Broker(tmp_path, f"password_file {tmp_path}/users", "user root")
    try:
        with outlets(f"mqtt://ann:wrong@127.0.0.1:{broker.port}") as out:
            out.put_scene(scene(0, [person(1)]))
            until(lambda: out.reports()[0].problem)
        assert out.reports()[0].problem == "the broker refuses: not authorized"
        assert "wrong" not in caplog.text
        monkeypatch.setenv(PASSWORD_VARIABLE, "right")
        with outlets(f"mqtt://ann@127.0.0.1:{broker.port}") as out:
            out.put_scene(scene(0, [person(1)]))
            until(lambda: out.reports()[0].sent)
        assert out.reports()[0].problem == ""
    finally:
        broker.stop()


def test_a_port_that_is_closed():
    with outlets(f"mqtt://127.0.0.1:{free_port()}") as out:
        out.put_scene(scene(0, [person(1)]))
        until(lambda: out.reports()[0].problem)
    report = out.reports()[0]
    assert report.problem == "Connection refused"
    assert (report.sent, report.dropped > 0) == (0, True)
