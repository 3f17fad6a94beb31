"""Errors that a user can act on: the command line prints them as one sentence and exits with 2; all else is ours."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

__all__ = ["DataError", "PluginError", "Problem", "RunError", "SettingsError", "UserError", "near_miss", "reason_of"]

_ENDLESS = re.compile(r"(\S{256})\S+?([:;,.'\")]*)(?=\s|$)")  # a word beyond 256 characters


class Problem(str):
    """A sentence about one wrong setting, with the code of its kind; an ordinary string to everybody else."""

    code: str

    def __new__(cls, sentence: str, code: str) -> Problem:
        made = super().__new__(cls, sentence)
        made.code = code
        return made

    def within(self, where: str) -> Problem:
        """The same problem, with the part's name put in front (``quantizer.codebook_size``)."""
        return Problem(f"{where}.{self}" if where else str(self), self.code)


class UserError(Exception):
    """Something the user can mend: what is wrong, where, and what to do about it.

    Programs recognise an error by its `code`, ``<room>.<what>``, which stays when the words are improved.

    >>> error = UserError("row 7 names item 90", where="x.parquet", remedy="drop it", code="folder.unknown-item")
    >>> str(error), error.code
    ('x.parquet: row 7 names item 90; drop it.', 'folder.unknown-item')
    """

    kind = "user"  # the code of errors that have none of their own: those of plugins

    def __init__(self, what: str, *, where: str = "", remedy: str = "", code: str = "") -> None:
        self.what = what
        self.where = where
        self.remedy = remedy
        self.code = code or self.kind
        sentence = f"{where}: {what}" if where else what
        sentence = f"{sentence}; {remedy}" if remedy else sentence
        super().__init__(_cut(sentence if sentence.endswith(("?", "!")) else sentence.rstrip(".") + "."))


class DataError(UserError):
    """The data cannot be used as they are."""

    kind = "data"


class PluginError(UserError):
    """A plugin is unknown, broken, claimed twice or breaks its contract."""

    kind = "plugin"


class RunError(UserError):
    """A run folder cannot be used: damaged, locked, or made by other settings."""

    kind = "run"


class SettingsError(UserError):
    """Settings are wrong; all problems are told at once.

    `codes` has the code of each problem in their order; `code` is theirs where they agree, else ``settings.several``.
    """

    kind = "settings"

    def __init__(self, problems: Sequence[str], *, where: str = "", remedy: str = "", code: str = "") -> None:
        self.problems = tuple(Problem(_cut(one), getattr(one, "code", code or self.kind)) for one in problems)
        self.codes = tuple(problem.code for problem in self.problems)
        common = self.codes[0] if len(set(self.codes)) == 1 else "settings.several"
        super().__init__(
            "; ".join(problem.rstrip(".") for problem in problems), where=where, remedy=remedy, code=code or common
        )


def _cut(sentence: str) -> str:
    """A sentence without words that nobody can read."""
    return _ENDLESS.sub(r"\1…\2", sentence)


def reason_of(error: BaseException) -> str:
    """Why a file cannot be read or written, in words and on one line.

    >>> reason_of(RecursionError("maximum recursion depth exceeded")), reason_of(FileNotFoundError(2, "No such file"))
    ('it is nested too deeply', 'No such file')
    """
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "it is no text in UTF-8"
    told = error.strerror if isinstance(error, OSError) else None
    return " ".join((told or str(error)).split())


def near_miss(name: str, known: Iterable[str]) -> str:
    """A hint for a misspelt name: the nearest known names, or all of them.

    >>> near_miss("graph-rqave", ["graph-rqvae", "hk-means"])
    "did you mean 'graph-rqvae'?"
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=2, cutoff=0.6)
    if close:
        return "did you mean " + " or ".join(repr(one) for one in close) + "?"
    return "known are " + ", ".join(names) if names else "none are known"
