"""What `mmgrec.insight.insight` finds out about a model: `ModelInsight` and its parts, from JSON and to JSON.

Of every model: popularity of what it recommends, coverage, accuracy. Of MMGRec also `GeneratorInsight`: its Rec-IDs,
its gains, its item memory, one user (`mmgrec.insight.user_values`). The page (`mmgrec.report`) draws these values;
``insight.json`` of runs and of studies' cells holds them, with their fields' names in their fields' order. Shares and
accuracies are between 0 and 1, all other numbers are counts, unless a comment says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mmgrec.errors import RunError
from mmgrec.insight.payload import Facts
from mmgrec.insight.user_values import OneUser
from mmgrec.storage import Json, record_json

__all__ = [
    "CodewordUse", "CountRange", "GainSpread", "GeneratorInsight", "GroupAccuracy", "LayerGains", "MemoryInsight",
    "ModelInsight", "PopularityGroups", "PrefixGroup", "PrefixLevel",
]  # fmt: skip

SCHEMA = 1  # of the JSON


@dataclass(frozen=True, kw_only=True)
class CountRange:
    """A group of counts: 0, 1, 2–3, 4–7 …, both bounds included."""

    low: int
    high: int

    @classmethod
    def read(cls, facts: Facts) -> CountRange:
        return cls(low=facts.whole("from"), high=facts.whole("to"))

    def to_json(self) -> Json:
        return {"from": self.low, "to": self.high}


# --------------------------------------------------------------------------- any model


@dataclass(frozen=True, kw_only=True)
class PopularityGroups:
    """How catalogue, recommendations and liked items spread over G groups of items."""

    groups: tuple[CountRange, ...]  # [G] training interactions of an item
    catalogue: tuple[float, ...]  # [G] share of all items
    recommended: tuple[float, ...]  # [G] share of what stands in the lists
    liked: tuple[float, ...]  # [G] share of what the users liked afterwards

    @classmethod
    def read(cls, facts: Facts) -> PopularityGroups:
        return cls(
            groups=facts.each("groups", CountRange.read),
            catalogue=facts.numbers("catalogue"),
            recommended=facts.numbers("recommended"),
            liked=facts.numbers("liked"),
        )


@dataclass(frozen=True, kw_only=True)
class GroupAccuracy:
    """Accuracy in one group: of items, by training interactions, or of users, by length of the history."""

    counts: CountRange  # the group's
    users: int  # the means are over these
    likes: int | None  # liked items in the group; None: a group of users
    recall: float  # mean over the users
    ndcg: float  # mean over the users

    @classmethod
    def read(cls, facts: Facts) -> GroupAccuracy:
        return cls(
            counts=CountRange.read(facts),
            users=facts.whole("users"),
            likes=facts.whole("likes") if facts.has("likes") else None,
            recall=facts.number("recall"),
            ndcg=facts.number("ndcg"),
        )

    def to_json(self) -> Json:
        likes = {} if self.likes is None else {"likes": self.likes}
        return {**self.counts.to_json(), "users": self.users, **likes, "recall": self.recall, "ndcg": self.ndcg}


# --------------------------------------------------------------------------- Rec-IDs and gains of MMGRec


@dataclass(frozen=True, kw_only=True)
class CodewordUse:
    """How the items use the vocabulary of one level."""

    level: int  # from 0
    collision: bool  # the last level, which tells apart the items that agree in all others
    size: int  # of the vocabulary
    used: int  # tokens that an item has
    perplexity: float  # from 1 to `used`
    rank: tuple[int, ...]  # [P] places of tokens, 1 the most used; at most 200 of them
    items: tuple[int, ...]  # [P] with the token of that place

    @classmethod
    def read(cls, facts: Facts) -> CodewordUse:
        return cls(
            level=facts.whole("level"),
            collision=facts.flag("collision"),
            size=facts.whole("size"),
            used=facts.whole("used"),
            perplexity=facts.number("perplexity"),
            rank=facts.wholes("rank"),
            items=facts.wholes("items"),
        )


@dataclass(frozen=True, kw_only=True)
class PrefixGroup:
    """The prefixes of one length that have about as many items."""

    counts: CountRange  # items under one prefix
    prefixes: int
    items: int  # under all of them together

    @classmethod
    def read(cls, facts: Facts) -> PrefixGroup:
        return cls(counts=CountRange.read(facts), prefixes=facts.whole("prefixes"), items=facts.whole("items"))

    def to_json(self) -> Json:
        return {**self.counts.to_json(), "prefixes": self.prefixes, "items": self.items}


@dataclass(frozen=True, kw_only=True)
class PrefixLevel:
    """How many items share the prefixes of one length."""

    tokens: int  # of a prefix, from 1
    prefixes: int  # of all groups
    largest: int  # items under the fullest prefix
    sizes: tuple[PrefixGroup, ...]

    @classmethod
    def read(cls, facts: Facts) -> PrefixLevel:
        return cls(
            tokens=facts.whole("tokens"),
            prefixes=facts.whole("prefixes"),
            largest=facts.whole("largest"),
            sizes=facts.each("sizes", PrefixGroup.read),
        )


@dataclass(frozen=True, kw_only=True)
class GainSpread:
    """How one gain spreads over the users."""

    share: tuple[float, ...]  # [B] share of the gains in each bar of a histogram
    mean: float  # a factor, 1 before training
    deviation: float  # standard, of the same unit

    @classmethod
    def read(cls, facts: Facts) -> GainSpread:
        return cls(share=facts.numbers("share"), mean=facts.number("mean"), deviation=facts.number("deviation"))


@dataclass(frozen=True, kw_only=True)
class LayerGains:
    """The gains of one encoder layer's attention."""

    layer: int  # from 0
    users: int  # that were looked at
    width: int  # numbers in a user's gain: 1, or one for each dimension
    edges: tuple[float, ...]  # [B + 1] of the bars of all three histograms
    query: GainSpread
    key: GainSpread
    value: GainSpread

    @classmethod
    def read(cls, facts: Facts) -> LayerGains:
        return cls(
            layer=facts.whole("layer"),
            users=facts.whole("users"),
            width=facts.whole("width"),
            edges=facts.numbers("edges"),
            query=GainSpread.read(facts.part("query")),
            key=GainSpread.read(facts.part("key")),
            value=GainSpread.read(facts.part("value")),
        )


@dataclass(frozen=True, kw_only=True)
class MemoryInsight:
    """The item memory of a model, and what becomes of the lists by it."""

    kept: int  # items that can speak for one item, at most
    neighbours: float  # items that do, mean over the items that have some
    spoken_for: float  # share of the items that have some
    bytes: int  # of the weights
    decay: float  # an item of a history counts decay^age; 1: whether it is old or new does not matter
    users: int  # whose lists were searched with the memory and without it, a sample
    top_k: int  # length of these lists
    other_places: float  # share of the lists' places that hold another item without the memory
    other_items: float  # share of the lists' items that are not in the list without the memory
    share: float  # of an item's score that is the memory's: median of |memory| / (|memory| + |log-probability|)

    @classmethod
    def read(cls, facts: Facts) -> MemoryInsight:
        return cls(
            kept=facts.whole("kept"),
            neighbours=facts.number("neighbours"),
            spoken_for=facts.number("spoken_for"),
            bytes=facts.whole("bytes"),
            decay=facts.number("decay"),
            users=facts.whole("users"),
            top_k=facts.whole("top_k"),
            other_places=facts.number("other_places"),
            other_items=facts.number("other_items"),
            share=facts.number("share"),
        )


# --------------------------------------------------------------------------- the whole


@dataclass(frozen=True, kw_only=True)
class GeneratorInsight:
    """What only MMGRec has."""

    codewords: tuple[CodewordUse, ...]  # one for each level, the collision token's last
    prefixes: tuple[PrefixLevel, ...]  # one for each length but the whole Rec-ID's
    gains: tuple[LayerGains, ...]  # empty where the attention tells no relations
    user: OneUser | None  # None: nothing is recommended to anybody
    memory: MemoryInsight | None = None  # None: the model has no memory

    @classmethod
    def read(cls, facts: Facts) -> GeneratorInsight:
        return cls(
            codewords=facts.each("codewords", CodewordUse.read),
            prefixes=facts.each("prefixes", PrefixLevel.read),
            gains=facts.each("gains", LayerGains.read),
            user=OneUser.read(facts.part("user")) if facts.has("user") else None,
            memory=MemoryInsight.read(facts.part("memory")) if facts.has("memory") else None,
        )

    def to_json(self) -> Json:
        """Without a memory the table has no word of it."""
        table = record_json(self)
        if self.memory is None:
            del table["memory"]
        return table


@dataclass(frozen=True, kw_only=True)
class ModelInsight:
    """Everything that is known of one fitted model beside its metrics."""

    split: str  # the part that holds what the users liked: test or valid
    users: int  # that were looked at
    items: int  # of the data
    top_k: int  # length of the lists that are judged
    parameters: int | None  # numbers that ranking needs; None: the model does not tell
    coverage: Mapping[int, float]  # length of the lists -> share of the items that are in at least one
    popularity: PopularityGroups
    by_popularity: tuple[GroupAccuracy, ...]  # groups of items that somebody liked
    by_history: tuple[GroupAccuracy, ...]  # groups of users
    generator: GeneratorInsight | None  # None: the model is no MMGRec

    @classmethod
    def of_json(cls, payload: object, *, where: str = "insight.json") -> ModelInsight:
        """What `to_json` wrote, by this version or an earlier one.

        Args:
            payload: a model's table.
            where: the file it is from, for the error.

        Raises:
            RunError: if it was written by a newer version, or changed by hand.
        """
        facts = Facts.of(payload, where=where)
        schema = facts.whole("schema") if facts.has("schema") else SCHEMA
        if schema > SCHEMA:
            raise RunError(
                f"was written by a newer mmgrec (schema {schema}; this one reads up to {SCHEMA})",
                where=where,
                remedy="use that version, or a newer one",
                code="insight.newer-schema",
            )
        coverage, accuracy = facts.part("coverage"), facts.part("accuracy")
        return cls(
            split=facts.text("split"),
            users=facts.whole("users"),
            items=facts.whole("items"),
            top_k=facts.whole("top_k"),
            parameters=facts.whole("parameters") if facts.has("parameters") else None,
            coverage={int(name): coverage.number(name) for name in coverage.table if name.isdecimal()},
            popularity=PopularityGroups.read(facts.part("popularity")),
            by_popularity=accuracy.each("popularity", GroupAccuracy.read),
            by_history=accuracy.each("history", GroupAccuracy.read),
            generator=GeneratorInsight.read(facts) if facts.has("codewords") else None,
        )

    def to_json(self) -> Json:
        """The table that `of_json` reads; equal insights give equal bytes."""
        table = record_json(self)
        generator = table.pop("generator")
        accuracy = {"popularity": table.pop("by_popularity"), "history": table.pop("by_history")}
        coverage = {str(length): share for length, share in self.coverage.items()}
        return {"schema": SCHEMA, **table, "coverage": coverage, "accuracy": accuracy, **(generator or {})}
