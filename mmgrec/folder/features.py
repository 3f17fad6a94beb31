"""Makes features out of what a data folder says of its items: texts and pictures. Nothing is ever fetched.

TF-IDF and a truncated SVD need scikit-learn; encoders need models that lie on this machine, as safetensors.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mmgrec.errors import DataError, SettingsError, UserError, near_miss
from mmgrec.folder.check_files import table_of
from mmgrec.folder.contents import ITEMS, Array, Finding, counted

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["METHODS", "Method", "add_features", "image_vectors", "sentence_vectors", "tfidf_svd"]

Method = Literal["tfidf-svd", "sentence-transformers", "image"]
METHODS: tuple[Method, ...] = ("tfidf-svd", "sentence-transformers", "image")
_FROM = {"tfidf-svd": "text", "sentence-transformers": "text", "image": "image_path"}
_NAME = {"tfidf-svd": "text", "sentence-transformers": "text", "image": "visual"}
_BATCH = 32  # texts or pictures at a time

Note = Callable[[str], None]


def add_features(
    folder: Path,
    *,
    method: Method = "tfidf-svd",
    columns: Sequence[str] = (),
    name: str = "",
    dim: int = 128,
    model: Path | None = None,
    note: Note = lambda text: None,
) -> Path:
    """Compute ``features/<name>.npy`` of a data folder; items about which nothing is said get a row of zeros.

    Args:
        folder: a data folder.
        method: how.
        columns: of items.parquet; texts of several are joined. By default ``text``, for pictures ``image_path``.
        name: of the modality; by default ``text``, for pictures ``visual``.
        dim: columns of ``tfidf-svd``.
        model: a folder with a model, for the other methods.
        note: hears how many items have the modality.

    Returns:
        The file that was made.

    Raises:
        DataError: if the folder lacks the column, or the file is there already.
        UserError: if a library is not installed.
    """
    name = name or _NAME[method]
    if not name.isprintable() or not name.replace("-", "").replace("_", "").isalnum():
        raise SettingsError(
            [f"{name!r} is no name for a modality"],
            remedy="use letters, figures, - and _",
            code="folder.wrong-modality-name",
        )
    out = folder / "features" / f"{name}.npy"
    for taken in (out, folder / "bags" / f"{name}.parquet"):
        if taken.exists():
            raise DataError(
                "exists already",
                where=str(taken),
                remedy="choose another --name, or remove it",
                code="folder.repeated-name",
            )
    texts = _texts(folder, list(columns) or [_FROM[method]])
    if method == "tfidf-svd":
        table = tfidf_svd(texts, dim=dim)
    elif model is None:
        raise SettingsError([f"--method {method} needs --model, a folder with a model"], code="folder.model-required")
    elif not model.is_dir():
        raise DataError(
            "is no folder",
            where=str(model),
            remedy="give one with a model; nothing is fetched",
            code="folder.missing-model",
        )
    elif method == "image":
        table = image_vectors(texts, model, home=folder, note=note)
    else:
        table = sentence_vectors(texts, model)
    described = int(table.any(axis=1).sum())
    if not described:
        raise DataError(
            f"no item has {' or '.join(columns) or _FROM[method]}",
            where=str(folder / ITEMS),
            code="folder.nothing-described",
        )
    note(f"modality {name}: {described} of {counted(len(table), 'item')} have it, {table.shape[1]} columns")
    _save(out, table)
    return out


def tfidf_svd(texts: Sequence[str], *, dim: int) -> Array:
    """``[N, dim]`` float32 rows of length one: TF-IDF with logarithmic counts, truncated SVD; zeros for no words.

    Raises:
        UserError: if scikit-learn is not installed.
        DataError: if there are too few words or texts.
    """
    try:
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer
    except ImportError:
        raise _absent("scikit-learn", "features") from None
    try:
        counts = TfidfVectorizer(sublinear_tf=True).fit_transform(texts)
    except ValueError:  # no words at all
        raise _wordless() from None
    most = min(int((counts.getnnz(axis=1) > 0).sum()), counts.shape[1])
    if dim > most:
        what = f"{counts.shape[1]} words in {counted(len(texts), 'item')} give {most} columns at most, not {dim}"
        raise DataError(what, where=ITEMS, remedy=f"lower --dim to {most} or less", code="folder.too-many-columns")
    table: Array = TruncatedSVD(n_components=dim, random_state=0).fit_transform(counts).astype(np.float32)
    length = np.linalg.norm(table, axis=1, keepdims=True)
    return np.where(length > 1e-6, table / np.maximum(length, 1e-6), 0).astype(np.float32)


def sentence_vectors(texts: Sequence[str], model: Path) -> Array:
    """``[N, dim]`` float32 by a sentence-transformers model that lies in a folder; zeros for empty texts.

    Raises:
        UserError: if the library is not installed, or the model cannot be loaded.
    """
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise _absent("sentence-transformers", "text") from None
    encoder = _loaded(
        lambda: SentenceTransformer(
            str(model), device="cpu", local_files_only=True, model_kwargs={"use_safetensors": True}
        ),
        model,
    )
    known = np.flatnonzero([bool(text.strip()) for text in texts])
    if not known.size:
        raise _wordless()
    rows = encoder.encode(
        [texts[row] for row in known.tolist()], batch_size=_BATCH, convert_to_numpy=True, show_progress_bar=False
    )
    return _spread(np.asarray(rows), known, len(texts))


def image_vectors(paths: Sequence[str], model: Path, *, home: Path, note: Note = lambda text: None) -> Array:
    """``[N, dim]`` float32 by a transformers image model that lies in a folder; zeros where there is no picture.

    Args:
        paths: of pictures, as seen from `home`, which they must not leave; "" for none.
        model: the folder of model and image processor.
        home: where the pictures lie.
        note: hears of pictures that cannot be read.

    Raises:
        UserError: if a library is not installed, the model cannot be loaded, or a path leads out.
    """
    try:
        import torch
        from PIL import Image
        from transformers import AutoImageProcessor, AutoModel
    except ImportError:
        raise _absent("transformers and pillow", "image") from None
    files = [_inside(home, path) if path else None for path in paths]
    processor = _loaded(lambda: AutoImageProcessor.from_pretrained(str(model), local_files_only=True), model)
    network = _loaded(
        lambda: AutoModel.from_pretrained(str(model), local_files_only=True, use_safetensors=True), model
    ).eval()
    rows: list[Array] = []
    known: list[int] = []
    unread: list[str] = []
    for begin in range(0, len(files), _BATCH):
        batch = []
        for item, file in enumerate(files[begin : begin + _BATCH], start=begin):
            if file is None:
                continue
            try:
                with Image.open(file) as picture:
                    batch.append((item, picture.convert("RGB")))
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
                unread.append(paths[item])
        if batch:
            pictures = processor(images=[picture for _, picture in batch], return_tensors="pt")
            with torch.inference_mode():
                rows.append(_pooled(network, dict(pictures)).float().numpy())
            known += [item for item, _ in batch]
    if unread:
        note(f"{counted(len(unread), 'picture')} cannot be read and count as missing, {unread[0]!r} is the first")
    if not known:
        raise DataError(
            "no picture can be read",
            where=str(home),
            remedy="paths are seen from the data folder",
            code="folder.no-pictures",
        )
    return _spread(np.concatenate(rows), np.asarray(known), len(files))


def _pooled(network: Any, pictures: dict[str, Any]) -> Tensor:  # Any: somebody else's classes
    """``[B, dim]``: what the model gives for a whole picture, or the mean over its places."""
    output = getattr(network, "get_image_features", network)(**pictures)
    whole = getattr(output, "pooler_output", None)
    places = getattr(output, "last_hidden_state", None)
    pooled: Tensor = whole if whole is not None else output if places is None else places.mean(dim=1)
    return pooled.flatten(start_dim=1)


def _spread(rows: Array, known: Array, count: int) -> Array:
    """``[count, dim]``: the rows of the `known` items, zeros for the others."""
    table = np.zeros((count, rows.shape[1]), dtype=np.float32)
    table[known] = rows
    if not np.isfinite(table).all():
        raise DataError(
            "the model gives numbers that are not finite", remedy="try another model", code="folder.not-finite"
        )
    return table


def _texts(folder: Path, columns: list[str]) -> list[str]:
    """What the columns say of each item, with blanks between."""
    if not folder.is_dir():
        raise DataError(
            "is not a folder",
            where=str(folder),
            remedy="`mmgrec data import` makes one",
            code="folder.not-a-folder",
        )
    findings: list[Finding] = []
    items = table_of(folder, ITEMS, findings)
    if items is None:
        raise findings[0].error()
    for name in columns:
        if name not in items.columns:
            raise DataError(
                f"there is no column {name!r}",
                where=ITEMS,
                remedy=near_miss(name, items.columns),
                code="folder.missing-column",
            )
    import polars

    joined = polars.concat_str(
        [polars.col(name).cast(polars.String).fill_null("") for name in columns], separator=" "
    ).str.strip_chars(" ")
    texts: list[str] = items.select(joined.alias("text"))["text"].to_list()
    return texts


def _inside(home: Path, path: str) -> Path:
    """A file of the folder `home`; links and ``..`` must not lead out of it."""
    file = (home / path).resolve()
    if not file.is_relative_to(home.resolve()):
        raise DataError(
            f"the picture {path!r} lies outside",
            where=str(home),
            remedy="put pictures into the folder",
            code="folder.outside",
        )
    return file


def _loaded(load: Callable[[], Any], model: Path) -> Any:  # Any: somebody else's class
    try:
        return load()
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as problem:
        first = (str(problem).splitlines() or [type(problem).__name__])[0].rstrip(".")
        remedy = "give a folder with config and model.safetensors; nothing is fetched, and pickles are never loaded"
        raise DataError(
            f"the model cannot be loaded ({first})", where=str(model), remedy=remedy, code="folder.unreadable-model"
        ) from None


def _wordless() -> DataError:
    return DataError(
        "the texts have no words", where=ITEMS, remedy="name other columns with --from", code="folder.nothing-described"
    )


def _absent(library: str, extra: str) -> UserError:
    return UserError(
        f"{library} {'are' if ' and ' in library else 'is'} not installed",
        remedy=f"pip install 'mmgrec[{extra}]'",
        code="folder.missing-library",
    )


def _save(out: Path, table: Array) -> None:
    """Write a ``.npy`` file that is whole or not there."""
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        out.parent.mkdir(exist_ok=True)
        with open(temporary, "wb") as file:
            np.save(file, table.astype(np.float32), allow_pickle=False)
        os.replace(temporary, out)
    except OSError as problem:
        what = f"cannot be written ({problem.strerror or problem})"
        raise DataError(what, where=str(out), remedy="check the place", code="folder.cannot-write") from None
    finally:
        temporary.unlink(missing_ok=True)
