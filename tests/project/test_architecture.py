"""Rules of docs/explanation/architecture.md, held against the syntax trees: who may import whom, what nobody may do."""

from __future__ import annotations

import ast
import graphlib
import re
import sys
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from mmgrec.hookspecs import KINDS
from mmgrec.registry import Registry

ROOT = Path(__file__).parents[2]
ARCHITECTURE = ROOT / "docs" / "explanation" / "architecture.md"
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
EXTRAS = {"mmgrec/folder/features.py": {"sklearn", "sentence_transformers", "transformers", "PIL"}}
#: modules of the core that must answer without torch
INSTANT = (
    "__init__.py", "_lazy.py", "registry.py", "hookspecs.py", "errors.py", "settings/__init__.py", "settings/values.py",
    "settings/comparison.py", "settings/descriptions.py", "runs/__init__.py", "runs/presets.py", "studies/__init__.py",
    "studies/built_in.py",
)  # fmt: skip
#: library -> modules of the core that may import it
ONLY_THERE = {"pluggy": {"hookspecs.py", "registry.py"}, "packaging": {"registry.py"},
              "tomli_w": {"settings/values.py"}, "pydantic": {"settings/builder.py", "storage/records.py"},
              "optuna": {"studies/tuning.py"}}  # fmt: skip

#: Room of the core -> the rooms it may import, beside `errors` and `_lazy`, which belong to all. Files at the top of
#: ``mmgrec/`` are public and rooms of their own. The same table stands in docs/explanation/architecture.md.
ROOMS: dict[str, set[str]] = {
    "hookspecs": set(),
    "registry": {"hookspecs"},
    "storage": set(),
    "settings": set(),
    "data": set(),
    "recid": set(),
    "memory": {"data"},
    "context": set(),
    "interfaces": {"context", "data", "memory", "recid"},
    "ranking": {"interfaces"},
    "synthetic": {"data"},
    "guards": {"interfaces", "registry", "data", "recid", "storage"},
    "training": {"interfaces", "data", "storage"},
    "generator": {"interfaces", "data", "recid", "training"},
    "with_memory": {"interfaces", "data", "guards", "ranking", "training"},
    "recommender": {"interfaces", "data", "recid", "generator", "guards", "training"},
    "evaluation": {"interfaces", "data", "guards"},
    "folder": {"data"},
    "readers": {"folder", "data", "interfaces", "guards", "registry", "settings"},
    "insight": {"recommender", "generator", "evaluation", "recid", "data", "interfaces", "registry", "storage"},
    "report": {"insight", "evaluation", "storage"},
    "runs": {"report", "insight", "evaluation", "recommender", "guards", "recid", "data", "interfaces", "registry",
             "settings", "storage", "with_memory"},
    "studies": {"runs", "report", "insight", "evaluation", "recommender", "guards", "recid", "data", "interfaces",
                "registry", "settings", "storage", "with_memory"},
    "serving": {"runs", "evaluation", "interfaces", "data", "storage", "settings"},
    "testing": {"interfaces", "data", "recid", "settings", "evaluation", "synthetic"},
}  # fmt: skip
EVERYBODYS = {"errors", "_lazy"}
MOST_MODULES = 18  # of a folder; a reason stands beside each that has more
FULLER: dict[str, str] = {}


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
    assert (
        found
        - set(sys.stdlib_module_names)
        - MAY[package]
        - EXTRAS.get(path.relative_to(ROOT).as_posix(), set())
        - {package}
        == set()
    )


@pytest.mark.parametrize("name", EXTRAS)
def test_optional_libraries_are_imported_where_they_are_used(name: str) -> None:
    assert not {one.split(".")[0] for one in at_import(tree_of(ROOT / name))} & EXTRAS[name]


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
    tree = tree_of(PACKAGES["mmgrec"] / name)
    heavy = {"torch", "numpy", "polars", "pydantic", "scipy", "safetensors"}
    light = {"mmgrec"} | {module_of(PACKAGES["mmgrec"] / one) for one in INSTANT}
    found = {one for one in at_import(tree) if one.split(".")[0] in heavy | {"mmgrec"}}
    assert found - light == set()


@pytest.mark.parametrize("library", ["polars", "pydantic", "tomli_w", "torch_geometric", "jinja2", "plotly", "optuna"])
def test_slow_libraries_are_imported_where_they_are_used(library: str) -> None:
    early = [
        path.name
        for _, path in ALL
        if any(name.split(".")[0] == library for name in at_import(tree_of(path))) and path.name != "builder.py"
    ]
    assert early == []


@pytest.mark.parametrize("library", sorted(ONLY_THERE))
def test_some_libraries_have_one_place(library: str) -> None:
    users = {
        path.relative_to(PACKAGES["mmgrec"]).as_posix()
        for path in sources("mmgrec")
        if any(name.split(".")[0] == library for name in imports(tree_of(path)))
    }
    assert users <= ONLY_THERE[library]


@pytest.mark.parametrize("folder", ["kernels", "plugins", "cli", "tests", "bench"])
def test_rule_zero_top_folders_are_no_packages(folder: str) -> None:
    assert not (ROOT / folder / "__init__.py").exists()


def test_every_hook_is_documented() -> None:
    guide = (ROOT / "docs" / "reference" / "hooks.md").read_text(encoding="utf-8")
    assert [kind.hook for kind in KINDS.values() if f"`{kind.hook}`" not in guide] == []
    interfaces = [kind.interface for kind in KINDS.values() if kind.interface]
    assert [name for name in interfaces if f"`{name}`" not in guide] == []


def test_every_shipped_name_is_documented() -> None:
    guide = (ROOT / "docs" / "reference" / "shipped-parts.md").read_text(encoding="utf-8")
    rows = [row for row in Registry.discover(environ={}).plugins if row.distribution == "mmgrec"]
    assert [row.name for row in rows if f"`{row.name}`" not in guide] == []


def test_the_table_of_imports_is_the_one_that_is_enforced() -> None:
    page = ARCHITECTURE.read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|$", page, flags=re.MULTILINE))
    assert {package: set(re.findall(r"`(\w+)`", rows.get(package, ""))) for package in MAY} == MAY


def module_of(path: Path) -> str:
    """The dotted name under which a file of one of the packages is imported."""
    package, root = next((name, root) for name, root in PACKAGES.items() if root in path.parents)
    parts = [package, *path.relative_to(root).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGES["mmgrec"]).parts[0].removesuffix(".py")


def taken_rooms(path: Path) -> set[str]:
    """Rooms of the core that a file imports from, at any place in it."""
    found = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom) and node.module == "mmgrec":
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {name.split(".")[1] for name in imports_of(node) if name.startswith("mmgrec.")}
    return found & (ROOMS.keys() | EVERYBODYS)


def imports_of(node: ast.AST) -> set[str]:
    return set(imports(node))


def test_every_room_is_in_the_table() -> None:
    assert {room_of(path) for path in sources("mmgrec")} - {"__init__"} == ROOMS.keys() | EVERYBODYS


def test_the_rooms_have_no_circle() -> None:
    graphlib.TopologicalSorter(ROOMS).prepare()  # CycleError names it


@pytest.mark.parametrize("path", [path for path in sources("mmgrec") if path.name != "__init__.py"],
                         ids=lambda path: path.relative_to(ROOT).as_posix())  # fmt: skip
def test_rooms_import_downward(path: Path) -> None:
    room = room_of(path)
    allowed = ROOMS.get(room, set()) | EVERYBODYS | {room}
    assert taken_rooms(path) - allowed == set()


def test_no_permission_of_the_table_is_idle() -> None:
    used = {room: set[str]() for room in ROOMS}
    for path in sources("mmgrec"):
        if room_of(path) in used:
            used[room_of(path)] |= taken_rooms(path)
    idle = {room: ROOMS[room] - used[room] for room in ROOMS if ROOMS[room] - used[room]}
    assert idle == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_modules_import_each_other(package: str) -> None:
    """Within a room, and of any package: imports inside functions count too."""
    modules = {module_of(path): path for path in sources(package)}
    graph: dict[str, set[str]] = {}
    for name, path in modules.items():
        if path.name == "__init__.py" and package == "mmgrec":
            continue  # hands out what lies in it, when it is asked
        taken = set()
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ImportFrom) and node.module:
                each = {f"{node.module}.{one.name}" for one in node.names}
                taken |= (each & modules.keys()) or ({node.module} & modules.keys())
        graph[name] = taken - {name}
    graphlib.TopologicalSorter(graph).prepare()


@EACH
def test_other_rooms_are_entered_by_their_door(package: str, path: Path) -> None:
    """What a room hands out is taken from the room, not from the module that happens to define it."""
    if package == "mmgrec_kernels" or path.name == "__init__.py":
        return
    folders = {room for room in ROOMS if (PACKAGES["mmgrec"] / room).is_dir()}
    own = {room_of(path)} if package == "mmgrec" else set()
    deep = [
        name for name in imports(tree_of(path))
        if name.count(".") > 1 and name.startswith("mmgrec.") and name.split(".")[1] in folders - own
    ]  # fmt: skip
    assert deep == []


@pytest.mark.parametrize("room", sorted(room for room in ROOMS if (PACKAGES["mmgrec"] / room).is_dir()))
def test_a_room_says_its_job_and_hands_out_what_it_names(room: str) -> None:
    found = import_module(f"mmgrec.{room}")
    assert found.__doc__
    modules = {path.stem for path in (PACKAGES["mmgrec"] / room).glob("*.py")}
    assert not modules & set(found.__all__), "a name that is a module's too is the module once that is imported"
    source = (PACKAGES["mmgrec"] / room / "__init__.py").read_text(encoding="utf-8")
    if "hand_out" in source:
        typed = {
            (match[0], match[1]) for match in re.findall(rf"from mmgrec\.{room}\.(\w+) import (\w+) as \2", source)
        }
        assert {name for _, name in typed} == set(found.__all__)
        for module, name in typed:
            assert getattr(found, name) is getattr(import_module(f"mmgrec.{room}.{module}"), name)


@pytest.mark.parametrize("top", ["mmgrec", "kernels", "plugins", "cli", "tests", "bench"])
def test_folders_are_rooms_and_not_corridors(top: str) -> None:
    counts = Counter(path.parent for path in (ROOT / top).rglob("*.py") if path.name != "__init__.py")
    full = {folder.relative_to(ROOT).as_posix(): count for folder, count in counts.items() if count > MOST_MODULES}
    assert full.keys() - FULLER.keys() == set(), "make a room of it, or say why not"


def test_underscores_are_no_rooms() -> None:
    named = [path.relative_to(ROOT).as_posix() for _, path in ALL if path.name.startswith("_")]
    assert [name for name in named if not name.endswith("__init__.py")] == ["mmgrec/_lazy.py"]


def test_the_table_of_rooms_is_the_one_that_is_enforced() -> None:
    page = ARCHITECTURE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]*) \|$", page, flags=re.MULTILINE)
    assert {room: set(re.findall(r"`(\w+)`", allowed)) for room, allowed in rows} == ROOMS
