"""The page of a model with an item memory: both parts of a score, who speaks; of one without, not a word."""

from __future__ import annotations

import dataclasses
import html
import re
from pathlib import Path

import pytest

from mmgrec.insight import GeneratorInsight, MemoryInsight, MemoryPart, ModelInsight, NamedItem, Voice
from mmgrec.report import DatasetSection, ModelRow, PageFacts, page_html
from mmgrec.storage import read_json

BEFORE = Path(__file__).parents[2] / "before"
EVIL = "<script>alert(1)</script>{{ 7 * 7 }}\x1b[31m"
PART = MemoryPart(
    value=1.25,
    voices=4,
    history=9,
    speak_for=(
        Voice(item=NamedItem(id="i1", title="Red mug"), value=2.0, age=0),
        Voice(item=NamedItem(id=EVIL, title=EVIL), value=0.5, age=3),
    ),
    speak_against=(Voice(item=NamedItem(id="i3", title=""), value=-1.0, age=None),),
)
MEMORY = MemoryInsight(
    kept=30, neighbours=28.125, spoken_for=0.975, bytes=110_592, decay=0.8, users=512, top_k=10, other_places=0.5,
    other_items=0.25, share=0.4,
)  # fmt: skip


def stored() -> ModelInsight:
    """What the first version wrote of its model."""
    models = read_json(BEFORE / "run" / "insight.json")["models"]
    return ModelInsight.of_json(next(table for table in models.values() if "codewords" in table))


def generator_of(insight: ModelInsight) -> GeneratorInsight:
    assert insight.generator is not None
    return insight.generator


def remembering(part: MemoryPart | None = PART, memory: MemoryInsight | None = MEMORY) -> ModelInsight:
    """The same model with a memory."""
    insight = stored()
    user = generator_of(insight).user
    assert user is not None
    told = dataclasses.replace(user, memory=part, log_probability=-3.5)
    return dataclasses.replace(insight, generator=dataclasses.replace(generator_of(insight), user=told, memory=memory))


def page_of(**models: ModelInsight) -> str:
    lines = [ModelRow(label=label, insights=[insight]) for label, insight in models.items()]
    facts = PageFacts(
        kind="run", name="r", title="t", written="", mask="train", seeds=[0], metrics=["recall@10"], definitions={},
        versions={}, machine={}, sheets=[DatasetSection(name="d", facts={}, first=lines[0].label, lines=lines)],
    )  # fmt: skip
    return page_html(facts).split('<script type="application/json"')[0].split("</style>")[1]


def text_of(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


@pytest.fixture(scope="module")
def page() -> str:
    return page_of(own=remembering(), plain=stored())


def test_both_parts_and_their_sum_are_shown(page: str) -> None:
    text = text_of(page)
    assert "Its score: −2.25" in text
    for words in ("logarithm of 3.0% −3.50", "4 of 9 items say something +1.25", "the sum of both −2.25"):
        assert words in text
    assert "1 item not shown here −0.25" in text  # 1.25 - (2 + 0.5 - 1)


def test_who_speaks_stands_on_its_side_with_its_age(page: str) -> None:
    side = {
        kind: re.findall(rf'<div class="step panel {kind}">.*?</div>\n?</div>', page, re.DOTALL)
        for kind in ("for", "against")
    }
    (favour,), (against,) = side["for"], side["against"]
    assert "Red mug [i1] · the newest +2.00" in text_of(favour)
    assert "· 3 newer +0.50" in text_of(favour)
    assert "i3 −1.00" in text_of(against)
    assert re.findall(r"width:([\d.]+)%", favour + against) == ["100.0", "25.0", "50.0"]


def test_facts_of_the_memory_stand_in_a_table_of_the_models_that_have_one(page: str) -> None:
    (row,) = [row for row in re.findall(r"<tr>.*?</tr>", page, re.DOTALL) if "of at most 30" in row]
    assert text_of(row) == "own 28.1 of at most 30 97.5% 108 0.8 50.0% 25.0% 40.0%"
    assert "10 best items of 512 users" in text_of(page)
    assert "d times as much" in text_of(page)
    assert "d times as much" not in text_of(page_of(own=remembering(memory=dataclasses.replace(MEMORY, decay=1.0))))


def test_names_of_the_history_are_inert(page: str) -> None:
    assert "<script" not in page
    assert "alert(1)" in text_of(page)
    assert "{{ 7 * 7 }}" in text_of(page)
    assert "\x1b" not in page


def test_nobody_says_anything_of_the_item() -> None:
    silent = MemoryPart(value=0.0, voices=0, history=9, speak_for=(), speak_against=())
    text = text_of(page_of(own=remembering(silent)))
    assert text.count("No item of the history does.") == 2
    assert "0 of 9 items say something +0.00" in text


def test_a_run_without_a_memory_has_no_word_of_one() -> None:
    """Its own page is that of the first version, but for the sentence on the Rec-ID."""
    text = text_of(page_of(own=stored()))
    assert "Why this item" in text
    for words in ("memory", "Speak", "speaks", "score:"):
        assert words not in text
    assert "The product over all boxes is the probability of the Rec-ID" in text
