"""The quantizers rqvae, rq-kmeans and hk-means on planted data."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from sklearn.metrics import adjusted_mutual_info_score

from mmgrec.data import Dataset
from mmgrec.errors import DataError
from mmgrec.interfaces import Context, Quantizer, Representations
from mmgrec.synthetic import planted
from mmgrec_plugins.quantizers.autoencoder import AutoencoderSettings
from mmgrec_plugins.quantizers.hk_means import HKMeans
from mmgrec_plugins.quantizers.rq_kmeans import RQKMeans
from mmgrec_plugins.quantizers.rqvae import RQVAE, fused_features
from mmgrec_plugins.representations.graph_encoder import GraphEncoder


@dataclass(frozen=True, kw_only=True)
class KnownGraph(GraphEncoder):
    """Representations are the planted meanings: nothing to train."""

    def fit(self, data: Dataset, context: Context) -> Representations:
        return Representations(user=data.latent["user_taste"].float(), item=data.latent["item_meaning"].float())


QUICK = AutoencoderSettings(epochs=10, warmup_epochs=5)
QUANTIZERS = [
    RQKMeans(graph=KnownGraph(), codebook_size=64),
    HKMeans(graph=KnownGraph(), codebook_size=64),
    RQVAE(graph=KnownGraph(), codebook_size=64, autoencoder=QUICK),
]


@pytest.fixture(scope="module")
def data() -> Dataset:
    return planted(num_users=200, num_items=300)


@pytest.mark.parametrize("quantizer", QUANTIZERS, ids=lambda one: type(one).__name__)
def test_codes_are_of_all_items_and_the_same_for_the_same_seed(quantizer: Quantizer, data: Dataset) -> None:
    one, two = quantizer.fit(data, Context(seed=1)), quantizer.fit(data, Context(seed=1))
    assert one.codes.token.shape == (300, 3)
    assert torch.equal(one.codes.token, two.codes.token)
    assert torch.equal(one.representations.item, data.latent["item_meaning"].float())


def test_residual_k_means_gives_codebooks_that_add_up_to_the_items(data: Dataset) -> None:
    fitted = RQKMeans(graph=KnownGraph(), codebook_size=64).fit(data, Context())
    assert fitted.codes.codebooks is not None
    item = fitted.representations.item
    total = sum(book[fitted.codes.token[:, level]] for level, book in enumerate(fitted.codes.codebooks))
    assert float((item - total).square().sum() / item.square().sum()) < 0.1
    assert fitted.codes.level_sizes == (64, 64, 64)


def test_hierarchical_k_means_has_smaller_vocabularies_where_nodes_are_small(data: Dataset) -> None:
    codes = HKMeans(graph=KnownGraph(), codebook_size=64).fit(data, Context()).codes
    assert codes.level_sizes[0] == 64
    assert codes.level_sizes[2] <= codes.level_sizes[1] < 64
    assert torch.unique(codes.token, dim=0).shape[0] == 300


def test_codebooks_are_never_larger_than_the_catalogue() -> None:
    small = planted(num_users=40, num_items=30)
    assert RQKMeans(graph=KnownGraph(), codebook_size=256).fit(small, Context()).codes.level_sizes == (30, 30, 30)


def test_codes_of_features_tell_the_planted_clusters(data: Dataset) -> None:
    complete = torch.stack([data.has_feature(name) for name in data.features]).all(0)
    token = RQVAE(graph=KnownGraph(), codebook_size=16, autoencoder=QUICK).fit(data, Context()).codes.token
    for factor in range(3):  # one for each modality
        truth = data.latent["item_cluster"][:, factor][complete]
        agreement = adjusted_mutual_info_score(truth, token[complete, 0])
        chance = adjusted_mutual_info_score(truth, token[complete, 0].roll(1))
        assert agreement > chance + 0.1


def test_codes_of_features_do_not_depend_on_interactions(data: Dataset) -> None:
    other = replace(data, train=data.valid, valid=data.train)
    quantizer = RQVAE(graph=KnownGraph(), codebook_size=32, autoencoder=QUICK)
    assert torch.equal(quantizer.fit(data, Context()).codes.token, quantizer.fit(other, Context()).codes.token)


def test_users_are_the_mean_of_their_items_when_only_features_count(data: Dataset) -> None:
    quantizer = RQVAE(representations="features", codebook_size=32, autoencoder=QUICK)
    fitted = quantizer.fit(data, Context()).representations
    user = int(data.train.user_degree.argmax())
    mean = fitted.item[data.train.item[data.train.user == user]].mean(0)
    assert float(torch.nn.functional.cosine_similarity(fitted.user[user], mean, dim=0)) == pytest.approx(1.0, abs=1e-4)


def test_each_modality_counts_alike_and_missing_rows_count_as_the_mean() -> None:
    has = torch.tensor([[1.0, 3.0], [3.0, 1.0], [0.0, 0.0]])
    some = planted(num_users=10, num_items=3, missing=0.0)
    given = replace(some, features={"visual": has, "text": 1000 * has[[0, 1, 1]]})
    fused = fused_features(given, 128)
    assert fused[2, :2].tolist() == [0.0, 0.0]
    assert fused[:2, :2].norm(dim=1).mean() == pytest.approx(1.0)
    assert fused[:, 2:].norm(dim=1).mean() == pytest.approx(1.0)


def test_wide_features_keep_their_principal_geometry(data: Dataset) -> None:
    wide, narrow = fused_features(data, 10_000), fused_features(data, 24)
    assert wide.shape[1] == sum(table.shape[1] for table in data.features.values())
    assert narrow.shape == (300, 24)
    centred = wide - wide.mean(0)
    spectrum = torch.linalg.svdvals(centred).square()
    assert narrow.square().sum() == pytest.approx(float(spectrum[:24].sum()), rel=1e-4)


def test_data_without_features_are_refused(data: Dataset) -> None:
    with pytest.raises(DataError) as error:
        RQVAE(graph=KnownGraph()).fit(replace(data, features={}), Context())
    assert error.value.code == "quantizers.no-features"
