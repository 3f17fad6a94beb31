"""All that the command line prints: answers on stdout, talk on stderr. Nothing else in the project prints.

A command that has something to say calls a function here. Data's own strings are escaped, so that an item called
``[bold]`` stays one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mmgrec.errors import SettingsError, UserError
from mmgrec.registry import OK, Plugin
from mmgrec.settings import Setting

if TYPE_CHECKING:
    from mmgrec.evaluation import Report
    from mmgrec.runs import Comparison, RunOutcome
    from mmgrec.studies import StudyResults

__all__ = [
    "as_json",
    "clock",
    "comparison",
    "data_report",
    "evaluation",
    "fault",
    "health",
    "inert",
    "note",
    "page",
    "plugins",
    "problem",
    "results",
    "settings",
    "stderr_console",
    "study",
    "table",
    "text",
    "warning",
]

#: Control characters (but tab and new line), marks that turn the direction of writing, halves of characters.
_ACTIVE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_PLAIN_WIDTH = 180  # columns where the output is no terminal
_WIDE = 160  # columns that the table of all metrics needs


def _out(*, stderr: bool = False) -> Console:
    """Made anew each time, so that whoever redirects the streams is obeyed."""
    console = Console(stderr=stderr, highlight=False)
    return console if console.is_terminal else Console(stderr=stderr, highlight=False, width=_PLAIN_WIDTH)


def inert(line: str) -> str:
    """Text that cannot steer a terminal: what would is spelt as in JSON.

    >>> inert("\x1b[2J")
    '\\\\u001b[2J'
    """
    return _ACTIVE.sub(lambda sign: f"\\u{ord(sign.group()):04x}", line)


def _safe(line: str) -> str:
    """Inert, and no markup."""
    return escape(inert(line))


def as_json(value: object) -> None:
    """One JSON document on stdout."""
    text(json.dumps(value, indent=2, ensure_ascii=False))


def text(line: str) -> None:
    """Text as it is, on stdout."""
    _out().print(inert(line), markup=False, soft_wrap=True)


def note(line: str) -> None:
    """A remark, on stderr."""
    _out(stderr=True).print(inert(line), markup=False, soft_wrap=True)


def warning(line: str) -> None:
    """Something that deserves a look, on stderr."""
    _out(stderr=True).print(f"[yellow]warning:[/] {_safe(line)}", soft_wrap=True)


def stderr_console() -> Console:
    """For the progress bar."""
    return _out(stderr=True)


def problem(error: UserError) -> None:
    """The user's mistake; several mistakes stand one below the other."""
    out = _out(stderr=True)
    if isinstance(error, SettingsError) and len(error.problems) > 1:
        out.print(f"[red]error:[/] {len(error.problems)} settings are wrong", soft_wrap=True)
        for sentence in error.problems:
            out.print(f"  {_safe(sentence)}", soft_wrap=True)
    else:
        out.print(f"[red]error:[/] {_safe(str(error))}", soft_wrap=True)


def fault(error: BaseException, plugin: Plugin | None = None) -> None:
    """A mistake that is not the user's: of the package whose command was called, else ours."""
    line = f"{type(error).__name__}: {' '.join(str(error).split())}"
    out = _out(stderr=True)
    out.print(f"[red]internal error:[/] {_safe(f'{plugin}: {line}' if plugin else line)}", soft_wrap=True)
    whose = f"{_safe(plugin.distribution)}; tell its author, or" if plugin else "mmgrec or of a plugin;"
    out.print(f"This is a fault of {whose} run the command again with --debug to see where.", soft_wrap=True)


def table(title: str, head: Sequence[str], rows: Iterable[Sequence[Any]], *, numbers: int = 0) -> None:
    """A table on stdout; the last `numbers` columns are aligned to the right."""
    grid = Table(title=_safe(title) or None, title_justify="left", title_style="bold")
    for column, name in enumerate(head):
        right = column >= len(head) - numbers
        grid.add_column(_safe(name), justify="right" if right else "left", no_wrap=right or column == 0)
    for row in rows:
        grid.add_row(*(cell(value) for value in row))
    _out().print(grid)


def cell(value: object) -> str:
    """A value as it stands in a table."""
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 100 else f"{value:.1f}"
    return _safe(str(value))


def plugins(rows: Sequence[Plugin]) -> None:
    """The list of plugins; what cannot be used is red."""
    grid = Table(title=None)
    for name in ("kind", "name", "what it does", "distribution", "status"):
        grid.add_column(name, no_wrap=name in ("kind", "name"))
    for row in rows:
        grid.add_row(
            row.kind,
            _safe(row.name),
            _safe(row.summary),
            _safe(f"{row.distribution} {row.version}"),
            _safe(row.status),
            style=None if row.status == OK else "red",
        )
    _out().print(grid)


def settings(sections: Mapping[str, Sequence[Setting]]) -> None:
    """Every setting with its value, type and comment, section by section."""
    for section, rows in sections.items():
        grid = Table(title=_safe(f"[{section}]"), title_justify="left", title_style="bold")
        for name in ("setting", "value", "type", "meaning"):
            grid.add_column(name)
        for row in rows:
            value = "(required)" if row.required else row.default
            grid.add_row(_safe(row.name), _safe(value), _safe(row.type), _safe(row.comment))
        _out().print(grid)


def results(outcome: RunOutcome) -> None:
    """The result table of a run, and what is worth knowing about its Rec-IDs and lists."""
    found = outcome.results
    data, ids, lists = found.data, found.rec_ids, found.decoding
    text(
        f"{data.name}: {data.num_users} users, {data.num_items} items, {data.num_interactions} interactions; "
        f"seed {found.seed}"
    )
    names = _shown_metrics(list(dict.fromkeys(name for row in found.results for name in row.metrics)))
    for split in dict.fromkeys(row.split for row in found.results):
        rows = [row for row in found.results if row.split == split]
        table(
            f"{split} ({rows[0].mask} masked)",
            ("model", *names, "fit s", "rank s"),
            [
                (
                    row.model,
                    *(row.metrics.get(name, "") for name in names),
                    f"{row.seconds.fit:.1f}",
                    f"{row.seconds.recommend:.1f}",
                )
                for row in rows
            ],
            numbers=len(names) + 2,
        )
    usage = ", ".join(f"{share:.0%}" for share in ids.usage)
    text(
        f"Rec-IDs: {ids.num_levels} tokens, usage {usage}; {ids.unique_before_collision:.1%} unique before the "
        f"collision token, largest group {ids.largest_group}"
    )
    gap = lists.recall_of_exact
    text(
        f"Lists: {lists.users} users, {lists.invalid} invalid, {lists.duplicate} duplicate, "
        f"{lists.seen} seen items" + ("" if gap is None else f"; {gap:.1%} of the exact decoder's top 10 are found")
    )
    text(f"Run folder: {outcome.folder.as_posix()}")


def _shown_metrics(names: list[str]) -> list[str]:
    """Every metric at the first length, the two main ones at the others too, and those alone on a narrow terminal."""
    if _out().width < _WIDE:
        main = list(dict.fromkeys(name.partition("@")[0] for name in names))[:2]
        return [name for name in names if name.partition("@")[0] in main]
    lengths = list(dict.fromkeys(name.partition("@")[2] for name in names))
    main = list(dict.fromkeys(name.partition("@")[0] for name in names))[:2]
    return [name for name in names if name.endswith(f"@{lengths[0]}") or name.partition("@")[0] in main]


def evaluation(model: str, report: Report) -> None:
    """One model's metrics."""
    title = f"{model} on {report.split}, {report.mask} masked, {report.num_users} users"
    table(title, ("metric", "value"), list(report.metrics.items()), numbers=1)


def health(report: Mapping[str, Any]) -> None:
    """Rec-IDs level by level, alarms last."""
    last = report["num_levels"] - 1
    left = [*(report["reconstruction"] or [""] * last), ""]
    table(
        f"{report['num_items']} items, Rec-IDs {report['hash'][:12]}",
        ("level", "vocabulary", "usage", "perplexity", "variance left"),
        [
            (level if level < last else "collision", *row)
            for level, row in enumerate(
                zip(report["level_sizes"], report["usage"], report["perplexity"], left, strict=True)
            )
        ],
        numbers=4,
    )
    text(
        f"{report['unique_before_collision']:.1%} of the items are unique before the collision token; "
        f"the largest group has {report['largest_group']} items"
    )
    for alarm in report["alarms"]:
        text(f"ALARM: {alarm}")


def comparison(rows: Sequence[Comparison]) -> None:
    """Paired tests, one below the other."""
    first = rows[0]
    table(
        f"{first.test.metric} of {first.first}, paired over {first.test.num_users} users",
        ("against", "first", "second", "difference", "t", "p", "p (Holm)"),
        [
            (
                row.second,
                row.first_value,
                row.second_value,
                f"{row.test.difference:+.4f}",
                f"{row.test.t:.2f}",
                f"{row.test.p:.2g}",
                f"{row.test.p_holm:.2g}",
            )
            for row in rows
        ],
        numbers=6,
    )


def study(results: StudyResults) -> None:
    """A study's tables, best bold and second best underlined."""
    from mmgrec.studies import table_rows

    for data in results.data:
        head, *rows = table_rows(results, data, {0: "[bold]{}[/]", 1: "[underline]{}[/]"})
        grid = Table(title=_safe(f"{data.name}, test, {results.mask} masked"), title_justify="left")
        for column, name in enumerate(head):
            grid.add_column(_safe(name), justify="right" if column else "left", overflow="fold")
        for row in rows:
            grid.add_row(_safe(row[0]), *row[1:])
        _out().print(grid)


def page(folder: Path) -> None:
    """Where a folder's report page is, if it has one."""
    path = folder / "report.html"
    if path.is_file():
        text(f"Page: {path.as_posix()}")


def clock(seconds: float) -> str:
    """Seconds as people read them."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}" if whole >= 60 else f"{seconds:.1f} s"


def data_report(report: Mapping[str, Any]) -> None:
    """What is in a data folder, then what is wrong, in words."""
    for name, value in report["facts"].items():
        title = name.replace("_", " ")
        if isinstance(value, Mapping) and value and all(isinstance(part, Mapping) for part in value.values()):
            heads = list(dict.fromkeys(key for part in value.values() for key in part))
            rows = [(key, *(_worded(part.get(head)) for head in heads)) for key, part in value.items()]
            table(title, ("name", *(head.replace("_", " ") for head in heads)), rows)
        elif isinstance(value, Mapping):
            text(f"{title}: " + (", ".join(f"{key.replace('_', ' ')} {part}" for key, part in value.items()) or "none"))
        else:
            text(f"{title}: {_worded(value)}")
    for finding in report["findings"]:
        remedy = f"; {finding['remedy']}" if finding["remedy"] else ""
        text(f"{finding['severity']}: {finding['file']}: {finding['what']}{remedy}")
    text("usable" if report["ok"] else "not usable as it is")


def _worded(value: object) -> str:
    """A fact without Python's spelling."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return " x ".join(map(str, value)) if isinstance(value, list) else str(value)
