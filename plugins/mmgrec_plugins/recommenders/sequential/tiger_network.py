"""The Transformer of TIGER: reads the tokens of a history, writes the tokens of the next item.

Decisions:

- A history is one row of tokens: a token of the user (or one for all), then all tokens of its items, the newest last.
- The encoder is causal from item to item: a token looks at the tokens of its own item and of the items before it. So
  one pass over a history serves all its places as targets, exactly: what the decoder network reads for a target is what
  it would read if the history ended before it.
- Places are relative, as in T5: a learnt number for each head and distance is added to the logits of self-attention,
  and here of cross-attention too, where the distance is to the place of the item that is written.
- Each level has a vocabulary of its own; encoder and decoder network share the vectors of tokens.

`tiger` makes the Rec-IDs that are rows of tokens here, and searches with `TokenStepper`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgrec.generator import DecoderLayer, EncoderLayer, NetworkSettings, TokensHead
from mmgrec.interfaces import NodeScores, Stepper, TokenScores
from mmgrec.recid import RecIDTable, Trie
from mmgrec_plugins.recommenders.sequential.sequences import MaskedAttention

__all__ = ["HistoryMemory", "TokenNetwork", "TokenStepper"]


@dataclass(frozen=True, kw_only=True, eq=False)
class HistoryMemory:
    """What the encoder says of a batch of histories; S = 1 + T * L tokens."""

    key: list[Tensor]  # per decoder layer [B, H, S, K]
    value: list[Tensor]  # per decoder layer [B, H, S, K]
    real: Tensor  # [B, T] bool: True = there is an item


class TokenNetwork(nn.Module):
    """Encoder, decoder network and output head.

    Args:
        shape: of the Transformer; ``history_length`` is the most items of a history.
        rec_ids: the tokens of all items.
        trie: of the same.
        user_tokens: how many tokens users share, by a hash of their numbers; 0: one for all.
    """

    level_offset: Tensor
    rec_id: Tensor

    def __init__(self, shape: NetworkSettings, *, rec_ids: RecIDTable, trie: Trie, user_tokens: int) -> None:
        super().__init__()
        self.num_levels, self.num_heads = rec_ids.num_levels, shape.num_heads
        self.length, dim = shape.history_length, shape.dim
        offset = torch.tensor([0, *rec_ids.level_sizes]).cumsum(0)
        self.register_buffer("level_offset", offset[:-1], persistent=False)
        self.register_buffer("rec_id", rec_ids.token, persistent=False)  # [I, L]
        self.token_table = nn.Embedding(int(offset[-1]), dim)
        self.user_table = nn.Embedding(max(1, user_tokens), dim)
        self.begin = nn.Parameter(torch.randn(dim) * 0.1)
        self.places = nn.Parameter(torch.randn(self.num_levels, dim) * 0.1)  # along the Rec-ID that is written
        for table in (self.token_table, self.user_table):
            nn.init.normal_(table.weight, std=0.1)
        # Row 0 is for the user's token; then distances in tokens, the least (within an item) negative
        self.self_bias = nn.Embedding(self.num_levels * (self.length + 1), self.num_heads)
        self.cross_bias = nn.Embedding(self.num_levels * self.length + 1, self.num_heads)
        for table in (self.self_bias, self.cross_bias):
            nn.init.zeros_(table.weight)
        self.drop = nn.Dropout(shape.dropout)
        self.encoder = nn.ModuleList(
            [EncoderLayer(shape, MaskedAttention(), 1) for _ in range(shape.num_encoder_layers)]
        )
        self.encoder_norm = nn.LayerNorm(dim)
        self.decoder = nn.ModuleList([DecoderLayer(shape) for _ in range(shape.num_decoder_layers)])
        self.decoder_norm = nn.LayerNorm(dim)
        self.head = TokensHead(trie=trie, state_dim=dim)

    @property
    def decoder_layers(self) -> list[DecoderLayer]:
        return cast(list[DecoderLayer], list(self.decoder))

    def encode(self, users: Tensor, history: Tensor) -> HistoryMemory:
        """Read histories.

        Args:
            users: ``[B]`` int64.
            history: ``[B, T]`` int64 items, the newest last, -1 on the left.
        """
        (B, T), L = history.shape, self.num_levels
        real = history >= 0
        tokens = self.rec_id[history.clamp_min(0)] + self.level_offset  # [B, T, L]
        owner = (users * 0x9E3779B1 & 0xFFFFFFFF) % self.user_table.num_embeddings  # multiplicative hash
        x = self.drop(torch.cat([self.user_table(owner)[:, None], self.token_table(tokens.view(B, T * L))], dim=1))
        mask = self._self_mask(real)
        for layer in self.encoder:
            x = layer(x, x, mask)
        x = self.encoder_norm(x)
        pairs = [layer.cross.memory(x) for layer in self.decoder_layers]
        return HistoryMemory(key=[k for k, _ in pairs], value=[v for _, v in pairs], real=real)

    def _self_mask(self, real: Tensor) -> Tensor:
        """``[B, H, S, S]``: biases of distances; -inf for later items, padding, and for the user's token all but it."""
        T, L = real.shape[1], self.num_levels
        position = torch.arange(T * L, device=real.device)
        distance = position[:, None] - position  # of a token from another; negative: later
        seen = position[:, None] // L >= position // L
        row = F.pad((distance + L).clamp_min(1), (1, 0, 1, 0))  # 0: the user's token
        seen = F.pad(seen, (1, 0, 1, 0))
        seen[:, 0] = True
        itself = torch.eye(T * L + 1, dtype=torch.bool, device=real.device)  # padding has somebody to look at, too
        keep = F.pad(real.repeat_interleave(L, dim=1), (1, 0), value=True)  # [B, S]
        bias = self.self_bias(row).permute(2, 0, 1)  # [H, S, S]
        allowed = (seen & keep[:, None]) | itself  # [B, S, S]
        return torch.where(allowed[:, None], bias, -torch.inf)

    def cross_mask(self, real: Tensor, column: Tensor) -> Tensor:
        """What the decoder network sees of a history, and at which distance.

        Args:
            real: ``[B, T]`` bool.
            column: ``[B, P]`` int64, the place of the item that is written: T is after the last.

        Returns:
            ``[B, H, P, S]`` float: biases, and -inf for padding and for what is not before that place.
        """
        L = self.num_levels
        position = torch.arange(real.shape[1] * L, device=real.device)
        distance = column[..., None] * L - position  # [B, P, T * L], 1 = the token just before
        allowed = (distance > 0) & real.repeat_interleave(L, dim=1)[:, None]
        # Row 0: the user's token
        bias: Tensor = self.cross_bias(F.pad(distance.clamp_min(0), (1, 0))).permute(0, 3, 1, 2)
        hidden = ~F.pad(allowed, (1, 0), value=True)  # [B, P, S]
        return bias.masked_fill(hidden[:, None], -torch.inf)

    def decode(self, memory: HistoryMemory, column: Tensor, tokens: Tensor) -> Tensor:
        """States along given Rec-IDs, all at once (training).

        Args:
            memory: of B users.
            column: ``[B, P]`` int64, the place of each target in the history, as for `cross_mask`.
            tokens: ``[B, P, L]`` int64, the targets' Rec-IDs.

        Returns:
            ``[B, P, L, dim]``: the state at level l has read the tokens before l.
        """
        B, P, L = tokens.shape
        begin = self.begin.expand(B, P, 1, -1)
        x = torch.cat([begin, self.token_table(tokens[..., :-1] + self.level_offset[:-1])], dim=2) + self.places
        x = self.drop(x).view(B * P, L, -1)
        mask = self.cross_mask(memory.real, column).repeat_interleave(L, dim=2)
        for index, layer in enumerate(self.decoder_layers):
            x = layer.mix(x).view(B, P * L, -1)
            x = layer.finish(x, memory.key[index], memory.value[index], mask).view(B * P, L, -1)
        return self.decoder_norm(x).view(B, P, L, -1)  # type: ignore[no-any-return]

    def log_likelihood(self, memory: HistoryMemory, column: Tensor, tokens: Tensor) -> Tensor:
        """``[B, P]``: log-probability of whole Rec-IDs; arguments as `decode`."""
        state = self.decode(memory, column, tokens)
        total = torch.zeros(column.shape, device=state.device)
        for level in range(self.num_levels):
            every = self.head.scores(level, state[:, :, level]).logits.log_softmax(-1)
            total = total + every.gather(2, tokens[:, :, level : level + 1])[..., 0]
        return total


class TokenStepper(Stepper):
    """Writes the item after the last, all beams one token at a time; their keys and values follow them."""

    def __init__(self, network: TokenNetwork, memory: HistoryMemory) -> None:
        self.network, self.memory = network, memory
        self.num_users, length = memory.real.shape
        column = torch.full((self.num_users, 1), length, device=memory.real.device)
        self._mask = network.cross_mask(memory.real, column)  # [B, H, 1, S], the same for all beams
        self._level = 0
        self._past: list[tuple[Tensor, Tensor]] = []  # per layer: keys, values [B, W, level, H * K]

    def start(self) -> TokenScores | NodeScores:
        self._level, self._past = 0, []
        return self._step(self.network.begin.expand(self.num_users, 1, -1))

    def advance(self, parent: Tensor, token: Tensor) -> TokenScores | NodeScores:
        user = torch.arange(self.num_users, device=parent.device)[:, None]
        self._past = [(key[user, parent], value[user, parent]) for key, value in self._past]
        return self._step(self.network.token_table(token + self.network.level_offset[self._level - 1]))

    def _step(self, x: Tensor) -> TokenScores | NodeScores:
        """x: ``[B, W, dim]``, the newest token of each beam."""
        network, memory = self.network, self.memory
        x = x + network.places[self._level]
        now = []
        for index, layer in enumerate(network.decoder_layers):
            x, pair = layer.step(x, self._past[index] if self._past else None)
            x = layer.finish(x, memory.key[index], memory.value[index], self._mask)
            now.append(pair)
        self._past, self._level = now, self._level + 1
        return network.head.scores(self._level - 1, network.decoder_norm(x))
