"""A sealed folder: each reason to refuse it has its code, and names the file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from mmgrec.errors import RunError
from mmgrec.storage import SealedFolder, lock, read_json


class Box(SealedFolder):
    kind: ClassVar[str] = "box"
    mark: ClassVar[str] = "box.json"
    again: ClassVar[str] = "pack it again"

    def refusal(self, there: Mapping[str, Any], wanted: Mapping[str, Any]) -> tuple[str, str] | None:
        return None if there == wanted else ("it is for other things", "take another box")


@pytest.fixture
def box(tmp_path: Path) -> Box:
    """A sealed box with one thing in it."""
    box = Box(path=tmp_path / "box")
    with box.claimed({"for": "cups"}):
        box.write("cup", b"blue")
        box.seal()
    return box


def refused(call: Any, code: str, where: Path) -> None:
    with pytest.raises(RunError) as error:
        call()
    assert error.value.code == code
    assert error.value.where == str(where)


def enter(box: Box, wanted: Mapping[str, Any]) -> None:
    with box.claimed(wanted):
        pass


def test_a_sound_box_is_taken_again(box: Box) -> None:
    enter(box, {"for": "cups"})
    box.checked()
    assert box.sealed("cup") == box.path / "cup"
    assert box.sealed("spoon") is None


def test_a_box_for_other_things(box: Box) -> None:
    refused(lambda: enter(box, {"for": "spoons"}), "storage.made-otherwise", box.path)


def test_a_folder_that_holds_other_things(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    refused(lambda: enter(Box(path=tmp_path), {}), "storage.other-things", tmp_path)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused(lambda: enter(Box(path=tmp_path / "file" / "box"), {}), "storage.cannot-make-folder", tmp_path / "file/box")


def test_a_link_that_leads_out(box: Box, tmp_path: Path) -> None:
    (tmp_path / "outside").touch()
    (box.path / "link").symlink_to(tmp_path / "outside")
    refused(box.checked, "storage.link-out", box.path / "link")


@pytest.mark.parametrize(
    ("file", "content", "code"),
    [
        ("cup", None, "storage.missing-file"),
        ("cup", b"red", "storage.damaged-file"),
        ("manifest.json", b"{", "storage.unreadable"),
        ("manifest.json", b"[]", "storage.wrong-manifest"),
        ("manifest.json", b'{"box.json": "", "../cup": ""}', "storage.damaged-file"),
        ("manifest.json", b'{"../cup": "", "box.json": ""}', "storage.wrong-manifest"),
    ],
)
def test_damage_is_named(box: Box, file: str, content: bytes | None, code: str) -> None:
    (box.path / file).unlink()
    if content is not None:
        (box.path / file).write_bytes(content)
    refused(box.checked, code, box.path / ("box.json" if b'{"box' in (content or b"") else file))


def test_a_mark_that_is_none(box: Box) -> None:
    (box.path / "box.json").write_text("[]")
    refused(lambda: enter(box, {"for": "cups"}), "storage.wrong-mark", box.path / "box.json")


def test_a_lock_is_held_against_others(tmp_path: Path) -> None:
    with lock(tmp_path / "lock"):
        refused(lambda: lock(tmp_path / "lock").__enter__(), "storage.locked", tmp_path)
    (tmp_path / "other").symlink_to(tmp_path / "absent")
    refused(lambda: lock(tmp_path / "other").__enter__(), "storage.cannot-lock", tmp_path / "other")


def test_json_that_cannot_be_read(tmp_path: Path) -> None:
    refused(lambda: read_json(tmp_path / "absent"), "storage.unreadable", tmp_path / "absent")
