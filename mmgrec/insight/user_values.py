"""One user seen through MMGRec, as values: the part of `mmgrec.insight.values.ModelInsight` that shows an example.

Probabilities are between 0 and 1; all other whole numbers are counts, unless a comment says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

from mmgrec.insight.payload import Facts
from mmgrec.storage import Json, record_json

__all__ = ["NamedItem", "OneUser", "PathLevel", "RelationMap", "TokenChoice"]

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
        )
