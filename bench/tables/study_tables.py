"""Keeps what finished studies found, small enough to be committed, and writes it into pages.

    python bench/tables/study_tables.py --keep docs/results/overall.json STUDY STUDY …    # folders of `mmgrec study`
    python bench/tables/study_tables.py --keep docs/results/overall.json docs/results/overall.json STUDY   # joined
    python bench/tables/study_tables.py --tests docs/results/hybrid.json STUDY …          # only their paired tests
    python bench/tables/study_tables.py docs/results/*.md README.md                       # renews their tables

Between ``<!-- KIND: FILE -->`` and ``<!-- /KIND -->`` stands what a kind of table shows of FILE, a path from the page:

=========  =====================================================================================
study      a table for each data set, best model first
steps      the same in the study's own order
summary    one table for all data sets, a row for each model
best       the same with our rows and the best rival of each family alone
tests      the paired tests of one model against each other one
published  what `compare_with_published.py` found
=========  =====================================================================================

Of a data set in several studies, or kept earlier, the models and tests are joined, and corrected together; what several
have counts as the one with most seeds has it, of equal ones the last. Where other figures take the place of the model's
that all are tested against, its earlier tests go.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from mmgrec.evaluation import PairedTest, holm, ranks

sys.path.insert(0, str(Path(__file__).parents[1] / "rivals"))

from compare_with_published import markdown, read_study  # a script of the room beside this one

Json = dict[str, Any]  # Any: JSON
METRICS = ("recall@10", "ndcg@10", "recall@20", "ndcg@20")
OURS = ("mmgrec", "stage-1")
#: family -> the plugins in it
FAMILIES = {
    "closed forms": ("popularity", "itemknn", "ease", "l3ae"),
    "factors": ("mf", "vbpr"),
    "graphs of interactions": ("graphsage", "ngcf", "gat", "lightgcn"),
    "graphs with features": ("mmgcn", "grcn", "lattice", "freedom", "pgl"),
    "other losses on features": ("invrl", "bm3"),
    "Transformers": ("lightgt",),
}
MODEL = ("model", "plugin", "seeds", "parameters", "peak_memory_mib", "threads", "written", "failed")


def kept(paths: Sequence[Path]) -> Json:
    """What is worth keeping of some studies: their folders, or files that were made of such."""
    data: dict[str, Json] = {}
    study: Json = {}
    for path in paths:
        study = read_study(path)
        for section in study["data"]:
            home = data.setdefault(
                section["name"],
                {key: section[key] for key in ("name", "num_users", "num_items", "num_interactions", "fingerprint")}
                | {"models": {}, "tests": {}},
            )
            before = home["models"].get(study["against"])
            for model in section["models"]:
                if model["seeds"]:
                    _join(home["models"], model["model"], _model(model) if path.is_dir() else model)
            if before is not None and before["test"] != home["models"][study["against"]]["test"]:
                home["tests"].clear()
            for metric in METRICS[:2]:
                tests = section["tests"].get(metric, [])
                for test in tests.values() if isinstance(tests, dict) else tests:
                    _join(home["tests"].setdefault(metric, {}), test["against"], test)
    return {
        "study": study["study"],
        "against": study["against"],
        "mask": study["mask"],
        "versions": study["versions"],
        "data": [
            {**section, "models": list(section["models"].values()), "tests": _corrected(section["tests"])}
            for section in data.values()
        ],
    }


def _join(home: Json, name: str, entry: Json) -> None:
    """Keep what stands on more seeds, or came later."""
    if name not in home or len(entry["seeds"]) >= len(home[name]["seeds"]):
        home[name] = entry


def _corrected(tests: Json) -> Json:
    """Metric -> model -> test, corrected for all of the metric."""
    out: Json = {}
    for metric, of in tests.items():
        bare = [PairedTest(**{field.name: test[field.name] for field in fields(PairedTest)}) for test in of.values()]
        out[metric] = {name: {**of[name], "p_holm": test.p_holm} for name, test in zip(of, holm(bare), strict=True)}
    return out


def _model(model: Json) -> Json:
    """What of a model is kept: its settings, the four metrics, seconds, and how it was tuned."""
    out = {key: model[key] for key in MODEL}
    for split in ("test", "valid"):
        out[split] = {metric: model[split][metric] for metric in METRICS if metric in model[split]}
    other = model.get("otherwise")
    out["otherwise"] = other and {"mask": other["mask"], **{name: other[name] for name in METRICS}}
    out["seconds"] = {key: model["seconds"][key]["mean"] for key in ("fit", "stage1", "test")}
    tuned = model["tuned"]
    out["tuned"] = tuned and {
        "by": tuned["by"],
        "chosen": tuned["chosen"],
        "trials": [{"settings": trial["settings"], "score": trial["score"]} for trial in tuned["trials"]],
    }
    return out


def table(study: Json, data: Json, *, best_first: bool = True) -> str:
    """One data set: means ± deviations over seeds, the test against the study's own model."""
    first = f"{study['against']} − model (R@10)"
    lines = [
        f"**{data['name']}**, test",
        "",
        f"| model | seeds | R@10 | N@10 | R@20 | N@20 | {first} | p (Holm) R@10, N@10 | fit s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    places = {metric: _places(data["models"], metric) for metric in METRICS}
    models = data["models"]
    if best_first:
        models = sorted(models, key=lambda model: -model["test"]["recall@10"]["mean"])
    for model in models:
        figures = [_figure(model["test"][metric], places[metric].get(model["model"])) for metric in METRICS]
        tests = [data["tests"].get(metric, {}).get(model["model"]) for metric in METRICS[:2]]
        gap = "—" if tests[0] is None else f"{tests[0]['difference']:+.4f} (t = {tests[0]['t']:.1f})"
        p = ", ".join("—" if test is None else f"{test['p_holm']:.1g}" for test in tests)
        seconds = model["seconds"]["fit"]
        lines.append(
            f"| {model['model']} | {len(model['seeds'])} | {' | '.join(figures)} | {gap} | {p} | {seconds:.0f} |"
        )
    return "\n".join(lines)


def summary(study: Json, places: Mapping[str, Mapping[str, int]] | None = None) -> str:
    """All data sets: Recall@10 / NDCG@10 of every model, in the order of the first set.

    Args:
        study: what was kept.
        places: data set -> model -> 0 for the best; by default among the models that are shown.
    """
    sets = [data["name"] for data in study["data"]]
    values = {(data["name"], model["model"]): model for data in study["data"] for model in data["models"]}
    mean = {key: model["test"]["recall@10"]["mean"] for key, model in values.items()}
    labels = sorted({label for _, label in values}, key=lambda label: -max(mean.get((name, label), 0) for name in sets))
    if places is None:
        places = {data["name"]: _places(data["models"], "recall@10") for data in study["data"]}

    def cell(name: str, label: str) -> str:
        if (name, label) not in values:
            return ""
        pair = [_short(values[name, label]["test"][metric]["mean"]) for metric in METRICS[:2]]
        return _marked(" / ".join(pair), places[name].get(label))

    return _grid("Recall@10 / NDCG@10", labels, sets, cell)


def best(study: Json) -> str:
    """`summary` of our rows and, for each family and data set, the rival with the highest Recall@10 there.

    A family is named by those of its plugins that the study has.

    Raises:
        SystemExit: if there is a rival that belongs to no family.
    """
    known = {*OURS, *(plugin for family in FAMILIES.values() for plugin in family)}
    found = {model["plugin"] for data in study["data"] for model in data["models"]}
    strange = found - known
    if strange:
        raise SystemExit(f"no family in FAMILIES has {', '.join(sorted(strange))}")
    places = {data["name"]: _places(data["models"], "recall@10") for data in study["data"]}
    rivals = {
        (data["name"], family): max(
            (model for model in data["models"] if model["plugin"] in plugins),
            key=lambda model: float(model["test"]["recall@10"]["mean"]),
            default=None,
        )
        for data in study["data"]
        for family, plugins in FAMILIES.items()
    }

    def cell(name: str, family: str) -> str:
        rival = rivals[name, family]
        if rival is None:
            return ""
        pair = " / ".join(_short(rival["test"][metric]["mean"]) for metric in METRICS[:2])
        return f"{_marked(pair, places[name].get(rival['model']))} ({rival['model']})"

    ours = [
        {**data, "models": [model for model in data["models"] if model["plugin"] in OURS]} for data in study["data"]
    ]
    shown = [family for family in FAMILIES if any(rivals[data["name"], family] for data in study["data"])]
    rows = [
        f"| best of the {family}: {', '.join(plugin for plugin in FAMILIES[family] if plugin in found)} | "
        + " | ".join(cell(data["name"], family) for data in study["data"])
        + " |"
        for family in shown
    ]
    return "\n".join([summary({**study, "data": ours}, places), *rows])


def paired(study: Json) -> str:
    """All data sets: how far the model is above each other one, and how sure that is."""
    sets = [data["name"] for data in study["data"]]
    pairs = {
        (data["name"], metric, against): test
        for data in study["data"]
        for metric in METRICS[:2]
        for against, test in data["tests"].get(metric, {}).items()
    }
    labels = list(dict.fromkeys(against for _, _, against in pairs))

    def cell(name: str, label: str) -> str:
        two = [pairs.get((name, metric, label)) for metric in METRICS[:2]]
        return ", ".join(f"{test['difference']:+.4f} (p {test['p_holm']:.1g})" for test in two if test is not None)

    return _grid(f"{study['against']} − model: R@10 (p Holm), N@10 (p Holm)", labels, sets, cell)


def _grid(corner: str, labels: Sequence[str], sets: Sequence[str], cell: Callable[[str, str], str]) -> str:
    """A row for each label, a column for each data set."""
    rows = [f"| {label} | " + " | ".join(cell(name, label) for name in sets) + " |" for label in labels]
    return "\n".join([f"| {corner} | {' | '.join(sets)} |", "|---|" + "---|" * len(sets), *rows])


def _places(models: list[Json], metric: str) -> dict[str, int]:
    """Label -> 0 for the best, 1 for the second best mean on test."""
    means = {model["model"]: model["test"][metric]["mean"] for model in models if metric in model["test"]}
    return ranks(means, metric)


def _marked(text: str, place: int | None) -> str:
    """The best bold, the second best in italics."""
    return f"**{text}**" if place == 0 else f"_{text}_" if place == 1 else text


def _figure(value: Mapping[str, float | None], place: int | None) -> str:
    text = _marked(_short(value["mean"] or 0.0), place)
    return text if value["deviation"] is None else f"{text} ± {_short(value['deviation'])}"


def _short(value: float) -> str:
    return f"{value:.4f}".removeprefix("0")


SHAPES: Mapping[str, Callable[[Any], str]] = {  # Any: JSON
    "study": lambda study: "\n\n".join(table(study, data) for data in study["data"]),
    "steps": lambda study: "\n\n".join(table(study, data, best_first=False) for data in study["data"]),
    "summary": summary,
    "best": best,
    "tests": paired,
    "published": markdown,
}


def write(text: str, home: Path) -> str:
    """``text``, a page in `home`, with all its tables renewed."""

    def renewed(match: re.Match[str]) -> str:
        kind, name = match[1], match[2]
        study = json.loads((home / name).read_text())
        return f"<!-- {kind}: {name} -->\n\n{SHAPES[kind](study)}\n\n<!-- /{kind} -->"

    kinds = "|".join(SHAPES)
    return re.sub(rf"<!-- ({kinds}): (\S+) -->\n.*?<!-- /\1 -->", renewed, text, flags=re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="+", type=Path, help="pages, or with --keep folders of studies")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="what the studies found goes there")
    parser.add_argument("--tests", type=Path, metavar="FILE", help="their paired tests alone go there")
    options = parser.parse_args()
    if options.tests:
        study = kept(options.paths)
        study["data"] = [{**data, "models": []} for data in study["data"]]
        options.tests.write_text(json.dumps(study, indent=1) + "\n")
        return
    if options.keep:
        options.keep.write_text(json.dumps(kept(options.paths), indent=1) + "\n")
        return
    for page in options.paths:
        page.write_text(write(page.read_text(), page.parent))


if __name__ == "__main__":
    main()
