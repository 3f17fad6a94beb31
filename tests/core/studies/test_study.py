"""A study is made of plain values, and tells everything that is wrong with them at once."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

from mmgrec.errors import SettingsError
from mmgrec.registry import Registry
from mmgrec.settings.values import nested
from mmgrec.studies.built_in import STUDIES
from mmgrec.studies.study import Study
from mmgrec.studies.subsample import with_share
from mmgrec.studies.tuning import best_index, grid_points, tell_journal
from mmgrec.studies.values import model_of, model_values
from mmgrec.synthetic import planted

ONE = {"models": {"popularity": {}}}


def problems(config: dict[str, Any], **more: Any) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        Study.of("mine", config, **more)
    return list(caught.value.problems)


def test_a_label_that_is_a_recommender_needs_no_name() -> None:
    study = Study.of("mine", {"models": {"itemknn": {"neighbours": 7}, "no positions": {"position": {"name": "none"}}}})
    assert [(row.label, row.model.plugin) for row in study.rows] == [("itemknn", "itemknn"), ("no positions", "mmgrec")]
    assert study.rows[0].model.values() == {**study.rows[0].model.values(), "neighbours": 7}
    assert study.rows[1].model.parts["position"] == "none"
    assert study.first == "itemknn"
    assert study.options.seeds == (0, 1, 2, 3, 4)


@pytest.mark.parametrize("label", ["mmgrec", "mf"])
def test_values_bring_a_model_back(label: str) -> None:
    registry = Registry.discover()
    model = model_of(label, {"preset": "paper"} if label == "mmgrec" else {"dim": [8]}, registry)
    assert model_of(label, model_values(model), registry) == model


def test_common_settings_count_where_a_part_has_them_and_yield_to_a_models_own() -> None:
    config = {
        "quantizer": {"codebook_size": 8, "iterations": 3},
        "baselines": {"epochs": 2, "neighbours": 5},
        "network": {"dim": 12},
        "models": {
            "a": {"quantizer": {"name": "rq-kmeans"}},
            "b": {"preset": "paper", "network": {"dim": 20}},
            "mf": {},
            "itemknn": {"neighbours": 9},
        },
    }
    a, b, mf, itemknn = (row.model.values() for row in Study.of("mine", config).rows)
    assert (a["quantizer"]["codebook_size"], a["quantizer"]["iterations"], a["network"]["dim"]) == (8, 3, 12)
    assert (b["quantizer"]["codebook_size"], b["network"]["dim"], b["network"]["norm"]) == (8, 20, "post")
    assert (mf["epochs"], itemknn["neighbours"]) == (2, 9)


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    sentences = problems(
        {
            "sedes": 3,
            "against": "lightgnc",
            "tune_by": "recall@7",
            "network": {"dmi": 3},
            "models": {
                "lightgcn": {"dim": "64"},
                "mmgrec": {"preset": "recipee", "networks": {}},
                "x": {"name": "nobody"},
            },
            "tune": {"lightgcn": {"num_layers": 2}, "y": {"dim": [[8]]}},
            "data": {"gone": {"path": str(tmp_path / "gone")}},
        }
    )
    text = "\n".join(sentences)
    for sentence in (
        "sedes: there is no such setting; did you mean 'seeds'?",
        "against: there is no model 'lightgnc'; did you mean 'lightgcn'?",
        "tune_by: 'recall@7' is not measured",
        "models.lightgcn.dim",
        "models.mmgrec.networks: there is no such setting; did you mean 'network'?",
        "there is no preset 'recipee'",
        "there is no recommender called 'nobody'",
        "tune.lightgcn.num_layers: a list of values to try is needed",
        "tune: there is no model 'y'",
        "data.gone: there is no folder",
    ):
        assert sentence in text, sentence


def test_where_the_first_is_not_wanted_the_next_takes_its_place() -> None:
    config = {"against": "ease", "models": {"popularity": {}, "ease": {}, "itemknn": {}}}
    assert Study.of("mine", config).first == "ease"
    assert Study.of("mine", config, only=["itemknn", "ease"]).first == "ease"
    assert Study.of("mine", config, only=["popularity", "itemknn"]).first == "popularity"
    assert problems(config, only=["popularity"], over={"against": "ease"}) == [
        "against: 'ease' is not among the models that are wanted; name it with --models too"
    ]
    assert problems({**config, "against": "eese"}, only=["popularity"]) == [
        "against: there is no model 'eese'; did you mean 'ease'?"
    ]


def test_a_common_setting_that_nobody_has_is_a_mistake() -> None:
    assert problems({**ONE, "network": {"dim": 8}}) == ["network.dim: no model of this study has such a setting"]


@pytest.mark.parametrize("seeds", [0, []])
def test_no_seed_is_no_study(seeds: object) -> None:
    assert problems({**ONE, "seeds": seeds}) == ["seeds: at least one is needed"]


def test_a_name_that_models_could_not_choose_is_a_mistake() -> None:
    assert problems({"models": {"a, b": {"name": "mf"}, "mf": {}}}) == [
        "models.a, b: leave out the comma; between commas --models names several"
    ]


@pytest.mark.parametrize("name", list(STUDIES))
def test_every_row_of_the_studies_that_come_along_can_be_chosen(name: str) -> None:
    labels = list(STUDIES[name]["models"])
    assert [label for label in labels if label != label.strip() or "," in label] == []


def test_no_model_is_no_study() -> None:
    assert problems({"models": {}}) == ["models: at least one is needed"]


def test_only_the_wanted_rows_stay_and_the_settings_of_others_are_no_mistake() -> None:
    config = {"baselines": {"epochs": 2}, "models": {"mf": {}, "popularity": {}}}
    assert [row.label for row in Study.of("mine", config, only=["popularity"]).rows] == ["popularity"]
    assert "--models: there is no model 'ease'" in "; ".join(problems(config, only=["ease"]))


@pytest.mark.parametrize("name", sorted(STUDIES))
def test_the_built_in_studies_can_be_made(name: str) -> None:
    study = Study.of(name, STUDIES[name], lenient=True)
    assert study.rows
    assert study.first in [row.label for row in study.rows]
    assert all("there is no" in reason for reason in study.absent)


def test_what_is_not_installed_is_told_and_left_out_but_an_error_where_it_was_named() -> None:
    config = {"models": {"popularity": {}, "unheard-of": {"name": "unheard-of"}}}
    study = Study.of("mine", config, lenient=True)
    assert study.absent == ("unheard-of: there is no recommender called 'unheard-of'",)
    assert "unheard-of" in "; ".join(problems(config))
    assert "unheard-of" in "; ".join(problems(config, lenient=True, only=["unheard-of"]))


def test_the_ladder_leads_from_the_one_preset_to_the_other() -> None:
    rows = {row.label: row.model for row in Study.of("ladder", STUDIES["ladder"]).rows}
    assert len({repr(model.recommender) for model in rows.values()}) == len(rows), "each step changes something"
    *_, before, last = rows.values()
    ends = [before.values(), last.values()]
    same = [key for key in ends[0] if ends[0][key] == ends[1][key]]
    assert set(ends[0]) - set(same) <= {"decoder"}, "the last step is the decoder's alone"


def test_a_row_between_presets_takes_what_it_names() -> None:
    table = {"between": ["paper", "recipe"], "taken": ["network.head"], "network": {"dim": 10}}
    (row,) = Study.of("mine", {"models": {"x": {"name": "mmgrec", **table}}}).rows
    values = row.model.values()
    assert (values["network"]["head"], values["network"]["norm"], values["network"]["dim"]) == ("tree", "post", 10)
    assert "two presets are needed" in problems({"models": {"x": {"between": ["paper"]}}})[0]
    assert "taken" in problems({"models": {"x": {"between": ["paper", "recipe"], "taken": ["head"]}}})[0]


def test_several_shares_are_several_data_sets() -> None:
    study = Study.of("mine", {**ONE, "shares": [0.5, 1.0], "data": {"num_users": 50}})
    assert [(data.name, data.share) for data in study.data] == [("synthetic-0.5", 0.5), ("synthetic-1", 1.0)]


# --------------------------------------------------------------------------- grids


def test_a_grid_is_all_combinations_in_order_and_never_more_than_its_size() -> None:
    grid = {"network": {"dim": [1, 2]}, "training.epochs": [3, 4]}
    wrong: list[str] = []
    every = grid_points(grid, 6, "tune.x", wrong)
    assert every == [{"network.dim": a, "training.epochs": b} for a in (1, 2) for b in (3, 4)]
    few = grid_points(grid, 3, "tune.x", wrong)
    assert len(few) == 3
    assert few == grid_points(grid, 3, "tune.x", wrong), "the draw is seeded"
    assert [one for one in every if one in few] == few
    assert wrong == []
    assert nested(every[0]) == {"network": {"dim": 1}, "training": {"epochs": 3}}


def test_points_of_a_grid_may_be_listed_one_by_one() -> None:
    wrong: list[str] = []
    listed = [{"dim": [64], "quantizer": {"rank": 1}}, {"dim": [128], "quantizer.rank": 2}]
    assert grid_points(listed, 6, "tune.x", wrong) == [
        {"dim": [64], "quantizer.rank": 1},
        {"dim": [128], "quantizer.rank": 2},
    ]
    assert not wrong
    assert grid_points([{"dim": [64]}, {"loss": "bpr"}], 6, "tune.x", wrong) == []
    assert wrong == ["tune.x: point 2 and the first do not name the same settings (dim, loss)"]


def test_a_row_is_tuned_over_listed_points() -> None:
    (row,) = Study.of("mine", {"models": {"mf": {}}, "tune": {"mf": [{"dim": [8]}, {"dim": [16]}]}}).rows
    assert [point.model.values()["dim"] for point in row.points] == [[8], [16]]


def test_the_first_of_equal_scores_wins_and_a_failure_never_does() -> None:
    assert best_index([None, 0.2, 0.3, 0.3]) == 2
    assert best_index([None, 0.0]) == 1
    assert best_index([None, None]) is None


def test_the_journal_is_an_optuna_study_in_which_each_point_stands_once(tmp_path: Path) -> None:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    points = [{"dim": [8]}, {"dim": [16]}]
    file = tmp_path / "tune" / "x.journal"
    for index, score in ((1, None), (0, 0.1), (1, 0.4), (0, 0.1)):
        tell_journal(file, "x", points, index, score)
    journal = optuna.load_study(study_name="x", storage=JournalStorage(JournalFileBackend(str(file))))
    assert [(trial.params, trial.value) for trial in journal.trials] == [
        ({"dim": "[16]"}, None), ({"dim": "[8]"}, 0.1), ({"dim": "[16]"}, 0.4),
    ]  # fmt: skip
    assert journal.best_params == {"dim": "[16]"}


# --------------------------------------------------------------------------- a share of the items


def test_a_share_keeps_interactions_features_and_names_together() -> None:
    data = planted(num_users=40, num_items=60, mean_interactions=10, seed=2)
    small, smaller = with_share(data, 0.5), with_share(data, 0.25)
    assert (small.num_items, smaller.num_items, small.num_users) == (30, 15, 40)
    (name,) = list(data.features)[:1]
    whole = {tuple(row): item for item, row in enumerate(data.features[name].tolist())}
    kept = [whole[tuple(row)] for row in small.features[name].tolist() if any(row)]
    assert kept == sorted(kept)
    number_of = {item: number for number, item in enumerate(_items(data.num_items, 0.5))}
    for part in ("train", "valid", "test"):
        pairs = zip(getattr(data, part).user.tolist(), getattr(data, part).item.tolist(), strict=True)
        wanted = [(user, number_of[item]) for user, item in pairs if item in number_of]
        thinned = getattr(small, part)
        assert list(zip(thinned.user.tolist(), thinned.item.tolist(), strict=True)) == wanted
    assert set(_items(data.num_items, 0.25)) < set(number_of)


def _items(num_items: int, share: float) -> list[int]:
    """What `with_share` keeps, told by a data set whose only feature is the item's number."""
    import dataclasses

    data = planted(num_users=40, num_items=num_items, mean_interactions=10, seed=2)
    number = torch.arange(1, num_items + 1, dtype=torch.float32)[:, None]
    kept = with_share(dataclasses.replace(data, features={"number": number}), share)
    return [int(value) - 1 for value in kept.features["number"].flatten()]


def test_the_file_in_the_documentation_is_a_study(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "study-files.md").read_text(encoding="utf-8")
    (text,) = [
        code for code in re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL) if "[models." in code
    ]
    (tmp_path / "DATA" / "lfm2k").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    study = Study.of("mine", tomllib.loads(text))
    assert [row.label for row in study.rows] == ["mmgrec", "no positions", "two stages", "lightgcn", "mf", "popularity"]
    assert [len(row.points) for row in study.rows] == [0, 0, 0, 4, 2, 0]
    assert study.rows[2].model.values()["quantizer"]["schedule"] == "two-stage"
