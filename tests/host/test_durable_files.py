"""Files and folders that are written whole or not at all, durably; and whose error it is where they cannot be."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from penrose_host.checkpoints import CheckpointStore
from penrose_host.contracts.batch import Position
from penrose_host.errors import CheckpointError, PenroseError, RunDirectoryError
from penrose_host.monitoring.report import write_report
from penrose_host.outputs.dead_letter_outbox import DeadLetterOutbox
from penrose_host.outputs.predictions import Part, PredictionsFolder
from penrose_host.storage.durable_files import atomic_folder, make_folder, write_atomic


def on_a_full_disk(path: Path) -> None:
    """The draft of this file finds no space."""
    path.with_name(path.name + ".tmp").symlink_to("/dev/full")


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was synced, in order."""
    paths: list[str] = []
    fsync = os.fsync

    def watched(handle: int) -> None:
        paths.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", watched)
    return paths


def test_a_file_is_synced_before_it_has_its_name_and_the_name_after(tmp_path: Path, synced: list[str]) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"one")
    write_atomic(path, b"two")
    assert path.read_bytes() == b"two"
    assert synced == [f"{path}.tmp", str(tmp_path)] * 2
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_stays_what_it_was(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"one")
    on_a_full_disk(path)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, b"two")
    assert path.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_synced_with_all_that_is_in_it_before_it_has_its_name(tmp_path: Path, synced: list[str]) -> None:
    folder = tmp_path / "model"
    for content in ("one", "two"):
        synced.clear()
        with atomic_folder(folder) as draft:
            make_folder(draft / "deep")
            (draft / "deep" / "file").write_text(content)
            (draft / "link").symlink_to("deep")
            synced.clear()
        assert set(synced[:-1]) == {str(draft), str(draft / "deep"), str(draft / "deep" / "file")}
        assert synced[-1] == str(tmp_path)
    assert (folder / "link" / "file").read_text() == "two"
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("before", [False, True])
def test_a_folder_that_fails_leaves_what_was_there(tmp_path: Path, before: bool) -> None:
    folder = tmp_path / "model"
    if before:
        folder.mkdir()
        (folder / "file").write_text("one")

    def fail() -> None:
        with atomic_folder(folder) as draft:
            (draft / "file").write_text("half")
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        fail()
    assert [path.read_text() for path in tmp_path.rglob("file")] == ["one"] * before
    assert list(tmp_path.iterdir()) == [folder] * before


def test_the_names_of_new_folders_are_durable(tmp_path: Path, synced: list[str]) -> None:
    make_folder(tmp_path / "a" / "b")
    assert sorted(synced) == [str(tmp_path), str(tmp_path / "a")]
    synced.clear()
    make_folder(tmp_path / "a" / "b")
    assert synced == []


# -- whose error it is ---------------------------------------------------------------------------------


def manifest(folder: Path) -> Path:
    store = CheckpointStore(folder)
    store.claim(None)
    path = store.begin(1) / "manifest.json"
    on_a_full_disk(path)
    store.commit(path.parent, {}, rows=0, position=Position("s"), job={})
    return path


def predictions(folder: Path) -> Path:
    import numpy as np

    part = Part(folder / "part-000000.parquet", ("p",), [{"score": np.zeros(100_000, dtype=np.float32)}])
    on_a_full_disk(part.path)
    PredictionsFolder(folder, ("y",)).write(part)
    return part.path


def dead_letters_sent(folder: Path) -> Path:
    path = folder / "dead-letter.sent"
    path.write_text("9\n")
    on_a_full_disk(path)
    DeadLetterOutbox(folder / "dead-letter.jsonl", lambda rejects: None).reset(5)
    return path


def report(folder: Path) -> Path:
    (folder / "job.yaml").write_text("{}")
    on_a_full_disk(folder / "report.html")
    write_report(folder, folder / "report.html")
    return folder / "report.html"


@pytest.mark.parametrize(
    ("write", "kind", "name", "hint"),
    [
        (manifest, CheckpointError, "manifest.json", "resumes from the last checkpoint"),
        (predictions, RunDirectoryError, "part-000000.parquet", "resumes from the last checkpoint"),
        (dead_letters_sent, RunDirectoryError, "dead-letter.sent", "resumes from the last checkpoint"),
        (report, RunDirectoryError, "report.html", "--output"),
    ],
)
def test_each_writer_raises_its_own_error(
    tmp_path: Path, write: Callable[[Path], Path], kind: type[PenroseError], name: str, hint: str
) -> None:
    with pytest.raises(PenroseError, match=rf"cannot write .*{name}: .*No space left on device") as caught:
        write(tmp_path)
    assert type(caught.value) is kind
    assert hint in (caught.value.hint or "")
