"""A data folder written: Parquet for rows and bags, .npy for dense arrays; whole or not there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import torch

from mmgrec.data import PARTS, Bag, Dataset
from mmgrec.errors import DataError
from mmgrec.folder.contents import INTERACTIONS, ITEMS, USERS, BagTable, FolderContents

__all__ = ["free", "save_folder", "slug_of", "write_contents"]


def slug_of(path: Path) -> str:
    """What data are called: the name of their folder, or of their file without its endings."""
    whole = path.resolve()
    return whole.name if whole.is_dir() else whole.name.split(".")[0] or whole.name


def save_folder(data: Dataset, path: Path | str) -> None:
    """Write a Dataset as a canonical folder, its split as the given one; `latent` and `ordered` are not written.

    Raises:
        DataError: if the folder exists and is not empty, or cannot be written.
    """
    parts = [getattr(data, name) for name in PARTS]
    pairs = torch.cat([part.user * data.num_items + part.item for part in parts]).numpy()
    order = np.argsort(pairs, kind="stable")
    names = np.repeat(np.arange(len(PARTS), dtype=np.int8), [len(part) for part in parts])
    known = all(part.time is not None for part in parts)
    time = torch.cat([part.time for part in parts]).numpy()[order] if known else None
    write_contents(
        FolderContents(
            path=Path(path),
            user=pairs[order] // data.num_items,
            item=pairs[order] % data.num_items,
            num_users=data.num_users,
            num_items=data.num_items,
            timestamp=time,
            part=names[order],
            features={name: table.numpy() for name, table in data.features.items()},
            graphs={name: table.numpy() for name, table in data.graphs.items()},
            bags={name: _table_of(bag) for name, bag in data.bags.items()},
            user_ids=data.user_ids,
            item_ids=data.item_ids,
            item_titles=data.item_titles,
        ),
        path,
    )


def write_contents(contents: FolderContents, path: Path | str) -> None:
    """Write contents as a canonical folder that is whole or not there: made beside its place, then renamed.

    Raises:
        DataError: if the folder exists and is not empty, or cannot be written.
    """
    path = Path(path)
    free(path)
    temporary = path.parent / f".{path.name}.{os.getpid()}.tmp"
    try:
        temporary.mkdir(parents=True)
        _write(contents, temporary)
        os.replace(temporary, path)
    except OSError as problem:
        what = f"cannot be written ({problem.strerror or problem})"
        raise DataError(what, where=str(path), remedy="check the place", code="folder.cannot-write") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def free(path: Path) -> None:
    """Nothing is ever written over.

    Raises:
        DataError: if there is something at this place.
    """
    if path.is_symlink() or (path.exists() and (not path.is_dir() or any(path.iterdir()))):
        raise DataError(
            "exists and is not an empty folder",
            where=str(path),
            remedy="choose another place",
            code="folder.not-empty",
        )


def _write(contents: FolderContents, path: Path) -> None:
    """Every file of a data folder, into a folder that is there and empty."""
    import polars

    rows: dict[str, object] = {"user": contents.user.astype(np.int32), "item": contents.item.astype(np.int32)}
    if contents.timestamp is not None:
        rows["timestamp"] = contents.timestamp.astype(np.int64)
    frame = polars.DataFrame(rows)
    if contents.part is not None:
        names = polars.Series("split", contents.part.astype(np.int8))
        frame = frame.with_columns(
            names.replace_strict(range(len(PARTS)), list(PARTS), return_dtype=polars.String).alias("split")
        )
    frame.write_parquet(path / INTERACTIONS)
    columns: dict[str, object] = {"item": np.arange(contents.num_items, dtype=np.int32)}
    if contents.item_ids is not None:
        columns["source_id"] = list(contents.item_ids)
    if contents.item_titles is not None:
        columns["title"] = list(contents.item_titles)
    columns |= {name: list(texts) for name, texts in contents.item_texts.items()}
    polars.DataFrame(columns).write_parquet(path / ITEMS)
    names_of_users = contents.user_ids if contents.user_ids is not None else map(str, range(contents.num_users))
    polars.DataFrame({"source_id": list(names_of_users)}).write_parquet(path / USERS)
    for folder, tables, kind in (("features", contents.features, np.float32), ("graphs", contents.graphs, np.int32)):
        for name, table in tables.items():
            (path / folder).mkdir(exist_ok=True)
            np.save(path / folder / f"{name}.npy", np.asarray(table).astype(kind), allow_pickle=False)
    for name, bag in contents.bags.items():
        (path / "bags").mkdir(exist_ok=True)
        polars.DataFrame(
            {"item": bag.item.astype(np.int32), "word": bag.word.astype(np.int32), "weight": bag.weight}
        ).write_parquet(path / "bags" / f"{name}.parquet")
        words = bag.words if bag.words is not None else map(str, range(bag.num_words))
        polars.DataFrame({"word": list(words)}).write_parquet(path / "bags" / f"{name}.words.parquet")


def _table_of(bag: Bag) -> BagTable:
    """A bag as its file has it."""
    item = torch.repeat_interleave(torch.arange(bag.num_items), bag.offsets.diff())
    return BagTable(
        item=item.numpy(), word=bag.word.numpy(), weight=bag.weight.numpy(), num_words=bag.num_words, words=None
    )
