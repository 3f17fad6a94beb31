"""Fits MF with BPR and VBPR here and in cornac on the synthetic set, and prints the recall of both.

    python bench/rivals/compare_with_cornac.py [--dim 32]

First VBPR's untrained parameters are handed to cornac's class, whose scores must be ours.

cornac is no dependency: without it the script says so and does nothing. Both sides rank all items by the same
evaluation; cornac's vectors are taken out of its models and its items keep their numbers. Its optimiser is its own
(plain SGD for BPR, Adam for VBPR), so equal figures are not expected, figures of the same size are. It has no
early stopping; the epochs of each of its models are chosen from a few by validation recall.
"""

from __future__ import annotations

import argparse
import importlib.util
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from mmgrec.data import Dataset
from mmgrec.evaluation import evaluate
from mmgrec.interfaces import Context, FittedRecommender, Representations
from mmgrec.synthetic import planted
from mmgrec.training import seeded
from mmgrec_plugins.recommenders.graph.factors import FittedFactors
from mmgrec_plugins.recommenders.graph.mf import MF
from mmgrec_plugins.recommenders.multimodal.vbpr import VBPR, VBPRNetwork
from mmgrec_plugins.recommenders.simple.popularity import Popularity
from mmgrec_plugins.representations.modalities import centred_features


def train_set(data: Dataset) -> Any:  # Any: cornac has no types
    """The training part as cornac's data set, users and items with the numbers that they have here."""
    from cornac.data import Dataset as TheirDataset
    from cornac.data import ImageModality

    users, items = ({number: number for number in range(count)} for count in (data.num_users, data.num_items))
    pairs = (data.train.user.numpy(), data.train.item.numpy(), np.ones(len(data.train), dtype=np.float32))
    theirs = TheirDataset(data.num_users, data.num_items, users, items, pairs, seed=0)
    features = torch.cat([centred_features(data, name) for name in data.modalities], dim=1)
    theirs.add_modalities(item_image=ImageModality(features=features.numpy()))
    return theirs


def fitted(user: list[Any], item: list[Any]) -> FittedRecommender:
    """Blocks of columns, put side by side, as a recommender of ours."""
    both = [torch.from_numpy(np.concatenate(blocks, axis=1).astype(np.float32)) for blocks in (user, item)]
    return FittedFactors(representations=Representations(user=both[0], item=both[1]))


def their_mf(data: Dataset, dim: int, epochs: int) -> FittedRecommender:
    from cornac.models import BPR

    model = BPR(k=dim, max_iter=epochs, learning_rate=0.05, lambda_reg=0.01, num_threads=1, seed=0).fit(train_set(data))
    ones = np.ones((data.num_users, 1))
    return fitted([model.u_factors, ones], [model.i_factors, model.i_biases[:, None]])


def their_vbpr(data: Dataset, dim: int, epochs: int) -> FittedRecommender:
    from cornac.models import VBPR as Theirs

    model = Theirs(k=dim, k2=dim, n_epochs=epochs, learning_rate=0.005, seed=0, verbose=False).fit(train_set(data))
    ones = np.ones((data.num_users, 1))
    bias = (model.beta_item + model.visual_bias)[:, None]
    return fitted([model.gamma_user, model.theta_user, ones], [model.gamma_item, model.theta_item, bias])


def best(data: Dataset, candidates: list[FittedRecommender]) -> FittedRecommender:
    return max(
        candidates, key=lambda candidate: evaluate(candidate, data, split="valid", top_k=(10,)).metrics["recall@10"]
    )


def largest_difference(data: Dataset, dim: int) -> float:
    """Between our scores and those of cornac's VBPR with the same untrained parameters, all users and items."""
    from cornac.models import VBPR as Theirs

    whole = replace(data, features={name: table + 1e-6 for name, table in data.features.items()})  # nothing is missing
    with seeded(Context().generator("parameters")):
        network = VBPRNetwork(whole, dim=dim)
    with torch.no_grad():
        user, item = network()
    weight = torch.cat([part.get_parameter("weight") for part in network.content.values()], dim=1).detach().numpy()
    free_user, free_item = network.user.detach().numpy(), network.item.detach().numpy()
    theirs = Theirs(
        k=dim,
        k2=dim,
        trainable=False,
        init_params={
            "Bi": free_item[:, dim],
            "Gu": free_user[:, :dim],
            "Gi": free_item[:, :dim],
            "Tu": free_user[:, dim:],
            "E": weight[:dim].T,
            "Bp": weight[dim:].T,
        },
    ).fit(train_set(whole))
    scores = np.stack([theirs.score(number) for number in range(data.num_users)])
    return float(np.abs(scores - (user @ item.T).numpy()).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dim", type=int, default=32)
    settings = parser.parse_args()
    if importlib.util.find_spec("cornac") is None:
        print("cornac is not installed: nothing to compare with")
        return
    data, context = planted(), Context(seed=0)
    dims = (settings.dim,)
    print(f"vbpr, same parameters: largest difference of a score {largest_difference(data, settings.dim):.1e}")
    models = {
        "popularity": Popularity().fit(data, context),
        "mf, ours": MF(dim=dims).fit(data, context),
        "mf, cornac": best(data, [their_mf(data, settings.dim, epochs) for epochs in (50, 100, 200)]),
        "vbpr, ours": VBPR(dim=dims).fit(data, context),
        "vbpr, cornac": best(data, [their_vbpr(data, settings.dim, epochs) for epochs in (10, 20, 40)]),
    }
    for name, model in models.items():
        metrics = evaluate(model, data, top_k=(10,)).metrics
        print(f"{name:14} recall@10 {metrics['recall@10']:.4f}  ndcg@10 {metrics['ndcg@10']:.4f}")


if __name__ == "__main__":
    main()
