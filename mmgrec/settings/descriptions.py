"""What can be set in a dataclass, with its type, default and comment: what ``mmgrec config show`` prints."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import io
import tokenize
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from typing import Annotated, Any

from mmgrec.settings.values import default_of, plain, toml_text

__all__ = ["Setting", "describe"]


# --------------------------------------------------------------------------- telling what can be set


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One line of ``mmgrec config show``."""

    name: str  # dotted, from the part down
    type: str
    default: str  # as TOML; "" where a value is required
    required: bool
    comment: str  # the comment beside or above the field


def describe(cls: type, *, prefix: str = "", over: object = None) -> list[Setting]:
    """What can be set in a dataclass, in the order of its fields, nested ones spelt out.

    Args:
        cls: the dataclass.
        prefix: put in front of the names.
        over: an instance of `cls` whose values are shown in place of the class's defaults.
    """
    comments = _comments(cls)
    hints = typing.get_type_hints(cls, include_extras=True)
    rows: list[Setting] = []
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        name = f"{prefix}{field.name}"
        default = getattr(over, field.name) if over is not None else default_of(field)
        if dataclasses.is_dataclass(default) and not isinstance(default, type):
            rows.extend(describe(type(default), prefix=f"{name}.", over=default))
            continue
        rows.append(
            Setting(
                name=name,
                type=_spelt(hints[field.name]),
                default="" if default is MISSING else _literal(default),
                required=default is MISSING,
                comment=comments.get(field.name, ""),
            )
        )
    return rows


def _spelt(hint: Any) -> str:  # Any: a type expression
    """A type as a user reads it: bounds as comparisons, choices as choices."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        bounds = [_bound(constraint) for constraint in arguments[1:]]
        return " ".join([_spelt(arguments[0]), *filter(None, bounds)])
    if origin is typing.Literal:
        return " | ".join(map(repr, arguments))
    if origin in (typing.Union, types.UnionType):
        return " | ".join(map(_spelt, arguments))
    if hint is type(None):
        return "none"
    if origin is not None:
        inside = ", ".join("..." if element is Ellipsis else _spelt(element) for element in arguments)
        return f"{getattr(origin, '__name__', origin)}[{inside}]"
    return getattr(hint, "__name__", str(hint))


def _bound(constraint: object) -> str:
    """A bound of `annotated_types` as a comparison; "" for other things."""
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "multiple_of": "multiple of"}
    bounds = {sign: getattr(constraint, name, None) for name, sign in signs.items()}
    return " ".join(f"{sign} {bound}" for sign, bound in bounds.items() if bound is not None)


def _literal(value: object) -> str:
    """A value as it would be written behind ``--set name=``."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_literal(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(_literal, value)) + "]"
    return "none" if value is None else toml_text({"x": plain(value)}).removeprefix("x = ").rstrip("\n")


def _comments(cls: type) -> dict[str, str]:
    """field -> the comment beside it, or else right above it, from the class's source where there is one."""
    texts: dict[str, str] = {}
    for owner in reversed(cls.__mro__):
        try:
            source = inspect.cleandoc("\n" + inspect.getsource(owner)) if dataclasses.is_dataclass(owner) else ""
            body = ast.parse(source).body
        except (OSError, TypeError, SyntaxError):
            continue
        words = tokenize.generate_tokens(io.StringIO(source).readline)
        comments = {word.start[0]: word for word in words if word.type == tokenize.COMMENT}
        for node in body[0].body if body and isinstance(body[0], ast.ClassDef) else []:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
                beside = [comments[line].string for line in lines if line in comments]
                above = comments.get(node.lineno - 1)
                alone = above is not None and above.line.strip().startswith("#")
                text = " ".join(beside) if beside else above.string if above is not None and alone else ""
                texts[node.target.id] = text.lstrip("#: ").strip()
    return texts
