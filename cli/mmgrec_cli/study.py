"""``mmgrec study``: many models, data sets and seeds, tuned alike."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmgrec_cli import options, render

if TYPE_CHECKING:
    from mmgrec.errors import Problem
    from mmgrec.studies import CellJob, Study

__all__ = ["study"]

_EVERY = 30.0  # seconds between two lines on what is being done


def study(
    name: Annotated[str, typer.Argument(help="A built-in study, or a TOML file.", metavar="NAME")] = "",
    more: Annotated[
        list[Path] | None, typer.Argument(help="Further data folders.", metavar="PATH...", hidden=True)
    ] = None,
    data: Annotated[
        list[Path], typer.Option("--data", help="Data folders; without them the study's own.", metavar="PATH...")
    ] = [],  # noqa: B006
    seeds: Annotated[int | None, typer.Option("--seeds", help="So many seeds, from 0 [5].", max=10_000)] = None,
    jobs: Annotated[int, typer.Option("--jobs", help="Cells made at the same time.", min=1)] = 1,
    threads: Annotated[
        int, typer.Option("--threads", help="CPU threads of each.", min=1, max=options.MOST_THREADS)
    ] = 1,
    device: options.Device = "cpu",
    out: Annotated[str, typer.Option("--out", help="The study's folder [studies/NAME].", metavar="DIR")] = "",
    models: Annotated[str, typer.Option("--models", help="Only these rows.", metavar="A,B")] = "",
    against: Annotated[str, typer.Option("--against", help="The model that is tested against all others.")] = "",
    sets: Annotated[
        list[str], typer.Option("--set", help="One setting, for every model that has it.", metavar="PART.FIELD=VALUE")
    ] = [],  # noqa: B006
    mask: options.Mask = "",
    grid_size: Annotated[int | None, typer.Option("--grid-size", help="Points tried of a grid [6].", min=1)] = None,
    listed: Annotated[bool, typer.Option("--list", help="Show the built-in studies.")] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Show what would be done, and do nothing.")] = False,
    json: options.Json = False,
) -> None:
    """Fit and compare many models over seeds and data sets: tables, tests, tuning; resumable at any point."""
    from mmgrec.studies import STUDIES

    if listed:
        rows = [
            {"study": key, "title": str(definition["title"]), "models": list(definition["models"])}
            for key, definition in STUDIES.items()
        ]
        if json:
            render.as_json(rows)
        else:
            render.table(
                "",
                ("study", "what it shows", "models"),
                [(row["study"], row["title"], len(row["models"])) for row in rows],
            )
        return
    wanted = _study_of(name, [*data, *(more or ())], seeds, models, against, sets, mask, grid_size)
    chosen = str(options.device_of(device))
    folder = Path(out) if out else Path("studies") / wanted.name
    for model in wanted.absent:
        render.note(f"left out: {model}")
    if plan:
        from mmgrec.studies import plan_study as planned

        cells = planned(wanted, folder).described()
        if json:
            render.as_json(cells)
        else:
            done = sum(cell["done"] for cell in cells)
            render.table(
                f"{wanted.name}: {len(cells)} cells, {done} done",
                ("cell", "folder", "state"),
                [(cell["cell"], cell["folder"], "done" if cell["done"] else cell["state"]) for cell in cells],
            )
        return
    from mmgrec.studies import run_study

    results = run_study(wanted, folder, jobs=jobs, threads=threads, device=chosen, watch=_Watcher())
    if json:
        render.as_json(results.to_json())
    else:
        render.study(results)
        render.text(f"Study folder: {folder.as_posix()}")
        render.page(folder)
    if results.failed:
        render.note(f"{len(results.failed)} cells failed; the same command tries them again:")
        for cell, sentence in results.failed.items():
            render.note(f"  {cell}: {sentence}")
        raise typer.Exit(1)


def _study_of(
    name: str,
    paths: list[Path],
    seeds: int | None,
    models: str,
    against: str,
    sets: list[str],
    mask: str,
    grid_size: int | None,
) -> Study:
    """The definition, then ``--set``, then flags.

    Raises:
        SettingsError: with everything that is wrong.
    """
    from mmgrec.errors import SettingsError, near_miss
    from mmgrec.settings import apply_sets, merge, read_toml
    from mmgrec.studies import STUDIES

    definition: dict[str, Any]  # Any: TOML
    file = Path(name)
    if name in STUDIES:
        definition = {**STUDIES[name]}
    elif file.suffix == ".toml":
        definition = {**read_toml(file)}
    else:
        what = f"there is no study {name!r}" if name else "the name of a study is needed"
        raise SettingsError(
            [f"{what}; {near_miss(name, STUDIES)}"],
            remedy="or give a TOML file of your own",
            code="cli.unknown-study" if name else "cli.no-study-named",
        )
    from mmgrec.studies import COMMON, Study

    problems: list[Problem] = []
    flags: dict[str, Any] = {key: name for key, name in (("mask", mask), ("against", against)) if name}  # Any: TOML
    flags |= {key: count for key, count in (("seeds", seeds), ("grid_size", grid_size)) if count is not None}
    over = merge(apply_sets(sets, parts=(*COMMON, "data", "models", "tune"), problems=problems), flags)
    return Study.of(
        name if name in STUDIES else file.stem,
        definition,
        over=over,
        paths=paths,
        lenient=name in STUDIES,
        only=list(dict.fromkeys(label.strip() for label in models.split(",") if label.strip())),
        problems=problems,
    )


class _Watcher:
    """A `StudyObserver` for people: a line when a cell begins and ends, and now and then what it is at."""

    def __init__(self) -> None:
        self._spoken: dict[str, float] = {}  # cell -> when its last line was

    def planned(self, cells: int, done: int) -> None:
        render.note(f"{cells} cells, {done} of them done")

    def begun(self, job: CellJob) -> None:
        self._spoken[job.name] = time.monotonic()
        render.note(f"[{job.number}/{job.total}] {job.name}")

    def progress(self, job: CellJob, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._spoken.get(job.name, now) >= _EVERY:
            self._spoken[job.name] = now
            render.note(f"[{job.number}/{job.total}] {job.name}: {stage} {done}/{total}")

    def ended(self, job: CellJob, seconds: float, problem: str, left: float | None) -> None:
        what = f"failed: {problem}" if problem else f"done in {render.clock(seconds)}"
        rest = "" if left is None else f"; about {render.clock(left)} left"
        render.note(f"[{job.number}/{job.total}] {job.name}: {what}{rest}")

    def note(self, text: str) -> None:
        render.note(text)
