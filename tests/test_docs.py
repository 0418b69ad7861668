"""What docs/ and the pages for contributors say is true: examples run, links lead somewhere."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from rtsearch.cli.app import commands
from rtsearch.config import Settings, load_settings
from rtsearch.ui.keys import HELP

TOP = Path(__file__).resolve().parents[1]
DOCS = TOP / "docs"
PAGES = [*sorted(DOCS.rglob("*.md")), TOP / "CONTRIBUTING.md", TOP / "SECURITY.md"]


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of every block of code that names one, in order."""
    return re.findall(r"^```(\w+)\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_examples_in_python_run(library, photos, tmp_path, monkeypatch, capsys, rtsearch):
    (tmp_path / "demo-out").mkdir()
    (tmp_path / "demo-out" / "photos").symlink_to(photos)
    (tmp_path / "mine.lib").symlink_to(library)
    (tmp_path / "photo.jpg").symlink_to(photos / "skimage-coffee.png")
    monkeypatch.chdir(tmp_path)
    there = {}
    for language, text in blocks(DOCS / "how-to" / "python.md"):
        if language == "python":
            exec(compile(text, "docs/how-to/python.md", "exec"), there)
        else:
            assert rtsearch(*shlex.split(text)[1:]).returncode == 0
    assert "cup" in capsys.readouterr().out
    assert np.array_equal(there["row"][:, 0], np.arange(len(there["row"])))  # each object finds itself


def test_examples_of_settings_are_valid(tmp_path):
    shown = [text for page in PAGES for language, text in blocks(page) if language == "yaml"]
    assert shown
    for text in shown:
        (tmp_path / "show.yaml").write_text(text, encoding="utf-8")
        assert load_settings(tmp_path / "show.yaml") != Settings()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(TOP).as_posix())
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


@pytest.mark.parametrize(
    "page", [*PAGES, TOP / "README.md"], ids=lambda page: page.relative_to(TOP).as_posix()
)
def test_commands_and_options_exist(page):
    for language, text in blocks(page):
        for line in text.splitlines() if language in ("sh", "text") else ():
            words = shlex.split(line, comments=True) if line.startswith("rtsearch ") else []
            assert unknown_words(words) == [], line


def test_manifests_of_clusters_start_commands_that_exist():
    job = yaml.safe_load((DOCS / "how-to" / "kuberay.yaml").read_text(encoding="utf-8"))
    assert unknown_words(shlex.split(job["spec"]["entrypoint"])) == []
    machines = yaml.safe_load((DOCS / "how-to" / "ray-up.yaml").read_text(encoding="utf-8"))
    assert any("rtsearch[ray]" in command for command in machines["setup_commands"])


def unknown_words(words: list[str]) -> list[str]:
    """Return the subcommand or the options of a command line that rtsearch does not know."""
    command = commands()
    for word in words[1:]:
        if not hasattr(command, "commands") or word.startswith("-"):
            break
        if word not in command.commands:
            return [word]
        command = command.commands[word]
    known = {name for option in command.params for name in option.opts} | {
        "-h",
        "--help",
        "--install-completion",
    }
    return [word for word in words if word.startswith("-") and word not in known]


def test_the_table_of_keys_is_the_windows():
    rows = re.findall(
        r"^\| ([^|]+) \|", (DOCS / "reference" / "window.md").read_text().split("\n\n")[2], re.MULTILINE
    )
    said = {key.strip("` ") for cell in rows[1:] for key in cell.split(",")}
    assert said == {key.strip() for keys, _ in HELP for key in keys.split(",")}


def test_every_page_is_in_the_navigation():
    site = yaml.safe_load((TOP / "mkdocs.yml").read_text(encoding="utf-8"))
    named = re.findall(r"[\w/-]+\.md", yaml.safe_dump(site["nav"]))
    pages = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    assert sorted(named) == sorted(pages - {site["exclude_docs"].strip()})


@pytest.mark.slow
def test_the_site_builds_without_warnings(tmp_path):
    pytest.importorskip("mkdocs", reason="needs the extra docs")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"]
    done = subprocess.run(build, cwd=TOP, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pages = [page.read_text(encoding="utf-8") for page in (tmp_path / "site").rglob("*.html")]
    assert [
        page for page in pages if re.search(r"<(script|img|link rel=.stylesheet)[^>]+https?://", page)
    ] == []


def test_modules_that_texts_name_exist():
    """Of docstrings, comments and pages; a file that moves leaves no old name behind."""
    files = [f"/{path.relative_to(TOP).as_posix()}" for path in TOP.glob("[rt]*/**/*.py")]
    texts = [path for kind in ("py", "cu") for path in (TOP / "rtsearch").rglob(f"*.{kind}")]
    wrong = {
        (text.relative_to(TOP).as_posix(), name)
        for text in [*texts, *PAGES, TOP / "README.md"]
        for name in re.findall(r"[\w/]*\w\.py\b", text.read_text(encoding="utf-8"))
        if not any(file.endswith(f"/{name}") for file in files)
    }
    assert wrong == set()


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "SECURITY.md"])
def test_files_that_are_named_exist(page):
    named = re.findall(r"`((?:rtsearch|tools|docs)/[\w/.-]*)", (TOP / page).read_text(encoding="utf-8"))
    assert named
    assert [name for name in named if not (TOP / name).exists()] == []
