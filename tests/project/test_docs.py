"""Documentation can go red: its files exist, its links lead somewhere, its programs and quick commands run, and all
other commands parse.

What a page shows is tagged in comments that readers do not see: a block of shell commands under ``<!-- run -->`` is
carried out, all such blocks of a page in one empty folder, in which its blocks with a title are files; a block under
``<!-- seen -->`` is what the commands before it have said, where ``…`` stands for anything.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from command_server import Server

from mmgrec.runs.experiment import Experiment
from mmgrec_cli.app import main

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
EXAMPLE = DOCS / "examples" / "mmgrec-hash"
GUIDE = DOCS / "tutorials" / "first-plugin.md"
PAGES = [
    ROOT / "README.md",
    *sorted(page for page in DOCS.rglob("*.md") if not {"_build", "examples"} & set(page.relative_to(DOCS).parts)),
]
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]
EACH = pytest.mark.parametrize("page", PAGES, ids=NAMES)
FENCE = re.compile(
    r"^(?:<!-- (?P<tag>run|seen) -->\n)?"
    r"```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
#: what is given to each command of a page that trains, so that it takes seconds
QUICK = (
    "data.num_users=100", "data.num_items=60", "data.mean_interactions=8", "quantizer.codebook_size=8",
    "network.dim=16", "training.epochs=2", "decoder.num_beams=20",
)  # fmt: skip
QUICK_QUANTIZER = ("quantizer.graph.epochs=5", "quantizer.graph.dim=16", "quantizer.autoencoder.epochs=5")


@dataclass(frozen=True, kw_only=True)
class Fence:
    """A block of code on a page."""

    language: str
    title: str
    text: str
    tag: str  # run, seen or ""

    @property
    def lines(self) -> list[str]:
        """Commands: a line that ends in a backslash goes on in the next, a comment is none."""
        lines = (line.strip() for line in self.text.replace("\\\n", " ").splitlines())
        return [line for line in lines if line and not line.startswith("#")]


def fences(page: Path) -> list[Fence]:
    """Each block of code, in its order."""
    found = FENCE.finditer(page.read_text(encoding="utf-8"))
    return [
        Fence(language=one["language"], title=one["title"] or "", text=one["text"], tag=one["tag"] or "")
        for one in found
    ]


TITLED = [(one.title, one.text) for one in fences(GUIDE) if one.title]
PROGRAMS = [
    (page, "\n".join(one.text for one in fences(page) if one.language == "python" and not one.title)) for page in PAGES
]
COMMANDS = sorted(
    {
        line
        for page in PAGES
        for one in fences(page)
        if one.language == "sh"
        for line in one.lines
        if line.startswith("mmgrec ")
    }
)
RUN = [page for page in PAGES if any(one.tag == "run" for one in fences(page))]


def test_the_guide_shows_every_file_of_the_example() -> None:
    files = {path.relative_to(EXAMPLE).as_posix() for path in EXAMPLE.rglob("*") if path.suffix in (".py", ".toml")}
    assert {title for title, _ in TITLED} == files


@pytest.mark.parametrize(("title", "text"), TITLED, ids=[title for title, _ in TITLED])
def test_the_guide_shows_the_files_as_they_are(title: str, text: str) -> None:
    assert (EXAMPLE / title).read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("page", "program"),
    [
        pytest.param(page, program, id=name)
        for name, (page, program) in zip(NAMES, PROGRAMS, strict=True)
        if program.strip()
    ],
)
def test_programs_run(page: Path, program: str, server: Server, tmp_path: Path) -> None:
    path = os.pathsep.join([str(EXAMPLE / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = server.run([], cwd=tmp_path, program=program, PYTHONPATH=path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_are_spelt_right(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(line, comments=True)[1:]
    words = words[: words.index(">")] if ">" in words else words
    with pytest.raises(SystemExit) as end:
        main([*words, "--help"])
    assert end.value.code == 0, capsys.readouterr().err


@pytest.mark.parametrize("page", RUN, ids=[page.relative_to(ROOT).as_posix() for page in RUN])
def test_quick_commands_do_what_the_page_says(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    said = ""
    for one in fences(page):
        if one.title:
            (tmp_path / one.title).write_text(one.text, encoding="utf-8")
        elif one.tag == "run":
            said = "\n".join(_carried_out(line, capfd) for line in one.lines)
        elif one.tag == "seen":
            assert re.search(_pattern(one.text), " ".join(said.split())), said


def _carried_out(line: str, capfd: pytest.CaptureFixture[str]) -> str:
    """What a command said, stdout first; it has to end with exit code 0."""
    words = shlex.split(line, comments=True)
    if words[0] != "mmgrec":
        done = subprocess.run(["sh", "-ec", line], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        return done.stdout
    from mmgrec_cli.app import main

    words, target = (words[:-2], words[-1]) if ">" in words else (words, "")
    capfd.readouterr()
    with pytest.raises(SystemExit) as end:
        main([*words[1:], *_quick(words)])
    out, err = capfd.readouterr()
    assert end.value.code == 0, f"{line}\n{err}"
    if target:
        Path(target).write_text(out, encoding="utf-8")
    return f"{out}\n{err}"


def _quick(words: list[str]) -> list[str]:
    """Settings that are not on the page; a study's file has its own."""
    if words[1] != "run":
        return []
    sets = [one for one in QUICK if not (one.startswith("data.") and "--data" in words)]
    sets += [] if "--quantizer" in words else QUICK_QUANTIZER
    return [f"--set={one}" for one in sets if not any(given.startswith(one.split("=")[0]) for given in words)]


def _pattern(text: str) -> str:
    """A block of output as an expression: any white space for white space, anything for an ellipsis."""
    return r"\s*".join(
        ".*?" if word == "…" else ".*?".join(map(re.escape, word.split("…"))) + r"(?:\s+|$)" for word in text.split()
    )


def test_the_configuration_in_the_architecture_is_one() -> None:
    (text,) = [one.text for one in fences(DOCS / "explanation" / "architecture.md") if one.language == "toml"]
    made = Experiment.of(tomllib.loads(text))
    assert [row.label for row in made.rows] == ["mmgrec", "mmgrec (paper)", "popularity", "neighbours-50"]
    assert made.models[1].values()["network"]["dropout"] == 0.1


def without_code(page: Path) -> str:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", "", text)


def anchors(page: Path) -> set[str]:
    """What a link to a page may end in: its headings, as a forge and the site spell them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


LINKED = [*PAGES, EXAMPLE / "README.md", ROOT / "CHANGELOG.md"]


@pytest.mark.parametrize("page", LINKED, ids=[page.relative_to(ROOT).as_posix() for page in LINKED])
def test_links_lead_somewhere(page: Path) -> None:
    """Relative ones and their anchors; nothing is asked of the network."""
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page)):
        path, _, anchor = target.partition("#")
        if ":" in path:
            continue
        home = page.parent / path if path else page
        if not home.exists() or (anchor and anchor not in anchors(home)):
            wrong.append(target)
    assert wrong == []


@EACH
def test_programs_that_pages_name_exist(page: Path) -> None:
    """As in ``python bench/x.py``."""
    named = re.findall(r"\bpython ((?:bench|docs)/[\w/]+\.py)", page.read_text(encoding="utf-8"))
    assert [name for name in named if not (ROOT / name).exists()] == []


@EACH
def test_files_that_pages_name_exist(page: Path) -> None:
    """Seen from the root, or from the shipped plugins; the architecture has its own tests."""
    named = re.findall(r"`([\w-]+/[\w/-]+\.(?:py|toml|txt))`", page.read_text(encoding="utf-8"))
    homes = (ROOT, ROOT / "plugins" / "mmgrec_plugins", ROOT / "kernels", ROOT / "kernels" / "mmgrec_kernels")
    assert [name for name in named if not any((home / name).exists() for home in homes)] == []


def test_every_page_is_on_the_map() -> None:
    """From the index each page can be reached; the pages of the README are others'."""
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    wanted = [page.relative_to(DOCS).as_posix() for page in PAGES[1:] if page.name != "index.md"]
    assert [name for name in wanted if f"({name})" not in index] == []


@EACH
def test_nobody_is_a_he(page: Path) -> None:
    """A user is "they"."""
    assert re.findall(r"\b(?:he|his|him|himself|she|her|hers)\b", without_code(page), flags=re.IGNORECASE) == []


SHORT = [page for page in PAGES if page.stem != "architecture"]


@pytest.mark.parametrize("page", SHORT, ids=[page.relative_to(ROOT).as_posix() for page in SHORT])
def test_lines_are_short(page: Path) -> None:
    """Tables, blocks of code and what programs write about machines may be wider."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    lines = [line for line in text.splitlines() if not line.startswith(("|", "Medians; ", "Milliseconds per user"))]
    assert [line for line in lines if len(line) > 120] == []


def test_the_readme_shows_the_commands_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z]+):", makefile, flags=re.MULTILINE)
    assert {"demo", "test"} <= set(targets)
    assert [target for target in ("demo", "test") if f"make {target}" not in readme] == []


def test_the_pages_that_the_code_tells_are_what_it_says() -> None:
    program = [sys.executable, str(DOCS / "generate.py"), "--check"]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    for needed in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(needed, reason="the site needs the extra [docs]")
    program = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", "-b", "html"]
    done = subprocess.run([*program, str(DOCS), str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "explanation" / "method.html").exists()
