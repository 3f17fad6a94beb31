"""Damaged checkpoints: always noticed, the file named, the one before used, the same result; all damaged: a sentence.

What is damaged here was written by a real training; "the same" is to the last bit.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmgrec.errors import RunError
from mmgrec.interfaces import Context, Silent
from mmgrec.training.checkpoints import CheckpointFolder
from mmgrec.training.loop import Task, TrainingSettings, train

SETTINGS = TrainingSettings(epochs=5, checkpoint_seconds=0.0, learning_rate=0.1)
Told = Callable[[str, object], None]


class Line(Task[Tensor]):
    """A straight line through noise."""

    def __init__(self) -> None:
        self.module = nn.Linear(3, 1)
        for number, parameter in enumerate(self.module.parameters()):
            nn.init.constant_(parameter, 0.1 * (number + 1))

    def steps_per_epoch(self) -> int:
        return 2

    def batches(self, epoch: int, generator: torch.Generator) -> Iterator[Tensor]:
        yield from torch.randn(2, 4, 3, generator=generator)

    def loss(self, batch: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        return {"loss": (self.module(batch).squeeze(1) - batch.sum(1)).square().mean()}

    def validate(self) -> float:
        return -float(self.module(torch.ones(1, 3)).sub(3).abs())


class Warnings(Silent):
    def __init__(self) -> None:
        self.told: list[str] = []

    def warn(self, text: str) -> None:
        self.told.append(text)


class Interrupted(Silent):
    """Stops the training within epoch 5: the checkpoints of epochs 3 and 4 are there."""

    def update(self, stage: str, done: int, facts: Any) -> None:
        if done == 5:
            raise KeyboardInterrupt


def trained(folder: Path, reporter: Silent) -> bytes:
    task = Line()
    train(task, SETTINGS, Context(seed=1, checkpoints=folder, reporter=reporter), "line")
    return b"".join(value.numpy().tobytes() for value in task.module.state_dict().values())


def content(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return trained(tmp_path_factory.mktemp("whole"), Silent())


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoints of an interrupted training. Look, do not touch."""
    folder = tmp_path_factory.mktemp("half")
    with pytest.raises(KeyboardInterrupt):
        trained(folder, Interrupted())
    assert sorted(entry.name for entry in (folder / "line").iterdir()) == ["00000006", "00000008"]
    return folder


@pytest.fixture
def broken(half: Path, tmp_path: Path) -> Callable[[], Path]:
    """A fresh copy at each call."""
    numbers = iter(range(10_000))
    return lambda: shutil.copytree(half, tmp_path / str(next(numbers)))


NEWEST = "line/00000008"


def told_and_repaired(folder: Path, whole: bytes) -> str:
    """The one warning of the training that goes on; its result is the undamaged one's."""
    heard = Warnings()
    assert trained(folder, heard) == whole
    (warning,) = heard.told
    assert warning.startswith("checkpoint passed over: ")
    return warning


def test_an_undamaged_checkpoint_warns_of_nothing(broken: Callable[[], Path], whole: bytes) -> None:
    heard = Warnings()
    assert trained(broken(), heard) == whole
    assert heard.told == []


def test_a_flipped_bit_is_noticed_wherever_it_is(trials: Any, broken: Callable[[], Path], whole: bytes) -> None:
    chance, wanted = random.Random(3), trials.of("bit-flipped")
    for _ in range(wanted):
        folder = broken()
        files = {file: file.stat().st_size for file in sorted((folder / NEWEST).iterdir())}
        (file,) = chance.choices(list(files), weights=list(files.values()))
        damaged = bytearray(file.read_bytes())
        bit = chance.randrange(8 * len(damaged))
        damaged[bit // 8] ^= 1 << bit % 8
        file.write_bytes(damaged)
        warning = told_and_repaired(folder, whole)
        assert file.name in warning or file.name == "manifest.json"
    trials.held("bit-flipped", wanted)


def test_a_file_cut_short_is_noticed_at_every_length(trials: Any, broken: Callable[[], Path], whole: bytes) -> None:
    tried = 0
    for name in sorted(file.name for file in (broken() / NEWEST).iterdir()):
        size = (broken() / NEWEST / name).stat().st_size
        for length in (0, 1, size // 4, size // 2, 3 * size // 4, size - 8, size - 1):
            folder = broken()
            file = folder / NEWEST / name
            file.write_bytes(file.read_bytes()[:length])
            warning = told_and_repaired(folder, whole)
            assert name in warning or name == "manifest.json"
            tried += 1
    trials.held("cut-short", tried)


def rewritten(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def apply(manifest: Path) -> None:
        digests = json.loads(manifest.read_text())
        changed = change(digests)
        manifest.write_text(json.dumps(digests if changed is None else changed))

    return apply


def linked(manifest: Path) -> None:
    """The manifest is somebody else's file."""
    other = manifest.parents[3] / f"other-{manifest.parents[2].name}"
    shutil.copy(manifest, other)
    manifest.unlink()
    manifest.symlink_to(other)


ODD: dict[str, Callable[[Path], object]] = {
    "gone": lambda manifest: manifest.unlink(),
    "empty": lambda manifest: manifest.write_bytes(b""),
    "of another checkpoint": lambda manifest: shutil.copy(manifest.parents[1] / "00000006/manifest.json", manifest),
    "with a key too many": rewritten(lambda digests: digests.update({"more.safetensors": "0" * 64})),
    "with a key too few": rewritten(lambda digests: digests.pop("best.safetensors") and None),
    "a list": rewritten(list),
    "a list of lists": rewritten(lambda digests: [[1]]),
    "a number": rewritten(lambda digests: 3),
    "nested without end": lambda manifest: manifest.write_text("[" * 100_000),
    "naming a file above": rewritten(lambda digests: digests.update({"../../secret": "0" * 64})),
    "naming a zero byte": rewritten(lambda digests: digests.update({"a\0b" + "c" * 5000: "0" * 64})),
    "a symbolic link": linked,
}


def test_an_odd_manifest_is_noticed(trials: Any, broken: Callable[[], Path], whole: bytes, told: Told) -> None:
    for name, change in ODD.items():
        folder = broken()
        change(folder / NEWEST / "manifest.json")
        warning = told_and_repaired(folder, whole)
        assert "00000008" in warning
        told(f"checkpoint, manifest {name}", warning.replace(f"{folder}/", ""))
    trials.held("manifest-odd", len(ODD))


def test_the_words_for_damage(broken: Callable[[], Path], whole: bytes, told: Told) -> None:
    folder = broken()
    (folder / NEWEST / "best.safetensors").write_bytes(b"x")
    told("checkpoint, file damaged", told_and_repaired(folder, whole).replace(f"{folder}/", ""))
    folder = broken()
    (folder / NEWEST / "best.safetensors").unlink()
    told("checkpoint, file gone", told_and_repaired(folder, whole).replace(f"{folder}/", ""))


def test_tensors_that_do_not_parse_are_noticed_though_the_manifest_is_right(
    broken: Callable[[], Path], whole: bytes
) -> None:
    folder = broken()
    (folder / NEWEST / "module.safetensors").write_bytes(b"\xff" * 100)
    digest = hashlib.sha256(b"\xff" * 100).hexdigest()
    rewritten(lambda digests: digests.update({"module.safetensors": digest}))(folder / NEWEST / "manifest.json")
    assert "00000008" in told_and_repaired(folder, whole)


def test_several_damaged_ones_do_not_push_out_the_good_one(half: Path, tmp_path: Path, whole: bytes) -> None:
    """A kill between writing and dropping leaves three; the two newest go bad; what follows is kept all the same."""
    folder = Path(shutil.copytree(half, tmp_path / "three"))
    for number in ("00000009", "00000010"):
        shutil.copytree(folder / NEWEST, folder / "line" / number)
        (folder / "line" / number / "meta.json").write_bytes(b"{}")
    store = CheckpointFolder(root=folder / "line")
    newest = store.latest(lambda text: None)
    assert newest is not None
    store.save(9, tensors=newest[0], meta=newest[1])
    heard = Warnings()
    assert store.latest(heard.warn) is not None
    assert heard.told == []
    assert trained(folder, heard) == whole


def test_where_all_are_damaged_nothing_is_touched(trials: Any, broken: Callable[[], Path], told: Told) -> None:
    folder = broken()
    for file in folder.rglob("meta.json"):
        file.write_bytes(file.read_bytes() + b" ")
    before = content(folder)
    with pytest.raises(RunError) as error:
        trained(folder, Warnings())
    assert content(folder) == before
    told("checkpoint, all damaged", str(error.value).replace(f"{folder}/", ""))
    trials.held("all-damaged", 1)
