"""What recommenders of ordered histories share: the demand for an order, batches, windows, attention under a mask,
and how a history and a network are stored and restored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor, nn

from mmgrec.data import Dataset, Interactions
from mmgrec.errors import DataError
from mmgrec.interfaces import PositionalScheme
from mmgrec.training import TrainingSettings

__all__ = [
    "MaskedAttention",
    "SequenceTraining",
    "history_from",
    "history_state",
    "last_items",
    "load_network",
    "network_state",
    "require_order",
    "window_batches",
    "windows",
]

_POOL = 16  # batches whose users are sorted by length together


@dataclass(frozen=True, kw_only=True)
class SequenceTraining(TrainingSettings):
    """How a network that reads sequences is trained."""

    epochs: Annotated[int, Ge(0)] = 60
    learning_rate: Annotated[float, Gt(0)] = 2e-3
    schedule: Literal["constant", "cosine"] = "cosine"
    patience: Annotated[int, Ge(1)] = 5  # validations
    validate_every: Annotated[int, Ge(1)] = 4  # epochs
    optimizer: Literal["adam", "adamw", "sgd"] = "adamw"
    clip_norm: Annotated[float, Ge(0)] = 5.0
    batch_size: Annotated[int, Ge(1)] = 128  # users
    validation_users: Annotated[int, Ge(1)] = 10_000  # at most, a seeded sample


def require_order(data: Dataset, name: str) -> None:
    """Refuse data whose order is not known.

    Raises:
        DataError: if the training interactions have no times.
    """
    if data.train.time is None:
        raise DataError(
            f"the order of the interactions is not known, and {name} learns from nothing else",
            where=data.name,
            remedy="give timestamps (and a split that follows them), or take another recommender",
            code="recommenders.no-times",
        )


def window_batches(
    train: Interactions, users: Tensor, size: int, length: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """All users once, in random batches, each from a pool sorted by length of history: little padding is computed.

    Args:
        train: their items.
        users: ``[N]`` int64.
        size: users of a batch.
        length: of a window, at most.
        generator: draws the order.

    Returns:
        batch by batch users ``[B]`` and their `windows` ``[B, <= length]``.
    """
    order = users[torch.randperm(users.numel(), generator=generator)]
    batches: list[Tensor] = []
    for pool in torch.split(order, size * _POOL):
        by_length = pool[train.user_degree[pool].argsort(stable=True)]
        batches.extend(torch.split(by_length, size))
    for index in torch.randperm(len(batches), generator=generator):
        yield batches[index], windows(train, batches[index], length, generator)


def windows(train: Interactions, users: Tensor, length: int, generator: torch.Generator) -> Tensor:
    """``[B, <= length]`` consecutive items of each user, the newest rightmost, -1 on the left.

    Of a history longer than `length` a random stretch; no column is padding alone.
    """
    degree = train.user_degree[users]
    most = int(degree.max())
    whole = train.sequences(users, most)
    if most <= length:
        return whole
    spare = (degree - length).clamp_min(0)
    left_out = (torch.rand(users.numel(), generator=generator) * (spare + 1)).long()  # of the newest
    column = torch.arange(most - length, most) - left_out[:, None]
    return whole.gather(1, column)


def last_items(history: Interactions, users: Tensor, length: int) -> Tensor:
    """``[B, 1 to length]`` the users' last items, no wider than the longest of them, as `Interactions.sequences`."""
    most = int(history.user_degree[users].max()) if users.numel() else 0
    return history.sequences(users, max(1, min(length, most)))


def history_state(history: Interactions) -> dict[str, Tensor]:
    """An ordered history as tensors; `history_from` makes it again."""
    assert history.time is not None
    return {
        "history.user": history.user,
        "history.item": history.item,
        "history.time": history.time,
        "history.size": torch.tensor([history.num_users, history.num_items]),
    }


def history_from(state: Mapping[str, Tensor]) -> Interactions:
    """The history of `history_state`."""
    num_users, num_items = state["history.size"].tolist()
    return Interactions(
        user=state["history.user"],
        item=state["history.item"],
        time=state["history.time"],
        num_users=num_users,
        num_items=num_items,
    )


def network_state(network: nn.Module) -> dict[str, Tensor]:
    """The parameters and buffers of a fitted recommender's network, as its `state` names them."""
    return {f"network.{name}": value for name, value in network.state_dict().items()}


def load_network(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put the values of `network_state` back into a network of the same shape."""
    prefix = "network."
    network.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})


class _Attention(nn.Module):
    """``softmax(Q K^T / sqrt(K) + mask) V`` per head."""

    def __init__(self, *, dim: int, num_heads: int, head_dim: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * num_heads * head_dim)
        self.out = nn.Linear(num_heads * head_dim, dim)

    def forward(self, x: Tensor, user: Tensor, keep: Tensor) -> Tensor:
        B, S, _ = x.shape
        q, k, v = self.qkv(x).view(B, S, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)  # [B, H, S, K] each
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=keep)
        return self.out(mixed.transpose(1, 2).reshape(B, S, -1))  # type: ignore[no-any-return]


@dataclass(frozen=True, kw_only=True)
class MaskedAttention(PositionalScheme):
    """Attention that takes a whole mask for `keep`: who may look at whom, and how much.

    The mask is ``[B, 1 or H, S, S]``, bool (True = may look) or float (added to the logits). Each row needs a place
    that may be looked at.
    """

    def attention(self, *, dim: int, num_heads: int, head_dim: int, user_dim: int) -> nn.Module:
        return _Attention(dim=dim, num_heads=num_heads, head_dim=head_dim)
