"""MMGRec as a whole: four exchangeable parts around a Transformer. Reading `MMGRec.fit` is reading the method.

Fitting, once for a data set:

1. The *quantizer* learns a vector for each user and each item, and rounds each item's vector to a few tokens. Items
   that are alike begin with the same tokens (Sec. 3.2.1 of the paper).
2. The *collision resolver* appends a last token, which tells items with equal tokens apart. The whole tuple is the
   item's Rec-ID: no two items share one (Sec. 3.2.2).
3. The *network*, a Transformer, learns to read the items that a user liked and to write, token by token, the Rec-IDs
   of items that they will like (Sec. 3.3). How its encoder relates the items of a history is for the *positional
   scheme* to say. What it should write comes from the interactions (the paper) or, by default, from a teacher: the
   probabilities that step 1's vectors give to all items.

Recommending, for each batch of users (`FittedMMGRec.search`):

4. The network reads their histories once; the *decoder* then searches the trie, the tree of all Rec-IDs, for those that
   the network holds most probable.
5. Off by default: the items found are ranked once more, by the network, step 1's vectors and EASE's item-item weights
   together (`rescoring`).

docs/explanation/method.md goes through the same steps with the paper's equations.
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
from mmgrec.guards import check_same_rec_ids, checked_decoded, checked_position, checked_quantization, checked_rec_ids
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
    """Generative recommendation over multimodal items (arXiv 2404.16555).

    Its fields are parts and settings, nothing that was learnt: `fit` returns that.
    """

    quantizer: Quantizer  # step 1
    collisions: CollisionResolver  # step 2
    position: PositionalScheme  # step 3, in the encoder
    decoder: Decoder  # step 4
    network: NetworkSettings = field(default_factory=NetworkSettings)  # step 3, its shape
    training: GeneratorTraining = field(default_factory=GeneratorTraining)  # step 3, how it learns
    rescoring: Rescoring = field(default_factory=Rescoring)  # step 5

    def fit(self, data: Dataset, context: Context) -> FittedMMGRec:
        """Learn all there is to learn, step by step; the numbers of the steps are those at the top of this file.

        The parts may be anybody's, so what they return is checked at once (`mmgrec.guards`).

        Raises:
            PluginError: if a part returns what its interface does not allow.
            SettingsError: if there are more items than `rescoring` can have item weights for.
        """
        self._check(data, context)
        # 1: vectors of users and items, tokens of items
        quantization = self.quantizer.fit(data, context.within("quantizer"))
        quantization = checked_quantization(quantization, data, self.quantizer)
        codes = quantization.codes
        # 2: Rec-IDs
        rec_ids = self.collisions.resolve(codes, data.train.item_degree, context.within("collisions"))
        rec_ids = checked_rec_ids(rec_ids, codes, self.collisions)
        check_same_rec_ids(context.checkpoints, rec_ids, self.quantizer)
        # 3: a network that writes them
        model = self._untrained_model(quantization.representations, codes, rec_ids, data.train, context)
        self._train_network(model, data, context)
        # 4 needs nothing learnt, 5 the weights of the scores that it adds
        return replace(model, hybrid=self._fit_reranker(model, data, context))

    def _check(self, data: Dataset, context: Context) -> None:
        """Refuse, or warn of, what is wrong with settings and data before hours are spent on them."""
        if self.training.targets == "interactions" and self.network.user_input == "representation":
            context.reporter.warn(
                "the users' representations have seen the targets that the generator is to find: "
                "set network.user_input=history, or training.targets=teacher"
            )
        self.rescoring.check(data)
        shape = self.network
        checked_position(self.position, dim=shape.dim, num_heads=shape.num_heads, head_dim=shape.head_dim)

    def _untrained_model(
        self,
        representations: Representations,
        codes: Codes,
        rec_ids: RecIDTable,
        history: Interactions,
        context: Context,
    ) -> FittedMMGRec:
        """All the pieces together on the context's device; the network has the weights that it starts from."""
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

    def _train_network(self, model: FittedMMGRec, data: Dataset, context: Context) -> None:
        """Step 3: train the model's network in place, or give it the weights that an equal method found before."""
        recall = ValidationRecall(
            data, max_users=self.training.validation_users, generator=context.generator("validation"), batch_size=128
        )
        task = GeneratorTask(
            model.network,
            data,
            rec_ids=model.rec_ids,
            trie=model.trie,
            teacher=model.representations,
            settings=self.training,
            recommend=model.ten_best,
            recall=recall,
        )

        def trained_weights() -> CachedResult:
            train(task, self.training, context, "generator")
            return {"network": model.network.state_dict()}, {}

        weights, _ = context.get_or_make(self.generator, trained_weights)
        model.network.load_state_dict(weights["network"])

    @property
    def generator(self) -> MMGRec:
        """This method without re-ranking: all that the network's weights depend on, and so what they are cached by."""
        return replace(self, rescoring=Rescoring())

    def _fit_reranker(self, model: FittedMMGRec, data: Dataset, context: Context) -> Reranker:
        """Step 5: how much each score counts beside the network's, chosen by validation."""

        def search(users: Tensor, seen: Tensor, width: int) -> tuple[Tensor, Tensor]:
            return model.search(users, top_k=width, exclusion=Exclusion(seen=seen))

        return self.rescoring.fit(data, model.representations, search, context)

    def restore(self, state: dict[str, Tensor], *, device: torch.device | None = None) -> FittedMMGRec:
        """The fitted model again, from `FittedMMGRec.state`; it searches on `device`, the CPU by default."""
        representations = Representations(user=state["representations.user"], item=state["representations.item"])
        rec_ids = RecIDTable(token=state["rec_ids.token"], level_sizes=tuple(state["rec_ids.level_sizes"].tolist()))
        codes = Codes(token=state["codes.token"], level_sizes=tuple(state["codes.level_sizes"].tolist()))
        num_users, num_items = representations.user.shape[0], representations.item.shape[0]
        history = Interactions(
            user=state["history.user"], item=state["history.item"], num_users=num_users, num_items=num_items
        )
        context = Context(device=device or torch.device("cpu"))
        model = self._untrained_model(representations, codes, rec_ids, history, context)
        prefix = "network."
        model.network.load_state_dict(
            {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        )
        return replace(model, hybrid=self.rescoring.restore(state))


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedMMGRec(FittedRecommender):
    """A model that recommends: Rec-IDs, their trie, and a network that writes them."""

    method: MMGRec  # the settings it was fitted with
    representations: Representations  # step 1's vectors
    codes: Codes  # step 1's tokens
    rec_ids: RecIDTable
    trie: Trie
    network: Network
    history: Interactions  # what the encoder reads
    hybrid: Reranker = field(default_factory=Reranker)  # re-ranking; by default it does nothing
    recorded: RecordedSearch = field(default_factory=RecordedSearch, repr=False)  # on a GPU; else it does nothing

    def recommend(self, users: Tensor, *, top_k: int, exclusion: Exclusion) -> Recommendations:
        """The best `top_k` items of the users ``[B]``, on the CPU."""
        item, score = self.search(users, top_k=top_k, exclusion=exclusion)
        return Recommendations(user=users, item=item.cpu(), score=score.cpu())

    @torch.no_grad()
    def search(
        self, users: Tensor, *, top_k: int, exclusion: Exclusion, decoder: Decoder | None = None
    ) -> tuple[Tensor, Tensor]:
        """Steps 4 and 5, on the network's device.

        Args:
            users: ``[B]`` int64.
            top_k: length K of the lists.
            exclusion: what must not be recommended to them.
            decoder: the search to use; None: the method's own.

        Returns:
            item and score ``[B, K]`` as in `Recommendations`; the scores are log-probabilities, or with re-ranking
            the sum by which it ranks.
        """
        decoder, reranker = decoder or self.method.decoder, self.hybrid
        history = fixed_history(self.history, users, self.network.settings.history_length)
        question = Question(users=users, history=history, exclusion=exclusion)
        width = reranker.width(top_k) if reranker.active else top_k
        item, score = checked_decoded(
            self.recorded.search(self.network, self.trie, decoder, question, top_k=width), users.numel(), width, decoder
        )
        if not reranker.active:
            return item, score
        whole = self.history.padded(users.cpu()) if reranker.item_weight else history  # only item weights read it
        return reranker(item, score, users=users, representations=self.representations, history=whole, top_k=top_k)

    def ten_best(self, users: Tensor, seen: Tensor) -> Tensor:
        """Items ``[B, 10]`` without the seen ``[B, S]``, for validation while the network learns."""
        return self.search(users, top_k=10, exclusion=Exclusion(seen=seen))[0].cpu()

    def with_history(self, history: Interactions) -> FittedMMGRec:
        """The same model, whose encoder reads `history` instead; nothing is learnt anew."""
        return replace(self, history=history)

    def state(self) -> dict[str, Tensor]:
        """All tensors that `MMGRec.restore` needs, by name."""
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
