"""How often faults are tried, and the words in which they are told.

``trials`` gives a test its number out of ``tests/reliability.toml``: the small one in every run, the large one under
``pytest -m soak``. ``told`` holds every message against ``tests/messages.txt``, where a reader can judge them; with
MMGREC_WRITE_MESSAGES=1 the file is written instead.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
FAULTS: dict[str, dict[str, Any]] = tomllib.loads((HERE / "reliability.toml").read_text(encoding="utf-8"))
RECORD = HERE.parent / "docs" / "results" / "reliability.json"
MESSAGES = HERE / "messages.txt"
sys.path.insert(0, str(HERE))  # command_server.py


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The long part is asked for by name."""
    if "soak" in config.getoption("-m"):
        return
    left = [item for item in items if item.get_closest_marker("soak")]
    config.hook.pytest_deselected(items=left)
    items[:] = [item for item in items if not item.get_closest_marker("soak")]


class Trials:
    """The numbers of one mode, ``fast`` or ``soak``."""

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self._begun = time.monotonic()

    def of(self, fault: str) -> int:
        return int(FAULTS[fault][self.mode])

    def held(self, fault: str, tried: int) -> None:
        """All of them held. What a soak has seen is written down where MMGREC_WRITE_RELIABILITY=1 asks for it."""
        assert tried == self.of(fault), f"{fault}: {tried} were tried, {self.of(fault)} are promised"
        if self.mode == "soak" and os.environ.get("MMGREC_WRITE_RELIABILITY"):
            known = json.loads(RECORD.read_text()) if RECORD.exists() else {}
            known[fault] = {"tried": tried, "seconds": round(time.monotonic() - self._begun)}
            RECORD.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")


@pytest.fixture(params=["fast", pytest.param("soak", marks=pytest.mark.soak)])
def trials(request: pytest.FixtureRequest) -> Trials:
    """How often to try."""
    return Trials(request.param)


def known_messages() -> dict[str, str]:
    """title -> message; a title stands above its message, a blank line between two messages."""
    text = MESSAGES.read_text(encoding="utf-8") if MESSAGES.exists() else ""
    blocks = (block.partition("\n") for block in text.strip().split("\n\n") if block)
    return {title.removesuffix(":"): message.removeprefix("  ").replace("\n  ", "\n") for title, _, message in blocks}


@pytest.fixture(scope="session")
def server() -> Iterator[Any]:
    """Starts commands of mmgrec, each in a process of its own (``command_server.Server``)."""
    from command_server import Server

    made = Server()
    yield made
    made.end()


@pytest.fixture
def told(tmp_path: Path) -> Callable[[str, object], None]:
    """Hold a message against the one that is written down under a title."""
    return teller(tmp_path)


def teller(tmp_path: Path) -> Callable[[str, object], None]:
    def check(title: str, message: object) -> None:
        text = str(message).strip()
        homes = {
            str(one) for path in (tmp_path, tmp_path.resolve()) for one in (path, path.parent)
        }  # others' beside it
        for place in sorted(homes, key=len, reverse=True):
            text = text.replace(f"{place}/", "").replace(place, "FOLDER")
        text = re.sub(r"process \d+ since [-\d]+ [:\d]+", "process 4242 since 2026-01-01 12:00:00", text)
        text = re.sub(r"\b\d+\.\d s\b", "5.0 s", text)
        text = re.sub("[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda one: f"\\u{ord(one[0]):04x}", text)
        text = re.sub(r"write [\d,]+ bytes", "write 12,345 bytes", text)
        text = re.sub(r"not usable here \([^)]*\)", "not usable here (no such device)", text)
        text = re.sub(r"\bcopy\d+\b", "copy", text)
        known = known_messages()
        if os.environ.get("MMGREC_WRITE_MESSAGES"):
            known[title] = text
            blocks = [f"{one}:\n  " + known[one].replace("\n", "\n  ") for one in sorted(known)]
            MESSAGES.write_text("\n\n".join(blocks) + "\n", encoding="utf-8")
            return
        assert known.get(title) == text, (
            f"{title}: MMGREC_WRITE_MESSAGES=1 writes it down, if these are the right words"
        )

    return check


@pytest.fixture(autouse=True)
def _told_by_themselves(request: pytest.FixtureRequest) -> Iterator[None]:
    """In a file that is marked ``messages``, every error that is made for a user is held against the written ones."""
    if request.node.get_closest_marker("messages") is None:
        yield
        return
    from mmgrec.errors import UserError

    check = teller(request.getfixturevalue("tmp_path"))
    heard: list[str] = []
    make = UserError.__init__

    def hear(self: UserError, *arguments: Any, **more: Any) -> None:  # Any: as the constructor takes them
        make(self, *arguments, **more)
        heard.append(str(self))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(UserError, "__init__", hear)
        yield
    if heard:
        title = f"{request.path.stem}, {request.node.name}".replace("test_", "").replace("_", " ")
        check(title, "\n".join(dict.fromkeys(heard)))
