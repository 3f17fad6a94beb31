"""Whether a resumed run goes on with what it began with, and what lists say about the model that made them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from mmgrec.data import Dataset
from mmgrec.errors import PluginError
from mmgrec.guards.attribution import origin
from mmgrec.interfaces import (
    FittedRecommender,
    exclusion_of,
)
from mmgrec.recid import RecIDTable
from mmgrec.storage import sweep, write_atomically

__all__ = ["check_same_rec_ids", "list_warnings"]


_ASKED_TWICE = 16  # users whose lists are made twice, to see that they are the same


def list_warnings(fitted: FittedRecommender, data: Dataset, defects: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    """What the user should know of a recommender's lists before he believes them.

    Args:
        fitted: the recommender.
        data: its data.
        defects: part of the data -> kind of defect -> items, as the evaluation counted them.
    """
    for split, counts in defects.items():
        odd = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        if odd:
            yield f"its lists on {split} hold what they must not: {odd}"
    users = torch.arange(min(data.num_users, _ASKED_TWICE))
    exclusion = exclusion_of(data.train, users)
    once, again = (fitted.recommend(users, top_k=10, exclusion=exclusion).item for _ in range(2))
    if not torch.equal(once, again):
        yield "asked twice, it gives different lists; its results cannot be repeated"


def check_same_rec_ids(folder: Path | None, rec_ids: RecIDTable, part: object) -> None:
    """Refuse to go on with other Rec-IDs than those that an earlier attempt began with.

    Args:
        folder: the checkpoints of the attempt; None: there are none.
        rec_ids: those of now.
        part: the quantizer they came from.

    Raises:
        PluginError: if they differ: the quantizer does not give the same result twice.
    """
    if folder is None:
        return
    file = folder / "rec_ids.json"
    try:
        there = json.loads(file.read_bytes())
    except (OSError, ValueError):  # the first attempt, or a damaged file: the checkpoints decide
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder, file.name)  # an earlier attempt may have been killed within the write
        write_atomically(file, json.dumps(rec_ids.hash).encode())
        return
    if there != rec_ids.hash:
        raise PluginError(
            "it gave other Rec-IDs than before the interruption: it is not deterministic, or it or its data changed",
            where=origin(type(part)),
            remedy="delete the run folder to begin anew",
        )
