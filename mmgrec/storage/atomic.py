"""Files and folders that are whole or not there: written beside their final place, flushed to the disk, renamed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from mmgrec.errors import RunError, reason_of

__all__ = ["is_leftover", "sha256_of", "sweep", "write_atomically", "write_folder_atomically"]

_LEFTOVER = re.compile(r"\..+\.\d+\.tmp")  # what a killed writer leaves beside its goal


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader finds the old content or the new, never a part of it.

    Raises:
        RunError: if the disk refuses; the old content is intact.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)
        write_flushed(temporary, content)
        os.replace(temporary, path)
        _flush_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise _refused(path, len(content), error) from error


def write_folder_atomically(path: Path, contents: Mapping[str, bytes]) -> None:
    """Write a folder of files, name -> content, in place of what is there; it is whole or not there.

    Raises:
        RunError: if the disk refuses; nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        for name, content in contents.items():
            write_flushed(temporary / name, content)
        _flush_folder(temporary)
        _remove(path)
        os.rename(temporary, path)
        _flush_folder(path.parent)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise _refused(path, sum(map(len, contents.values())), error) from error


def sweep(folder: Path, name: str = "*") -> None:
    """Remove what killed writers of `name`, a pattern, left in a folder; nobody may be writing there."""
    for leftover in folder.glob(f".{name}.*.tmp"):
        if _LEFTOVER.fullmatch(leftover.name):
            _remove(leftover)


def is_leftover(name: str) -> bool:
    """Whether a file was being written when its process was killed."""
    return name.startswith(".") and name.endswith(".tmp")


def sha256_of(content: Path | bytes) -> str:
    """The digest of a file, read in pieces, or of bytes."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with open(content, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_flushed(path: Path, content: bytes) -> None:
    """Write a new file and have the disk hold it; every byte that is written here goes through this function."""
    with open(path, "xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _remove(path: Path) -> None:
    """A folder with all that is in it, a file, or nothing."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _flush_folder(path: Path) -> None:
    """Have the disk hold the names that a folder lists."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _refused(path: Path, size: int, error: OSError) -> RunError:
    return RunError(
        f"cannot write {size:,} bytes ({reason_of(error)})",
        where=str(path),
        remedy="free space or choose another folder, then run the same command again",
        code="storage.cannot-write",
    )
