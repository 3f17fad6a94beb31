"""Settings as plain values: read from TOML and ``--set``, merged, written.

TOML has no null: the string ``none`` stands for None wherever a field may be None.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING
from pathlib import Path
from typing import Any, TypeVar, cast

from mmgrec.errors import Problem, SettingsError, near_miss, reason_of

__all__ = ["Settings", "apply_sets", "default_of", "flat", "merge", "nested", "plain", "read_toml", "toml_text"]

T = TypeVar("T")
_LARGEST = 1 << 20  # bytes of a settings file; the longest that anybody wrote has some kilobytes

#: Settings as they stand in TOML: numbers, strings, booleans, lists, and tables of them. None is a key left out.
Settings = Mapping[str, object]

Table = dict[str, Any]  # Any: TOML


def default_of(field: dataclasses.Field[Any]) -> Any:  # Any: whatever the field holds
    """A field's default, or `dataclasses.MISSING`."""
    if field.default is not MISSING or field.default_factory is MISSING:
        return field.default
    return field.default_factory()


# --------------------------------------------------------------------------- from text to values, and back


def apply_sets(sets: Iterable[str], *, parts: Iterable[str], problems: list[Problem]) -> dict[str, dict[str, object]]:
    """``["quantizer.codebook_size=256"]`` to ``{"quantizer": {"codebook_size": 256}}``.

    Values are TOML literals; anything else is a string. Later ones win.

    Args:
        sets: entries of the form ``part.field=value``.
        parts: the parts that may be named.
        problems: one is added for every entry of another form (``settings.wrong-form``) or with an unknown part
            (``settings.unknown-part``).
    """
    known = list(parts)
    values: dict[str, dict[str, object]] = {}
    for entry in sets:
        name, equals, text = entry.partition("=")
        part, *path = [step.strip() for step in name.split(".")]
        if not equals or not path or not all(path):
            sentence = (
                f"--set {entry!r} is not of the form part.field=value; options of the run itself have flags of their "
                "own or stand at the top of a --config file"
            )
            problems.append(Problem(sentence, "settings.wrong-form"))
        elif part not in known:
            sentence = f"--set {entry!r} names an unknown part {part!r}; {near_miss(part, known)}"
            problems.append(Problem(sentence, "settings.unknown-part"))
        else:
            table = functools.reduce(_table, path[:-1], values.setdefault(part, {}))
            table[path[-1]] = _parsed(text.strip())
    return values


def _table(table: dict[str, object], step: str) -> dict[str, object]:
    """The table within a table, made where there is none."""
    inner = table.get(step)
    if not isinstance(inner, dict):
        inner = table[step] = {}
    return inner


def _parsed(text: str) -> object:
    """A TOML literal, or the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text


def merge(*layers: Settings) -> dict[str, object]:
    """Lay tables over one another, the later over the earlier, table by table and key by key."""
    out: dict[str, object] = {}
    for layer in layers:
        for key, value in layer.items():
            old = out.get(key)
            both = isinstance(old, Mapping) and isinstance(value, Mapping)
            out[key] = merge(old, value) if both else value  # type: ignore[arg-type]  # mypy cannot see `both`
    return out


def plain(value: object) -> Any:  # Any: a TOML value
    """A dataclass, tuple or path as values that TOML and JSON can hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain({field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init})
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return [plain(element) for element in value]
    if value is None:
        return "none"
    return value.as_posix() if isinstance(value, Path) else value


def read_toml(path: Path) -> dict[str, object]:
    """Read a TOML file.

    Raises:
        SettingsError: if it is not there or is no TOML, with the line named.
    """
    where = str(path)
    if path.suffix.lower() in (".yaml", ".yml"):
        raise SettingsError(
            ["settings are read from TOML, not from YAML"],
            where=where,
            remedy="write them as TOML",
            code="settings.not-toml",
        )
    try:
        if path.exists() and not path.is_file():
            raise SettingsError(
                ["this is no file"],
                where=where,
                remedy="name a TOML file, or a run folder",
                code="settings.not-a-file",
            )
        if path.stat().st_size > _LARGEST:
            raise SettingsError(
                ["this is too large for a file of settings"],
                where=where,
                remedy="check the path",
                code="settings.too-large",
            )
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(
            ["there is no such file"], where=where, remedy="check the path", code="settings.missing-file"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        sentence = f"it cannot be read ({reason_of(error)})"
        raise SettingsError([sentence], where=where, remedy="check the path", code="settings.unreadable-file") from None
    except RecursionError:
        raise SettingsError(
            ["its lists are nested too deeply"], where=where, remedy="mend it", code="settings.not-toml"
        ) from None
    except ValueError as error:  # tomllib's own, a number of thousands of digits, a path with a zero byte
        reason = str(error).replace("Cannot overwrite a value", "a key is given twice")
        reason = re.sub(r"Cannot declare \('(.*)',\) twice", r"the table [\1] is given twice", reason)
        if reason.startswith("Exceeds the limit"):
            reason = "a number has thousands of digits"
        raise SettingsError(
            [f"it is not TOML: {reason}"], where=where, remedy="mend that line", code="settings.not-toml"
        ) from None


def toml_text(values: Settings) -> str:
    """Settings as TOML."""
    import tomli_w

    return tomli_w.dumps(plain(values))


def nested(settings: Settings) -> Table:
    """``{"network.dim": 8}`` as ``{"network": {"dim": 8}}``."""
    out: Table = {}
    for name, value in settings.items():
        for step in reversed(name.split(".")):
            value = {step: value}
        out = merge(out, cast(Settings, value))
    return out


def flat(table: Settings, prefix: str = "") -> list[tuple[str, Any]]:
    """``{"network": {"dim": 8}}`` as ``[("network.dim", 8)]``."""
    out: list[tuple[str, Any]] = []
    for key, value in table.items():
        out += flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(f"{prefix}{key}", value)]
    return out
