"""Mask the secrets in names of sources, such as passwords in URLs.

rtsp://admin:secret@host/live              ->  rtsp://admin:***@host/live
rtsp://host/user=admin&password=secret     ->  rtsp://host/user=***&password=***
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

__all__ = ["masked", "masked_words", "unencoded"]

_HIDDEN = "***"
# Messages hold what others wrote: whatever it is, each pattern takes a time that grows with its length only.
_URL = re.compile(r"(?P<start>(?:[a-z][a-z0-9+.-]+:)+/+)(?P<rest>.*)", re.IGNORECASE | re.DOTALL)
_SECRET = re.compile(
    r"user|usr|login|pass|pwd|psw|token|secret|private|auth|credential|signature|session|apikey|accesskey"
    r"|(?:^|[^a-z])(?:u|p|pw|key|sid|pin|sig|sign|hash|code|account)$",
    re.IGNORECASE,
)
_KEY = re.compile(r"(?<![^=&?#;/])([^=&?#;/]*)=")
_WORD = re.compile(r"\S+")
_START = re.compile(r"(?:[a-z][a-z0-9+.-]{1,30}:){1,9}/+", re.IGNORECASE)  # is looked for at every letter
_MARKS = "\"'`()[]{}<>,:;.?!"
_HOST = re.compile(r"(?:[\w.-]+|\[[0-9a-f:.]+(?:%\w+)?\])?(?::\d+)?", re.IGNORECASE)


def masked(name: str) -> str:
    """Return the name of a source with ``***`` in place of parts that may be secret.

    Masked are the password before an ``@``, or the whole part before it without a user name, and the values
    of all parameters whose names contain words for users, passwords, tokens or keys. A password that is not
    percent-encoded may contain any character, so the last ``@`` decides. Files and cameras keep their names.
    """
    url = _URL.fullmatch(name)
    start, rest = (url["start"], url["rest"]) if url else ("", name)
    before, at, after = rest.rpartition("@")
    user, colon, _ = before.partition(":")
    if colon and (url or "/" not in user):
        before = f"{user}:{_HIDDEN}"
    elif at and url and not re.search(r"[/?#]", before):
        before = _HIDDEN
    shown = f"{before}{at}{after}"
    return f"{start}{_without_values(shown) if url else shown}"


def masked_words(text: str) -> str:
    """Return a message in which each word that may be the name of a source is masked.

    Quotes and punctuation around a word are not part of it. A path that was made of a URL has one slash.
    """
    return _WORD.sub(_masked_word, text)


def _masked_word(word: re.Match[str]) -> str:
    found = _START.search(word[0])
    if found is None and "@" not in word[0]:
        return word[0]
    name = word[0] if found is None else word[0][found.start() :]
    name = name.lstrip(_MARKS)
    before = word[0][: len(word[0]) - len(name)]
    bare = name.rstrip(_MARKS)
    return f"{before}{masked(bare)}{name[len(bare) :]}"


def _without_values(parameters: str) -> str:
    """Mask the values of keys that name secrets, each up to the next ``&``."""
    shown, place = [], 0
    for key in _KEY.finditer(parameters):
        if key.start() >= place and _SECRET.search(unquote(key[1])):
            shown += [parameters[place : key.end()], _HIDDEN]
            end = parameters.find("&", key.end())
            place = len(parameters) if end < 0 else end
    return "".join([*shown, parameters[place:]])


def unencoded(url: str) -> str:
    """Name the characters of a URL's user name or password need percent-encoding; "" if none."""
    found = _URL.fullmatch(url)
    if found is None:
        return ""
    before, _, after = found["rest"].rpartition("@")
    host = re.split(r"[/?#]", after, maxsplit=1)[0]
    user, colon, _ = before.partition(":")
    port = re.match(r":\d+[/?#]", before[len(user) :])
    if not colon or port or re.search(r"[/?#]", user) or not _HOST.fullmatch(host):
        return ""
    odd = sorted({char for char in before if char in "/?#@[] "})
    if not odd:
        return ""
    return ", ".join(f"{char!r} as {quote(char, safe='')}" for char in odd)
