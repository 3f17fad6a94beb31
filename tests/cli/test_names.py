"""Names that lead elsewhere: in manifests, settings, on the command line, as symbolic links. Nothing follows them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmgrec.folder import save_folder
from mmgrec.testing import tiny_data
from mmgrec_cli.app import main

Told = Callable[[str, object], None]
HOSTILE = {"above": "../outside", "absolute": "/outside", "zero byte": "a\0b", "long": "n" * 5000}
TINY = (
    "run",
    "--quantizer=rqvae",
    "--set=quantizer.codebook_size=6",
    "--set=quantizer.representations=features",
    "--set=quantizer.autoencoder.epochs=1",
    "--set=network.dim=8",
    "--set=network.history_length=8",
    "--set=training.epochs=1",
    "--set=decoder.num_beams=10",
    "--set=data.num_users=60",
    "--set=data.num_items=40",
)


class Refused:
    """Calls the command line and expects code 2 and one sentence."""

    def __init__(self, capsys: pytest.CaptureFixture[str], told: Told) -> None:
        self._capsys = capsys
        self._told = told
        self.count = 0

    def __call__(self, title: str, *argv: str | Path) -> None:
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(word) for word in argv])
        out, err = self._capsys.readouterr()
        assert end.value.code == 2, (title, out, err)
        assert "\x1b" not in out + err
        sentence = next(line for line in err.splitlines() if line.startswith("error: "))
        assert len(sentence) < 900
        self._told(f"name, {title}", sentence)
        self.count += 1


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("names") / "run"
    with pytest.raises(SystemExit) as end:
        main([*TINY, "--out", str(out)])
    assert end.value.code == 0
    return out


def listing(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def test_names_lead_nowhere(
    trials: Any,
    finished: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    told: Told,
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("precious")
    save_folder(tiny_data(), home / "tiny")
    before = listing(outside)
    refused = Refused(capsys, told)
    numbers = iter(range(100))

    def copy() -> Path:
        return Path(shutil.copytree(finished, home / f"copy{next(numbers)}"))

    for kind, name in HOSTILE.items():
        run = copy()
        manifest = json.loads((run / "manifest.json").read_text())
        (run / "manifest.json").write_text(json.dumps({**manifest, name: "0" * 64}))
        refused(f"{kind}, in a manifest", "evaluate", run)
        (home / "c.toml").write_text(f"[data]\nname = 'folder'\npath = {json.dumps(name)}\n")
        refused(f"{kind}, as data in settings", "run", "--config", "c.toml")
        refused(f"{kind}, as settings", "run", "--config", name)
        refused(f"{kind}, as users", "recommend", finished, "--users", name, "--out", "o.parquet")
        (home / "c.toml").write_text(f"[quantizer]\nname = {json.dumps(name)}\n")
        refused(f"{kind}, as a plugin", "run", "--config", "c.toml")
    for name in ("zero byte", "long"):
        refused(f"{name}, as a run folder", *TINY, "--out", HOSTILE[name])
        refused(f"{name}, as recommendations", "recommend", finished, "--users", "tiny", "--out", HOSTILE[name])
    for link in ("weights", "log.jsonl", "lock", "checkpoints"):
        run = copy()
        for path in (run / "manifest.json", run / link):
            if path.exists():
                shutil.move(path, outside.parent / f"moved-{next(numbers)}")
        (run / link).symlink_to(outside if link in ("weights", "checkpoints") else outside / "precious")
        refused(f"link, {link}", *TINY, "--out", run)
    run = copy()
    (run / "weights" / "mmgrec.safetensors").unlink()
    (run / "weights" / "mmgrec.safetensors").symlink_to(outside / "precious")
    refused("link, a weight that is read", "evaluate", run)
    assert listing(outside) == before
    assert not (home / "o.parquet").exists()
    trials.held("hostile-names", refused.count)


def test_labels_of_rows_never_leave_the_run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    labels = ["../../up", "/etc/passwd", "a\u0000b", "<script>", "[bold]"]
    tables = "\n".join(f'[baselines.{json.dumps(label)}]\nname = "popularity"' for label in labels)
    Path("c.toml").write_text(tables)
    with pytest.raises(SystemExit) as end:
        main([*TINY, "--config", "c.toml", "--out", "run"])
    assert end.value.code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"home"}
    rows = json.loads(Path("run/results.json").read_text())["results"]
    assert [row["model"] for row in rows if row["split"] == "test"] == ["mmgrec", *labels]


def test_labels_that_would_share_a_folder_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], told: Told
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.toml").write_text('[baselines."a b"]\nname = "popularity"\n[baselines.a-b]\nname = "itemknn"\n')
    Refused(capsys, told)("two rows too much alike", *TINY, "--config", "c.toml", "--out", "run")


SETTINGS = {
    "key twice": "seed = 1\nseed = 2\n",
    "table twice": "[network]\ndim = 8\n[network]\ndim = 9\n",
    "nested without end": "x = " + "[" * 100_000,
    "number of 10,000 digits": "seed = " + "9" * 10_000,
    "a string for a number": "[training]\nlearning_rate = '1e-3'\n",
    "octal": "seed = 0123\n",
    "yes": "[data]\nname = no\n",
    "not a number": "[training]\nlearning_rate = nan\n",
    "no UTF-8": "\udcff",
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_are_right_or_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], told: Told
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.toml").write_bytes(SETTINGS[name].encode(errors="surrogateescape"))
    Refused(capsys, told)(f"settings, {name}", "run", "--config", "c.toml")


def test_settings_that_look_odd_and_are_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.toml").write_text("seed = 1_000\n[training]\nlearning_rate = 1e-3\nwarmup_steps = 0x10\n")
    with pytest.raises(SystemExit):
        main(["config", "show", "--config", str(tmp_path / "c.toml"), "--json"])
    shown = json.loads(capsys.readouterr().out)
    assert (shown["seed"], shown["training"]["learning_rate"], shown["training"]["warmup_steps"]) == (1000, 1e-3, 16)


BOMB = "\n".join(["a0: &a0 [lol]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12))])


def test_yaml_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], told: Told
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("bomb.yaml", "bomb.yml", "bomb.toml"):
        Path(name).write_text(BOMB)
    refused = Refused(capsys, told)
    refused("settings, YAML", "run", "--config", "bomb.yaml")
    refused("settings, YAML by its short name", "run", "--config", "bomb.yml")
    refused("settings, YAML called TOML", "run", "--config", "bomb.toml")
    refused("settings, YAML for a study", "study", "bomb.yaml")


TRAPS = {
    **{
        f"{name}.toml": text for name, text in SETTINGS.items() if name not in ("a string for a number", "not a number")
    },
    "bomb.yaml": BOMB,
    "scalars.yaml": "seed: 0123\nlearning_rate: 1e-3\nname: no\n",
}


COUNTED = """
import re, sys, time
from mmgrec_cli.app import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    with open("/proc/self/status") as file:
        peak = re.search(r"VmHWM:\\s*(\\d+) kB", file.read())[1]
    print(end.code, time.process_time(), peak)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="counts as Linux does")
@pytest.mark.parametrize("name", TRAPS)
def test_what_is_no_settings_costs_no_second_and_no_memory(name: str, tmp_path: Path) -> None:
    """Seconds of a processor, as others may be at work beside the test; kilobytes at the worst moment."""
    (tmp_path / name).write_bytes(TRAPS[name].encode(errors="surrogateescape"))
    call = [sys.executable, "-c", COUNTED, "run", "--config", str(tmp_path / name)]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    code, seconds, peak = map(float, done.stdout.split())
    assert (code, done.stderr[:7]) == (2, "error: ")
    assert seconds <= 1.0
    assert peak <= 200_000


def test_files_that_are_none_or_without_end_are_no_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], told: Told
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    with open("huge.toml", "wb") as file:
        file.truncate(1 << 40)
    refused = Refused(capsys, told)
    refused("settings, a device", "run", "--config", "/dev/zero")
    refused("settings, a pipe", "run", "--config", "pipe")
    refused("settings, a terabyte", "run", "--config", "huge.toml")


def test_what_steers_a_terminal_is_inert_on_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, told: Told
) -> None:
    monkeypatch.chdir(tmp_path)
    Refused(capsys, told)("terminal, an argument that steers", "ids", "\x1b]0;owned\x07")
    evil = "\x1b[2J\x9b31m\u202e[bold]<script>"
    Path("c.toml").write_text(f"[baselines.{json.dumps(evil)}]\nname = 'populariti'\n[network]\n{json.dumps(evil)} = 1")
    with pytest.raises(SystemExit):
        main(["run", "--config", "c.toml"])
    err = capsys.readouterr().err
    assert not set(err) & set("\x1b\x9b\u202e")
    assert "\\u001b[2J\\u009b31m\\u202e[bold]<script>" in err
