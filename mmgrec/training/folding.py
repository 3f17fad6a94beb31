"""Users' representations from their histories: so that nobody is stale, and who came later has one too.

What was learnt in training knows of a user what they had liked then. `FoldIn` is a linear map from the items of a
history to the representation that training gave to such a user. Where histories follow time, the newest items say
most: there the map reads ``sum_j decay^age_j x_j``, and all users are represented by it from the start, those of
training too, so that nothing changes its meaning when a history grows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmgrec.data import Dataset, Interactions
from mmgrec.interfaces import Context, Representations
from mmgrec.training.calibration import calibrated
from mmgrec.training.validation import ValidationRecall

__all__ = ["FoldIn", "fold_in"]

_DECAYS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4)  # that are tried where histories have an order
_POWERS = (0.5, 0.0, 1.0)  # of the history's length that its sum is divided by
_RIDGE = 1e-3  # of the mean of the diagonal
_PREFIX = "fold."


@dataclass(frozen=True, kw_only=True, eq=False)
class FoldIn:
    """``x_u = n_u^-power sum_j decay^age_j x_j W`` over the n_u items j of a history."""

    weight: Tensor  # W [dim, dim]
    decay: float = 1.0
    power: float = 0.0

    def users(self, history: Interactions, item: Tensor) -> Tensor:
        """``[num_users, dim]`` float32: representations of all users of `history`, from the items' ``[I, dim]``.

        A user without items is at the origin.
        """
        return _summed(history, item, self.decay, self.power) @ self.weight

    def moved(self, given: Representations, before: Interactions, after: Interactions) -> Representations:
        """Representations of users whose histories have changed since; of those whose have not, as they were.

        Args:
            given: of users with the histories `before`.
            before: what they were learnt or folded in from; it may know fewer users.
            after: the histories now.
        """
        change = _summed(after, given.item, self.decay, self.power)
        change[: before.num_users] -= _summed(before, given.item, self.decay, self.power)
        moved = change.any(dim=1)
        user = torch.cat([given.user, given.user.new_zeros(after.num_users - len(given.user), given.dim)])
        user[moved] += change[moved] @ self.weight
        return Representations(user=user, item=given.item)

    def state(self) -> dict[str, Tensor]:
        """What `restored` needs, by name."""
        return {
            f"{_PREFIX}weight": self.weight,
            f"{_PREFIX}decay": torch.tensor(self.decay, dtype=torch.float64),
            f"{_PREFIX}power": torch.tensor(self.power, dtype=torch.float64),
        }

    @classmethod
    def restored(cls, state: Mapping[str, Tensor]) -> FoldIn | None:
        """The map again; None where the state has none."""
        if f"{_PREFIX}weight" not in state:
            return None
        return cls(
            weight=state[f"{_PREFIX}weight"],
            decay=float(state[f"{_PREFIX}decay"]),
            power=float(state[f"{_PREFIX}power"]),
        )


def fold_in(given: Representations, data: Dataset, context: Context) -> tuple[FoldIn, Representations]:
    """Fit the map on training users, and represent users by it where histories follow time.

    Args:
        given: what training gave.
        data: train and valid are used.
        context: for what is drawn.

    Returns:
        The map, and the representations: without an order those that were given.
    """
    if not data.ordered or data.train.time is None:
        fits = [(power, _fitted(given, data.train, 1.0, power)) for power in _POWERS]
        power, (weight, _) = max(fits, key=lambda fit: fit[1][1])
        return FoldIn(weight=weight, power=power), given
    recall = ValidationRecall(data, max_users=10_000, generator=context.generator("folding"))
    decays: Sequence[float] = _DECAYS if len(recall) else (0.7,)
    best: tuple[float, FoldIn, Representations] | None = None
    for decay in decays:
        weight, _ = _fitted(given, data.train, decay, 0.0)
        fold = FoldIn(weight=weight, decay=decay)
        folded = Representations(user=fold.users(data.train, given.item), item=given.item)
        value = _recall(recall, folded)
        if best is None or value > best[0]:
            best = value, fold, folded
    assert best is not None
    value, fold, folded = best
    before = _recall(recall, given)
    context.reporter.note(
        f"users folded in from their histories, decay {fold.decay:g}: recall@10 {value:.4f} on validation, "
        f"{before:.4f} by their own representations"
    )
    scaled = calibrated(folded, data, context.generator("calibration"))
    # Both sides were scaled: the map takes items as they are now, to users as they are now
    item_scale = float((scaled.item * folded.item).sum() / folded.item.square().sum())
    user_scale = float((scaled.user * folded.user).sum() / folded.user.square().sum())
    fold = FoldIn(weight=(fold.weight * (user_scale / item_scale)).contiguous(), decay=fold.decay)
    return fold, Representations(user=fold.users(data.train, scaled.item), item=scaled.item)


def _recall(recall: ValidationRecall, given: Representations) -> float:
    return recall.of_scores(lambda users: given.user[users] @ given.item.T) if len(recall) else 0.0


def _summed(history: Interactions, item: Tensor, decay: float, power: float) -> Tensor:
    """``[num_users, dim]``: weighted sums of the histories' items."""
    from scipy import sparse

    weight = (decay ** history.age.double()).float()
    if power:
        weight = weight / history.user_degree[history.user].float() ** power
    shape = (history.num_users, item.shape[0])
    matrix: Any = sparse.csr_matrix((weight.numpy(), history.item.numpy(), history.offsets.numpy()), shape=shape)
    return torch.from_numpy(np.asarray(matrix @ item.float().numpy()))


def _fitted(given: Representations, history: Interactions, decay: float, power: float) -> tuple[Tensor, float]:
    """The ridge map from histories to users, and the share of the users' deviation that it explains."""
    known = history.user_degree > 0
    x = _summed(history, given.item, decay, power)[known].double()
    y = given.user[known].double()
    gram = x.T @ x
    ridge = _RIDGE * gram.diagonal().mean().clamp_min(1e-12)
    gram.diagonal().add_(ridge)
    weight = torch.linalg.solve(gram, x.T @ y)
    left = (x @ weight - y).square().sum() / y.square().sum().clamp_min(1e-12)
    return weight.float().contiguous(), 1.0 - float(left)
