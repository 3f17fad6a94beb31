"""The command ``mmgrec``: parse, call the core, render. Torch is imported only by commands that compute.

Exit codes: 0 fine, 2 the user's mistake (one sentence), 1 ours; 130 and 143 where a signal ended the run.
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
from mmgrec_cli import render
from mmgrec_cli.compare import compare
from mmgrec_cli.config import config_show
from mmgrec_cli.data import data_check, data_features, data_import
from mmgrec_cli.evaluate import evaluate
from mmgrec_cli.ids import ids
from mmgrec_cli.plugins import plugins
from mmgrec_cli.recommend import recommend
from mmgrec_cli.report import report
from mmgrec_cli.run import run
from mmgrec_cli.study import study

__all__ = ["app", "main"]

app = typer.Typer(
    name="mmgrec",
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


_config = typer.Typer(help="Settings.", no_args_is_help=True, rich_markup_mode=None)
_data = typer.Typer(help="Data folders.", no_args_is_help=True, rich_markup_mode=None)
app.command("run", epilog="Example: mmgrec run --data PATH --baselines popularity,lightgcn --seed 1")(run)
app.command("plugins", epilog="Example: mmgrec plugins --json")(plugins)
app.command("ids", epilog="Example: mmgrec ids runs/synthetic-1a2b3c4d")(ids)
app.command("recommend", epilog="Example: mmgrec recommend RUN --users users.txt -k 10 --out top.parquet")(recommend)
app.command("evaluate", epilog="Example: mmgrec evaluate RUN --mask train -k 20")(evaluate)
app.command("compare", epilog="Example: mmgrec compare RUN RUN --metric ndcg@10")(compare)
app.command("report", epilog="Example: mmgrec report runs/synthetic-1a2b3c4d")(report)
app.command("study", epilog="Example: mmgrec study overall --data PATH PATH --seeds 5 --jobs 2 --out DIR")(study)
_data.command("import", epilog="Example: mmgrec data import ratings.csv --out shop --features visual=visual.parquet")(
    data_import
)
_data.command("features", epilog="Example: mmgrec data features shop --from title,text --dim 64")(data_features)
_data.command("check", epilog="Example: mmgrec data check PATH")(data_check)
_config.command("show", epilog="Example: mmgrec config show --quantizer hk-means --toml > run.toml")(config_show)
app.add_typer(_data, name="data")
app.add_typer(_config, name="config")


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
    return RunError(reason_of(error), where=str(error.filename), remedy="check the path")


def _refuse_control_characters(given: Sequence[str]) -> None:
    """No file, id or setting is named with one; a terminal that prints it may do anything."""
    for one in given:
        if any(letter < " " and letter not in "\t\n" for letter in one):
            raise SettingsError([f"{one[:40]!r} holds a control character"], remedy="leave it out")


def main(argv: Sequence[str] | None = None) -> Never:
    """Run the command line and exit."""
    given = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in given
    try:
        _refuse_control_characters(given)
        with _signals():
            app(args=[one for one in given if one != "--debug"], prog_name="mmgrec")
    except Stopped as stop:
        render.note(f"stopped by {stop}; the same command resumes")
        sys.exit(stop.code)
    except (UserError, OSError) as error:
        if debug:
            raise
        told = error if isinstance(error, UserError) else _of_the_system(error)
        if told is None:
            render.fault(error)
            sys.exit(1)
        render.problem(told)
        sys.exit(2)
    except Exception as error:  # anything that is not the user's mistake is ours, or a plugin's
        if debug:
            raise
        render.fault(error)
        sys.exit(1)
    sys.exit(0)
