"""A folder that one process at a time fills, for one purpose, until a manifest seals it.

Runs, a study's cells, a study as a whole, and folders of recommendations are such folders. What they share is here: the
lock, the file that says by what the folder was made (its mark), the refusal of a folder that was made by something else
or holds other things, the removal of what killed writers left, and the manifest with the SHA-256 of every file, written
last. Nothing in a folder names this machine's paths or its user.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from mmgrec.errors import RunError, reason_of
from mmgrec.storage.atomic import is_leftover, sha256_of, sweep, write_atomically
from mmgrec.storage.json import Json, json_bytes, read_json
from mmgrec.storage.locks import lock

__all__ = ["LOCK", "MANIFEST", "SealedFolder"]

LOCK, MANIFEST = "lock", "manifest.json"
ANOTHER = "choose another folder with --out"
_LONGEST = 200  # characters of a name in a manifest


@dataclass(frozen=True, kw_only=True)
class SealedFolder:
    """What a folder of one kind is; a kind says its words and its mark, and inherits the rest.

    The folder is unfinished until ``manifest.json`` stands in it, the last file written.
    """

    path: Path

    kind: ClassVar[str]  # "run": what another process is said to be writing
    called: ClassVar[str] = "folder"  # what the folder is called where it cannot be made
    mark: ClassVar[str]  # the file that says by what the folder was made
    beside: ClassVar[tuple[str, ...]] = ()  # names that may be there before the mark, beside the lock
    may_link: ClassVar[bool] = False  # whether parts of it may lie elsewhere, behind symbolic links
    unsealed: ClassVar[tuple[str, ...]] = ()  # names at the top that no manifest vouches for
    again: ClassVar[str]  # what to do about a damaged file

    def read_mark(self) -> Mapping[str, Any]:  # Any: TOML or JSON
        """What the mark says.

        Raises:
            RunError: if it cannot be read.
        """
        mark = self.json(self.mark)
        if not isinstance(mark, dict):
            raise RunError(
                "is not what was written",
                where=str(self.path / self.mark),
                remedy=self.again,
                code="storage.wrong-mark",
            )
        return mark

    def mark_bytes(self, wanted: Mapping[str, Any]) -> bytes:
        """What the mark holds."""
        return json_bytes(wanted)

    def refusal(self, there: Mapping[str, Any], wanted: Mapping[str, Any]) -> tuple[str, str] | None:
        """Why a folder with the mark `there` is not one for `wanted`, and what to do; None where it is one."""
        raise NotImplementedError

    # ----------------------------------------------------------------------- working in it

    @contextmanager
    def claimed(self, wanted: Mapping[str, Any]) -> Iterator[None]:
        """Make the folder, hold it against other processes, and make sure that it is one for `wanted`.

        Raises:
            RunError: if it cannot be made, another process holds it, something else made it, it holds other things, or
                a link in it leads out of it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:
            raise RunError(
                f"the {self.called} cannot be made ({reason_of(error)})",
                where=str(self.path),
                remedy=ANOTHER,
                code="storage.cannot-make-folder",
            ) from None
        self.check_links()
        with lock(self.path / LOCK, what=self.kind):
            self.settle(wanted, write=True)
            for folder in (self.path, *(entry for entry in self.path.iterdir() if entry.is_dir())):
                sweep(folder)
            yield

    def settle(self, wanted: Mapping[str, Any], *, write: bool = False) -> None:
        """Hold the mark against `wanted`; a folder without one must be empty, and gets one if `write`.

        Raises:
            RunError: if something else made the folder, or it holds other things.
        """
        if (self.path / self.mark).exists():
            if refusal := self.refusal(self.read_mark(), wanted):
                sentence, remedy = refusal
                raise RunError(sentence, where=str(self.path), remedy=remedy, code="storage.made-otherwise")
        elif self.path.is_dir():
            own = (LOCK, *self.beside)
            foreign = sorted(
                entry.name for entry in self.path.iterdir() if entry.name not in own and not is_leftover(entry.name)
            )
            if foreign:
                raise RunError(
                    f"the folder holds other things ({', '.join(foreign[:3])})",
                    where=str(self.path),
                    remedy=ANOTHER,
                    code="storage.other-things",
                )
            if write:
                write_atomically(self.path / self.mark, self.mark_bytes(wanted))

    def check_links(self) -> None:
        """A symbolic link that leads out of the folder would have us write elsewhere, or read it.

        Raises:
            RunError: if there is one.
        """
        if self.may_link:
            return
        home = self.path.resolve()
        for folder, folders, files in os.walk(self.path):
            for entry in (Path(folder) / name for name in (*folders, *files)):
                if entry.is_symlink() and home not in entry.resolve().parents:
                    raise RunError(
                        f"is a symbolic link that leads out of the {self.called}",
                        where=str(entry),
                        remedy="remove the link",
                        code="storage.link-out",
                    )

    def write(self, name: str, content: bytes) -> None:
        """One file of the result."""
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path / name, content)

    def json(self, name: str) -> Any:  # Any: JSON
        """A JSON file of the folder.

        Raises:
            RunError: if it cannot be read.
        """
        return read_json(self.path / name, remedy=self.again)

    # ----------------------------------------------------------------------- sealed

    @property
    def finished(self) -> bool:
        """Whether the folder is sealed."""
        return (self.path / MANIFEST).is_file()

    def seal(self) -> None:
        """Write the manifest: every file there is, with its SHA-256."""
        names = sorted(entry.relative_to(self.path).as_posix() for entry in self._files())
        self.write_manifest({name: sha256_of(self.path / name) for name in names})

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Write what vouches for the files."""
        write_atomically(self.path / MANIFEST, json_bytes(dict(manifest)))

    def reseal(self, name: str) -> None:
        """Tell the manifest of a file that was written anew; an unsealed folder is left as it is."""
        if self.finished:
            manifest = {**self.manifest(), name: sha256_of(self.path / name)}
            self.write_manifest(dict(sorted(manifest.items())))

    def manifest(self) -> Json:
        """Name -> SHA-256.

        Raises:
            RunError: if the manifest cannot be read, or is none of such a folder.
        """
        manifest = self.json(MANIFEST)
        if not isinstance(manifest, dict) or self.mark not in manifest:
            raise RunError(
                f"is no manifest of a {self.kind}",
                where=str(self.path / MANIFEST),
                remedy=self.again,
                code="storage.wrong-manifest",
            )
        return manifest

    def checked(self, *, but: Sequence[str] = ()) -> None:
        """Hold every file against the manifest, `but` a few.

        Raises:
            RunError: if the folder is not sealed, or a file is missing or damaged; the sentence names it.
        """
        self.check_links()
        for name, digest in self.manifest().items():
            file = self.path / name
            if "\0" in name or len(name) > _LONGEST or ".." in file.parts or Path(name).is_absolute():
                shown = name if len(name) <= 40 else f"{name[:32]}…"
                raise RunError(
                    f"it names {shown!r}, which is no file of a {self.kind}",
                    where=str(self.path / MANIFEST),
                    remedy=self.again,
                    code="storage.wrong-manifest",
                )
            if name in but:
                continue
            if not file.is_file():
                raise RunError("the file is missing", where=str(file), remedy=self.again, code="storage.missing-file")
            if sha256_of(file) != digest:
                raise RunError(
                    "the file is damaged: its SHA-256 is not the manifest's",
                    where=str(file),
                    remedy=self.again,
                    code="storage.damaged-file",
                )

    def sealed(self, name: str) -> Path | None:
        """A file of the result that the manifest vouches for; None: there is none of this name."""
        return self.path / name if name in self.manifest() else None

    def _files(self) -> Iterator[Path]:
        """The files that the manifest vouches for."""
        for entry in self.path.rglob("*"):
            top = entry.relative_to(self.path).parts[0]
            if entry.is_file() and top not in (LOCK, MANIFEST, *self.unsealed) and not entry.name.startswith("."):
                yield entry
