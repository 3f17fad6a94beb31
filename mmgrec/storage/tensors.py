"""Tensors and JSON in a folder that is either whole or not there.

Its manifest holds the SHA-256 of every file in it, and reading checks every byte. Nothing is ever unpickled.
Checkpoints, cached results and the finished rows of a run are such folders.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save
from torch import Tensor

from mmgrec.errors import RunError, reason_of
from mmgrec.storage.atomic import sha256_of, write_folder_atomically
from mmgrec.storage.sealed import MANIFEST

__all__ = ["Meta", "Tensors", "load_folder", "save_folder", "tensor_bytes", "tensors_equal"]

Meta = dict[str, Any]  # Any: whatever JSON can hold
Tensors = dict[str, dict[str, Tensor]]  # file stem -> name -> tensor


def tensor_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """The content of a safetensors file. Tensors that share memory (tied weights) are written once for each name."""
    contents: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, tensor in tensors.items():
        content = tensor.detach().cpu().contiguous()
        address = content.untyped_storage().data_ptr()
        contents[name] = content.clone() if address in taken else content
        taken.add(address)
    return save(contents)


def save_folder(path: Path, *, tensors: Tensors, meta: Meta) -> None:
    """Write ``<stem>.safetensors`` for each group, ``meta.json`` and the manifest, in place of what is there.

    Raises:
        RunError: if the disk refuses; nothing is left behind.
    """
    contents = {f"{stem}.safetensors": tensor_bytes(group) for stem, group in tensors.items()}
    contents["meta.json"] = json.dumps(meta, sort_keys=True).encode()
    manifest = {name: sha256_of(content) for name, content in sorted(contents.items())}
    contents[MANIFEST] = json.dumps(manifest, indent=1).encode()
    write_folder_atomically(path, contents)


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
        if sha256_of(content) != manifest[name]:
            raise RunError(
                "damaged, its SHA-256 is not the manifest's", where=str(path / name), code="storage.damaged-file"
            )
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
        manifest = json.loads(_own_bytes(path / MANIFEST))
        present = {entry.name for entry in path.iterdir()} - {MANIFEST}
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(path / MANIFEST, error) from error
    if not isinstance(manifest, dict) or "meta.json" not in manifest:
        raise RunError("not the manifest of a checkpoint", where=str(path / MANIFEST), code="storage.wrong-manifest")
    odd = sorted(present ^ set(manifest))
    if odd:
        names = ", ".join(name if len(name) <= 40 else f"{name[:40]}…" for name in odd[:3])
        raise RunError(
            f"its files do not match its manifest ({names})", where=str(path), code="storage.manifest-mismatch"
        )
    return manifest


def _own_bytes(path: Path) -> bytes:
    """A file's content; what is behind a symbolic link is no part of the folder."""
    if path.is_symlink():
        raise OSError(errno.ELOOP, "a symbolic link", str(path))
    return path.read_bytes()


def _unreadable(path: Path, error: Exception) -> RunError:
    return RunError(f"cannot be read ({reason_of(error)})", where=str(path), code="storage.unreadable")


def tensors_equal(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    """Same names, same bits."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
