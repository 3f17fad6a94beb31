"""How the Transformer is trained: no leak from targets to inputs, exact teaching, fresh subsamples."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmgrec.data.dataset import Dataset, Interactions
from mmgrec.generator.heads import Children, Head
from mmgrec.generator.history import fixed_history
from mmgrec.generator.layers import NetworkSettings
from mmgrec.generator.network import Network
from mmgrec.generator.task import GeneratorTask, GeneratorTraining
from mmgrec.interfaces import NodeScores, Representations
from mmgrec.recid.table import RecIDTable
from mmgrec.recid.trie import Trie
from mmgrec.training.randomness import seeded
from mmgrec.training.validation import ValidationRecall
from mmgrec_plugins.positions.relation_aware import RelationAware

NUM_USERS, NUM_ITEMS, SIZES = 37, 24, (4, 3, 4)
SMALL: dict[str, Any] = {"dim": 8, "num_heads": 2, "head_dim": 4, "feedforward_dim": 8, "dropout": 0.0}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def interactions(degrees: list[int], seed: int = 0) -> Interactions:
    """So many different random items for each user."""
    g = generator(seed)
    item = torch.cat([torch.randperm(NUM_ITEMS, generator=g)[:degree] for degree in degrees])
    user = torch.arange(len(degrees)).repeat_interleave(torch.tensor(degrees))
    return Interactions.of(user, item, num_users=len(degrees), num_items=NUM_ITEMS)


DEGREES = [user % 13 for user in range(NUM_USERS)]  # users without, with one, and with more than T items
NONE = interactions([0] * NUM_USERS)
DATA = Dataset(name="made", train=interactions(DEGREES), valid=NONE, test=NONE)


def rec_ids() -> RecIDTable:
    chosen = torch.randperm(4 * 3 * 4, generator=generator(2))[:NUM_ITEMS]
    return RecIDTable(token=torch.stack([chosen // 12, chosen // 4 % 3, chosen % 4], 1), level_sizes=SIZES)


def representations(user: Tensor | None = None) -> Representations:
    """Users of one dimension each: user u's score of item i is ``item[i, u]``."""
    return Representations(
        user=torch.eye(NUM_USERS) if user is None else user,
        item=1.5 * torch.randn(NUM_ITEMS, NUM_USERS, generator=generator(1)),
    )


def make_task(
    *, network: dict[str, Any] | None = None, teacher: Representations | None = None, **settings: Any
) -> GeneratorTask:
    table, given = rec_ids(), teacher or representations()
    trie = Trie.of(table)
    with seeded(generator(3)):
        net = Network(
            NetworkSettings(**{**SMALL, "history_length": 6, **(network or {})}),
            representations=given,
            rec_ids=table,
            trie=trie,
            position=RelationAware(),
        )
        for parameter in net.parameters():
            parameter.data.add_(0.1 * torch.randn(parameter.shape))
    return GeneratorTask(
        net,
        DATA,
        rec_ids=table,
        trie=trie,
        teacher=given,
        settings=GeneratorTraining(**{"batch_size": 8, **settings}),
        recommend=lambda users, seen: torch.full((users.numel(), 10), -1),
        recall=ValidationRecall(DATA),
    )


def items_of(row: Tensor) -> set[int]:
    return set(row[row >= 0].tolist())


def history_of(user: int) -> set[int]:
    return set(DATA.train.item[DATA.train.user == user].tolist())


OBSERVED: dict[str, Any] = {"targets": "interactions", "network": {"user_input": "history"}}


# --------------------------------------------------------------------------- batches


@pytest.mark.parametrize("targets", ["teacher", "interactions"])
def test_an_epoch_has_every_user_with_training_items_once(targets: str) -> None:
    task = make_task(targets=targets)
    for epoch in range(3):
        batches = list(task.batches(epoch, generator(epoch)))
        assert len(batches) == task.steps_per_epoch()
        users = torch.cat([batch.user for batch in batches])
        assert sorted(users.tolist()) == [user for user, degree in enumerate(DEGREES) if degree]


def test_epochs_come_in_another_order() -> None:
    task = make_task()
    first, second = (torch.cat([b.user for b in task.batches(0, generator(seed))]) for seed in (1, 2))
    assert not torch.equal(first, second)


def test_a_target_is_never_in_its_own_input() -> None:
    task = make_task(**OBSERVED, targets_per_user=5)
    lone = 0
    for epoch in range(40):
        for batch in task.batches(epoch, generator(epoch)):
            for user, history, target in zip(batch.user.tolist(), batch.history, batch.target, strict=True):
                read, wanted = items_of(history), items_of(target)
                assert not read & wanted
                assert read | wanted <= history_of(user)
                assert 1 <= len(wanted) <= 5
                assert len(read) <= 6
                lone += DEGREES[user] == 1 and not read
    assert lone == 40 * DEGREES.count(1)


def test_shares_of_input_and_targets_are_kept() -> None:
    task = make_task(**OBSERVED, targets_per_user=99, input_share=0.5, target_share=0.25)
    for epoch in range(10):
        for batch in task.batches(epoch, generator(epoch)):
            for user, target in zip(batch.user.tolist(), batch.target, strict=True):
                share = len(items_of(target)) / DEGREES[user]
                slack = 0.5 / DEGREES[user]  # of rounding
                assert 0.25 - slack <= share <= 0.5 + slack or DEGREES[user] == 1


@pytest.mark.parametrize("targets", ["teacher", "interactions"])
def test_long_histories_are_subsampled_anew_at_each_step(targets: str) -> None:
    task = make_task(targets=targets)
    user = DEGREES.index(12)
    read = set()
    for epoch in range(8):
        for batch in task.batches(epoch, generator(epoch)):
            for row, history in zip(batch.user.tolist(), batch.history, strict=True):
                if row == user:
                    read.add(frozenset(items_of(history)))
    assert len(read) >= 7
    assert all(sample <= history_of(user) for sample in read)
    assert max(map(len, read)) <= 6
    if targets == "teacher":
        assert {len(sample) for sample in read} == {6}
    assert len(frozenset.union(*read)) == 12


def test_histories_of_inference_are_subsampled_by_a_fixed_rule() -> None:
    everyone = torch.arange(NUM_USERS)
    together = fixed_history(DATA.train, everyone, 6)
    assert together.shape == (NUM_USERS, 6)
    for user in range(NUM_USERS):
        alone = fixed_history(DATA.train, torch.tensor([user]), 6)[0]
        assert alone[alone >= 0].tolist() == together[user][together[user] >= 0].tolist()  # the order too
        assert items_of(alone) <= history_of(user)
        assert len(items_of(alone)) == min(6, DEGREES[user])
    shuffled = torch.randperm(NUM_USERS, generator=generator(1))
    assert torch.equal(fixed_history(DATA.train, shuffled, 6), together[shuffled])


def test_padding_of_inference_comes_last() -> None:
    history = fixed_history(DATA.train, torch.arange(NUM_USERS), 6)
    assert ((history >= 0).long().diff(dim=1) <= 0).all()


def test_users_leave_out_different_items() -> None:
    """The rule does not favour some items of the catalogue."""
    full = Interactions.of(
        torch.arange(300).repeat_interleave(NUM_ITEMS),
        torch.arange(NUM_ITEMS).repeat(300),
        num_users=300,
        num_items=NUM_ITEMS,
    )
    count = torch.bincount(fixed_history(full, torch.arange(300), 6).flatten(), minlength=NUM_ITEMS)
    assert count.sum() == 300 * 6
    assert int(count.min()) > 300 * 6 / NUM_ITEMS / 2
    assert int(count.max()) < 300 * 6 / NUM_ITEMS * 2


# --------------------------------------------------------------------------- the loss


@pytest.mark.parametrize("head", ["tree", "tokens"])
def test_the_loss_on_interactions_is_the_mean_negative_log_likelihood_of_the_targets(head: str) -> None:
    task = make_task(targets="interactions", network={"user_input": "history", "head": head})
    task.network.eval()
    batch = next(task.batches(0, generator(4)))
    with torch.no_grad():
        losses = task.loss(batch, generator())
        memory = task.network.encode(batch.user, batch.history)
        total, count = 0.0, 0
        for row, targets in enumerate(batch.target.tolist()):
            for target in targets:
                if target < 0:
                    continue
                tokens = rec_ids().token[target].expand(batch.user.numel(), 1, 3)
                state = task.network.decode(memory, tokens, torch.arange(3).expand(batch.user.numel(), -1))[row]
                count += 1
                for level in range(3):
                    leaf = task.trie.item_leaf[target].long()
                    node = task.trie.node_of_leaf(level)[leaf]
                    prefix = task.trie.node_of_leaf(level - 1)[leaf]
                    row_of, siblings = task.trie.children(level - 1, prefix[None])
                    children = Children(row=row_of, node=siblings, level=level, num_rows=1)
                    log_prob = task.network.head.log_prob(state[[level]], children)
                    total -= float(log_prob[siblings == node])
    assert count > 8
    assert float(losses["loss"]) == pytest.approx(total / count, rel=1e-4)
    assert float(losses["loss"]) == pytest.approx(sum(float(losses[f"level{level}"]) for level in range(3)), rel=1e-6)


def test_label_smoothing_is_shared_by_the_children() -> None:
    """Half of the weight on all children: the mean of the plain loss and the mean over siblings."""
    network = {"user_input": "history"}
    batch = next(make_task(targets="interactions", network=network).batches(0, generator(4)))
    losses = []
    for smoothing in (0.0, 0.5, 1.0):
        task = make_task(targets="interactions", network=network, label_smoothing=smoothing)
        losses.append(float(task.loss(batch, generator())["loss"].detach()))
    assert losses[0] != pytest.approx(losses[2], rel=1e-3)
    assert losses[1] == pytest.approx((losses[0] + losses[2]) / 2, rel=1e-5)


def test_with_user_input_history_the_users_own_representation_is_not_in_the_loss() -> None:
    poisoned = representations(user=torch.full((NUM_USERS, NUM_USERS), torch.nan))
    losses = [
        float(task.loss(next(task.batches(0, generator(4))), generator())["loss"].detach())
        for task in (make_task(**OBSERVED), make_task(**OBSERVED, teacher=poisoned))
    ]
    assert losses[0] == losses[1]


class TableHead(Head):
    """Any log-probabilities: one logit for each user and node, softmax over siblings."""

    def __init__(self, logits: list[Tensor]) -> None:
        super().__init__()
        self.logits = nn.ParameterList([nn.Parameter(table) for table in logits])

    def state(self, decoded: Tensor, user: Tensor) -> Tensor:
        return user[:, None].expand(-1, decoded.shape[1], -1)  # the user, of one dimension each

    def log_prob(self, state: Tensor, children: Children) -> Tensor:
        logit = self.logits[children.level][state.argmax(1)[children.row], children.node]
        total = torch.zeros(children.num_rows).index_add(0, children.row, logit.exp())
        return logit - total.log()[children.row]

    def scores(self, level: int, state: Tensor) -> NodeScores:
        raise NotImplementedError


def taught(noise: float, targets_per_user: int) -> tuple[GeneratorTask, Tensor]:
    """A task whose head says the teacher's own log-probabilities, plus noise; and the entropy of each user's q."""
    task = make_task(targets="teacher", targets_per_user=targets_per_user)
    log_q = representations().item.T.log_softmax(1)  # [U, I]
    leaf = log_q[:, task.trie.leaf_item.long()]
    logits = []
    for level in range(3):
        node = task.trie.node_of_leaf(level)
        mass = torch.zeros(NUM_USERS, task.trie.num_nodes(level)).index_add(1, node, leaf.exp())
        logits.append(mass.log() + noise * torch.randn(mass.shape, generator=generator(level)))
    task.network.head = TableHead(logits)
    return task, -(log_q.exp() * log_q).sum(1)


def test_the_exact_conditional_distribution_has_no_gradient() -> None:
    task, _ = taught(noise=0.0, targets_per_user=4)
    for batch in task.batches(0, generator(7)):
        task.loss(batch, generator())["loss"].backward()
    for level in task.network.head.logits:  # type: ignore[union-attr]
        assert float(level.grad.abs().max()) < 1e-6
    other, _ = taught(noise=0.3, targets_per_user=4)
    other.loss(next(other.batches(0, generator(7))), generator())["loss"].backward()
    assert all(float(level.grad.abs().max()) > 1e-3 for level in other.network.head.logits)  # type: ignore[union-attr]


def test_the_expected_loss_of_the_teacher_itself_is_its_entropy() -> None:
    task, entropy = taught(noise=0.0, targets_per_user=3000)
    for batch in task.batches(0, generator(7)):
        with torch.no_grad():
            loss = float(task.loss(batch, generator())["loss"])
        assert loss == pytest.approx(float(entropy[batch.user].mean()), abs=0.015)


def test_any_other_distribution_costs_more() -> None:
    losses = []
    for noise in (0.0, 0.1, 0.3):
        task, _ = taught(noise=noise, targets_per_user=50)
        with torch.no_grad():
            losses.append(sum(float(task.loss(batch, generator())["loss"]) for batch in task.batches(0, generator(7))))
    assert losses[0] < losses[1] < losses[2]


def test_targets_are_drawn_from_the_teacher() -> None:
    task = make_task(targets="teacher", targets_per_user=4000)
    batch = next(task.batches(0, generator(7)))
    q = representations().item.T.softmax(1)[batch.user]
    for row in range(batch.user.numel()):
        share = torch.bincount(batch.target[row], minlength=NUM_ITEMS) / 4000
        assert float((share - q[row]).abs().max()) < 0.04


def test_teaching_touches_every_level_of_a_trie_without_collisions() -> None:
    """All last tokens are 0: the last level has no choice to learn, and that is no error."""
    task = make_task(targets="teacher")
    table = RecIDTable(
        token=torch.cat(
            [rec_ids().token[:, :2], torch.arange(NUM_ITEMS)[:, None], torch.zeros(NUM_ITEMS, 1).long()], 1
        ),
        level_sizes=(4, 3, NUM_ITEMS, 1),
    )
    trie = Trie.of(table)
    net = Network(
        NetworkSettings(**SMALL), representations=representations(), rec_ids=table, trie=trie, position=RelationAware()
    )
    task = GeneratorTask(
        net,
        DATA,
        rec_ids=table,
        trie=trie,
        teacher=representations(),
        settings=GeneratorTraining(batch_size=8),
        recommend=lambda users, seen: torch.full((users.numel(), 10), -1),
        recall=ValidationRecall(DATA),
    )
    losses = task.loss(next(task.batches(0, generator(1))), generator())
    losses["loss"].backward()  # type: ignore[no-untyped-call]
    assert float(losses["level3"].detach()) == 0
    assert all(float(losses[f"level{level}"].detach()) > 0 for level in range(3))
    assert all(weights.grad is None or weights.grad.isfinite().all() for weights in net.parameters())


# --------------------------------------------------------------------------- departures of the released code


def test_targets_may_stay_in_their_own_input() -> None:
    task = make_task(**OBSERVED, target_in_input=True)
    for batch in task.batches(0, generator()):
        for user, history, target in zip(batch.user, batch.history, batch.target, strict=True):
            assert items_of(target)
            if DEGREES[user] <= 6:
                assert items_of(history) == history_of(int(user))


@pytest.mark.parametrize("leak", [True, False])
def test_one_subsample_for_ever(leak: bool) -> None:
    task = make_task(**OBSERVED, subsample="once", target_in_input=leak)
    for epoch in range(3):
        for batch in task.batches(epoch, generator(epoch)):
            fixed = fixed_history(DATA.train, batch.user, 6)
            for history, target, wanted in zip(batch.history, batch.target, fixed, strict=True):
                assert items_of(history) == items_of(wanted) - (set() if leak else items_of(target))


def test_a_teachers_user_is_read_through_one_subsample_too() -> None:
    task = make_task(subsample="once")
    for batch in task.batches(4, generator(4)):
        assert torch.equal(batch.history, fixed_history(DATA.train, batch.user, 6))
