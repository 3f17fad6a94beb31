"""What a run writes beside its results: tables in Parquet, what its models do, the page.

`mmgrec.runs.execution` calls these once all rows are made. Where the page cannot be made the run warns and goes on, for
its results are worth more than a picture.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from mmgrec.data import Dataset
from mmgrec.evaluation import Report
from mmgrec.interfaces import Reporter
from mmgrec.storage import Json, Tensors

__all__ = ["insight_bytes", "per_user_parquet", "rec_id_parquet", "user_parquet", "written_page"]


def insight_bytes(insights: Mapping[str, Json | None]) -> bytes:
    """``insight.json`` of models by label; the same bytes whether facts come from memory or from the disk."""
    models = {label: facts for label, facts in insights.items() if facts is not None}
    return (json.dumps({"schema": 1, "models": models}, sort_keys=True, ensure_ascii=False) + "\n").encode()


def written_page(folder: Path, log: Reporter) -> None:
    """Write the page; where that fails, a warning says why."""
    from mmgrec.runs.page import write_page

    try:
        write_page(folder)
    except Exception as error:
        log.warn(f"there is no page: {type(error).__name__}: {error}; `mmgrec report` tries again")


def rec_id_parquet(data: Dataset, token: Tensor) -> bytes:
    """The Rec-ID of each item ``[num_items, num_levels]``, under the item's own id."""
    import polars

    columns: dict[str, object] = {"item": [data.item_id(item) for item in range(data.num_items)]}
    columns |= {f"token_{level}": token[:, level].numpy() for level in range(token.shape[1])}
    return _parquet(polars.DataFrame(columns))


def per_user_parquet(rows: Mapping[str, Tensors], splits: Sequence[str]) -> bytes:
    """One row for each model, split and user; one column for each metric."""
    import polars

    frames = [
        polars.DataFrame(
            {"model": label, "split": split, **{name: value.numpy() for name, value in sorted(tensors[split].items())}}
        )
        for label, tensors in rows.items()
        for split in splits
        if split in tensors
    ]
    return _parquet(polars.concat(frames, how="diagonal"))


def user_parquet(report: Report) -> bytes:
    """One row for each user of a report; one column for each metric."""
    import polars

    columns = {"user": report.user.numpy(), **{name: value.numpy() for name, value in report.per_user.items()}}
    return _parquet(polars.DataFrame(columns))


def _parquet(frame: Any) -> bytes:  # Any: polars.DataFrame, imported late
    import io

    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()
