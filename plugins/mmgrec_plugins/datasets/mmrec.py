"""The layout of multimodal benchmarks as a DatasetSource: ``x.inter`` with ``x_label``, features in ``*_feat.npy``.

Items are numbers from 0 that are also the rows of the features; where ``i_id_mapping.csv`` and ``u_id_mapping.csv`` lie
beside, the names that they give are the ids.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mmgrec.errors import DataError
from mmgrec.readers import FileSource, ItemTable, RawTables, files, interactions, keyed, layout_of, plain_array
from mmgrec_plugins.datasets.single_file import first_line, only_file

__all__ = ["MMRec"]

_PATTERN = "*.inter"
_FEATURES = "_feat.npy"


@dataclass(frozen=True, kw_only=True)
class MMRec(FileSource):
    """Interactions with their split (x_label: 0 train, 1 valid, 2 test) and row-aligned features."""

    @classmethod
    def recognises(cls, path: Path) -> str:
        return "a split column x_label" if "x_label" in first_line(path, _PATTERN).split("\t") else ""

    def read(self) -> RawTables:
        file = only_file(self.path, _PATTERN)
        frame = files.delimited(file, separator="\t", header=True, quoted=False)
        rows, understood = interactions(frame, {}, where=str(file))
        names = {
            "user": _names(file.with_name("u_id_mapping.csv"), "userID"),
            "item": _names(file.with_name("i_id_mapping.csv"), "itemID"),
        }
        features = {
            path.name.removesuffix(_FEATURES): _features(path, names["item"])
            for path in sorted(file.parent.glob(f"*{_FEATURES}"))
        }
        for role, known in names.items():
            if known:
                rows = rows.with_columns(
                    rows[role].replace_strict(list(known), list(known.values()), default=rows[role]).alias(role)
                )
        understood += f"; features: {', '.join(features)}" if features else ""
        return RawTables(path=Path(self.path), rows=rows, features=features, understood=f"columns: {understood}")


def _names(file: Path, number: str) -> dict[str, str]:
    """Number -> name, where a file tells; nothing where there is none."""
    if not file.is_file():
        return {}
    layout = layout_of(file, names=(number,))
    frame = files.delimited(file, separator=layout.separator, header=True)
    others = [name for name in frame.columns if name != number]
    if number not in frame.columns or not others:
        return {}
    known = dict(zip(frame[number].to_list(), frame[others[0]].to_list(), strict=True))
    if None in known.values() or len(set(known.values())) < len(known):
        raise DataError(
            f"the names of {number} are not unique or have gaps",
            where=str(file),
            remedy="remove the file",
            code="datasets.names-not-unique",
        )
    return known


def _features(file: Path, names: dict[str, str]) -> ItemTable:
    table = plain_array(file)
    rows = range(table.shape[0] if table.ndim else 0)
    return keyed(str(file), [names.get(str(row), str(row)) for row in rows], table)
