"""The command ``mmgrec``: parse, call the core, render. Torch is imported only by commands that compute.

Exit codes: 0 fine, 2 the user's mistake (one sentence), 1 ours or another package's; 130 and 143 where a signal ended
the run. What is shipped is put together here; `mmgrec_cli.third_party` adds the commands of other packages.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Annotated, Never

import typer

from mmgrec import __version__
from mmgrec.errors import RunError, SettingsError, UserError, reason_of
from mmgrec_cli import render, third_party
from mmgrec_cli.compare import compare
from mmgrec_cli.config import config_show
from mmgrec_cli.data import data_check, data_features, data_import
from mmgrec_cli.evaluate import evaluate
from mmgrec_cli.explain import explain
from mmgrec_cli.ids import ids
from mmgrec_cli.plugins import plugins
from mmgrec_cli.recommend import recommend
from mmgrec_cli.report import report
from mmgrec_cli.run import run
from mmgrec_cli.study import study

__all__ = ["app", "config_commands", "data_commands", "main"]

app = typer.Typer(
    name="mmgrec",
    cls=third_party.Commands,
    help="Generative recommendation over multimodal items, from replaceable parts.",
    epilog="Example: mmgrec run --data PATH --baselines popularity,lightgcn",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class Stopped(BaseException):
    """A signal asked the process to end. Not an Exception: no plugin shall swallow it."""

    def __init__(self, number: int) -> None:
        self.code = 128 + number
        super().__init__(signal.Signals(number).name)


def _version(wanted: bool) -> None:
    if wanted:
        render.text(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None: ...


config_commands = typer.Typer(help="Settings.", no_args_is_help=True, rich_markup_mode=None)
data_commands = typer.Typer(help="Data folders.", no_args_is_help=True, rich_markup_mode=None)
app.command("run", epilog="Example: mmgrec run --data PATH --baselines popularity,lightgcn --seed 1")(run)
app.command("plugins", epilog="Example: mmgrec plugins --json")(plugins)
app.command("ids", epilog="Example: mmgrec ids runs/synthetic-1a2b3c4d")(ids)
app.command("recommend", epilog="Example: mmgrec recommend RUN --users users.txt -k 10 --out top.parquet")(recommend)
app.command("explain", epilog="Example: mmgrec explain RUN --user ann -k 3")(explain)
app.command("evaluate", epilog="Example: mmgrec evaluate RUN --mask train -k 20")(evaluate)
app.command("compare", epilog="Example: mmgrec compare RUN RUN --metric ndcg@10")(compare)
app.command("report", epilog="Example: mmgrec report runs/synthetic-1a2b3c4d")(report)
app.command("study", epilog="Example: mmgrec study overall --data PATH PATH --seeds 5 --jobs 2 --out DIR")(study)
data_commands.command(
    "import", epilog="Example: mmgrec data import ratings.csv --out shop --features visual=visual.parquet"
)(data_import)
data_commands.command("features", epilog="Example: mmgrec data features shop --from title,text --dim 64")(data_features)
data_commands.command("check", epilog="Example: mmgrec data check PATH")(data_check)
config_commands.command("show", epilog="Example: mmgrec config show --quantizer hk-means --toml > run.toml")(
    config_show
)
app.add_typer(data_commands, name="data")
app.add_typer(config_commands, name="config")


@contextmanager
def _signals() -> Iterator[None]:
    """SIGINT and SIGTERM end the process in order: files are closed, locks released, checkpoints stay."""

    def stop(number: int, frame: FrameType | None) -> Never:
        raise Stopped(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _of_the_system(error: OSError) -> UserError | None:
    """A file that the system refuses, where no part of the core had words for it: too long a name, no permission."""
    if not isinstance(error.filename, str | bytes):
        return None
    return RunError(reason_of(error), where=str(error.filename), remedy="check the path", code="cli.refused-file")


def _refuse_control_characters(words: Sequence[str]) -> None:
    """No file, id or setting is named with one; a terminal that prints it may do anything."""
    for word in words:
        if any(letter < " " and letter not in "\t\n" for letter in word):
            raise SettingsError(
                [f"{word[:40]!r} holds a control character"], remedy="leave it out", code="cli.control-character"
            )


def main(argv: Sequence[str] | None = None) -> Never:
    """Run the command line and exit."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    commands = None
    try:
        commands = typer.main.get_command(app)
        _refuse_control_characters(words)
        with _signals():
            commands(args=[word for word in words if word != "--debug"], prog_name="mmgrec")
    except Stopped as stop:
        render.note(f"stopped by {stop}; the same command resumes")
        sys.exit(stop.code)
    except Exception as error:
        if debug:
            raise
        mistake = _of_the_system(error) if isinstance(error, OSError) else error
        if isinstance(mistake, UserError):
            render.problem(mistake)
            sys.exit(2)
        render.fault(error, third_party.called(commands))  # not the user's mistake: ours, or a plugin's
        sys.exit(1)
    sys.exit(0)
