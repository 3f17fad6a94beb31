"""How much of the exact search's lists a model's own decoder finds: the price of a beam, measured on a sample."""

from __future__ import annotations

import torch
from torch import Tensor

from mmgrec.data import Dataset
from mmgrec.errors import PluginError
from mmgrec.evaluation import Mask, known
from mmgrec.interfaces import exclusion_of
from mmgrec.recommender import FittedMMGRec
from mmgrec.registry import Registry

__all__ = ["recall_of_exact"]


def recall_of_exact(fitted: FittedMMGRec, data: Dataset, *, users: Tensor, mask: Mask, top_k: int = 10) -> float | None:
    """How much of the exact decoder's lists the run's own decoder finds.

    Args:
        fitted: the model.
        data: its data.
        users: ``[U]`` int64, the sample.
        mask: the parts whose items are left out, as in the evaluation: ``train+valid`` or ``train``.
        top_k: length of the lists.

    Returns:
        Mean over users of the share of the exact list that is in the decoder's; None where the decoder ``exact`` cannot
        be loaded, since it is blocked, or two packages claim its name.
    """
    try:
        exact = Registry.discover().load("decoder", "exact")()
    except PluginError:
        return None
    rule = known(data, mask)
    if rule.history is not data.train:
        fitted = fitted.with_history(rule.history)
    shares = []
    for batch in torch.split(users, 64):
        exclusion = exclusion_of(rule.items, batch)
        own_items, _ = fitted.search(batch, top_k=top_k, exclusion=exclusion)
        exact_items, _ = fitted.search(batch, top_k=top_k, exclusion=exclusion, decoder=exact)
        shares.append(_share_found(own_items.cpu(), exact_items.cpu()))
    return float(torch.cat(shares).mean())


def _share_found(own_items: Tensor, exact_items: Tensor) -> Tensor:
    """``[B]``: share of the exact items ``[B, K]`` (-1 = none) that are among the decoder's own ``[B, K]``."""
    real = exact_items >= 0
    hit = (exact_items[:, :, None] == own_items[:, None, :]).any(2) & real
    return hit.sum(1).double() / real.sum(1).clamp(min=1)
