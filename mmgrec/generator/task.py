"""How the Transformer is trained to write Rec-IDs: what it reads, what it is to say, the loss.

Targets:

- `interactions` (the paper): each step splits a user's history at random into input and targets, so a target is never
  in its own input; the loss is the cross-entropy along each target's path.
- `teacher`: targets are drawn from the softmax of stage 1's scores ``q_u = softmax_i(x_u . x_i)``, and at every prefix
  on their paths the loss is the cross-entropy to the exact conditional ``q_u(child) / q_u(prefix)``.

Long histories are subsampled anew at each step. The loop that takes the steps is `mmgrec.training.train`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor

from mmgrec.data import Dataset
from mmgrec.generator.heads import Children
from mmgrec.generator.history import fixed_history
from mmgrec.generator.network import Network
from mmgrec.interfaces import Representations
from mmgrec.recid import RecIDTable, Trie
from mmgrec.training import Task, TrainingSettings, ValidationRecall

__all__ = ["GeneratorTask", "GeneratorTraining"]

_POOL = 16  # batches whose users are sorted by length together


@dataclass(frozen=True, kw_only=True)
class GeneratorTraining(TrainingSettings):
    """How the Transformer is trained."""

    epochs: Annotated[int, Ge(0)] = 40
    learning_rate: Annotated[float, Gt(0)] = 3e-3
    optimizer: Literal["adam", "adamw", "sgd"] = "adamw"
    weight_decay: Annotated[float, Ge(0)] = 0.01
    warmup_steps: Annotated[int, Ge(0)] = 100
    schedule: Literal["constant", "cosine"] = "cosine"
    clip_norm: Annotated[float, Ge(0)] = 1.0
    validate_every: Annotated[int, Ge(1)] = 10
    batch_size: Annotated[int, Ge(1)] = 128  # users
    targets: Literal["teacher", "interactions"] = "teacher"
    targets_per_user: Annotated[int, Ge(1)] = 8  # per step
    input_share: Annotated[float, Gt(0), Lt(1)] = 0.4  # of a history, at least; `interactions` only
    target_share: Annotated[float, Gt(0), Lt(1)] = 0.2  # of a history, at least; `interactions` only
    label_smoothing: Annotated[float, Ge(0), Le(1)] = 0.0  # over the children of a prefix; `interactions` only
    target_in_input: bool = False  # True: targets stay in their own input (the released code); `interactions` only
    subsample: Literal["each-step", "once"] = "each-step"  # of long histories; once: the released code
    validation_users: Annotated[int, Ge(1)] = 10_000  # at most, a seeded sample


@dataclass(frozen=True, kw_only=True, eq=False)
class _Batch:
    """What one step learns from."""

    user: Tensor  # [B] int64
    history: Tensor  # [B, T] int64, -1 = none
    target: Tensor  # [B, P] int64, -1 = none
    mass: Tensor | None  # [B, num_items + 1] float64, prefix sums of q_u over the leaves; teacher only


class GeneratorTask(Task[_Batch]):
    """Trains a `Network` to write the Rec-IDs of targets."""

    def __init__(
        self,
        network: Network,
        data: Dataset,
        *,
        rec_ids: RecIDTable,
        trie: Trie,
        teacher: Representations,
        settings: GeneratorTraining,
        recommend: Callable[[Tensor, Tensor], Tensor],
        recall: ValidationRecall,
    ) -> None:
        self.module = self.network = network
        self.settings, self.recall, self._recommend = settings, recall, recommend
        self.device = network.begin.device
        self.train = data.train
        self.users = data.train.user_degree.nonzero().flatten()
        self.trie = trie = trie.to(self.device)
        self.token = rec_ids.token.to(self.device)  # [I, L]
        leaf = trie.item_leaf.long()
        self.path = torch.stack([trie.node_of_leaf(level)[leaf] for level in range(trie.num_levels)], dim=1)  # [I, L]
        if settings.targets == "teacher":
            self.teacher_user = teacher.user.to(self.device)
            self.teacher_leaf = teacher.item.to(self.device)[trie.leaf_item.long()]  # rows in the order of the leaves

    def steps_per_epoch(self) -> int:
        return -(-self.users.numel() // self.settings.batch_size)

    def batches(self, epoch: int, generator: torch.Generator) -> Iterator[_Batch]:
        batch_of = self._taught if self.settings.targets == "teacher" else self._observed
        for users in self._batches_of_like_length(generator):
            yield batch_of(users, generator)

    def _batches_of_like_length(self, generator: torch.Generator) -> list[Tensor]:
        """All users in random batches, each from a pool sorted by length of history: little padding is computed."""
        size = self.settings.batch_size
        order = self.users[torch.randperm(self.users.numel(), generator=generator)]
        batches: list[Tensor] = []
        for pool in torch.split(order, size * _POOL):
            by_length = pool[self.train.user_degree[pool].argsort(stable=True)]
            batches.extend(torch.split(by_length, size))
        return [batches[i] for i in torch.randperm(len(batches), generator=generator)]

    def _taught(self, users: Tensor, generator: torch.Generator) -> _Batch:
        """Targets drawn from the teacher's probabilities of all items."""
        items, _ = _shuffled(self.train.padded(users), generator)
        score = self.teacher_user[users.to(self.device)] @ self.teacher_leaf.T  # [B, I], in leaf order
        mass = torch.nn.functional.pad(score.softmax(1, dtype=torch.float64).cumsum(1), (1, 0))
        draw = torch.rand(users.numel(), self.settings.targets_per_user, generator=generator, dtype=torch.float64)
        leaf = torch.searchsorted(mass[:, 1:].contiguous(), draw.to(mass) * mass[:, -1:], right=True)
        target = self.trie.leaf_item[leaf.clamp_max(mass.shape[1] - 2)].long()
        history = self._input(users, items).to(self.device)
        return _Batch(user=users.to(self.device), history=history, target=target, mass=mass)

    def _input(self, users: Tensor, items: Tensor) -> Tensor:
        """At most T of the users' shuffled items ``[B, S]``: the first, or the same at every step."""
        length = self.network.settings.history_length
        return items[:, :length] if self.settings.subsample == "each-step" else fixed_history(self.train, users, length)

    def _observed(self, users: Tensor, generator: torch.Generator) -> _Batch:
        """Each history split at random into input and targets."""
        items, count = _shuffled(self.train.padded(users), generator)
        low, high = self.settings.target_share, 1.0 - self.settings.input_share
        share = low + (high - low) * torch.rand(users.numel(), generator=generator)
        num_targets = (count * share).round().long().clamp_min(1)[:, None]  # [B, 1]; a lone item is a target
        column = torch.arange(items.shape[1])
        target = items.masked_fill(column >= num_targets, -1)[:, : self.settings.targets_per_user]
        if not self.settings.target_in_input:
            items = items.masked_fill(column < num_targets, -1)
            items = items.gather(1, (items < 0).long().argsort(dim=1, stable=True))
        history = self._input(users, items)
        if self.settings.subsample == "once" and not self.settings.target_in_input:
            history = history.masked_fill((history[..., None] == target[:, None]).any(2), -1)
        return _Batch(
            user=users.to(self.device), history=history.to(self.device), target=target.to(self.device), mass=None
        )

    def loss(self, batch: _Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """The sum of all levels' losses, and each of them; only choices that are judged are computed."""
        memory = self.network.encode(batch.user, batch.history)
        target = batch.target.clamp_min(0)
        path = self.path[target]  # [B, P, L]
        chosen = self._choices(batch, path)  # [B, P, L], True = a choice is made and judged here
        count = chosen.flatten(1).sum(1)
        wanted = (~chosen.flatten(1)).long().argsort(dim=1, stable=True)[:, : int(count.max())]  # the chosen ones first
        state = self.network.decode(memory, self.token[target], wanted)  # [B, N, D]
        real = torch.arange(wanted.shape[1], device=wanted.device) < count[:, None]
        user, column = real.nonzero(as_tuple=True)  # M choices
        position = wanted[user, column]
        level_of = position % self.trie.num_levels
        by_level = level_of.argsort(stable=True)  # the choices of a level side by side
        sizes = level_of.bincount(minlength=self.trie.num_levels).tolist()
        rows = user * wanted.shape[1] + column
        flat = state.reshape(-1, state.shape[-1])
        losses = {}
        for level, choices in enumerate(torch.split(by_level, sizes)):
            losses[f"level{level}"] = self._level_loss(
                level,
                batch,
                torch.nn.functional.embedding(rows[choices], flat),
                user[choices],
                position[choices],
                path,
            )
        return {"loss": torch.stack(list(losses.values())).sum(), **losses}

    def _choices(self, batch: _Batch, path: Tensor) -> Tensor:
        """Where along the targets' paths a choice among children is judged: ``[B, P, L]`` bool."""
        chosen = (batch.target >= 0)[..., None].expand(path.shape).clone()
        if batch.mass is not None:
            chosen[:, 1:, 0] = False  # one root and one distribution for all targets of a user
        if self.network.settings.head == "tree":  # an only child has probability one
            chosen[..., 0] &= self.trie.num_nodes(0) > 1
            for level in range(1, self.trie.num_levels):
                first = self.trie.child_offsets(level - 1)
                chosen[..., level] &= first.diff()[path[..., level - 1]] > 1
        return chosen

    def _level_loss(
        self, level: int, batch: _Batch, state: Tensor, user: Tensor, position: Tensor, path: Tensor
    ) -> Tensor:
        """Cross-entropy of M choices of one level among the children of their prefixes, per target.

        Args:
            state: ``[M, D]``.
            user: ``[M]`` int64, row of the batch.
            position: ``[M]`` int64, in ``P * L``.
            path: ``[B, P, L]`` int64, nodes on the targets' paths.
        """
        nodes = path[user, position // path.shape[2]]  # [M, L]
        prefix = nodes[:, level - 1] if level else torch.zeros_like(user)
        first = self.trie.child_offsets(level - 1).long()
        count, start = (first[1:] - first[:-1])[prefix], first[prefix]
        row = torch.repeat_interleave(torch.arange(count.numel(), device=count.device), count)
        node = torch.arange(row.numel(), device=row.device) + (start - (count.cumsum(0) - count))[row]
        children = Children(row=row, node=node, level=level, num_rows=count.numel())
        log_prob = self.network.head.log_prob(state, children)
        if batch.mass is not None:
            weight = self._conditional(batch.mass, level, user, children)
            total = path.shape[0] * (path.shape[1] if level else 1)
        else:
            smoothing = self.settings.label_smoothing
            weight = (node == nodes[:, level][row]).to(log_prob.dtype) * (1 - smoothing)
            weight = weight + smoothing / count[row]
            total = int((batch.target >= 0).sum())
        return -(weight * log_prob).sum() / max(total, 1)

    def _conditional(self, mass: Tensor, level: int, user: Tensor, children: Children) -> Tensor:
        """``q_u(child) / q_u(prefix)`` for each child ``[R]``, exactly, from prefix sums over the leaves."""
        start, end = (edge.long() for edge in self.trie.leaf_interval(level))
        base = user[children.row] * mass.shape[1]
        flat = mass.flatten()
        child = flat[base + end[children.node]] - flat[base + start[children.node]]
        whole = child.new_zeros(children.num_rows).index_add(0, children.row, child)
        return (child / whole[children.row].clamp_min(1e-300)).to(torch.float32)

    def validate(self) -> float | None:
        """Recall@10 of the lists that the network and its search give now."""
        if not len(self.recall):
            return None
        return self.recall.of_items(self._recommend)


def _shuffled(items: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Rows in random order with the padding last, and how many items each row has."""
    key = torch.rand(items.shape, generator=generator).masked_fill(items < 0, 2.0)
    return items.gather(1, key.argsort(dim=1)), (items >= 0).sum(1)
