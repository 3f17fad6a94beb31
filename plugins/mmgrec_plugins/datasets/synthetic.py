"""The embedded data set as a DatasetSource. The work is done by `mmgrec.synthetic`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le

from mmgrec.data import Dataset
from mmgrec.interfaces import Context, DatasetSource
from mmgrec.synthetic import planted

__all__ = ["Synthetic"]


@dataclass(frozen=True, kw_only=True)
class Synthetic(DatasetSource):
    """Planted tastes, meanings, modalities and popularity: data for trying things, with known answers."""

    num_users: Annotated[int, Ge(10)] = 1000
    num_items: Annotated[int, Ge(20)] = 600
    mean_interactions: Annotated[float, Ge(5)] = 20.0  # items of a user
    interaction_noise: Annotated[float, Ge(0), Le(1)] = 0.1  # share of interactions that are random
    feature_noise: Annotated[float, Ge(0)] = 0.3  # relative to the features' spread
    missing: Annotated[float, Ge(0), Le(1)] = 0.05  # share of items without a modality, for each modality
    popularity_exponent: Annotated[float, Ge(0)] = 0.6  # of the Zipf law
    data_seed: Annotated[int, Ge(0)] = 0  # of the data and their split; not the seed of the run

    def load(self, context: Context) -> Dataset:
        return planted(
            num_users=self.num_users,
            num_items=self.num_items,
            mean_interactions=self.mean_interactions,
            interaction_noise=self.interaction_noise,
            feature_noise=self.feature_noise,
            missing=self.missing,
            popularity_exponent=self.popularity_exponent,
            seed=self.data_seed,
        )
