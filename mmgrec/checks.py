"""Looks at a canonical data folder and says what is there and what is wrong, before anything is computed from it.

`read_folder` opens the files without ever unpickling; `check_folder` adds what is only odd. Errors make a folder
unusable, warnings are facts to know. Does not know splits drawn by us, or data sets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from mmgrec.errors import DataError
from mmgrec.splits import PARTS, TRAIN

if TYPE_CHECKING:
    import polars

__all__ = ["CheckReport", "Finding", "FolderContents", "check_folder", "read_folder"]

Array = NDArray[Any]  # Any: numpy's own spelling of "whatever number type"
INTERACTIONS, ITEMS, USERS = "interactions.parquet", "items.parquet", "users.parquet"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong or odd."""

    severity: Literal["error", "warning"]
    file: str  # relative to the folder
    what: str  # names the first row or item
    remedy: str = ""

    def error(self) -> DataError:
        return DataError(self.what, where=self.file, remedy=self.remedy)

    def __str__(self) -> str:
        return str(self.error())


@dataclass(frozen=True, kw_only=True, eq=False)
class FolderContents:
    """The files of a folder without errors, as arrays. Features and graphs stay on the disk until they are used."""

    path: Path
    user: Array  # [N] int64, in the order of the file
    item: Array  # [N] int64
    num_users: int
    num_items: int
    timestamp: Array | None = None  # [N] int64
    part: Array | None = None  # [N] int8, a place in PARTS: the given split
    features: Mapping[str, Array] = field(default_factory=dict)  # name -> [num_items, dim] float16 or float32
    graphs: Mapping[str, Array] = field(default_factory=dict)  # name -> [num_items, k] integers
    user_ids: list[str] | None = None
    item_ids: list[str] | None = None
    item_titles: list[str] | None = None


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """What `mmgrec data check` prints."""

    path: str
    findings: tuple[Finding, ...]
    facts: Mapping[str, Any]  # Any: JSON; numbers, and per modality shape, type, missing rows

    @property
    def ok(self) -> bool:
        """Warnings are allowed."""
        return not self.errors

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == "warning")

    def as_dict(self) -> dict[str, Any]:  # Any: JSON
        return {
            "path": self.path,
            "ok": self.ok,
            "findings": [vars(finding) for finding in self.findings],
            "facts": dict(self.facts),
        }


def check_folder(path: Path | str) -> CheckReport:
    """Read everything in a folder and report; wrong data are findings, never exceptions."""
    contents, findings = read_folder(path)
    if contents is None:
        return CheckReport(path=str(path), findings=tuple(findings), facts={})
    from mmgrec._check_facts import facts_of, oddities

    facts = facts_of(contents)
    return CheckReport(path=str(path), findings=(*findings, *oddities(contents, facts)), facts=facts)


def read_folder(path: Path | str) -> tuple[FolderContents | None, list[Finding]]:
    """Open a folder and look for errors.

    Returns:
        The contents, None where there are errors; and the errors.
    """
    path = Path(path)
    if not path.is_dir():
        return None, [_error(str(path), "is not a folder", "give the folder that holds interactions.parquet")]
    findings: list[Finding] = []
    rows = _table(path, INTERACTIONS, findings)
    items = _table(path, ITEMS, findings)
    features = _arrays(path, "features", findings)
    graphs = _arrays(path, "graphs", findings)
    if rows is None or items is None:
        return None, findings

    findings += _column_errors(rows, INTERACTIONS, integers=("user", "item"), optional=("timestamp",), texts=("split",))
    findings += _column_errors(items, ITEMS, integers=("item",), texts=("source_id", "title", "category", "text"))
    if findings:
        return None, findings
    number, num_items = items["item"].to_numpy(), items.height
    wrong = np.flatnonzero(number != np.arange(num_items))
    if wrong.size:
        findings.append(
            _error(ITEMS, f"row {wrong[0]} is item {number[wrong[0]]}, not {wrong[0]}", "sort and number the items")
        )
    user, item = (rows[name].to_numpy().astype(np.int64) for name in ("user", "item"))
    findings += _pair_errors(user, item, num_items)
    for name, table in features.items():
        findings += _feature_errors(f"features/{name}.npy", table, num_items)
    for name, table in graphs.items():
        findings += _graph_errors(f"graphs/{name}.npy", table, num_items)
    part = None
    if "split" in rows.columns:
        part, problems = _parts(rows["split"])
        findings += problems
    user_ids, num_users = None, int(user.max()) + 1 if user.size else 0
    if (path / USERS).exists():
        users = _table(path, USERS, findings)
        if users is not None and "source_id" in users.columns:
            user_ids = users["source_id"].to_list()
            if len(user_ids) < num_users:
                findings.append(_error(USERS, f"{len(user_ids)} rows for {num_users} users", "write one row per user"))
            num_users = max(num_users, len(user_ids))
    if findings:
        return None, findings
    contents = FolderContents(
        path=path,
        user=user,
        item=item,
        num_users=num_users,
        num_items=num_items,
        timestamp=rows["timestamp"].to_numpy() if "timestamp" in rows.columns else None,
        part=part,
        features=features,
        graphs=graphs,
        user_ids=user_ids,
        item_ids=items["source_id"].to_list() if "source_id" in items.columns else None,
        item_titles=items["title"].to_list() if "title" in items.columns else None,
    )
    return contents, []


def _error(file: str, what: str, remedy: str) -> Finding:
    return Finding(severity="error", file=file, what=what, remedy=remedy)


def _table(path: Path, name: str, findings: list[Finding]) -> polars.DataFrame | None:
    import polars

    if not (path / name).is_file():
        findings.append(_error(name, "is missing", f"the folder {path} needs it"))
        return None
    try:
        return polars.read_parquet(path / name, glob=False)
    except (polars.exceptions.PolarsError, OSError) as problem:
        findings.append(_error(name, f"cannot be read as Parquet ({_first_line(problem)})", "write it again"))
        return None


def _arrays(path: Path, folder: str, findings: list[Finding]) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    for file in sorted((path / folder).glob("*.npy")):
        try:
            # Maps the file; object arrays and pickles end in a ValueError before anything of them is read.
            arrays[file.stem] = np.lib.format.open_memmap(file, mode="r")
        except (ValueError, OSError, EOFError) as problem:
            findings.append(
                _error(
                    f"{folder}/{file.name}",
                    f"is no plain numeric array ({_first_line(problem)}); pickles and object arrays are never loaded",
                    "save it with numpy.save as float32, or int32 for graphs",
                )
            )
    return arrays


def _first_line(problem: Exception) -> str:
    return (str(problem).splitlines() or [type(problem).__name__])[0].rstrip(".")


def _column_errors(
    table: polars.DataFrame,
    file: str,
    *,
    integers: tuple[str, ...],
    optional: tuple[str, ...] = (),
    texts: tuple[str, ...] = (),
) -> Iterator[Finding]:
    import polars

    if table.height == 0:
        yield _error(file, "has no rows", "a data set needs interactions and items")
    for name in integers:
        if name not in table.columns:
            yield _error(file, f"column {name!r} is missing; there are {', '.join(table.columns)}", "add or rename it")
    for name in (*integers, *optional, *texts):
        if name not in table.columns:
            continue
        column = table[name]
        if name in texts and column.dtype != polars.String:
            yield _error(file, f"column {name!r} is {column.dtype}, not text", "cast it to String")
        elif name not in texts and not column.dtype.is_integer():
            yield _error(file, f"column {name!r} is {column.dtype}, not whole numbers", "cast it to Int32 or Int64")
        elif column.null_count():
            row = column.is_null().arg_max()
            yield _error(
                file,
                f"row {row}: {name!r} is null ({column.null_count()} such rows)",
                "fill them in; unknown text is the empty string",
            )


def _pair_errors(user: Array, item: Array, num_items: int) -> Iterator[Finding]:
    outside = np.flatnonzero((item < 0) | (item >= num_items))
    if outside.size:
        row = outside[0]
        yield _error(
            INTERACTIONS,
            f"row {row} names item {item[row]}, but there are {num_items} items ({outside.size} such rows)",
            f"drop the rows, or add the items to {ITEMS}",
        )
    negative = np.flatnonzero(user < 0)
    if negative.size:
        row = negative[0]
        yield _error(INTERACTIONS, f"row {row} names user {user[row]}", "users are numbered from 0")
        return
    if user.size and user.max() >= max(10 * user.size, 1000):
        yield _error(
            INTERACTIONS,
            f"row {user.argmax()} names user {user.max()}, but there are only {user.size} rows",
            "number the users 0, 1, 2, … without gaps",
        )
        return
    if outside.size:
        return
    key = user * num_items + item
    if (np.diff(key) > 0).all():
        return
    order = np.argsort(key, kind="stable")
    again = order[1:][key[order][1:] == key[order][:-1]]
    if again.size:
        row = again.min()
        yield _error(
            INTERACTIONS,
            f"row {row} repeats user {user[row]}, item {item[row]} ({again.size} such rows)",
            "keep each pair once; a pair in two parts of a split would leak",
        )


def _parts(column: polars.Series) -> tuple[Array | None, list[Finding]]:
    import polars

    known = polars.Series(PARTS)
    bad = ~column.is_in(known.implode())
    if bad.any():
        row = int(bad.to_numpy().argmax())
        what = f"row {row}: split is {column[row]!r} ({bad.sum()} such rows)"
        return None, [_error(INTERACTIONS, what, "a split is train, valid or test")]
    part = column.replace_strict(list(PARTS), list(range(len(PARTS))), return_dtype=polars.Int8).to_numpy()
    if not (part == TRAIN).any():
        return None, [_error(INTERACTIONS, "the split has no training rows", "nothing can be learnt from it")]
    return part, []


def _shape_errors(file: str, table: Array, num_items: int) -> Iterator[Finding]:
    if table.ndim != 2 or table.shape[1:] == (0,):
        yield _error(file, f"has shape {table.shape}", f"a table of shape ({num_items}, columns) is wanted")
    elif table.shape[0] != num_items:
        yield _error(file, f"has {table.shape[0]} rows for {num_items} items", f"row i belongs to item i of {ITEMS}")


def _feature_errors(file: str, table: Array, num_items: int) -> Iterator[Finding]:
    yield from (wrong := list(_shape_errors(file, table, num_items)))
    if wrong:
        return
    if table.dtype not in (np.float16, np.float32):
        yield _error(file, f"holds {table.dtype}", "save it as float32 or float16")
        return
    bad = ~np.isfinite(table).all(axis=1)
    if bad.any():
        value = table[bad.argmax()]
        yield _error(
            file,
            f"row {bad.argmax()} holds {value[~np.isfinite(value)][0]} ({bad.sum()} such rows)",
            "an item without this modality has a row of zeros",
        )


def _graph_errors(file: str, table: Array, num_items: int) -> Iterator[Finding]:
    yield from (wrong := list(_shape_errors(file, table, num_items)))
    if wrong:
        return
    if not np.issubdtype(table.dtype, np.integer):
        yield _error(file, f"holds {table.dtype}", "save the neighbours' numbers as int32")
        return
    bad = ((table < 0) | (table >= num_items)).any(axis=1)
    if bad.any():
        yield _error(
            file,
            f"row {bad.argmax()} names an item outside 0 … {num_items - 1} ({bad.sum()} such rows)",
            "a graph names items by their row",
        )
