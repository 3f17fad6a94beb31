"""Checkpoints are whole or not there: damage is noticed and named, a refused write leaves the old state."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mmgrec.errors import RunError
from mmgrec.guards.repeatable import check_same_rec_ids
from mmgrec.recid.table import RecIDTable
from mmgrec.storage import atomic
from mmgrec.storage.atomic import write_atomically
from mmgrec.storage.tensors import load_folder, save_folder, tensors_equal
from mmgrec.training.checkpoints import CheckpointFolder


def group(value: float) -> dict[str, dict[str, Tensor]]:
    return {"module": {"a": torch.full((3,), value), "b": torch.tensor(7)}, "best": {}}


def series(tmp_path: Path, *numbers: int, keep: int = 2) -> CheckpointFolder:
    store = CheckpointFolder(root=tmp_path / "series", keep=keep)
    for number in numbers:
        store.save(number, tensors=group(number), meta={"epoch": number})
    return store


def epoch_of(store: CheckpointFolder, warnings: list[str]) -> int:
    newest = store.latest(warnings.append)
    assert newest is not None
    return int(newest[1]["epoch"])


def refuse(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    tensors = {
        "one": {"x": torch.tensor([1.5, -0.0, float("nan")]), "n": torch.tensor(2**40)},
        "none": {},
    }
    save_folder(tmp_path / "c", tensors=tensors, meta={"score": 0.1 + 0.2, "low": -1e-300})
    loaded, meta = load_folder(tmp_path / "c")
    assert loaded["none"] == {}
    assert loaded["one"]["n"] == 2**40
    assert loaded["one"]["x"].view(torch.int32).tolist() == tensors["one"]["x"].view(torch.int32).tolist()
    assert meta == {"score": 0.1 + 0.2, "low": -1e-300}


def test_views_and_transposed_tensors_are_saved_by_value(tmp_path: Path) -> None:
    x = torch.arange(12.0).view(3, 4)
    save_folder(tmp_path / "c", tensors={"t": {"top": x[:1], "rest": x[1:], "turned": x.T}}, meta={})
    loaded = load_folder(tmp_path / "c")[0]["t"]
    assert torch.equal(loaded["rest"], x[1:])
    assert torch.equal(loaded["turned"], x.T)


def test_manifest_holds_the_sha256_of_every_file(tmp_path: Path) -> None:
    save_folder(tmp_path / "c", tensors=group(1), meta={})
    manifest = json.loads((tmp_path / "c" / "manifest.json").read_text())
    assert set(manifest) == {"meta.json", "module.safetensors", "best.safetensors"}
    for name, digest in manifest.items():
        assert hashlib.sha256((tmp_path / "c" / name).read_bytes()).hexdigest() == digest


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    store = series(tmp_path, 1, 2, 3, 10, keep=2)
    assert sorted(entry.name for entry in store.root.iterdir()) == ["00000003", "00000010"]
    assert epoch_of(store, []) == 10


def test_without_a_checkpoint_there_is_none(tmp_path: Path) -> None:
    assert CheckpointFolder(root=tmp_path / "absent").latest(pytest.fail) is None
    (tmp_path / "empty").mkdir()
    assert CheckpointFolder(root=tmp_path / "empty").latest(pytest.fail) is None


DAMAGES = {
    "one bit differs": ("module.safetensors", "flip"),
    "cut short": ("module.safetensors", "cut"),
    "meta differs": ("meta.json", "flip"),
    "file gone": ("best.safetensors", "remove"),
    "manifest gone": ("manifest.json", "remove"),
    "manifest empty": ("manifest.json", "empty"),
    "manifest a list": ("manifest.json", "list"),
    "file too many": ("surplus.safetensors", "add"),
}


def damage(path: Path, how: str) -> None:
    if how == "flip":
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-5])
    elif how == "remove":
        path.unlink()
    else:
        path.write_bytes({"empty": b"", "list": b"[]", "add": b"x"}[how])


CODES = {
    "flip": "storage.damaged-file",
    "cut": "storage.damaged-file",
    "empty": "storage.unreadable",
    "list": "storage.wrong-manifest",
    "add": "storage.manifest-mismatch",
}


@pytest.mark.parametrize(("file", "how"), DAMAGES.values(), ids=DAMAGES.keys())
def test_each_kind_of_damage_has_its_code(file: str, how: str, tmp_path: Path) -> None:
    save_folder(tmp_path / "c", tensors=group(1), meta={})
    damage(tmp_path / "c" / file, how)
    with pytest.raises(RunError) as error:
        load_folder(tmp_path / "c")
    gone = "storage.unreadable" if file == "manifest.json" else "storage.manifest-mismatch"
    assert error.value.code == CODES.get(how, gone)


@pytest.mark.parametrize(("file", "how"), DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_checkpoint_is_passed_over_with_a_warning_that_names_the_file(
    file: str, how: str, tmp_path: Path
) -> None:
    store = series(tmp_path, 4, 6)
    damage(store.root / "00000006" / file, how)
    warnings: list[str] = []
    assert epoch_of(store, warnings) == 4
    (warning,) = warnings
    assert "00000006" in warning
    assert file in warning or how in ("empty", "list")


def test_after_damage_the_series_goes_on_over_the_damaged_number(tmp_path: Path) -> None:
    store = series(tmp_path, 4, 6)
    damage(store.root / "00000006" / "meta.json", "flip")
    store.save(6, tensors=group(6), meta={"epoch": 6})
    assert epoch_of(store, []) == 6


def test_a_good_checkpoint_older_than_damaged_ones_outlives_the_next_save(tmp_path: Path) -> None:
    store = series(tmp_path, 4, 9)
    damage(store.root / "00000009" / "meta.json", "flip")
    store.save(5, tensors=group(5), meta={"epoch": 5})
    assert epoch_of(store, []) == 5


def test_no_whole_checkpoint_left_is_an_error(tmp_path: Path) -> None:
    store = series(tmp_path, 4, 6)
    for number in ("00000004", "00000006"):
        damage(store.root / number / "module.safetensors", "cut")
    warnings: list[str] = []
    with pytest.raises(RunError) as error:
        store.latest(warnings.append)
    assert error.value.where == str(store.root)
    assert len(warnings) == 2


def test_leftovers_of_a_killed_writer_are_removed_and_never_read(tmp_path: Path) -> None:
    store = series(tmp_path, 4)
    leftover = store.root / ".00000006.123.tmp"
    leftover.mkdir()
    (leftover / "meta.json").write_text('{"epoch": 6}')
    assert epoch_of(store, []) == 4
    assert not leftover.exists()


@pytest.mark.parametrize("call", ["fsync", "rename", "mkdir"])
def test_a_refused_write_leaves_the_previous_checkpoint_and_nothing_else(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = series(tmp_path, 4)
    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, call, refuse)
        with pytest.raises(RunError) as error:
            store.save(6, tensors=group(6), meta={"epoch": 6})
    assert error.value.code == "storage.cannot-write"
    assert "(No space left on device)" in str(error.value)
    assert [entry.name for entry in store.root.iterdir()] == ["00000004"]
    assert epoch_of(store, []) == 4


def test_a_folder_that_cannot_be_made_is_a_run_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = CheckpointFolder(root=tmp_path / "file" / "series")
    with pytest.raises(RunError) as error:
        store.save(1, tensors=group(1), meta={})
    assert error.value.code == "storage.cannot-write"


def test_a_refused_replacement_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "results.json"
    write_atomically(path, b"old")
    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, "fsync", refuse)
        with pytest.raises(RunError) as error:
            write_atomically(path, b"new")
    assert error.value.code == "storage.cannot-write"
    assert error.value.where == str(path)
    assert "3 bytes" in error.value.what
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["results.json"]
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_file_size_limit_leaves_the_previous_checkpoint(tmp_path: Path) -> None:
    """A real refusal by the system, half way through a file, in a process of its own."""
    series(tmp_path, 4)
    script = """
import resource, signal, sys, torch
from pathlib import Path
from mmgrec.training import CheckpointFolder
from mmgrec.errors import RunError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write fails with EFBIG instead
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    CheckpointFolder(root=Path(sys.argv[1])).save(6, tensors={"module": {"a": torch.ones(50_000)}}, meta={})
except RunError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "series")],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert "File too large" in done.stdout
    assert [entry.name for entry in (tmp_path / "series").iterdir()] == ["00000004"]
    assert epoch_of(CheckpointFolder(root=tmp_path / "series"), []) == 4


def test_equal_tensors_have_equal_names_and_bits() -> None:
    a = {"x": torch.zeros(2)}
    assert tensors_equal(a, {"x": torch.zeros(2)})
    assert not tensors_equal(a, {"y": torch.zeros(2)})
    assert not tensors_equal(a, {"x": torch.tensor([0.0, 1e-45])})


def test_a_file_under_a_file_is_a_run_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError) as error:
        write_atomically(tmp_path / "file" / "results.json", b"x")
    assert error.value.code == "storage.cannot-write"
    assert "1 bytes" in error.value.what


def test_what_a_killed_attempt_left_of_its_rec_ids_is_swept(tmp_path: Path) -> None:
    rec_ids = RecIDTable(token=torch.tensor([[0, 0], [1, 0]]), level_sizes=(2, 1))
    (tmp_path / ".rec_ids.json.4711.tmp").write_text("hal")
    check_same_rec_ids(tmp_path, rec_ids, part=None)
    assert [entry.name for entry in tmp_path.iterdir()] == ["rec_ids.json"]
    check_same_rec_ids(tmp_path, rec_ids, part=None)


def test_tied_weights_are_written_for_each_name(tmp_path: Path) -> None:
    tensor = torch.arange(6.0).view(2, 3)
    tied = {"a": tensor, "b": tensor, "c": tensor[1]}
    save_folder(tmp_path / "x", tensors={"weights": tied}, meta={})
    (loaded,) = load_folder(tmp_path / "x")[0].values()
    assert all(torch.equal(loaded[name], wanted) for name, wanted in tied.items())
