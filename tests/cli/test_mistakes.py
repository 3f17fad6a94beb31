"""A user's mistake ends with code 2 and one sentence, ours with code 1; tracebacks are for those who ask."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmgrec_cli.app import main

pytestmark = pytest.mark.messages

Capture = pytest.CaptureFixture[str]


def fails(argv: list[str], capsys: Capture) -> tuple[int, str]:
    with pytest.raises(SystemExit) as end:
        main(argv)
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    assert isinstance(end.value.code, int)
    return end.value.code, " ".join(err.split())


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["run", "--quantizer", "graph-rqave"], "did you mean 'graph-rqvae'?"),
        (["run", "--preset", "recip"], "did you mean 'recipe'?"),
        (["run", "--baselines", "populariti"], "did you mean 'popularity'?"),
        (["run", "--baselines", "mmgrec"], "use --preset to compare two"),
        (["run", "--set", "quantiser.x=1"], "did you mean 'quantizer'?"),
        (["run", "--set", "network.dims=1"], "did you mean 'dim'"),
        (["run", "--set", "network.dim=-1"], "network.dim: should be greater than or equal to 1, got -1"),
        (["run", "--set", "nonsense"], "is not of the form part.field=value"),
        (["run", "--mask", "test"], "should be 'train+valid' or 'train', got 'test'"),
        (["run", "--config", "absent.toml"], "absent.toml: there is no such file"),
        (["run", "--data", "absent"], "absent"),
        (["run", "--device", "cuda:77"], "--device cuda:77: not usable here"),
        (["run", "--seed", "-1"], "--seed"),
        (["run", "--nonsense"], "No such option"),
        (["ids", "absent"], "there is no run in this folder"),
        (["evaluate", "absent"], "there is no run in this folder"),
        (["compare", "absent"], "there is no run in this folder"),
        (["recommend", "absent", "--users", "u", "--out", "o.csv"], "end the name in .parquet or .jsonl"),
        (["frobnicate"], "No such command"),
        (["run", "--device", "meta"], "--device meta: not usable here"),
        (["study", "overall", "--device", "cuda:77"], "--device cuda:77: not usable here"),
        (["evaluate", "absent", "--device", "gpu"], "--device gpu: not usable here"),
        (["recommend", "absent", "--users", "u", "--out", "o", "--device", "gpu"], "--device gpu: not usable here"),
        (["explain", "absent", "--user", "ann"], "there is no run in this folder"),
        (["explain", "absent"], "Missing option '--user'"),
        (["explain", "absent", "--user", "ann", "--exclude", "most"], "--exclude 'most' is unknown"),
    ],
)
def test_a_mistake_is_a_sentence_and_code_2(
    argv: list[str], sentence: str, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, err = fails(argv, capsys)
    assert code == 2
    assert sentence in err
    assert list(tmp_path.iterdir()) == []  # nothing was begun


def test_all_mistakes_are_told_at_once(capsys: Capture) -> None:
    _, err = fails(["run", "--quantizer", "x", "--set", "network.dim=0", "--set", "y.z=1", "--preset", "p"], capsys)
    assert "4 settings are wrong" in err


def test_mistakes_in_a_configuration_file_are_told(capsys: Capture, tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('sed = 1\ntop_k = [0]\nnetwork = 3\n[quantizer]\nname = "graph-rqvae"\ncodebook = 3\n')
    _, err = fails(["run", "--config", str(file)], capsys)
    assert "sed: there is no such setting; did you mean 'seed'?" in err
    assert "top_k.0: should be greater than or equal to 1, got 0" in err
    assert "network: a table is needed, got 3" in err
    assert "quantizer.codebook: there is no such setting; did you mean 'codebook_size'?" in err


def test_our_own_fault_is_code_1_without_a_traceback(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmgrec.registry.Registry.discover", broken)
    code, err = fails(["plugins"], capsys)
    assert code == 1
    assert "internal error: RuntimeError: out of order" in err
    assert "--debug" in err


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmgrec.registry.Registry.discover", broken)
    with pytest.raises(RuntimeError, match="out of order"):
        main(["plugins", "--debug"])


def broken() -> None:
    raise RuntimeError("out of order")


def test_data_check_tells_what_is_wrong_and_exits_2(tmp_path: Path, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as end:
        main(["data", "check", str(tmp_path), "--json"])
    assert end.value.code == 2
    assert json.loads(capsys.readouterr().out)["ok"] is False


def test_markup_in_names_is_printed_as_it_is(tmp_path: Path, capsys: Capture) -> None:
    _, err = fails(["ids", str(tmp_path / "[bold]x[/bold]")], capsys)
    assert "[bold]x[/bold]" in err
