"""One user seen through MMGRec, as values: the part of `mmgrec.insight.values.ModelInsight` that shows an example.

Probabilities are between 0 and 1; all other whole numbers are counts, unless a comment says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

from mmgrec.insight.payload import Facts
from mmgrec.storage import Json, record_json

__all__ = ["MemoryPart", "NamedItem", "OneUser", "PathLevel", "RelationMap", "TokenChoice", "Voice"]

Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, kw_only=True)
class NamedItem:
    """An item as people know it, cut to 80 letters."""

    id: str
    title: str  # "" where the data have none

    @classmethod
    def read(cls, facts: Facts) -> NamedItem:
        return cls(id=facts.text("id"), title=facts.text("title"))


@dataclass(frozen=True, kw_only=True)
class RelationMap:
    """What the first T items of a user's history are to each other in one encoder layer, mean over the heads."""

    layer: int  # from 0
    content: Matrix  # [T, T] scores before the softmax
    relation: Matrix  # [T, T] scores before the softmax
    attention: Matrix  # [T, T] weights; a row sums to less than 1, as some of it goes to what is no item

    @classmethod
    def read(cls, facts: Facts) -> RelationMap:
        return cls(
            layer=facts.whole("layer"),
            content=facts.matrix("content"),
            relation=facts.matrix("relation"),
            attention=facts.matrix("attention"),
        )


@dataclass(frozen=True, kw_only=True)
class TokenChoice:
    """A token that may follow a prefix, and what it leads to."""

    token: int
    probability: float
    items: int  # behind it
    new: int  # of these, items that the user does not have
    example: NamedItem  # the most popular item behind it

    @classmethod
    def read(cls, facts: Facts) -> TokenChoice:
        return cls(
            token=facts.whole("token"),
            probability=facts.number("probability"),
            items=facts.whole("items"),
            new=facts.whole("new"),
            example=NamedItem.read(facts.part("example")),
        )


@dataclass(frozen=True, kw_only=True)
class PathLevel:
    """One level on the way to an item: the token taken and its best rivals."""

    level: int  # from 0
    taken: TokenChoice
    rank: int  # of the token taken, 1 the most probable of `open`
    open: int  # tokens that lead to an item new to the user
    children: int  # tokens that lead to an item
    others: tuple[TokenChoice, ...]  # at most 4, the most probable first, all of them open

    @classmethod
    def read(cls, facts: Facts) -> PathLevel:
        return cls(
            level=facts.whole("level"),
            taken=TokenChoice.read(facts),
            rank=facts.whole("rank"),
            open=facts.whole("open"),
            children=facts.whole("children"),
            others=facts.each("others", TokenChoice.read),
        )

    def to_json(self) -> Json:
        table = record_json(self)
        return {"level": table.pop("level"), **table.pop("taken"), **table}


@dataclass(frozen=True, kw_only=True)
class Voice:
    """An item of a history that speaks for another item, or against it."""

    item: NamedItem
    value: float  # what it adds to the other's score, beside its log-probability; below 0: it speaks against it
    age: int | None  # how many items of the history are newer; None: their order is not known

    @classmethod
    def read(cls, facts: Facts) -> Voice:
        return cls(
            item=NamedItem.read(facts.part("item")),
            value=facts.number("value"),
            age=facts.whole("age") if facts.has("age") else None,
        )


@dataclass(frozen=True, kw_only=True)
class MemoryPart:
    """What the item memory adds to one item's score, and whom of the history it is from."""

    value: float  # the sum of all voices
    voices: int  # items of the history that speak for the item or against it
    history: int  # all its items
    speak_for: tuple[Voice, ...]  # at most 5, the loudest first
    speak_against: tuple[Voice, ...]  # at most 5, the loudest first

    @classmethod
    def read(cls, facts: Facts) -> MemoryPart:
        return cls(
            value=facts.number("value"),
            voices=facts.whole("voices"),
            history=facts.whole("history"),
            speak_for=facts.each("speak_for", Voice.read),
            speak_against=facts.each("speak_against", Voice.read),
        )

    @property
    def others(self) -> tuple[int, float]:
        """How many voices are not named, and what they add together."""
        named = (*self.speak_for, *self.speak_against)
        return self.voices - len(named), self.value - sum(voice.value for voice in named)


@dataclass(frozen=True, kw_only=True)
class OneUser:
    """An example: a user with a readable history and many hits, and the way to one item of their list."""

    user: str  # id, cut to 80 letters
    hits: int  # items of the list that the user liked afterwards
    list: int  # its length
    items: tuple[NamedItem, ...]  # the history, as the model reads it
    layers: tuple[RelationMap, ...]  # of the first encoder layers; empty where the attention tells no relations
    item: NamedItem  # the list's first hit, or its first item
    place: int  # of the item in the list, from 1
    liked: bool  # whether the item is a hit
    log_probability: float  # natural logarithm of the item's
    path: tuple[PathLevel, ...]  # one for each token of the item's Rec-ID
    memory: MemoryPart | None = None  # None: the model has no memory

    @property
    def score(self) -> float:
        """What the item is ranked by."""
        return self.log_probability + (0.0 if self.memory is None else self.memory.value)

    @classmethod
    def read(cls, facts: Facts) -> OneUser:
        return cls(
            user=facts.text("user"),
            hits=facts.whole("hits"),
            list=facts.whole("list"),
            items=facts.each("items", NamedItem.read),
            layers=facts.each("layers", RelationMap.read),
            item=NamedItem.read(facts.part("item")),
            place=facts.whole("place"),
            liked=facts.flag("liked"),
            log_probability=facts.number("log_probability"),
            path=facts.each("path", PathLevel.read),
            memory=MemoryPart.read(facts.part("memory")) if facts.has("memory") else None,
        )

    def to_json(self) -> Json:
        """Without a memory the table has no word of it."""
        table = record_json(self)
        if self.memory is None:
            del table["memory"]
        return table
