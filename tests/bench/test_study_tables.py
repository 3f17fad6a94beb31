"""The tables of measured studies in the pages are those of the files that they name: no figure is written by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from study_tables import best, kept, paired, summary, table, write

ROOT = Path(__file__).parents[2]


def model(name: str, recall: float, seeds: int = 2) -> dict[str, Any]:
    spread = {"mean": recall, "deviation": 0.001 if seeds > 1 else None, "values": [recall] * seeds}
    metrics = dict.fromkeys(("recall@10", "ndcg@10", "recall@20", "ndcg@20", "mrr@10"), spread)
    return {
        "model": name, "plugin": name, "seeds": list(range(seeds)), "parameters": 1, "peak_memory_mib": 1.0,
        "threads": [1], "written": [], "failed": {}, "test": metrics, "valid": metrics, "tuned": None,
        "otherwise": {"mask": "train", **metrics},
        "seconds": {key: {"mean": 1.0} for key in ("fit", "stage1", "test")},
    }  # fmt: skip


def study(folder: Path, models: list[dict[str, Any]]) -> Path:
    """Its first model is tested against each other one."""
    facts = {"num_users": 3, "num_items": 4, "num_interactions": 5, "fingerprint": "f"}
    tests = {
        metric: [
            {
                "against": rival["model"], "seeds": rival["seeds"], "metric": metric, "difference": 0.1, "t": 2.0,
                "p": 0.04, "num_users": 3, "p_holm": 0.04 * (len(models) - 1),
            }
            for rival in models[1:]
        ]
        for metric in ("recall@10", "mrr@10")
    }  # fmt: skip
    data = {"name": "small", **facts, "models": models, "tests": tests}
    results = {"study": "overall", "against": "ours", "mask": "train+valid", "versions": {}, "data": [data]}
    folder.mkdir()
    (folder / "study.json").write_text(json.dumps(results))
    return folder


#: page -> the tables that it shows
SHOWN = {
    "README.md": ["best: docs/results/overall.json"],
    "docs/results/overall.md": ["summary: overall.json", "study: overall.json", "tests: hybrid.json"],
    "docs/results/ablations.md": [
        "study: ablations.json", "study: ablations-paper.json", "steps: ladder.json", "study: layers-heads.json",
        "study: published-code.json",
    ],
    "docs/results/ordered.md": ["study: ordered.json"],
    "docs/results/published.md": ["published: published.json"],
}  # fmt: skip


@pytest.mark.parametrize("page", SHOWN)
def test_the_pages_show_what_was_measured(page: str) -> None:
    path = ROOT / page
    text = path.read_text(encoding="utf-8")
    assert [shown for shown in SHOWN[page] if f"<!-- {shown} -->" not in text] == []
    assert write(text, path.parent) == text


def test_the_models_of_several_studies_are_joined_and_the_last_counts_unless_it_has_fewer_seeds(tmp_path: Path) -> None:
    first = study(tmp_path / "one", [model("ours", 0.3), model("theirs", 0.1)])
    second = study(tmp_path / "two", [model("theirs", 0.2), model("ours", 0.4, seeds=1)])
    joined = kept([first, second])
    assert [(row["model"], row["test"]["recall@10"]["mean"]) for row in joined["data"][0]["models"]] == [
        ("ours", 0.3),
        ("theirs", 0.2),
    ]
    assert "mrr@10" not in joined["data"][0]["models"][0]["test"]
    assert list(joined["data"][0]["tests"]) == ["recall@10"]


def test_what_was_kept_earlier_is_joined_and_all_tests_are_corrected_together(tmp_path: Path) -> None:
    earlier = tmp_path / "kept.json"
    earlier.write_text(json.dumps(kept([study(tmp_path / "one", [model("ours", 0.3), model("theirs", 0.1)])])))
    later = study(tmp_path / "two", [model("ours", 0.4, seeds=1), model("third", 0.2, seeds=1)])
    joined = kept([earlier, later])
    (data,) = joined["data"]
    assert {row["model"]: row["test"]["recall@10"]["mean"] for row in data["models"]} == {
        "ours": 0.3,
        "third": 0.2,
        "theirs": 0.1,
    }
    assert {name: test["p_holm"] for name, test in data["tests"]["recall@10"].items()} == {
        "third": 0.08,
        "theirs": 0.08,
    }
    assert summary(joined).splitlines()[2] == "| ours | **.3000 / .3000** |"


def test_tests_of_figures_that_are_replaced_go(tmp_path: Path) -> None:
    first = study(tmp_path / "one", [model("ours", 0.3), model("theirs", 0.1), model("third", 0.2)])
    second = study(tmp_path / "two", [model("ours", 0.4), model("theirs", 0.1)])
    again = study(tmp_path / "again", [model("ours", 0.4), model("fourth", 0.1)])
    assert list(kept([first, second])["data"][0]["tests"]["recall@10"]) == ["theirs"]
    assert list(kept([first, second, again])["data"][0]["tests"]["recall@10"]) == ["theirs", "fourth"], (
        "the same figures"
    )


def test_a_table_marks_the_best_two_and_shows_the_test(tmp_path: Path) -> None:
    joined = kept([study(tmp_path / "one", [model("ours", 0.3), model("third", 0.05), model("theirs", 0.1, seeds=1)])])
    lines = table(joined, joined["data"][0]).splitlines()
    assert lines[4].startswith("| ours | 2 | **.3000** ± .0010 |")
    assert lines[5] == "| theirs | 1 | _.1000_ | _.1000_ | _.1000_ | _.1000_ | +0.1000 (t = 2.0) | 0.08, — | 1 |"
    assert "| third | 2 | .0500 ± .0010 |" in lines[6]
    assert summary(joined).splitlines()[2] == "| ours | **.3000 / .3000** |"
    own = table(joined, joined["data"][0], best_first=False).splitlines()
    assert [line.split(" | ")[0] for line in own[4:]] == ["| ours", "| third", "| theirs"]


def test_a_table_of_tests_has_a_row_for_each_rival(tmp_path: Path) -> None:
    joined = kept([study(tmp_path / "one", [model("ours", 0.3), model("theirs", 0.1)])])
    lines = paired(joined).splitlines()
    assert lines[0] == "| ours − model: R@10 (p Holm), N@10 (p Holm) | small |"
    assert lines[2] == "| theirs | +0.1000 (p 0.04) |"


def test_a_short_table_has_ours_and_the_best_rival_of_each_family_on_each_set(tmp_path: Path) -> None:
    rows = [model("mmgrec", 0.3), model("mf", 0.1), model("ease", 0.15), model("vbpr", 0.2), model("popularity", 0.05)]
    lines = best(kept([study(tmp_path / "one", rows)])).splitlines()
    assert lines[2:] == [
        "| mmgrec | **.3000 / .3000** |",
        "| best of the closed forms: popularity, ease | .1500 / .1500 (ease) |",
        "| best of the factors: mf, vbpr | _.2000 / .2000_ (vbpr) |",
    ]


def test_a_rival_without_a_family_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="somebody"):
        best(kept([study(tmp_path / "one", [model("mmgrec", 0.3), model("somebody", 0.1)])]))
