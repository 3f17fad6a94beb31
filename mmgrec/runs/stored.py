"""Reads finished runs back: settings, data, fitted models, per-user results.

`mmgrec.open` gives a `StoredRun`; comparisons, pages, serving and the command line read runs through it. Every file is
first held against the manifest, nothing is written and nothing is unpickled.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors

from mmgrec.data import Dataset
from mmgrec.errors import RunError, SettingsError, near_miss
from mmgrec.evaluation import Defects, Mask, Report, Split, evaluate
from mmgrec.guards import contained
from mmgrec.interfaces import Reporter
from mmgrec.recommender import FittedMMGRec, MMGRec
from mmgrec.registry import Registry
from mmgrec.runs.experiment import Experiment, load_data
from mmgrec.runs.folder import RunFolder
from mmgrec.runs.layout import HEALTH, PER_USER, REC_IDS, RESULTS, RUN, SETTINGS, WEIGHTS, slug
from mmgrec.runs.results import RunResults
from mmgrec.storage import Json

__all__ = ["StoredRun"]


@dataclass(frozen=True, kw_only=True)
class StoredRun:
    """A finished run: its results, Rec-IDs and fitted models."""

    folder: RunFolder
    data_path: str | None = None  # where the data lie now, where that is not what the run says

    @classmethod
    def open(cls, path: Path | str, *, data_path: str | None = None) -> StoredRun:
        """Check every file of a finished run; `mmgrec.open` is this.

        Args:
            path: its folder, or the ``run.toml`` in it.
            data_path: where the data lie now, where that is not what the run says.

        Raises:
            RunError: if there is no run, it is unfinished or damaged.
        """
        path = Path(path)
        folder = RunFolder(path=path.parent if path.name == SETTINGS else path)
        folder.checked()
        return cls(folder=folder, data_path=data_path)

    @cached_property
    def results(self) -> RunResults:
        """What was measured."""
        return RunResults.read(self.folder.path / RESULTS, remedy=self.folder.again)

    @cached_property
    def health(self) -> Json:
        """The health report of the Rec-IDs."""
        return cast(Json, self.folder.json(HEALTH))

    @cached_property
    def rec_ids(self) -> dict[str, tuple[int, ...]]:
        """Item, by the data's own id -> its Rec-ID.

        Raises:
            RunError: if the file cannot be read.
        """
        item, *levels = (column.to_list() for column in self._frame(REC_IDS).iter_columns())
        return dict(zip(item, zip(*levels, strict=True), strict=True))

    def _frame(self, name: str) -> Any:  # Any: polars.DataFrame, imported late
        """A table of the run.

        Raises:
            RunError: if the file cannot be read.
        """
        import polars

        try:
            return polars.read_parquet(self.folder.path / name)
        except (OSError, polars.exceptions.PolarsError) as error:
            raise RunError(
                "cannot be read as Parquet",
                where=str(self.folder.path / name),
                remedy=self.folder.again,
                code="runs.unreadable",
            ) from error

    @cached_property
    def experiment(self) -> Experiment:
        """What was carried out.

        Raises:
            RunError: if it needs plugins that are not there as they were.
        """
        values = self.folder.settings()
        if self.data_path is not None:
            values["data"] = {**values["data"], "path": self.data_path}
        registry = Registry.discover()
        lost = [f"{key} was {plugin}" for key, plugin in self._plugins().items() if not _installed(plugin, registry)]
        try:
            return Experiment.of(values, registry=registry)
        except SettingsError as error:
            if not lost:
                raise
            raise RunError(
                f"it was made with plugins that are not as they were: {', '.join(lost)}",
                where=str(self.folder.path),
                remedy="install them again, in these versions",
                code="runs.other-plugins",
            ) from error

    def _plugins(self) -> dict[str, str]:
        """``<model>/<part>`` -> "<name> of <distribution> <version>", as the run wrote them down."""
        plugins = self.folder.json(RUN).get("plugins") if self.folder.sealed(RUN) else None
        return {str(key): str(value) for key, value in plugins.items()} if isinstance(plugins, dict) else {}

    @property
    def labels(self) -> list[str]:
        """Models with results, the run's own first."""
        return self.results.labels

    def data(self, reporter: Reporter | None = None) -> Dataset:
        """The data of the run.

        Raises:
            RunError: if they are not where the run says, or are other data.
        """
        settings = self.folder.settings().get("data")
        path = settings.get("path") if isinstance(settings, dict) else None
        if path and self.data_path is None and not Path(path).exists():
            raise RunError(
                f"its data are not at {path!r} as seen from here",
                where=str(self.folder.path),
                remedy="name their folder with --data PATH",
                code="runs.no-data",
            )
        data = load_data(self.experiment, reporter)
        if data.fingerprint != self.results.data.fingerprint:
            raise RunError(
                f"the data found now ({data.fingerprint[:12]}) are not those of the run "
                f"({self.results.data.fingerprint[:12]})",
                where=str(self.folder.path),
                remedy="name the right folder with --data PATH",
                code="runs.other-data",
            )
        return data

    def fitted(self, label: str = "mmgrec", *, device: torch.device | None = None) -> FittedMMGRec:
        """A model of the run, ready to recommend on `device`, the CPU by default.

        Raises:
            RunError: if the run has no weights of this model.
        """
        for model in self.experiment.models:
            file = self.folder.sealed(f"{WEIGHTS}/{slug(label)}.safetensors")
            if model.label == label and isinstance(model.recommender, MMGRec) and file is not None:
                try:
                    return model.recommender.restore(load_tensors(file.read_bytes()), device=device)
                except (SafetensorError, KeyError, RuntimeError, ValueError) as error:
                    reason = " ".join(str(error).split())[:120]
                    raise RunError(
                        f"the weights do not fit the run's settings ({type(error).__name__}: {reason})",
                        where=str(file),
                        remedy="run the command again with another --out",
                        code="runs.other-weights",
                    ) from error
        known = [model.label for model in self.experiment.models]
        raise RunError(
            f"it holds no weights of {label!r}",
            where=str(self.folder.path),
            remedy=near_miss(label, known),
            code="runs.no-weights",
        )

    def digest(self, label: str) -> str:
        """SHA-256 of the weights of one of its models, as its manifest has it."""
        return str(self.folder.manifest().get(f"{WEIGHTS}/{slug(label)}.safetensors", ""))

    @contained()
    def evaluated(
        self,
        label: str,
        *,
        split: Split,
        mask: Mask | None = None,
        top_k: tuple[int, ...] = (),
        device: torch.device | None = None,
    ) -> Report:
        """Evaluate a stored model again; what is not given is the run's own, but the device, which is the CPU."""
        options = self.experiment.options
        return evaluate(
            self.fitted(label, device=device),
            self.data(),
            split=split,
            metrics=self.experiment.metrics,
            top_k=top_k or options.top_k,
            mask=mask or options.mask,
        )

    def report(self, label: str, split: Split) -> Report:
        """A model's result with the value of every user; the lists themselves are not kept.

        Raises:
            RunError: if there is no such result.
        """
        import polars

        result = self.results.find(label, split)
        if result is None:
            raise RunError(
                f"it has no result of {label!r} on {split}",
                where=str(self.folder.path),
                remedy=near_miss(label, self.labels),
                code="runs.no-such-result",
            )
        frame = self._frame(PER_USER)
        frame = frame.filter((polars.col("model") == label) & (polars.col("split") == split)).sort("user")
        user = torch.from_numpy(frame["user"].to_numpy().copy())
        values = {name: frame[name].to_numpy().copy() for name in frame.columns if "@" in name}
        return Report(
            metrics=result.metrics,
            per_user={name: torch.from_numpy(value) for name, value in values.items()},
            definitions=self.results.definitions,
            user=user,
            item=torch.empty(user.numel(), 0, dtype=torch.int64),
            defects=Defects(),
            split=split,
            mask=result.mask,
            seconds=result.seconds.recommend,
        )


#: Its name before 0.2.
Run = StoredRun


def open_run(path: Path | str, *, data_path: str | None = None) -> StoredRun:
    """A finished run by its folder: results, Rec-IDs by the data's own ids, fitted models. This is `mmgrec.open`.

    Args:
        path: the run's folder.
        data_path: where the data lie now, where that is not what the run says.

    Raises:
        RunError: if there is no run, it is unfinished or damaged.
    """
    return StoredRun.open(path, data_path=data_path)


def _installed(recorded: str, registry: Registry) -> bool:
    """Whether a plugin, recorded as "<name> of <distribution> <version>", is there as it was."""
    return any(
        recorded == f"{plugin.name} of {plugin.distribution} {plugin.version}" and plugin.usable
        for plugin in registry.plugins
    )
