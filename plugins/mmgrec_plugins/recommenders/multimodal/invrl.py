"""InvRL (Du et al., "Invariant Representation Learning for Multimedia Recommendation", ACM MM 2022) on UltraGCN.

Some of what features tell of taste is an accident of circumstances. Interactions are divided into environments in which
these accidents differ, and features are kept as far as they predict alike in all of them. In turn, `rounds` times:

- **Environments.** Each has a projection W_e of the variant features ``(1 - m) * x``, learnt from its interactions; an
  interaction moves to the environment whose model scores it highest; until few move.
- **Invariant features.** A projection W and the gates m of features, by
  ``mean_e L_e + alpha |Var_e(grad_W L_e) * m|^2 + lambda |mu|^2`` with ``m = clamp(mu + 1/2 + noise, 0, 1)``.

Then UltraGCN is trained on ``m * x`` (`ultragcn` has its equations).

Decisions:

- Free vectors of users and items come from an UltraGCN trained on all features, and both modules leave them as they
  are, as in the authors' code. There the variant part is had by a penalty ``|W_e * m|``; here by ``(1 - m) * x``.
- Fewer environments, rounds and epochs than in the authors' code (10 environments; 5 rounds, each of up to 10 moves of
  20 epochs, and 40 epochs for the gates), to stay within the time of the other baselines; all are settings.
- Gates are found once, with the first `dim` and `regularization`, and serve all of the grid.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Literal, cast

import torch
from annotated_types import Ge, Gt, MinLen
from torch import Tensor

from mmgrec.data import Dataset
from mmgrec.interfaces import Context, FittedRecommender
from mmgrec.training import TrainingSettings, seeded, train
from mmgrec_plugins.recommenders.graph.factors import FactorRecommender, FittedFactors
from mmgrec_plugins.recommenders.multimodal.invariance import EnvironmentTask, Frozen, GateTask
from mmgrec_plugins.recommenders.multimodal.shared import require_modalities
from mmgrec_plugins.recommenders.multimodal.ultragcn import UltraGCN, UltraGCNNetwork, side_by_side

__all__ = ["InvRL"]

_SETTLED = 0.01  # share of interactions that may still move


@dataclass(frozen=True, kw_only=True)
class InvRL(FactorRecommender):
    """UltraGCN on those features that predict alike in different environments."""

    losses: Annotated[tuple[Literal["bpr"], ...], MinLen(1)] = ("bpr",)  # only names the optimisation: it is UltraGCN's
    num_negatives: Annotated[int, Ge(1)] = 200  # of UltraGCN's loss, shared by a batch
    negative_weight: Annotated[float, Gt(0)] = 1.0  # of these negatives against the interaction
    projection_decay: Annotated[float, Ge(0)] = 1e-4  # L2 of the projection of features
    num_environments: Annotated[int, Ge(2)] = 5
    rounds: Annotated[int, Ge(1)] = 2  # of both modules
    moves: Annotated[int, Ge(1)] = 3  # times that interactions may change their environment in a round
    environment_epochs: Annotated[int, Ge(1)] = 5  # between two moves
    gate_epochs: Annotated[int, Ge(1)] = 15
    invariance: Annotated[float, Ge(0)] = 1.0  # alpha
    gate_decay: Annotated[float, Ge(0)] = 0.1  # lambda
    gate_noise: Annotated[float, Ge(0)] = 0.01  # standard deviation
    bag_dim: Annotated[int, Ge(1)] = 64  # principal directions of a sparse modality

    def network(self, data: Dataset, *, dim: int, context: Context) -> UltraGCNNetwork:
        """UltraGCN on all features."""
        return self._backbone(side_by_side(data, self.bag_dim)).network(data, dim=dim, context=context)

    def fit(self, data: Dataset, context: Context) -> FittedRecommender:
        """Find the gates, then train UltraGCN behind them over the grid."""
        require_modalities(data)
        content = side_by_side(data, self.bag_dim)
        gate = self.gates(data, content, context)
        return self._backbone(content * gate).fit(data, context)

    def gates(self, data: Dataset, content: Tensor, context: Context) -> Tensor:
        """``m [F]`` in [0, 1] of the features ``content [I, F]``."""
        first = self._backbone(content, dim=self.dim[:1], regularization=self.regularization[:1])
        start = cast(FittedFactors, first.fit(data, context.within("pretraining")))
        frozen = Frozen.of(data.train, start.representations, content, self.negative_weight)
        gate = torch.zeros(content.shape[1])  # nothing is known to be invariant
        for number in range(self.rounds):
            inside = context.within(f"round-{number}")
            environment = self._environments(frozen, gate, inside)
            with seeded(inside.generator("start gates")):
                task = GateTask(
                    frozen,
                    environment,
                    num_environments=self.num_environments,
                    size=self.batch_size,
                    negatives=self.num_negatives,
                    invariance=self.invariance,
                    gate_decay=self.gate_decay,
                    noise=self.gate_noise,
                )
            train(task, self._short(self.gate_epochs), inside, "gates")
            gate = task.gates.gate().detach()
        size = torch.bincount(environment, minlength=self.num_environments).tolist()
        context.reporter.note(f"gates: {float(gate.mean()):.2f} on average; interactions of environments: {size}")
        return gate

    def _environments(self, frozen: Frozen, gate: Tensor, context: Context) -> Tensor:
        """``[N]`` int64, the environment of each training interaction."""
        environment = torch.randint(
            self.num_environments, (len(frozen.train),), generator=context.generator("start environments")
        )
        for number in range(self.moves):
            with seeded(context.generator("start projections", number)):
                task = EnvironmentTask(
                    frozen,
                    environment,
                    1.0 - gate,
                    num_environments=self.num_environments,
                    size=self.batch_size,
                    negatives=self.num_negatives,
                )
            train(task, self._short(self.environment_epochs), context, f"environments-{number}")
            before, environment = environment, task.assigned()
            if float((before != environment).float().mean()) <= _SETTLED:
                break
        return environment

    def _short(self, epochs: int) -> TrainingSettings:
        return TrainingSettings(epochs=epochs, learning_rate=self.learning_rate)

    def _backbone(
        self, content: Tensor, *, dim: tuple[int, ...] | None = None, regularization: tuple[float, ...] | None = None
    ) -> UltraGCN:
        common = {setting.name: getattr(self, setting.name) for setting in fields(FactorRecommender)}
        common |= {"dim": dim or self.dim, "regularization": regularization or self.regularization}
        return UltraGCN(
            **common, content=content, negative_weight=self.negative_weight, projection_decay=self.projection_decay
        )
