"""Parts that break their contract, each in its own way. `test_broken_plugins` makes a distribution of every class.

What stands above the first class is the head of each module; a class's docstring says what is wrong with it.
"""

import sys
from dataclasses import dataclass, replace

import torch
from torch import nn

from mmgrec.interfaces import (
    CollisionResolver,
    DatasetSource,
    Decoder,
    FittedRecommender,
    ItemMemory,
    ItemWeights,
    Metric,
    PositionalScheme,
    Quantization,
    Quantizer,
    Recommendations,
    Recommender,
    Representations,
)
from mmgrec.recid import Codes, RecIDTable
from mmgrec.testing import tiny_data


def sound(data, context):
    """A quantization as it should be."""
    item = torch.arange(data.num_items)
    generator = context.generator("sketch")
    return Quantization(
        representations=Representations(
            user=torch.randn(data.num_users, 8, generator=generator),
            item=torch.randn(data.num_items, 8, generator=generator),
        ),
        codes=Codes(token=torch.stack([item % 4, item // 4 % 4], dim=1), level_sizes=(4, 4)),
    )


def best(users, top_k, exclusion, num_items):
    """The first items that are not excluded, for every user."""
    score = -torch.arange(float(num_items)).repeat(users.numel(), 1)
    row, place = (exclusion.seen >= 0).nonzero(as_tuple=True)
    score[row, exclusion.seen[row, place]] = -torch.inf
    found = score.topk(min(top_k, num_items), dim=1)
    real = found.values > -torch.inf
    return torch.where(real, found.indices, -1), found.values


def next_ones(data):
    """Every item is spoken for by the one before it."""
    item = torch.arange(data.num_items)[:, None]
    return ItemWeights(index=item.roll(1, 0), weight=torch.ones(data.num_items, 1))


class Plain(FittedRecommender):
    """Ranks the items by their numbers."""

    def __init__(self, num_items):
        self.num_items = num_items

    def recommend(self, users, *, top_k, exclusion):
        item, score = best(users, top_k, exclusion, self.num_items)
        return Recommendations(user=users, item=item, score=score)


# --------------------------------------------------------------------------- quantizers


@dataclass(frozen=True, kw_only=True)
class QuantizerThatIsSound(Quantizer):
    """Nothing is wrong; it stands beside the broken ones."""

    def fit(self, data, context):
        return sound(data, context)


@dataclass(frozen=True, kw_only=True)
class QuantizerThatRaises(Quantizer):
    """Raises while it works."""

    def fit(self, data, context):
        raise KeyError("no such table")


@dataclass(frozen=True, kw_only=True)
class QuantizerThatExits(Quantizer):
    """Ends the process while it works."""

    def fit(self, data, context):
        sys.exit(0)


@dataclass(frozen=True, kw_only=True)
class QuantizerThatRecurses(Quantizer):
    """Calls itself without end."""

    def fit(self, data, context):
        return self.fit(data, context)


@dataclass(frozen=True, kw_only=True)
class QuantizerWithoutContext(Quantizer):
    """Wrong signature."""

    def fit(self, data):
        return sound(data, None)


@dataclass(frozen=True, kw_only=True)
class QuantizerOfNothing(Quantizer):
    """Wrong type."""

    def fit(self, data, context):
        pass


@dataclass(frozen=True, kw_only=True)
class QuantizerOfFewer(Quantizer):
    """Wrong shape: the last item is forgotten."""

    def fit(self, data, context):
        made = sound(data, context)
        return replace(made, representations=replace(made.representations, item=made.representations.item[:-1]))


@dataclass(frozen=True, kw_only=True)
class QuantizerOfFewerCodes(Quantizer):
    """Wrong shape: the last item has no code."""

    def fit(self, data, context):
        made = sound(data, context)
        return replace(made, codes=replace(made.codes, token=made.codes.token[:-1]))


@dataclass(frozen=True, kw_only=True)
class QuantizerOfNan(Quantizer):
    """NaN among the representations."""

    def fit(self, data, context):
        made = sound(data, context)
        made.representations.item[3, 1] = torch.nan
        return made


@dataclass(frozen=True, kw_only=True)
class QuantizerOfChance(Quantizer):
    """Not deterministic."""

    def fit(self, data, context):
        made = sound(data, context)
        torch.seed()
        return replace(made, codes=replace(made.codes, token=torch.randint(4, made.codes.token.shape)))


@dataclass(frozen=True, kw_only=True)
class QuantizerOfUnknownSettings(Quantizer):
    """A setting of a type that does not exist."""

    width: "NoSuchType" = 3  # noqa: F821

    def fit(self, data, context):
        return sound(data, context)


@dataclass(frozen=True, kw_only=True)
class QuantizerThatCannotBeMade(Quantizer):
    """Raises as it is made."""

    def __post_init__(self):
        raise RuntimeError("out of licences")

    def fit(self, data, context):
        return sound(data, context)


# --------------------------------------------------------------------------- collision resolvers


@dataclass(frozen=True, kw_only=True)
class CollisionsOfNothing(CollisionResolver):
    """Wrong type."""

    def resolve(self, codes, popularity, context):
        return codes


@dataclass(frozen=True, kw_only=True)
class CollisionsOfFewer(CollisionResolver):
    """Wrong shape: the last item has no Rec-ID."""

    def resolve(self, codes, popularity, context):
        place = torch.arange(codes.num_items - 1)[:, None]
        return RecIDTable(
            token=torch.cat([codes.token[:-1], place], dim=1), level_sizes=(*codes.level_sizes, codes.num_items)
        )


@dataclass(frozen=True, kw_only=True)
class CollisionsThatCollide(CollisionResolver):
    """Two items get one Rec-ID."""

    def resolve(self, codes, popularity, context):
        token = torch.zeros(codes.num_items, 3, dtype=torch.int64)
        return RecIDTable(token=token, level_sizes=(*codes.level_sizes, 1))


# --------------------------------------------------------------------------- positional schemes


@dataclass(frozen=True, kw_only=True)
class PositionOfNothing(PositionalScheme):
    """Wrong type: no module."""

    def attention(self, *, dim, num_heads, head_dim, user_dim):
        return None


@dataclass(frozen=True, kw_only=True)
class PositionOfAnotherSize(PositionalScheme):
    """Wrong shape."""

    def attention(self, *, dim, num_heads, head_dim, user_dim):
        class Wide(nn.Module):
            def forward(self, x, user, keep):
                return torch.cat([x, x], dim=-1)

        return Wide()


@dataclass(frozen=True, kw_only=True)
class PositionOfNan(PositionalScheme):
    """NaN."""

    def attention(self, *, dim, num_heads, head_dim, user_dim):
        class Void(nn.Module):
            def forward(self, x, user, keep):
                return x * torch.nan

        return Void()


@dataclass(frozen=True, kw_only=True)
class PositionWithoutUsers(PositionalScheme):
    """Wrong signature."""

    def attention(self, *, dim, num_heads, head_dim):
        return nn.Identity()


# --------------------------------------------------------------------------- item memories


@dataclass(frozen=True, kw_only=True)
class MemoryThatRaises(ItemMemory):
    """Raises while it works."""

    def fit(self, data, beside, context):
        raise KeyError("no such table")


@dataclass(frozen=True, kw_only=True)
class MemoryOfNothing(ItemMemory):
    """Wrong type."""

    def fit(self, data, beside, context):
        pass


@dataclass(frozen=True, kw_only=True)
class MemoryOfLists(ItemMemory):
    """Wrong type of what it holds."""

    def fit(self, data, beside, context):
        made = next_ones(data)
        return replace(made, index=made.index.tolist())


@dataclass(frozen=True, kw_only=True)
class MemoryOfFewer(ItemMemory):
    """Wrong shape: the last item is forgotten."""

    def fit(self, data, beside, context):
        made = next_ones(data)
        return replace(made, index=made.index[:-1], weight=made.weight[:-1])


@dataclass(frozen=True, kw_only=True)
class MemoryOfNan(ItemMemory):
    """NaN among the weights."""

    def fit(self, data, beside, context):
        made = next_ones(data)
        made.weight[3] = torch.nan
        return made


@dataclass(frozen=True, kw_only=True)
class MemoryOfUnknownItems(ItemMemory):
    """Items that the data do not have."""

    def fit(self, data, beside, context):
        made = next_ones(data)
        return replace(made, index=made.index + 1000)


@dataclass(frozen=True, kw_only=True)
class MemoryWithoutScores(ItemMemory):
    """Wrong signature."""

    def fit(self, data, context):
        return next_ones(data)


# --------------------------------------------------------------------------- decoders


@dataclass(frozen=True, kw_only=True)
class DecoderOfNothing(Decoder):
    """Wrong type."""

    def decode(self, stepper, trie, *, top_k, exclusion):
        pass


@dataclass(frozen=True, kw_only=True)
class DecoderOfFewer(Decoder):
    """Wrong shape: one item too few."""

    def decode(self, stepper, trie, *, top_k, exclusion):
        item, score = best(torch.arange(stepper.num_users), top_k, exclusion, trie.num_items)
        return item[:, :-1], score[:, :-1]


@dataclass(frozen=True, kw_only=True)
class DecoderOfNan(Decoder):
    """NaN for scores."""

    def decode(self, stepper, trie, *, top_k, exclusion):
        item, score = best(torch.arange(stepper.num_users), top_k, exclusion, trie.num_items)
        return item, score * torch.nan


@dataclass(frozen=True, kw_only=True)
class DecoderOfChance(Decoder):
    """Not deterministic."""

    def decode(self, stepper, trie, *, top_k, exclusion):
        item, score = best(torch.arange(stepper.num_users), top_k, exclusion, trie.num_items)
        torch.seed()
        place = torch.rand(item.shape).argsort(dim=1)
        return item.gather(1, place), score.gather(1, place)


@dataclass(frozen=True, kw_only=True)
class DecoderOfWhatWasSeen(Decoder):
    """Items that are excluded."""

    def decode(self, stepper, trie, *, top_k, exclusion):
        free = replace(exclusion, seen=exclusion.seen[:, :0])
        return best(torch.arange(stepper.num_users), top_k, free, trie.num_items)


# --------------------------------------------------------------------------- recommenders


@dataclass(frozen=True, kw_only=True)
class RecommenderOfNothing(Recommender):
    """Wrong type of fit."""

    def fit(self, data, context):
        pass


@dataclass(frozen=True, kw_only=True)
class RecommenderOfItemsAlone(Recommender):
    """Wrong type of recommend."""

    def fit(self, data, context):
        class Alone(Plain):
            def recommend(self, users, *, top_k, exclusion):
                return best(users, top_k, exclusion, self.num_items)[0]

        return Alone(data.num_items)


@dataclass(frozen=True, kw_only=True)
class RecommenderOfFewer(Recommender):
    """Wrong shape: one item too few."""

    def fit(self, data, context):
        class Short(Plain):
            def recommend(self, users, *, top_k, exclusion):
                return Plain.recommend(self, users, top_k=top_k - 1, exclusion=exclusion)

        return Short(data.num_items)


@dataclass(frozen=True, kw_only=True)
class RecommenderOfNan(Recommender):
    """NaN for scores."""

    def fit(self, data, context):
        class Void(Plain):
            def recommend(self, users, *, top_k, exclusion):
                made = Plain.recommend(self, users, top_k=top_k, exclusion=exclusion)
                return replace(made, score=made.score * torch.nan)

        return Void(data.num_items)


@dataclass(frozen=True, kw_only=True)
class RecommenderOfChance(Recommender):
    """Not deterministic."""

    def fit(self, data, context):
        class Dice(Plain):
            def recommend(self, users, *, top_k, exclusion):
                made = Plain.recommend(self, users, top_k=top_k, exclusion=exclusion)
                torch.seed()
                return replace(made, item=made.item.gather(1, torch.rand(made.item.shape).argsort(dim=1)))

        return Dice(data.num_items)


@dataclass(frozen=True, kw_only=True)
class RecommenderWithoutExclusion(Recommender):
    """Wrong signature of recommend."""

    def fit(self, data, context):
        class Free(Plain):
            def recommend(self, users, top_k):
                return None

        return Free(data.num_items)


# --------------------------------------------------------------------------- data and metrics


@dataclass(frozen=True, kw_only=True)
class DatasetOfNothing(DatasetSource):
    """Wrong type."""

    def load(self, context):
        return {"user": [1], "item": [2]}


@dataclass(frozen=True, kw_only=True)
class DatasetOfNan(DatasetSource):
    """NaN among the features."""

    def load(self, context):
        data = tiny_data()
        name, table = next(iter(data.features.items()))
        return replace(data, features={name: table * torch.nan})


@dataclass(frozen=True, kw_only=True)
class DatasetOfUnknownItems(DatasetSource):
    """Interactions of items that the data do not have."""

    def load(self, context):
        data = tiny_data()
        return replace(data, train=replace(data.train, item=data.train.item + 1000))


@dataclass(frozen=True, kw_only=True)
class MetricOfFloats(Metric):
    """Wrong type."""

    definition = "hits"

    def measure(self, judged, top_k):
        return 0.5


@dataclass(frozen=True, kw_only=True)
class MetricOfAll(Metric):
    """Wrong shape: a value for every place."""

    definition = "hits"

    def measure(self, judged, top_k):
        return judged.hit.double()


@dataclass(frozen=True, kw_only=True)
class MetricOfNan(Metric):
    """NaN."""

    definition = "hits"

    def measure(self, judged, top_k):
        return judged.hit.double().mean(dim=1) / 0.0


@dataclass(frozen=True, kw_only=True)
class MetricWithoutWords(Metric):
    """A definition that is no text."""

    definition = ("hits",)

    def measure(self, judged, top_k):
        return judged.hit.double().mean(dim=1)
