"""Writes the pages that the code itself can tell: ``python docs/generate.py``, or with ``--check`` only compares.

``docs/reference/cli.md`` comes from the commands as they are declared, ``docs/reference/settings.md`` from the fields
of the parts' classes and the comments beside them, as in ``mmgrec config show``, ``docs/reference/errors.md`` from the
syntax trees, by `error_codes`. A test holds all of them against this program.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import error_codes
import typer

from mmgrec.recommender import MMGRec
from mmgrec.registry import Registry
from mmgrec.settings import Setting, describe
from mmgrec_cli.app import app
from mmgrec_cli.options import experiment_of

__all__ = ["PAGES", "cli", "errors", "settings"]

HERE = Path(__file__).parent
WRITTEN = "<!-- Written by `python docs/generate.py`; change the code, not this page. -->"
VALUES = ("network", "training", "weighing")  # the parts of MMGRec that are settings alone
#: kind -> heading, how a setting of it is named behind ``--set``
KINDS = {
    "quantizer": ("Quantizers", "quantizer.FIELD"),
    "collisions": ("Collision resolvers", "collisions.FIELD"),
    "position": ("Positional schemes", "position.FIELD"),
    "memory": ("Item memories", "memory.FIELD"),
    "decoder": ("Decoders", "decoder.FIELD"),
    "recommender": ("Recommenders", "baselines.NAME.FIELD"),
    "dataset": ("Data sets", "data.FIELD"),
}


_COMMANDS = """\
Every command knows `--help`; each that prints a result takes `--json`. Answers go to stdout, talk to stderr.
Exit code 0 is fine, 2 is a mistake of yours (one sentence, and what to do), 1 is a fault of mmgrec or of another
package, or a job of which a part failed, 130 and 143 a signal that ended the command; [errors](errors.md) says
more. What is not called required may be left out."""
_SETTINGS = """\
Every setting of the run and of the shipped parts, with its type and default. `mmgrec config show` shows those
of one run, with the values that it would have, and those of plugins that are not shipped. A setting is given on
the command line by `--set`, or stands in a table of a [configuration
file](../explanation/architecture.md#settings-are-fields); a preset changes the defaults of several at once.
`none` stands for no value. Types are strict: `"3"` is no number and `3.0` no whole one. Where a list of values
is said to be "by validation", the model is fitted with each and validation chooses."""
_ERRORS = """\
How a command says that something went wrong, and how a program knows which error it was.

## Exit codes

| exit code | what happened | what is printed |
|---|---|---|
| 0 | all went well | |
| 2 | a mistake that you can mend, in settings, data, folders or files; or a plugin breaks its contract \
| one sentence: where, what is wrong, what to do; several wrong settings are told at once, one on a line |
| 2 | `mmgrec data check` found a folder that cannot be used | its findings |
| 2 | the command was called in the wrong way | its usage, and what is wrong |
| 1 | a fault of mmgrec, or of another package whose command was called | the error on one line, and whose it is |
| 1 | a model of a study failed, the others went on | which, and why |
| 130, 143 | Ctrl-C or SIGTERM ended the command | that the same command goes on where it stopped |

All of it goes to stderr, also with `--json`; only the findings of `mmgrec data check` are an answer, on stdout.
`--debug`, anywhere among the words of the command, shows the traceback in place of the sentence or the line; the exit
code is then 1 for a mistake of yours as well.

## Codes

Words may be improved from one version to the next. Programs recognise an error by its `code`, `<room>.<what>`, which
stays. The room is one of [the core](../explanation/architecture.md#rooms-of-the-core), a kind of shipped parts, or
`cli`:

```python
import mmgrec
from mmgrec import UserError

try:
    mmgrec.open("runs/none")
except UserError as error:
    assert error.code == "runs.no-run"
    print(error)  # the sentence; its parts are error.where, error.what and error.remedy
```

A `SettingsError` tells several problems: `codes` has the code of each, and `code` is theirs where they agree, else
`settings.several`. The command line prints sentences and no codes; but `mmgrec data check --json` gives each of its
findings a `code`.

All classes are in `mmgrec.errors`. A plugin hands over a code of its own, `code="<plugin>.<what>"`; an error without
one has that of its class:
"""
_CODES = """\
An ellipsis stands for what is filled in when the error is told, and the first of several wordings stands for all. Where
there is no wording, the words come from elsewhere: the system, the check of types, a plugin. What begins with
"Warning:" is no error, but a finding of `mmgrec data check`.
"""


# --------------------------------------------------------------------------- commands


def cli() -> str:
    """The page of the command line."""
    root: Any = typer.main.get_command(app)  # Any: of typer's own copy of click
    text = [
        "# Commands",
        "",
        WRITTEN,
        "",
        *_wrapped(f"{root.help} {_COMMANDS}"),
        "",
        "| before the command | |",
        "|---|---|",
        *(_option(one) for one in root.params),
    ]
    for name, command in _commands(root):
        text += ["", f"## mmgrec {name}", "", *_paragraphs(command.help or ""), "", "```sh"]
        text += [(command.epilog or "").removeprefix("Example: "), "```", "", "| option | default | |", "|---|---|---|"]
        text += [_option(one, default=True) for one in command.params if not one.hidden]
    return "\n".join(text) + "\n"


def _commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Name and command, those of groups in their place."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def _paragraphs(text: str) -> list[str]:
    return _wrapped(inspect.cleandoc(text))


def _wrapped(text: str, width: int = 116) -> list[str]:
    lines = [""]
    for word in text.replace("\n\n", " \0 ").split():
        if word == "\0":
            lines += ["", ""]
        elif len(lines[-1]) + len(word) + 1 > width:
            lines.append(word)
        else:
            lines[-1] += f" {word}" if lines[-1] else word
    return lines


def _option(one: Any, *, default: bool = False) -> str:
    """A row for an option or an argument."""
    is_option = any(name.startswith("-") for name in one.opts)
    flag = bool(getattr(one, "is_flag", False))
    what = one.metavar or ("" if flag else _value(one))
    names = ", ".join(f"`{name}`" for name in one.opts) if is_option else f"`{what}`"
    shown = f"{names} `{what}`" if is_option and what else names
    repeated = " May be given several times." if getattr(one, "multiple", False) else ""
    told = f"{(one.help or '').strip()}{repeated}"
    cells = [shown, told] if not default else [shown, "required" if one.required else _default(one.default), told]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _value(one: Any) -> str:
    """What is put in place of a value: its type in capitals."""
    spelt = str(getattr(getattr(one, "type_descriptor", None), "annotation", "") or getattr(one, "type", ""))
    for sign, word in (("int", "N"), ("float", "X"), ("Path", "PATH")):
        if sign in spelt:
            return word
    return "TEXT"


def _default(value: object) -> str:
    if callable(value) or value is None or value is False or value == "" or value == [] or "Sentinel" in repr(value):
        return ""
    return f"`{value}`"


# --------------------------------------------------------------------------- settings


def settings() -> str:
    """The page of all settings of what is shipped."""
    text = [
        "# Settings",
        "",
        WRITTEN,
        "",
        *_wrapped(_SETTINGS),
        "",
        "## The run",
        "",
        "Keys above the tables of a configuration file; `--preset`, `--seed` and `--mask` are flags as well.",
        "",
        *_table(experiment_of().described()["(top)"]),
    ]
    values = {field.name: field.default_factory for field in dataclasses.fields(MMGRec)}
    for name in VALUES:
        make: Any = values[name]  # Any: a class whose fields are settings
        text += ["", f"## {name.capitalize()}", "", *_wrapped(f"`--set {name}.FIELD=VALUE`. {_summary(make)}"), ""]
        text += _table(describe(make))
    registry = Registry.discover(environ={})
    for kind, (heading, spelt) in KINDS.items():
        text += ["", f"## {heading}", "", f"`--set {spelt}=VALUE`."]
        rows = [row for row in registry.plugins if row.kind == kind and row.distribution == "mmgrec"]
        for row in rows:
            if row.name == "mmgrec":  # its parts are the other sections
                continue
            found = describe(registry.load(kind, row.name))
            text += ["", f"### {row.name}", "", f"{row.summary[:1].upper()}{row.summary[1:]}."]
            text += ["", *_table(found)] if found else ["", "It has no settings."]
    return "\n".join(text) + "\n"


def _summary(cls: type) -> str:
    """The first sentence of a class's docstring."""
    return (inspect.getdoc(cls) or "").split("\n\n")[0].replace("\n", " ").replace("``", "`")


def _table(rows: Iterable[Setting]) -> list[str]:
    out = ["| setting | type | default | |", "|---|---|---|---|"]
    for row in rows:
        default = "required" if row.required else f"`{row.default}`"
        cells = [f"`{row.name}`", f"`{row.type}`", default, row.comment]
        out.append("| " + " | ".join(re.sub(r"(?<!\\)\|", r"\\|", cell) for cell in cells) + " |")
    return out


# --------------------------------------------------------------------------- errors


def errors() -> str:
    """The page of the codes of all errors."""
    text = ["# Errors", "", WRITTEN, "", _ERRORS, "| class | code | what it is for |", "|---|---|---|"]
    for one in error_codes.classes():
        text.append(_row(f"`{one.name}`", f"`{one.kind}`", one.summary))
    text += ["", "## All codes", "", _CODES.rstrip()]
    room = ""
    for code, sentence in error_codes.codes().items():
        if not code.startswith(f"{room}."):
            room = code.partition(".")[0]
            text += [
                "",
                f"### {room}",
                "",
                *_wrapped(error_codes.job(room)),
                "",
                "| code | what it says |",
                "|---|---|",
            ]
        text.append(_row(f"`{code}`", _as_code(sentence)))
    return "\n".join(text) + "\n"


def _as_code(sentence: str) -> str:
    """Options and names with underscores in a sentence, set as code."""
    return re.sub(r"(?<![`\w.])(--[a-z][a-z-]*|[\w.]*[a-z]_[a-z]\w*)", r"`\1`", sentence)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


# --------------------------------------------------------------------------- writing

PAGES = {
    HERE / "reference" / "cli.md": cli,
    HERE / "reference" / "errors.md": errors,
    HERE / "reference" / "settings.md": settings,
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 where a page is not as it was")
    check = parser.parse_args(argv).check
    stale = [path for path, make in PAGES.items() if not path.exists() or path.read_text(encoding="utf-8") != make()]
    for path in stale:
        if check:
            sys.stderr.write(
                f"{path.relative_to(HERE.parent)} is not what the code says: run python docs/generate.py\n"
            )
        else:
            path.write_text(PAGES[path](), encoding="utf-8")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
