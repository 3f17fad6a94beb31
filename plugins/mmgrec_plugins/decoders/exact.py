"""The oracle: the log-likelihood of every item, through the same stepper, each prefix visited once.

All nodes of a level are beams. The catalogue is walked in runs of neighbouring leaves, so that memory is bounded
whatever its size; only the prefixes at the ends of a run are visited twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from mmgrec.interfaces import Decoder, Exclusion, NodeScores, Stepper, TokenScores
from mmgrec.recid import Trie
from mmgrec_plugins.decoders._leaves import best_items, forbidden_leaves

__all__ = ["Exact"]


@dataclass(frozen=True, kw_only=True)
class Exact(Decoder):
    """Scores the whole catalogue: what a beam search would find if it were wide enough."""

    max_beams: Annotated[int, Ge(1)] = 2**18  # users times leaves scored at a time: bounds memory

    def decode(self, stepper: Stepper, trie: Trie, *, top_k: int, exclusion: Exclusion) -> tuple[Tensor, Tensor]:
        """See `mmgrec.interfaces.Decoder.decode`."""
        forbidden = forbidden_leaves(trie, exclusion)
        allowed = None if exclusion.allowed is None else exclusion.allowed[trie.leaf_item.long()]
        found: list[tuple[Tensor, Tensor]] = []  # per run: the best leaves and their scores
        size = max(1, self.max_beams // max(1, stepper.num_users))
        for low in range(0, trie.num_items, size):
            high = min(low + size, trie.num_items)
            score = _score(stepper, trie, low, high)
            if allowed is not None:
                score = score.masked_fill(~allowed[low:high], -torch.inf)
            if forbidden.seen is not None:
                user, at = torch.nonzero((forbidden.seen >= low) & (forbidden.seen < high), as_tuple=True)
                score[user, forbidden.seen[user, at] - low] = -torch.inf
            place = torch.arange(low, high, device=score.device).expand_as(score)
            found = [_best(trie, [*found, (place, score)], top_k)]
        return best_items(trie, *found[0], top_k)


def _best(trie: Trie, found: list[tuple[Tensor, Tensor]], top_k: int) -> tuple[Tensor, Tensor]:
    """The best ``top_k`` leaves of all runs so far."""
    leaf, score = (torch.cat(part, 1) for part in zip(*found, strict=True))
    item, score = best_items(trie, leaf, score, top_k)
    return trie.item_leaf[item.clamp(min=0)].long(), score


def _score(stepper: Stepper, trie: Trie, low: int, high: int) -> Tensor:
    """``[B, high - low]``: the log-likelihood of the leaves ``low .. high``."""
    scores = stepper.start()
    log_p = torch.zeros(stepper.num_users, 1, device=trie.leaf_item.device)  # of the nodes first .. first + W
    first = 0
    for level, begin, end in _runs(trie, low, high):
        offsets = trie.child_offsets(level - 1)[first : first + log_p.shape[1] + 1].long()
        parent = torch.arange(log_p.shape[1], device=offsets.device).repeat_interleave(offsets.diff())
        start, stop = int(offsets[0]), int(offsets[-1])  # all children of these nodes, as some softmax needs them all
        step = _log_softmax(scores, trie, level, parent, start, stop)
        log_p = (log_p[:, parent] + step)[:, begin - start : end - start]
        parent, first = parent[begin - start : end - start], begin
        if level < trie.num_levels - 1:
            token = _tokens(trie, level, begin, end)
            shape = log_p.shape
            scores = stepper.advance(parent.expand(shape).contiguous(), token.expand(shape).contiguous())
    return log_p


def _runs(trie: Trie, low: int, high: int) -> Iterator[tuple[int, int, int]]:
    """The nodes ``begin .. end`` of each level under which the leaves ``low .. high`` lie."""
    ends = torch.tensor([low, high - 1], dtype=torch.int32, device=trie.leaf_item.device)
    for level, first_leaf in enumerate(trie.first_leaf):
        begin, last = (torch.searchsorted(first_leaf, ends, right=True) - 1).tolist()
        yield level, begin, last + 1
    yield trie.num_levels - 1, low, high


def _log_softmax(
    scores: TokenScores | NodeScores, trie: Trie, level: int, parent: Tensor, start: int, stop: int
) -> Tensor:
    """``[B, M]``: log-probabilities of the nodes ``start .. stop``, whose parents among the beams are ``parent``."""
    if isinstance(scores, TokenScores):
        log_p = scores.logits.float().log_softmax(-1)
        return log_p[:, parent, _tokens(trie, level, start, stop)]
    state, vectors = scores.state.float(), scores.vectors[start:stop].float()
    logit = torch.einsum("bmd,md->bm", state[:, parent], vectors) + scores.bias[start:stop].float()
    shape = (logit.shape[0], state.shape[1])
    highest = logit.new_full(shape, -torch.inf).scatter_reduce(1, parent.expand_as(logit), logit, "amax")
    logit = logit - highest[:, parent]
    total = logit.new_zeros(shape).index_add(1, parent, logit.exp())
    return logit - total.log()[:, parent]


def _tokens(trie: Trie, level: int, begin: int, end: int) -> Tensor:
    """``[end - begin]`` int64: the tokens by which these nodes are reached."""
    if level == trie.num_levels - 1:
        return trie.token[level][begin:end].long()
    return trie.token[level][trie.first_leaf[level][begin:end].long()].long()
