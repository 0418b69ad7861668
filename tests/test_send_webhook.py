"""Events posted to real web servers: good ones, stalling ones, and ones that refuse or redirect."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from sent import Seen, person, scene, until

from rtsearch.send import Outlets, parse_address, webhook

pytestmark = pytest.mark.usefixtures("no_thread_is_left")


class Hooks:
    """Web server that answers each POST with the next of ``answers``, then with 204.

    An answer is a status, ``(status, location)``, or ``stall``: none until the server is closed.
    """

    def __init__(self, *answers) -> None:
        self.seen = Seen()
        self.answers = list(answers)
        halt = self._halt = threading.Event()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                owner.seen.add((self.path, dict(self.headers), body))
                answer = owner.answers.pop(0) if owner.answers else 204
                if answer == "stall":
                    halt.wait(30)
                    self.close_connection = True
                    return
                status, location = answer if isinstance(answer, tuple) else (answer, "")
                self.send_response(status)
                if location:
                    self.send_header("Location", location)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Keep the output of the tests clean."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._halt.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def hooks() -> Iterator[Hooks]:
    opened = Hooks()
    yield opened
    opened.close()


@pytest.fixture
def _soon(monkeypatch):
    """Short waits, so that a server that stalls takes no seconds."""
    monkeypatch.setattr(webhook, "_ANSWER_S", 0.3)
    monkeypatch.setattr(webhook, "_TRY_AGAIN_S", 0.01)


def outlets(url: str) -> Outlets:
    return Outlets([parse_address(url)], lambda: None)


def events(seen) -> list[tuple[str, int]]:
    told = [json.loads(body) for _, _, body in seen]
    return [(event["event"], event["object"]["track"]) for event in told]


def test_events_are_signed(hooks):
    with outlets(f"{hooks.address}/in?a=b#secret=k%20ey") as out:
        out.put_scene(scene(0, [person(1)]))
        hooks.seen.count(1)
        out.put_scene(scene(1, [person(2)]))
        hooks.seen.count(3)
    seen = hooks.seen.count(4)
    assert events(seen) == [("new", 1), ("end", 1), ("new", 2), ("end", 2)]
    for path, headers, body in seen:
        assert path == "/in?a=b"
        assert headers["Content-Type"] == "application/json"
        proof = hmac.new(b"k ey", body, hashlib.sha256).hexdigest()
        assert headers["X-Rtsearch-Signature"] == f"sha256={proof}"
        assert "Authorization" not in headers
    assert out.reports()[0].sent == 2


def test_a_name_and_a_password(hooks):
    with outlets(f"http://ann:s%40me@127.0.0.1:{hooks.port}/") as out:
        out.put_scene(scene(0, [person(1)]))
    assert hooks.seen.count(1)[0][1]["Authorization"] == "Basic YW5uOnNAbWU="
    assert "X-Rtsearch-Signature" not in hooks.seen.items[0][1]


@pytest.mark.usefixtures("_soon")
def test_an_event_has_three_tries(hooks, caplog):
    hooks.answers = [503, "stall"]
    with outlets(hooks.address) as out:
        out.put_scene(scene(0, [person(1)]))
        hooks.seen.count(3)
        until(lambda: out.reports()[0].sent)
    bodies = {body for _, _, body in hooks.seen.items[:3]}
    assert len(bodies) == 1
    assert caplog.records == []


@pytest.mark.usefixtures("_soon")
def test_a_server_that_stalls_holds_nothing_back(hooks):
    hooks.answers = ["stall"] * 3
    with outlets(hooks.address) as out:
        for number in range(1000):
            out.put_scene(scene(number, [person(1)]))
        assert out.reports()[0].problem == ""  # the first try still waits for an answer
        until(lambda: out.reports()[0].problem)
        assert out.reports()[0].problem == "no answer within 0 s"
        assert out.reports()[0].dropped >= 999
        out.put_scene(scene(2000, [person(1)]))
        until(lambda: out.reports()[0].sent)  # the event is sent again, and taken
        assert out.reports()[0].problem == ""
    assert events(hooks.seen.items) == [("new", 1)] * 4 + [("end", 1)]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (404, "the server answers 404 Not Found"),
        (301, "the server answers 301 Moved Permanently"),
        ((307, "http://localhost:1/other"), "the server redirects to another one; give that one's address"),
        ((308, "//example.org/"), "the server redirects to another one; give that one's address"),
        ((307, "http://[x"), "the server redirects to no address"),
    ],
)
def test_a_server_that_refuses_gets_an_event_once(hooks, answer, problem, caplog):
    hooks.answers = [answer]
    with outlets(f"{hooks.address}/s3cret") as out:
        out.put_scene(scene(0, [person(1)]))
        until(lambda: out.reports()[0].problem)
        assert out.reports()[0].problem == problem
    assert events(hooks.seen.items) == [("new", 1)]
    (said,) = [record.getMessage() for record in caplog.records]
    assert said == f"{hooks.address}: {problem}; trying again"


def test_a_redirect_on_the_same_server_is_followed(hooks):
    hooks.answers = [(307, "/there?x=y"), (308, f"{hooks.address}/end")]
    with outlets(f"{hooks.address}/here") as out:
        out.put_scene(scene(0, [person(1)]))
    assert [path for path, _, _ in hooks.seen.items] == ["/here", "/there?x=y", "/end", "/end"]
    assert out.reports()[0].problem == ""


def test_redirects_in_a_circle_end(hooks):
    hooks.answers = [(307, "/a"), (307, "/b")] * 20
    with outlets(hooks.address) as out:
        out.put_scene(scene(0, [person(1)]))
        until(lambda: out.reports()[0].problem)
    assert out.reports()[0].problem.startswith("the server answers 307")
    assert len(hooks.seen.items) == 4


@pytest.mark.usefixtures("_soon")
def test_something_that_is_no_web_server():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def talk() -> None:
            for _ in range(3):
                peer, _ = server.accept()
                peer.sendall(b"220 mail.example.org ESMTP\r\n")
                peer.close()

        talker = threading.Thread(target=talk)
        talker.start()
        with outlets(f"http://127.0.0.1:{port}") as out:
            out.put_scene(scene(0, [person(1)]))
            until(lambda: out.reports()[0].problem)
        talker.join()
    assert out.reports()[0].problem in (
        "no answer that is one (BadStatusLine)",
        "Connection reset by peer",
        "Broken pipe",
    )


@pytest.mark.usefixtures("_soon")
def test_a_host_that_is_not_there():
    with outlets("http://no-such-host.invalid/x") as out:
        out.put_scene(scene(0, [person(1)]))
        until(lambda: out.reports()[0].problem)
    assert out.reports()[0].sent == 0
