"""Tables against numbers worked out by hand and by other libraries' tests."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytest
from scipy import stats

from mmgrec.evaluation.summary import ranks
from mmgrec.studies.findings import RowFindings, gather
from mmgrec.studies.results import StudyResults
from mmgrec.studies.study import Study
from mmgrec.studies.tables import csv_table, latex_table, markdown_table, table_rows, write_tables

USERS = 30
METRICS = ("recall@10", "ndcg@10")


def cell(folder: Path, label: str, seed: int, values: Mapping[str, Sequence[float]]) -> Path:
    """A finished cell with these values of each user."""
    folder = folder / f"{label}-{seed}"
    folder.mkdir(parents=True)
    users = np.arange(USERS) * 2
    polars.DataFrame({"user": users, **values}).sample(fraction=1.0, shuffle=True, seed=1).write_parquet(
        folder / "per_user.parquet"
    )
    metrics = {name: float(np.mean(figures)) for name, figures in values.items()}
    row = {"split": "test", "mask": "train+valid", "metrics": metrics, "num_users": USERS, "seconds": 0.6}
    clean = {"invalid": 0, "duplicate": 0, "seen": 2 if label == "b_c" else 0, "missing": 0, "misplaced": 0}
    content = {
        "schema": 1,
        "label": label,
        "seed": seed,
        "mask": "train+valid",
        "top_k": [10],
        "metrics": ["recall", "ndcg"],
        "model": {"name": label},
        "data": {"name": "d", "num_users": USERS, "num_items": 9, "num_interactions": 90, "fingerprint": "f"},
        "results": [{**row, **clean}],
        "seconds": {"fit": 10.0 + seed, "stage1": None, "valid": None, "test": 0.6},
        "parameters": 1234,
        "peak_memory_mib": 100.0 + seed,
        "threads": 1,
        "versions": {"torch": "x"},
        "written": "now",
    }
    (folder / "cell.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def values() -> dict[tuple[str, int], dict[str, Any]]:
    """(model, seed) -> metric -> one value a user; the third model has one seed less."""
    rng = np.random.default_rng(3)
    lift = {"a": 0.3, "b_c": 0.1, "d": 0.27}
    return {
        (label, seed): {name: rng.random(USERS) * 0.5 + lift[label] for name in METRICS}
        for label in lift
        for seed in (0, 1, 2)
        if (label, seed) != ("d", 1)
    }


@pytest.fixture
def results(values: dict[tuple[str, int], dict[str, Any]], tmp_path: Path) -> StudyResults:
    models = {"a": {"name": "popularity"}, "b_c": {"name": "popularity"}, "d": {"name": "popularity"}}
    config = {
        "models": models,
        "seeds": 3,
        "top_k": [10],
        "metrics": ["recall", "ndcg"],
        "data": {"d": {"num_users": 50}},
    }
    study = Study.of("mine", config)
    findings = [
        RowFindings(
            data="d",
            label=label,
            cells=tuple(cell(tmp_path, name, seed, value) for (name, seed), value in values.items() if name == label),
            failed={"d, d, seed 1": "it was too much"} if label == "d" else {},
        )
        for label in models
    ]
    return gather(study, findings)


def test_mean_and_sample_deviation_over_seeds(
    results: StudyResults, values: dict[tuple[str, int], dict[str, Any]]
) -> None:
    for row in results.data[0].models:
        means = [figures["recall@10"].mean() for (label, _), figures in values.items() if label == row.model]
        assert row.test["recall@10"].mean == pytest.approx(sum(means) / len(means))
        assert row.test["recall@10"].deviation == pytest.approx(np.std(means, ddof=1))
    assert [row.seeds for row in results.data[0].models] == [(0, 1, 2), (0, 1, 2), (0, 2)]
    assert results.data[0].models[0].seconds["fit"].mean == 11.0
    assert results.data[0].models[0].peak_memory_mib == 102.0


def test_tests_pair_users_whose_figures_are_averaged_over_shared_seeds(
    results: StudyResults, values: dict[tuple[str, int], dict[str, Any]]
) -> None:
    def mean(label: str, seeds: Sequence[int]) -> Any:
        return np.mean([values[label, seed]["ndcg@10"] for seed in seeds], axis=0)

    oracle = {
        "b_c": stats.ttest_rel(mean("a", (0, 1, 2)), mean("b_c", (0, 1, 2))),
        "d": stats.ttest_rel(mean("a", (0, 2)), mean("d", (0, 2))),
    }
    tests = {test.against: test for test in results.data[0].tests["ndcg@10"]}
    assert tests.keys() == oracle.keys()
    for label, wanted in oracle.items():
        assert tests[label].t == pytest.approx(wanted.statistic)
        assert tests[label].p == pytest.approx(wanted.pvalue)
        assert tests[label].num_users == USERS
    assert tests["d"].seeds == (0, 2)
    small, large = sorted(test.p for test in tests.values())
    corrected = sorted(test.p_holm for test in tests.values() if test.p_holm is not None)
    assert corrected == pytest.approx([min(1, 2 * small), max(min(1, 2 * small), large)])


@pytest.mark.parametrize("name", ["<script>x</script>", "a\n# b", "a | b", "\x1b[2J", "\u202eabc"])
def test_names_are_inert_in_markdown_and_latex(results: StudyResults, name: str) -> None:
    (data,) = results.data
    models = tuple(replace(model, model=name) if model.model == "d" else model for model in data.models)
    hostile = replace(data, name=name, models=models, tests={})
    plain = replace(hostile, name="d", models=data.models)
    for table in (markdown_table, latex_table):
        text = table(results, hostile)
        assert len(text.splitlines()) == len(table(results, plain).splitlines())
        assert not set(text) & {"\x1b", "\u202e"}
    text = markdown_table(results, hostile)
    assert text.replace("\\|", "").count("|") == markdown_table(results, plain).count("|")
    assert "<" not in text


def test_the_best_is_bold_and_the_second_best_marked_otherwise(results: StudyResults) -> None:
    (data,) = results.data
    text = markdown_table(results, data)
    mean = {row.model: f"{row.test['recall@10'].mean:.4f}" for row in data.models}
    assert f"| a | 3 | **{mean['a']}** ± " in text
    assert f"| d | 2 of 3 | _{mean['d']}_ ± " in text
    assert f"| b_c | 3 | {mean['b_c']} ± " in text
    assert "- d, d, seed 1 failed: it was too much" in text
    assert "- b_c: 6 places of its lists hold what they must not" in text
    tex = latex_table(results, data)
    assert rf"\textbf{{{mean['a']}}} $\pm$ " in tex
    assert rf"\underline{{{mean['d']}}} $\pm$ " in tex
    assert r"b\_c & 3" in tex
    assert "±" not in tex


def test_equal_figures_share_a_place_and_lower_may_be_better() -> None:
    assert ranks({"a": 0.1, "b": 0.3, "c": 0.3, "d": 0.2}, "recall@10") == {"b": 0, "c": 0, "d": 1}
    assert ranks({"a": 0.1, "b": 0.3, "c": 0.2}, "popularity-bias@10") == {"a": 0, "c": 1}


def test_the_csv_has_all_digits_of_every_seed(
    results: StudyResults, values: dict[tuple[str, int], dict[str, Any]]
) -> None:
    rows = list(csv.DictReader(io.StringIO(csv_table(results.data[0]))))
    assert len(rows) == 3 * len(METRICS)
    for row in rows:
        seeds = [seed for label, seed in values if label == row["model"]]
        wanted = [float(values[row["model"], seed][row["metric"]].mean()) for seed in seeds]
        assert [float(figure) for figure in row["values"].split()] == wanted
        assert int(row["seeds"]) == len(seeds)


def test_time_and_parameters_stand_in_the_table(results: StudyResults) -> None:
    head, first, *_ = table_rows(results, results.data[0], {0: "{}", 1: "{}"})
    named = dict(zip(head, first, strict=True))
    assert (named["ms/user"], named["parameters"], named["fit s"]) == ("20.00", "1,234", "11.0")
    assert named["p (Holm)"] == "—"


def test_nothing_finished_is_a_table_too(tmp_path: Path) -> None:
    study = Study.of("mine", {"models": {"popularity": {}, "ease": {}}})
    results = gather(study, [RowFindings(data="synthetic", label=row.label, cells=()) for row in study.rows])
    write_tables(tmp_path, results)
    assert StudyResults.read(tmp_path / "study.json") == results
    assert "| popularity | 0 of 5 | — |" in (tmp_path / "tables" / "synthetic.md").read_text()
