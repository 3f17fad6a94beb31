"""Pickles that run a program, in every place where a file is read: none of them ever runs.

An audit hook sees what Python does; it is first shown pickles that do run, so that its silence means something.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Told = Callable[[str, object], None]

HELPER = '''
import contextlib, hashlib, io, json, os, pickle, shutil, sys
from pathlib import Path

import numpy, torch

from mmgrec.folder import save_folder
from mmgrec.testing import tiny_data
from mmgrec_cli import progress
from mmgrec_cli.app import main

root = Path(sys.argv[1])
os.chdir(root)
flags = [root / "ran-by-system", root / "ran-by-exec"]
seen = []
sys.addaudithook(lambda event, arguments: seen.append(event) if event in WATCHED else None)
WATCHED = {"pickle.find_class", "os.system", "subprocess.Popen", "os.posix_spawn", "os.exec"}


class System:
    def __reduce__(self):
        return os.system, (f"touch {flags[0]}",)


class Execute:
    def __reduce__(self):
        return exec, (f"open({str(flags[1])!r}, 'w').close()",)


def bytes_of(write, *values):
    file = io.BytesIO()
    write(file, *values)
    return file.getvalue()


PAYLOAD = [System(), Execute()]
ARRAY = numpy.empty(2, dtype=object)
ARRAY[:] = PAYLOAD
PICKLE = pickle.dumps(PAYLOAD)
BAD = {
    "npy": bytes_of(lambda file: numpy.save(file, ARRAY, allow_pickle=True)),
    "npz": bytes_of(lambda file: numpy.savez(file, x=ARRAY)),
    "pt": bytes_of(lambda file: torch.save(PAYLOAD, file)),
    "pkl": PICKLE,
    "safetensors": PICKLE,
    "parquet": PICKLE,
}


def ran():
    """Whether a payload ran, or was about to; forgotten afterwards."""
    happened = bool(seen) or any(flag.exists() for flag in flags)
    seen.clear()
    for flag in flags:
        flag.unlink(missing_ok=True)
    return happened


CONTROLS = {
    "pkl": lambda: pickle.loads(BAD["pkl"]),
    "npy": lambda: numpy.load(io.BytesIO(BAD["npy"]), allow_pickle=True),
    "npz": lambda: numpy.load(io.BytesIO(BAD["npz"]), allow_pickle=True)["x"],
    "pt": lambda: torch.load(io.BytesIO(BAD["pt"]), weights_only=False),
}
controls = {}
for name, load in CONTROLS.items():
    ran()
    load()
    controls[name] = all(flag.exists() for flag in flags) and {"pickle.find_class", "os.system"} <= set(seen)
ran()


def command(*argv):
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main(list(map(str, argv)))
    except SystemExit as end:
        return end.code, out.getvalue() + err.getvalue()
    except KeyboardInterrupt:
        return 130, ""


def sealed(folder, name, content):
    """Put a file into a folder and correct its manifest: the forger knows how they are made."""
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest[name] = hashlib.sha256(content).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


RUN = [
    "run", "--quantizer=rqvae", "--baselines=popularity", "--data=tiny", "--set=quantizer.codebook_size=6",
    "--set=quantizer.representations=features", "--set=quantizer.autoencoder.epochs=2", "--set=network.dim=8",
    "--set=network.history_length=8", "--set=training.epochs=3", "--set=training.checkpoint_seconds=0",
    "--set=decoder.num_beams=10",
]
save_folder(tiny_data(), root / "tiny")
code, said = command(*RUN, "--out", "run")
assert code == 0, said


def interrupt(self, stage, done, facts):
    if stage == "generator" and done == 3:
        raise KeyboardInterrupt


update, progress.Watcher.update = progress.Watcher.update, interrupt
command(*RUN, "--out", "half")
progress.Watcher.update = update
assert not (root / "half/manifest.json").exists()
trials = []


def tried(what, *argv):
    ran()
    code, said = command(*argv)
    trials.append({"what": what, "code": code, "said": said, "ran": ran()})


def fresh(source):
    copy = root / f"copy{len(trials)}"
    return Path(shutil.copytree(root / source, copy))


for ending, content in BAD.items():
    data = fresh("tiny")
    for file in (data / "features").iterdir():
        file.unlink()
    (data / "features" / f"visual.{ending}").write_bytes(content)
    tried(f"feature .{ending}, checked", "data", "check", data)
    tried(f"feature .{ending}, run", *RUN, "--data", data)
    (root / f"users.{ending}").write_bytes(content)
    tried(f"users .{ending}", "recommend", "run", "--users", f"users.{ending}", "--out", "o.parquet")
    tried(f"import .{ending}", "data", "import", f"users.{ending}", "--out", f"imported-{ending}")
    tried(f"settings .{ending}", "run", "--config", f"users.{ending}")
for name in ("interactions.parquet", "items.parquet"):
    data = fresh("tiny")
    (data / name).write_bytes(PICKLE)
    tried(f"{name}", *RUN, "--data", data)
data = fresh("tiny")
(data / "graphs").mkdir(exist_ok=True)
(data / "graphs" / "visual.npy").write_bytes(BAD["npy"])
tried("graph .npy", *RUN, "--data", data)
data = fresh("tiny")
for part in ("raw", "processed"):
    (data / part).mkdir()
for name in ("data.pt", "pre_filter.pt", "pre_transform.pt"):
    (data / "processed" / name).write_bytes(BAD["pt"])
tried("a torch-geometric folder, checked", "data", "check", data)
tried("a torch-geometric folder, imported", "data", "import", data / "processed", "--out", "geometric")
for name, argv in {
    "weights/mmgrec.safetensors": ["evaluate"], "per_user.parquet": ["compare"], "rec_ids.json": ["ids"],
    "results.json": ["compare"], "run.toml": ["evaluate"],
}.items():
    for content in {PICKLE, BAD["npz" if name.endswith("json") else "pt"]}:
        folder = fresh("run")
        sealed(folder, name, content)
        tried(f"run folder, {name}", *argv, folder)
for stem in ("module", "optimizer", "best", "meta"):
    folder = fresh("half")
    for manifest in (folder / "checkpoints").rglob("generator/*/manifest.json"):
        sealed(manifest.parent, "meta.json" if stem == "meta" else f"{stem}.safetensors", PICKLE)
    tried(f"checkpoint, {stem}", *RUN, "--out", folder)
folder = fresh("half")
for manifest in (folder / "checkpoints").rglob("manifest.json"):
    manifest.write_bytes(PICKLE)
tried("checkpoint, manifest", *RUN, "--out", folder)
print(json.dumps({"controls": controls, "trials": trials}))
'''


def test_no_pickle_is_ever_run(trials: Any, tmp_path: Path, told: Told) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HELPER, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    payload = json.loads(done.stdout)
    assert payload["controls"] == {"pkl": True, "npy": True, "npz": True, "pt": True}
    for trial in payload["trials"]:
        assert not trial["ran"], trial
        assert "Traceback" not in trial["said"], trial
        assert trial["code"] in (0, 2), trial  # 0: the file was of no use to the command, which says so or needs it not
        if trial["code"] == 2 and "checked" not in trial["what"]:
            error = next(line for line in trial["said"].splitlines() if line.startswith("error: "))
            told(f"pickle as {trial['what']}", error)
    harmless = [trial["what"] for trial in payload["trials"] if trial["code"] == 0]
    assert [what for what in harmless if not what.endswith(", checked")] == []
    trials.held("pickles", len(payload["trials"]))
