"""``mmgrec report``: a page again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmgrec_cli import options, render

__all__ = ["report"]


def report(
    folder: Annotated[Path, typer.Argument(help="A run's or a study's folder.", metavar="FOLDER", show_default=False)],
    json: options.Json = False,
) -> None:
    """Write a run's or a study's page anew, from the facts in its folder; it opens in any browser, offline."""
    from mmgrec.studies import rewrite_page

    page = rewrite_page(folder).as_posix()
    if json:
        render.as_json({"page": page})
    else:
        render.text(f"Page: {page}")
