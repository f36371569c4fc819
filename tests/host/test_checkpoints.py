"""Checkpoints: whole or not there, refused when damaged, fenced, and retired without losing what others build on."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from penrose_host.checkpoints import Checkpointer, CheckpointStore, Manifest
from penrose_host.checkpoints.fragments import read_fragment
from penrose_host.contracts.batch import Position
from penrose_host.contracts.cluster import Role
from penrose_host.contracts.snapshots import FileRef
from penrose_host.errors import CheckpointDamaged, CheckpointError, CheckpointNotFound, Fenced


def owned(root: Path) -> CheckpointStore:
    store = CheckpointStore(root)
    store.claim(store.latest())
    return store


def write(
    store: CheckpointStore,
    sequence: int,
    files: Mapping[str, bytes],
    reuse: Mapping[str, FileRef] | None = None,
    external_id: str | None = None,
) -> Manifest:
    folder = store.begin(sequence)
    fragment = store.fragment(folder, Role.CHIEF, 0)
    part = fragment.part("tables/t")
    for name, data in files.items():
        part.add(name, data)
    for name, ref in (reuse or {}).items():
        part.reuse(name, ref)
    return store.commit(
        folder,
        fragment.close(),
        rows=sequence * 10,
        position=Position("stream", {"p": sequence * 10}),
        job={"seed": 0},
        external_id=external_id,
    )


def open_and_verify_latest(root: Path) -> None:
    store = CheckpointStore(root)
    latest = store.latest()
    assert latest is not None
    store.verify(latest.manifest.id)


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    store = owned(tmp_path)
    write(store, 1, {"rows.bin": b"one", "deep/er.bin": b""})
    latest = CheckpointStore(tmp_path).latest()
    assert latest is not None
    assert latest.manifest.position == Position("stream", {"p": 10})
    reader = latest.reader(Role.CHIEF, 0, "tables/t")
    assert {name: reader.read(name) for name in reader.names()} == {"rows.bin": b"one", "deep/er.bin": b""}
    with pytest.raises(CheckpointDamaged, match=r"no file 'other\.bin'"):
        reader.read("other.bin")


def test_several_roles_write_one_checkpoint(tmp_path: Path) -> None:
    store = owned(tmp_path)
    folder = store.begin(1)
    for role, index in ((Role.CHIEF, 0), (Role.WORKER, 0), (Role.PS, 1)):
        fragment = store.fragment(folder, role, index)
        fragment.part("state").add("x.bin", f"{role}{index}".encode())
        fragment.close()
    # The chief learns of the others' files from what they left in the folder.
    files: dict[str, FileRef] = {}
    for role, index in ((Role.CHIEF, 0), (Role.WORKER, 0), (Role.PS, 1)):
        files |= read_fragment(folder, role, index)
    store.commit(folder, files, rows=1, position=Position("s"), job={})
    latest = store.latest()
    assert latest is not None
    assert latest.reader(Role.PS, 1, "state").read("x.bin") == b"ps1"
    store.verify(latest.manifest.id)


def test_without_a_manifest_there_is_no_checkpoint(tmp_path: Path) -> None:
    store = owned(tmp_path)
    write(store, 1, {"a": b"a"})
    folder = store.begin(2)
    store.fragment(folder, Role.CHIEF, 0).close()
    latest = CheckpointStore(tmp_path).latest()
    assert latest is not None
    assert latest.manifest.number == 1


@pytest.mark.parametrize("damage", ["truncated", "deleted", "flipped"])
def test_every_damaged_file_is_refused_by_name_and_an_older_checkpoint_can_be_picked(
    tmp_path: Path, damage: str
) -> None:
    store = owned(tmp_path)
    older = write(store, 1, {"a.bin": b"first"})
    newer = write(store, 2, {"a.bin": b"second", "b.bin": bytes(5000)})
    paths = [path for path in (tmp_path / newer.id).rglob("*") if path.is_file()]
    assert len(paths) == 4
    for path in paths:
        original = path.read_bytes()
        for place in {0, len(original) // 2, len(original) - 1}:
            if damage == "truncated":
                path.write_bytes(original[:place])
            elif damage == "deleted":
                path.unlink()
            else:
                path.write_bytes(original[:place] + bytes([original[place] ^ 1]) + original[place + 1 :])
            with pytest.raises(CheckpointDamaged) as caught:
                open_and_verify_latest(tmp_path)
            assert str(path) in str(caught.value)
            assert "--resume-from" in str(caught.value)
            assert CheckpointStore(tmp_path).open(older.id).manifest == older
            path.write_bytes(original)
    CheckpointStore(tmp_path).verify(newer.id)


@given(flip=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_bit_of_a_manifest_can_change_unseen(tmp_path_factory: pytest.TempPathFactory, flip: int, bit: int) -> None:
    store = owned(tmp_path_factory.mktemp("run"))
    manifest = write(store, 1, {"a.bin": b"x"})
    path = store.root / manifest.id / "manifest.json"
    data = bytearray(path.read_bytes())
    data[flip % len(data)] ^= 1 << bit
    path.write_bytes(bytes(data))
    with pytest.raises(CheckpointDamaged, match=r"manifest\.json"):
        store.open(manifest.id)


def test_a_replaced_process_cannot_commit(tmp_path: Path) -> None:
    old = owned(tmp_path)
    write(old, 1, {"a": b"a"})
    folder = old.begin(2)
    files = old.fragment(folder, Role.CHIEF, 0).close()
    new = owned(tmp_path)
    with pytest.raises(Fenced):
        old.commit(folder, files, rows=0, position=Position("s"), job={})
    with pytest.raises(Fenced):
        old.begin(3)
    assert write(new, 2, {"a": b"b"}).id != folder.name


def test_a_manifest_that_a_replaced_process_wrote_too_late_does_not_count(tmp_path: Path) -> None:
    old = owned(tmp_path)
    write(old, 1, {"a": b"a"})
    new = CheckpointStore(tmp_path)
    restored = new.latest()
    folder = old.begin(2)
    files = old.fragment(folder, Role.CHIEF, 0).close()
    # The check of the old process has passed; now it is replaced, and writes its manifest all the same.
    epoch = old.epoch
    new.claim(restored)
    old._epochs.check_owner = lambda: None  # type: ignore[method-assign]
    assert old.epoch == epoch
    old.commit(folder, files, rows=0, position=Position("s"), job={})
    latest = CheckpointStore(tmp_path).latest()
    assert latest is not None
    assert latest.manifest.number == 1


KILLED = """
import os, signal, sys
from pathlib import Path
from penrose_host.checkpoints import CheckpointStore
os.link = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
CheckpointStore(Path(sys.argv[1])).claim(None)
"""


def test_what_a_killed_claim_has_left_is_swept_by_the_next_life(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    (draft,) = (tmp_path / "epochs").iterdir()
    later = tmp_path / "epochs" / "claim-1-9.tmp"
    later.write_text("somebody else is claiming")
    store = owned(tmp_path)
    assert draft.exists()
    store.sweep()
    assert sorted(path.name for path in (tmp_path / "epochs").iterdir()) == ["00000001.json", later.name]


def test_a_claim_whose_draft_is_swept_under_its_hands_gets_the_next_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link, other = os.link, CheckpointStore(tmp_path)

    def late(source: Path, target: Path) -> None:
        monkeypatch.setattr(os, "link", link)
        other.claim(None)
        other.sweep()
        link(source, target)

    monkeypatch.setattr(os, "link", late)
    store = CheckpointStore(tmp_path)
    assert (store.claim(None), other.epoch) == (2, 1)


def test_two_claims_never_get_one_epoch(tmp_path: Path) -> None:
    stores = [CheckpointStore(tmp_path) for _ in range(20)]
    epochs = [store.claim(None) for store in stores]
    assert epochs == list(range(1, 21))


def test_retention_keeps_files_that_later_checkpoints_reuse(tmp_path: Path) -> None:
    store = owned(tmp_path)
    base = write(store, 1, {"base.bin": b"base", "old.bin": b"old"})
    ref = base.files["chief-0/tables/t/base.bin"]
    for sequence in range(2, 6):
        newest = write(store, sequence, {"delta.bin": b"d%d" % sequence}, {"base.bin": ref})
        store.retain(2)
    assert [info.number for info in store.list()] == [4, 5]
    assert (tmp_path / base.id / ref.path).exists()
    assert not (tmp_path / base.id / "chief-0/tables/t/old.bin").exists()
    assert not (tmp_path / base.id / "manifest.json").exists()
    opened = CheckpointStore(tmp_path).open(newest.id)
    assert opened.reader(Role.CHIEF, 0, "tables/t").read("base.bin") == b"base"
    write(store, 6, {"base.bin": b"new"})
    store.retain(1)
    assert not (tmp_path / base.id).exists()


def test_a_pinned_checkpoint_outlives_newer_ones(tmp_path: Path) -> None:
    store = owned(tmp_path)
    for sequence in range(1, 5):
        write(store, sequence, {"a": b"a"}, external_id=f"engine-{sequence}")
        store.retain(1, pinned="engine-1")
    assert [info.external_id for info in store.list()] == ["engine-1", "engine-4"]
    assert store.open("engine-1").manifest.number == 1


def test_resuming_from_an_older_checkpoint_leaves_the_newer_behind(tmp_path: Path) -> None:
    store = owned(tmp_path)
    older = write(store, 1, {"a": b"1"})
    write(store, 2, {"a": b"2"})
    again = CheckpointStore(tmp_path)
    again.claim(again.open(older.id))
    assert [info.number for info in again.list()] == [1]
    manifest = write(again, 2, {"a": b"3"})
    assert manifest.id == "00000002-e2"
    again.retain(5)
    assert sorted(p.name for p in tmp_path.glob("0*")) == ["00000001-e1", "00000002-e2"]


def test_an_unknown_id_says_what_there_is(tmp_path: Path) -> None:
    store = owned(tmp_path)
    manifest = write(store, 1, {"a": b"1"})
    with pytest.raises(CheckpointNotFound, match=manifest.id):
        store.open("00000009-e1")
    with pytest.raises(CheckpointNotFound):
        store.open("../etc")


@pytest.mark.parametrize("name", ["", "../x", "/x", "a//b", ".hidden", "fragment.json", "a b"])
def test_names_that_could_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    store = owned(tmp_path)
    fragment = store.fragment(store.begin(1), Role.CHIEF, 0)
    with pytest.raises(CheckpointError):
        fragment.add(name, b"")


def test_a_full_disk_is_an_error_with_a_hint_and_harms_no_older_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = owned(tmp_path)
    write(store, 1, {"a": b"1"})

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="disk is full"):
        write(store, 2, {"a": b"2"})
    monkeypatch.undo()
    latest = CheckpointStore(tmp_path).latest()
    assert latest is not None
    assert latest.manifest.number == 1


def test_what_goes_wrong_behind_training_is_raised_on_the_training_thread() -> None:
    checkpointer = Checkpointer()

    def fail() -> Manifest:
        raise CheckpointError("broken")

    checkpointer.submit(fail)
    with pytest.raises(CheckpointError, match="broken"):
        checkpointer.wait()
    assert not checkpointer.busy
    checkpointer.close()
    checkpointer.close()
