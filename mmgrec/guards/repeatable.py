"""Checks that a model is the same twice: after an interruption, and when it is asked again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from mmgrec.data import Dataset
from mmgrec.errors import PluginError
from mmgrec.guards.attribution import origin
from mmgrec.interfaces import FittedRecommender, exclusion_of
from mmgrec.recid import RecIDTable
from mmgrec.storage import sweep, write_atomically

__all__ = ["check_same_rec_ids", "list_warnings"]

_USERS_ASKED_TWICE = 16  # users whose lists are made twice, to see that they are the same


def list_warnings(fitted: FittedRecommender, data: Dataset, defects: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    """What readers should know of a recommender's lists before they believe its results, a sentence each.

    Lists with defects are named, and so is a recommender that gives other lists when it is asked again.

    Args:
        fitted: the recommender.
        data: its data.
        defects: part of the data -> kind of defect -> items, as the evaluation counted them.
    """
    for split, counts in defects.items():
        present = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        if present:
            yield f"its lists on {split} hold what they must not: {present}"
    users = torch.arange(min(data.num_users, _USERS_ASKED_TWICE))
    exclusion = exclusion_of(data.train, users)
    once, again = (fitted.recommend(users, top_k=10, exclusion=exclusion).item for _ in range(2))
    if not torch.equal(once, again):
        yield "asked twice, it gives different lists; its results cannot be repeated"


def check_same_rec_ids(folder: Path | None, rec_ids: RecIDTable, part: object) -> None:
    """Refuse to go on with other Rec-IDs than those that an earlier attempt began with.

    Args:
        folder: where checkpoints are kept; None: nowhere, and nothing is checked.
        rec_ids: those of this attempt. The first attempt's hash is kept in the folder.
        part: the quantizer they came from.

    Raises:
        PluginError: if they differ: the quantizer does not give the same result twice.
    """
    if folder is None:
        return
    file = folder / "rec_ids.json"
    try:
        before = json.loads(file.read_bytes())
    except (OSError, ValueError):  # the first attempt, or a damaged file: the checkpoints decide
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder, file.name)  # an earlier attempt may have been killed within the write
        write_atomically(file, json.dumps(rec_ids.hash).encode())
        return
    if before != rec_ids.hash:
        raise PluginError(
            "it gave other Rec-IDs than before the interruption: it is not deterministic, or it or its data changed",
            where=origin(type(part)),
            remedy="delete the run folder to begin anew",
            code="guards.other-rec-ids",
        )
