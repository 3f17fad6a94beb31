"""Inside SASRec and TIGER: what their networks see, their losses, and that their scores are likelihoods."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import cast

import pytest
import torch
from shared_tours import DATA, SASREC, TIGERS, TRAINING, fitted, quick, recall, walk
from torch import Tensor

from mmgrec.errors import DataError
from mmgrec.interfaces import Context, Exclusion, Silent, TokenScores
from mmgrec.training import ValidationRecall
from mmgrec_plugins.quantizers.kmeans import residual_kmeans
from mmgrec_plugins.quantizers.rqvae import fused_features
from mmgrec_plugins.recommenders.sequential.sasrec import FittedSASRec, SASRec
from mmgrec_plugins.recommenders.sequential.tiger import FittedTIGER, TIGERTask
from mmgrec_plugins.recommenders.sequential.tiger_network import TokenStepper

# --------------------------------------------------------------------------- SASRec


def test_no_place_of_sasrec_sees_what_comes_later() -> None:
    network = cast(FittedSASRec, fitted("sasrec")).network
    history = torch.tensor([[-1, 3, 8, 1], [5, 6, 0, 2]])
    whole = network(history)
    for column in range(1, 4):
        changed = history.clone()
        changed[:, column] = 11
        now = network(changed)
        torch.testing.assert_close(now[:, :column], whole[:, :column])
        assert not torch.allclose(now[:, column], whole[:, column], atol=1e-3)
        assert not torch.allclose(now[:, -1], whole[:, -1], atol=1e-5)


def test_padding_of_sasrec_is_not_seen() -> None:
    network = cast(FittedSASRec, fitted("sasrec")).network
    history = torch.tensor([[8, 1]])
    wide = torch.nn.functional.pad(history, (2, 0), value=-1)
    torch.testing.assert_close(network(wide)[:, 2:], network(history))


class Losses(Silent):
    """Hears the loss of each epoch."""

    def __init__(self) -> None:
        self.loss: list[float] = []

    def update(self, stage: str, done: int, facts: Mapping[str, float]) -> None:
        self.loss.append(facts["loss"])


def untrained() -> SASRec:
    return dataclasses.replace(SASREC, training=dataclasses.replace(TRAINING, epochs=0))


def test_sasrec_scores_are_the_state_times_the_items() -> None:
    """Known answer: without blocks that matter, the state is the normed vector of the last item and its place."""
    model = cast(FittedSASRec, untrained().fit(DATA, Context()).with_history(walk([2, 5])))
    network = model.network
    with torch.no_grad():
        for layer in network.layers:
            for part in (layer.attention.out, layer.feedforward[-1]):  # type: ignore[union-attr,index]
                part.weight.zero_()  # type: ignore[union-attr]
                part.bias.zero_()  # type: ignore[union-attr]
        last = torch.nn.functional.layer_norm(network.item.weight[5] + network.place[-1], (32,))
        scores = model.scores(torch.tensor([0]))[0]
        torch.testing.assert_close(scores, network.item.weight[:-1] @ last)


def test_a_small_catalogue_is_not_sampled() -> None:
    whole, sampled = (quick("sasrec", num_negatives=count).fit(DATA, Context()).state() for count in (0, 30))
    assert all(torch.equal(whole[key], sampled[key]) for key in whole)


def test_the_sampled_loss_estimates_the_whole() -> None:
    """In the mean over six networks that have learnt nothing."""
    still = dataclasses.replace(TRAINING, epochs=1, learning_rate=1e-12, validation_users=1)
    heard = {count: Losses() for count in (0, 20)}
    for count, losses in heard.items():
        model = dataclasses.replace(SASREC, num_negatives=count, training=still)
        for seed in range(6):
            model.fit(DATA, Context(seed=seed, reporter=losses))
    whole, sampled = (sum(losses.loss) / 6 for losses in heard.values())
    assert whole == pytest.approx(math.log(30), abs=0.02)
    assert sampled == pytest.approx(whole, abs=0.01)


@pytest.mark.parametrize("settings", [{"loss": "bce"}, {"num_negatives": 20}], ids=["bce", "sampled"])
def test_the_other_losses_of_sasrec_find_the_next_stop_too(settings: dict[str, object]) -> None:
    model = dataclasses.replace(SASREC, **settings).fit(DATA, Context(seed=1))  # type: ignore[arg-type]
    assert recall(model, DATA, top_k=2) > 0.9


# --------------------------------------------------------------------------- TIGER


def tiger() -> FittedTIGER:
    return cast(FittedTIGER, fitted("tiger"))


HISTORY = torch.tensor([[-1, 3, 8, 1], [5, 6, 0, 2]])
TWO = torch.arange(2)


def test_no_target_of_tiger_sees_itself_or_what_comes_later() -> None:
    network, column = tiger().network, torch.tensor([[2, 3, 4]] * 2)
    tokens = network.rec_id[torch.tensor([[7, 1, 9], [0, 2, 9]])]

    def states(history: Tensor) -> Tensor:
        return network.decode(network.encode(TWO, history), column, tokens)

    whole = states(HISTORY)
    for place in (2, 3):
        changed = HISTORY.clone()
        changed[:, place] = 11
        now = states(changed)
        later = column[0] > place
        torch.testing.assert_close(now[:, ~later], whole[:, ~later])
        assert not torch.allclose(now[:, later], whole[:, later], atol=1e-3)


def test_a_target_of_tiger_reads_what_it_would_read_at_the_end() -> None:
    """One pass for all places is exact: it equals a pass over the history that ends before the target."""
    network = tiger().network
    tokens = network.rec_id[torch.tensor([[7], [9]])]
    together = network.decode(network.encode(TWO, HISTORY), torch.tensor([[2], [2]]), tokens)
    alone = network.decode(network.encode(TWO, HISTORY[:, :2]), torch.tensor([[2], [2]]), tokens)
    torch.testing.assert_close(together, alone)


def test_padding_of_tiger_is_not_seen() -> None:
    network = tiger().network
    short = HISTORY[:, 2:]
    wide = torch.nn.functional.pad(short, (2, 0), value=-1)
    tokens = network.rec_id[torch.tensor([[7], [9]])]
    torch.testing.assert_close(
        network.log_likelihood(network.encode(TWO, wide), torch.tensor([[4], [4]]), tokens),
        network.log_likelihood(network.encode(TWO, short), torch.tensor([[2], [2]]), tokens),
    )


def test_the_order_of_the_history_matters_to_tiger() -> None:
    network, tokens = tiger().network, tiger().network.rec_id[torch.tensor([[7], [9]])]
    column = torch.tensor([[4], [4]])
    swapped = HISTORY[:, [0, 2, 1, 3]]
    ordered, swapped_likelihood = (
        network.log_likelihood(network.encode(TWO, each), column, tokens) for each in (HISTORY, swapped)
    )
    assert not torch.allclose(ordered, swapped_likelihood, atol=1e-3)


def test_the_likelihood_of_a_rec_id_is_the_product_of_the_steps() -> None:
    network = tiger().network
    memory = network.encode(TWO, HISTORY)
    tokens = network.rec_id[torch.tensor([[7, 4], [9, 0]])]  # two beams a user
    stepper = TokenStepper(network, memory)
    scores, total = stepper.start(), torch.zeros(2, 2)
    parent = torch.zeros(2, 2, dtype=torch.int64)
    for level in range(network.num_levels):
        assert isinstance(scores, TokenScores)
        log_p = scores.logits.log_softmax(-1).expand(2, 2, -1)
        total = total + log_p.gather(2, tokens[:, :, level : level + 1])[..., 0]
        if level < network.num_levels - 1:
            scores = stepper.advance(parent, tokens[:, :, level])
            parent = torch.arange(2).repeat(2, 1)
    torch.testing.assert_close(total, network.log_likelihood(memory, torch.full((2, 2), 4), tokens))


def test_beams_that_change_places_take_their_past_along() -> None:
    network = tiger().network
    memory = network.encode(TWO[:1], HISTORY[:1])
    stepper = TokenStepper(network, memory)
    first = torch.tensor([[1, 2]])
    outcomes = []
    for order in ([0, 1], [1, 0]):
        stepper.start()
        stepper.advance(torch.zeros(1, 2, dtype=torch.int64), first)
        scores = stepper.advance(torch.tensor([order]), torch.tensor([[3, 3]]))
        assert isinstance(scores, TokenScores)
        outcomes.append(scores.logits)
    torch.testing.assert_close(outcomes[0], outcomes[1].flip(1))
    assert not torch.allclose(outcomes[0][:, 0], outcomes[0][:, 1], atol=1e-3)


def test_the_scores_of_tiger_are_likelihoods_and_nothing_forbidden_is_named() -> None:
    model, users = tiger(), torch.arange(20)
    seen = DATA.train.padded(users)
    recommended = model.recommend(users, top_k=30, exclusion=Exclusion(seen=seen))
    network = model.network
    everything = network.rec_id.expand(20, -1, -1)
    column = torch.full((20, DATA.num_items), 4)
    likelihood = network.log_likelihood(model.read(users), column, everything)
    likelihood = likelihood.scatter(1, seen, -torch.inf)
    expected = likelihood.sort(dim=1, descending=True)
    torch.testing.assert_close(recommended.score, expected.values, atol=1e-4, rtol=1e-4)
    assert torch.equal(recommended.item[:, :5], expected.indices[:, :5])


def test_training_of_tiger_has_no_target_without_an_item_before_it() -> None:
    task = TIGERTask(tiger(), ValidationRecall(DATA))
    for batch in task.batches(0, torch.Generator().manual_seed(0)):
        column = batch.column[batch.real]
        row = batch.real.nonzero()[:, 0]
        assert bool((batch.items[row, column] >= 0).all() and (column > 0).all())
        assert bool((batch.items[row, column - 1] >= 0).all())
        assert batch.column.sort(dim=1).values.diff(dim=1).min() > 0, "a target twice"


def test_tiger_without_features_is_refused() -> None:
    with pytest.raises(DataError) as error:
        TIGERS.fit(dataclasses.replace(DATA, features={}), Context())
    assert error.value.code == "quantizers.no-features"


def test_tiger_takes_residual_kmeans_of_the_features_for_codes() -> None:
    model = cast(FittedTIGER, dataclasses.replace(TIGERS, codes="rq-kmeans").fit(DATA, Context()))
    generator = Context().within("quantizer").generator("kmeans")
    token, codebooks = residual_kmeans(fused_features(DATA, TIGERS.max_dim), 2, 8, generator)
    assert torch.equal(model.rec_ids.token[:, :2], token)
    assert model.rec_ids.level_sizes[:2] == tuple(codebook.shape[0] for codebook in codebooks)
    assert recall(model, DATA) > 0.95


def test_user_tokens_make_users_differ() -> None:
    model = cast(FittedTIGER, quick("tiger", user_tokens=50).fit(DATA, Context()))
    history, tokens = HISTORY[:1].expand(2, -1), model.network.rec_id[torch.tensor([[7], [7]])]
    likelihood = model.network.log_likelihood(model.network.encode(TWO, history), torch.full((2, 1), 4), tokens)
    assert likelihood[0] != likelihood[1]
