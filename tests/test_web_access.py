"""Who may do what on the page: every rule with the request that must fail."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import ssl
import subprocess
from typing import Any

import barcode
import cv2
import pytest
from page import next_scene, next_state, served
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from rtsearch.web import Access
from rtsearch.web.access import Role

TOKEN = "a secret of the tests"
PATCH = {"detect": {"threshold": 0.4}}


@pytest.fixture(scope="module")
def locked(barcode_index):
    with served(barcode_index, access=Access(TOKEN, loopback=False)) as server:
        yield server


@pytest.fixture(scope="module")
def public(barcode_index):
    with served(barcode_index, access=Access(TOKEN, public=True), frames=100_000) as server:
        yield server


@pytest.fixture(scope="module")
def local(barcode_index):
    with served(barcode_index) as server:
        yield server


def bearer(token: str = TOKEN) -> dict[str, Any]:
    return {"Authorization": f"Bearer {token}"}


def status_of_watching(server, path="/ws", **how) -> int:
    try:
        with server.watch(path, **how):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1", True),
        ("127.0.0.1:8737", True),
        ("localhost", True),
        ("[::1]:8737", True),
        ("LOCALHOST.", True),
        ("evil.example", False),
        ("evil.example:8737", False),
        ("127.0.0.1.evil.example", False),
        ("192.168.1.7", False),
        ("localhost@evil.example", False),
        ("", False),
        ("127.0.0.1:8737:1", False),
    ],
)
def test_names_of_the_server_on_loopback(local, host, allowed):
    """A name of another's that points at 127.0.0.1 must not work: DNS rebinding."""
    assert local.ask("/api/settings", Host=host).status == (200 if allowed else 421)


def test_names_of_a_server_in_a_network():
    access = Access(TOKEN, hosts=["wall.example.org"], loopback=False)
    assert access.allows_host("192.168.1.7:8737")
    assert access.allows_host("wall.example.org")
    assert not access.allows_host("evil.example")


def test_other_sites_open_no_websocket_and_change_nothing(local):
    own = f"http://127.0.0.1:{local.port}"
    assert status_of_watching(local, origin=own) == 101
    assert status_of_watching(local, origin=None) == 101  # a program
    for origin in ("http://evil.example", "http://127.0.0.1:1", "null", f"http://localhost:{local.port}"):
        assert status_of_watching(local, origin=origin) == 403
        assert status_of_watching(local, "/ws/source", origin=origin) == 403
        assert local.ask("/api/settings", "PATCH", PATCH, Origin=origin).status == 403
        assert local.ask("/api/control", "POST", {"do": "pause"}, Origin=origin).status == 403
    assert local.ask("/api/settings", "PATCH", PATCH, Origin=own).status == 200


@pytest.mark.parametrize("path", ["/", "/kiosk", "/healthz", "/api/objects/0", "/static/live.js", "/nothing"])
def test_every_answer_has_the_security_headers(local, path):
    headers = local.ask(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cross-origin-opener-policy"] == "same-origin"


def test_pages_by_http_in_a_network_have_no_header_that_browsers_complain_of(barcode_index):
    with served(barcode_index, access=Access(TOKEN, loopback=False)) as server:
        headers = server.ask("/", **bearer()).headers
    assert "cross-origin-opener-policy" not in headers
    assert "content-security-policy" in headers


EVERYTHING = [
    ("GET", "/api/settings"),
    ("PATCH", "/api/settings"),
    ("POST", "/api/control"),
    ("GET", "/api/classes"),
    ("GET", "/api/scene"),
    ("POST", "/api/search"),
    ("GET", "/api/objects/0"),
    ("GET", "/api/objects/0/similar"),
    ("GET", "/api/wall"),
    ("GET", "/photo/0.jpg"),
    ("GET", "/qr.svg"),
    ("GET", "/stream.mjpg"),
    ("GET", "/metrics"),
    ("GET", "/"),
    ("GET", "/library"),
    ("GET", "/phone"),
]


@pytest.mark.parametrize(("method", "path"), EVERYTHING)
def test_nothing_without_the_token(locked, method, path):
    assert locked.ask(path, method).status == 401
    assert locked.ask(f"/thumb/{locked.site.fingerprint}/0.jpg").status == 401


def test_no_websocket_without_the_token(locked):
    for path in ("/ws", "/ws/source"):
        assert status_of_watching(locked, path) == 401
        assert status_of_watching(locked, path, **bearer()) == 101


def test_what_needs_no_token(locked):
    assert locked.ask("/healthz").json["status"] == "ok"
    assert TOKEN not in locked.ask("/healthz").body.decode()


def test_the_token_becomes_a_cookie_that_scripts_cannot_read(locked):
    answer = locked.ask(f"/?token={TOKEN.replace(' ', '%20')}")
    assert answer.status == 200
    cookie = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    assert TOKEN not in cookie
    value = cookie.split(";")[0]
    assert locked.ask("/api/settings", Cookie=value).status == 200
    assert status_of_watching(locked, Cookie=value) == 101
    assert locked.ask("/api/settings", Cookie=f"{value}0").status == 401
    assert "set-cookie" not in locked.ask("/healthz", **bearer()).headers


def test_after_many_wrong_tokens_none_is_looked_at(barcode_index):
    with served(barcode_index, access=Access(TOKEN)) as server:
        assert server.ask("/api/settings", **bearer()).status == 200
        tried = [server.ask("/api/settings", **bearer(f"wrong {i}")).status for i in range(25)]
        assert tried == [401] * 20 + [429] * 5
        assert server.ask("/api/settings", **bearer()).status == 429
        assert server.ask("/healthz").status == 200
        kept = server.site.access.cookie(Role.OPERATOR, secure=False).split(";")[0]
        assert server.ask("/api/settings", Cookie=kept).status == 200  # strangers shut no browser out


def test_a_phone_does_not_guess_the_token_either(barcode_index):
    with served(barcode_index, access=Access(TOKEN)) as server:
        kept = server.site.access.cookie(Role.PHONE, secure=False).split(";")[0]
        tried = [server.ask("/api/settings", Cookie=kept, **bearer(f"wrong {i}")).status for i in range(20)]
        assert set(tried) == {401}
        assert server.ask("/api/settings", Cookie=kept, **bearer()).status == 401  # it is not looked at
        assert server.ask("/phone", Cookie=kept).status == 200
        assert server.ask("/api/settings", **bearer()).status == 429


def test_a_cookie_of_another_server_is_no_guess_when_it_comes_again(barcode_index):
    """Browsers send it with each request: after a restart with another token, or of a server beside."""
    old = Access("another secret").cookie(Role.OPERATOR, secure=False).split(";")[0]
    with served(barcode_index, access=Access(TOKEN, public=True)) as server:
        assert {server.ask("/library", Cookie=old).status for _ in range(40)} == {200}
        assert server.ask("/api/settings", Cookie=old, **bearer()).status == 200
        tried = [server.ask("/api/settings", Cookie=f"rtsearch={i}").status for i in range(25)]
        assert tried == [401] * 19 + [429] * 6  # cookies that change are guesses
        assert server.ask("/library", Cookie=old).status == 200
        assert server.ask("/library").status == 200
        assert server.ask("/api/settings", Cookie="rtsearch=0").status == 401


def test_viewers_look_and_change_nothing(public):
    with public.watch() as viewer:
        assert "paused" in next_state(viewer)
        scene, jpeg = next_scene(viewer)
        assert jpeg.startswith(b"\xff\xd8")
        assert "neighbours" not in scene["objects"][0]
    assert public.ask("/").status == 200
    assert public.ask(f"/thumb/{public.site.fingerprint}/0.jpg").status == 200
    for method, path in [
        (m, p) for m, p in EVERYTHING if m != "GET" or p in ("/photo/0.jpg", "/qr.svg", "/api/settings")
    ]:
        assert public.ask(path, method).status == 401
    assert status_of_watching(public, "/ws/source") == 401


def test_viewers_learn_no_paths(public):
    assert public.ask("/api/objects/0").json["photo"] == ""
    near = public.ask("/api/objects/0/similar").json["neighbours"]
    assert {hit["photo"] for hit in near} == {""}
    assert "neighbours" not in public.ask("/api/scene").json["objects"][0]
    assert public.ask("/api/objects/0", **bearer()).json["photo"] != ""
    photo = cv2.imencode(".jpg", barcode.picture(3))[1].tobytes()
    as_phone = public.ask("/api/search", "POST", photo, **bearer(public.site.access.phone_token))
    assert {hit["photo"] for item in as_phone.json["objects"] for hit in item["neighbours"]} == {""}


def test_a_phone_sends_pictures_and_changes_nothing(locked):
    phone = bearer(locked.site.access.phone_token)
    assert phone["Authorization"] != bearer()["Authorization"]
    assert locked.ask("/phone", **phone).status == 200
    assert status_of_watching(locked, "/ws/source", **phone) == 101
    assert locked.ask("/api/settings", **phone).status == 401
    assert locked.ask("/api/settings", "PATCH", PATCH, **phone).status == 401
    answer = locked.ask(f"/phone?token={locked.site.access.phone_token}")
    cookie = answer.headers["set-cookie"].split(";")[0]
    assert locked.ask("/phone", Cookie=cookie).status == 200
    assert locked.ask("/api/settings", Cookie=cookie).status == 401


def test_the_qr_code_holds_no_token_of_operators(locked):
    segno = pytest.importorskip("segno")
    drawn = locked.ask("/qr.svg", Host="192.168.1.7:8737", **bearer())
    assert drawn.headers["content-type"] == "image/svg+xml"
    assert drawn.headers["cache-control"] == "no-store"
    from rtsearch.web.pages import qr_svg

    expected = f"http://192.168.1.7:8737/phone?token={locked.site.access.phone_token}"
    assert segno.make(expected, error="m", micro=False).version
    assert drawn.body == qr_svg(expected)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_a_certificate_of_ones_own(barcode_index, tmp_path):
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    make = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=localhost",
        "-days",
        "2",
    ]
    subprocess.run([*make, "-keyout", key, "-out", cert], check=True, capture_output=True)
    trusted = ssl.create_default_context(cafile=cert)
    trusted.check_hostname = False
    with served(barcode_index, access=Access(TOKEN), tls=(cert, key)) as server:
        connection = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=20, context=trusted)
        connection.request("GET", f"/?token={TOKEN.replace(' ', '%20')}")
        assert "; Secure" in connection.getresponse().headers["set-cookie"]
        connection.close()
        address = f"wss://127.0.0.1:{server.port}/ws"
        own = f"https://127.0.0.1:{server.port}"
        with connect(address, ssl=trusted, additional_headers=bearer(), origin=Origin(own)) as viewer:
            assert next_state(viewer)["type"] == "state"


def test_secrets_in_names_of_sources_are_masked(barcode_index):
    with served(barcode_index, ["live.source=rtsp://me:hunter2@camera/live"]) as server:
        assert b"hunter2" not in server.ask("/api/settings").body
        assert json.loads(server.ask("/api/settings").body)["live"]["source"] == "rtsp://me:***@camera/live"


def test_addresses_of_outlets_are_told_without_their_secrets(barcode_index):
    to = "https://hook.example/services/KEY?a=b#secret=hunter2,mqtt://me:hunter2@broker/wall,nonsense:hunter2"
    with served(barcode_index, [f"send.to={to}"]) as server:
        told = server.ask("/api/settings")
    assert told.json["send"]["to"] == ["https://hook.example:443", "mqtt://broker:1883/wall", "nonsense:***"]
    assert not {b"hunter2", b"KEY"} & set(re.findall(rb"\w+", told.body))


def test_a_token_makes_roles():
    assert Role.NONE < Role.VIEWER < Role.PHONE < Role.OPERATOR
    assert Access().phone_token == ""
    assert len({Access("one secret").phone_token, Access("another secret").phone_token, "one secret"}) == 3
