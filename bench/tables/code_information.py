"""How much codes tell of what a user takes next, before any Transformer is trained: seconds instead of an hour.

    python bench/tables/code_information.py --data DATA/amazon_beauty --out docs/results/code_information.json

The next item is guessed by the simplest model that reads codes, a mixture over how many of its first tokens an item
shares with an item of the history ::

    p(i | u) = a_0 pop(i) + sum_l a_l share_l(u, i) pop(i) / pop(node_l(i))

where node_l(i) are the items with the same first l tokens, share_l(u, i) is the part of the user's last 20 training
items in it, and pop counts training interactions. The weights a are fitted on the validation items themselves (a
handful of numbers for thousands of users). Reported is the mean of ln p(i | u) above that of popularity alone, in
nats: 0 for codes drawn at random.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from mmgrec.data import Dataset
from mmgrec.folder import load_folder
from mmgrec.interfaces import Context
from mmgrec_plugins.quantizers.autoencoder import AutoencoderSettings, fit_autoencoder
from mmgrec_plugins.quantizers.kmeans import residual_kmeans
from mmgrec_plugins.quantizers.rqvae import fused_features

LEVELS, SIZE, HISTORY, ROUNDS = 3, 256, 20, 200


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One way to make codes of features."""

    quantizer: str  # rqvae, rq-kmeans or random
    modalities: tuple[str, ...] = ("text",)
    max_dim: int = 256

    def codes(self, data: Dataset, seed: int) -> Tensor:
        """``[num_items, LEVELS]`` int64, of data with these modalities alone."""
        generator = torch.Generator().manual_seed(seed)
        if self.quantizer == "random":
            return torch.randint(SIZE, (data.num_items, LEVELS), generator=generator)
        features = fused_features(data, self.max_dim)
        if self.quantizer == "rq-kmeans":
            return residual_kmeans(features, LEVELS, SIZE, generator)[0]
        fitted, _ = fit_autoencoder(
            features,
            num_levels=LEVELS,
            codebook_size=SIZE,
            settings=AutoencoderSettings(),
            context=Context(seed=seed),
        )
        return fitted.codes(features).token


KINDS = (
    Kind(quantizer="random"),
    *(
        Kind(quantizer=quantizer, modalities=modalities, max_dim=dim)
        for quantizer in ("rqvae", "rq-kmeans")
        for modalities, dim in ((("text", "category"), 128), (("text",), 128), (("text",), 256))
    ),
)


def information(data: Dataset, codes: Tensor) -> float:
    """Nats above popularity, see the module.

    Args:
        data: with times, and validation items.
        codes: ``[num_items, L]`` int64.
    """
    users, item = data.valid.user, data.valid.item
    history = data.train.sequences(users, HISTORY)
    real = history >= 0
    popularity = data.train.item_degree.double() + 1
    own = popularity[item]
    parts = [own / popularity.sum()]
    node = torch.zeros(data.num_items, dtype=torch.int64)
    for level in codes.T:
        node = torch.stack([node, level]).unique(dim=1, return_inverse=True)[1]
        mass = torch.zeros(int(node.max()) + 1, dtype=torch.float64).index_add_(0, node, popularity)
        shared = (node[history.clamp_min(0)] == node[item][:, None]) & real
        parts.append(shared.sum(1) / real.sum(1).clamp_min(1) * own / mass[node[item]])
    part = torch.stack(parts, dim=1)  # [users, 1 + L]
    weight = part.new_full((part.shape[1],), 1 / part.shape[1])
    for _ in range(ROUNDS):  # expectation-maximization
        joint = part * weight
        weight = (joint / joint.sum(1, keepdim=True)).mean(0)
    return float(((part @ weight).log() - part[:, 0].log()).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a folder with times, such as amazon_beauty")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    data = load_folder(options.data, split="leave-one-out")
    rows = []
    for kind in KINDS:
        described = load_folder(options.data, split="leave-one-out", modalities=kind.modalities)
        nats = [information(data, kind.codes(described, seed)) for seed in range(options.seeds)]
        rows.append({**asdict(kind), "nats": nats})
        print(
            f"{kind.quantizer:9} {'+'.join(kind.modalities):13} {kind.max_dim:4}", *(f"{value:.3f}" for value in nats)
        )
    results = {"data": data.name, "fingerprint": data.fingerprint, "seeds": options.seeds, "rows": rows}
    options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
