"""Each kind of wrong setting has its code, which stays on the way through nested parts and through `build_all`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest
from annotated_types import Ge

from mmgrec.errors import Problem, SettingsError
from mmgrec.settings.builder import build, build_all
from mmgrec.settings.values import apply_sets, read_toml


@dataclass(frozen=True, kw_only=True)
class Inner:
    steps: Annotated[int, Ge(1)] = 3


@dataclass(frozen=True, kw_only=True)
class Outer:
    codebook_size: Annotated[int, Ge(2)] = 128
    loss: Literal["bpr", "softmax"] = "bpr"
    inner: Inner = Inner()
    other: Inner | None = None
    sizes: tuple[int, ...] = (1, 2)
    limit: int | Literal["all"] = "all"
    flag: bool = False
    level: int | None = 4
    weights: dict[str, float] = field(default_factory=dict)
    path: Path | None = None

    def __post_init__(self) -> None:
        if self.loss == "softmax" and self.flag:
            raise ValueError("softmax knows no flag")


@dataclass(frozen=True, kw_only=True)
class Needy:
    path: Path


@dataclass(frozen=True, kw_only=True)
class Choosy:
    """Refuses its settings with codes of its own."""

    first: int = 1

    def __post_init__(self) -> None:
        raise SettingsError([Problem("first: is odd", "choosy.odd"), Problem("the moon is full", "choosy.moon")])


def problems(values: dict[str, object], cls: type = Outer) -> tuple[Problem, ...]:
    with pytest.raises(SettingsError) as error:
        build(cls, values, "part")
    return error.value.problems


def codes(values: dict[str, object], cls: type = Outer) -> dict[str, str]:
    """dotted name -> code"""
    return {problem.split(":")[0]: problem.code for problem in problems(values, cls)}


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"codebok_size": 3}, "settings.unknown-key"),
        ({"inner": {"stepz": 1}}, "settings.unknown-key"),
        ({"codebook_size": "3"}, "settings.wrong-type"),
        ({"sizes": [1, "x"]}, "settings.wrong-type"),
        ({"level": "x"}, "settings.wrong-type"),
        ({"path": 3}, "settings.wrong-type"),
        ({"codebook_size": 1}, "settings.wrong-value"),
        ({"inner": {"steps": 0}}, "settings.wrong-value"),
        ({"loss": "hinge"}, "settings.wrong-value"),
        ({"limit": "most"}, "settings.wrong-value"),
        ({"inner": 3}, "settings.not-a-table"),
        ({"other": 3}, "settings.not-a-table"),
        ({"weights": [1.0]}, "settings.not-a-table"),
        ({"loss": "softmax", "flag": True}, "settings.wrong-combination"),
    ],
)
def test_each_kind_of_problem_has_its_code(values: dict[str, object], code: str) -> None:
    assert [*codes(values).values()] == [code]


def test_the_code_of_a_missing_value() -> None:
    assert codes({}, Needy) == {"part.path": "settings.missing-key"}


def test_a_class_gives_codes_of_its_own() -> None:
    assert problems({}, Choosy) == ("part: first: is odd", "part: the moon is full")
    assert [problem.code for problem in problems({}, Choosy)] == ["choosy.odd", "choosy.moon"]


def test_problems_of_several_parts_are_told_together_with_their_codes() -> None:
    with pytest.raises(SettingsError) as error:
        build_all([(Outer, {"loss": "hinge", "x": 1}, "one"), (Needy, {}, "two"), (Choosy, {}, "")])
    assert [(problem.split(":")[0], problem.code) for problem in error.value.problems] == [
        ("one.loss", "settings.wrong-value"),
        ("one.x", "settings.unknown-key"),
        ("two.path", "settings.missing-key"),
        ("first", "choosy.odd"),
        ("the moon is full", "choosy.moon"),
    ]
    assert error.value.codes == tuple(problem.code for problem in error.value.problems)
    assert error.value.code == "settings.several"


def test_the_codes_of_wrong_sets() -> None:
    told: list[Problem] = []
    apply_sets(["quantiser.x=1", "x=1", "quantizer.y=2"], parts=["quantizer"], problems=told)
    assert [problem.code for problem in told] == ["settings.unknown-part", "settings.wrong-form"]


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("run.yaml", b"seed: 1", "settings.not-toml"),
        ("run.toml", b"seed = ", "settings.not-toml"),
        ("run.toml", b"seed = " + b"[" * 10_000, "settings.not-toml"),
        ("run.toml", b"seed = 1\xff", "settings.unreadable-file"),
        ("run.toml", b"#" * (1 << 21), "settings.too-large"),
        ("run.toml", None, "settings.not-a-file"),
    ],
)
def test_files_that_hold_no_settings(tmp_path: Path, name: str, content: bytes | None, code: str) -> None:
    if content is None:
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SettingsError) as error:
        read_toml(tmp_path / name)
    assert error.value.code == code
    assert name in str(error.value)
