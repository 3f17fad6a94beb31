"""MMGRec: four parts composed. Reading `MMGRec.fit` is reading the method.

1. A Quantizer learns representations of users and items and gives each item semantic tokens (Sec. 3.2.1).
2. A CollisionResolver appends the token that makes them unique: the Rec-IDs (Sec. 3.2.2).
3. A Transformer, whose encoder attends by a PositionalScheme, learns to write the Rec-IDs of liked items (Sec. 3.3):
   from interactions, or by default from a teacher, the probabilities that step 1's representations give to all items.
4. A Decoder searches the trie of Rec-IDs for the most probable ones. (The hybrid, off by default, ranks what it found
   by the generator, the representations and EASE's item-item weights together.)
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from mmgrec.data import Dataset, Interactions
from mmgrec.generator import (
    GeneratorTask,
    GeneratorTraining,
    Network,
    NetworkSettings,
    Question,
    RecordedSearch,
    Reranker,
    Rescoring,
    fixed_history,
)
from mmgrec.guards import check_same_rec_ids, checked_found, checked_position, checked_quantization, checked_rec_ids
from mmgrec.interfaces import (
    CachedResult,
    CollisionResolver,
    Context,
    Decoder,
    Exclusion,
    FittedRecommender,
    PositionalScheme,
    Quantizer,
    Recommendations,
    Recommender,
    Representations,
)
from mmgrec.recid import Codes, RecIDTable, Trie
from mmgrec.training import ValidationRecall, seeded, train

__all__ = ["FittedMMGRec", "MMGRec"]


@dataclass(frozen=True, kw_only=True)
class MMGRec(Recommender):
    """Generative recommendation over multimodal items (arXiv 2404.16555)."""

    quantizer: Quantizer
    collisions: CollisionResolver
    position: PositionalScheme
    decoder: Decoder
    network: NetworkSettings = field(default_factory=NetworkSettings)
    training: GeneratorTraining = field(default_factory=GeneratorTraining)
    rescoring: Rescoring = field(default_factory=Rescoring)

    @property
    def generator(self) -> MMGRec:
        """What decides the trained network: all but the hybrid, which only ranks anew what was found."""
        return replace(self, rescoring=Rescoring())

    def fit(self, data: Dataset, context: Context) -> FittedMMGRec:
        if self.training.targets == "interactions" and self.network.user_input == "representation":
            context.reporter.warn(
                "the users' representations have seen the targets that the generator is to find: "
                "set network.user_input=history, or training.targets=teacher"
            )
        self.rescoring.check(data)
        shape = self.network
        checked_position(self.position, dim=shape.dim, num_heads=shape.num_heads, head_dim=shape.head_dim)
        made = self.quantizer.fit(data, context.within("quantizer"))
        quantization = checked_quantization(made, data, self.quantizer)
        representations, codes = quantization.representations, quantization.codes
        resolved = self.collisions.resolve(codes, data.train.item_degree, context.within("collisions"))
        rec_ids = checked_rec_ids(resolved, codes, self.collisions)
        check_same_rec_ids(context.checkpoints, rec_ids, self.quantizer)
        fitted = self._untrained(representations, codes, rec_ids, data.train, context)
        recall = ValidationRecall(
            data, max_users=self.training.validation_users, generator=context.generator("validation"), batch_size=128
        )
        task = GeneratorTask(
            fitted.network,
            data,
            rec_ids=rec_ids,
            trie=fitted.trie,
            teacher=representations,
            settings=self.training,
            recommend=fitted.ten_best,
            recall=recall,
        )

        def written() -> CachedResult:
            train(task, self.training, context, "generator")
            return {"network": fitted.network.state_dict()}, {}

        tensors, _ = context.get_or_make(self.generator, written)
        fitted.network.load_state_dict(tensors["network"])

        def search(users: Tensor, seen: Tensor, width: int) -> tuple[Tensor, Tensor]:
            return fitted.search(users, top_k=width, exclusion=Exclusion(seen=seen))

        return replace(fitted, hybrid=self.rescoring.fit(data, representations, search, context))

    def restore(self, state: dict[str, Tensor], *, device: torch.device | None = None) -> FittedMMGRec:
        """The fitted model again, from `FittedMMGRec.state`; it searches on `device`, the CPU by default."""
        representations = Representations(user=state["representations.user"], item=state["representations.item"])
        semantic = tuple(state["rec_ids.level_sizes"].tolist())
        rec_ids = RecIDTable(token=state["rec_ids.token"], level_sizes=semantic)
        codes = Codes(token=state["codes.token"], level_sizes=tuple(state["codes.level_sizes"].tolist()))
        num_users, num_items = representations.user.shape[0], representations.item.shape[0]
        history = Interactions(
            user=state["history.user"], item=state["history.item"], num_users=num_users, num_items=num_items
        )
        context = Context(device=device or torch.device("cpu"))
        fitted = self._untrained(representations, codes, rec_ids, history, context)
        prefix = "network."
        fitted.network.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
        return replace(fitted, hybrid=self.rescoring.restore(state))

    def _untrained(
        self,
        representations: Representations,
        codes: Codes,
        rec_ids: RecIDTable,
        history: Interactions,
        context: Context,
    ) -> FittedMMGRec:
        trie = Trie.of(rec_ids)
        with seeded(context.generator("network")):
            network = Network(
                self.network, representations=representations, rec_ids=rec_ids, trie=trie, position=self.position
            )
        return FittedMMGRec(
            method=self,
            representations=representations,
            codes=codes,
            rec_ids=rec_ids,
            trie=trie.to(context.device),
            network=network.to(context.device).eval(),
            history=history,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedMMGRec(FittedRecommender):
    """Rec-IDs, their trie, and a network that writes them."""

    method: MMGRec
    representations: Representations
    codes: Codes
    rec_ids: RecIDTable
    trie: Trie
    network: Network
    history: Interactions  # what the encoder reads
    hybrid: Reranker = field(default_factory=Reranker)
    recorded: RecordedSearch = field(default_factory=RecordedSearch, repr=False)  # on a GPU; else it does nothing

    def recommend(self, users: Tensor, *, top_k: int, exclusion: Exclusion) -> Recommendations:
        item, score = self.search(users, top_k=top_k, exclusion=exclusion)
        return Recommendations(user=users, item=item.cpu(), score=score.cpu())

    @torch.no_grad()
    def search(
        self, users: Tensor, *, top_k: int, exclusion: Exclusion, decoder: Decoder | None = None
    ) -> tuple[Tensor, Tensor]:
        """Encode once per user, then let the decoder (another one, if given) search: item and score ``[B, K]``."""
        history = fixed_history(self.history, users, self.network.settings.history_length)
        question = Question(users=users, history=history, exclusion=exclusion)
        hybrid = self.hybrid
        width = hybrid.width(top_k) if hybrid.active else top_k
        used = decoder or self.method.decoder
        answer = self.recorded.search(self.network, self.trie, used, question, top_k=width)
        found = checked_found(answer, users.numel(), width, used)
        if not hybrid.active:
            return found
        whole = self.history.padded(users.cpu()) if hybrid.item_weight else history  # only μ reads it
        return hybrid(*found, users=users, representations=self.representations, history=whole, top_k=top_k)

    def ten_best(self, users: Tensor, seen: Tensor) -> Tensor:
        """Items ``[B, 10]`` without the seen ``[B, S]``, for validation."""
        return self.search(users, top_k=10, exclusion=Exclusion(seen=seen))[0].cpu()

    def with_history(self, history: Interactions) -> FittedMMGRec:
        return replace(self, history=history)

    def state(self) -> dict[str, Tensor]:
        return {
            "representations.user": self.representations.user,
            "representations.item": self.representations.item,
            "codes.token": self.codes.token,
            "codes.level_sizes": torch.tensor(self.codes.level_sizes),
            "rec_ids.token": self.rec_ids.token,
            "rec_ids.level_sizes": torch.tensor(self.rec_ids.level_sizes),
            "history.user": self.history.user,
            "history.item": self.history.item,
            **self.hybrid.state(),
            **{f"network.{name}": value for name, value in self.network.state_dict().items()},
        }
