"""The report page: whole in one file, inert, the same bytes for the same facts, nothing shown that is not known."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from mmgrec.errors import RunError
from mmgrec.evaluation.harness import evaluate
from mmgrec.generator.layers import NetworkSettings
from mmgrec.generator.task import GeneratorTraining
from mmgrec.insight.facts import insight
from mmgrec.interfaces import Context, Quantization, Quantizer, Representations
from mmgrec.recid.table import Codes
from mmgrec.recommender import MMGRec
from mmgrec.report.facts import TrainingStage
from mmgrec.report.figures import visible
from mmgrec.runs.layout import REPORT
from mmgrec.storage import record_json, record_of
from mmgrec.studies.page import rewrite_page, write_page
from mmgrec.studies.page_facts import read_folder
from mmgrec.testing import tiny_data
from mmgrec_plugins.collisions.popularity import ByPopularity
from mmgrec_plugins.decoders.exact import Exact
from mmgrec_plugins.positions.relation_aware import RelationAware

Json = dict[str, Any]
ROOT = Path(__file__).parents[3]
DATA = tiny_data()
EVIL = "</script><script>alert(1)</script><b onclick=x>'\"&amp;{{ 7 * 7 }}\x1b[31m\u202e<!--"
PARTS = ("Results", "What is recommended, and to whom", "Training", "Rec-IDs", "How loudly users hear the relations",
         "One user", "Why this item")  # fmt: skip


class PlantedQuantizer(Quantizer):
    def fit(self, data: Any, context: Context) -> Quantization:
        item = data.latent["item_meaning"]
        codes = Codes(token=(item[:, :3] > 0).long(), level_sizes=(2, 2, 3))
        return Quantization(representations=Representations(user=data.latent["user_taste"], item=item), codes=codes)


@pytest.fixture(scope="module")
def facts() -> Json:
    """An insight of a small model, as it is stored."""
    recommender = MMGRec(
        quantizer=PlantedQuantizer(), collisions=ByPopularity(), position=RelationAware(), decoder=Exact(),
        network=NetworkSettings(dim=16, num_heads=2, head_dim=8), training=GeneratorTraining(epochs=0),
    )  # fmt: skip
    fitted = recommender.fit(DATA, Context())
    report = evaluate(fitted, DATA, top_k=(20,))
    return insight(fitted, DATA, report.item, report.user).to_json()


def spread(*values: float) -> Json:
    return {"mean": sum(values) / len(values), "deviation": 0.01 if len(values) > 1 else None, "values": list(values)}


def model(label: str, recall: float, cells: list[str], **more: Any) -> Json:
    return {
        "model": label, "plugin": "mmgrec", "settings": {}, "seeds": [0, 1], "cells": cells,
        "test": {"recall@10": spread(recall, recall), "ndcg@10": spread(recall / 2, recall / 2)},
        "valid": {"recall@10": spread(0.5)}, "defects": 0,
        "seconds": {"fit": spread(3.0), "stage1": {"mean": None}, "valid": spread(1.0), "test": spread(2.0)},
        "test_users": [80], "parameters": 1234567, "peak_memory_mib": 99.0, "threads": [1], "versions": [],
        "written": [], "tuned": None, "failed": {}, **more,
    }  # fmt: skip


def stages(name: str) -> list[Json]:
    rows = [{"epoch": float(epoch), "loss": 2.0 / epoch, "score": 0.1 * epoch, "seconds": 0.1} for epoch in (1, 2, 3)]
    return [{"stage": name, "total": 3, "rows": rows, "facts": {}}]


def study(folder: Path, facts: Json, *, evil: str = "", insights: bool = True) -> Path:
    """A study's folder as `mmgrec study` leaves it, with a name that means harm in each place that data can name."""
    cells = {f"m{seed}": "mmgrec" for seed in (0, 1)} | {f"o{seed}": "other" for seed in (0, 1)}
    facts = json.loads(json.dumps(facts))
    facts["user"]["item"] = facts["user"]["path"][0]["example"] = {"id": f"i{evil}", "title": f"t{evil}"}
    facts["user"]["items"][0] = {"id": f"i{evil}", "title": f"t{evil}"}
    for cell, label in cells.items():
        home = folder / "cells" / cell
        home.mkdir(parents=True)
        cell_json = {
            "schema": 1, "label": label, "seed": int(cell[-1]), "mask": "train+valid", "top_k": [10],
            "metrics": ["recall", "ndcg"], "model": {}, "results": [], "seconds": {"fit": 3.0}, "parameters": None,
            "data": {"name": "d", "num_users": 80, "num_items": 48, "num_interactions": 800, "fingerprint": "f"},
            "peak_memory_mib": None, "threads": 1, "versions": {}, "written": "", "system": "Linux", "processors": 2,
            "python": "3.11", "history": stages(f"stage{evil}"),
        }  # fmt: skip
        (home / "cell.json").write_text(json.dumps(cell_json))
        if insights:
            small = {
                key: value for key, value in facts.items() if key not in ("codewords", "prefixes", "gains", "user")
            }
            (home / "insight.json").write_text(json.dumps(facts if label == "mmgrec" else small))
    trial = {"settings": {}, "score": 0.5, "seconds": {"fit": 1.0}, "problem": ""}
    other = model(
        f"other{evil}", 0.3, ["o0", "o1"], tuned={"by": f"recall{evil}", "chosen": {f"k{evil}": 1}, "trials": [trial]}
    )
    test = {"against": f"other{evil}", "seeds": [0, 1], "metric": "recall@10", "difference": 0.1, "t": 3.0, "p": 0.001,
            "num_users": 80, "p_holm": 0.002}  # fmt: skip
    data = {"name": f"set{evil}", "num_users": 80, "num_items": 48, "num_interactions": 800,
            "models": [model("mmgrec", 0.4, ["m0", "m1"]), other], "tests": {"recall@10": [test]}}  # fmt: skip
    study_json = {
        "schema": 1, "study": f"name{evil}", "title": f"title{evil}", "seeds": [0, 1], "mask": "train+valid",
        "metrics": ["recall@10", "ndcg@10"], "definitions": {"recall": f"hits{evil}"}, "against": "mmgrec",
        "absent": [f"row{evil}"], "versions": {"mmgrec": "0.1.0"}, "written": "2030-01-02T03:04:05Z", "data": [data],
        "failed": {f"cell{evil}": f"why{evil}"},
    }  # fmt: skip
    (folder / "study.json").write_text(json.dumps(study_json))
    return folder


def run(folder: Path, facts: Json) -> Path:
    """A run's folder before it is sealed."""
    import polars

    folder.mkdir()
    rows = [
        {"model": label, "split": "test", "mask": "train", "metrics": {"recall@10": value, "ndcg@10": value / 2},
         "num_users": 4, "seconds": {"fit": 1.5, "recommend": 0.2}}
        for label, value in (("mmgrec", 0.5), ("popularity", 0.25))
    ]  # fmt: skip
    data = {"name": "toy", "num_users": 80, "num_items": 48, "num_interactions": 800, "fingerprint": "f"}
    results = {
        "schema": 1,
        "seed": 3,
        "preset": "recipe",
        "data": data,
        "rec_ids": {"num_levels": 2, "usage": [0.5, 1.0], "perplexity": [2.0, 1.0], "unique_before_collision": 0.5,
                    "largest_group": 2, "hash": "h"},
        "decoding": {"users": 4, "invalid": 0, "duplicate": 0, "seen": 0, "missing": 0, "misplaced": 0,
                     "beam_recall_of_exact@10": None, "oracle_users": 0},
        "results": rows,
        "definitions": {"recall": "hits"},
    }  # fmt: skip
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "insight.json").write_text(json.dumps({"schema": 1, "models": {"mmgrec": facts}}))
    frame = {"model": ["mmgrec"] * 4 + ["popularity"] * 4, "split": ["test"] * 8, "user": [0, 1, 2, 3] * 2,
             "recall@10": [1.0, 0.5, 0.5, 0.0, 0.0, 0.5, 0.5, 0.0]}  # fmt: skip
    polars.DataFrame(frame).write_parquet(folder / "per_user.parquet")
    lines: list[Json] = [
        {"event": "note", "text": "mmgrec: fitting"},
        {"event": "begin", "stage": "generator", "total": 9},
        *({"event": "update", "stage": "generator", "done": n, "epoch": n, "loss": 1.0 / n} for n in (1, 2)),
        {"event": "note", "text": "mmgrec: fitting"},  # killed, and begun again
        {"event": "begin", "stage": "generator", "total": 9},
        *({"event": "update", "stage": "generator", "done": n, "epoch": n, "loss": 1.0 / n} for n in (2, 3)),
        {"event": "note", "text": "popularity: fitting"},
    ]
    (folder / "log.jsonl").write_text("".join(json.dumps({"time": 1.0, **line}) + "\n" for line in lines))
    return folder


class Reader(HTMLParser):
    """Tags with their attributes, text, and scripts by type."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.scripts: list[tuple[str, str]] = []
        self.inside: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside.append(tag)
        if tag == "script":
            self.scripts.append((dict(attrs).get("type") or "", ""))

    def handle_endtag(self, tag: str) -> None:
        while self.inside and self.inside.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "script" in self.inside:
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        elif "style" not in self.inside:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    @property
    def policy(self) -> str:
        (content,) = [tag["content"] for _, tag in self.tags if tag.get("http-equiv") == "Content-Security-Policy"]
        return content or ""

    @property
    def figures(self) -> list[Json]:
        (figures,) = [json.loads(text) for kind, text in self.scripts if kind == "application/json"]
        return figures  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def page(facts: Json, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_page(study(tmp_path_factory.mktemp("study"), facts, evil=EVIL)).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def read(page: str) -> Reader:
    return Reader(page)


def test_the_page_asks_nothing_of_any_network(page: str, read: Reader) -> None:
    for _, attributes in read.tags:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            assert (attributes.get(name) or "#").startswith("#")
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", page.split('<script type="application/json"')[0])
    assert "@import" not in page
    assert "url(" not in page.split("</style>")[0]
    policy = read.policy
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "script-src 'unsafe" not in policy
    assert "http" not in policy


def test_only_the_pages_own_scripts_may_run(page: str, read: Reader) -> None:
    import base64

    policy = read.policy
    allowed = set(re.findall(r"'sha256-([^']+)'", policy))
    own = [text for kind, text in read.scripts if kind != "application/json"]
    assert {base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in own} == allowed
    assert len(own) == 2
    assert not any(name.startswith("on") for _, attributes in read.tags for name in attributes)


def test_strings_of_the_data_stay_strings(page: str, read: Reader) -> None:
    assert "alert(1)" in read.text
    assert len(read.scripts) == 3
    assert not any(tag == "b" for tag, _ in read.tags)
    assert "{{ 7 * 7 }}" in read.text
    assert "49'" not in read.text
    before = page.split('<script type="application/json"')[0]
    assert not set(before) & {chr(code) for code in (*range(9), *range(11, 32), 0x202E)}
    (block,) = [text for kind, text in read.scripts if kind == "application/json"]
    assert not set("<>&\x1b\u202e") & set(block)
    assert "[31m" in visible(EVIL)


def test_labels_that_plotly_reads_hold_no_markup(read: Reader) -> None:
    def strings(value: Any) -> list[str]:
        if isinstance(value, dict):
            return [text for key, part in value.items() if key != "hovertemplate" for text in strings(part)]
        if isinstance(value, list):
            return [text for part in value for text in strings(part)]
        return [value] if isinstance(value, str) else []

    assert any("other&lt;/script" in text for figure in read.figures for text in strings(figure))
    assert not any("<" in text for figure in read.figures for text in strings(figure))
    templates = {trace.get("hovertemplate", "") for figure in read.figures for trace in figure["data"]}
    assert not any("other" in template or "stage" in template for template in templates)


def test_plotly_takes_every_figure(read: Reader) -> None:
    import plotly.graph_objects as go

    for figure in read.figures:
        go.Figure(data=figure["data"], layout=figure["layout"])  # refuses what it does not know
        for axis in ("xaxis", "yaxis"):
            assert figure["layout"][axis]["title"]["text"] or figure["data"][0].get("orientation") == "h"


def test_every_figure_has_its_place_a_height_and_a_sentence(page: str, read: Reader) -> None:
    places = {tag["id"]: tag["style"] for _, tag in read.tags if tag.get("class") == "plot"}
    assert sorted(name or "" for name in places) == sorted(figure["id"] for figure in read.figures)
    assert len(places) == len(read.figures)
    assert all(re.fullmatch(r"height:\d{3}px", style or "") for style in places.values())
    assert page.count('<p class="aid">') == len(places)
    assert '<p class="aid"></p>' not in page


def test_every_part_is_there(read: Reader) -> None:
    for name in PARTS:
        assert name in read.text
    kinds = {re.sub(r"^data-\d+-|-\d+$", "", figure["id"]) for figure in read.figures}
    assert kinds == {
        "bars", "coverage", "popularity", "popularity-recall", "popularity-ndcg", "history-recall", "history-ndcg",
        "loss", "score", "codewords", "prefixes", "gains", "content", "relation", "attention",
    }  # fmt: skip
    assert "failed: why" in read.text
    assert "left out: row" in read.text
    assert "2030-01-02 03:04:05 UTC" in read.text


def test_the_table_has_means_deviations_marks_and_tests(page: str) -> None:
    rows = re.findall(r"<tr.*?</tr>", page, flags=re.DOTALL)
    own, other = (next(row for row in rows if mean in row) for mean in ("0.4000", "0.3000"))
    assert '<span class="best">0.4000</span> <small>± 0.0100</small>' in own
    assert '<span class="second">0.3000</span> <small>± 0.0100</small>' in other
    assert "+0.1000*" in other
    assert "0.002" in other
    for row in (own, other):
        assert "1,234,567" in row
        assert "25.00" in row  # 2 s for 80 users, in ms
        assert "3.0" in row


def test_equal_facts_give_equal_bytes(facts: Json, tmp_path: Path) -> None:
    first, second = (write_page(study(tmp_path / name, facts)).read_bytes() for name in ("one", "two"))
    assert first == second
    assert len(first) < 6_000_000
    assert str(tmp_path).encode() not in first


def test_what_is_not_known_is_left_out(facts: Json, tmp_path: Path) -> None:
    read = Reader(write_page(study(tmp_path / "study", facts, insights=False)).read_text())
    shown = [name for name in PARTS if f" {name} " in f" {read.text} "]
    assert shown == ["Results", "Training"]
    assert {figure["id"].split("-")[2] for figure in read.figures} == {"bars", "loss", "score"}


def test_a_big_study_stays_below_six_megabytes(facts: Json, tmp_path: Path) -> None:
    home = study(tmp_path / "study", facts)
    rows = [{"epoch": float(n), "loss": 1 / (n + 1.23456), "score": 0.1234567 / (n + 1)} for n in range(300)]
    history = [{"stage": f"a-long-name-of-a-stage-{number}", "rows": rows} for number in range(8)]
    for cell in ("m0", "o0"):
        file = home / "cells" / cell / "cell.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "history": history}))
    study_json = json.loads((home / "study.json").read_text())
    (data,) = study_json["data"]
    models = [{**row, "model": f"{row['model']} {number}"} for number in range(9) for row in data["models"]]
    study_json["data"] = [{**data, "name": f"set {number}", "models": models} for number in range(6)]
    (home / "study.json").write_text(json.dumps(study_json))
    assert write_page(home).stat().st_size < 6_000_000


def test_a_runs_page_has_its_tests_and_its_training(facts: Json, tmp_path: Path) -> None:
    folder = run(tmp_path / "run", facts)
    page_facts = read_folder(folder)
    (section,) = page_facts.sheets
    mine, other = section.lines
    assert (page_facts.seeds, page_facts.mask, section.first) == ([3], "train", "mmgrec")
    assert (mine.difference, other.difference) == (None, 0.25)
    assert other.p == pytest.approx(0.391, abs=1e-3)
    assert other.rank_ms == 50.0
    assert (mine.figures["recall@10"].place, other.figures["recall@10"].place) == (0, 1)
    read = Reader(write_page(folder).read_text())
    for name in PARTS:
        assert name in read.text
    (loss,) = [figure for figure in read.figures if "-loss-" in figure["id"]]
    assert loss["data"][0]["x"] == [1, 2, 3]


def test_stages_go_on_where_a_kill_stopped_them(facts: Json, tmp_path: Path) -> None:
    mine, other = read_folder(run(tmp_path / "run", facts)).sheets[0].lines
    assert [stage.stage for stage in mine.stages] == ["generator"]
    assert [epoch for epoch, _ in mine.stages[0].curve("loss")] == [1, 2, 3]
    assert list(other.stages) == []


def test_a_stage_comes_back_from_json() -> None:
    (table,) = stages("generator")
    stage = record_of(TrainingStage, table, where="cell.json")
    assert list(record_json(stage).items()) == list(table.items())
    assert stage.curve("score") == [(1.0, 0.1), (2.0, 0.2), (3.0, pytest.approx(0.3))]
    assert stage.curve("recall") == []


def test_a_sealed_run_knows_its_new_page(facts: Json, tmp_path: Path) -> None:
    from mmgrec.runs.folder import RunFolder

    folder = run(tmp_path / "run", facts)
    (folder / "run.toml").write_text('fingerprint = "f"\n')
    RunFolder(path=folder).finish()
    rewrite_page(folder)
    RunFolder(path=folder).checked()
    (folder / REPORT).write_text("somebody wrote into it")
    rewrite_page(folder)
    RunFolder(path=folder).checked()
    assert not (folder / "lock").exists()
    (folder / "results.json").write_text((folder / "results.json").read_text() + " ")
    with pytest.raises(RunError) as error:
        rewrite_page(folder)
    assert "results.json" in str(error.value)


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError) as error:
        rewrite_page(tmp_path)
    assert error.value.where == str(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_broken_file_is_named(facts: Json, tmp_path: Path) -> None:
    folder = study(tmp_path / "study", facts)
    (folder / "study.json").write_text("{")
    with pytest.raises(RunError) as error:
        rewrite_page(folder)
    assert error.value.where == str(folder / "study.json")


@pytest.mark.parametrize("make", [run, study])
def test_what_a_newer_version_says_of_models_is_refused_by_file(
    make: Callable[..., Path], facts: Json, tmp_path: Path
) -> None:
    with pytest.raises(RunError) as error:
        write_page(make(tmp_path / "made", {**facts, "schema": 2}))
    assert error.value.code == "insight.newer-schema"
    assert "insight.json" in error.value.where


def test_the_wheel_holds_the_pages_files(tmp_path: Path) -> None:
    """Hatch takes what lies in the packages; the three files lie there and are not left out."""
    pytest.importorskip("hatchling")
    from hatchling.builders.wheel import WheelBuilder

    wanted = {f"mmgrec/report/{name}" for name in ("page.html.j2", "page.css", "page.js")}
    source = tmp_path / "source"
    shutil.copytree(ROOT / "mmgrec", source / "mmgrec", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    for name in ("kernels/mmgrec_kernels", "plugins/mmgrec_plugins", "cli/mmgrec_cli"):
        (source / name).mkdir(parents=True)
    included = {file.distribution_path for file in WheelBuilder(str(source)).recurse_included_files()}
    assert wanted <= included
