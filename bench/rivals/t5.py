"""A random T5 decoder behind two faces: Hugging Face's ``generate`` with a prefix function, and a `Stepper`.

Both see the same weights and the same memory, so that their results can be compared. The stepper comes with a cache,
as ``generate`` does, and without one: the plainest, against which the other is held. Needs transformers.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmgrec.interfaces import Stepper, TokenScores
from mmgrec.recid import RecIDTable

__all__ = ["CachedT5Stepper", "T5Stepper", "generate", "random_t5"]

START = 0  # the token that every Rec-ID begins with; those of level l follow at offset 1 + sizes of the levels before


def offsets(table: RecIDTable) -> list[int]:
    return [1 + sum(table.level_sizes[:level]) for level in range(table.num_levels)]


def random_t5(table: RecIDTable) -> Any:  # Any: transformers is not typed for us
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    config = T5Config(
        vocab_size=1 + sum(table.level_sizes), d_model=64, d_kv=16, d_ff=256, num_layers=1, num_decoder_layers=1,
        num_heads=4, decoder_start_token_id=START, pad_token_id=START, eos_token_id=None, tie_word_embeddings=False,
    )  # fmt: skip
    model = T5ForConditionalGeneration(config).eval()
    model.generation_config.eos_token_id = None
    torch.nn.init.normal_(model.lm_head.weight, std=0.3)
    return model


def generate(
    model: Any,
    table: RecIDTable,
    trie: dict[int, Any],
    memory: Tensor,
    *,
    num_beams: int,
    top_k: int,
    use_cache: bool = True,
) -> tuple[Tensor, Tensor]:
    """``[B, K]`` items and scores by ``generate`` with ``prefix_allowed_tokens_fn`` over nested dictionaries."""
    from transformers.modeling_outputs import BaseModelOutput

    begins = offsets(table)

    def allowed(_: int, sequence: Tensor) -> list[int]:
        node: Any = trie
        tokens = sequence.tolist()[1:]
        for level, token in enumerate(tokens):
            node = node.get(token - begins[level])
            if node is None:  # a beam that died
                return [START]
        return [begins[len(tokens)] + token for token in node]

    output = model.generate(
        encoder_outputs=BaseModelOutput(last_hidden_state=memory),
        attention_mask=torch.ones(memory.shape[:2], dtype=torch.int64),
        num_beams=num_beams, num_return_sequences=top_k, max_new_tokens=table.num_levels, do_sample=False,
        min_new_tokens=table.num_levels, length_penalty=0.0, prefix_allowed_tokens_fn=allowed,
        return_dict_in_generate=True, output_scores=True, use_cache=use_cache,
    )  # fmt: skip
    rows = output.sequences[:, 1:] - torch.tensor(begins)
    items = []
    for row in rows.tolist():
        node: Any = trie
        for token in row:
            node = node[token]
        items.append(node)
    return torch.tensor(items).view(-1, top_k), output.sequences_scores.view(-1, top_k)


class T5Stepper(Stepper):
    """The same model for a `Decoder`: no cache, every step runs the whole prefix."""

    def __init__(self, model: Any, table: RecIDTable, memory: Tensor) -> None:
        self.model, self.memory, self.num_users, self.begins = model, memory, memory.shape[0], offsets(table)

    def start(self) -> TokenScores:
        self.prefix = torch.full((self.num_users, 1, 1), START)
        return self._scores()

    def advance(self, parent: Tensor, token: Tensor) -> TokenScores:
        level = self.prefix.shape[2] - 1
        before = self.prefix.gather(1, parent.unsqueeze(2).expand(-1, -1, level + 1))
        self.prefix = torch.cat([before, (token + self.begins[level]).unsqueeze(2)], 2)
        return self._scores()

    def _scores(self) -> TokenScores:
        beams, length = self.prefix.shape[1:]
        state = self.model.decoder(
            input_ids=self.prefix.flatten(0, 1),
            encoder_hidden_states=self.memory.repeat_interleave(beams, 0),
            use_cache=False,
        ).last_hidden_state[:, -1]
        logits = self.model.lm_head(state).view(self.num_users, beams, -1)
        # The level's tokens come first; the softmax is over the whole vocabulary, as it is in `generate`
        return TokenScores(logits=logits.roll(-self.begins[length - 1], -1))


class CachedT5Stepper(Stepper):
    """The same weights with a cache, as `generate` has one: each step runs the newest token alone.

    Keys and values of the prefix follow the beams' ancestry; those of the memory are made once for each user, not for
    each beam. Runs the blocks itself, as T5 has no way to share the memory between beams.
    """

    def __init__(self, model: Any, table: RecIDTable, memory: Tensor) -> None:
        self.decoder, self.memory, self.num_users = model.decoder, memory, memory.shape[0]
        self.num_heads = model.config.num_heads
        self.begins = offsets(table)
        first = self.decoder.block[0].layer[0].SelfAttention  # the other blocks reuse its bias
        self.bias = first.compute_bias(table.num_levels, table.num_levels)[0]  # [H, T, T]
        # The level's tokens come first; the softmax is over the whole vocabulary, as it is in `generate`
        self.output = [model.lm_head.weight.roll(-begin, 0).T for begin in self.begins]

    def start(self) -> TokenScores:
        self.level = 0
        self.crossed = [
            (self._heads(cross.k(self.memory)).transpose(1, 2), self._heads(cross.v(self.memory)).transpose(1, 2))
            for cross in (block.layer[1].EncDecAttention for block in self.decoder.block)
        ]  # [B, H, S, K] each
        width = self.num_heads * self.decoder.block[0].layer[0].SelfAttention.key_value_proj_dim
        nothing = torch.empty(self.num_users, 1, 0, 2 * width)
        self.cache = [nothing] * len(self.decoder.block)  # [B, W, tokens so far, key and value side by side]
        return self._step(torch.full((self.num_users, 1), START))

    def advance(self, parent: Tensor, token: Tensor) -> TokenScores:
        row = (parent + torch.arange(self.num_users).unsqueeze(1) * self.cache[0].shape[1]).flatten()
        self.cache = [
            past.flatten(0, 1).index_select(0, row).view(*parent.shape, *past.shape[2:]) for past in self.cache
        ]
        token = token + self.begins[self.level]
        self.level += 1
        return self._step(token)

    def _step(self, token: Tensor) -> TokenScores:
        """The scores of what follows the newest token ``[B, W]`` of each beam."""
        x = self.decoder.embed_tokens(token)  # [B, W, D]
        bias = self.bias[:, self.level, : self.level + 1]  # [H, T]
        for layer, (block, crossed) in enumerate(zip(self.decoder.block, self.crossed, strict=True)):
            own, cross, forward = block.layer
            y, attention = own.layer_norm(x), own.SelfAttention
            newest = torch.cat([attention.k(y), attention.v(y)], -1).unsqueeze(2)
            self.cache[layer] = torch.cat([self.cache[layer], newest], 2)
            key, value = (self._heads(part) for part in self.cache[layer].chunk(2, -1))  # [B, W, T, H, K]
            score = torch.einsum("bwhk,bwthk->bwht", self._heads(attention.q(y)), key) + bias  # T5 does not scale
            x = x + attention.o(torch.einsum("bwht,bwthk->bwhk", score.softmax(-1), value).flatten(2))
            y, attention = cross.layer_norm(x), cross.EncDecAttention
            query = self._heads(attention.q(y)).transpose(1, 2)  # [B, H, W, K]: the beams of a user share its memory
            attended = F.scaled_dot_product_attention(query, *crossed, scale=1.0)
            x = x + attention.o(attended.transpose(1, 2).flatten(2))
            x = forward(x)
        return TokenScores(logits=self.decoder.final_layer_norm(x) @ self.output[self.level])

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1))
