"""Every shipped plugin keeps the contract that strangers' plugins are asked to keep."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest

from mmgrec.data import Dataset
from mmgrec.folder import save_folder
from mmgrec.interfaces import DatasetSource, Recommender
from mmgrec.registry import Registry
from mmgrec.runs import Experiment, Model
from mmgrec.settings import build, toml_text
from mmgrec.testing import (
    CollisionContract,
    DatasetContract,
    DecoderContract,
    ItemMemoryContract,
    MetricContract,
    PositionContract,
    QuantizerContract,
    RecommenderContract,
    tiny_data,
    tours,
)

GRAPH = {"dim": 8, "epochs": 2, "regularization": [0.01], "rank": 8, "num_negatives": 20}
AUTOENCODER = {"hidden_dim": 8, "latent_dim": 4, "epochs": 2, "warmup_epochs": 1, "steps_per_epoch": 2}
TINY: dict[str, dict[str, Any]] = {  # settings that make a contract a matter of a second
    "published-beam": {"trie": True, "unseen": True},  # as published, it leaves places of a list empty
    "graph-rqvae": {"codebook_size": 8, "graph": GRAPH, "autoencoder": AUTOENCODER},
    "rqvae": {"codebook_size": 8, "graph": GRAPH, "autoencoder": AUTOENCODER},
    "rq-kmeans": {"codebook_size": 8, "graph": GRAPH},
    "hk-means": {"codebook_size": 4, "graph": GRAPH},
    "stage-1": {"graph": GRAPH},
    "mf": {"dim": [8], "epochs": 2, "regularization": [0.01]},
    "lightgcn": {"dim": [8], "epochs": 2, "regularization": [0.01]},
    "invrl": {"dim": [8], "epochs": 2, "regularization": [0.01], "gate_epochs": 1, "environment_epochs": 1},
    "bm3": {"dim": [8], "epochs": 2, "regularization": [0.01]},
    "lightgt": {"dim": [8], "epochs": 2, "regularization": [0.01]},
    "lattice": {"dim": [8], "epochs": 2, "regularization": [0.01]},
    "freedom": {"dim": [8], "epochs": 2, "regularization": [0.01]},
    "pgl": {"dim": [8], "epochs": 2},
    "vbpr": {"dim": [8], "epochs": 2, "regularization": [0.01]},
    "ngcf": {"dim": [8], "epochs": 2, "regularization": [0.01]},
    "grcn": {"dim": [8], "epochs": 2, "regularization": [0.01]},
    "mmgcn": {"dim": [8], "epochs": 2, "regularization": [0.01]},
    "graphsage": {"dim": [8], "epochs": 2, "regularization": [0.01]},
    "gat": {"dim": [8], "epochs": 2, "regularization": [0.01]},
    "sasrec": {"dim": 8, "head_dim": 4, "training": {"epochs": 2}},
    "tiger": {
        "codebook_size": 8,
        "dim": 8,
        "num_heads": 2,
        "head_dim": 4,
        "feedforward_dim": 8,
        "autoencoder": AUTOENCODER,
        "training": {"epochs": 2},
    },
    "synthetic": {"num_users": 60, "num_items": 40, "mean_interactions": 8.0},
}
ORDERED = {"sasrec", "tiger"}  # recommenders that learn from the order of interactions

WHOLE: dict[str, Any] = {
    "label": "mmgrec",
    "plugin": "mmgrec",
    "parts": {
        "quantizer": "rq-kmeans",
        "collisions": "popularity",
        "position": "relation-aware",
        "memory": "local-ridge",
        "decoder": "trie-beam",
    },
}


def shipped(kind: str) -> list[str]:
    return [
        row.name for row in Registry.discover(environ={}).plugins if row.kind == kind and row.distribution == "mmgrec"
    ]


def part(kind: str, name: str) -> Any:  # Any: the part of this kind
    return build(Registry.discover(environ={}).load(kind, name), TINY.get(name, {}), name)


class Made:
    """Makes the plugin that the parametrised fixture names."""

    kind: ClassVar[str]
    name: str

    def make(self) -> Any:  # Any: the part of this kind
        return part(self.kind, self.name)


class TestQuantizers(Made, QuantizerContract):
    kind = "quantizer"

    @pytest.fixture(autouse=True, params=shipped("quantizer"))
    def choose(self, request: pytest.FixtureRequest) -> None:
        self.name = request.param


class TestCollisions(Made, CollisionContract):
    kind = "collisions"

    @pytest.fixture(autouse=True, params=shipped("collisions"))
    def choose(self, request: pytest.FixtureRequest) -> None:
        self.name = request.param


class TestSets(Made, PositionContract):
    kind = "position"

    @pytest.fixture(autouse=True, params=["relation-aware", "none"])
    def choose(self, request: pytest.FixtureRequest) -> None:
        self.name = request.param


class TestSinusoidal(Made, PositionContract):
    kind = "position"
    name = "sinusoidal"
    equivariant = False


class TestMemories(Made, ItemMemoryContract):
    kind = "memory"

    @pytest.fixture(autouse=True, params=shipped("memory"))
    def choose(self, request: pytest.FixtureRequest) -> None:
        self.name = request.param


class TestMemoriesOfOrderedHistories(TestMemories):
    def data(self) -> Dataset:
        return tours(num_users=60, num_items=30)


class TestDecoders(Made, DecoderContract):
    kind = "decoder"

    @pytest.fixture(autouse=True, params=shipped("decoder"))
    def choose(self, request: pytest.FixtureRequest) -> None:
        self.name = request.param


class TestRecommenders(Made, RecommenderContract):
    kind = "recommender"

    @pytest.fixture(autouse=True, params=[name for name in shipped("recommender") if name != "mmgrec"])
    def choose(self, request: pytest.FixtureRequest) -> None:
        self.name = request.param

    def data(self) -> Dataset:
        return tours(num_users=60, num_items=30) if self.name in ORDERED else tiny_data()


class TestMMGRec(RecommenderContract):
    """The method itself, from small parts."""

    def make(self) -> Recommender:
        sections = {
            "quantizer": {"name": "rq-kmeans", **TINY["rq-kmeans"]},
            "network": {"dim": 8, "num_heads": 2, "head_dim": 4, "feedforward_dim": 8},
            "training": {"epochs": 1, "batch_size": 64},
        }
        return Experiment.of(sections).models[0].recommender

    def test_settings_survive_a_configuration_file(self) -> None:
        values = {**Experiment.of({}).values(), **Model(**WHOLE, recommender=self.make()).values()}
        assert Experiment.of(tomllib.loads(toml_text(values))).models[0].recommender == self.make()


class TestSynthetic(Made, DatasetContract):
    kind = "dataset"
    name = "synthetic"


class TestFolder(DatasetContract):
    @pytest.fixture(autouse=True)
    def choose(self, tmp_path: Path) -> None:
        self.path = tmp_path / "tiny"
        save_folder(tiny_data(), self.path)

    def make(self) -> DatasetSource:
        return cast(
            DatasetSource, build(Registry.discover(environ={}).load("dataset", "folder"), {"path": str(self.path)})
        )


class TestMetrics(Made, MetricContract):
    kind = "metric"

    @pytest.fixture(autouse=True, params=shipped("metric"))
    def choose(self, request: pytest.FixtureRequest) -> None:
        self.name = request.param
