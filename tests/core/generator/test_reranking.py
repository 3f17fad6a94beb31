"""Re-ranking orders the search's candidates by both models, and validation chooses how much of each."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load, save

from mmgrec.data.dataset import Dataset
from mmgrec.errors import SettingsError
from mmgrec.generator.item_weights import ItemWeights, ease_weights
from mmgrec.generator.layers import NetworkSettings
from mmgrec.generator.reranking import Reranker, Rescoring
from mmgrec.generator.task import GeneratorTraining
from mmgrec.interfaces import Context, Exclusion, Quantization, Quantizer, Representations, Silent, exclusion_of
from mmgrec.recid.table import Codes
from mmgrec.recommender import MMGRec
from mmgrec.synthetic import planted
from mmgrec_plugins.collisions.popularity import ByPopularity
from mmgrec_plugins.decoders.trie_beam import TrieBeam
from mmgrec_plugins.positions.none import NoPosition

NONE = -torch.inf
TWO = Representations(
    user=torch.tensor([[1.0, 0.0], [0.0, 1.0]]), item=torch.tensor([[0.0, 0], [1, 1], [2, 0], [3, 0]])
)


NO_HISTORY = torch.empty(2, 0, dtype=torch.long)


def test_both_scores_add_up() -> None:
    item, score = Reranker(weight=2.0)(
        torch.tensor([[0, 1, 2]]),
        torch.tensor([[-1.0, -2.0, -9.0]]),
        users=torch.tensor([0]),
        representations=TWO,
        history=NO_HISTORY[:1],
        top_k=3,
    )
    assert item.tolist() == [[1, 0, 2]]
    assert score.tolist() == [[0.0, -1.0, -5.0]]


def test_equal_scores_put_the_lower_item_first_and_padding_stays_last() -> None:
    item, score = Reranker(weight=1.0)(
        torch.tensor([[3, -1, 2], [1, 0, -1]]),
        torch.tensor([[-4.0, NONE, -3.0], [-2.0, -1.0, NONE]]),
        users=torch.tensor([0, 1]),
        representations=TWO,
        history=NO_HISTORY,
        top_k=4,
    )
    assert item.tolist() == [[2, 3, -1, -1], [0, 1, -1, -1]]
    assert score.tolist() == [[-1.0, -1.0, NONE, NONE], [-1.0, -1.0, NONE, NONE]]


def test_no_more_than_top_k_are_named() -> None:
    item, _ = Reranker(weight=1.0)(
        torch.tensor([[0, 1, 2, 3]]),
        torch.zeros(1, 4),
        users=torch.tensor([0]),
        representations=TWO,
        history=NO_HISTORY[:1],
        top_k=2,
    )
    assert item.tolist() == [[3, 2]]


def test_the_items_of_the_history_speak_for_a_candidate() -> None:
    whole = torch.tensor([[0.0, 1, 2, 3], [4, 0, 5, 6], [7, 8, 0, 9], [1, 1, 1, 0]])  # from a row to a column
    history = torch.tensor([[0, 2, -1], [3, -1, -1]])
    item = torch.tensor([[1, 3, -1], [0, 2, 1]])
    items = ItemWeights.strongest(whole, 4)
    assert items.of(history, item)[:, :2].tolist() == [[1 + 8, 3 + 9], [1, 1]]
    assert ItemWeights.strongest(whole, 1).of(history, item)[:, :2].tolist() == [[8, 9], [0, 0]]
    assert items.of(NO_HISTORY, item).tolist() == [[0, 0, 0], [0, 0, 0]]
    ranked, score = Reranker(item_weight=2.0, items=items)(
        item,
        torch.where(item >= 0, 0.0, NONE),
        users=torch.tensor([0, 1]),
        representations=TWO,
        history=history,
        top_k=3,
    )
    assert ranked.tolist() == [[3, 1, -1], [0, 1, 2]]
    assert score.tolist() == [[24, 18, NONE], [2, 2, 2]]


class Known(Quantizer):
    """The planted tastes, and codes that say little."""

    def fit(self, data: Dataset, context: Context) -> Quantization:
        item = data.latent["item_meaning"]
        return Quantization(
            representations=Representations(user=data.latent["user_taste"], item=item),
            codes=Codes(token=(item[:, :2] > 0).long(), level_sizes=(2, 2)),
        )


DATA = planted(num_users=90, num_items=50, mean_interactions=12, seed=3)


def model(*weight: float, item_weight: tuple[float, ...] = (0.0,)) -> MMGRec:
    return MMGRec(
        quantizer=Known(),
        collisions=ByPopularity(),
        position=NoPosition(),
        decoder=TrieBeam(num_beams=50),
        network=NetworkSettings(dim=16, num_heads=2, head_dim=8, head="tokens"),
        training=GeneratorTraining(epochs=0),
        rescoring=Rescoring(weight=weight, item_weight=item_weight, items_kept=DATA.num_items),
    )


class Notes(Silent):
    def __init__(self) -> None:
        self.text: list[str] = []

    def note(self, text: str) -> None:
        self.text.append(text)


def test_an_untrained_generator_is_helped_by_what_the_representations_know() -> None:
    heard = Notes()
    fitted = model(0.0, 4.0).fit(DATA, Context(reporter=heard))
    assert fitted.hybrid.weight == 4.0
    assert any("rescoring: weight 4" in text for text in heard.text)


def test_a_great_weight_gives_the_order_of_the_inner_products() -> None:
    fitted = model(1e6).fit(DATA, Context())
    users = torch.arange(DATA.num_users)
    lists = fitted.recommend(users, top_k=10, exclusion=exclusion_of(DATA.train, users))
    scores = DATA.latent["user_taste"] @ DATA.latent["item_meaning"].T
    scores[DATA.train.user, DATA.train.item] = NONE
    assert torch.equal(lists.item, scores.topk(10).indices)


def test_a_great_item_weight_gives_the_order_of_ease() -> None:
    fitted = model(0.0, item_weight=(1e6,)).fit(DATA, Context())
    users = torch.arange(DATA.num_users)
    lists = fitted.recommend(users, top_k=10, exclusion=exclusion_of(DATA.train, users))
    seen = torch.zeros(DATA.num_users, DATA.num_items)
    seen[DATA.train.user, DATA.train.item] = 1
    scores = seen @ ease_weights(DATA.train, l2=200.0, device=torch.device("cpu"))
    scores[seen.bool()] = NONE
    assert (lists.item == scores.topk(10).indices).float().mean() > 0.99  # sums in another order


def test_validation_chooses_among_all_pairs_and_the_best_is_taken() -> None:
    heard = Notes()
    fitted = model(0.0, 4.0, item_weight=(0.0, 1e4)).fit(DATA, Context(reporter=heard))
    assert (fitted.hybrid.weight, fitted.hybrid.item_weight) == (4.0, 0.0)
    assert any("rescoring: weight 4, item weight 0" in text for text in heard.text)


def test_too_many_items_for_item_weights_are_told_before_anything_is_trained() -> None:
    method = replace(model(0.0), rescoring=Rescoring(item_weight=(1.0,), max_items=49))
    with pytest.raises(SettingsError) as error:
        method.fit(DATA, Context())
    assert error.value.code == "generator.too-many-items"
    assert "50² weights, but max_items is 49" in str(error.value)


def test_weight_zero_is_the_search_alone() -> None:
    users = torch.arange(5)
    exclusion = Exclusion(seen=DATA.train.padded(users))
    first, second = (
        method.fit(DATA, Context()).recommend(users, top_k=10, exclusion=exclusion)
        for method in (model(0.0), replace(model(0.0), rescoring=Rescoring()))
    )
    assert torch.equal(first.item, second.item)
    assert torch.equal(first.score, second.score)


@pytest.mark.parametrize("item_weight", [0.0, 3.0])
def test_the_chosen_weights_are_saved(item_weight: float) -> None:
    method = model(0.0, 4.0, item_weight=(item_weight,))
    fitted = method.fit(DATA, Context())
    again = method.restore(load(save(fitted.state())))
    assert again.hybrid.item_weight == item_weight
    users = torch.arange(7)
    exclusion = exclusion_of(DATA.train, users)
    assert again.hybrid.weight == 4.0
    assert torch.equal(
        again.recommend(users, top_k=5, exclusion=exclusion).score,
        fitted.recommend(users, top_k=5, exclusion=exclusion).score,
    )


@pytest.mark.parametrize("weight", [(0.5,), (0.5, 4.0)])
def test_without_validation_items_the_first_weight_is_taken(weight: tuple[float, ...]) -> None:
    empty = replace(DATA, valid=replace(DATA.valid, user=DATA.valid.user[:0], item=DATA.valid.item[:0]))
    assert model(*weight).fit(empty, Context()).hybrid.weight == 0.5
