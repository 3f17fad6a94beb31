"""Beam search over existing Rec-IDs: all users and beams at once, exclusion exact at every level."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from mmgrec.interfaces import Exclusion, NodeScores, RecordableDecoder, Stepper, TokenScores
from mmgrec.recid import Trie
from mmgrec_kernels.beam_step import Beams, Forbidden, Level, beam_step_tokens, beam_step_tree, sizes
from mmgrec_plugins.decoders.leaves import best_items, forbidden_leaves, level_of

__all__ = ["TrieBeam"]


@dataclass(frozen=True, kw_only=True)
class TrieBeam(RecordableDecoder):
    """Keeps the best prefixes of each level; exact when no more prefixes exist than beams."""

    num_beams: Annotated[int, Ge(1)] = 50  # live prefixes a user; at least top_k are kept

    def decode(self, stepper: Stepper, trie: Trie, *, top_k: int, exclusion: Exclusion) -> tuple[Tensor, Tensor]:
        """See `mmgrec.interfaces.Decoder.decode`."""
        return self.search(stepper, trie, top_k=top_k, forbidden=forbidden_leaves(trie, exclusion))

    def decode_static(self, stepper: Stepper, trie: Trie, *, top_k: int, exclusion: Exclusion) -> tuple[Tensor, Tensor]:
        """See `mmgrec.interfaces.RecordableDecoder.decode_static`."""
        return self.search(stepper, trie, top_k=top_k, forbidden=forbidden_leaves(trie, exclusion, static=True))

    def cannot_record(self, trie: Trie, *, top_k: int, dtype: torch.dtype) -> str:
        """The torch form of the beam step has shapes made from values, so every step must be the kernel's."""
        if importlib.util.find_spec("triton") is None:
            return "triton is not installed"
        widest = max(self._width(trie, level, top_k) for level in range(trie.num_levels))
        return sizes.unsupported(num_beams=widest, num_parents=widest, dtype=dtype)

    def _width(self, trie: Trie, level: int, top_k: int) -> int:
        return min(max(self.num_beams, top_k), trie.num_nodes(level))

    def search(self, stepper: Stepper, trie: Trie, *, top_k: int, forbidden: Forbidden) -> tuple[Tensor, Tensor]:
        """As `decode`, with the exclusion made ready; on a GPU shapes are static and nothing comes back to the host."""
        device = trie.leaf_item.device
        score = torch.zeros(stepper.num_users, 1, device=device)
        node = torch.zeros(stepper.num_users, 1, dtype=torch.int64, device=device)  # the root
        scores = stepper.start()
        for level in range(trie.num_levels):
            beams = _step(scores, score, node, level_of(trie, level), forbidden, self._width(trie, level, top_k))
            score, node = beams.score, beams.node
            if level < trie.num_levels - 1:
                scores = stepper.advance(beams.parent, beams.token)
        return best_items(trie, node, score, top_k)


def _step(
    scores: TokenScores | NodeScores, score: Tensor, node: Tensor, level: Level, forbidden: Forbidden, num_beams: int
) -> Beams:
    if isinstance(scores, TokenScores):
        return beam_step_tokens(scores.logits, score, node, level, num_beams=num_beams, forbidden=forbidden)
    return beam_step_tree(
        scores.state, scores.vectors, scores.bias, score, node, level, num_beams=num_beams, forbidden=forbidden
    )
