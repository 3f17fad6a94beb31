"""``mmgrec data import``, ``features``, ``check``: data folders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmgrec_cli import options, render

__all__ = ["data_check", "data_features", "data_import"]

Pairs = Annotated[
    list[str],
    typer.Option("--features", help="A modality from a file; .parquet, .npy, .safetensors.", metavar="NAME=FILE"),
]
Bags = Annotated[list[str], typer.Option("--bag", help="A sparse modality: item, word[, weight].", metavar="NAME=FILE")]


def data_import(
    path: Annotated[Path, typer.Argument(help="A file, or the folder of a data set.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="The data folder to make.", metavar="FOLDER")],
    format_name: Annotated[
        str, typer.Option("--format", help="A dataset plugin; found out by the content.", metavar="NAME")
    ] = "",
    user_column: Annotated[str, typer.Option("--user-column", help="Where users stand.", metavar="NAME")] = "",
    item_column: Annotated[str, typer.Option("--item-column", help="Where items stand.", metavar="NAME")] = "",
    time_column: Annotated[str, typer.Option("--time-column", help="Where times stand.", metavar="NAME")] = "",
    rating_column: Annotated[str, typer.Option("--rating-column", help="Where ratings stand.", metavar="NAME")] = "",
    min_rating: Annotated[
        float | None, typer.Option("--min-rating", help="Keep rows rated so or better; all by default.")
    ] = None,
    features: Pairs = [],  # noqa: B006
    bag: Bags = [],  # noqa: B006
    items: Annotated[str, typer.Option("--items", help="Titles, categories, texts of items.", metavar="FILE")] = "",
    item_list: Annotated[
        str, typer.Option("--item-list", help="The items of the rows of .npy features, one id a line.", metavar="FILE")
    ] = "",
    json: options.Json = False,
) -> None:
    """Make a data folder from the files that you have."""
    from mmgrec.readers import Extras, import_data, source_of

    extras = Extras(
        features=_files("--features", features),
        bags=_files("--bag", bag),
        items=Path(items) if items else None,
        item_list=Path(item_list) if item_list else None,
    )
    columns = {
        "user_column": user_column,
        "item_column": item_column,
        "time_column": time_column,
        "rating_column": rating_column,
        "min_rating": min_rating,
    }
    settings = {name: value for name, value in columns.items() if value not in ("", None)}
    name, why, source = source_of(path, settings, name=format_name)
    render.note(f"format: {name} ({why})")
    contents = import_data(source, out, extras_of=extras, note=render.note)
    facts = {
        "out": out.as_posix(),
        "format": name,
        "users": contents.num_users,
        "items": contents.num_items,
        "interactions": len(contents.user),
        "timestamp": contents.timestamp is not None,
        "split": contents.part is not None,
        "features": {modality: list(table.shape) for modality, table in contents.features.items()},
        "bags": {modality: bag.num_words for modality, bag in contents.bags.items()},
    }
    if json:
        render.as_json(facts)
    else:
        render.text(
            f"{out}: {contents.num_users} users, {contents.num_items} items, {len(contents.user)} interactions; "
            f"look it over with mmgrec data check {out}"
        )


def _files(option: str, pairs: list[str]) -> dict[str, Path]:
    """``NAME=FILE`` taken apart.

    Raises:
        SettingsError: for anything else, or a name given twice.
    """
    from mmgrec.errors import SettingsError

    files: dict[str, Path] = {}
    for pair in pairs:
        name, equals, file = pair.partition("=")
        if not equals or not name or not file or name in files:
            raise SettingsError([f"{option} {pair!r} is not NAME=FILE, each name once"], code="cli.not-name-file")
        files[name] = Path(file)
    return files


def data_features(
    folder: Annotated[Path, typer.Argument(help="A data folder.", metavar="FOLDER", show_default=False)],
    column: Annotated[
        str, typer.Option("--from", "--column", help="Columns of items.parquet; text, or image_path.", metavar="A,B")
    ] = "",
    method: Annotated[str, typer.Option("--method", help="tfidf-svd, sentence-transformers or image.")] = "tfidf-svd",
    dim: Annotated[int, typer.Option("--dim", help="Columns that tfidf-svd makes.", min=1)] = 128,
    model: Annotated[
        str, typer.Option("--model", help="A model on this machine; nothing is fetched.", metavar="FOLDER")
    ] = "",
    name: Annotated[str, typer.Option("--name", help="Of the modality; text, or visual.", metavar="NAME")] = "",
    json: options.Json = False,
) -> None:
    """Make features of a data folder's items from their texts or pictures, offline."""
    from mmgrec.folder import METHODS, add_features

    file = add_features(
        folder,
        method=options.one_of("--method", method, METHODS),
        columns=[part.strip() for part in column.split(",") if part.strip()],
        name=name,
        dim=dim,
        model=Path(model) if model else None,
        note=render.note,
    )
    if json:
        render.as_json({"out": file.as_posix()})
    else:
        render.text(f"{file} is made")


def data_check(
    path: Annotated[Path, typer.Argument(help="A data folder.", metavar="PATH", show_default=False)],
    json: options.Json = False,
) -> None:
    """Say what is in a data folder, and what is wrong with it; exit code 2 if it cannot be used."""
    from mmgrec.folder import check_folder

    report = check_folder(path)
    if json:
        render.as_json(report.as_dict())
    else:
        render.data_report(report.as_dict())
    if not report.ok:
        raise typer.Exit(2)
