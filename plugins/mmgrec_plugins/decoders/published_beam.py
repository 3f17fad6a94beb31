"""The released code's search, to measure what its departures cost: no trie, and seen items not kept out.

What it names is still valid and unseen: a place of the list that went to a Rec-ID that does not exist, or to a seen
item, is left empty, which costs what naming it would cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor
from torch.nn import functional as F

from mmgrec.errors import SettingsError
from mmgrec.interfaces import Decoder, Exclusion, ItemScores, NodeScores, Stepper, TokenScores
from mmgrec.recid import Trie
from mmgrec_plugins.decoders.leaves import best_items
from mmgrec_plugins.decoders.trie_beam import TrieBeam

__all__ = ["PublishedBeam"]


@dataclass(frozen=True, kw_only=True)
class PublishedBeam(Decoder):
    """Beam search without the constraints; with `trie` or `unseen` one of them is put back."""

    num_beams: Annotated[int, Ge(1)] = 50  # live prefixes a user; at least top_k are kept
    trie: bool = False  # True: only existing prefixes
    unseen: bool = False  # True: lists are filled up from the other beams where a place was lost

    def decode(
        self, stepper: Stepper, trie: Trie, *, top_k: int, exclusion: Exclusion, item_scores: ItemScores | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `mmgrec.interfaces.Decoder.decode`; lists may be shorter than they could be."""
        width = max(self.num_beams, top_k)
        if self.trie:
            nothing = Exclusion(seen=exclusion.seen[:, :0])
            item, score = TrieBeam(num_beams=width).decode(stepper, trie, top_k=width, exclusion=nothing)
            leaf = trie.item_leaf[item.clamp_min(0)].long()
        else:
            leaf, score = self._free(stepper, trie, width)
            item = trie.leaf_item[leaf.clamp_min(0)].long().masked_fill(leaf < 0, -1)
        if not self.unseen:  # as published: the first top_k, whatever they are
            item, leaf, score = item[:, :top_k], leaf[:, :top_k], score[:, :top_k]
        seen = exclusion.seen.to(item.device)
        lost = (item < 0) | (item[..., None] == seen[:, None].masked_fill(seen[:, None] < 0, -2)).any(2)
        if exclusion.allowed is not None:
            lost |= ~exclusion.allowed.to(item.device)[item.clamp_min(0)]
        return best_items(trie, leaf, score.masked_fill(lost, -torch.inf), top_k)

    def _free(self, stepper: Stepper, trie: Trie, width: int) -> tuple[Tensor, Tensor]:
        """Leaf ``[B, W]`` (-1: no such Rec-ID) and score of the best token tuples, existing or not; best first."""
        scores = stepper.start()
        key = torch.zeros(stepper.num_users, 1, dtype=torch.int64, device=trie.leaf_item.device)
        total = torch.zeros(key.shape, device=key.device)
        for level, size in enumerate(trie.level_sizes):
            logits = _logits(scores)
            every = (total[..., None] + F.log_softmax(logits, dim=-1)).flatten(1)  # [B, W * V]
            best = every.topk(min(width, every.shape[1]), dim=1)
            parent, token = best.indices // logits.shape[-1], best.indices % logits.shape[-1]
            total = best.values
            exists = (token < size) & (key.gather(1, parent) >= 0)  # a shared vocabulary has tokens that no level has
            key = torch.where(exists, key.gather(1, parent) * size + token, -1)
            if level < trie.num_levels - 1:
                scores = stepper.advance(parent, token)
        known = self._keys(trie)
        leaf = torch.searchsorted(known, key).clamp_max(known.numel() - 1)
        return torch.where(known[leaf] == key, leaf, -1), total

    @staticmethod
    def _keys(trie: Trie) -> Tensor:
        """``[num_items]`` int64: each leaf's Rec-ID as one number, ascending."""
        key = torch.zeros(trie.num_items, dtype=torch.int64, device=trie.leaf_item.device)
        for level, size in enumerate(trie.level_sizes):
            key = key * size + trie.node_token(level)[trie.node_of_leaf(level)]
        return key


def _logits(scores: TokenScores | NodeScores) -> Tensor:
    if isinstance(scores, NodeScores):
        raise SettingsError(
            ["published-beam without a trie needs scores of tokens, but the head `tree` scores existing nodes"],
            remedy="set network.head=tokens, or decoder.trie=true",
            code="decoders.needs-tokens",
        )
    return scores.logits
