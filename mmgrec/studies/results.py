"""What a study found, as values: the one reader and the one writer of ``valid.json``, ``cell.json`` and ``study.json``.

Tables, pages, plans and the command line work on these, not on the files' keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmgrec.evaluation import Mask, PairedTest, Report, Split, Spread
from mmgrec.report import TrainingStage
from mmgrec.runs import DataFacts
from mmgrec.storage import Json, read_json, record_json, record_of

__all__ = [
    "CellResult",
    "CellSeconds",
    "DatasetResults",
    "EvaluationResult",
    "FailedCell",
    "MaskedMetrics",
    "ModelResults",
    "OtherMask",
    "StudyResults",
    "StudyTest",
    "TrialOutcome",
    "TrialResult",
    "TrialSeconds",
    "Tuning",
]


def _without(content: Json, *names: str) -> Json:
    """Without those of the keys that hold nothing."""
    return {key: value for key, value in content.items() if key not in names or value is not None}


# --------------------------------------------------------------------------- one cell


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """A model on one part of the data: a report without its tensors."""

    split: Split
    mask: Mask
    metrics: Mapping[str, float]  # "recall@10" -> mean over users
    definitions: Mapping[str, str] | None = None  # told once in a file; None here where they stand elsewhere
    num_users: int
    seconds: float  # wall clock of recommending alone
    invalid: int = 0  # items that must not be in a list, see `evaluation.Defects`; here and below
    duplicate: int = 0
    seen: int = 0
    missing: int = 0
    misplaced: int = 0

    @classmethod
    def of(cls, report: Report) -> EvaluationResult:
        return cls(**report.as_dict())

    def to_json(self) -> Json:
        content = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return _without({**content, "metrics": dict(self.metrics)}, "definitions")

    @property
    def defects(self) -> int:
        """Places of all lists that hold what they must not, or nothing."""
        return self.invalid + self.duplicate + self.seen + self.missing + self.misplaced


@dataclass(frozen=True, kw_only=True)
class TrialSeconds:
    """Wall clock of a fit, and of its judgement on validation."""

    fit: float  # what a fit alone would take: with the seconds of results that were shared
    stage1: float | None = None
    shared: float = 0.0  # of `fit`, spent by other cells
    valid: float | None = None


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """Content of ``valid.json``: a fit judged on validation, which is all that tuning sees."""

    seconds: TrialSeconds
    peak_memory_mib: float | None
    parameters: int | None
    valid: EvaluationResult | None  # None: the data have no validation part
    history: tuple[TrainingStage, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CellSeconds(TrialSeconds):
    """The same with the first judged part, which is the test part where there is one."""

    test: float | None = None


@dataclass(frozen=True, kw_only=True)
class OtherMask:
    """The test part under the rule of masking that the study does not go by."""

    mask: Mask
    metrics: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """Content of ``cell.json``: one model, fitted on one data set with one seed, and evaluated."""

    schema: int = 1
    label: str
    data: DataFacts
    seed: int
    mask: Mask
    top_k: tuple[int, ...]
    metrics: tuple[str, ...]
    model: Mapping[str, Any]  # every setting of the model spelt out
    results: tuple[EvaluationResult, ...]  # test first
    otherwise: OtherMask | None = None
    definitions: Mapping[str, str] = field(default_factory=dict)
    seconds: CellSeconds
    peak_memory_mib: float | None
    parameters: int | None
    history: tuple[TrainingStage, ...] = ()
    insight: str | None = None  # why the page lacks this model's figures; None: it has them
    threads: int
    device: str = "cpu"
    python: str = "?"
    system: str = ""
    processors: int | None = None
    versions: Mapping[str, str]
    written: str

    def find(self, split: Split) -> EvaluationResult | None:
        """Its result on a part; None where there is none."""
        return next((result for result in self.results if result.split == split), None)

    @property
    def machine(self) -> str:
        """Where it was made, in words."""
        processors = "?" if self.processors is None else self.processors
        machine = f"{self.system}, {processors} processors, Python {self.python}, {self.device}"
        return f"{machine}, {self.threads} threads a cell"


@dataclass(frozen=True, kw_only=True)
class FailedCell:
    """Content of ``failed.json``."""

    what: str  # one sentence
    users: bool  # True: the user's mistake


# --------------------------------------------------------------------------- the study


@dataclass(frozen=True, kw_only=True)
class MaskedMetrics:
    """Metrics over seeds, under another rule of masking."""

    mask: Mask
    metrics: Mapping[str, Spread]

    def to_json(self) -> Json:
        return {"mask": self.mask, **{name: record_json(spread) for name, spread in self.metrics.items()}}


@dataclass(frozen=True, kw_only=True)
class TrialOutcome:
    """One point of a grid."""

    settings: Mapping[str, Any]  # dotted name -> value
    score: float | None  # on validation; None: none yet, or failed
    seconds: TrialSeconds | None
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """How a row's settings were found."""

    by: str  # the metric and where it was measured
    chosen: Mapping[str, Any] | None  # dotted name -> value; None: not yet known
    trials: tuple[TrialOutcome, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ModelResults:
    """One row of a study on one data set, over its seeds."""

    model: str  # its label
    plugin: str
    settings: Mapping[str, Any]
    seeds: tuple[int, ...]
    cells: tuple[str, ...]  # folders under ``cells/``, one a seed
    test: Mapping[str, Spread]
    valid: Mapping[str, Spread]
    otherwise: MaskedMetrics | None = None
    defects: int = 0
    seconds: Mapping[str, Spread]  # fit, stage1, valid, test
    test_users: tuple[int, ...] = ()  # of the first seed, or none
    parameters: int | None = None
    peak_memory_mib: float | None = None
    threads: tuple[int, ...] = ()
    versions: tuple[Mapping[str, str], ...] = ()
    written: tuple[str, ...] = ()
    tuned: Tuning | None = None
    failed: Mapping[str, str] = field(default_factory=dict)  # cell -> sentence


@dataclass(frozen=True, kw_only=True)
class StudyTest:
    """The first model against another: paired over users, each user's figure the mean over the seeds of both."""

    against: str
    seeds: tuple[int, ...]
    metric: str
    difference: float
    t: float
    p: float
    num_users: int
    p_holm: float | None = None

    @classmethod
    def of(cls, label: str, seeds: list[int], test: PairedTest) -> StudyTest:
        return cls(against=label, seeds=tuple(seeds), **vars(test))


@dataclass(frozen=True, kw_only=True)
class DatasetResults:
    """All rows of a study on one data set."""

    name: str
    num_users: int | None = None  # not known before the first cell is done, here and below
    num_items: int | None = None
    num_interactions: int | None = None
    fingerprint: str | None = None
    models: tuple[ModelResults, ...]
    tests: Mapping[str, tuple[StudyTest, ...]] = field(default_factory=dict)  # metric -> one a rival

    def to_json(self) -> Json:
        content = {name: getattr(self, name) for name in ("name", "num_users", "num_items", "num_interactions")}
        content = _without({**content, "fingerprint": self.fingerprint}, *content, "fingerprint")
        tests = {metric: [record_json(test) for test in tests] for metric, tests in self.tests.items()}
        return {**content, "models": [record_json(model) for model in self.models], "tests": tests}

    @property
    def counts(self) -> dict[str, int]:
        """Users, items and interactions, as far as they are known."""
        counts = {"users": self.num_users, "items": self.num_items, "interactions": self.num_interactions}
        return {name: count for name, count in counts.items() if count is not None}


@dataclass(frozen=True, kw_only=True)
class StudyResults:
    """Content of ``study.json``."""

    schema: int = 1
    study: str
    title: str
    seeds: tuple[int, ...]
    mask: Mask
    metrics: tuple[str, ...]  # "recall@10", …
    definitions: Mapping[str, str]
    against: str  # the model that is tested against the others
    absent: tuple[str, ...] = ()  # rows that cannot be made here, each with its reason
    versions: Mapping[str, str]
    written: str
    data: tuple[DatasetResults, ...]
    failed: Mapping[str, str] = field(default_factory=dict)  # cell -> sentence

    def to_json(self) -> Json:
        return record_json(self)

    @classmethod
    def read(cls, path: Path) -> StudyResults:
        """From the file.

        Raises:
            RunError: if it cannot be read, a newer version wrote it, or it is not what was written.
        """
        payload = read_json(path)
        try:
            models = [model for data in payload["data"] for model in data["models"] if model.get("otherwise")]
            for model in models:
                mask, *names = model["otherwise"]
                figures = {name: model["otherwise"][name] for name in names}
                model["otherwise"] = {"mask": model["otherwise"][mask], "metrics": figures}
        except (KeyError, TypeError, AttributeError):
            pass  # not what was written: `record_of` says so
        return record_of(cls, payload, where=path)
