"""The page of a study or a run, written into its folder: what ``mmgrec report FOLDER`` does, which knows both."""

from __future__ import annotations

from pathlib import Path

from mmgrec.errors import RunError
from mmgrec.runs import REPORT, RunFolder, put_page
from mmgrec.storage import LOCK, lock
from mmgrec.studies.page_facts import read_folder

__all__ = ["rewrite_page", "write_page"]


def write_page(folder: Path) -> Path:
    """Write ``report.html`` into the folder of a run or a study, from the facts that are stored there.

    Raises:
        RunError: if the folder holds no results, a file of it cannot be read, or the disk refuses.
    """
    return put_page(folder, read_folder(folder))


def rewrite_page(folder: Path) -> Path:
    """`write_page` for a folder that is not being worked on, a run's files held against their manifest first.

    Raises:
        RunError: as `write_page`; or if another process is at the folder, or a file of the run is damaged.
    """
    read_folder(folder)
    try:
        with lock(folder / LOCK):
            home = RunFolder(path=folder)
            if home.finished:
                home.checked(but=(REPORT,))
            return write_page(folder)
    except OSError as error:
        raise RunError(
            f"cannot be written ({error.strerror})", where=str(folder / REPORT), code="storage.refused"
        ) from error
