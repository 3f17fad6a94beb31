"""MMGRec as a whole, on a quantizer that costs nothing: ranking, saving, histories, determinism."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save

from mmgrec.data.dataset import Dataset
from mmgrec.evaluation.harness import evaluate
from mmgrec.evaluation.report import Defects
from mmgrec.generator.layers import NetworkSettings
from mmgrec.generator.task import GeneratorTraining
from mmgrec.interfaces import (
    Context,
    Exclusion,
    ItemWeights,
    Quantization,
    Quantizer,
    Representations,
    Silent,
    exclusion_of,
    no_exclusion,
)
from mmgrec.recid.table import Codes
from mmgrec.recommender import FittedMMGRec, MMGRec
from mmgrec.storage.tensors import tensors_equal
from mmgrec.synthetic import planted, tours
from mmgrec_plugins.collisions.popularity import ByPopularity
from mmgrec_plugins.decoders.exact import Exact
from mmgrec_plugins.decoders.trie_beam import TrieBeam
from mmgrec_plugins.positions.relation_aware import RelationAware


@dataclass(frozen=True, kw_only=True)
class Known(Quantizer):
    """The planted tastes and meanings, and codes from their signs."""

    def fit(self, data: Dataset, context: Context) -> Quantization:
        item = data.latent["item_meaning"]
        bits = (item[:, :6] > 0).long()
        token = torch.stack([bits[:, 0] * 2 + bits[:, 1], bits[:, 2] * 2 + bits[:, 3], bits[:, 4] * 2 + bits[:, 5]], 1)
        return Quantization(
            representations=Representations(user=data.latent["user_taste"], item=item),
            codes=Codes(token=token, level_sizes=(4, 4, 4)),
        )


class Drawn(Quantizer):
    """Vectors drawn at random, and codes from their signs."""

    def fit(self, data: Dataset, context: Context) -> Quantization:
        generator = torch.Generator().manual_seed(5)
        user, item = (torch.randn(count, 8, generator=generator) for count in (data.num_users, data.num_items))
        codes = Codes(token=(item[:, :3] > 0).long(), level_sizes=(2, 2, 2))
        return Quantization(representations=Representations(user=user, item=item), codes=codes)


class Heard(Silent):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


DATA = planted(num_users=90, num_items=50, mean_interactions=12, seed=3)
MODEL = MMGRec(
    quantizer=Known(),
    collisions=ByPopularity(),
    position=RelationAware(),
    decoder=TrieBeam(num_beams=15),
    network=NetworkSettings(dim=8, num_heads=2, head_dim=4, feedforward_dim=8, history_length=8),
    training=GeneratorTraining(epochs=2, batch_size=32, validate_every=1, warmup_steps=2),
)


@pytest.fixture(scope="module")
def fitted() -> FittedMMGRec:
    return MODEL.fit(DATA, Context(seed=1))


EVERYONE = torch.arange(DATA.num_users)


def test_lists_have_no_defects_on_either_split(fitted: FittedMMGRec) -> None:
    for split in ("test", "valid"):
        report = evaluate(fitted, DATA, split=split, top_k=(10, 45))  # type: ignore[arg-type]
        assert report.defects == Defects()


def test_it_learns_to_say_what_the_representations_say(fitted: FittedMMGRec) -> None:
    """The teacher is the truth itself here: nearly as many hits as by its scores."""
    report = evaluate(fitted, DATA, split="test", top_k=(10,))
    random = 10 / DATA.num_items
    assert report.metrics["recall@10"] > 2 * random


def test_a_beam_as_wide_as_the_catalogue_is_exact(fitted: FittedMMGRec) -> None:
    exclusion = exclusion_of(DATA.train, EVERYONE)
    wide, exact = (
        fitted.search(EVERYONE, top_k=20, exclusion=exclusion, decoder=decoder)
        for decoder in (TrieBeam(num_beams=DATA.num_items), Exact())
    )
    assert torch.equal(wide[0], exact[0])
    torch.testing.assert_close(wide[1], exact[1], rtol=1e-4, atol=1e-4)


def test_probabilities_of_all_items_sum_to_one(fitted: FittedMMGRec) -> None:
    """The tree head shares one out among existing Rec-IDs alone."""
    _, score = fitted.search(EVERYONE[:5], top_k=DATA.num_items, exclusion=no_exclusion(5), decoder=Exact())
    torch.testing.assert_close(score.exp().sum(1), torch.ones(5), rtol=1e-4, atol=1e-4)


def test_a_saved_model_ranks_alike(fitted: FittedMMGRec) -> None:
    again = MODEL.restore(load(save(fitted.state())))
    assert tensors_equal(again.state(), fitted.state())
    exclusion = exclusion_of(DATA.train, EVERYONE)
    mine, other = (model.recommend(EVERYONE, top_k=10, exclusion=exclusion) for model in (fitted, again))
    assert torch.equal(mine.item, other.item)
    assert torch.equal(mine.score, other.score)


def test_users_may_be_asked_in_any_batch(fitted: FittedMMGRec) -> None:
    together = fitted.recommend(EVERYONE, top_k=10, exclusion=exclusion_of(DATA.train, EVERYONE))
    for users in (torch.tensor([40]), torch.tensor([7, 3, 89])):
        some = fitted.recommend(users, top_k=10, exclusion=exclusion_of(DATA.train, users))
        torch.testing.assert_close(some.score, together.score[users], rtol=1e-4, atol=1e-5)
        assert torch.equal(some.item, together.item[users])


def test_an_allow_list_is_kept(fitted: FittedMMGRec) -> None:
    allowed = torch.zeros(DATA.num_items, dtype=torch.bool)
    allowed[[3, 17, 20]] = True
    exclusion = Exclusion(seen=no_exclusion(4).seen, allowed=allowed)
    item = fitted.recommend(EVERYONE[:4], top_k=5, exclusion=exclusion).item
    assert item[:, :3].sort(1).values.tolist() == [[3, 17, 20]] * 4
    assert item[:, 3:].eq(-1).all()


def test_another_history_is_read_without_learning_anew(fitted: FittedMMGRec) -> None:
    other = fitted.with_history(DATA.valid)
    users = DATA.valid.user_degree.nonzero().flatten()[:10]
    before = fitted.recommend(users, top_k=10, exclusion=no_exclusion(10))
    after = other.recommend(users, top_k=10, exclusion=no_exclusion(10))
    assert not torch.equal(before.score, after.score)
    moves = ("history", "representations.user")
    assert tensors_equal(
        {name: value for name, value in other.state().items() if not name.startswith(moves)},
        {name: value for name, value in fitted.state().items() if not name.startswith(moves)},
    )


def test_a_user_without_a_history_gets_a_list(fitted: FittedMMGRec) -> None:
    nothing = replace(DATA.train, user=DATA.train.user[:0], item=DATA.train.item[:0])
    lists = fitted.with_history(nothing).recommend(EVERYONE[:3], top_k=10, exclusion=no_exclusion(3))
    assert (lists.item >= 0).all()
    assert lists.score.isfinite().all()


def test_the_same_seed_gives_the_same_bits_and_leaves_the_global_random_state_alone(fitted: FittedMMGRec) -> None:
    torch.manual_seed(123)
    before = torch.random.get_rng_state()
    again = MODEL.fit(DATA, Context(seed=1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert tensors_equal(again.state(), fitted.state())


def test_another_seed_gives_another_network(fitted: FittedMMGRec) -> None:
    other = replace(MODEL, training=replace(MODEL.training, epochs=0)).fit(DATA, Context(seed=2))
    assert not tensors_equal(other.state(), fitted.state())


def test_the_test_part_has_no_part_in_it(fitted: FittedMMGRec) -> None:
    other = MODEL.fit(replace(DATA, test=DATA.valid), Context(seed=1))
    assert tensors_equal(other.state(), fitted.state())


def test_checkpoints_are_kept_where_the_context_says(fitted: FittedMMGRec, tmp_path: Path) -> None:
    again = MODEL.fit(DATA, Context(seed=1, checkpoints=tmp_path))
    assert (tmp_path / "generator").is_dir()
    resumed = MODEL.fit(DATA, Context(seed=1, checkpoints=tmp_path))
    assert tensors_equal(again.state(), fitted.state())
    assert tensors_equal(resumed.state(), fitted.state())


@pytest.mark.parametrize(
    ("targets", "user_input", "leaks"),
    [
        ("interactions", "representation", True),
        ("interactions", "history", False),
        ("teacher", "representation", False),
    ],
)
def test_a_leak_of_targets_through_the_users_representation_is_told(targets: str, user_input: str, leaks: bool) -> None:
    heard = Heard()
    model = replace(
        MODEL,
        network=replace(MODEL.network, user_input=user_input),  # type: ignore[arg-type]
        training=replace(MODEL.training, targets=targets, epochs=0),  # type: ignore[arg-type]
    )
    model.fit(DATA, Context(reporter=heard))
    assert any("have seen the targets" in warning for warning in heard.warnings) == leaks


def test_a_saved_model_knows_the_order_of_its_histories() -> None:
    """Where time is known, users and memory read new items more loudly: a restored model has to as well."""
    data = tours(num_users=60, num_items=30)
    generator = torch.Generator().manual_seed(2)
    weights = ItemWeights(
        index=torch.rand(30, 30, generator=generator).topk(8).indices,
        weight=torch.randn(30, 8, generator=generator),
        decay=0.7,
    )
    model = replace(MODEL, quantizer=Drawn(), training=GeneratorTraining(epochs=0))
    fitted = replace(model.fit(data, Context(seed=1)), weights=weights)
    again = model.restore(load(save(fitted.state())))
    users = torch.arange(60)
    for history in (None, data.train.merged(data.valid)):
        mine, other = (one if history is None else one.with_history(history) for one in (fitted, again))
        first, second = (
            one.recommend(users, top_k=10, exclusion=exclusion_of(data.train, users)) for one in (mine, other)
        )
        assert torch.equal(first.item, second.item)
        torch.testing.assert_close(first.score, second.score, rtol=1e-5, atol=1e-5)
