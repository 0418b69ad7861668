"""OSC and TUIO, as python-osc's own server receives them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from sent import Seen, person, scene, until

from rtsearch.send import Outlets, parse_address

osc_server = pytest.importorskip("pythonosc.osc_server", reason="python-osc is not installed")

pytestmark = pytest.mark.usefixtures("no_thread_is_left")


class Receiver:
    """python-osc's server; ``seen`` holds the messages ``(address, *values)``, ``sizes`` the datagrams."""

    def __init__(self, port: int = 0) -> None:
        from pythonosc.dispatcher import Dispatcher

        self.seen = Seen()
        self.sizes: list[int] = []
        dispatcher = Dispatcher()
        dispatcher.set_default_handler(lambda address, *values: self.seen.add((address, *values)))
        self._server = osc_server.OSCUDPServer(("127.0.0.1", port), dispatcher)
        receive = self._server.get_request

        def counted():
            request = receive()
            self.sizes.append(len(request[0][0]))
            return request

        self._server.get_request = counted
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    opened = Receiver()
    yield opened
    opened.close()


def outlets(scheme: str, port: int) -> Outlets:
    return Outlets([parse_address(f"{scheme}://127.0.0.1:{port}")], lambda: None)


def named(seen: list, name: str) -> list:
    return [tuple(values) for address, *values in seen if address == name]


def test_a_scene_as_osc(receiver):
    with outlets("osc", receiver.port) as out:
        out.put_scene(scene(3, [person(5), (6, 1, (0.0, 0.0, 640.0, 480.0))]))
        receiver.seen.count(3)
        out.put_scene(scene(4, [person(5)]))
        receiver.seen.count(6)
    seen = receiver.seen.wait(lambda seen: len(named(seen, "/rtsearch/lost")) == 2)
    frames, objects = named(seen, "/rtsearch/frame"), named(seen, "/rtsearch/object")
    assert [(n, round(t_s, 3), *more) for n, t_s, *more in frames] == [
        (3, 0.12, 640, 480, 2),
        (4, 0.16, 640, 480, 1),
    ]
    assert [(item[0], item[1], item[7:]) for item in objects] == [
        (5, "person", (7, "é/7.jpg", 0.25)),
        (6, "cell phone", (7, "é/7.jpg", 0.25)),
        (5, "person", (7, "é/7.jpg", 0.25)),
    ]
    np.testing.assert_allclose(objects[0][2:7], [0.5, 0.1, 0.1, 0.2, 0.4], rtol=1e-6)
    assert objects[1][3:7] == (0, 0, 1, 1)
    assert named(seen, "/rtsearch/lost") == [(6,), (5,)]  # the second at the end of the run


def test_objects_without_neighbours_and_with_odd_names(receiver):
    class Odd:
        def hits(self, rows):
            return [{"photo": "\udcff" + "x" * 5000 + "/end.jpg", "xyxy": [0] * 4, "label": "cup"}] * len(
                rows
            )

    with outlets("osc", receiver.port) as out:
        out.put_scene(scene(0, [person(1)], row=-2))  # rows -2 and -1 are none
        receiver.seen.count(2)
        out.put_scene(scene(1, [person(1)], library=Odd()))
        receiver.seen.count(4)
    first, second = named(receiver.seen.items, "/rtsearch/object")
    assert first[7:] == (-1, "", -1)
    assert second[8].endswith("xx/end.jpg")
    assert max(receiver.sizes) < 1400


def test_ten_thousand_objects_go_in_small_bundles(receiver):
    many = [(i, 0, (float(i % 600), 10.0, float(i % 600) + 20, 40.0)) for i in range(1, 10_001)]
    receiver._server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 23)
    with outlets("osc", receiver.port) as out:
        out.put_scene(scene(0, many))
        seen = receiver.seen.wait(lambda seen: len(seen) > 1000)
        assert seen[0] == ("/rtsearch/frame", 0, 0, 640, 480, 10_000)
        until(lambda: out.reports()[0].sent == 1)
    assert 1000 < max(receiver.sizes) <= 1400


def test_a_receiver_that_comes_late_gets_the_next_scenes(caplog):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    stop = threading.Event()
    with outlets("osc", port) as out:

        def play() -> None:
            number = 0
            while not stop.wait(0.01):
                out.put_scene(scene(number := number + 1, [person(1)]))

        player = threading.Thread(target=play)
        player.start()
        try:
            until(lambda: out.reports()[0].problem)
            assert out.reports()[0].problem == "nobody listens there"
            until(lambda: out.reports()[0].dropped > 200)  # several tries
            assert out.reports()[0].sent == 0
            receiver = Receiver(port)
            try:
                receiver.seen.count(20)
                until(lambda: not out.reports()[0].problem)
            finally:
                receiver.close()
        finally:
            stop.set()
            player.join()
    said = [record.getMessage() for record in caplog.records]
    assert f"osc://127.0.0.1:{port}: nobody listens there; trying again" in said
    assert said.count(f"osc://127.0.0.1:{port}: works again") == 1
    assert out.reports()[0].dropped > 0


def test_a_scene_as_tuio(receiver):
    with outlets("tuio", receiver.port) as out:
        out.put_scene(scene(0, [person(5), (0, -1, (0.0, 0.0, 640.0, 480.0))]))
        receiver.seen.count(4)
        out.put_scene(scene(25, [person(5, 128.0), person(9)]))
        receiver.seen.count(9)
    messages = named(receiver.seen.wait(lambda seen: len(seen) >= 12), "/tuio/2Dblb")
    assert [name for name, *_ in messages] == [
        *("source", "alive", "set", "fseq"),
        *("source", "alive", "set", "set", "fseq"),
        *("source", "alive", "fseq"),
    ]
    alive = [values for name, *values in messages if name == "alive"]
    assert alive == [[5], [5, 9], []]  # the whole image is no blob
    assert [values for name, *values in messages if name == "fseq"] == [[1], [2], [3]]
    first, second, third = [values for name, *values in messages if name == "set"]
    np.testing.assert_allclose(first, [5, 0.2, 0.3, 0, 0.2, 0.4, 0.08, 0, 0, 0, 0, 0], atol=1e-6)
    # A tenth of the frame to the right in one second.
    np.testing.assert_allclose(second, [5, 0.3, 0.3, 0, 0.2, 0.4, 0.08, 0.1, 0, 0, 0.1, 0], atol=1e-6)
    assert third[0] == 9


def test_many_blobs_are_cut_to_what_a_datagram_names(receiver):
    many = [(i, 0, (10.0, 10.0, 20.0, 40.0)) for i in range(1, 10_001)]
    with outlets("tuio", receiver.port) as out:
        out.put_scene(scene(0, many))
        receiver.seen.count(100)
    seen = receiver.seen.wait(lambda seen: ("alive",) in named(seen, "/tuio/2Dblb"))
    assert {len(values) for name, *values in named(seen, "/tuio/2Dblb") if name == "alive"} == {150, 0}
    assert max(receiver.sizes) <= 1400
