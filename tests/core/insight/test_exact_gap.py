"""The gap between a run's decoder and the exact one, held against brute force."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from mmgrec.insight.exact_gap import recall_of_exact
from mmgrec.interfaces import Context, exclusion_of
from mmgrec.recommender import FittedMMGRec, MMGRec
from mmgrec.registry import Registry, load
from mmgrec.runs.execution import execute
from mmgrec.runs.experiment import Experiment
from mmgrec.testing import tiny_data

SMALL = {
    "quantizer": {
        "name": "rq-kmeans",
        "codebook_size": 6,
        "graph": {"dim": 8, "epochs": 2, "regularization": [0.01], "rank": 8, "num_negatives": 20},
    },
    "network": {"dim": 8, "num_heads": 2, "head_dim": 4, "feedforward_dim": 8},
    "training": {"epochs": 1, "batch_size": 64},
}


@pytest.fixture(scope="module")
def recommender() -> MMGRec:
    model = Experiment.of(SMALL).models[0].recommender
    assert isinstance(model, MMGRec)
    return model


@pytest.fixture
def second_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another package that registers a decoder of the name ``exact``."""
    info = tmp_path / "site" / "other_exact-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-exact\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[mmgrec]\nother = other_exact\n")
    (info.parent / "other_exact.py").write_text(
        "from mmgrec.hookspecs import hookimpl\n"
        "@hookimpl\n"
        "def mmgrec_decoders(register):\n"
        "    register('exact', 'other_exact:Exact')\n"
    )
    monkeypatch.syspath_prepend(info.parent)
    (row, _) = [row for row in Registry.discover().plugins if (row.kind, row.name) == ("decoder", "exact")]
    assert "claimed twice" in row.status


def with_decoder(fitted: FittedMMGRec, **settings: int) -> FittedMMGRec:
    decoder = load("decoder", "trie-beam")(**settings)
    return dataclasses.replace(fitted, method=dataclasses.replace(fitted.method, decoder=decoder))


def test_the_gap_closes_as_the_beam_widens(recommender: MMGRec) -> None:
    data = tiny_data()
    fitted = recommender.fit(data, Context())
    users = torch.arange(data.num_users)
    gaps = [
        recall_of_exact(with_decoder(fitted, num_beams=beams), data, users=users, mask="train", top_k=3)
        for beams in (3, 12, data.num_items)
    ]
    assert gaps[2] == 1.0
    assert gaps[0] <= gaps[1] <= 1.0
    assert gaps[0] > 0.2


@pytest.mark.usefixtures("second_exact")
def test_without_the_exact_decoder_there_is_no_gap(recommender: MMGRec) -> None:
    data = tiny_data()
    fitted = recommender.fit(data, Context())
    assert recall_of_exact(fitted, data, users=torch.arange(4), mask="train") is None


@pytest.mark.usefixtures("second_exact")
def test_a_run_is_finished_without_the_exact_decoder_and_says_so(tmp_path: Path) -> None:
    experiment = Experiment.of({**SMALL, "data": {"name": "synthetic", "num_users": 60, "num_items": 40}})
    execute(experiment, out=tmp_path / "run")
    results = json.loads((tmp_path / "run" / "results.json").read_text(encoding="utf-8"))
    assert results["decoding"]["beam_recall_of_exact@10"] is None
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert any("the decoder 'exact' cannot be loaded" in line["text"] for line in log if line["event"] == "warn")


def test_a_model_comes_back_from_its_state(recommender: MMGRec) -> None:
    data = tiny_data()
    fitted = recommender.fit(data, Context())
    again = recommender.restore(fitted.state())
    users = torch.arange(10)
    exclusion = exclusion_of(data.train, users)
    here = fitted.recommend(users, top_k=5, exclusion=exclusion)
    there = again.recommend(users, top_k=5, exclusion=exclusion)
    assert torch.equal(here.item, there.item)
    assert torch.equal(here.score, there.score)
