"""Looks at a canonical data folder and says what is there and what is wrong, before anything is computed from it.

`read_folder` opens the files without ever unpickling; `check_folder` adds what is only odd. Errors make a folder
unusable, warnings are facts to know. A split that is drawn afterwards can still fail: `mmgrec.folder.dataset_of`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmgrec.folder.check_facts import facts_of, oddities
from mmgrec.folder.check_files import (
    arrays_of,
    bags_of,
    column_errors,
    feature_errors,
    graph_errors,
    pair_errors,
    parts_of,
    table_of,
    unknown_files,
)
from mmgrec.folder.contents import INTERACTIONS, ITEMS, USERS, Finding, FolderContents, error

__all__ = ["CheckReport", "check_folder", "read_folder"]


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
        """Everything, ready for JSON."""
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
    facts = facts_of(contents)
    findings = [*findings, *unknown_files(contents.path), *oddities(contents, facts)]
    return CheckReport(path=str(path), findings=tuple(dict.fromkeys(findings)), facts=facts)


def read_folder(path: Path | str) -> tuple[FolderContents | None, list[Finding]]:
    """Open a folder and look for errors.

    Returns:
        The contents, None where there are errors; and the errors.
    """
    path = Path(path)
    if not path.is_dir():
        hint = "; other files become such a folder by `mmgrec data import`" if path.exists() else ""
        remedy = f"give the folder that holds {INTERACTIONS}{hint}"
        return None, [error(str(path), "is not a folder", remedy, code="folder.not-a-folder")]
    findings: list[Finding] = []
    rows = table_of(path, INTERACTIONS, findings)
    items = table_of(path, ITEMS, findings)
    features = arrays_of(path, "features", findings)
    graphs = arrays_of(path, "graphs", findings)
    findings += [finding for finding in unknown_files(path) if finding.severity == "error"]
    if rows is None or items is None:
        return None, findings

    findings += column_errors(rows, INTERACTIONS, integers=("user", "item"), optional=("timestamp",), texts=("split",))
    findings += column_errors(items, ITEMS, integers=("item",), texts=("source_id", "title", "category", "text"))
    if findings:
        return None, findings
    number, num_items = items["item"].to_numpy(), items.height
    wrong = np.flatnonzero(number != np.arange(num_items))
    if wrong.size:
        what = f"row {wrong[0]} is item {number[wrong[0]]}, not {wrong[0]}"
        findings.append(error(ITEMS, what, "sort and number the items", code="folder.wrong-item-number"))
    user, item = (rows[name].to_numpy().astype(np.int64) for name in ("user", "item"))
    part = None
    if "split" in rows.columns:
        part, problems = parts_of(rows["split"])
        findings += problems
    findings += pair_errors(user, item, num_items, part)
    for name, table in features.items():
        findings += feature_errors(f"features/{name}.npy", table, num_items)
    for name, table in graphs.items():
        findings += graph_errors(f"graphs/{name}.npy", table, num_items)
    bags = bags_of(path, num_items, findings)
    user_ids, num_users = None, int(user.max()) + 1 if user.size else 0
    if (path / USERS).exists():
        users = table_of(path, USERS, findings)
        if users is not None and "source_id" in users.columns:
            findings += column_errors(users, USERS, texts=("source_id",))
            user_ids = users["source_id"].to_list()
            if len(user_ids) < num_users:
                what = f"{len(user_ids)} rows for {num_users} users"
                findings.append(error(USERS, what, "write one row per user", code="folder.wrong-row-count"))
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
        bags=bags,
        user_ids=user_ids,
        item_ids=items["source_id"].to_list() if "source_id" in items.columns else None,
        item_titles=items["title"].to_list() if "title" in items.columns else None,
    )
    return contents, []
