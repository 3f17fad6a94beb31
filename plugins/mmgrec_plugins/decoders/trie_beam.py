"""Beam search over existing Rec-IDs: all users and beams at once, exclusion exact at every level."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge
from torch import Tensor

from mmgrec.interfaces import Exclusion, ItemScores, NodeScores, RecordableDecoder, Stepper, TokenScores
from mmgrec.recid import Trie
from mmgrec_kernels.beam_step import Beams, Bonus, Forbidden, Level, beam_step_tokens, beam_step_tree, sizes
from mmgrec_plugins.decoders.leaves import best_items, bonus_at, forbidden_leaves, leaf_bonus, level_of

__all__ = ["TrieBeam"]


@dataclass(frozen=True, kw_only=True)
class TrieBeam(RecordableDecoder):
    """Keeps the best prefixes of each level; exact when no more prefixes exist than beams."""

    num_beams: Annotated[int, Ge(1)] = 50  # live prefixes a user; at least top_k are kept

    adds_item_scores: ClassVar[bool] = True

    def decode(
        self, stepper: Stepper, trie: Trie, *, top_k: int, exclusion: Exclusion, item_scores: ItemScores | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `mmgrec.interfaces.Decoder.decode`."""
        forbidden = forbidden_leaves(trie, exclusion)
        return self.search(stepper, trie, top_k=top_k, forbidden=forbidden, item_scores=item_scores)

    def decode_static(
        self, stepper: Stepper, trie: Trie, *, top_k: int, exclusion: Exclusion, item_scores: ItemScores | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `mmgrec.interfaces.RecordableDecoder.decode_static`."""
        forbidden = forbidden_leaves(trie, exclusion, static=True)
        return self.search(stepper, trie, top_k=top_k, forbidden=forbidden, item_scores=item_scores)

    def cannot_record(self, trie: Trie, *, top_k: int, dtype: torch.dtype) -> str:
        """The torch form of the beam step has shapes made from values, so every step must be the kernel's."""
        if importlib.util.find_spec("triton") is None:
            return "triton is not installed"
        widest = max(self._width(trie, level, top_k) for level in range(trie.num_levels))
        return sizes.unsupported(num_beams=widest, num_parents=widest, dtype=dtype)

    def _width(self, trie: Trie, level: int, top_k: int) -> int:
        return min(max(self.num_beams, top_k), trie.num_nodes(level))

    def search(
        self, stepper: Stepper, trie: Trie, *, top_k: int, forbidden: Forbidden, item_scores: ItemScores | None = None
    ) -> tuple[Tensor, Tensor]:
        """As `decode`, with the exclusion made ready; on a GPU shapes are static and nothing comes back to the host."""
        device = trie.leaf_item.device
        log_p = torch.zeros(stepper.num_users, 1, device=device)
        node = torch.zeros(stepper.num_users, 1, dtype=torch.int64, device=device)  # the root
        added = None if item_scores is None else leaf_bonus(trie, item_scores, forbidden)
        scores = stepper.start()
        for level in range(trie.num_levels):
            bonus = None if added is None else bonus_at(trie, level, added)
            width = self._width(trie, level, top_k)
            beams = _step(scores, log_p, node, level_of(trie, level), forbidden, bonus, width)
            node = beams.node
            if level < trie.num_levels - 1:
                log_p = beams.score if bonus is None else beams.score - bonus.of(node)
                scores = stepper.advance(beams.parent, beams.token)
        return best_items(trie, node, beams.score, top_k)


def _step(
    scores: TokenScores | NodeScores,
    log_p: Tensor,
    node: Tensor,
    level: Level,
    forbidden: Forbidden,
    bonus: Bonus | None,
    num_beams: int,
) -> Beams:
    if isinstance(scores, TokenScores):
        return beam_step_tokens(
            scores.logits, log_p, node, level, num_beams=num_beams, forbidden=forbidden, bonus=bonus
        )
    return beam_step_tree(
        scores.state,
        scores.vectors,
        scores.bias,
        log_p,
        node,
        level,
        num_beams=num_beams,
        forbidden=forbidden,
        bonus=bonus,
    )
