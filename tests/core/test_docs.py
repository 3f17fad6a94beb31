"""Documentation can go red: its files exist, its programs run, its commands parse."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest
from _server import Server

from mmgrec.experiment import Experiment
from mmgrec_cli.app import main

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "mmgrec-hash"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(
    r"^```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


def fences(page: Path) -> list[tuple[str, str, str]]:
    """Language, title and text of each block of code."""
    text = page.read_text(encoding="utf-8")
    return [(one["language"], one["title"] or "", one["text"]) for one in FENCE.finditer(text)]


TITLED = [(title, text) for _, title, text in fences(ROOT / "docs" / "plugins.md") if title]
PROGRAMS = [
    (page, "\n".join(text for language, title, text in fences(page) if language == "python" and not title))
    for page in PAGES
]
COMMANDS = sorted(
    {
        line.strip()
        for page in PAGES
        for language, _, text in fences(page)
        if language == "sh"
        for line in text.replace("\\\n", " ").splitlines()
        if line.strip().startswith("mmgrec ")
    }
)


def test_the_guide_shows_every_file_of_the_example() -> None:
    files = {path.relative_to(EXAMPLE).as_posix() for path in EXAMPLE.rglob("*") if path.suffix in (".py", ".toml")}
    assert {title for title, _ in TITLED} == files


@pytest.mark.parametrize(("title", "text"), TITLED, ids=[title for title, _ in TITLED])
def test_the_guide_shows_the_files_as_they_are(title: str, text: str) -> None:
    assert (EXAMPLE / title).read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("page", "program"),
    [pytest.param(page, program, id=page.name) for page, program in PROGRAMS if program],
)
def test_programs_run(page: Path, program: str, server: Server, tmp_path: Path) -> None:
    done = server.run([], cwd=tmp_path, program=program, PYTHONPATH=str(EXAMPLE / "src"))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_are_spelt_right(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([*shlex.split(line, comments=True)[1:], "--help"])
    assert end.value.code == 0, capsys.readouterr().err


def test_the_configuration_in_the_architecture_is_one() -> None:
    (text,) = [text for language, _, text in fences(ROOT / "docs" / "architecture.md") if language == "toml"]
    made = Experiment.of(tomllib.loads(text))
    assert [row.label for row in made.rows] == ["mmgrec", "mmgrec (paper)", "popularity", "neighbours-50"]
    assert made.models[1].values()["network"]["dropout"] == 0.1


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_readme_shows_the_commands_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z]+):", makefile, flags=re.MULTILINE)
    assert {"demo", "test"} <= set(targets)
    assert [target for target in ("demo", "test") if f"make {target}" not in readme] == []
