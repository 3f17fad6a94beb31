"""Tensors and JSON in a folder that is either whole or not there.

A folder is written beside its final place, flushed to the disk and renamed into place; its manifest holds the SHA-256
of every file in it. `CheckpointFolder` keeps the newest few of a series and falls back to an older one where the newest
is damaged. Nothing is ever unpickled. Knows nothing of models.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save
from torch import Tensor

from mmgrec.errors import RunError, reason_of

__all__ = ["CheckpointFolder", "load_folder", "save_folder", "sweep", "tensor_bytes", "write_atomically"]

Meta = dict[str, Any]  # Any: whatever JSON can hold
Tensors = dict[str, dict[str, Tensor]]  # file stem -> name -> tensor
_MANIFEST = "manifest.json"
_LEFTOVER = re.compile(r"\..+\.\d+\.tmp")  # what a killed writer leaves beside its goal


def tensor_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """The content of a safetensors file. Tensors that share memory (tied weights) are written once for each name."""
    told: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, tensor in tensors.items():
        one = tensor.detach().cpu().contiguous()
        place = one.untyped_storage().data_ptr()
        told[name] = one.clone() if place in taken else one
        taken.add(place)
    return save(told)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader finds the old content or the new, never a part of it.

    Raises:
        RunError: if the disk refuses; the old content is intact.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)
        _write_flushed(temporary, content)
        os.replace(temporary, path)
        _flush_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise _refused(path, len(content), error) from error


def sweep(folder: Path, name: str = "*") -> None:
    """Remove what killed writers of `name`, a pattern, left in a folder; nobody may be writing there."""
    for leftover in folder.glob(f".{name}.*.tmp"):
        if _LEFTOVER.fullmatch(leftover.name):
            _remove(leftover)


def save_folder(path: Path, *, tensors: Tensors, meta: Meta) -> None:
    """Write ``<stem>.safetensors`` for each group, ``meta.json`` and the manifest, in place of what is there.

    Raises:
        RunError: if the disk refuses; nothing is left behind.
    """
    contents = {f"{stem}.safetensors": tensor_bytes(group) for stem, group in tensors.items()}
    contents["meta.json"] = json.dumps(meta, sort_keys=True).encode()
    manifest = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(contents.items())}
    contents[_MANIFEST] = json.dumps(manifest, indent=1).encode()
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    size = sum(map(len, contents.values()))
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        for name, content in contents.items():
            _write_flushed(temporary / name, content)
        _flush_folder(temporary)
        _remove(path)
        os.rename(temporary, path)
        _flush_folder(path.parent)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise _refused(path, size, error) from error


def load_folder(path: Path) -> tuple[Tensors, Meta]:
    """Read a folder made by `save_folder`, every byte checked against the manifest.

    Raises:
        RunError: if a file is missing, surplus or damaged; the sentence names it.
    """
    manifest = _manifest(path)
    try:
        contents = {name: _own_bytes(path / name) for name in manifest}
    except OSError as error:
        raise _unreadable(Path(error.filename or path), error) from error
    for name, content in contents.items():
        if hashlib.sha256(content).hexdigest() != manifest[name]:
            raise RunError("damaged, its SHA-256 is not the manifest's", where=str(path / name))
    try:
        tensors = {
            name.removesuffix(".safetensors"): load_tensors(content)
            for name, content in contents.items()
            if name.endswith(".safetensors")
        }
        return tensors, json.loads(contents["meta.json"])
    except (SafetensorError, ValueError, RecursionError) as error:
        raise _unreadable(path, error) from error


def _manifest(path: Path) -> dict[str, str]:
    """Names and digests; the names are exactly those of the files beside it."""
    try:
        manifest = json.loads(_own_bytes(path / _MANIFEST))
        present = {entry.name for entry in path.iterdir()} - {_MANIFEST}
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(path / _MANIFEST, error) from error
    if not isinstance(manifest, dict) or "meta.json" not in manifest:
        raise RunError("not the manifest of a checkpoint", where=str(path / _MANIFEST))
    odd = sorted(present ^ set(manifest))
    if odd:
        names = ", ".join(name if len(name) <= 40 else f"{name[:40]}…" for name in odd[:3])
        raise RunError(f"its files do not match its manifest ({names})", where=str(path))
    return manifest


def _own_bytes(path: Path) -> bytes:
    """A file's content; what is behind a symbolic link is no part of the folder."""
    if path.is_symlink():
        raise OSError(errno.ELOOP, "a symbolic link", str(path))
    return path.read_bytes()


def _unreadable(path: Path, error: Exception) -> RunError:
    return RunError(f"cannot be read ({reason_of(error)})", where=str(path))


def _remove(path: Path) -> None:
    """A folder with all that is in it, a file, or nothing."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@dataclass(frozen=True, kw_only=True)
class CheckpointFolder:
    """A series of checkpoints, each a folder named by its number; the newest `keep` stay."""

    root: Path
    keep: int = 2

    def save(self, number: int, *, tensors: Tensors, meta: Meta) -> None:
        """Write checkpoint `number`, then drop those after it, which `latest` has passed over, and the oldest.

        Raises:
            RunError: if the disk refuses; older checkpoints are intact.
        """
        save_folder(self.root / f"{number:08d}", tensors=tensors, meta=meta)
        numbered = self._numbered()
        damaged = [entry for entry in numbered if int(entry.name) > number]
        for dropped in damaged + numbered[: len(numbered) - len(damaged)][: -self.keep]:
            shutil.rmtree(dropped, ignore_errors=True)

    def latest(self, warn: Callable[[str], None]) -> tuple[Tensors, Meta] | None:
        """The newest whole checkpoint, or None where there never was one.

        Raises:
            RunError: if there are checkpoints and none of them is whole.
        """
        if not self.root.is_dir():
            return None
        sweep(self.root)
        candidates = self._numbered()[::-1]
        for place, candidate in enumerate(candidates, start=1):
            try:
                return load_folder(candidate)
            except RunError as error:
                before = "; the one before it is used" if place < len(candidates) else ""
                warn(f"checkpoint passed over: {str(error).rstrip('.')}{before}.")
        if candidates:
            raise RunError(
                "no checkpoint here is whole", where=str(self.root), remedy="delete this folder to start again"
            )
        return None

    def _numbered(self) -> list[Path]:
        return sorted(entry for entry in self.root.iterdir() if re.fullmatch(r"[0-9]{8}", entry.name))


def _write_flushed(path: Path, content: bytes) -> None:
    with open(path, "xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(path: Path) -> None:
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
    )


def tensors_equal(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    """Same names, same bits."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
