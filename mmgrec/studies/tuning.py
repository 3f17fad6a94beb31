"""Tuning by a grid: its points, and the journal of an optuna study that says what each of them scored.

A study's rows get their points from `grid_points`, its plan asks `best_index` which of them won: the highest score, of
equal ones the first in the grid. The scores come from finished cells; the journal repeats them for optuna's own tools.
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

__all__ = ["best_index", "grid_points", "tell_journal"]

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
        points = [points[index] for index in chosen]
    return points


def _combined(grid: Settings, where: str, problems: list[Problem]) -> list[Table]:
    lists = dict(flat(grid))
    wrong = [name for name, values in lists.items() if not isinstance(values, list | tuple) or not values]
    problems += [Problem(f"{where}.{name}: a list of values to try is needed", "studies.not-a-grid") for name in wrong]
    if wrong or not lists:
        return []
    return [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]


def _listed(grid: Sequence[Settings], where: str, problems: list[Problem]) -> list[Table]:
    points = [dict(flat(point)) for point in grid]
    first = set(points[0]) if points else set()
    for number, point in enumerate(points, start=1):
        if odd := sorted(first ^ set(point)):
            problems.append(
                Problem(
                    f"{where}: point {number} and the first do not name the same settings ({', '.join(odd)})",
                    "studies.uneven-grid",
                )
            )
            return []
    return points


def best_index(scores: Sequence[float | None]) -> int | None:
    """The index of the highest score, the first of equal ones; None where there is none. A failed trial's is None."""
    known = [(score, -index) for index, score in enumerate(scores) if score is not None]
    return -max(known)[1] if known else None


def tell_journal(file: Path, name: str, points: Sequence[Settings], index: int, score: float | None) -> None:
    """Write a point's score into the journal, unless it stands there already.

    Args:
        file: the journal.
        name: of the optuna study in it.
        points: all points of the grid.
        index: which of them was tried.
        score: what it reached; None: it failed.

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
    wanted = {key: _text(value) for key, value in points[index].items()}
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
