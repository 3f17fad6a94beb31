"""The folder of a run, or of a study's cell: a sealed folder whose mark is ``run.toml``, with training checkpoints."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmgrec.errors import RunError, UserError
from mmgrec.runs.earlier import is_earlier
from mmgrec.runs.experiment import Experiment
from mmgrec.runs.layout import CHECKPOINTS, LOG, SETTINGS
from mmgrec.settings import Values, comparable, differences, first_differences, read_toml, toml_text
from mmgrec.storage import SealedFolder

__all__ = ["RunFolder", "identity"]

_CIRCUMSTANCES = "circumstances.json"


@dataclass(frozen=True, kw_only=True)
class RunFolder(SealedFolder):
    """One run's folder, or one cell's of a study."""

    kind = "run"
    called = "run folder"
    mark = SETTINGS
    beside = (LOG,)
    unsealed = (CHECKPOINTS,)
    again = "run the command again with another --out"

    @property
    def checkpoints(self) -> Path:
        return self.path / CHECKPOINTS

    def read_mark(self) -> Values:
        return read_toml(self.path / SETTINGS)

    def mark_bytes(self, wanted: Values) -> bytes:
        return toml_text(wanted).encode()

    def refusal(self, there: Values, wanted: Values) -> tuple[str, str] | None:
        if odd := differences(_as_of_now(there), wanted):
            sentence = f"this folder was made by other settings: {first_differences(odd)}"
            return sentence, "choose another folder with --out, or delete this one"
        return None

    def changed_since(self, circumstances: Values) -> str:
        """What is different from the attempt that began this run, as a sentence; the first attempt writes it down.

        Args:
            circumstances: what may change the last bits of a result and is no setting: versions, threads, device.
        """
        name = f"{CHECKPOINTS}/{_CIRCUMSTANCES}"
        try:
            there = self.json(name)
        except RunError:  # not there yet, or damaged: it only serves to warn
            there = None
        if not isinstance(there, dict):
            self.write(name, json.dumps(circumstances, indent=1).encode())
            return ""
        odd = differences(there, circumstances)
        return f"this run was begun otherwise, its last bits may differ: {first_differences(odd)}" if odd else ""

    def settings(self) -> dict[str, Any]:  # Any: TOML
        """What ``--config`` takes back.

        Raises:
            RunError: if this is no run folder.
        """
        if not (self.path / SETTINGS).is_file():
            raise RunError(
                "there is no run in this folder", where=str(self.path), remedy="check the path", code="runs.no-run"
            )
        values = read_toml(self.path / SETTINGS)
        values.pop("fingerprint", None)
        return values

    def finish(self) -> None:
        """Seal the folder; then the checkpoints go."""
        self.seal()
        shutil.rmtree(self.checkpoints, ignore_errors=True)

    def checked(self, *, but: Sequence[str] = ()) -> None:
        if not self.finished:
            self.settings()
            raise RunError(
                "this run is not finished",
                where=str(self.path),
                remedy="run its command again, it resumes",
                code="runs.unfinished",
            )
        super().checked(but=but)


def _as_of_now(there: Values) -> Values:
    """Settings that an earlier version wrote, with those of this one; as they are where these cannot be said."""
    if not is_earlier(there):
        return there
    values = dict(there)
    fingerprint = {key: values.pop(key) for key in ("fingerprint",) if key in values}
    try:
        return {**Experiment.of(values).values(), **fingerprint}
    except UserError:
        return there


def identity(values: Values, fingerprint: str) -> str:
    """A short name of settings, seed and data: equal for equal runs, wherever the data lie."""
    text = json.dumps({**comparable(values), "fingerprint": fingerprint}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
