"""Commands that other packages bring: listed, in the help, imported when called; what is wrong with them is theirs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from mmgrec.errors import PluginError
from mmgrec.registry import Registry
from mmgrec_cli.app import app, main

pytestmark = pytest.mark.messages

HOOK = """
from mmgrec import hookimpl

@hookimpl
def mmgrec_commands(register):
"""
REGISTER = """    register({name!r}, "{target}", summary={summary!r})
"""
GREET = '''
from typing import Annotated

import typer

from mmgrec import UserError


def greet(name: Annotated[str, typer.Argument(help="Whom.")], loud: bool = False) -> None:
    """Greet somebody by name."""
    if name == "nobody":
        raise UserError("there is nobody to greet", remedy="name somebody")
    if name == "void":
        raise KeyError("no such greeting")
    if name == "bye":
        raise typer.Exit(7)
    print(f"hello {name}{'!' if loud else ''}")


tools = typer.Typer(help="Several things.")


@tools.command()
def count(n: int = 3) -> None:
    print(*range(n))
'''

Install = Callable[..., None]
Said = Callable[..., tuple[object, str, str]]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Put a distribution `acme-<name>` on the path, with a module of hooks and one that has what they name."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def put(name: str, hooks: str, part: str = "") -> None:
        (tmp_path / f"acme_{name}.py").write_text(hooks)
        (tmp_path / f"acme_{name}_part.py").write_text(part)
        info = tmp_path / f"acme_{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: acme-{name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[mmgrec]\n{name} = acme_{name}\n")

    yield put
    for module in [module for module in sys.modules if module.startswith("acme_")]:
        del sys.modules[module]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    """Exit code, stdout and stderr of a command."""

    def run(*argv: str) -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as end:
            main(argv)
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return end.value.code, out, err

    return run


def offering(**commands: str) -> str:
    """A module of hooks: name of a command -> target."""
    rows = (
        REGISTER.format(name=name.replace("_", "-"), target=target, summary=f"what {name} does")
        for name, target in commands.items()
    )
    return HOOK + "".join(rows)


def rows(said: Said) -> dict[tuple[str, str], dict[str, str]]:
    """What `mmgrec plugins` lists, by distribution and name."""
    code, out, _ = said("plugins", "--json")
    assert code == 0
    return {(row["distribution"], row["name"]): row for row in json.loads(out)}


@pytest.fixture
def greeting(install: Install) -> None:
    install("greet", offering(greet="acme_greet_part:greet", tools="acme_greet_part:tools"), GREET)


# --------------------------------------------------------------------------- a sound one


def test_it_is_listed_and_in_the_help_and_not_imported(greeting: None, said: Said) -> None:
    assert rows(said)["acme-greet", "greet"] == {
        "kind": "command", "name": "greet", "summary": "what greet does", "distribution": "acme-greet",
        "version": "1.0", "status": "ok",
    }  # fmt: skip
    code, out, err = said("--help")
    assert (code, err) == (0, "")
    listed = [line.split(maxsplit=1) for line in out.partition("Commands:")[2].splitlines() if line.startswith("  ")]
    assert [line for line in listed if "does" in line[1]] == [
        ["greet", "what greet does"],
        ["tools", "what tools does"],
    ]
    assert listed[0][0] == "run"  # the shipped ones stand before them
    assert "acme_greet_part" not in sys.modules


def test_a_function_is_a_command(greeting: None, said: Said) -> None:
    assert said("greet", "zoe", "--loud") == (0, "hello zoe!\n", "")
    assert said("greet", "--", "--loud") == (0, "hello --loud\n", "")
    code, out, _ = said("greet", "--help")
    assert code == 0
    assert out.startswith("Usage: mmgrec greet ")
    assert "Greet somebody by name." in out


def test_a_typer_is_a_group(greeting: None, said: Said) -> None:
    assert said("tools", "count", "--n", "2") == (0, "0 1\n", "")  # of a single command, and a group still
    code, out, _ = said("tools", "--help")
    assert (code, "Several things." in out, "count" in out) == (0, True, True)


def test_a_mistake_is_a_sentence_and_code_2(greeting: None, said: Said) -> None:
    assert said("greet", "nobody") == (2, "", "error: there is nobody to greet; name somebody.\n")
    code, out, err = said("greet", "zoe", "--nonsense")
    assert (code, out) == (2, "")
    assert err.startswith("Usage: mmgrec greet ")
    assert "No such option" in err


def test_it_may_choose_its_exit_code(greeting: None, said: Said) -> None:
    assert said("greet", "bye") == (7, "", "")


def test_its_own_fault_is_code_1_and_names_its_package(greeting: None, said: Said) -> None:
    code, out, err = said("greet", "void")
    assert (code, out) == (1, "")
    assert err.splitlines() == [
        "internal error: command 'greet' of acme-greet 1.0: KeyError: 'no such greeting'",
        "This is a fault of acme-greet; tell its author, or run the command again with --debug to see where.",
    ]
    with pytest.raises(KeyError):
        main(["greet", "void", "--debug"])


def test_the_next_fault_is_not_laid_at_its_door(greeting: None, said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    said("greet", "void")
    monkeypatch.setattr("mmgrec_cli.render.plugins", lambda _: 1 / 0)
    code, _, err = said("plugins")
    assert (code, "acme" in err) == (1, False)


def test_a_misspelt_name_gets_a_hint(greeting: None, said: Said) -> None:
    code, _, err = said("gret")
    assert (code, "'greet'" in err) == (2, True)


# --------------------------------------------------------------------------- broken ones

PARTS = {
    "no such module": ("acme_absent_part:greet", "", "cannot be imported: ModuleNotFoundError"),
    "no such name": ("acme_ill_part:absent", "", "cannot be imported: AttributeError"),
    "raises at import": ("acme_ill_part:greet", "raise ValueError('no licence')", "cannot be imported: ValueError"),
    "ends the process": ("acme_ill_part:greet", "import sys; sys.exit(3)", "cannot be imported: SystemExit"),
    "a number": ("acme_ill_part:greet", "greet = 3", "3 is neither a function nor a typer.Typer"),
    "a class": ("acme_ill_part:Greet", "class Greet: ...", "acme_ill_part.Greet is neither a function nor"),
}


@pytest.mark.parametrize("what", PARTS)
def test_what_cannot_be_called_is_told_when_it_is(what: str, install: Install, said: Said) -> None:
    target, part, sentence = PARTS[what]
    install("ill", offering(ill=target), part)
    assert rows(said)["acme-ill", "ill"]["status"] == "ok"  # nobody has looked
    code, out, err = said("ill")
    assert (code, out) == (2, "")
    assert err.startswith("error: command 'ill' of acme-ill 1.0: ")
    assert sentence in err


def test_a_function_that_typer_refuses_is_its_packages_fault(install: Install, said: Said) -> None:
    install("ill", offering(ill="acme_ill_part:greet"), "def greet(name: 'NoSuchType') -> None: ...")
    code, _, err = said("ill", "--help")
    assert (code, err.startswith("internal error: command 'ill' of acme-ill 1.0: ")) == (1, True)


@pytest.mark.parametrize("hooks", ["raise ValueError('half built')", "import sys; sys.exit('no licence')", "def ("])
def test_broken_hooks_are_a_row_and_hinder_nobody(hooks: str, greeting: None, install: Install, said: Said) -> None:
    install("ill", hooks)
    assert rows(said)["acme-ill", "ill"]["status"].startswith("broken: ")
    code, out, err = said("--help")
    assert (code, err, "greet" in out) == (0, "", True)
    assert said("greet", "zoe")[:2] == (0, "hello zoe\n")
    code, _, err = said("serve")  # perhaps it would have been theirs
    assert code == 2
    assert err.startswith("error: there is no command called 'serve'; ")
    assert "Not available: ill of acme-ill 1.0" in err


def test_a_blocked_command_is_told(greeting: None, said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMGREC_DISABLE_PLUGINS", "acme-greet")
    code, _, err = said("greet", "zoe")
    assert code == 2
    assert "greet of acme-greet 1.0 is not available: blocked" in err
    assert "acme_greet" not in sys.modules


def test_the_help_comes_where_plugins_cannot_even_be_listed(
    greeting: None, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> Registry:
        raise TypeError("a list of entry points is damaged")

    monkeypatch.setattr("mmgrec.registry.Registry.discover", fail)
    code, out, err = said("--help")
    assert (code, "  run " in out) == (0, True)
    assert (
        err == "warning: commands of other packages cannot be listed (TypeError: a list of entry points is damaged)\n"
    )


def test_a_summary_that_steers_a_terminal_is_inert(install: Install, said: Said) -> None:
    install("evil", HOOK + REGISTER.format(name="evil", target="a:b", summary="\x1b[2Jtwo\nlines\u202e"))
    code, out, _ = said("--help")
    assert code == 0
    assert not set(out) & {"\x1b", "\u202e"}
    assert "evil       \\u001b[2Jtwo lines" in out


# --------------------------------------------------------------------------- names claimed twice


def test_two_packages_that_claim_a_name_are_both_told(greeting: None, install: Install, said: Said) -> None:
    install("rival", offering(greet="acme_rival_part:greet"))
    listed = rows(said)
    assert listed["acme-greet", "greet"]["status"] == "claimed twice: also by acme-rival"
    assert listed["acme-rival", "greet"]["status"] == "claimed twice: also by acme-greet"
    assert "greet" not in said("--help")[1]
    code, _, err = said("greet", "zoe")
    assert code == 2
    assert "the command 'greet' is claimed by acme-greet 1.0 and acme-rival 1.0" in err
    assert said("tools", "count")[0] == 0


def test_a_shipped_command_keeps_its_name(install: Install, said: Said) -> None:
    install("rival", offering(ids="acme_rival_part:ids", data="acme_rival_part:data"), "raise ValueError")
    listed = rows(said)
    assert listed["acme-rival", "ids"]["status"] == "claimed twice: also by mmgrec"
    assert listed["mmgrec", "ids"]["status"] == "claimed twice: also by acme-rival"
    assert "what ids does" not in said("--help")[1]
    code, _, err = said("ids", "absent")
    assert (code, "there is no run in this folder" in err) == (2, True)
    assert said("data", "--help")[0] == 0
    assert "acme_rival_part" not in sys.modules


def test_a_shipped_command_asks_no_package(install: Install, said: Said) -> None:
    install("slow", "import time; time.sleep(60)")
    assert said("ids", "absent")[0] == 2
    assert said("run", "--help")[0] == 0
    assert said("--version")[0] == 0
    assert "acme_slow" not in sys.modules


# --------------------------------------------------------------------------- the shipped ones


def test_the_shipped_commands_are_registered_as_they_are_put_together() -> None:
    registry = Registry.discover(environ={})
    group: Any = typer.main.get_command(app)
    shipped = {row.name for row in registry.plugins if row.kind == "command" and row.distribution == "mmgrec"}
    assert shipped == set(group.commands)
    targets: dict[str | None, object] = {row.name: row.callback for row in app.registered_commands}
    targets |= {row.name: row.typer_instance for row in app.registered_groups}
    assert {name: registry.load_command(name) for name in shipped} == targets


def test_a_command_is_no_part() -> None:
    with pytest.raises(ValueError, match="use load_command"):
        Registry.discover(environ={}).load("command", "run")
    with pytest.raises(PluginError) as error:
        Registry.discover(environ={}).load_command("rnu")
    assert error.value.code == "registry.unknown-plugin"
    assert "did you mean 'run'" in str(error.value)
