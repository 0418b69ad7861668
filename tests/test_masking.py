"""Secrets in the names of sources are never shown, whatever they are made of."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtsearch._util.masking import masked, masked_words, unencoded
from rtsearch.config import LiveSettings, Settings

SHOWN = [
    ("", ""),
    ("0", "0"),
    ("HD Webcam: front", "HD Webcam: front"),
    ("shot%04d.png", "shot%04d.png"),
    ("/home/ann/12:30@home key=1.mp4", "/home/ann/12:30@home key=1.mp4"),
    ("C:/clips/token=1.mp4", "C:/clips/token=1.mp4"),
    ("rtsp://host:554/live", "rtsp://host:554/live"),
    ("http://host/x?mail=a@b", "http://host/x?mail=a@b"),
    ("http://host/x?codec=h264&monkey=1", "http://host/x?codec=h264&monkey=1"),
    ("rtsp://admin:secret@host:554/live", "rtsp://admin:***@host:554/live"),
    ("http://secret@host/", "http://***@host/"),
    ("rtsp://admin:se@cr/e#t@host/live", "rtsp://admin:***@host/live"),
    ("rtsp://h/user=admin&password=secret&channel=1", "rtsp://h/user=***&password=***&channel=1"),
    ("http://h/v.cgi?user=a&pwd=sec/ret#1&x=2", "http://h/v.cgi?user=***&pwd=***&x=2"),
    ("http://h/v?pass%77ord=secret", "http://h/v?pass%77ord=***"),
    ("http://h/v?to=a?token=secret", "http://h/v?to=a?token=***"),
    ("http://h/;jsessionid=secret", "http://h/;jsessionid=***"),
    ("ffmpeg:rtsp://u:secret@h/x#video=copy", "ffmpeg:rtsp://u:***@h/x#video=copy"),
    ("user:secret@host/live", "user:***@host/live"),
    ("rstp:/user:secret@host/live", "rstp:/user:***@host/live"),
]


@pytest.mark.parametrize(("name", "shown"), SHOWN)
def test_secrets_are_masked(name: str, shown: str) -> None:
    assert masked(name) == shown


KEYS = ["user", "usr", "loginuse", "loginpas", "password", "passwd", "pwd", "pass", "psw", "pw", "token"]
KEYS += [
    "access_token",
    "api_key",
    "apikey",
    "key",
    "auth",
    "client_secret",
    "device_private",
    "Signature",
    "sid",
]
secrets = st.text(alphabet="QXZ" + string.punctuation + " ä\n", min_size=1).map(lambda text: f"JJ{text}JJ")
schemes = st.sampled_from(["rtsp", "rtsps", "http", "https", "rtmp", "udp", "srt", "onvif", "unknown"])


@given(schemes, secrets, st.sampled_from(["/live", "", "/a?b=c&d=e", ":554/x#y"]))
def test_a_password_before_the_host_is_never_shown(scheme: str, secret: str, path: str) -> None:
    shown = masked(f"{scheme}://admin:{secret}@camera{path}")
    assert "JJ" not in shown
    assert shown == f"{scheme}://admin:***@camera{path}"
    assert masked(shown) == shown


@given(schemes, st.sampled_from(KEYS), secrets, st.sampled_from(["/", "/?a=1&", "/x;", "/user=a&"]))
def test_a_secret_parameter_is_never_shown(scheme: str, key: str, secret: str, before: str) -> None:
    secret = secret.replace("&", "")  # the server would take what follows for another parameter
    shown = masked(f"{scheme}://camera{before}{key}={secret}&channel=1")
    assert "JJ" not in shown
    assert masked(shown) == shown


IN_MESSAGES = [
    ("", ""),
    ("no photos in '/home/ann/12:30@home'", "no photos in '/home/ann/12:30@home'"),
    ("clip.mp4: it ends after 8.0 s; wanted: 10", "clip.mp4: it ends after 8.0 s; wanted: 10"),
    ("rtsp:/adm:JJ@cam/x is missing", "rtsp:/adm:***@cam/x is missing"),
    ("--set live.source=[http://JJ@cam: '[http://JJ@cam' is not", None),
    ("c.yaml: live = {'a': 'rtsp://adm:JJ@cam/x'}: no", "c.yaml: live = {'a': 'rtsp://adm:***@cam/x'}: no"),
    ("'http://h/v?pwd=JJ', (http://h/v?a=1)", "'http://h/v?pwd=***', (http://h/v?a=1)"),
]


@pytest.mark.parametrize(("text", "shown"), IN_MESSAGES)
def test_secrets_within_messages_are_masked(text: str, shown: str | None) -> None:
    assert "JJ" not in masked_words(text)
    assert shown is None or masked_words(text) == shown


@given(st.text())
def test_any_text_has_a_masked_name(text: str) -> None:
    assert masked(masked(text)) == masked(text)
    assert masked_words(masked_words(text)) == masked_words(text)


@pytest.mark.parametrize(
    "text",
    ["x" * 10**6, "x" * 10**6 + "://", "ab:" * 10**5, "http://" + "x" * 10**6, "http://h/?" + "a=" * 10**5],
    ids=len,
)
def test_long_words_are_looked_at_once(text: str) -> None:
    assert masked_words(text) == masked(text) == text  # took hours while each letter could begin a word anew


@pytest.mark.parametrize("start", ["x" * 40 + "://", "ab:" * 12 + "//"])
def test_secrets_after_a_scheme_that_nobody_has_are_masked(start: str) -> None:
    assert (
        masked(f"{start}h/?token=JJ&c=1")
        == masked_words(f"{start}h/?token=JJ&c=1")
        == f"{start}h/?token=***&c=1"
    )
    assert masked(f"{start}JJ@h/") == f"{start}***@h/"


def test_the_secret_at_the_end_of_a_long_word_is_masked() -> None:
    start = "http://h/?" + "a=" * 10**5
    assert masked_words(f"{start}b&token=secret&c=1") == f"{start}b&token=***&c=1"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("rtsp://host/live", ""),
        ("rtsp://a:b@host/live", ""),
        ("rtsp://a:%23%2F@host/live", ""),
        ("http://host:80/a@b", ""),
        ("http://host/a?b=c:d@e", ""),
        ("rtsp://a:b#c@host:554/live", "'#' as %23"),
        ("rtsp://a:b/c?d@host", "'/' as %2F, '?' as %3F"),
        ("rtsp://a:b@c@[::1]/", "'@' as %40"),
    ],
)
def test_characters_to_be_encoded_are_named(url: str, said: str) -> None:
    assert unencoded(url) == said


def test_settings_do_not_show_their_source() -> None:
    assert "secret" not in repr(Settings(live=LiveSettings(source="rtsp://a:secret@host/")))
