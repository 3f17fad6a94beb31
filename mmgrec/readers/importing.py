"""Makes a data folder from other people's files: finds out their format, reads, numbers, writes all or nothing.

Formats are plugins (`mmgrec.readers.source.FileSource`) and come from the registry.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mmgrec.errors import DataError, PluginError, SettingsError, near_miss
from mmgrec.folder import INTERACTIONS, PICKLED, FolderContents, free, write_contents
from mmgrec.guards import contained, third_party
from mmgrec.readers import extras
from mmgrec.readers.numbering import numbered
from mmgrec.readers.raw import RawTables
from mmgrec.readers.source import FileSource
from mmgrec.registry import Registry
from mmgrec.settings import build

__all__ = ["Extras", "import_data", "recognised", "source_of"]

_PICKLED = (*PICKLED, ".npy", ".npz")

Note = Callable[[str], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Extras:
    """Files beside the interactions."""

    features: Mapping[str, Path] = dataclasses.field(default_factory=dict)  # modality -> file
    bags: Mapping[str, Path] = dataclasses.field(default_factory=dict)  # sparse modality -> file
    items: Path | None = None  # titles, categories, texts
    item_list: Path | None = None  # ids of the items of the rows of features without ids


@contained()
def import_data(
    source: FileSource, out: Path, *, extras_of: Extras | None = None, note: Note = lambda text: None
) -> FolderContents:
    """Read what a source says, and write it as a data folder that is whole or not there.

    Args:
        source: the files, and how they are read.
        out: the folder to make.
        extras_of: features, bags and texts from files of their own.
        note: hears what was understood, dropped or is missing.

    Returns:
        What was written.

    Raises:
        DataError: if the files are unsound, or the folder exists and is not empty.
    """
    free(out)
    raw = source.raw()
    note(raw.understood)
    contents = numbered(with_extras(raw, extras_of or Extras()), min_rating=source.min_rating, note=note)
    write_contents(contents, out)
    return contents


def with_extras(raw: RawTables, more: Extras) -> RawTables:
    """Lay further files over what a reader found; a name that it knows too is theirs."""
    for name in (*more.features, *more.bags):
        if not name.isprintable() or not name.replace("-", "").replace("_", "").isalnum() or len(name) > 100:
            raise SettingsError(
                [f"{name!r} is no name for a modality"],
                remedy="use letters, figures, - and _",
                code="readers.wrong-modality-name",
            )
    both = sorted(set(more.bags) & {*more.features, *raw.features})
    if both:
        raise SettingsError(
            [f"{both[0]!r} names a bag and a feature"], remedy="give them two names", code="readers.repeated-name"
        )
    listed = extras.item_list(more.item_list) if more.item_list is not None else None
    features = {name: extras.feature_file(path, name, listed=listed) for name, path in more.features.items()}
    bags = {name: extras.bag_file(path) for name, path in more.bags.items()}
    return dataclasses.replace(
        raw,
        items=extras.item_file(more.items) if more.items is not None else raw.items,
        features={**raw.features, **features},
        bags={**raw.bags, **bags},
    )


def source_of(
    path: Path, settings: Mapping[str, Any], *, name: str = "", registry: Registry | None = None
) -> tuple[str, str, FileSource]:
    """The plugin that reads some files.

    Args:
        path: the file or folder.
        settings: of the plugin, beside its path.
        name: of the format; "" to find it out.
        registry: the installed plugins by default.

    Returns:
        The format's name, why it was taken, and the source.

    Raises:
        DataError: if there is nothing, or no format (or more than one) recognises it.
        SettingsError: if the format is unknown, or has no such setting.
    """
    if not path.exists():
        raise DataError(
            "there is no such file or folder", where=str(path), remedy="check the path", code="readers.missing-file"
        )
    known = _formats(registry or Registry.discover())
    if name and name not in known:
        raise SettingsError([f"--format {name!r} is unknown; {near_miss(name, known)}"], code="readers.unknown-format")
    why = "as you say"
    if not name:
        name, why = recognised(path, known)
    fields = {field.name for field in dataclasses.fields(known[name])}
    foreign = [setting for setting in settings if setting not in fields]
    if foreign:
        flags = ", ".join(f"--{setting.replace('_', '-')}" for setting in foreign)
        raise SettingsError(
            [f"the format {name} has its own columns, so {flags} says nothing"],
            remedy="leave it out",
            code="readers.idle-setting",
        )
    return name, why, build(known[name], {**settings, "path": str(path)}, "import")


def recognised(path: Path, known: Mapping[str, type[FileSource]]) -> tuple[str, str]:
    """The one format that files look like, and why.

    Raises:
        DataError: if they look like none, or like several.
    """
    if (path / INTERACTIONS).is_file():
        raise DataError(
            "is a data folder already", where=str(path), remedy="use it with --data", code="readers.data-folder"
        )
    for general in (False, True):
        why = {name: _reason(source, path) for name, source in known.items() if source.general == general}
        names = [name for name, reason in why.items() if reason]
        if len(names) > 1:
            raise DataError(
                f"looks like {' and '.join(names)}",
                where=str(path),
                remedy="say which with --format",
                code="readers.several-formats",
            )
        if names:
            return names[0], why[names[0]]
    if path.is_file() and path.stat().st_size == 0:
        raise DataError("is empty", where=str(path), remedy="give a file with rows", code="readers.empty-file")
    if path.suffix.lower() in _PICKLED:
        raise DataError(
            "is no table of users and items, and pickles are never loaded",
            where=str(path),
            remedy="a pickle can run code when it is opened, so write it as CSV or Parquet where it was made",
            code="readers.pickle",
        )
    raise DataError(
        "is of no format that is known" + ("" if path.is_dir() else ", or no UTF-8 text"),
        where=str(path),
        remedy=f"say which with --format ({', '.join(known)}), or give the path of one file",
        code="readers.unknown-format",
    )


def _reason(source: type[FileSource], path: Path) -> str:
    """Why files look like a format; a reader of another package that fails to look hinders no other."""
    try:
        return source.recognises(path)
    except Exception:
        if third_party(source) is None:
            raise
        return ""


def _formats(registry: Registry) -> dict[str, type[FileSource]]:
    """name -> the sources that read files; a plugin that cannot be loaded is passed over."""
    sources: dict[str, type[FileSource]] = {}
    for name in registry.names("dataset"):
        try:
            cls = registry.load("dataset", name)
        except PluginError:  # `mmgrec plugins` tells what is wrong with it
            continue
        if issubclass(cls, FileSource):
            sources[name] = cls
    return sources
