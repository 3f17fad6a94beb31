"""The dataset sources: settings reach the core, user mistakes are told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mmgrec.errors import DataError, SettingsError
from mmgrec.folder import save_folder
from mmgrec.interfaces import Context, Silent
from mmgrec.synthetic import planted
from mmgrec_plugins.datasets.folder import Folder
from mmgrec_plugins.datasets.synthetic import Synthetic


@dataclass
class Listening(Silent):
    heard: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        self.heard.append(text)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("data") / "small"
    save_folder(planted(num_users=30, num_items=40), folder)
    return str(folder)


def test_folder_is_named_after_its_place(path: str) -> None:
    assert Folder(path=path).load(Context()).name == "small"


def test_folder_draws_by_its_own_seed(path: str) -> None:
    first, again, other = (
        Folder(path=path, split="random", split_seed=seed).load(Context(seed=run)).fingerprint
        for seed, run in ((0, 0), (0, 1), (1, 0))
    )
    assert first == again
    assert first != other


def test_folder_takes_the_modalities_asked_for(path: str) -> None:
    data = Folder(path=path, modalities=("text", "visual")).load(Context())
    assert list(data.features) == ["text", "visual"]


def test_folder_reports_the_k_core(path: str) -> None:
    listening = Listening()
    data = Folder(path=path, k_core=8).load(Context(reporter=listening))
    assert 0 < data.num_items < 40
    assert listening.heard[0].startswith("8-core: ")


def test_folder_without_a_path_is_the_users_mistake() -> None:
    with pytest.raises(SettingsError) as error:
        Folder().load(Context())
    assert "--data" in error.value.remedy


def test_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        Folder(path=str(tmp_path / "nowhere")).load(Context())
    assert "nowhere" in str(error.value)


def test_synthetic_does_not_depend_on_the_seed_of_the_run() -> None:
    small = Synthetic(num_users=50, num_items=40)
    assert small.load(Context(seed=0)).fingerprint == small.load(Context(seed=1)).fingerprint


def test_synthetic_settings_change_the_data() -> None:
    data = Synthetic(num_users=50, num_items=40, missing=1.0).load(Context())
    assert (data.num_users, data.num_items) == (50, 40)
    assert not data.has_feature("text").any()
