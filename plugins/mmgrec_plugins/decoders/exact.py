"""The oracle: the log-likelihood of every item, through the same stepper, each prefix visited once.

All nodes of a level are beams. The catalogue is walked in runs of neighbouring leaves, so that memory is bounded
whatever its size; only the prefixes at the ends of a run are visited twice. With head `tree`, prefixes with one item
below them are not followed: an only child's probability is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge
from torch import Tensor

from mmgrec.interfaces import Decoder, Exclusion, ItemScores, NodeScores, Stepper, TokenScores
from mmgrec.recid import Trie
from mmgrec_kernels.csr import sampled_products
from mmgrec_plugins.decoders.leaves import best_items, forbidden_leaves, leaf_bonus

__all__ = ["Exact"]


@dataclass(frozen=True, kw_only=True)
class Exact(Decoder):
    """Scores the whole catalogue: what a beam search would find if it were wide enough."""

    max_beams: Annotated[int, Ge(1)] = 2**18  # users times leaves scored at a time: bounds memory

    adds_item_scores: ClassVar[bool] = True

    def decode(
        self, stepper: Stepper, trie: Trie, *, top_k: int, exclusion: Exclusion, item_scores: ItemScores | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `mmgrec.interfaces.Decoder.decode`."""
        forbidden = forbidden_leaves(trie, exclusion)
        added = None if item_scores is None else leaf_bonus(trie, item_scores, forbidden)
        allowed = (
            None if exclusion.allowed is None else exclusion.allowed.to(trie.leaf_item.device)[trie.leaf_item.long()]
        )
        runs: list[tuple[Tensor, Tensor]] = []  # per run: the best leaves and their scores
        size = max(1, self.max_beams // max(1, stepper.num_users))
        for low in range(0, trie.num_items, size):
            high = min(low + size, trie.num_items)
            score = _score(stepper, trie, low, high)
            if added is not None:
                user, at = torch.nonzero((added.node >= low) & (added.node < high), as_tuple=True)
                score[user, added.node[user, at] - low] += added.value[user, at]
            if allowed is not None:
                score = score.masked_fill(~allowed[low:high], -torch.inf)
            if forbidden.seen is not None:
                user, at = torch.nonzero((forbidden.seen >= low) & (forbidden.seen < high), as_tuple=True)
                score[user, forbidden.seen[user, at] - low] = -torch.inf
            leaf = torch.arange(low, high, device=score.device).expand_as(score)
            runs = [_best(trie, [*runs, (leaf, score)], top_k)]
        return best_items(trie, *runs[0], top_k)


def _best(trie: Trie, runs: list[tuple[Tensor, Tensor]], top_k: int) -> tuple[Tensor, Tensor]:
    """The best ``top_k`` leaves of all runs so far."""
    leaf, score = (torch.cat(part, 1) for part in zip(*runs, strict=True))
    item, score = best_items(trie, leaf, score, top_k)
    return trie.item_leaf[item.clamp(min=0)].long(), score


def _score(stepper: Stepper, trie: Trie, low: int, high: int) -> Tensor:
    """``[B, high - low]``: the log-likelihood of the leaves ``low .. high``."""
    scores = stepper.start()
    node = torch.zeros(1, dtype=torch.int64, device=trie.leaf_item.device)  # [W], the same for all users: the root
    log_p = torch.zeros(stepper.num_users, 1, device=node.device)
    likelihood = torch.empty(stepper.num_users, high - low, device=node.device)
    for level in range(trie.num_levels):
        parent, child = trie.children(level - 1, node)
        log_p = log_p.index_select(1, parent) + _log_softmax(scores, trie, level, parent, child)
        begin, end = (offsets[child].long() for offsets in trie.leaf_interval(level))
        inside = (begin < high) & (end > low)
        # An only child costs nothing in the tree: a node with one leaf has its leaf's likelihood already
        sure = isinstance(scores, NodeScores) or level == trie.num_levels - 1
        done = inside & (end - begin == 1) if sure else torch.zeros_like(inside)
        likelihood[:, begin[done] - low] = log_p[:, done]
        onward = torch.nonzero(inside & ~done).squeeze(1)
        if onward.numel() == 0:
            break
        parent, node, log_p = parent[onward], child[onward], log_p.index_select(1, onward)
        token = trie.token[level][begin[onward]].long()
        scores = stepper.advance(parent.expand(log_p.shape).contiguous(), token.expand(log_p.shape).contiguous())
    return likelihood


def _log_softmax(scores: TokenScores | NodeScores, trie: Trie, level: int, parent: Tensor, child: Tensor) -> Tensor:
    """``[B, M]``: log-probabilities of nodes of a level, which are all children of the beams ``parent``."""
    if isinstance(scores, TokenScores):
        token = trie.token[level][trie.leaf_interval(level)[0][child].long()].long()
        return scores.logits.float().log_softmax(-1)[:, parent, token]
    num_users, num_parents, _ = scores.state.shape
    num_children = torch.bincount(parent, minlength=num_parents).repeat(num_users)  # of all beams of all users
    row = (parent + num_parents * torch.arange(num_users, device=parent.device).unsqueeze(1)).flatten()
    logit = _dot(scores.state.flatten(0, 1).float(), scores.vectors[child].float(), num_children)
    logit += scores.bias[child].float().repeat(num_users)
    logit -= torch.segment_reduce(logit, "max", lengths=num_children).index_select(0, row)
    logit -= torch.segment_reduce(logit.exp(), "sum", lengths=num_children).log().index_select(0, row)
    return logit.view(num_users, -1)


def _dot(state: Tensor, vectors: Tensor, num_children: Tensor) -> Tensor:
    """Products of each beam's state with its own children's vectors, side by side: only these are computed."""
    num_users = int(num_children.sum()) // vectors.shape[0]
    first = torch.cat([num_children.new_zeros(1), num_children.cumsum(0)])
    child = torch.arange(vectors.shape[0], device=state.device).repeat(num_users)
    return sampled_products(first, child, state, vectors)
