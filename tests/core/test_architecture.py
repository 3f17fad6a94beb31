"""Rules of docs/explanation/architecture.md, held against the syntax trees: who may import whom, what nobody may do."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmgrec.hookspecs import KINDS
from mmgrec.registry import Registry

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "mmgrec": ROOT / "mmgrec",
    "mmgrec_kernels": ROOT / "kernels" / "mmgrec_kernels",
    "mmgrec_plugins": ROOT / "plugins" / "mmgrec_plugins",
    "mmgrec_cli": ROOT / "cli" / "mmgrec_cli",
}
#: package -> what it may import beside the standard library and itself
MAY = {
    "mmgrec": {"torch", "numpy", "pluggy", "polars", "pydantic", "pydantic_core", "annotated_types", "safetensors",
               "scipy", "tomli_w", "packaging", "optuna", "jinja2", "plotly"},
    "mmgrec_kernels": {"torch", "triton"},
    "mmgrec_plugins": {"mmgrec", "mmgrec_kernels", "torch", "torch_geometric", "numpy", "scipy", "annotated_types"},
    "mmgrec_cli": {"mmgrec", "typer", "rich", "torch"},
}  # fmt: skip
#: module -> libraries of optional extras that it alone may import, where it uses them
EXTRAS = {"featuring": {"sklearn", "sentence_transformers", "transformers", "PIL"}}
#: modules of the core that must answer without torch
INSTANT = ("__init__", "registry", "hookspecs", "errors", "settings", "presets")
ONLY_THERE = {"pluggy": {"hookspecs", "registry"}, "packaging": {"registry"}, "tomli_w": {"settings"},
              "pydantic": {"_schema"}, "optuna": {"_study_tuning"}}  # fmt: skip


def sources(package: str) -> list[Path]:
    return sorted(PACKAGES[package].rglob("*.py"))


ALL = [(package, path) for package in PACKAGES for path in sources(package)]
EACH = pytest.mark.parametrize(("package", "path"), ALL, ids=[path.relative_to(ROOT).as_posix() for _, path in ALL])


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(tree: ast.AST) -> Iterator[str]:
    """Full names of the modules that are imported anywhere in the tree."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def at_import(tree: ast.Module) -> Iterator[str]:
    """Names of the modules that are imported as soon as this one is."""
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from imports(node)


@EACH
def test_imports_follow_the_arrows(package: str, path: Path) -> None:
    found = {name.split(".")[0] for name in imports(tree_of(path)) if not name.startswith(".")}
    assert found - set(sys.stdlib_module_names) - MAY[package] - EXTRAS.get(path.stem, set()) - {package} == set()


@pytest.mark.parametrize("name", EXTRAS)
def test_optional_libraries_are_imported_where_they_are_used(name: str) -> None:
    assert not {one.split(".")[0] for one in at_import(tree_of(PACKAGES["mmgrec"] / f"{name}.py"))} & EXTRAS[name]


@EACH
def test_imports_are_absolute(package: str, path: Path) -> None:
    assert [name for name in imports(tree_of(path)) if name.startswith(".")] == []


@EACH
def test_nothing_is_ever_unpickled(package: str, path: Path) -> None:
    tree = tree_of(path)
    assert not {"pickle", "cloudpickle", "joblib", "dill", "shelve", "marshal"} & set(imports(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in {"torch.load", "torch.save", "eval", "exec"}, f"line {node.lineno}"
            pickled = [word for word in node.keywords if word.arg == "allow_pickle"]
            assert all(ast.unparse(word.value) == "False" for word in pickled), f"line {node.lineno}"


@EACH
def test_only_render_prints(package: str, path: Path) -> None:
    calls = [ast.unparse(node.func) for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call)]
    if path.name != "render.py":
        assert not {"print", "sys.stdout.write", "sys.stderr.write", "typer.echo"} & set(calls)


@EACH
def test_the_global_random_state_is_nobodys(package: str, path: Path) -> None:
    if path.parent.name == "testing":  # the contracts set it, to see that nobody reads it
        return
    calls = [ast.unparse(node.func) for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call)]
    assert not {"torch.manual_seed", "np.random.seed", "random.seed"} & set(calls)


@EACH
def test_modules_say_what_they_are_for_and_stay_short(package: str, path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if path.name != "__init__.py":
        assert ast.get_docstring(tree_of(path))
    assert len(text.splitlines()) <= 350, "split it, or say why not"


@pytest.mark.parametrize("name", INSTANT)
def test_the_light_modules_import_nothing_heavy(name: str) -> None:
    tree = tree_of(PACKAGES["mmgrec"] / f"{name}.py")
    heavy = {"torch", "numpy", "polars", "pydantic", "scipy", "safetensors"}
    light = {"mmgrec"} | {f"mmgrec.{one}" for one in INSTANT}
    found = {one for one in at_import(tree) if one.split(".")[0] in heavy | {"mmgrec"}}
    assert found - light == set()


@pytest.mark.parametrize("library", ["polars", "pydantic", "tomli_w", "torch_geometric", "jinja2", "plotly", "optuna"])
def test_slow_libraries_are_imported_where_they_are_used(library: str) -> None:
    early = [
        path.name
        for _, path in ALL
        if any(name.split(".")[0] == library for name in at_import(tree_of(path))) and path.name != "_schema.py"
    ]
    assert early == []


@pytest.mark.parametrize("library", sorted(ONLY_THERE))
def test_some_libraries_have_one_place(library: str) -> None:
    users = {
        path.stem for path in sources("mmgrec") if any(name.split(".")[0] == library for name in imports(tree_of(path)))
    }
    assert users <= ONLY_THERE[library]


@pytest.mark.parametrize("folder", ["kernels", "plugins", "cli", "tests", "bench"])
def test_rule_zero_top_folders_are_no_packages(folder: str) -> None:
    assert not (ROOT / folder / "__init__.py").exists()


def test_every_hook_is_documented() -> None:
    guide = (ROOT / "docs" / "reference" / "hooks.md").read_text(encoding="utf-8")
    assert [hook for hook, _ in KINDS.values() if f"`{hook}`" not in guide] == []
    assert [name for _, name in KINDS.values() if f"`{name}`" not in guide] == []


def test_every_shipped_name_is_documented() -> None:
    guide = (ROOT / "docs" / "reference" / "shipped-parts.md").read_text(encoding="utf-8")
    rows = [row for row in Registry.discover(environ={}).plugins if row.distribution == "mmgrec"]
    assert [row.name for row in rows if f"`{row.name}`" not in guide] == []


def test_the_table_of_imports_is_the_one_that_is_enforced() -> None:
    page = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|$", page, flags=re.MULTILINE))
    assert {package: set(re.findall(r"`(\w+)`", rows.get(package, ""))) for package in MAY} == MAY


def test_every_module_of_the_core_has_a_line_in_the_architecture() -> None:
    page = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
    names = {path.stem if path.parent.name == "mmgrec" else path.parent.name for path in sources("mmgrec")}
    assert sorted(name for name in names - {"__init__", "mmgrec"} if f"`{name}`" not in page) == []
