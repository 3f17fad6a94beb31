"""The Transformer: an encoder over a set of items, a decoder network over a Rec-ID (Sec. 3.3 of the paper).

Decisions:

- Encoder input: representations of the history's items (or learnt vectors, the ablation "Emb w/o"), a learnt token, and
  with ``user_input="representation"`` the user's representation. The attention comes from the positional scheme.
- With ``user_input="history"`` nothing of the user is read but the items in the input: the user's vector is their sum
  over the root of their number. A user's own representation has seen the targets; it may be read only where a teacher
  supplies them.
- Decoder network: plain causal attention over at most L tokens, sinusoidal positions, cross-attention to the memory,
  whose keys and values are computed once per user and never copied per beam.
- Pre- or post-norm. Vocabularies of different levels are disjoint.

The output heads are in `mmgrec.generator.heads`, the layers in `mmgrec.generator.layers`.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgrec.generator.heads import Head, TokensHead, TreeHead
from mmgrec.generator.layers import DecoderLayer, EncoderLayer, NetworkSettings, sinusoidal_positions
from mmgrec.interfaces import NodeScores, PositionalScheme, Representations, Stepper, TokenScores
from mmgrec.recid import RecIDTable, Trie

__all__ = ["Encoded", "Network", "NetworkStepper"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Encoded:
    """What the encoder says of a batch of users, ready for cross-attention."""

    key: list[Tensor]  # per decoder layer [B, H, S, K]
    value: list[Tensor]  # per decoder layer [B, H, S, K]
    keep: Tensor  # [B, 1, 1, S] bool, True = real
    user: Tensor  # [B, user_dim], standardised


class Network(nn.Module):
    """Encoder, decoder network and output head.

    `encode` reads histories. Then `decode` gives the states along whole Rec-IDs at once, for training, or a `stepper`
    goes through them level by level, for a search.
    """

    user_vectors: Tensor
    item_vectors: Tensor
    level_offset: Tensor
    places: Tensor

    def __init__(
        self,
        settings: NetworkSettings,
        *,
        representations: Representations,
        rec_ids: RecIDTable,
        trie: Trie,
        position: PositionalScheme,
    ) -> None:
        super().__init__()
        self.settings, self.position = settings, position
        self.num_levels = rec_ids.num_levels
        dim, user_dim = settings.dim, representations.dim
        user_scale, item_scale = (float(x.std().clamp_min(1e-6)) for x in (representations.user, representations.item))
        self.user_scale = user_scale
        self.register_buffer("user_vectors", representations.user / user_scale, persistent=False)  # [U, user_dim]
        self.register_buffer("item_vectors", representations.item / item_scale, persistent=False)  # [I, user_dim]
        if settings.item_input == "learnt":
            self.learnt_items = nn.Embedding(rec_ids.num_items, user_dim)
        self.project_item = nn.Linear(user_dim, dim)
        if settings.user_input == "representation":
            self.project_user = nn.Linear(user_dim, dim)
        self.learnt_token = nn.Parameter(torch.randn(dim) * 0.02)
        self.encoder = nn.ModuleList(
            [EncoderLayer(settings, position, user_dim) for _ in range(settings.num_encoder_layers)]
        )
        self.encoder_norm = nn.LayerNorm(dim) if settings.norm == "pre" else nn.Identity()

        sizes = rec_ids.level_sizes
        offsets = torch.tensor([0, *sizes]).cumsum(0)
        if settings.shared_vocabulary:
            offsets = torch.tensor([0] * len(sizes) + [max(sizes)])
        # Rows of the token table where each level begins: token 5 of level 0 is not token 5 of level 1
        self.register_buffer("level_offset", offsets[:-1], persistent=False)
        self.token_table = nn.Embedding(int(offsets[-1]), dim)
        nn.init.normal_(self.token_table.weight, std=0.02)
        self.begin = nn.Parameter(torch.randn(dim) * 0.02)
        self.begin_from_user = nn.Linear(user_dim, dim, bias=False)  # the first token knows for whom it writes
        self.register_buffer("places", sinusoidal_positions(self.num_levels, dim), persistent=False)
        self.decoder = nn.ModuleList([DecoderLayer(settings) for _ in range(settings.num_decoder_layers)])
        self.decoder_norm = nn.LayerNorm(dim) if settings.norm == "pre" else nn.Identity()
        self.head: Head
        if settings.head == "tree":
            self.head = TreeHead(
                trie=trie,
                item_vectors=self.item_vectors,
                state_dim=dim,
                gain=user_scale * item_scale if settings.user_input == "representation" else 0.05,
                moment_axes=settings.moment_axes,
            )
        else:
            self.head = TokensHead(trie=trie, state_dim=dim, shared=settings.shared_vocabulary)
        for module in () if settings.train_norms else self.modules():
            if isinstance(module, nn.LayerNorm):
                module.requires_grad_(False)

    @property
    def decoder_layers(self) -> list[DecoderLayer]:
        return cast(list[DecoderLayer], list(self.decoder))

    def reading(self, users: Tensor) -> Network:
        """The same network, whose users have other representations ``[num_users, user_dim]``; it shares its weights."""
        twin = copy.copy(self)
        twin._buffers = {**self._buffers, "user_vectors": (users / self.user_scale).to(self.user_vectors.device)}
        return twin

    # ----------------------------------------------------------------- encoder

    def encode(self, users: Tensor, history: Tensor) -> Encoded:
        """Read the histories of a batch.

        Args:
            users: ``[B]`` int64.
            history: ``[B, T]`` int64 items, filled up with -1.
        """
        keep = history >= 0
        item = history.clamp_min(0)
        given = F.embedding(item, self.item_vectors)  # [B, T, user_dim]
        if self.settings.user_input == "representation":
            user = F.embedding(users, self.user_vectors)
        else:
            count = keep.sum(1, keepdim=True).clamp_min(1)
            user = (given * keep[..., None]).sum(1) / count.sqrt()
        x = self.project_item(self.learnt_items(item) if self.settings.item_input == "learnt" else given)
        x = self.position.encode(x)
        extra = [self.learnt_token.expand(x.shape[0], 1, -1)]
        if self.settings.user_input == "representation":
            extra.append(self.project_user(user)[:, None])
        x = torch.cat([*extra, x], dim=1)  # [B, S, dim]
        keep = torch.cat([keep.new_ones(x.shape[0], len(extra)), keep], dim=1)
        for layer in self.encoder:
            x = layer(x, user, keep)
        x = self.encoder_norm(x)
        pairs = [layer.cross.memory(x) for layer in self.decoder_layers]
        return Encoded(key=[k for k, _ in pairs], value=[v for _, v in pairs], keep=keep[:, None, None, :], user=user)

    # ----------------------------------------------------------------- decoder network

    def decode(self, memory: Encoded, tokens: Tensor, wanted: Tensor) -> Tensor:
        """The head's states at wanted positions along given Rec-IDs, all at once (training).

        Args:
            memory: of B users.
            tokens: ``[B, P, L]`` int64, P Rec-IDs for each user.
            wanted: ``[B, N]`` int64, positions in ``P * L``: ``p * L + l`` scores level l after the tokens before it.

        Returns:
            ``[B, N, D]``.
        """
        B, P, L = tokens.shape
        begin = (self.begin + self.begin_from_user(memory.user))[:, None, None].expand(B, P, 1, -1)
        x = torch.cat([begin, self.token_table(tokens[..., :-1] + self.level_offset[: L - 1])], dim=2) + self.places
        x = x.reshape(B * P, L, -1)
        *inner, last = self.decoder_layers
        for index, layer in enumerate(inner):
            x = layer.mix(x)
            x = layer.finish(x.view(B, P * L, -1), memory.key[index], memory.value[index], memory.keep).view(x.shape)
        x = last.mix(x).view(B * P * L, -1)
        row = wanted + torch.arange(B, device=wanted.device)[:, None] * (P * L)
        x = F.embedding(row, x)  # from here on, only what is wanted
        x = last.finish(x, memory.key[-1], memory.value[-1], memory.keep)
        return self.head.state(self.decoder_norm(x), memory.user)

    def stepper(self, memory: Encoded) -> NetworkStepper:
        """The same network, one level at a time for many beams."""
        return NetworkStepper(self, memory)


class NetworkStepper(Stepper):
    """Advances all beams of a batch by one level; keys and values of earlier levels follow their beams by ancestry."""

    def __init__(self, network: Network, memory: Encoded) -> None:
        self.network, self.memory = network, memory
        self.num_users = memory.user.shape[0]
        self._level = 0
        self._past: list[tuple[Tensor, Tensor]] = []  # per layer: keys, values [B, W, level, H * K]

    def start(self) -> TokenScores | NodeScores:
        self._level, self._past = 0, []
        x = self.network.begin + self.network.begin_from_user(self.memory.user)
        return self._step(x[:, None])

    def advance(self, parent: Tensor, token: Tensor) -> TokenScores | NodeScores:
        network = self.network
        rows = (
            torch.arange(self.num_users, device=parent.device)[:, None] * self._past[0][0].shape[1] + parent
        ).flatten()
        self._past = [
            tuple(past.flatten(0, 1).index_select(0, rows).view(*parent.shape, *past.shape[2:]) for past in pair)  # type: ignore[misc]
            for pair in self._past
        ]
        x = network.token_table(token + network.level_offset[self._level - 1])
        return self._step(x)

    def _step(self, x: Tensor) -> TokenScores | NodeScores:
        """x: ``[B, W, dim]``, the newest token of each beam."""
        network, level = self.network, self._level
        x = x + network.places[level]
        now = []
        for index, layer in enumerate(network.decoder_layers):
            x, pair = layer.step(x, self._past[index] if self._past else None)
            x = layer.finish(x, self.memory.key[index], self.memory.value[index], self.memory.keep)
            now.append(pair)
        self._past = now
        self._level = level + 1
        return network.head.scores(level, network.head.state(network.decoder_norm(x), self.memory.user))
