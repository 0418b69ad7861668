"""Others' words on a terminal: nothing in them controls it."""

from __future__ import annotations

import os

import blobs
import pytest

from rtsearch.cli.printable import printable


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("", ""),
        ("Kaffeemühle [alt] 写真　🐈‍⬛.png", "Kaffeemühle [alt] 写真　🐈‍⬛.png"),
        ("\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
        ("two\nlines\r\tand\x9b31m", "two\\nlines\\r\\tand\\x9b31m"),
        (os.fsdecode(b"caf\xe9"), "caf\\udce9"),
        ("photo\u202egpj.exe", "photo\\u202egpj.exe"),
        ("a\u2028b", "a\\u2028b"),
    ],
)
def test_what_controls_a_terminal_is_escaped(text, seen):
    assert printable(text) == seen


def test_names_with_controls_are_escaped_in_answers_and_messages(cli, tmp_path):
    photos = tmp_path / os.fsdecode(b"red \x1b[31m caf\xe9")
    blobs.write_photos(photos, 2)
    blobs.run(photos, tmp_path / "lib")
    told = cli("library", "info", tmp_path / "lib")
    assert (told.code, told.err) == (0, "")
    assert "red \\x1b[31m caf\\udce9" in told.out
    assert "\\x1b[31m" in cli("analyze", tmp_path / "\x1b[31m", tmp_path / "new").complaint
