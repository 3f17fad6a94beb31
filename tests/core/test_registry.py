"""Plugins are found, told apart and refused in words; nothing a stranger's module does brings the listing down."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace

import pytest

from mmgrec.errors import PluginError
from mmgrec.hookspecs import Register, hookimpl
from mmgrec.interfaces import Quantizer
from mmgrec.registry import BLOCK_VARIABLE, ENTRY_POINT, Plugin, Registry

pytestmark = pytest.mark.messages


@dataclass(frozen=True, kw_only=True)
class Point:
    """An entry point without an installation."""

    make: Callable[[], object]
    name: str = "stranger"
    distribution: str = "stranger-dist"
    value: str = "stranger.hooks"

    @property
    def dist(self) -> SimpleNamespace:
        return SimpleNamespace(name=self.distribution, version="1.2")

    def load(self) -> object:
        return self.make()


def plugin_that(**hooks: object) -> Callable[[], object]:
    module = ModuleType("stranger")
    vars(module).update(hooks)
    return lambda: module


def offering(name: str, target: type | str) -> Callable[[], object]:
    @hookimpl
    def mmgrec_quantizers(register: Register) -> None:
        register(name, target, summary="a test")

    return plugin_that(mmgrec_quantizers=mmgrec_quantizers)


def only(point: Point, **environ: str) -> Plugin:
    (row,) = Registry.discover([point], environ=environ).plugins
    return row


def refused(registry: Registry, name: str) -> PluginError:
    """The error of loading a quantizer."""
    with pytest.raises(PluginError) as error:
        registry.load("quantizer", name)
    return error.value


def raising(error: BaseException) -> Callable[[], object]:
    def load() -> object:
        raise error

    return load


def test_the_shipped_plugins_come_in_by_the_entry_point() -> None:
    registry = Registry.discover(environ={})
    assert {"graph-rqvae", "rqvae", "rq-kmeans", "hk-means"} <= set(registry.names("quantizer"))
    assert {"popularity", "random"} <= set(registry.names("collisions"))
    assert {"relation-aware", "sinusoidal", "none"} <= set(registry.names("position"))


@pytest.mark.parametrize(
    "error", [ImportError("no torch"), SyntaxError("bad"), SystemExit(3), RecursionError("deep"), ValueError("x")]
)
def test_a_plugin_that_fails_at_import_is_a_row_with_its_error(error: BaseException) -> None:
    row = only(Point(make=raising(error)))
    assert row.kind == ENTRY_POINT
    assert row.name == "stranger"
    assert row.status.startswith(f"broken: {type(error).__name__}")


def test_ctrl_c_while_listing_is_not_swallowed() -> None:
    with pytest.raises(KeyboardInterrupt):
        Registry.discover([Point(make=raising(KeyboardInterrupt()))], environ={})


def test_a_hook_that_raises_is_a_row_and_the_other_hooks_still_count() -> None:
    @hookimpl
    def mmgrec_quantizers(register: Register) -> None:
        raise RuntimeError("half built")

    @hookimpl
    def mmgrec_decoders(register: Register) -> None:
        register("greedy", "a.b:C")

    registry = Registry.discover(
        [Point(make=plugin_that(mmgrec_quantizers=mmgrec_quantizers, mmgrec_decoders=mmgrec_decoders))], environ={}
    )
    assert [(row.kind, row.status) for row in registry.plugins] == [
        ("quantizer", "broken: RuntimeError: half built"),
        ("decoder", "ok"),
    ]


def test_a_misspelt_hook_is_reported_with_the_nearest_name() -> None:
    @hookimpl
    def mmgrec_quantizer(register: Register) -> None:
        register("x", "a.b:C")

    row = only(Point(make=plugin_that(mmgrec_quantizer=mmgrec_quantizer)))
    assert row.status == "unknown hook 'mmgrec_quantizer': did you mean 'mmgrec_quantizers' or 'mmgrec_datasets'?"


def test_a_hook_without_its_mark_is_reported() -> None:
    def mmgrec_quantizers(register: Register) -> None: ...

    row = only(Point(make=plugin_that(mmgrec_quantizers=mmgrec_quantizers)))
    assert "decorate it with @mmgrec.hookimpl" in row.status


def test_a_hook_with_an_argument_that_does_not_exist_is_a_row() -> None:
    @hookimpl
    def mmgrec_quantizers(registry: object) -> None: ...

    row = only(Point(make=plugin_that(mmgrec_quantizers=mmgrec_quantizers)))
    assert row.status.startswith("broken: PluginValidationError")


def test_a_module_without_hooks_is_reported() -> None:
    assert only(Point(make=plugin_that())).status.startswith("offers nothing")


@pytest.mark.parametrize("name", ["MyHash", "my_hash", "-hash", "hash-", "", "hash codes"])
def test_names_must_be_kebab_case(name: str) -> None:
    assert "is not kebab-case" in only(Point(make=offering(name, "a.b:C"))).status


@pytest.mark.parametrize("target", ["a.b.C", "a b:C", "", ":C"])
def test_a_target_must_name_a_module_and_a_class(target: str) -> None:
    assert "package.module:Class" in only(Point(make=offering("x", target))).status


@pytest.mark.parametrize("target", [SimpleNamespace, print, "a.b.C"])
def test_a_command_is_named_by_text_alone(target: type | str) -> None:
    @hookimpl
    def mmgrec_commands(register: Register) -> None:
        register("x", target)

    row = only(Point(make=plugin_that(mmgrec_commands=mmgrec_commands)))
    assert row.kind == "command"
    assert "package.module:function" in row.status


def test_a_name_claimed_twice_is_listed_twice_and_refused_when_used() -> None:
    points = [
        Point(make=offering("hash", "a.b:C"), distribution="first"),
        Point(make=offering("hash", "c.d:E"), distribution="second"),
    ]
    registry = Registry.discover(points, environ={})
    assert [row.status for row in registry.plugins] == [
        "claimed twice: also by second",
        "claimed twice: also by first",
    ]
    error = refused(registry, "hash")
    assert error.code == "registry.claimed-twice"
    assert "first 1.2 and second 1.2" in str(error)


def test_blocking_one_of_two_claims_leaves_the_other() -> None:
    points = [
        Point(make=offering("hash", "a.b:C"), distribution="first", name="one"),
        Point(make=offering("hash", "c.d:E"), distribution="second", name="two"),
    ]
    registry = Registry.discover(points, environ={BLOCK_VARIABLE: "first"})
    assert registry.find("quantizer", "hash").target == "c.d:E"


@pytest.mark.parametrize("listed", ["stranger", "Stranger_Dist", " other , stranger-dist "])
def test_a_blocked_plugin_is_listed_and_never_imported(listed: str) -> None:
    row = only(Point(make=raising(AssertionError("imported"))), **{BLOCK_VARIABLE: listed})
    assert row.status == "blocked"


def test_an_unknown_name_gets_the_nearest_ones() -> None:
    error = refused(Registry.discover(environ={}), "graph-rqave")
    assert error.code == "registry.unknown-plugin"
    assert "'graph-rqvae'" in str(error)


def test_an_unknown_name_tells_which_plugins_are_not_available() -> None:
    registry = Registry.discover([Point(make=raising(ValueError("x")))], environ={})
    for name in ("hash", "stranger"):
        error = refused(registry, name)
        assert error.code == "registry.unknown-plugin"
        assert "stranger of stranger-dist 1.2" in str(error)
    assert "ValueError: x" in str(error)  # whoever asks for it by its name is told why


def test_a_slow_plugin_is_told_and_available(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter((0.0, 5.0))
    monkeypatch.setattr("mmgrec.registry.time.monotonic", lambda: next(ticks))
    registry = Registry.discover([Point(make=offering("hash", "a.b:C"))], environ={})
    assert [row.status for row in registry.plugins] == [
        "ok",
        "slow: its hooks took 5.0 s to import; register targets as strings",
    ]
    assert "vailable" not in str(refused(registry, "hahs"))


def test_a_target_that_cannot_be_imported_is_told_when_used() -> None:
    registry = Registry.discover([Point(make=offering("x", "no_such_module_here:C"))], environ={})
    error = refused(registry, "x")
    assert (error.code, error.where) == ("registry.not-importable", "quantizer 'x' of stranger-dist 1.2")
    assert "no_such_module_here:C" in str(error)


def test_a_class_of_another_kind_is_refused() -> None:
    registry = Registry.discover([Point(make=offering("x", SimpleNamespace))], environ={})
    error = refused(registry, "x")
    assert error.code == "registry.of-another-kind"
    assert "mmgrec.interfaces.Quantizer" in str(error)


def test_a_class_that_lacks_a_method_is_refused() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Empty(Quantizer): ...

    registry = Registry.discover([Point(make=offering("x", Empty))], environ={})
    error = refused(registry, "x")
    assert error.code == "registry.abstract-class"
    assert "fit" in str(error)


def test_a_class_that_is_no_dataclass_is_refused() -> None:
    class Loose(Quantizer):
        def fit(self, data: object, context: object) -> None:  # type: ignore[override]
            ...

    registry = Registry.discover([Point(make=offering("x", Loose))], environ={})
    assert refused(registry, "x").code == "registry.no-dataclass"


def test_a_kind_that_does_not_exist_is_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="did you mean 'quantizer'"):
        Registry.discover([], environ={}).find("quantiser", "x")


def test_listing_imports_neither_torch_nor_pydantic() -> None:
    code = (
        "import sys; from mmgrec.registry import Registry; Registry.discover();"
        "sys.exit(sorted({'torch', 'pydantic', 'numpy', 'polars'} & set(sys.modules)).__repr__() "
        "if {'torch', 'pydantic', 'numpy', 'polars'} & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
