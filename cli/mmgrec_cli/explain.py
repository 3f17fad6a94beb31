"""``mmgrec explain``: why a user is recommended what they are, from a stored model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from mmgrec_cli import options, render

if TYPE_CHECKING:
    from mmgrec.insight import ExplainedItem, Explanation, MemoryPart, NamedItem, Voice

__all__ = ["explain"]

_LONGEST = 100  # items of a list
_LETTERS = 50  # of an id or a title


def explain(
    run: options.RunPath,
    user: Annotated[str, typer.Option("--user", help="A user's id.", metavar="ID")],
    item: Annotated[str, typer.Option("--item", help="An item's id; without it, the user's list.", metavar="ID")] = "",
    top_k: Annotated[int, typer.Option("-k", "--top-k", help="Items of the list.", min=1, max=_LONGEST)] = 10,
    exclude: Annotated[
        str, typer.Option("--exclude", help="Never again what is in: train, train+valid or all.")
    ] = "train+valid",
    model: options.Label = "mmgrec",
    data: options.Data = "",
    device: options.Device = "cpu",
    json: options.Json = False,
) -> None:
    """Say why a user is recommended what they are: the way to each item's Rec-ID, and what the item memory adds.

    With --item one item is explained, whether it is in the list or not.
    """
    from mmgrec.evaluation import KNOWN
    from mmgrec.guards import contained
    from mmgrec.insight import explain as explained
    from mmgrec.runs import StoredRun
    from mmgrec.serving import item_number, user_number

    excluded = options.one_of("--exclude", exclude, KNOWN)
    place = options.device_of(device)
    stored = StoredRun.open(run, data_path=data or None)
    dataset, fitted = stored.data(), stored.fitted(model, device=place)
    number = user_number(user, dataset)
    wanted = item_number(item, dataset) if item else None
    with contained():
        answer = explained(fitted, dataset, number, item=wanted, top_k=top_k, exclude=excluded)
    if json:
        render.as_json(answer.to_json())
        return
    for line in _lines(answer):
        render.text(line)


def _lines(answer: Explanation) -> Iterator[str]:
    """An explanation as people read it."""
    history = "1 item" if answer.history == 1 else f"{answer.history} items"
    yield f"User {_cut(answer.user)}: {history} in the history; never again what is in {answer.exclude}"
    if any(one.memory for one in answer.items):
        yield "Score = logarithm of the Rec-ID's probability + what the items of the history say of the item"
    else:
        yield "Score = logarithm of the Rec-ID's probability"
    if not answer.items:
        yield "Nothing is recommended to them"
    for one in answer.items:
        yield ""
        yield from _item(one, answer.top_k)


def _item(one: ExplainedItem, top_k: int) -> Iterator[str]:
    parts = [one.log_probability, *([] if one.memory is None else [one.memory.value])]
    total = " + ".join(f"{part:.2f}" for part in parts).replace("+ -", "- ")
    yield f"{_place(one, top_k)}: score {one.score:.2f}" + (f" = {total}" if one.memory else "")
    steps = ", ".join(
        f"{step.taken.token} at {_percent(step.taken.probability)} (choice {step.rank} of {step.open})"
        for step in one.path
    )
    yield f"    Rec-ID   {steps}: {_percent(math.exp(one.log_probability))} in all"
    if one.memory is not None:
        yield from _memory(one.memory)


def _place(one: ExplainedItem, top_k: int) -> str:
    if one.rank is not None:
        return f"{one.rank:3}. {_named(one.item)}"
    return f"     {_named(one.item)}, {'which they have already' if one.had else f'not among the first {top_k}'}"


def _memory(memory: MemoryPart) -> Iterator[str]:
    if not memory.voices:
        yield "    memory   no item of the history says anything of it"
    if memory.speak_for:
        yield f"    for it   {', '.join(map(_voice, memory.speak_for))}"
    if memory.speak_against:
        yield f"    against  {', '.join(map(_voice, memory.speak_against))}"
    count, rest = memory.others
    if count:
        yield f"    others   {rest:+.2f} by {count} more of the history"


def _voice(voice: Voice) -> str:
    age = {None: "", 0: ", the newest"}.get(voice.age, f", {voice.age} newer")
    return f"{_named(voice.item)} ({voice.value:+.2f}{age})"


def _named(item: NamedItem) -> str:
    return f"{_cut(item.title)} [{_cut(item.id)}]" if item.title and item.title != item.id else _cut(item.id)


def _cut(text: str) -> str:
    return text if len(text) <= _LETTERS else f"{text[: _LETTERS - 1]}…"


def _percent(probability: float) -> str:
    return f"{probability:.1%}" if probability >= 0.001 else f"{probability:.1e}"
