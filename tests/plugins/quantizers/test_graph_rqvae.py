"""Graph RQ-VAE: both schedules, both presets, and what they must not do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mmgrec.data import Interactions
from mmgrec.errors import SettingsError
from mmgrec.evaluation import Defects, evaluate
from mmgrec.interfaces import Context, Quantization
from mmgrec.recommender import FittedMMGRec, MMGRec
from mmgrec.runs import PRESETS, Experiment
from mmgrec.synthetic import planted
from mmgrec_plugins.quantizers.autoencoder import AutoencoderSettings
from mmgrec_plugins.quantizers.graph_rqvae import GraphRQVAE
from mmgrec_plugins.representations.graph_encoder import GraphEncoder

DATA = planted(num_users=60, num_items=40, mean_interactions=10, cold_items=0.1, seed=7)
GRAPH = GraphEncoder(
    dim=8,
    epochs=4,
    batch_size=150,
    num_negatives=20,
    losses=("bpr",),
    regularization=(1e-2,),
    item_graph_scale=(1.0,),
    validate_every=1,
)
TWO_STAGE = GraphRQVAE(
    codebook_size=6,
    graph=GRAPH,
    autoencoder=AutoencoderSettings(hidden_dim=8, latent_dim=4, epochs=3, warmup_epochs=2, steps_per_epoch=2),
)
ALTERNATING = replace(TWO_STAGE, schedule="alternating")
SOFTMAX = replace(ALTERNATING, graph=replace(GRAPH, losses=("softmax",), epochs=20))
SAGE = replace(ALTERNATING, graph=replace(GRAPH, convolution="sage", fuse_features=True, item_graph_scale=(0.0,)))
SCHEDULES = pytest.mark.parametrize(
    "quantizer", [TWO_STAGE, ALTERNATING, SOFTMAX, SAGE], ids=["two-stage", "alternating", "softmax", "sage"]
)


def fit(quantizer: GraphRQVAE, **given: Any) -> Quantization:
    return quantizer.fit(DATA, Context(seed=2, **given))


def tensors(quantization: Quantization) -> list[Tensor]:
    return [quantization.codes.token, quantization.representations.user, quantization.representations.item]


def same(a: Quantization, b: Quantization) -> bool:
    return all(torch.equal(x, y) for x, y in zip(tensors(a), tensors(b), strict=True))


@SCHEDULES
def test_codes_have_the_shape_that_is_asked_for_and_use_every_level(quantizer: GraphRQVAE) -> None:
    codes = fit(quantizer).codes
    assert codes.token.shape == (DATA.num_items, 3)
    assert codes.level_sizes == (6, 6, 6)
    for level in range(3):
        assert torch.unique(codes.token[:, level]).numel() >= 3


@SCHEDULES
def test_the_same_seed_gives_the_same_bits_with_and_without_checkpoints(quantizer: GraphRQVAE, tmp_path: Path) -> None:
    first = fit(quantizer)
    assert same(fit(quantizer, checkpoints=tmp_path), first)
    assert same(fit(quantizer, checkpoints=tmp_path), first)  # from what was kept


@SCHEDULES
def test_the_test_part_has_no_part_in_it(quantizer: GraphRQVAE) -> None:
    other = quantizer.fit(replace(DATA, test=DATA.valid), Context(seed=2))
    assert same(other, fit(quantizer))


def test_a_codebook_is_never_larger_than_the_catalogue() -> None:
    for quantizer in (TWO_STAGE, ALTERNATING):
        assert fit(replace(quantizer, codebook_size=500)).codes.level_sizes == (DATA.num_items,) * 3


@pytest.mark.parametrize(
    "graph",
    [
        replace(GRAPH, losses=("bpr", "softmax")),
        replace(GRAPH, regularization=(1e-2, 1e-3)),
        replace(GRAPH, item_graph_scale=(1.0, 0.5)),
    ],
    ids=["losses", "regularizations", "scales"],
)
def test_alternating_refuses_choices_that_it_cannot_make(graph: GraphEncoder) -> None:
    with pytest.raises(SettingsError) as error:
        fit(replace(ALTERNATING, graph=graph))
    assert error.value.code == "quantizers.several-choices"


@pytest.mark.parametrize("epochs", [0, 1, 2, 3])
def test_alternating_has_codebooks_however_few_the_epochs(epochs: int) -> None:
    token = fit(replace(ALTERNATING, graph=replace(GRAPH, epochs=epochs))).codes.token
    assert torch.unique(token, dim=0).shape[0] > DATA.num_items / 4


def test_alternating_has_codebooks_though_training_never_helped() -> None:
    """At a learning rate that ruins everything the untrained state is the best; its codebooks are empty."""
    for seed in range(3):
        quantization = replace(ALTERNATING, graph=replace(GRAPH, learning_rate=30.0)).fit(DATA, Context(seed=seed))
        assert torch.unique(quantization.codes.token, dim=0).shape[0] > DATA.num_items / 4


def test_alternating_codes_describe_the_representations() -> None:
    """Items that share the first token are nearer than items at large: also where the loss looks at cosines alone."""
    for quantizer in (replace(ALTERNATING, graph=replace(GRAPH, epochs=20)), SOFTMAX):
        quantization = fit(quantizer)
        item = quantization.representations.item
        item = item - item.mean(0)
        token = quantization.codes.token[:, 0]
        within = sum(float((item[token == one] - item[token == one].mean(0)).square().sum()) for one in token.unique())
        assert within < 0.8 * float(item.square().sum())


def test_both_losses_have_a_part_in_alternating_training() -> None:
    """Without its turns the autoencoder, and without its gradient the graph, would end elsewhere."""
    graph = fit(ALTERNATING).representations.item
    alone = fit(replace(TWO_STAGE, graph=replace(GRAPH, rank=0))).representations.item
    assert graph.shape == alone.shape
    assert not torch.allclose(graph, alone)


def test_without_validation_items_it_works() -> None:
    none = Interactions.of(
        torch.empty(0).long(), torch.empty(0).long(), num_users=DATA.num_users, num_items=DATA.num_items
    )
    for quantizer in (TWO_STAGE, ALTERNATING):
        quantization = quantizer.fit(replace(DATA, valid=none), Context())
        assert all(one.isfinite().all() for one in tensors(quantization)[1:])


CUT = {
    "quantizer": {
        "codebook_size": 6,
        "graph": {"epochs": 4, "dim": 8, "num_negatives": 20, "validate_every": 1},
        "autoencoder": {"epochs": 3, "warmup_epochs": 2},
    },
    "training": {"epochs": 2, "batch_size": 32},
}


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_fit_and_recommend_without_a_defect(preset: str) -> None:
    model = Experiment.of({"preset": preset, **CUT}).models[0].recommender
    assert isinstance(model, MMGRec)
    fitted = model.fit(DATA, Context(seed=1))
    assert isinstance(fitted, FittedMMGRec)
    for split in ("valid", "test"):
        report = evaluate(fitted, DATA, split=split, top_k=(10, DATA.num_items))  # type: ignore[arg-type]
        lost = report.defects.missing if preset == "published-code" else 0  # its search leaves places of a list empty
        assert report.defects == Defects(missing=lost)


@pytest.mark.parametrize("preset", ["recipe", "paper"])
def test_items_without_an_interaction_do_not_share_one_code(preset: str) -> None:
    cut = {"quantizer": {**CUT["quantizer"], "codebook_size": 32}, "training": {"epochs": 0}}
    model = Experiment.of({"preset": preset, **cut}).models[0].recommender
    assert isinstance(model, MMGRec)
    codes = model.quantizer.fit(DATA, Context(seed=1)).codes
    assert torch.unique(codes.token[DATA.train.item_degree == 0], dim=0).shape[0] > 1
