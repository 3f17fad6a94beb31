"""The codes of all errors, with what each says, read from the syntax trees: what `generate.py` puts on a page.

Nothing is imported. A code stands where an error, a `Problem` or a finding is made, or where a helper with a parameter
`code` is called; its sentence is a literal beside it, in a variable, or in what calls the function around it. Values
that are filled in at run time are shown as ``…``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ErrorClass", "classes", "codes", "job"]

ROOT = Path(__file__).parents[1]
TREES = ("mmgrec", "plugins/mmgrec_plugins", "kernels/mmgrec_kernels", "cli/mmgrec_cli")
CODE = re.compile(r"^[a-z-]+\.[a-z0-9-]+$")
SENTENCES = ("what", "sentence", "problems")  # how a parameter is called that holds one
#: where makers from elsewhere have the sentence; those of the same file are looked at
PLACE = {"error": 1, "warning": 1}


@dataclass(frozen=True, kw_only=True)
class ErrorClass:
    """One class of `mmgrec.errors`."""

    name: str
    kind: str  # its code where none is given
    summary: str


def classes() -> list[ErrorClass]:
    """The classes of errors, in their order."""
    found = []
    for node in ast.parse((ROOT / "mmgrec" / "errors.py").read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.ClassDef):
            continue
        for part in node.body:
            if isinstance(part, ast.Assign) and ast.unparse(part.targets[0]) == "kind":
                summary = (ast.get_docstring(node) or "").splitlines()[0]
                found.append(ErrorClass(name=node.name, kind=ast.literal_eval(part.value), summary=summary))
    return found


def codes() -> dict[str, str]:
    """Code -> the first sentence that it goes with, empty where the sources do not say it; a warning is called one."""
    found: dict[str, str] = {}
    for tree in TREES:
        for path in sorted((ROOT / tree).rglob("*.py")):
            for code, sentence in _File(ast.parse(path.read_text(encoding="utf-8"))).codes():
                found[code] = found.get(code) or sentence
    return dict(sorted(found.items()))


def job(room: str) -> str:
    """What a room, a kind of part or a package is there for: the first paragraph of its docstring."""
    name = room.replace("-", "_")
    names = (f"{name}/__init__.py", f"{name}.py", f"mmgrec_{name}/__init__.py")
    homes = (ROOT / "mmgrec", ROOT / "plugins" / "mmgrec_plugins", ROOT / "kernels", ROOT / "cli")
    path = next(home / one for home in homes for one in names if (home / one).exists())
    told = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return told.split("\n\n")[0].replace("\n", " ").replace("``", "`")


class _File:
    """One source file."""

    def __init__(self, tree: ast.Module) -> None:
        self.tree = tree
        self.functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}

    def codes(self) -> Iterator[tuple[str, str]]:
        for call, around in _calls(self.tree, []):
            maker = _name(call)
            given = [keyword.value for keyword in call.keywords if keyword.arg == "code"]
            given += call.args[1:2] if maker == "Problem" else []
            said = self._sentence_of(call)
            for one in given:
                for code, branch in self._codes(one, around, None):
                    sentence = _told(self._text(said, around, branch)) if said is not None else ""
                    yield code, f"Warning: {sentence}" if maker == "warning" and sentence else sentence

    def _codes(
        self, node: ast.AST, around: Sequence[ast.FunctionDef], branch: bool | None
    ) -> Iterator[tuple[str, bool | None]]:
        """The codes that an expression can be, with the branch of a condition that each stands in."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and CODE.match(node.value):
            yield node.value, branch
        elif isinstance(node, ast.IfExp):
            yield from self._codes(node.body, around, True)
            yield from self._codes(node.orelse, around, False)
        elif isinstance(node, ast.BoolOp):
            for value in node.values:
                yield from self._codes(value, around, branch)
        elif isinstance(node, ast.Name) and (value := _assigned(node, around)) is not None:
            yield from self._codes(value, around, branch)
        elif isinstance(node, ast.Call) and _name(node) in self.functions:
            for inner in ast.walk(self.functions[_name(node)]):
                if isinstance(inner, ast.Return) and inner.value is not None:
                    yield from self._codes(inner.value, [], None)

    def _sentence_of(self, call: ast.Call) -> ast.expr | None:
        """The argument of a call that is the sentence."""
        for keyword in call.keywords:
            if keyword.arg in SENTENCES:
                return keyword.value
        maker = _name(call)
        place = PLACE.get(maker, 0)
        if maker in self.functions:
            names = [one.arg for one in self.functions[maker].args.args if one.arg not in ("self", "cls")]
            place = next((number for number, name in enumerate(names) if name in SENTENCES), len(call.args))
        return call.args[place] if place < len(call.args) else None

    def _text(self, node: ast.expr, around: Sequence[ast.FunctionDef], branch: bool | None, depth: int = 4) -> str:
        """An expression as a sentence; empty if nothing is known of it."""
        if isinstance(node, ast.Constant):
            return str(node.value)
        if isinstance(node, ast.JoinedStr):
            return re.sub(r"…+", "…", "".join(self._text(one, around, branch, depth) or "…" for one in node.values))
        if isinstance(node, ast.FormattedValue):  # a value, unless it is a part of the sentence
            whole = isinstance(node.value, ast.Name) and node.value.id in SENTENCES
            return self._text(node.value, around, branch, depth) if whole else "…"
        if isinstance(node, ast.BinOp):
            sides = (self._text(one, around, branch, depth) for one in (node.left, node.right))
            return re.sub(r"…+", "…", "".join(one or "…" for one in sides))
        if isinstance(node, ast.IfExp):
            return self._text(node.orelse if branch is False else node.body, around, None, depth)
        if isinstance(node, ast.List | ast.Tuple) and node.elts:
            return self._text(node.elts[0], around, branch, depth)
        if isinstance(node, ast.ListComp | ast.GeneratorExp):
            return self._text(node.elt, around, branch, depth)
        if isinstance(node, ast.Name) and depth:
            value = _assigned(node, around)
            if value is not None:
                return self._text(value, around, branch, depth - 1)
            return self._from_callers(node.id, around, depth - 1)
        return ""

    def _from_callers(self, name: str, around: Sequence[ast.FunctionDef], depth: int) -> str:
        """What the first caller of a function hands over as a parameter."""
        if not around or name not in (names := [one.arg for one in around[-1].args.args]):
            return ""
        for call, outside in _calls(self.tree, []):
            if _name(call) == around[-1].name:
                given = {keyword.arg: keyword.value for keyword in call.keywords}
                given |= dict(zip(names, call.args, strict=False))
                if name in given and (text := self._text(given[name], outside, None, depth)):
                    return text
        return ""


def _calls(node: ast.AST, around: list[ast.FunctionDef]) -> Iterator[tuple[ast.Call, list[ast.FunctionDef]]]:
    """Each call in the order of the file, with the functions that it lies in."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Call):
            yield child, around
        yield from _calls(child, [*around, child] if isinstance(child, ast.FunctionDef) else around)


def _told(sentence: str) -> str:
    """Without hints that are filled in at run time, and nothing where no word is left."""
    sentence = re.sub(r"(; …|[.;]| \(…,?)+$", "", sentence.strip())
    return sentence if re.search(r"[^\W\d_]", sentence) else ""


def _name(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _assigned(name: ast.Name, around: Sequence[ast.FunctionDef]) -> ast.expr | None:
    """What a variable was last given before it is used, in the function around it."""
    found = None
    for node in ast.walk(around[-1]) if around else ():
        if isinstance(node, ast.Assign) and node.lineno <= name.lineno:
            pairs: list[tuple[ast.expr, ast.expr]] = [(target, node.value) for target in node.targets]
            if isinstance(node.targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = list(zip(node.targets[0].elts, node.value.elts, strict=False))
            for target, value in pairs:
                if isinstance(target, ast.Name) and target.id == name.id:
                    found = value if found is None or value.lineno > found.lineno else found
    return found
