"""One user on the report page: what the model read of them, and why an item was recommended to them.

As in `mmgrec.report.sections`, plain text and tables for the template. Where the model has an item memory, the item's
score is shown as the sum of its two parts, with the items of the history that speak for it and against it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from mmgrec.insight import MemoryPart, NamedItem, OneUser, PathLevel, TokenChoice, Voice
from mmgrec.report.facts import ModelRow
from mmgrec.report.figures import Shown, visible
from mmgrec.report.model_figures import heat_maps
from mmgrec.storage import Json

__all__ = ["user_section"]

_NAME = 80  # letters of an item's id or title


def user_section(model: ModelRow, user: OneUser, *, anchor: str, shown: Shown) -> Json:
    """An example of a user, and why an item was recommended to them."""
    maps = [
        {
            "title": f"Encoder layer {scores.layer + 1}: scores between the items of the history, mean over the heads",
            "plots": shown(*heat_maps(anchor, scores)),
        }
        for scores in user.layers
    ]
    hits = f"{user.hits} of their first {user.list} recommendations are items that they liked afterwards"
    text = (
        f"User {visible(user.user, 40)}, seen through {visible(model.label)}: {hits}. They are an example chosen for "
        f"a short history and many hits, not an average. What the model read of them, by number:"
    )
    liked = "which they did like" if user.liked else "which they are not known to like"
    why = f"{_named(user.item)} is recommendation {user.place} of this user, {liked}."
    path = (
        f"Each box is one token of its Rec-ID: the probability of the token taken and of its best rivals, each with "
        f"the most popular item behind it; tokens that lead only to items they know are left out. The product over all "
        f"boxes is the probability of the Rec-ID, {_percent(math.exp(user.log_probability))}."
    )
    steps = [
        {
            "title": f"Token {step.level + 1}: {step.taken.token}",
            "text": _rank_of(step),
            "kind": "",
            "choices": [_choice(step.taken, taken=True), *(_choice(other, taken=False) for other in step.others)],
        }
        for step in user.path
    ]
    return {
        "text": text,
        "history": [_named(item) for item in user.items],
        "maps": maps,
        "why": why,
        "parts": [] if user.memory is None else _parts(user, user.memory),
        "path": path,
        "steps": steps,
    }


# --------------------------------------------------------------------------- the Rec-ID


def _rank_of(step: PathLevel) -> str:
    """How the token taken compares with the others."""
    rank = f"choice {step.rank} of {step.open} that hold something new to them"
    return f"{rank} ({step.children} in all); {_items(step.taken.items)} under the prefix"


def _choice(choice: TokenChoice, *, taken: bool) -> Json:
    new = "" if choice.new == choice.items else f", {choice.new} new to them"
    behind = f"{_items(choice.items)}{new}: {_named(choice.example)}"
    return {
        "taken": taken,
        "text": f"{choice.token} · {behind}",
        "title": behind,
        "value": _percent(choice.probability),
        "width": f"{100 * min(max(choice.probability, 0.0), 1.0):.1f}",
    }


# --------------------------------------------------------------------------- the memory


def _parts(user: OneUser, memory: MemoryPart) -> list[Json]:
    """Three boxes: the sum, who speaks for the item, who speaks against it."""
    probability = _percent(math.exp(user.log_probability))
    named = (*memory.speak_for, *memory.speak_against)
    loudest = max((abs(voice.value) for voice in named), default=0.0) or 1.0
    count, rest = memory.others
    lines = [
        _line(f"its Rec-ID: logarithm of {probability}", _signed(user.log_probability)),
        _line(f"the memory: {memory.voices} of {_items(memory.history)} say something", _signed(memory.value)),
        {**_line("the score, the sum of both", _signed(user.score)), "taken": True},
    ]
    if count:
        lines.insert(2, _line(f"… of which {_items(count)} not shown here", _signed(rest)))
    about = "Items are ranked by their scores: the higher, the better. +0.7 is worth a probability twice as high."
    return [
        {"title": f"Its score: {_signed(user.score)}", "text": about, "kind": "sum", "choices": lines},
        _voices("Speak for it", "Items of the history that raise its score", memory.speak_for, loudest, kind="for"),
        _voices(
            "Speak against it", "Items of the history that lower it", memory.speak_against, loudest, kind="against"
        ),
    ]


def _voices(title: str, what: str, voices: Sequence[Voice], loudest: float, *, kind: str) -> Json:
    """The items that speak to one side; bars are as long as they are loud."""
    return {
        "title": title,
        "text": f"{what}, the loudest first." if voices else "No item of the history does.",
        "kind": kind,
        "choices": [
            {
                **_line(f"{_named(voice.item)}{_age(voice.age)}", _signed(voice.value)),
                "width": f"{100 * abs(voice.value) / loudest:.1f}",
            }
            for voice in voices
        ],
    }


def _line(text: str, value: str) -> Json:
    """A row of a box without a bar."""
    return {"taken": False, "text": text, "title": text, "value": value, "width": ""}


def _age(age: int | None) -> str:
    if age is None:
        return ""
    return " · the newest" if age == 0 else f" · {age} newer"


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


# --------------------------------------------------------------------------- words


def _items(count: int) -> str:
    return "1 item" if count == 1 else f"{count:,} items"


def _named(item: NamedItem) -> str:
    title, name = visible(item.title, _NAME), visible(item.id, _NAME)
    return f"{title} [{name}]" if item.title and item.title != item.id else name


def _percent(probability: float) -> str:
    return f"{probability:.1%}" if probability >= 0.001 else f"{probability:.1e}"
