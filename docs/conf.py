"""How Sphinx makes a site of these pages: ``make docs``. Nothing else in the project needs it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parents[1]))

from mmgrec import __version__

project = "mmgrec"
author = copyright = "The mmgrec authors"
version = release = __version__
language = "en"

extensions = ["myst_parser"]
exclude_patterns = ["_build", "examples"]
source_suffix = {".md": "markdown"}
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"mmgrec {__version__}"
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
nitpicky = True

HERE = Path(__file__).parent
FOLDERS = ("tutorials", "how-to", "reference", "explanation", "results")


def _prepared(app: Sphinx, name: str, source: list[str]) -> None:
    """Links that leave the site become plain words; behind the map stands the navigation, in its order."""
    home = (HERE / name).parent

    def inside(match: re.Match[str]) -> str:
        target = (home / match[2].partition("#")[0]).resolve()
        there = target.is_relative_to(HERE) and not target.is_dir()
        return match[0] if ":" in match[2] or match[2].startswith("#") or there else match[1]

    source[0] = re.sub(r"(?<!!)\[([^\]\n]+)\]\(([^)\s]+)\)", inside, source[0])
    if name == "index":
        pages = dict.fromkeys(re.findall(r"\(([\w-]+/[\w-]+)\.md\)", source[0]))
        for folder in FOLDERS:
            entries = "\n".join(page for page in pages if page.startswith(f"{folder}/"))
            caption = folder.capitalize()
            source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{entries}\n```\n"


def setup(app: Sphinx) -> None:
    """Diagrams stay as text: drawing them would ask a reader's browser to fetch a program."""
    app.add_lexer("mermaid", TextLexer)
    app.connect("source-read", _prepared)
