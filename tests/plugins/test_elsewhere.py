"""Every shipped recommender and part learns, and is asked, on a device that is not the CPU."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from other_device import DEVICE, There, elsewhere
from test_contracts import ORDERED, WHOLE, part, shipped

from mmgrec.evaluation import evaluate
from mmgrec.generator import GeneratorTraining, NetworkSettings, Weighing
from mmgrec.interfaces import Context, Recommender
from mmgrec.recommender import MMGRec
from mmgrec.testing import tiny_data, tours
from mmgrec_plugins.memories.ease import EASEMemory

HEAVY: dict[str, Any] = {"memory": EASEMemory(l2=(50.0,), scale=(4.0,)), "weighing": Weighing(factors=(2.0,))}


def mmgrec(**names: str) -> MMGRec:
    parts = {kind: part(kind, name) for kind, name in {**WHOLE["parts"], **names}.items()}
    return MMGRec(**parts, training=GeneratorTraining(epochs=1, validation_users=10))


def cases() -> dict[str, Recommender]:
    recommenders: dict[str, Recommender] = {
        name: part("recommender", name) for name in shipped("recommender") if name != "mmgrec"
    }
    for kind in ("quantizer", "collisions", "position", "memory", "decoder"):
        recommenders |= {f"mmgrec, {name}": mmgrec(**{kind: name}) for name in shipped(kind)}
    plain = mmgrec()
    tokens = NetworkSettings(head="tokens", user_input="history")
    return recommenders | {
        "mmgrec, a heavy memory": replace(plain, **HEAVY),
        "mmgrec, a memory beside a decoder that knows of none": replace(
            plain, **HEAVY, decoder=part("decoder", "published-beam")
        ),
        "mmgrec, tokens": replace(plain, network=tokens),
        "mmgrec, from interactions": replace(
            plain,
            network=NetworkSettings(user_input="history"),
            training=GeneratorTraining(epochs=1, validation_users=10, targets="interactions"),
        ),
    }


CASES = cases()


@pytest.mark.parametrize("name", CASES)
def test_it_works_elsewhere_and_gives_the_same_lists(name: str) -> None:
    recommender = CASES[name]
    data = tours(num_users=60) if name in ORDERED else tiny_data()
    here = evaluate(recommender.fit(data, Context(seed=0)), data, top_k=(5,))
    with elsewhere() as device:
        there = evaluate(recommender.fit(data, Context(seed=0, device=device)), data, top_k=(5,))
    assert there.defects == here.defects
    assert there.metrics == pytest.approx(here.metrics, abs=1e-9)


@pytest.mark.filterwarnings("ignore:for .*copying from a non-meta parameter")  # it is copied: these are not meta
def test_a_stored_model_searches_elsewhere() -> None:
    method, data = mmgrec(), tiny_data()
    fitted = method.fit(data, Context(seed=0))
    here = evaluate(fitted, data, top_k=(5,))
    with elsewhere() as device:
        again = method.restore(fitted.state(), device=device)
        assert isinstance(again.network.begin, There)
        there = evaluate(again, data, top_k=(5,))
    assert torch.equal(there.item, here.item)


def test_two_devices_do_not_mix() -> None:
    with elsewhere() as device:
        far, near = torch.ones(3).to(device), torch.ones(3)
        assert isinstance(far, There)
        assert far.device == DEVICE
        with pytest.raises(RuntimeError, match="two devices"):
            far + near
        with pytest.raises(TypeError, match="numpy"):
            far.numpy()
        with pytest.raises(RuntimeError, match="generator"):
            torch.rand(3, device=device, generator=torch.Generator())
        assert (far[torch.tensor([0, 1])] + 1.0).tolist() == [2.0, 2.0]
        assert torch.equal(far.cpu(), near)
