"""What can be odd about timestamps: units that are mixed, equal times, a split that goes against time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mmgrec.data import TRAIN
from mmgrec.folder.contents import INTERACTIONS, Array, Finding, counted, such, warning

__all__ = ["time_oddities"]

#: What a number may count since 1970 if it is a time between 1973 and 2286.
_UNITS = {
    "seconds": (1e8, 1e10),
    "milliseconds": (1e11, 1e13),
    "microseconds": (1e14, 1e16),
    "nanoseconds": (1e17, 1e19),
}
_STRAY = 0.5  # share of users whose test goes against time from which on the split is no split by time


def time_oddities(user: Array, timestamp: Array, part: Array | None) -> Iterator[Finding]:
    """Warnings on the timestamps ``[N]`` of rows of users ``[N]`` and, where a split is given, on its parts ``[N]``."""
    yield from _mixed_units(timestamp)
    order = np.lexsort((timestamp, user))
    same = (np.diff(user[order]) == 0) & (np.diff(timestamp[order]) == 0)
    if same.any():
        row = order[1:][same].min()
        what = f"row {row}: user {user[row]} has several rows of one time ({such(same.sum())})"
        yield warning(INTERACTIONS, what, "the order in the file decides between them", code="folder.equal-times")
    if part is not None:
        yield from _against_time(user, timestamp, part)


def _mixed_units(timestamp: Array) -> Iterator[Finding]:
    """Times of which some count seconds and others milliseconds, told by their size."""
    size = np.abs(timestamp.astype(np.float64))
    inside = {name: (size >= least) & (size < most) for name, (least, most) in _UNITS.items()}
    units = {name: rows for name, rows in inside.items() if rows.any()}
    rest = ~np.any(list(inside.values()), axis=0)
    if units and rest.any():
        units["something else"] = rest
    if len(units) < 2:
        return
    counts = ", ".join(f"{counted(int(rows.sum()), 'row')} in {name}" for name, rows in units.items())
    rarest = min(units, key=lambda name: int(units[name].sum()))
    row = int(units[rarest].argmax())
    yield warning(
        INTERACTIONS,
        f"timestamps mix units ({counts}); row {row} has {timestamp[row]}",
        "bring all to one unit, or a split by time goes wrong",
        code="folder.mixed-time-units",
    )


def _against_time(user: Array, timestamp: Array, part: Array) -> Iterator[Finding]:
    """Users with a held-out row before their last training row."""
    last = np.full(int(user.max()) + 1, np.iinfo(np.int64).min)
    train = part == TRAIN
    np.maximum.at(last, user[train], timestamp[train].astype(np.int64))
    early = ~train & (timestamp < last[user])
    held = np.unique(user[~train]).size
    if not early.any():
        return
    users, row = np.unique(user[early]).size, int(early.argmax())
    if users / held > _STRAY:
        share = f"{users / held:.0%} of the users train on rows newer than held-out ones"
        yield warning(
            INTERACTIONS,
            f"the given split does not follow time: {share}",
            "for a split by time use split = temporal or leave-one-out",
            code="folder.split-ignores-time",
        )
    else:
        what = f"row {row} is held out but older than a training row of user {user[row]} ({such(early.sum())}, "
        what += f"{counted(users, 'user')}): the future leaks into training"
        remedy = "draw the split again with split = temporal or leave-one-out"
        yield warning(INTERACTIONS, what, remedy, code="folder.future-leaks")
