"""What the README says is true: its commands run, its tables and links hold."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from clips import shorten

from rtsearch.models import CATALOGUE

TOP = Path(__file__).resolve().parents[1]
README = (TOP / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def commands() -> list[list[str]]:
    """Every command of the README's ``sh`` blocks, in order."""
    blocks = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def table(heading: str) -> list[list[str]]:
    """The cells of the first table whose header row starts with ``heading``."""
    rows = README[README.index(f"| {heading} |") :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_a_newcomer_needs_two_commands():
    assert commands()[:2] == [["make", "demo"], ["make", "test"]]


def test_make_knows_its_targets():
    makefile = (TOP / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^(\w+):", makefile, re.MULTILINE))
    assert {words[1] for words in commands() if words[0] == "make"} <= targets
    assert {"demo", "test", "bench", "docs", "clean"} <= targets
    done = subprocess.run(
        ["make", "-n", *sorted(targets)], cwd=TOP, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_commands_run(demo_run, cli, tmp_path, monkeypatch):
    """In the README's order, in a folder in which only the demo has run; its clip and photos made fewer."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(demo_run[0] / "demo-out", tmp_path / "demo-out")
    shorten(tmp_path / "demo-out" / "clip.mp4", 15)
    for photo in sorted((tmp_path / "demo-out" / "photos").glob("bikes-*"))[::3]:
        photo.unlink()
    ours = [words for words in commands() if words[0] != "make"]
    assert len(ours) >= 8
    for words in ours:
        done = cli(*words[1:])
        assert done.code == 0, f"{shlex.join(words)}\n{done.out}\n{done.err}"
    made = {"sheet.png", "seen.mp4", "seen.jsonl", "vectors.npz", "mine.lib"}
    assert made <= {path.name for path in tmp_path.iterdir()}


def test_every_command_is_one_of_ours():
    assert {words[0] for words in commands()} == {"make", "rtsearch"}


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#]+)\)", README))
def test_links_lead_somewhere(target):
    assert target.startswith("https://") or (TOP / target).exists()


def test_the_table_of_networks_is_the_catalogue():
    rows = {row[0].split("`")[1]: row[1] for row in table("name")}
    assert rows == {entry.name: entry.licence for entry in CATALOGUE}


def test_every_dependency_has_its_reason():
    names = {re.split(r"[^\w-]", entry)[0].lower() for entry in PROJECT["dependencies"]}
    said = {re.split(r"[^\w-]", name)[0] for row in table("package") for name in row[0].split(", ")}
    assert said == names


def test_every_extra_is_named():
    extras = README.partition("Extras:")[2]
    assert set(re.findall(r"`(\w+)`", extras.split("\n\n")[0])) >= set(PROJECT["optional-dependencies"])


def test_help_without_reading():
    assert len(README.splitlines()[2]) < 200  # what it is comes first
    assert README.index("make demo") < 800
