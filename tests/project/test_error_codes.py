"""Every error that a user can meet has a code of its own, ``<room>.<what>``, by which programs recognise it.

Held against the syntax trees: wherever an error is made, its code stands in the source as a literal, or is handed on
from another error. What collects problems for one SettingsError collects `Problem`s, which have their codes.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TREES = (ROOT / "mmgrec", ROOT / "plugins" / "mmgrec_plugins", ROOT / "kernels" / "mmgrec_kernels", ROOT / "cli")
ERRORS = {"UserError", "DataError", "RunError", "PluginError", "SettingsError"}
CODE = re.compile(r"^[a-z-]+\.[a-z0-9-]+$")
#: What is held: folders and files under the root.
DONE = ("mmgrec", "plugins", "kernels", "cli")
DEFINITIONS = "mmgrec/errors.py"

SOURCES = sorted(
    path.relative_to(ROOT).as_posix()
    for tree in TREES
    for path in tree.rglob("*.py")
    if path.relative_to(ROOT).as_posix() != DEFINITIONS
)
HELD = [name for name in SOURCES if any(name == done or name.startswith(f"{done}/") for done in DONE)]


@cache
def tree_of(name: str) -> ast.Module:
    return ast.parse((ROOT / name).read_text(encoding="utf-8"))


def first_parts() -> set[str]:
    """What a code may begin with: rooms of the core, kinds of plugins, and the two packages around them."""
    rooms = {entry.stem for entry in (ROOT / "mmgrec").iterdir() if not entry.name.startswith(("_", "."))}
    kinds = {entry.name for entry in (ROOT / "plugins" / "mmgrec_plugins").iterdir() if entry.is_dir()}
    return {part.replace("_", "-") for part in rooms | kinds} | {"cli", "kernels"}


FIRST_PARTS = first_parts()


def is_code(value: object) -> bool:
    return isinstance(value, str) and bool(CODE.match(value)) and value.split(".")[0] in FIRST_PARTS


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def parameters(function: ast.FunctionDef) -> list[ast.arg]:
    return [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]


@cache
def helpers(folder: Path) -> set[str]:
    """Functions with a parameter `code`, and classes with such a field: who calls one of them makes an error too."""
    names = set()
    for path in folder.glob("*.py"):
        for node in ast.walk(tree_of(path.relative_to(ROOT).as_posix())):
            if isinstance(node, ast.FunctionDef) and any(one.arg == "code" for one in parameters(node)):
                names.add(node.name)
            if isinstance(node, ast.ClassDef):
                fields = [field.target for field in node.body if isinstance(field, ast.AnnAssign)]
                names |= {node.name} if any(isinstance(one, ast.Name) and one.id == "code" for one in fields) else set()
    return names


def gives_code(node: ast.AST, tree: ast.Module, around: list[ast.FunctionDef]) -> bool:
    """Whether an expression is surely a code: a literal, one of two, another error's, or what a helper is given."""
    if isinstance(node, ast.Constant):
        return is_code(node.value)
    if isinstance(node, ast.IfExp):
        return gives_code(node.body, tree, around) and gives_code(node.orelse, tree, around)
    if isinstance(node, ast.Attribute):
        return node.attr == "code"
    if isinstance(node, ast.Name):
        return node.id == "code" and any(one.arg == "code" for function in around for one in parameters(function))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):  # a function of this file that chooses one
        chosen = [function for function in functions(tree) if function.name == node.func.id]
        returned = [inner.value for one in chosen for inner in ast.walk(one) if isinstance(inner, ast.Return)]
        return bool(returned) and all(value is not None and gives_code(value, tree, []) for value in returned)
    return False


def are_problems(node: ast.AST, tree: ast.Module) -> bool:
    """Whether the problems of a SettingsError have their own codes, as far as types and this file say."""
    if isinstance(node, ast.List | ast.Tuple):
        return all(is_problem(element, tree) for element in node.elts)
    if isinstance(node, ast.ListComp | ast.GeneratorExp):
        return is_problem(node.elt, tree)
    if isinstance(node, ast.Attribute):  # of a SettingsError, or of what collects them for one
        return node.attr == "problems" and all("Problem" in note for note in annotations("problems", tree))
    return says_problem(node, tree)


def is_problem(node: ast.AST, tree: ast.Module) -> bool:
    if isinstance(node, ast.Starred):
        return are_problems(node.value, tree)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.func.attr == "within"
    return says_problem(node, tree)


def says_problem(node: ast.AST, tree: ast.Module) -> bool:
    """Whether a name or a call of a function is annotated with `Problem`: the type checker holds the rest."""
    if isinstance(node, ast.Name):
        notes = annotations(node.id, tree)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.func.id == "Problem":
            return True
        if node.func.id in ("list", "tuple", "sorted") and node.args:  # list(dict.fromkeys(problems))
            return are_problems(node.args[0], tree)
        notes = [ast.unparse(one.returns) for one in functions(tree) if one.name == node.func.id and one.returns]
    elif isinstance(node, ast.Call) and ast.unparse(node.func) == "dict.fromkeys":
        return are_problems(node.args[0], tree)
    else:
        return False
    return bool(notes) and all("Problem" in note for note in notes)


def annotations(name: str, tree: ast.Module) -> list[str]:
    """The types that a file gives to parameters, variables and attributes of this name."""
    notes = []
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and node.arg == name and node.annotation:
            notes.append(ast.unparse(node.annotation))
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target).split(".")[-1] == name:
            notes.append(ast.unparse(node.annotation))
    return notes


def calls(node: ast.AST, around: list[ast.FunctionDef]) -> Iterator[tuple[ast.Call, list[ast.FunctionDef]]]:
    """Each call, with the functions that it lies in."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Call):
            yield child, around
        yield from calls(child, [*around, child] if isinstance(child, ast.FunctionDef) else around)


def without_code(tree: ast.Module, makers: set[str]) -> Iterator[str]:
    """What makes an error without saying its code."""
    for call, around in calls(tree, []):
        maker = call.func.id if isinstance(call.func, ast.Name) else ""
        if maker != "Problem" and maker not in makers:
            continue
        if any(keyword.arg is None for keyword in call.keywords):
            yield f"line {call.lineno}: {maker}(**…) hides its code"
            continue
        given = [keyword.value for keyword in call.keywords if keyword.arg == "code"]
        if maker == "Problem":
            given += call.args[1:]
        if maker == "SettingsError" and not given and call.args and are_problems(call.args[0], tree):
            continue
        if not given or not gives_code(given[0], tree, around):
            yield f"line {call.lineno}: {ast.unparse(call)[:90]}"


@pytest.mark.parametrize("name", HELD)
def test_every_error_has_a_code(name: str) -> None:
    assert [*without_code(tree_of(name), ERRORS | helpers((ROOT / name).parent))] == []


def test_every_code_is_on_the_page() -> None:
    """Every literal beside `code`, however it is chosen, and the second word of every `Problem`."""
    page = (ROOT / "docs" / "reference" / "errors.md").read_text(encoding="utf-8")
    absent = []
    for name in SOURCES:
        for call, _ in calls(tree_of(name), []):
            given: list[ast.expr] = [keyword.value for keyword in call.keywords if keyword.arg == "code"]
            given += call.args[1:2] if ast.unparse(call.func) == "Problem" else []
            literals = [node.value for one in given for node in ast.walk(one) if isinstance(node, ast.Constant)]
            absent += [value for value in literals if is_code(value) and f"`{value}`" not in page]
    assert absent == []


def test_what_is_held_is_there() -> None:
    assert [done for done in DONE if not any(name == done or name.startswith(f"{done}/") for name in SOURCES)] == []


@pytest.mark.parametrize(
    "source",
    [
        "DataError('x')",
        "DataError('x', code='folder')",
        "DataError('x', code='Folder.x')",
        "DataError('x', code='nowhere.x')",
        "DataError('x', code=f'folder.{x}')",
        "DataError('x', code='folder.x' if y else z)",
        "DataError('x', **more)",
        "Problem('x', 'x')",
        "SettingsError(['x'])",
        "SettingsError([f'{x}'])",
        "SettingsError([Problem('x', 'folder.x'), 'y'])",
        "problems: list[str] = []\nSettingsError(problems)",
        "def __init__(self, problems: list[str]) -> None: ...\nSettingsError(maker.problems)",
        "SettingsError([f'a.{one}' for one in error.problems])",
        "def choose() -> str:\n    return other\nDataError('x', code=choose())",
        "def make(what: str) -> None:\n    DataError(what, code=code)",
    ],
)
def test_an_error_without_a_code_is_noticed(source: str) -> None:
    assert [*without_code(ast.parse(source), ERRORS)] != []


@pytest.mark.parametrize(
    "source",
    [
        "DataError('x', code='folder.not-utf8')",
        "DataError('x', code='folder.x' if y else 'folder.y')",
        "DataError(error.what, code=error.code)",
        "SettingsError(['x'], code='settings.x')",
        "SettingsError([Problem('x', 'settings.x'), problem.within('a')])",
        "SettingsError([problem.within('a') for problem in error.problems])",
        "SettingsError(error.problems)",
        "problems: list[Problem] = []\nSettingsError(list(dict.fromkeys(problems)))",
        "def choose() -> str:\n    return 'folder.x'\nDataError('x', code=choose())",
        "def make(what: str, *, code: str) -> None:\n    DataError(what, code=code)",
        "def of() -> list[Problem]: ...\nSettingsError(of())",
    ],
)
def test_an_error_with_a_code_is_left_alone(source: str) -> None:
    assert [*without_code(ast.parse(source), ERRORS)] == []
