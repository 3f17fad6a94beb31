"""Tuning by a grid: its points, and the journal of an optuna study that says what each of them scored.

The scores themselves come from finished cells; the journal mirrors them, so that optuna's own tools can look at it.
Choosing is done here: the highest score, of equal ones the first in the grid. Does not know how a cell is made.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmgrec.errors import Problem, RunError
from mmgrec.settings import Settings, flat

__all__ = ["best_place", "grid_points", "tell_journal"]


Table = dict[str, Any]  # Any: TOML


def grid_points(grid: Settings | Sequence[Settings], size: int, where: str, problems: list[Problem]) -> list[Table]:
    """The grid's points in order; where there are more than `size`, a seeded draw of so many.

    Args:
        grid: setting -> list of values, every combination is a point; or the points themselves, each a table of the
            same settings. Nested or with dotted names.
        size: points at most.
        where: put in front of problems.
        problems: a sentence is added for each setting without a list, and for points of different settings.
    """
    points = _combined(grid, where, problems) if isinstance(grid, Mapping) else _listed(grid, where, problems)
    if len(points) > size:
        chosen = sorted(random.Random(0).sample(range(len(points)), size))
        points = [points[place] for place in chosen]
    return points


def _combined(grid: Settings, where: str, problems: list[Problem]) -> list[Table]:
    lists = dict(flat(grid))
    wrong = [name for name, values in lists.items() if not isinstance(values, list | tuple) or not values]
    problems += [Problem(f"{where}.{name}: a list of values to try is needed", "studies.not-a-grid") for name in wrong]
    if wrong or not lists:
        return []
    return [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]


def _listed(grid: Sequence[Settings], where: str, problems: list[Problem]) -> list[Table]:
    points = [dict(flat(one)) for one in grid]
    first = set(points[0]) if points else set()
    for place, point in enumerate(points):
        if odd := sorted(first ^ set(point)):
            problems.append(
                Problem(
                    f"{where}: point {place + 1} and the first do not name the same settings ({', '.join(odd)})",
                    "studies.uneven-grid",
                )
            )
            return []
    return points


def best_place(scores: Sequence[float | None]) -> int | None:
    """Where the highest score is, the first of equal ones; None (failed) is no score."""
    known = [(score, -place) for place, score in enumerate(scores) if score is not None]
    return -max(known)[1] if known else None


def tell_journal(file: Path, name: str, points: Sequence[Settings], place: int, score: float | None) -> None:
    """Write a point's score (None: it failed) into the journal, unless it stands there already.

    Raises:
        RunError: if the journal cannot be read.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend
    from optuna.trial import TrialState

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    file.parent.mkdir(parents=True, exist_ok=True)
    choices = {key: list(dict.fromkeys(_text(point[key]) for point in points)) for key in points[0]}
    wanted = {key: _text(value) for key, value in points[place].items()}
    try:
        study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(file))),
            study_name=name,
            direction="maximize",
            load_if_exists=True,
        )
        for old in study.get_trials(deepcopy=False):
            if old.params == wanted and (old.state == TrialState.COMPLETE or score is None):
                return
        trial = optuna.trial.create_trial(
            state=TrialState.FAIL if score is None else TrialState.COMPLETE,
            params=wanted,
            distributions={
                key: optuna.distributions.CategoricalDistribution(values) for key, values in choices.items()
            },
            value=score,
        )
        study.add_trial(trial)
    except (OSError, ValueError, KeyError) as error:
        raise RunError(
            f"the journal cannot be used ({error})", where=file.name, remedy="delete it", code="studies.journal"
        ) from error


def _text(value: object) -> str:
    return json.dumps(value, sort_keys=True)
