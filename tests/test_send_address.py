"""Addresses of outlets: what is read from them, what is refused, what is never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtsearch.errors import SendError
from rtsearch.send import Address, parse_address, require_outlet


@pytest.mark.parametrize(
    ("text", "address", "name"),
    [
        ("-", Address("-"), "-"),
        ("osc://127.0.0.1", Address("osc", "127.0.0.1", 9000), "osc://127.0.0.1:9000"),
        ("OSC://Stage.local:7400/", Address("osc", "stage.local", 7400), "osc://stage.local:7400"),
        ("tuio://[::1]", Address("tuio", "::1", 3333), "tuio://[::1]:3333"),
        ("mqtt://broker", Address("mqtt", "broker", 1883, "rtsearch"), "mqtt://broker:1883/rtsearch"),
        (
            "mqtts://u%40x:p%2Fw@broker/house/door",
            Address("mqtts", "broker", 8883, "house/door", "u@x", "p/w"),
            "mqtts://broker:8883/house/door",
        ),
        (
            "https://user:pw@example.org/hook/T0KEN?a=b#secret=k%20y",
            Address("https", "example.org", 443, "/hook/T0KEN?a=b", "user", "pw", "k y"),
            "https://example.org:443",
        ),
        ("http://[::1]:8080", Address("http", "::1", 8080, "/"), "http://[::1]:8080"),
        ("v4l2:/dev/video10", Address("v4l2", path="/dev/video10"), "v4l2:/dev/video10"),
        ("pipe:raw.bgr", Address("pipe", path="raw.bgr"), "pipe:raw.bgr"),
        ("ndi:Hall, left", Address("ndi", path="Hall, left"), "ndi:Hall, left"),
    ],
)
def test_addresses(text, address, name):
    assert parse_address(text) == address
    assert parse_address(text).name == name


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected an address that begins with osc:"),
        ("9000", "expected an address"),
        ("ndi://host", "expected a name of 1 to 100 letters; for example ndi:rtsearch"),
        ("ndi:", "expected a name of 1 to 100 letters"),
        (f"ndi:{'x' * 101}", "expected a name of 1 to 100 letters"),
        ("localhost:9000", "expected an address"),
        ("osc://", "there is no host in it; for example osc://127.0.0.1:9000"),
        ("osc:9000", "there is no host in it"),
        ("osc://host:x", "port could not be cast"),
        ("osc://host:70000", "port out of range"),
        ("osc://host:0", "port 0 is none"),
        ("osc://[::1", "invalid ipv6 url"),
        ("osc://a b:9000", "there is no host in it"),
        ("osc://host:9000/prefix", "osc has no path"),
        ("tuio://me@host", "tuio has no users"),
        ("mqtt://host/a/+", "a topic has no + or #"),
        ("mqtt://host/$SYS", "a topic has no + or #"),
        ("mqtt://host/a?b=c", "nothing is known about the part after ?"),
        ("mqtt://host/a#b", "nothing is known about the part after #"),
        ("https://host/x#key=1", "nothing is known about the part after #"),
        ("v4l2:", "expected a path; for example v4l2:/dev/video10"),
        ("pipe://host/x", "expected a path"),
    ],
)
def test_addresses_that_are_refused(text, words):
    with pytest.raises(SendError, match=r"^--send ") as refused:
        parse_address(text)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "mqtt://user:hunter2@broker:1883/prefix",
        "https://user:hunter2@example.org/hook",
        "https://example.org/hook#secret=hunter2",
        "https://example.org/hook?token=hunter2",
        "https://example.org/hook/hunter2",
    ],
)
def test_secrets_are_never_shown(text):
    address = parse_address(text)
    assert "hunter2" not in f"{address!r} {address.name}"


@pytest.mark.parametrize(
    "text",
    [
        "mqtt://user:hunter2@broker:99999/prefix",
        "ftp://user:hunter2@broker",
        "osc://user:hunter2@host:9000",
        "https://user:hunter2@/hook#secret=hunter2",
    ],
)
def test_secrets_are_masked_in_complaints(text):
    with pytest.raises(SendError) as refused:
        parse_address(text)
    assert "***" in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_a_pipe_is_made_and_nothing_else_is_taken_for_one(tmp_path: Path):
    pipe = tmp_path / "raw.bgr"
    for _ in range(2):
        require_outlet(parse_address(f"pipe:{pipe}"))
        assert pipe.is_fifo()
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"precious")
    for scheme, words in (("pipe", "it is no named pipe"), ("v4l2", "it is no device")):
        with pytest.raises(SendError, match=words):
            require_outlet(parse_address(f"{scheme}:{photo}"))
    assert photo.read_bytes() == b"precious"
    with pytest.raises(SendError, match="no pipe can be made there: No such file"):
        require_outlet(parse_address(f"pipe:{tmp_path}/none/raw.bgr"))
