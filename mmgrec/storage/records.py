"""Frozen dataclasses as JSON: one way to write what a file holds, one way to read it back.

A record that carries a ``schema`` says which shape it was written in. Older shapes are read (fields that came later
have defaults); a newer one is refused in words, since what it means is not known here. pydantic is imported when
something is read.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from mmgrec.errors import RunError
from mmgrec.storage.json import Json, read_json

__all__ = ["read_record", "record_json", "record_of"]

Record = TypeVar("Record")


def record_json(record: object) -> Json:
    """A record as JSON can hold it, its fields in their order, records within it too."""
    return {field.name: _plain(getattr(record, field.name)) for field in dataclasses.fields(cast(Any, record))}


def record_of(cls: type[Record], payload: object, *, where: Path | str, remedy: str = "") -> Record:
    """A record from JSON.

    Args:
        cls: a dataclass; where it has a ``schema``, its default is the newest that can be read.
        payload: what the JSON holds.
        where: the file, for messages.
        remedy: what to do about a damaged file.

    Raises:
        RunError: if the payload was written by a newer version, or is not such a record.
    """
    newest = next((field.default for field in dataclasses.fields(cast(Any, cls)) if field.name == "schema"), None)
    written = payload.get("schema") if isinstance(payload, Mapping) else None
    if isinstance(newest, int) and isinstance(written, int) and written > newest:
        raise RunError(
            f"was written by a newer mmgrec (schema {written}; this one reads up to {newest})",
            where=str(where),
            remedy="use that version, or a newer one",
            code="storage.newer-schema",
        )
    from pydantic import ValidationError

    try:
        return cast(Record, _adapter(cast(type, cls)).validate_python(payload))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise RunError(
            f"is not what was written ({place}: {first['msg']})",
            where=str(where),
            remedy=remedy,
            code="storage.not-as-written",
        ) from None


def read_record(cls: type[Record], path: Path, *, remedy: str = "") -> Record:
    """A record from a file of JSON.

    Raises:
        RunError: if the file cannot be read, or as `record_of`.
    """
    return record_of(cls, read_json(path, remedy=remedy), where=path, remedy=remedy)


@functools.cache
def _adapter(cls: type) -> Any:  # Any: pydantic.TypeAdapter, imported late
    from pydantic import TypeAdapter

    return TypeAdapter(cls)


def _plain(value: object) -> Any:  # Any: JSON
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        to_json = getattr(value, "to_json", None)
        return record_json(value) if to_json is None else to_json()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
