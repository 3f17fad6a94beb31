"""From plain values to dataclasses: checked by a pydantic model made from a class's fields, all problems told at once.

Imports pydantic, so it is itself imported only when something is built.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Iterable, Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Strict, ValidationError, create_model
from pydantic_core import ErrorDetails

from mmgrec.errors import Problem, SettingsError, near_miss
from mmgrec.settings.values import Settings, T, default_of

__all__ = ["build", "build_all"]


def _built(cls: type, values: Settings, where: str) -> object:
    """One part; `build` says what is taken and what is raised."""
    try:
        return _constructed(_model(cls).model_validate(dict(values)), None)
    except ValidationError as error:
        raise SettingsError(_problems(cls, error.errors(include_url=False), where)) from None
    except SettingsError as error:
        raise SettingsError([_at(where, problem) for problem in error.problems]) from None
    except ValueError as error:  # a dataclass that refuses a combination of its settings
        raise SettingsError([_at(where, Problem(str(error), "settings.wrong-combination"))]) from None


@functools.cache
def _model(cls: type) -> type[BaseModel]:
    """A pydantic model with the fields of a dataclass: no extra keys, no guessing of types."""
    hints = typing.get_type_hints(cls, include_extras=True)
    fields: dict[str, Any] = {  # Any: pydantic's own spelling of a field definition
        field.name: (_checked_type(hints[field.name]), ... if _required(field) else None)
        for field in dataclasses.fields(cls)
        if field.init
    }
    model: type[BaseModel] = create_model(
        cls.__name__,
        __config__=ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True, protected_namespaces=()),
        **fields,
    )
    setattr(model, "__mmgrec_dataclass__", cls)  # noqa: B010  # how `_constructed` finds the way back
    return model


def _checked_type(hint: Any) -> Any:  # Any: a type expression
    """The type as pydantic shall check it: dataclasses by their models; lists, as TOML has them, for tuples."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return Annotated[(_checked_type(arguments[0]), *arguments[1:])]
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _model(hint)
    if hint is Path:
        return Annotated[Path, Strict(False)]
    if origin in (typing.Union, types.UnionType):
        union: Any = typing.Union[tuple(map(_checked_type, arguments))]  # noqa: UP007  # made at run time
        return Annotated[union, BeforeValidator(_none)] if type(None) in arguments else union
    if origin is tuple:
        inner = tuple(element if element is Ellipsis else _checked_type(element) for element in arguments)
        return Annotated[tuple[inner], Strict(False), BeforeValidator(_several)]  # type: ignore[valid-type]  # at run time
    return hint


def _several(value: object) -> object:
    """A number where several may stand: it alone."""
    return (value,) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _none(value: object) -> object:
    return None if value == "none" else value


def _constructed(value: object, base: object) -> Any:  # Any: whatever the field holds
    """Models back to dataclasses; a table for a nested dataclass is laid over the default it replaces."""
    if isinstance(value, tuple):
        return tuple(_constructed(element, None) for element in value)
    if not isinstance(value, BaseModel):
        return value
    cls = vars(type(value))["__mmgrec_dataclass__"]
    defaults = {field.name: default_of(field) for field in dataclasses.fields(cls) if field.init}
    over = base if isinstance(base, cls) else None
    given = {
        name: _constructed(getattr(value, name), getattr(over, name) if over is not None else defaults[name])
        for name in sorted(value.model_fields_set)
    }
    return dataclasses.replace(over, **given) if over is not None else cls(**given)


def _problems(cls: type, errors: Sequence[ErrorDetails], where: str) -> list[Problem]:
    """One problem a field, in words, in the order in which they were found."""
    wishes: dict[str, list[str]] = {}  # dotted name -> what its value should be; several for a union of types
    kinds: dict[str, set[str]] = {}  # dotted name -> pydantic's names of what is wrong
    got: dict[str, str] = {}
    locations = [error["loc"] for error in errors]
    for error in errors:
        loc, kind = error["loc"], error["type"]
        path, owner = _path(cls, loc)
        if kind == "too_short" and any(inner[: len(loc)] == loc and inner != loc for inner in locations):
            continue  # a wrong element is counted as none
        dotted = ".".join([where, *path] if where else path)
        if kind == "extra_forbidden":
            known = [field.name for field in dataclasses.fields(owner) if field.init]
            wish = f"there is no such setting; {near_miss(path[-1], known)}"
        elif kind == "missing":
            wish = "a value is required"
        else:
            wish = error["msg"].removeprefix("Input ").removeprefix("Value error, ")
            got[dotted] = f", got {error['input']!r}"
        wishes.setdefault(dotted, []).append(wish)
        kinds.setdefault(dotted, set()).add(kind)
    return [
        Problem(f"{dotted}: {' or '.join(dict.fromkeys(said))}{got.get(dotted, '')}", _code_of(kinds[dotted]))
        for dotted, said in wishes.items()
    ]


def _code_of(kinds: set[str]) -> str:
    """The code of what pydantic found wrong with one field; a union tells a kind for each of its types."""
    if kinds == {"extra_forbidden"}:
        return "settings.unknown-key"
    if kinds == {"missing"}:
        return "settings.missing-key"
    if kinds & {"model_type", "dict_type"}:
        return "settings.not-a-table"
    if all(kind.endswith("_type") or kind in ("none_required", "is_instance_of") for kind in kinds):
        return "settings.wrong-type"
    return "settings.wrong-value"


def _path(cls: type, loc: Sequence[int | str]) -> tuple[list[str], Any]:  # Any: the dataclass that owns the last name
    """The names in a pydantic location, without the branches of unions that it mixes in."""
    path: list[str] = []
    owner: Any = cls
    for depth, step in enumerate(loc):
        known = {field.name for field in dataclasses.fields(owner)}
        if isinstance(step, int):
            path.append(str(step))
        elif step in known or depth == 0 or (depth == len(loc) - 1 and not _branch(step)):
            path.append(step)
            inner = _nested(owner, step) if step in known else None
            owner = inner or owner
            if inner is None:
                path.extend(str(later) for later in loc[depth + 1 :] if isinstance(later, int))
                break
    return path, owner


def _branch(step: str) -> bool:
    """Whether a step of a location is pydantic's name for one type of a union."""
    return "[" in step or step in {"int", "float", "str", "bool", "none"}


def _nested(owner: type, name: str) -> type | None:
    """The dataclass that a field holds, also where it is optional or annotated."""
    hint = typing.get_type_hints(owner).get(name)
    for part in (hint, *typing.get_args(hint)):
        if isinstance(part, type) and dataclasses.is_dataclass(part):
            return part
    return None


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _at(where: str, problem: Problem) -> Problem:
    """The same problem, with the part that it belongs to."""
    return Problem(f"{where}: {problem}", problem.code) if where and not problem.startswith(where) else problem


# --------------------------------------------------------------------------- from values to parts


def build(cls: type[T], values: Settings, where: str = "") -> T:
    """Make a dataclass from plain values.

    Args:
        cls: a dataclass; fields may be dataclasses, ``Literal``, tuples, optional, and carry `annotated_types` bounds.
        values: field -> value; a nested dataclass takes a table, which is laid over the field's default.
        where: the part's name, put in front of every problem (``quantizer.codebook_size``).

    Raises:
        SettingsError: with every unknown key, missing key and wrong value at once, each with its code:
            ``settings.unknown-key``, ``.missing-key``, ``.wrong-type``, ``.not-a-table``, ``.wrong-value`` or
            ``.wrong-combination`` (of several settings), or the code that the class itself gives.
    """
    (part,) = build_all([(cls, values, where)])
    return typing.cast(T, part)


def build_all(wanted: Iterable[tuple[type, Settings, str]]) -> list[object]:
    """`build` for several parts: problems of all of them are told in one `SettingsError`."""
    parts: list[object] = []
    problems: list[Problem] = []
    for cls, values, where in wanted:
        try:
            parts.append(_built(cls, values, where))
        except SettingsError as error:
            problems.extend(error.problems)
    if problems:
        raise SettingsError(problems)
    return parts
