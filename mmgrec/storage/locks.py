"""Locks that die with their process, on folders and on single results."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mmgrec.errors import RunError

__all__ = ["alone", "lock"]


@contextmanager
def lock(path: Path, *, what: str = "run") -> Iterator[None]:
    """An exclusive lock that the kernel drops with its process; the file names the holder.

    Args:
        path: the lock's file, in the folder that is locked.
        what: the holder is said to be writing this.

    Raises:
        RunError: if another process holds it, or the file cannot be made.
    """
    file = _locked(path, what)
    try:
        with contextlib.suppress(OSError):  # a full disk: the lock holds all the same, it only does not name its holder
            file.truncate(0)
            file.write(f"process {os.getpid()} since {time.strftime('%Y-%m-%d %H:%M:%S')}")
            file.flush()
        yield
    finally:
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            file.close()


def _locked(path: Path, what: str) -> IO[str]:
    """The open file of a lock, which is held until the file is closed."""
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            raise RunError(
                f"the lock cannot be taken ({error.strerror})",
                where=str(path),
                remedy="choose another folder",
                code="storage.cannot-lock",
            ) from None
        file = os.fdopen(handle, "r+", encoding="utf-8")  # held as long as the lock
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            file.close()
            raise RunError(
                f"{holder} is writing this {what}",
                where=str(path.parent),
                remedy="wait for it, or choose another --out",
                code="storage.locked",
            ) from None
        # The holder removes the file as it leaves: a lock on a removed file guards nothing.
        if path.exists() and os.fstat(file.fileno()).st_ino == path.stat().st_ino:
            return file
        file.close()


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Wait until no other process is at this result."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
