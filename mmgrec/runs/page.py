"""The page of a run: ``report.html`` in its folder."""

from __future__ import annotations

from pathlib import Path

from mmgrec.report import PageFacts, page_html
from mmgrec.runs.folder import RunFolder
from mmgrec.runs.layout import REPORT
from mmgrec.runs.page_facts import run_facts

__all__ = ["put_page", "write_page"]


def write_page(folder: Path) -> Path:
    """Write ``report.html`` into a run's folder, from the facts that are stored there.

    Raises:
        RunError: if the folder holds no results, a file of it cannot be read, or the disk refuses.
    """
    return put_page(folder, run_facts(folder))


def put_page(folder: Path, facts: PageFacts) -> Path:
    """Write the page of these facts; where the folder is sealed already, its manifest is told of the new page.

    Raises:
        RunError: if the disk refuses.
    """
    home = RunFolder(path=folder)
    home.write(REPORT, page_html(facts).encode())
    home.reseal(REPORT)
    return folder / REPORT
