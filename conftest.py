"""Keeps every test off the network, and registers ``pytest --benchmark``.

That runs the benchmarks under ``bench/`` instead of the tests, with a table at the end.

A benchmark is a function ``test_*`` in a file ``bench/timing/bench_*.py``; what it measures it hands to the fixture
``book``, which ``bench/timing/harness.py`` defines.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

NETWORK = ("socket.connect", "socket.sendto", "socket.sendmsg", "socket.bind", "socket.getaddrinfo")
LOOPBACK = ("127.", "localhost", "::1", "0.0.0.0")
BENCH = (Path(__file__).parent / "bench").resolve()
_BOOK = pytest.StashKey[Any]()  # of the benchmarks' times; Any: its class is imported late


def _refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    """Names and addresses beyond this machine are not for tests; unix sockets have no address in parentheses."""
    if event in NETWORK:
        address = arguments[0] if event == "socket.getaddrinfo" else arguments[1]
        host = address[0] if isinstance(address, tuple) else address
        if isinstance(address, tuple) or event == "socket.getaddrinfo":
            text = host.decode() if isinstance(host, bytes) else str(host or "localhost")
            if not text.startswith(LOOPBACK):
                raise PermissionError(f"a test must not reach {text!r} over the network")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("mmgrec benchmarks")
    group.addoption("--benchmark", action="store_true", help="run the benchmarks of bench/, and no tests")
    group.addoption(
        "--benchmark-scale",
        type=float,
        default=None,
        metavar="X",
        help="multiply the sizes of the benchmarks by X (default: 1 on a CPU; full size where there is a GPU)",
    )


def pytest_configure(config: pytest.Config) -> None:
    sys.addaudithook(_refuse_network)
    for room in ("tuning", "tables", "rivals", "timing"):  # what benchmarks and tests of tools share
        sys.path.insert(0, str(BENCH / room))
    scale = config.getoption("--benchmark-scale")
    if scale is not None and scale <= 0:
        raise pytest.UsageError("--benchmark-scale must be above 0")
    if not config.getoption("--benchmark"):
        return
    given = [Path(argument.split("::")[0]).resolve() for argument in config.args]
    if not any(path == BENCH or BENCH in path.parents for path in given):
        config.args[:] = [str(BENCH)]


@pytest.fixture(scope="session")
def book(request: pytest.FixtureRequest) -> Any:
    """Where benchmarks enter their times (``harness.Book``)."""
    from harness import Book  # late: it imports torch

    kept = Book(scale=request.config.getoption("--benchmark-scale"))
    request.config.stash[_BOOK] = kept
    return kept


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    kept = config.stash.get(_BOOK, None)
    if kept is None or not kept.lines:
        return
    terminalreporter.section("benchmarks: medians")
    terminalreporter.write_line(kept.table())
    terminalreporter.write_line(f"\nwritten to {kept.save().relative_to(Path(__file__).parent)}")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    if not parent.config.getoption("--benchmark") or parent.session.isinitpath(file_path):
        return None  # a file named on the command line is collected by pytest itself
    if BENCH in file_path.parents and file_path.match("bench_*.py"):
        return pytest.Module.from_parent(parent, path=file_path)
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--benchmark"):
        items[:] = [item for item in items if BENCH in item.path.parents]
        return
    for item in items:
        if BENCH in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="a benchmark; run it with --benchmark"))
