"""Every shipped plugin keeps the contract that strangers' plugins are asked to keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, cast

import pytest

from mmgrec.folder import save_folder
from mmgrec.interfaces import (
    DatasetSource,
)
from mmgrec.registry import Registry
from mmgrec.settings import build
from mmgrec.testing import (
    CollisionContract,
    DatasetContract,
    DecoderContract,
    MetricContract,
    PositionContract,
    QuantizerContract,
    RecommenderContract,
    tiny_data,
)

TINY: dict[str, dict[str, Any]] = {  # settings that make a contract a matter of a second
    "graph-rqvae": {"codebook_size": 8},
    "rqvae": {"codebook_size": 8},
    "rq-kmeans": {"codebook_size": 8},
    "hk-means": {},
    "synthetic": {"num_users": 60, "num_items": 40, "mean_interactions": 8.0},
}


def shipped(kind: str) -> list[str]:
    return [
        row.name for row in Registry.discover(environ={}).plugins if row.kind == kind and row.distribution == "mmgrec"
    ]


class Made:
    """Makes the plugin that the parametrised fixture names."""

    kind: ClassVar[str]
    name: str

    def make(self) -> Any:  # Any: the part of this kind
        return build(Registry.discover(environ={}).load(self.kind, self.name), TINY.get(self.name, {}), self.name)


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
