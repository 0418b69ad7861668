"""What the README says is true: its tables and links hold. test_demo.py runs its commands."""

from __future__ import annotations

import re
import subprocess
import tomllib

import pytest
from pages import README, TOP, commands

from rtsearch.models import CATALOGUE

PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def table(heading: str) -> list[list[str]]:
    """The cells of the first table whose header row starts with ``heading``."""
    rows = README[README.index(f"| {heading} |") :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_a_newcomer_needs_two_commands():
    assert commands(README)[:2] == [["make", "demo"], ["make", "test"]]


def test_make_knows_its_targets():
    makefile = (TOP / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([\w-]+):", makefile, re.MULTILINE))
    assert {words[1] for words in commands(README) if words[0] == "make"} <= targets
    assert {"demo", "test", "bench", "docs", "clean"} <= targets
    done = subprocess.run(
        ["make", "-n", *sorted(targets)], cwd=TOP, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_command_is_one_of_ours():
    assert {words[0] for words in commands(README)} == {"make", "rtsearch"}


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#]+)\)", README))
def test_links_lead_somewhere(target):
    assert target.startswith("https://") or (TOP / target).exists()


def test_the_table_of_networks_is_the_catalogue():
    rows = {name: row[1] for row in table("name") for name in re.findall(r"`([\w-]+)`", row[0])}
    assert rows == {entry.name: entry.licence for entry in CATALOGUE}


def test_every_dependency_has_its_reason():
    names = {re.split(r"[^\w-]", entry)[0].lower() for entry in PROJECT["dependencies"]}
    said = {re.split(r"[^\w-]", name)[0] for row in table("package") for name in row[0].split(", ")}
    assert said == names


def test_every_extra_is_named():
    named = {name for row in table("extra") for name in re.findall(r"`(\w+)`", row[0])}
    assert named == set(PROJECT["optional-dependencies"])


def test_help_without_reading():
    assert len(README.splitlines()[2]) < 200  # what it is comes first
    assert README.index("make demo") < 800
