"""What two sets of settings do not share, in sentences that a refusal can quote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmgrec.settings.values import flat

__all__ = ["Values", "comparable", "differences", "first_differences", "shortened"]

Values = Mapping[str, Any]  # Any: TOML

_SHOWN = 8  # differing keys named in a refusal


def differences(there: Values, here: Values) -> list[str]:
    """Settings that two runs do not share, one sentence each; where the data lie is no difference."""
    theirs, ours = dict(flat(comparable(there))), dict(flat(comparable(here)))
    return [
        f"{key} is {shortened(theirs.get(key, 'absent'))} there and {shortened(ours.get(key, 'absent'))} here"
        for key in sorted(theirs.keys() | ours.keys())
        if theirs.get(key) != ours.get(key)
    ]


def comparable(values: Values) -> dict[str, Any]:
    """Settings without the place of the data, which decides no result."""
    if not isinstance(values.get("data"), Mapping):
        return {**values}
    return {**values, "data": {key: value for key, value in values["data"].items() if key != "path"}}


def first_differences(sentences: list[str]) -> str:
    """The first of the `differences`, and how many more there are."""
    more = f" and {len(sentences) - _SHOWN} more" if len(sentences) > _SHOWN else ""
    return f"{', '.join(sentences[:_SHOWN])}{more}"


def shortened(value: object, longest: int = 20) -> str:
    """A value in at most so many characters."""
    text = repr(value) if not isinstance(value, str) else value
    return text if len(text) <= longest else f"{text[: longest - 8]}…"
