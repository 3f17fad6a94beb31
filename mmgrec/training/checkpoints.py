"""A series of checkpoints: the newest few stay, and where the newest is damaged an older one is used."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mmgrec.errors import RunError
from mmgrec.storage import Meta, Tensors, load_folder, save_folder, sweep

__all__ = ["CheckpointFolder"]


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
        """The newest whole checkpoint, or None where there never was one; `warn` hears of each that is passed over.

        Raises:
            RunError: if there are checkpoints and none of them is whole.
        """
        if not self.root.is_dir():
            return None
        sweep(self.root)
        candidates = self._numbered()[::-1]
        for number, candidate in enumerate(candidates, start=1):
            try:
                return load_folder(candidate)
            except RunError as error:
                before = "; the one before it is used" if number < len(candidates) else ""
                warn(f"checkpoint passed over: {str(error).rstrip('.')}{before}.")
        if candidates:
            raise RunError(
                "no checkpoint here is whole",
                where=str(self.root),
                remedy="delete this folder to start again",
                code="training.no-whole-checkpoint",
            )
        return None

    def _numbered(self) -> list[Path]:
        return sorted(entry for entry in self.root.iterdir() if re.fullmatch(r"[0-9]{8}", entry.name))
