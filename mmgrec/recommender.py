"""MMGRec as a whole: five exchangeable parts around a Transformer. Reading `MMGRec.fit` is reading the method.

Fitting, once for a data set:

1. The *quantizer* learns a vector for each user and each item, and rounds each item's vector to a few tokens. Items
   that are alike begin with the same tokens (Sec. 3.2.1 of the paper).
2. The *collision resolver* appends a last token, which tells items with equal tokens apart. The whole tuple is the
   item's Rec-ID: no two items share one (Sec. 3.2.2).
3. The *network*, a Transformer, learns to read the items that a user liked and to write, token by token, the Rec-IDs
   of items that they will like (Sec. 3.3). How its encoder relates the items of a history is for the *positional
   scheme* to say. What it should write comes from the interactions (the paper) or, by default, from a teacher: the
   probabilities that step 1's vectors give to all items.
4. The *memory* learns which items speak for which others: few for each, so that it holds what vectors of a hundred
   numbers cannot (beyond the paper).

Recommending, for each batch of users (`FittedMMGRec.search`):

5. The network reads their histories once; the *decoder* then searches the trie, the tree of all Rec-IDs, for those of
   the highest score: the network's log-probability and, within the same search, what the memory adds to it.

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
    Weighing,
    fixed_history,
    reranked,
)
from mmgrec.guards import (
    check_same_rec_ids,
    checked_decoded,
    checked_position,
    checked_quantization,
    checked_rec_ids,
    checked_weights,
)
from mmgrec.interfaces import (
    CachedResult,
    CollisionResolver,
    Context,
    Decoder,
    Exclusion,
    FittedRecommender,
    ItemMemory,
    ItemScores,
    ItemWeights,
    NoMemory,
    PositionalScheme,
    Quantizer,
    Recommendations,
    Recommender,
    Representations,
)
from mmgrec.recid import Codes, RecIDTable, Trie
from mmgrec.training import FoldIn, ValidationRecall, fold_in, seeded, train

__all__ = ["FittedMMGRec", "MMGRec"]

_CANDIDATES = 100  # that are ranked anew, where a decoder does not add the memory's scores itself


@dataclass(frozen=True, kw_only=True)
class MMGRec(Recommender):
    """Generative recommendation over multimodal items (arXiv 2404.16555).

    Its fields are parts and settings, nothing that was learnt: `fit` returns that.
    """

    quantizer: Quantizer  # step 1
    collisions: CollisionResolver  # step 2
    position: PositionalScheme  # step 3, in the encoder
    memory: ItemMemory = field(default_factory=NoMemory)  # step 4
    decoder: Decoder  # step 5
    network: NetworkSettings = field(default_factory=NetworkSettings)  # step 3, its shape
    training: GeneratorTraining = field(default_factory=GeneratorTraining)  # step 3, how it learns
    weighing: Weighing = field(default_factory=Weighing)  # step 4, how heavily the memory counts

    def fit(self, data: Dataset, context: Context) -> FittedMMGRec:
        """Learn all there is to learn, step by step; the numbers of the steps are those at the top of this file.

        The parts may be anybody's, so what they return is checked at once (`mmgrec.guards`).

        Raises:
            PluginError: if a part returns what its interface does not allow.
        """
        self._check(data, context)
        # 1: vectors of users and items, tokens of items; and how a user's vector follows from their history
        quantization = self.quantizer.fit(data, context.within("quantizer"))
        quantization = checked_quantization(quantization, data, self.quantizer)
        codes = quantization.codes
        fold, representations = fold_in(quantization.representations, data, context.within("folding"))
        # 2: Rec-IDs
        rec_ids = self.collisions.resolve(codes, data.train.item_degree, context.within("collisions"))
        rec_ids = checked_rec_ids(rec_ids, codes, self.collisions)
        check_same_rec_ids(context.checkpoints, rec_ids, self.quantizer)
        # 3: a network that writes them
        model = self._untrained_model(representations, codes, rec_ids, data.train, context)
        model = replace(model, fold=fold)
        self._train_network(model, data, context)
        # 4: items that speak for others
        return replace(model, weights=self._remembered(model, data, context))

    def _check(self, data: Dataset, context: Context) -> None:
        """Refuse, or warn of, what is wrong with settings and data before hours are spent on them."""
        if self.training.targets == "interactions" and self.network.user_input == "representation":
            context.reporter.warn(
                "the users' representations have seen the targets that the generator is to find: "
                "set network.user_input=history, or training.targets=teacher"
            )
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
        """This method without a memory: all that the network's weights depend on, and so what they are cached by."""
        return replace(self, memory=NoMemory(), weighing=Weighing())

    def _remembered(self, model: FittedMMGRec, data: Dataset, context: Context) -> ItemWeights:
        """Step 4: the memory's weights, first as they suit the representations, then as they suit the generator."""
        user, item = model.representations.user, model.representations.item

        def beside(users: Tensor) -> Tensor:
            return user[users] @ item.T

        def search(weights: ItemWeights, users: Tensor, seen: Tensor) -> Tensor:
            return replace(model, weights=weights).ten_best(users, seen)

        weights = self.memory.fit(data, beside, context.within("memory"))
        weights = checked_weights(weights, data, self.memory)
        return self.weighing.choose(data, weights, search, context)

    def restore(self, state: dict[str, Tensor], *, device: torch.device | None = None) -> FittedMMGRec:
        """The fitted model again, from `FittedMMGRec.state`; it searches on `device`, the CPU by default."""
        representations = Representations(user=state["representations.user"], item=state["representations.item"])
        rec_ids = RecIDTable(token=state["rec_ids.token"], level_sizes=tuple(state["rec_ids.level_sizes"].tolist()))
        codes = Codes(token=state["codes.token"], level_sizes=tuple(state["codes.level_sizes"].tolist()))
        num_users, num_items = representations.user.shape[0], representations.item.shape[0]
        history = Interactions(
            user=state["history.user"],
            item=state["history.item"],
            num_users=num_users,
            num_items=num_items,
            time=state.get("history.time"),
        )
        context = Context(device=device or torch.device("cpu"))
        model = self._untrained_model(representations, codes, rec_ids, history, context)
        prefix = "network."
        model.network.load_state_dict(
            {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        )
        return replace(model, weights=_weights_of(state, num_items), fold=FoldIn.restored(state))


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
    fold: FoldIn | None = None  # how a user's vector follows from their history; None: it stays as it was learnt
    weights: ItemWeights | None = None  # step 4's; None: there is no memory
    recorded: RecordedSearch = field(default_factory=RecordedSearch, repr=False)  # on a GPU; else it does nothing

    def recommend(self, users: Tensor, *, top_k: int, exclusion: Exclusion) -> Recommendations:
        """The best `top_k` items of the users ``[B]``, on the CPU."""
        item, score = self.search(users, top_k=top_k, exclusion=exclusion)
        return Recommendations(user=users, item=item.cpu(), score=score.cpu())

    @torch.no_grad()
    def search(
        self, users: Tensor, *, top_k: int, exclusion: Exclusion, decoder: Decoder | None = None
    ) -> tuple[Tensor, Tensor]:
        """Step 5, on the network's device.

        Args:
            users: ``[B]`` int64.
            top_k: length K of the lists.
            exclusion: what must not be recommended to them.
            decoder: the search to use; None: the method's own.

        Returns:
            item and score ``[B, K]`` as in `Recommendations`; a score is the log-probability of the item's Rec-ID,
            with a memory what that says of the item added to it (`item_scores`).
        """
        decoder, scores = decoder or self.method.decoder, self.item_scores(users)
        history = fixed_history(self.history, users, self.network.settings.history_length)
        within = scores if decoder.adds_item_scores else None
        question = Question(users=users, history=history, exclusion=exclusion, item_scores=within)
        width = max(top_k, _CANDIDATES) if scores is not None and within is None else top_k
        item, score = checked_decoded(
            self.recorded.search(self.network, self.trie, decoder, question, top_k=width), users.numel(), width, decoder
        )
        if scores is None or within is not None:
            return item, score
        return reranked(item, score + scores.to(item.device).of(item), top_k=top_k)

    def item_scores(self, users: Tensor) -> ItemScores | None:
        """What the memory adds to the log-probabilities of the users ``[B]``, on the CPU; None without a memory."""
        if self.weights is None or not self.weights.active:
            return None
        return self.weights.scores(self.history, users.cpu())

    def ten_best(self, users: Tensor, seen: Tensor) -> Tensor:
        """Items ``[B, 10]`` without the seen ``[B, S]``, for validation while the network learns."""
        return self.search(users, top_k=10, exclusion=Exclusion(seen=seen))[0].cpu()

    def with_history(self, history: Interactions) -> FittedMMGRec:
        """The same model, which reads `history` instead: users' vectors, encoder and memory; nothing is learnt anew."""
        if self.fold is None:
            return replace(self, history=history)
        representations = self.fold.moved(self.representations, self.history, history)
        network = self.network.reading(representations.user)
        return replace(self, history=history, representations=representations, network=network)

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
            **({} if self.history.time is None else {"history.time": self.history.time}),
            **_state_of(self.weights),
            **({} if self.fold is None else self.fold.state()),
            **{f"network.{name}": value for name, value in self.network.state_dict().items()},
        }


def _state_of(weights: ItemWeights | None) -> dict[str, Tensor]:
    if weights is None or not weights.active:
        return {}
    return {
        "memory.index": weights.index.to(torch.int32),
        "memory.weight": weights.weight,
        "memory.decay": torch.tensor(weights.decay, dtype=torch.float64),
    }


def _weights_of(state: dict[str, Tensor], num_items: int) -> ItemWeights | None:
    if "memory.index" not in state:
        return None
    index, decay = state["memory.index"].long(), float(state["memory.decay"])
    if index.shape[0] != num_items:
        raise ValueError(f"a memory of {index.shape[0]} items does not fit {num_items}")
    return ItemWeights(index=index, weight=state["memory.weight"], decay=decay)
