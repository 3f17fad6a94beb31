"""A random T5 decoder behind two faces: Hugging Face's ``generate`` with a prefix function, and a `Stepper`.

Both see the same weights and the same memory, so that their results can be compared. Needs transformers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmgrec.interfaces import Stepper, TokenScores
from mmgrec.recid import RecIDTable

__all__ = ["T5Stepper", "generate", "random_t5"]

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
    model: Any, table: RecIDTable, trie: dict[int, Any], memory: Tensor, *, num_beams: int, top_k: int
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

    found = model.generate(
        encoder_outputs=BaseModelOutput(last_hidden_state=memory),
        attention_mask=torch.ones(memory.shape[:2], dtype=torch.int64),
        num_beams=num_beams, num_return_sequences=top_k, max_new_tokens=table.num_levels, do_sample=False,
        min_new_tokens=table.num_levels, length_penalty=0.0, prefix_allowed_tokens_fn=allowed,
        return_dict_in_generate=True, output_scores=True,
    )  # fmt: skip
    rows = found.sequences[:, 1:] - torch.tensor(begins)
    items = []
    for row in rows.tolist():
        node: Any = trie
        for token in row:
            node = node[token]
        items.append(node)
    return torch.tensor(items).view(-1, top_k), found.sequences_scores.view(-1, top_k)


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
