"""What a library saved below a directory: into a checkpoint, and back into a directory."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from saving_executor import SavingExecutor

from penrose_host import (
    CheckpointDamaged,
    CheckpointError,
    CheckpointReader,
    FilesSnapshot,
    Position,
    Role,
)
from penrose_host.checkpoints import CheckpointStore
from penrose_host.testing import ExecutorContract, MemoryCheckpoints


class TestSavingExecutor(ExecutorContract):
    def make(self) -> SavingExecutor:
        return SavingExecutor(SavingExecutor.Options())


def save(root: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def content(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


FILES = {"model.bin": b"weights", "empty": b"", "assets/words/0.txt": b"one\r\n", "assets/1.txt": bytes(range(256))}


def test_a_directory_goes_through_a_checkpoint_on_disk(tmp_path: Path) -> None:
    saved = save(tmp_path / "saved", FILES)
    (saved / "nothing in it").mkdir()
    snapshot = FilesSnapshot.of_directory(saved)
    for path in saved.rglob("*"):
        if path.is_file():
            path.write_bytes(b"changed before it was written")
    store = CheckpointStore(tmp_path / "checkpoints")
    store.claim(None)
    folder = store.begin(1)
    fragment = store.fragment(folder, Role.CHIEF, 0)
    snapshot.write(fragment.part("executor"))
    store.commit(folder, fragment.close(), rows=0, position=Position("s"), job={}, external_id=None)

    latest = store.latest()
    assert latest is not None
    restored = tmp_path / "restored"
    restored.mkdir()
    latest.reader(Role.CHIEF, 0, "executor").to_directory(str(restored))
    assert content(restored) == FILES


def test_a_directory_without_files_is_no_state(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(CheckpointError, match="no file was saved in"):
        FilesSnapshot.of_directory(tmp_path)
    with pytest.raises(CheckpointError, match="no file was saved in"):
        FilesSnapshot.of_directory(tmp_path / "missing")


@pytest.mark.parametrize("kind", ["link to a file", "link to a directory", "link to nothing", "pipe"])
def test_what_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    elsewhere = save(tmp_path / "elsewhere", {"a": b"a"})
    saved = save(tmp_path / "saved", {"b": b"b"})
    if kind == "pipe":
        os.mkfifo(saved / "odd")
    else:
        target = {"file": elsewhere / "a", "directory": elsewhere, "nothing": tmp_path / "gone"}[kind.split()[-1]]
        (saved / "odd").symlink_to(target)
    with pytest.raises(CheckpointError, match="odd cannot be kept"):
        FilesSnapshot.of_directory(saved)


def test_a_name_that_no_checkpoint_can_hold_is_an_error_when_it_is_written(tmp_path: Path) -> None:
    snapshot = FilesSnapshot.of_directory(save(tmp_path, {"two words": b""}))
    with pytest.raises(CheckpointError, match="two words' is no name for a file"):
        MemoryCheckpoints().write("c1", snapshot)


def test_nothing_is_mixed_with_what_is_there(tmp_path: Path) -> None:
    checkpoints = MemoryCheckpoints()
    saved = FilesSnapshot.of_directory(save(tmp_path / "saved", FILES))
    reader = checkpoints.reader(checkpoints.write("c1", saved))
    there = save(tmp_path / "there", {"old": b"old"})
    with pytest.raises(CheckpointError, match="must be empty"):
        reader.to_directory(there)
    with pytest.raises(CheckpointError, match=r"cannot be restored into .*missing"):
        reader.to_directory(tmp_path / "missing")
    assert content(there) == {"old": b"old"}


@pytest.mark.parametrize("name", ["../out", "a/../../out", "/out", ".", ""])
def test_no_name_leads_out_of_the_directory(tmp_path: Path, name: str) -> None:
    name = str(tmp_path / "out") if name == "/out" else name
    inside = tmp_path / "inside"
    inside.mkdir()
    with pytest.raises(CheckpointDamaged, match=r"checkpoint c1, directory\.json: .* is not below the directory"):
        listed(json.dumps([name]).encode()).to_directory(inside)
    assert content(tmp_path) == {}


@pytest.mark.parametrize("listing", [b"{", b"\xff", b"null", b'{"a": 1}', b"[1]"])
def test_a_listing_that_is_none_is_damage(tmp_path: Path, listing: bytes) -> None:
    with pytest.raises(CheckpointDamaged, match=r"checkpoint c1, directory\.json: "):
        listed(listing).to_directory(tmp_path)


def listed(listing: bytes) -> CheckpointReader:
    """A checkpoint whose listing is this."""
    checkpoints = MemoryCheckpoints()
    return checkpoints.reader(checkpoints.write("c1", FilesSnapshot({"directory.json": listing, "a": b"a"})))


@pytest.mark.parametrize("name", [*FILES, None], ids=str)
def test_each_file_must_be_there_as_it_was_written(tmp_path: Path, name: str | None) -> None:
    checkpoints = MemoryCheckpoints()
    ref = checkpoints.write("c1", FilesSnapshot.of_directory(save(tmp_path / "saved", FILES)))
    at = ("c1", "directory.json" if name is None else f"directory/{name}")
    written = checkpoints.files.pop(at)
    for broken in (None, written + b"x"):
        if broken is not None:
            checkpoints.files[at] = broken
        with TemporaryDirectory() as folder, pytest.raises(CheckpointDamaged, match="missing or altered"):
            checkpoints.reader(ref).to_directory(folder)
