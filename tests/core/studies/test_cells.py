"""One cell: what it holds, what is shared, what is never done twice, what a kill or a failure leaves behind."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars
import pytest
import torch
from safetensors.torch import load as load_tensors
from torch.optim.optimizer import register_optimizer_step_post_hook

from mmgrec.data.dataset import Dataset, Interactions
from mmgrec.errors import DataError, SettingsError
from mmgrec.evaluation.harness import evaluate
from mmgrec.interfaces import Context, Representations
from mmgrec.registry import Registry
from mmgrec.runs.layout import INSIGHT, PER_USER
from mmgrec.runs.log import LogTee, last_stages
from mmgrec.studies.cache import cache_key, with_cached_stage_1
from mmgrec.studies.cell import CACHE_VERSIONS, Cell, make_cell
from mmgrec.studies.layout import CELL, FAILED, TRIAL, WEIGHTS
from mmgrec.studies.plan import shared_keys
from mmgrec.studies.values import model_of, model_values
from mmgrec.synthetic import planted
from mmgrec.testing import without_test
from mmgrec_plugins.recommenders.graph.factors import FittedFactors

SMALL: dict[str, Any] = {
    "quantizer": {
        "codebook_size": 8,
        "graph": {"dim": 8, "epochs": 4, "losses": ["bpr"], "regularization": [1e-2], "item_graph_scale": [0.0]},
        "autoencoder": {"epochs": 3, "warmup_epochs": 1},
    },
    "network": {"dim": 8, "num_heads": 2, "head_dim": 4, "feedforward_dim": 8},
    "training": {"epochs": 3, "batch_size": 32, "checkpoint_seconds": 0, "warmup_steps": 2},
    "decoder": {"num_beams": 5},
}
DATA = planted(num_users=60, num_items=40, mean_interactions=10, seed=3)


def cell_of(label: str = "mmgrec", data: Dataset = DATA, seed: int = 1, **table: Any) -> Cell:
    given = {**SMALL, **table} if label == "mmgrec" else table
    return Cell(
        label=label,
        model=model_values(model_of(label, given, Registry.discover())),
        seed=seed,
        mask="train+valid",
        top_k=(10, 20),
        metrics=("recall", "ndcg", "coverage"),
        data_name="planted",
        fingerprint=data.fingerprint,
    )


def make(cell: Cell, root: Path, *, data: Dataset = DATA, test: bool = True) -> Path:
    folder = root / cell.slug
    make_cell(cell, folder, data, test=test, cache=root / "shared", keep_weights=True)
    return folder


def unshared(cell: Cell, root: Path) -> Path:
    """The cell made where nothing is kept."""
    folder = root / "alone" / cell.slug
    make_cell(cell, folder, DATA, test=True, cache=root / "alone" / "shared", keep_weights=True)
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished cell of MMGRec. Look, do not touch."""
    return make(cell_of(), tmp_path_factory.mktemp("whole"))


def bits(folder: Path) -> tuple[bytes, bytes, Any]:
    results = json.loads((folder / CELL).read_text())["results"]
    figures = [(row["split"], row["metrics"]) for row in results]
    return (folder / WEIGHTS).read_bytes(), (folder / PER_USER).read_bytes(), figures


def test_a_cell_tells_what_was_measured_and_at_what_cost(whole: Path) -> None:
    result = json.loads((whole / CELL).read_text())
    test, valid = result["results"]
    assert (test["split"], valid["split"]) == ("test", "valid")
    assert set(test["metrics"]) == {f"{name}@{k}" for name in ("recall", "ndcg", "coverage") for k in (10, 20)}
    assert set(result["definitions"]) == {"recall", "ndcg", "coverage"}
    frame = polars.read_parquet(whole / PER_USER)
    assert frame["ndcg@10"].mean() == pytest.approx(test["metrics"]["ndcg@10"])
    weights = load_tensors((whole / WEIGHTS).read_bytes())
    assert result["parameters"] == sum(weight.numel() for weight in weights.values() if weight.is_floating_point())
    assert result["seconds"]["fit"] >= result["seconds"]["stage1"] > 0
    assert result["peak_memory_mib"] > 50
    assert [len(stage["rows"]) for stage in result["history"] if stage["stage"] == "generator"] == [3]
    assert not (whole / "checkpoints").exists()


def test_a_cell_has_the_bits_of_a_fit_without_a_study(whole: Path) -> None:
    model = model_of("mmgrec", SMALL, Registry.discover())
    fitted = model.recommender.fit(DATA, Context(seed=1))
    state = fitted.state()
    stored = load_tensors((whole / WEIGHTS).read_bytes())
    assert state.keys() == stored.keys()
    assert [name for name in state if not torch.equal(state[name], stored[name])] == []


def test_stage_1_is_shared_by_rows_that_differ_behind_it(whole: Path) -> None:
    other = cell_of(position={"name": "none"})
    sharing = make(other, whole.parent)
    alone = unshared(other, whole.parent)
    assert bits(sharing) == bits(alone)
    seconds = json.loads((sharing / CELL).read_text())["seconds"]
    mine = json.loads((whole / CELL).read_text())["seconds"]
    assert seconds["shared"] == seconds["stage1"] == mine["stage1"] > 0 == mine["shared"]
    stages = [[(stage.stage, len(stage.rows)) for stage in last_stages(x / "log.jsonl")] for x in (sharing, alone)]
    assert stages[0] == stages[1], "the history of what is shared belongs to both"


def test_stage_1_alone_ranks_by_the_representations_of_mmgrec(whole: Path) -> None:
    alone = make(cell_of("stage-1", graph=SMALL["quantizer"]["graph"]), whole.parent)
    result, state = json.loads((alone / CELL).read_text()), load_tensors((whole / WEIGHTS).read_bytes())
    assert result["seconds"]["shared"] > 0, "the graph is computed once"
    representations = Representations(user=state["representations.user"], item=state["representations.item"])
    report = evaluate(FittedFactors(representations=representations), DATA)
    test = result["results"][0]["metrics"]
    assert {name: test[name] for name in ("recall@10", "ndcg@20")} == {
        name: report.metrics[name] for name in ("recall@10", "ndcg@20")
    }


def test_the_plan_knows_what_cells_will_share(whole: Path) -> None:
    """By these names a study does not begin side by side what would only wait for one another."""
    without = {"memory": {"name": "none"}}
    graph = {"name": "stage-1", "graph": SMALL["quantizer"]["graph"]}
    alone = shared_keys(model_of("stage 1", graph, Registry.discover()), cell_of())
    rows = [
        shared_keys(model_of("mmgrec", {**SMALL, **table}, Registry.discover()), cell_of()) for table in ({}, without)
    ]
    assert rows[0] == rows[1], "without a memory the same network is trained"
    kept = {folder.name for folder in (whole.parent / "shared").iterdir()}
    assert set(rows[0][0]) <= kept
    assert not alone[0]
    assert set(alone[1]) == kept & set(rows[0][1]), "the graph; the autoencoder is kept with the whole of stage 1"


@pytest.mark.parametrize("network", [{}, {"head": "tokens", "shared_vocabulary": True}], ids=["tree", "one vocabulary"])
def test_the_network_is_shared_with_a_row_without_a_memory(network: dict[str, object], tmp_path: Path) -> None:
    table = {"network": {**SMALL["network"], **network}}
    plain = make(cell_of(**table), tmp_path)
    other = cell_of(**table, memory={"name": "none"})
    sharing = make(other, tmp_path)
    assert bits(sharing) == bits(unshared(other, tmp_path))
    mine, its = (json.loads((folder / CELL).read_text())["seconds"] for folder in (plain, sharing))
    assert its["shared"] > its["stage1"] == mine["stage1"], "stage 1 and the network's training"


def test_the_graph_is_shared_by_quantizers_that_differ_around_it(whole: Path) -> None:
    quantizer = {"name": "rq-kmeans", "codebook_size": 8, "graph": SMALL["quantizer"]["graph"]}
    other = cell_of(quantizer=quantizer)
    sharing = make(other, whole.parent)
    assert bits(sharing) == bits(unshared(other, whole.parent))
    seconds = json.loads((sharing / CELL).read_text())["seconds"]
    assert 0 < seconds["shared"] <= seconds["stage1"]


def test_what_decides_a_result_decides_its_key() -> None:
    part = model_of("mmgrec", SMALL, Registry.discover()).recommender.quantizer  # type: ignore[attr-defined]
    base: dict[str, Any] = {"seed": 1, "fingerprint": "f", "versions": CACHE_VERSIONS}
    keys = [
        cache_key(part, ("quantizer",), **base),
        cache_key(dataclasses.replace(part, codebook_size=9), ("quantizer",), **base),
        cache_key(part, ("other",), **base),
        cache_key(part.graph, ("quantizer",), **base),
        *(cache_key(part, ("quantizer",), **{**base, **one}) for one in (
            {"seed": 2}, {"fingerprint": "g"}, {"versions": {}},
        )),
    ]  # fmt: skip
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        ("quantizer", "hk-means", "rq-kmeans"),
        ("position", "none", "sinusoidal"),
        ("collisions", "popularity", "random"),
        ("decoder", "trie-beam", "exact"),
    ],
)
def test_parts_of_the_same_settings_do_not_share_a_network(kind: str, one: str, other: str) -> None:
    """Their classes are all that tells them apart."""
    base: dict[str, Any] = {"seed": 1, "fingerprint": "f", "versions": CACHE_VERSIONS}
    keys = {
        cache_key(with_cached_stage_1(model.recommender).generator, (), **base)  # type: ignore[arg-type]
        for model in (model_of("mmgrec", {kind: {"name": name}}, Registry.discover()) for name in (one, other))
    }
    assert len(keys) == 2


def test_parts_in_a_tuple_have_their_classes_in_the_key_too() -> None:
    @dataclasses.dataclass(frozen=True)
    class Several:
        parts: tuple[Any, ...]

    base: dict[str, Any] = {"seed": 1, "fingerprint": "f", "versions": CACHE_VERSIONS}
    models = [model_of("mmgrec", {"position": {"name": name}}, Registry.discover()) for name in ("none", "sinusoidal")]
    parts = [model.recommender.position for model in models]  # type: ignore[attr-defined]
    assert len({cache_key(Several((part,)), (), **base) for part in parts}) == 2


def test_rows_that_differ_in_a_part_without_settings_are_trained_each(whole: Path) -> None:
    mine = json.loads((whole / CELL).read_text())["seconds"]["stage1"]
    for name in ("none", "sinusoidal"):
        folder = make(cell_of(position={"name": name}), whole.parent)
        assert json.loads((folder / CELL).read_text())["seconds"]["shared"] == mine, "stage 1 and no more"


def test_a_damaged_shared_result_is_made_again(whole: Path, tmp_path: Path) -> None:
    first = make(cell_of(), tmp_path)
    for file in (tmp_path / "shared").rglob("representations.safetensors"):
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
    other = make(cell_of(position={"name": "none"}), tmp_path)
    assert json.loads((other / CELL).read_text())["seconds"]["shared"] == 0
    assert "is made again" in (other / "log.jsonl").read_text()
    assert bits(first) == bits(whole)


# --------------------------------------------------------------------------- nothing twice


def test_a_finished_cell_is_leftunshared(whole: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in whole.rglob("*") if file.name != "lock"}
    make(cell_of(), whole.parent)
    assert {file: file.stat().st_mtime_ns for file in whole.rglob("*") if file.name != "lock"} == before


def test_other_settings_seed_mask_or_data_are_another_cell() -> None:
    base = cell_of("popularity")
    slugs = {
        base.slug,
        cell_of("itemknn").slug,
        cell_of("popularity", seed=2).slug,
        dataclasses.replace(base, mask="train").slug,
        dataclasses.replace(base, fingerprint="other").slug,
    }
    assert len(slugs) == 5
    assert dataclasses.replace(base, data_name="other").slug.rsplit("-", 1)[1] == base.slug.rsplit("-", 1)[1]


def test_other_data_than_the_cells_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError) as refused:
        make(cell_of("popularity"), tmp_path, data=planted(num_users=50, num_items=40, seed=9))
    assert refused.value.code == "studies.other-data"


@pytest.fixture
def steps() -> Iterator[list[str]]:
    """The optimizers that made a step, one entry a step: whoever trains is heard."""
    heard: list[str] = []
    hook = register_optimizer_step_post_hook(lambda optimizer, *_: heard.append(type(optimizer).__name__))
    yield heard
    hook.remove()


def test_the_second_step_fits_from_checkpoints_to_the_same_bits(whole: Path, tmp_path: Path, steps: list[str]) -> None:
    cell = cell_of()
    folder = make(cell, tmp_path, test=False)
    assert not (folder / PER_USER).exists()
    trial = (folder / TRIAL).read_bytes()
    assert len(steps) > 0
    steps.clear()
    make(cell, tmp_path)
    assert steps == [], "nothing is trained again"
    assert bits(folder) == bits(whole)
    assert (folder / TRIAL).read_bytes() == trial
    result = json.loads((folder / CELL).read_text())
    assert result["seconds"]["fit"] == json.loads(trial)["seconds"]["fit"]
    assert [len(stage["rows"]) for stage in result["history"] if stage["stage"] == "generator"] == [3]


class _Kill(BaseException):
    pass


@pytest.mark.parametrize("at", [("graph-bpr-0.01-0", 2), ("generator", 2)])
def test_a_killed_cell_goes_on_to_the_same_bits(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: tuple[str, int]
) -> None:
    update = LogTee.update

    def dying(self: LogTee, stage: str, done: int, facts: Any) -> None:
        update(self, stage, done, facts)
        if (stage, done) == at:
            raise _Kill

    cell = cell_of()
    with monkeypatch.context() as patch:
        patch.setattr(LogTee, "update", dying)
        with pytest.raises(_Kill):
            make(cell, tmp_path)
    folder = make(cell, tmp_path)
    assert bits(folder) == bits(whole)
    rows = [
        {stage["stage"]: [row["epoch"] for row in stage["rows"]] for stage in json.loads(text)["history"]}
        for text in ((folder / CELL).read_text(), (whole / CELL).read_text())
    ]
    assert rows[0] == rows[1], "the history is whole although two attempts made it"


# --------------------------------------------------------------------------- what is not seen, what fails


def test_the_first_step_never_looks_at_the_test_part(tmp_path: Path) -> None:
    def poisoned() -> Dataset:
        users = torch.arange(DATA.num_users)
        wrong = Interactions.of(users, users % DATA.num_items, num_users=DATA.num_users, num_items=DATA.num_items)
        return dataclasses.replace(DATA, test=wrong)

    scores = []
    for index, data in enumerate((DATA, poisoned(), without_test(DATA))):
        folder = make(cell_of("mf", data, dim=[4], epochs=3), tmp_path / str(index), data=data, test=False)
        scores.append(json.loads((folder / TRIAL).read_text())["valid"]["metrics"])
    assert scores[0] == scores[1] == scores[2]


def test_no_fit_is_given_a_test_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mmgrec_plugins.recommenders.simple.popularity import Popularity

    seen: list[int] = []
    fit = Popularity.fit

    def watching(self: Popularity, data: Dataset, context: Context) -> Any:
        seen.append(len(data.test))
        return fit(self, data, context)

    monkeypatch.setattr(Popularity, "fit", watching)
    folder = make(cell_of("popularity"), tmp_path)
    assert seen == [0]
    assert json.loads((folder / CELL).read_text())["results"][0]["num_users"] > 0


def test_a_cell_that_was_killed_before_its_settings_stood_goes_on(tmp_path: Path) -> None:
    cell = cell_of("popularity")
    (tmp_path / cell.slug).mkdir()
    (tmp_path / cell.slug / ".run.toml.123.tmp").write_text("seed = ")
    assert (make(cell, tmp_path) / CELL).is_file()


def test_a_failure_is_a_sentence_and_the_next_attempt_forgets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = cell_of("ease", max_items=3)
    folder = tmp_path / cell.slug
    with pytest.raises(SettingsError) as error:
        make(cell, tmp_path)
    assert error.value.code == "recommenders.too-many-items"
    result = json.loads((folder / FAILED).read_text())
    assert result["users"] is True
    assert "max_items is 3" in result["what"]
    assert str(Path.home()) not in (folder / "traceback.txt").read_text()
    from mmgrec_plugins.recommenders.simple.ease import EASE

    fit = EASE.fit
    monkeypatch.setattr(EASE, "fit", lambda self, *given: fit(dataclasses.replace(self, max_items=99), *given))
    make(cell, tmp_path)
    assert not (folder / FAILED).exists()
    assert (folder / CELL).is_file()


def test_an_insight_that_fails_costs_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no picture today")

    monkeypatch.setattr("mmgrec.runs.fitting.insight", broken)
    folder = make(cell_of("popularity"), tmp_path)
    assert json.loads((folder / CELL).read_text())["insight"] == "failed: RuntimeError: no picture today"
    assert not (folder / INSIGHT).exists()
