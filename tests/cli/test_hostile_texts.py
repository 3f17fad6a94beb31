"""Ids, titles and names that would steer a terminal, mark up a table or run in a browser: inert wherever they show."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytest
import torch

from mmgrec.errors import SettingsError, UserError
from mmgrec.evaluation import Defects, PairedTest, Report, Spread
from mmgrec.registry import Plugin
from mmgrec.runs import Comparison, DataFacts, RunOutcome
from mmgrec.runs.results import Decoding, ModelResult, RecIDFacts, RunResults, Seconds
from mmgrec.settings import Setting
from mmgrec.studies import StudyResults
from mmgrec.studies.page import write_page
from mmgrec.studies.results import DatasetResults, ModelResults
from mmgrec_cli import render
from mmgrec_cli.app import main

Told = Callable[[str, object], None]
LONG = "n" * 5000
HOSTILE = [
    "a\0b", "\x1b[2J\x1b]0;owned\x07", "\x9b31m", "\u202eabc", "\x1b]8;;http://there\x1b\\", "[bold]x[/bold]", "[/]",
    "[link=http://there]x", "<script>alert(1)</script>", "'\"><img src=x onerror=alert(1)>", "{{ 7 * 7 }}", LONG,
    "../../up", "/etc/passwd", "01", "1", "a\tb", "日本", "=cmd()",
]  # fmt: skip
STEERS = set(map(chr, (*range(9), *range(11, 32), *range(127, 160), 0x202E)))
RUN = (
    "run", "--data=shop", "--out=run", "--quantizer=rqvae", "--baselines=popularity",
    "--set=quantizer.representations=features", "--set=quantizer.codebook_size=4",
    "--set=quantizer.autoencoder.epochs=1", "--set=network.dim=8", "--set=training.epochs=1",
)  # fmt: skip


def said(*argv: str, code: int = 0) -> str:
    """All that a command prints; it must end with this code."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out), pytest.raises(SystemExit) as end:
        main([*argv])
    assert end.value.code == code, out.getvalue()
    return out.getvalue()


def assert_inert(text: str) -> None:
    assert not set(text) & STEERS
    assert LONG not in text


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a log of users and items of hostile names, items with hostile titles, and features."""
    home = tmp_path_factory.mktemp("hostile")
    names = [*HOSTILE, "plain"]
    rows = [(user, item) for user in range(40) for item in {(7 * user + 2 * step) % len(names) for step in range(6)}]
    people = [*HOSTILE, *(f"u{user}" for user in range(40))]
    log = {"user": [people[user] for user, _ in rows], "item": [names[item] for _, item in rows]}
    polars.DataFrame(log).write_parquet(home / "log.parquet")
    polars.DataFrame({"item": names, "title": [f"title {name}" for name in names]}).write_parquet(
        home / "items.parquet"
    )
    table = np.random.default_rng(0).normal(size=(len(names), 4)).astype("float32")
    columns = {f"c{column}": table[:, column] for column in range(4)}
    polars.DataFrame({"item": names, **columns}).write_parquet(home / "visual.parquet")
    (home / "users.jsonl").write_text("".join(json.dumps(name) + "\n" for name in HOSTILE))
    with contextlib.chdir(home):
        imported = said(
            *(
                "data",
                "import",
                "log.parquet",
                "--out=shop",
                "--items=items.parquet",
                "--features=visual=visual.parquet",
            )
        )
        assert_inert(imported)
        assert_inert(said(*RUN))
    return home


@pytest.fixture(autouse=True)
def there(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop)


@pytest.mark.parametrize(
    "argv",
    [
        ("data", "check", "shop"),
        (*RUN,),
        ("ids", "run"),
        ("evaluate", "run"),
        ("compare", "run"),
        ("report", "run"),
        ("recommend", "run", "--users=users.jsonl", "--out=top.jsonl", "-k3"),
        ("recommend", "run", "--users=users.jsonl", "--out=top.parquet", "-k3", "--json"),
        ("explain", "run", "--user=u7"),
        ("explain", "run", "--user=[bold]x[/bold]"),
        ("explain", "run", "--user=u7", f"--item={LONG}"),
        ("explain", "run", f"--user={LONG}", "--item=<script>alert(1)</script>"),
    ],
    ids=lambda argv: " ".join(argv[:2]),
)
def test_no_command_lets_them_through(argv: tuple[str, ...]) -> None:
    assert_inert(said(*argv))


def test_they_come_back_as_they_were() -> None:
    said("recommend", "run", "--users=users.jsonl", "--out=back.jsonl", "-k3")
    rows = [json.loads(line) for line in Path("back.jsonl").read_text().split("\n")[:-1]]
    assert list(dict.fromkeys(row["user"] for row in rows)) == HOSTILE
    assert {row["item"] for row in rows} <= {*HOSTILE, "plain"}
    items = polars.read_parquet("run/rec_ids.parquet")["item"].to_list()
    assert sorted(items) == sorted([*HOSTILE, "plain"])


def test_they_come_back_whole_from_an_explanation() -> None:
    told = json.loads(said("explain", "run", f"--user={LONG}", "-k100", "--exclude=train", "--json"))
    assert told["user"] == LONG
    own = {one["item"]["id"] for one in told["items"]}
    assert own & {*HOSTILE} == own - {"plain"}
    assert len(own) > 3


def test_they_stay_inert_where_a_mistake_names_them(told: Told) -> None:
    for title, name in {
        "that steers": "\x1b[31mred\x1b[0m",
        "with markup": "[bold]x[/]",
        "too long": LONG + "m",
    }.items():
        Path("users.txt").write_text(f"{name}\n")
        text = said("recommend", "run", "--users=users.txt", "--out=no.jsonl", code=2)
        assert_inert(text)
        told(f"name, unknown user {title}", text)
    polars.DataFrame({"item": ["\x1b[2J[bold]\0"] * 2, "c": [1.0, 2.0]}).write_parquet("f.parquet")
    text = said("data", "import", "log.parquet", "--out=other", "--features=visual=f.parquet", code=2)
    assert_inert(text)
    told("name, item that steers", text)


def test_names_of_files_stay_inert(told: Told) -> None:
    name = "\x1b[31m[bold]<script>"
    said("data", "import", "log.parquet", "--out=copy")
    Path("copy/features").mkdir()
    Path(f"copy/features/{name}.npy").write_bytes(b"no array")
    text = said("data", "check", "copy", code=2)
    assert_inert(text)
    assert "[bold]<script>" in text
    told("name, file that steers", next(line for line in text.splitlines() if line.startswith("error")))


class Reader(HTMLParser):
    """What a browser makes of a page: its elements, and what would run."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.scripts = 0
        self.deeds: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.deeds += [name for name, _ in attrs if name.startswith("on")] + [tag] * (tag in ("img", "iframe", "a"))

    def handle_data(self, data: str) -> None:
        self.text += data


def poisoned(value: Any, names: Iterator[str]) -> Any:
    """Facts of the page with a hostile name in place of every id and title."""
    if isinstance(value, dict):
        return {key: next(names) if key in ("id", "title") else poisoned(part, names) for key, part in value.items()}
    return [poisoned(part, names) for part in value] if isinstance(value, list) else value


def test_the_page_shows_them_and_does_nothing() -> None:
    shutil.copytree("run", "paged")
    names = itertools.cycle(HOSTILE)
    facts = poisoned(json.loads(Path("run/insight.json").read_text()), names)
    assert {*strings(facts)} >= {*HOSTILE}
    Path("paged/insight.json").write_text(json.dumps(facts))
    page, plain = (write_page(Path(folder)).read_text(encoding="utf-8") for folder in ("paged", "run"))
    read, usual = Reader(page), Reader(plain)
    assert (read.scripts, read.deeds) == (usual.scripts, usual.deeds)
    assert "<script>alert(1)</script>" in read.text
    assert "[bold]x[/bold]" in read.text
    assert "{{ 7 * 7 }}" in read.text
    assert "n" * 300 not in page
    assert not set(read.text) & STEERS - set(usual.text)


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from strings(part)


# --------------------------------------------------------------------------- what prints


EVIL = "\x1b[31m[bold]x[/][/bold]<script>\u202e"
SHOWN = "\\u001b[31m[bold]x[/][/bold]<script>\\u202e"
SPREAD = Spread(mean=0.5)
STUDY = StudyResults(
    study=EVIL,
    title=EVIL,
    seeds=(0,),
    mask=EVIL,
    metrics=("recall@10",),
    definitions={},
    against=EVIL,
    versions={},
    written="",
    data=(
        DatasetResults(
            name=EVIL,
            models=(
                ModelResults(
                    model=EVIL,
                    plugin=EVIL,
                    settings={},
                    seeds=(0,),
                    cells=(EVIL,),
                    test={"recall@10": SPREAD},
                    valid={},
                    seconds={"fit": SPREAD, "test": SPREAD},
                    test_users=(3,),
                    parameters=1,
                ),
            ),
        ),
    ),
)
IDS = RecIDFacts(num_levels=1, usage=(1.0,), perplexity=(1.0,), unique_before_collision=1.0, largest_group=1, hash=EVIL)
LISTS = Decoding(users=1, invalid=0, duplicate=0, seen=0, missing=0, misplaced=0, recall_of_exact=None, exact_users=0)
RESULT = ModelResult(
    model=EVIL,
    split="test",
    mask=EVIL,
    metrics={"recall@10": 0.5},
    num_users=1,
    seconds=Seconds(fit=1.0, recommend=1.0),
)
RUN_RESULTS = RunResults(
    seed=0,
    preset=EVIL,
    data=DataFacts(name=EVIL, num_users=1, num_items=1, num_interactions=1, fingerprint=EVIL),
    rec_ids=IDS,
    decoding=LISTS,
    results=(RESULT,),
    definitions={},
)
REPORT = Report(
    metrics={EVIL: 0.5},
    per_user={},
    definitions={},
    user=torch.zeros(1, dtype=torch.int64),
    item=torch.zeros(1, 1, dtype=torch.int64),
    defects=Defects(),
    split=EVIL,
    mask=EVIL,
    seconds=1.0,
)
HEALTH = {
    "num_levels": 1,
    "usage": [1.0],
    "unique_before_collision": 1.0,
    "largest_group": 1,
    "num_items": 1,
    "hash": EVIL,
    "level_sizes": [1],
    "perplexity": [1.0],
    "reconstruction": None,
    "alarms": [EVIL],
}
TEST = PairedTest(metric=EVIL, difference=0.1, t=1.0, p=0.5, num_users=3, p_holm=0.5)
TESTED = Comparison(first=EVIL, second=EVIL, first_value=0.1, second_value=0.2, test=TEST)
PLUGIN = Plugin(kind="quantizer", name=EVIL, summary=EVIL, distribution=EVIL, version=EVIL, status=EVIL)
PRINTED: dict[str, Callable[[], None]] = {
    "text": lambda: render.text(EVIL),
    "note": lambda: render.note(EVIL),
    "warning": lambda: render.warning(EVIL),
    "mistake": lambda: render.problem(UserError(EVIL, where=EVIL)),
    "mistakes": lambda: render.problem(SettingsError([EVIL, EVIL])),
    "fault": lambda: render.fault(RuntimeError(EVIL)),
    "fault of a package": lambda: render.fault(RuntimeError(EVIL), PLUGIN),
    "table": lambda: render.table(EVIL, (EVIL, EVIL), [(EVIL, EVIL)]),
    "plugins": lambda: render.plugins([PLUGIN]),
    "settings": lambda: render.settings(
        {EVIL: [Setting(name=EVIL, type=EVIL, default=EVIL, required=False, comment=EVIL)]}
    ),
    "results": lambda: render.results(RunOutcome(folder=Path(EVIL), results=RUN_RESULTS, stored=True)),
    "evaluation": lambda: render.evaluation(EVIL, REPORT),
    "health": lambda: render.health(HEALTH),
    "comparison": lambda: render.comparison([TESTED]),
    "study": lambda: render.study(STUDY),
    "data check": lambda: render.data_report(
        {
            "facts": {EVIL: EVIL, "bags": {EVIL: EVIL}, "features": {EVIL: {EVIL: EVIL}}},
            "ok": False,
            "findings": [{"severity": "error", "file": EVIL, "what": EVIL, "remedy": EVIL}],
        }
    ),
}


def test_everything_that_prints_is_tried() -> None:
    helpers = {"as_json", "clock", "inert", "page", "stderr_console"}  # these print no string of the data's own
    others = {"problem": "mistake", "data_report": "data check"}
    assert {others.get(name, name) for name in set(render.__all__) - helpers} == set(PRINTED) - {
        "mistakes",
        "fault of a package",
    }


@pytest.mark.parametrize("name", PRINTED)
def test_what_prints_a_name_prints_it_inert(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    PRINTED[name]()
    out, err = capsys.readouterr()
    shown = "".join((out + err).split())
    assert not set(out + err) & STEERS
    assert SHOWN in shown or all(part in shown for part in ("[bold]x", "[/]", "[/bold]", "<script>"))
