"""What an epoch of the generator costs, and which share of it the head's conditional cross-entropy takes.

Data are planted in the sizes of two real data sets; Rec-IDs are residual k-means of the items' vectors, and the network
and its training are the defaults. The head's part is timed on what the same step gave it: forward, and backward to the
states and to its own parameters.
"""

from __future__ import annotations

import itertools
import statistics
import time

import pytest
import torch
from harness import Book, device
from torch import Tensor, nn

from mmgrec.generator import GeneratorTask, GeneratorTraining, Network, NetworkSettings
from mmgrec.interfaces import Context, Representations
from mmgrec.recid import Codes, Trie
from mmgrec.synthetic import planted
from mmgrec.training import ValidationRecall
from mmgrec_plugins.collisions.popularity import ByPopularity
from mmgrec_plugins.positions.relation_aware import RelationAware
from mmgrec_plugins.quantizers.kmeans import residual_kmeans

LEVELS, CODES, DIM = 3, 128, 64
SHAPES = {"1 858 users, 1 425 items": (1858, 1425, 30.0), "19 445 users, 7 050 items": (19445, 7050, 8.3)}
STEPS, WARM_UP = 40, 3
DOMINATES = 0.5  # of an epoch: from here on the head would deserve a kernel


def make(num_users: int, num_items: int, mean: float) -> tuple[GeneratorTask, Context]:
    """A generator on planted data, ready to be trained, and the context of its randomness."""
    context = Context(seed=0, device=device())
    data = planted(num_users=num_users, num_items=num_items, mean_interactions=mean, seed=0)
    lift = torch.randn(data.latent["item_meaning"].shape[1], DIM, generator=context.generator("lift")) * DIM**-0.5
    both = Representations(user=data.latent["user_taste"] @ lift * 3, item=data.latent["item_meaning"] @ lift * 3)
    token, books = residual_kmeans(both.item, LEVELS, CODES, context.generator("codes"), iterations=10)
    rec_ids = ByPopularity().resolve(
        Codes(token=token, level_sizes=tuple(map(len, books))), data.train.item_degree, context
    )
    trie = Trie.of(rec_ids)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Network(NetworkSettings(), representations=both, rec_ids=rec_ids, trie=trie, position=RelationAware())
    task = GeneratorTask(
        network.to(context.device).train(),
        data,
        rec_ids=rec_ids,
        trie=trie,
        teacher=both,
        settings=GeneratorTraining(),
        recommend=lambda users, seen: users[:, None],  # nobody validates here
        recall=ValidationRecall(data, max_users=1, generator=context.generator("recall"), batch_size=1),
    )
    return task, context


class Judged:
    """Remembers what the head's loss was asked in a step, so that it can be asked again."""

    def __init__(self, task: GeneratorTask, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[object, ...]] = []
        self._loss = task._level_loss
        monkeypatch.setattr(task, "_level_loss", self)

    def __call__(self, level: int, batch: object, state: Tensor, *rest: object) -> Tensor:
        self.asked.append((level, batch, state.detach().requires_grad_(), *rest))
        return self._loss(level, batch, state, *rest)  # type: ignore[arg-type]

    def again(self) -> None:
        loss = torch.stack([self._loss(*each) for each in self.asked]).sum()  # type: ignore[arg-type]
        loss.backward()  # type: ignore[no-untyped-call]


def clock() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() * 1e3


@pytest.mark.parametrize("shape", SHAPES)
def test_share_of_the_head_in_an_epoch(shape: str, book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    num_users, num_items, mean = SHAPES[shape]
    task, context = make(book.sized(num_users, num_users), book.sized(num_items, num_items), mean)
    judged = Judged(task, monkeypatch)
    optimizer = torch.optim.AdamW(task.network.parameters(), fused=True)
    generator = context.generator("epoch")
    steps, heads = [], []
    begun = clock()
    epochs = itertools.chain.from_iterable(task.batches(epoch, generator) for epoch in itertools.count())
    for number, batch in enumerate(epochs):
        judged.asked.clear()
        optimizer.zero_grad(set_to_none=True)
        loss = task.loss(batch, generator)["loss"]
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(task.network.parameters(), 1.0)
        optimizer.step()
        ended = clock()
        optimizer.zero_grad(set_to_none=True)
        judged.again()
        if number >= WARM_UP:
            steps.append(ended - begun)
            heads.append(clock() - ended)
        if len(steps) == STEPS:
            break
        begun = clock()
    assert loss.isfinite()
    step, head, per_epoch = statistics.median(steps), statistics.median(heads), task.steps_per_epoch()
    where = "" if device().type == "cpu" else "on a GPU, "
    case = f"training, {where}{shape}, {per_epoch} steps an epoch: one step"
    book.note(case, "mmgrec step, batch and optimizer included", step, turns=len(steps))
    book.note(case, "mmgrec conditional cross-entropy in it", head, turns=len(heads))
    book.goal(f"{shape}: the head's loss takes less than half of an epoch", head / step, most=DOMINATES)
