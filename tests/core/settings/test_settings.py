"""Settings are checked against dataclasses, all problems at once, and survive the way to TOML and back."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest
from annotated_types import Ge, Lt

from mmgrec.errors import Problem, SettingsError
from mmgrec.settings.builder import build, build_all
from mmgrec.settings.descriptions import describe
from mmgrec.settings.values import apply_sets, merge, plain, read_toml, toml_text

pytestmark = pytest.mark.messages


@dataclass(frozen=True, kw_only=True)
class Inner:
    rate: float = 1e-3  # learning rate
    steps: Annotated[int, Ge(1)] = 3


@dataclass(frozen=True, kw_only=True)
class Outer:
    codebook_size: Annotated[int, Ge(2), Lt(1000)] = 128  # codewords a level
    # what is minimised
    loss: Literal["bpr", "softmax"] = "bpr"
    inner: Inner = Inner(steps=7)
    other: Inner | None = None
    sizes: tuple[int, ...] = (1, 2)
    limit: int | Literal["all"] = "all"
    flag: bool = False
    level: int | None = 4
    weights: dict[str, float] = field(default_factory=dict)
    path: Path | None = None
    rank: int = 128  # of the fold

    def __post_init__(self) -> None:
        if self.loss == "softmax" and self.flag:
            raise ValueError("softmax knows no flag")


@dataclass(frozen=True, kw_only=True)
class Needy:
    path: Path


def problems(values: dict[str, object], cls: type = Outer) -> tuple[Problem, ...]:
    with pytest.raises(SettingsError) as error:
        build(cls, values, "part")
    return error.value.problems


def test_nothing_given_is_the_class_with_its_defaults() -> None:
    assert build(Outer, {}) == Outer()


def test_plain_values_become_typed_fields() -> None:
    part = build(Outer, {"sizes": [3, 4], "weights": {"a": 1.0}, "path": "x/y", "limit": 5, "inner": {"rate": 1}})
    assert part == Outer(sizes=(3, 4), weights={"a": 1.0}, path=Path("x/y"), limit=5, inner=Inner(rate=1.0, steps=7))


def test_a_nested_table_is_laid_over_the_default_of_its_field() -> None:
    assert build(Outer, {"inner": {"rate": 0.5}}).inner == Inner(rate=0.5, steps=7)


def test_a_table_for_an_absent_value_starts_from_the_class() -> None:
    assert build(Outer, {"other": {"rate": 0.5}}).other == Inner(rate=0.5, steps=3)


def test_everything_wrong_is_told_at_once_with_dotted_names() -> None:
    sentences = problems(
        {
            "codebok_size": 3,
            "codebook_size": 1,
            "loss": "hinge",
            "inner": {"stepz": 1, "rate": "fast"},
            "sizes": [1, "x"],
            "flag": 1,
            "limit": "most",
        }
    )
    assert sorted(sentences) == [
        "part.codebok_size: there is no such setting; did you mean 'codebook_size'?",
        "part.codebook_size: should be greater than or equal to 2, got 1",
        "part.flag: should be a valid boolean, got 1",
        "part.inner.rate: should be a valid number, got 'fast'",
        "part.inner.stepz: there is no such setting; did you mean 'steps'?",
        "part.limit: should be a valid integer or should be 'all', got 'most'",
        "part.loss: should be 'bpr' or 'softmax', got 'hinge'",
        "part.sizes.1: should be a valid integer, got 'x'",
    ]


@pytest.mark.parametrize("value", ["3", 3.0, True, None, [3]])
def test_an_integer_is_not_guessed_from_something_else(value: object) -> None:
    assert problems({"codebook_size": value})[0].startswith("part.codebook_size: should be a valid integer")


def test_a_missing_value_is_told() -> None:
    assert problems({}, Needy) == ("part.path: a value is required",)


def test_what_the_class_itself_refuses_is_told_with_the_part() -> None:
    assert problems({"loss": "softmax", "flag": True}) == ("part: softmax knows no flag",)


def test_problems_of_several_parts_are_told_together() -> None:
    with pytest.raises(SettingsError) as error:
        build_all([(Outer, {"loss": 1}, "one"), (Needy, {}, "two")])
    assert [problem.split(":")[0] for problem in error.value.problems] == ["one.loss", "two.path"]


def test_settings_survive_toml() -> None:
    part = Outer(sizes=(9,), level=None, other=Inner(steps=2), weights={"a.b": 0.5}, path=Path("q"))
    assert build(Outer, tomllib.loads(toml_text(plain(part)))) == part


def test_set_parses_toml_literals_and_falls_back_to_strings() -> None:
    sets = ["q.a=1", "q.b.c=[1, 2]", "q.d=1e-3", "q.e=true", "q.f=two words", 'q.g="x=y"', "r.a=none", "q.a=2"]
    assert apply_sets(sets, parts=["q", "r"], problems=[]) == {
        "q": {"a": 2, "b": {"c": [1, 2]}, "d": 1e-3, "e": True, "f": "two words", "g": "x=y"},
        "r": {"a": "none"},
    }


def test_none_is_spelt_as_a_word() -> None:
    assert build(Outer, {"level": "none"}).level is None


def test_every_bad_set_is_told_and_the_good_ones_count() -> None:
    form = (
        "is not of the form part.field=value; options of the run itself have flags of their own "
        "or stand at the top of a --config file"
    )
    told: list[Problem] = []
    sets = ["quantiser.x=1", "x=1", "quantizer.x", "quantizer.y=2"]
    assert apply_sets(sets, parts=["quantizer"], problems=told) == {"quantizer": {"y": 2}}
    assert [problem.code for problem in told] == ["settings.unknown-part", *["settings.wrong-form"] * 2]
    assert told == [
        "--set 'quantiser.x=1' names an unknown part 'quantiser'; did you mean 'quantizer'?",
        f"--set 'x=1' {form}",
        f"--set 'quantizer.x' {form}",
    ]


def test_later_layers_win_key_by_key() -> None:
    assert merge({"a": {"x": 1, "y": 2}, "b": 1}, {"a": {"y": 3}}, {"b": 2}) == {"a": {"x": 1, "y": 3}, "b": 2}


def test_a_key_given_twice_is_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text("seed = 1\nseed = 2\n")
    with pytest.raises(SettingsError) as error:
        read_toml(file)
    assert error.value.code == "settings.not-toml"
    assert "line 2" in str(error.value)


def test_a_file_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as error:
        read_toml(tmp_path / "none.toml")
    assert error.value.code == "settings.missing-file"


def test_describe_spells_out_names_types_defaults_and_comments() -> None:
    rows = {row.name: (row.type, row.default, row.comment) for row in describe(Outer, prefix="part.")}
    assert rows["part.codebook_size"] == ("int >= 2 < 1000", "128", "codewords a level")
    assert rows["part.loss"] == ("'bpr' | 'softmax'", '"bpr"', "what is minimised")
    assert rows["part.inner.steps"] == ("int >= 1", "7", "")
    assert rows["part.inner.rate"] == ("float", "0.001", "learning rate")
    assert rows["part.rank"] == ("int", "128", "of the fold")
    assert rows["part.path"] == ("Path | none", "none", "")


def test_describe_tells_what_is_required() -> None:
    assert [row.required for row in describe(Needy)] == [True]
