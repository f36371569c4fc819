"""The files of a table: damage is told by name and changes nothing; any safetensors library reads them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given, settings, strategies as st
from tfplus_support import content, make_table, restored, save, train

from penrose_host import FileRef, SnapshotRef
from penrose_host.embeddings.tensorfile import decode, encode
from penrose_host.errors import CheckpointDamaged
from penrose_host.testing.memory import MemoryCheckpoints
from penrose_tfplus import backend_table, checkpoint_files
from penrose_tfplus.backend_table import TfplusTable

UNIVERSE = np.arange(-50, 400)


@dataclass(frozen=True)
class Saved:
    """A table in three checkpoints: a base of many files, and two deltas with deletions and candidates."""

    table: TfplusTable
    checkpoints: MemoryCheckpoints
    ref: SnapshotRef

    def files(self) -> dict[str, bytes]:
        reader = self.checkpoints.reader(self.ref)
        return {name: reader.read(name) for name in reader.names()}


def saved_table(**changes: Any) -> Saved:
    table = make_table(**{"width": 2, "optimizer": "adam", "admission": {"count": 2}} | changes)
    checkpoints = MemoryCheckpoints()
    for _ in range(2):
        train(table, np.arange(300), 1, seconds=5)
    train(table, np.arange(300, 330), 2, seconds=6)
    ref = save(table, checkpoints, "c1")
    for number in (2, 3):
        table._table.delete(np.arange(10 * number, 10 * number + 3))
        train(table, [3, 3, 310 + number, -number], number, seconds=6 + number)
        ref = save(table, checkpoints, f"c{number}", ref)
    return Saved(table, checkpoints, ref)


@pytest.fixture(scope="module")
def saved() -> Saved:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend_table, "_FILE_BYTES", 1)
        return saved_table()


def as_checkpoint(contents: Mapping[str, bytes]) -> tuple[MemoryCheckpoints, SnapshotRef]:
    """These files with right digests: what a bug or another program would leave, and the host would not see."""
    checkpoints, refs = MemoryCheckpoints(), {}
    for name, data in contents.items():
        checkpoints.files["c3", name] = data
        refs[name] = FileRef("c3", name, len(data), hashlib.sha256(data).hexdigest())
    return checkpoints, SnapshotRef("c3", refs)


def refused(checkpoints: MemoryCheckpoints, ref: SnapshotRef, message: str, **changes: Any) -> str:
    """Restoring raises, and the table is what it was. Returns what was said."""
    table = make_table(**{"width": 2, "optimizer": "adam", "admission": {"count": 2}} | changes)
    train(table, np.arange(100, 200), 7, seconds=99)
    before = content(table, UNIVERSE)
    with pytest.raises(CheckpointDamaged, match=message) as error:
        table.restore(checkpoints.reader(ref))
    assert content(table, UNIVERSE) == before
    train(table, np.arange(300), 8)
    return str(error.value)


def names(saved: Saved) -> list[str]:
    return sorted(saved.ref.files)


def test_a_table_lies_in_the_files_that_are_described(saved: Saved) -> None:
    heads = [name for name in names(saved) if "head" in name]
    assert heads == [f"000{generation}-head.safetensors" for generation in range(3)]
    assert len(names(saved)) > 6
    for name, data in saved.files().items():
        tensors = safetensors.numpy.load(data)
        if "head" in name:
            assert set(tensors) == {"deleted", "candidates", "candidate_counts", "candidate_times"}
        else:
            assert set(tensors) == {"keys", "counts", "times", "weights", "first", "second", "steps"}


# -- damage -----------------------------------------------------------------------------------------


def test_a_missing_file_is_named(saved: Saved) -> None:
    """Gone from the disk; gone from the list of files too, which the host's manifest would not let happen."""
    for name in names(saved):
        gone = MemoryCheckpoints()
        key = (saved.ref.files[name].checkpoint, saved.ref.files[name].path)
        gone.files = {at: data for at, data in saved.checkpoints.files.items() if at != key}
        assert name in refused(gone, saved.ref, "missing")
    for name in names(saved):
        contents = {other: data for other, data in saved.files().items() if other != name}
        refused(*as_checkpoint(contents), r"is not a whole generation|rows, and \d+ there")


def test_no_files_at_all_are_no_table(saved: Saved) -> None:
    refused(*as_checkpoint({}), "of a tfplus table")


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_file_cut_short_or_made_longer_is_named(saved: Saved, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(names(saved)))
    whole = saved.files()[name]
    cut = data.draw(st.integers(0, len(whole) - 1).map(lambda end: whole[:end]) | st.just(whole + b"\0"))
    refused(*as_checkpoint(saved.files() | {name: cut}), rf"c3, file {name}: ")


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_a_byte_changed_anywhere_is_told_or_means_nothing(saved: Saved, data: st.DataObject) -> None:
    """Without the host's digest: in numbers and in the header. Blanks of the header may become others."""
    name = data.draw(st.sampled_from(names(saved)))
    damaged = bytearray(saved.files()[name])
    header = 8 + int.from_bytes(damaged[:8], "little")
    at = data.draw(st.integers(0, header - 1) | st.integers(0, len(damaged) - 1))
    damaged[at] ^= data.draw(st.integers(1, 255))
    checkpoints, ref = as_checkpoint(saved.files() | {name: bytes(damaged)})
    try:
        table = restored(saved.table, checkpoints, ref)
    except CheckpointDamaged:
        refused(checkpoints, ref, rf"c3, file {name}: ")
    else:
        assert content(table, UNIVERSE) == content(saved.table, UNIVERSE)


def test_files_that_changed_places_are_named(saved: Saved) -> None:
    contents = saved.files()
    heads = [name for name in contents if "head" in name]
    rows = [name for name in contents if "rows" in name]
    for one, other in ((heads[0], heads[1]), (rows[0], rows[1]), (rows[0], rows[-1]), (heads[0], rows[0])):
        swapped = contents | {one: contents[other], other: contents[one]}
        said = refused(*as_checkpoint(swapped), "it was written as")
        assert f"file {one}: " in said or f"file {other}: " in said


@pytest.mark.parametrize(
    "name", ["model.bin", "0000-head.safetensors.bak", "0000-rows-1.safetensors", "0007-head.safetensors"]
)
def test_a_file_of_another_name_is_named(saved: Saved, name: str) -> None:
    contents = saved.files()
    contents[name] = contents.pop(names(saved)[0])
    said = refused(*as_checkpoint(contents), "c3: ")
    assert name in said or "generations" in said or "not a whole generation" in said


@pytest.mark.parametrize(
    "changes",
    [{"name": "u"}, {"width": 3}, {"optimizer": "adagrad"}, {"seed": 1}, {"initializer": ("uniform", {})}],
    ids=lambda changes: next(iter(changes)),
)
def test_the_files_of_another_table_are_refused(saved: Saved, changes: dict[str, Any]) -> None:
    message = r"c3, file 0000-head.safetensors: it was written by the table"
    refused(saved.checkpoints, saved.ref, message, **changes)


def test_a_file_of_another_table_among_the_right_ones_is_named(saved: Saved) -> None:
    name = "0000-rows-00001.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend_table, "_FILE_BYTES", 1)
        other = saved_table(name="u").files()[name]
    message = rf"file {name}: it was written by the table .*'u'"
    refused(*as_checkpoint(saved.files() | {name: other}), message)


def rewritten(data: bytes, change: Callable[[dict[str, Any], dict[str, str]], Any]) -> bytes:
    """The file with other content and a right checksum."""
    tensors, metadata = decode(data)
    change(tensors, metadata)
    tensors = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    del metadata["crc32"]
    return b"".join(encode(tensors, metadata | {"crc32": checkpoint_files._checksum(tensors, metadata)}))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("0000-head", lambda _, metadata: metadata.update(version="2"), "not written in version 1"),
        ("0000-head", lambda _, metadata: metadata.update(format="npz"), "of the format penrose-tfplus"),
        ("0000-head", lambda _, metadata: metadata.update(table="{"), "file 0000-head"),
        ("0000-head", lambda _, metadata: metadata.pop("table"), "written by the table None"),
        ("0000-head", lambda _, metadata: metadata.update(rows="7"), r"7 rows, and \d+ there"),
        ("0000-head", lambda _, metadata: metadata.update(rows="null"), "file 0000-head"),
        ("0000-head", lambda _, metadata: metadata.update(counters="[]"), "file 0000-head"),
        ("0000-head", lambda _, metadata: metadata.update(counters='{"steps": -1}'), "the counters are"),
        ("0000-head", lambda _, metadata: metadata.update(counters='{"steps": 1e999}'), "the counters are"),
        ("0000-head", lambda _, metadata: metadata.update(counters=f'{{"now": {2**64}}}'), "the counters are"),
        ("0000-head", lambda tensors, _: tensors.pop("deleted"), "there is no deleted"),
        ("0000-head", lambda tensors, _: tensors.update(more=np.zeros(3, np.int64)), "more"),
        (
            "0000-head",
            lambda tensors, _: tensors.update(candidate_counts=np.zeros_like(tensors["candidate_counts"])),
            "a candidate was never seen",
        ),
        (
            "0000-head",
            lambda tensors, _: tensors.update(candidate_times=tensors["candidate_times"][:-1]),
            "different lengths",
        ),
        ("0000-rows-00000", lambda tensors, _: tensors.pop("keys"), "there is no keys"),
        ("0000-rows-00000", lambda tensors, _: tensors.pop("second"), "there is no second"),
        ("0000-rows-00000", lambda tensors, _: tensors.update(keys=tensors["keys"][:-1]), "it holds"),
        ("0000-rows-00000", lambda tensors, _: tensors.update(times=tensors["times"][:-1]), "different lengths"),
        ("0000-rows-00000", lambda tensors, _: tensors.update(steps=tensors["first"]), "it holds"),
        ("0000-rows-00000", lambda tensors, _: tensors.update(more=tensors["first"]), "it holds"),
        (
            "0000-rows-00000",
            lambda tensors, _: tensors.update(keys=tensors["keys"].astype(np.int32)),
            "no keys of type <i8",
        ),
    ],
)
def test_content_that_does_not_fit_is_named(
    saved: Saved, name: str, change: Callable[[dict[str, Any], dict[str, str]], Any], message: str
) -> None:
    name += ".safetensors"
    contents = saved.files()
    said = refused(*as_checkpoint(contents | {name: rewritten(contents[name], change)}), message)
    assert f"file {name}: " in said


def test_a_head_without_its_rows_is_named(saved: Saved) -> None:
    contents = {name: data for name, data in saved.files().items() if not name.startswith("0001-rows")}
    said = refused(*as_checkpoint(contents), r"\d+ rows, and 0 there")
    assert "file 0001-head.safetensors: " in said


# -- reading them without this package ----------------------------------------------------------------


def read_plainly(contents: Mapping[str, bytes]) -> tuple[dict[int, Any], dict[int, tuple[int, int]]]:
    """key → (weights, slots …, count, time), and key → (count, time) of those that wait: the whole reader."""
    rows: dict[int, Any] = {}
    waiting: dict[int, tuple[int, int]] = {}
    for name in sorted(contents):
        tensors = safetensors.numpy.load(contents[name])
        if name.endswith("-head.safetensors"):
            for key in tensors["deleted"].tolist():
                rows.pop(key, None)
                waiting.pop(key, None)
            candidates = (tensors[what].tolist() for what in ("candidates", "candidate_counts", "candidate_times"))
            for key, count, time in zip(*candidates, strict=True):
                rows.pop(key, None)
                waiting[key] = (count, time)
        else:
            for at, key in enumerate(tensors.pop("keys").tolist()):
                waiting.pop(key, None)
                rows[key] = {what: array[at] for what, array in tensors.items()}
    return rows, waiting


def test_a_base_and_its_deltas_are_read_with_safetensors_alone(saved: Saved) -> None:
    rows, waiting = read_plainly(saved.files())
    inner = saved.table._table
    keys = inner.keys()
    assert sorted(rows) == keys.tolist()
    assert len(waiting) == inner.candidates > 0
    for what, expected in {"weights": inner.lookup(keys), **inner.slots(keys)}.items():
        np.testing.assert_array_equal(np.stack([rows[key][what] for key in keys.tolist()]), expected)
    assert [rows[key]["counts"] for key in keys.tolist()] == inner.counts(keys).tolist()
    assert [rows[key]["times"] * 1_000_000 for key in keys.tolist()] == inner.times(keys).tolist()
    for key, (count, time) in waiting.items():
        one = np.array([key])
        assert (inner.counts(one)[0], inner.times(one)[0]) == (count, time * 1_000_000)


def test_the_metadata_says_what_table_it_is(saved: Saved, tmp_path: Any) -> None:
    path = tmp_path / "0000-head.safetensors"
    path.write_bytes(saved.files()[path.name])
    with safetensors.safe_open(path, "numpy") as file:
        metadata = file.metadata()
    assert (metadata["format"], metadata["version"], metadata["file"]) == ("penrose-tfplus", "1", path.name)
    table = json.loads(metadata["table"])
    assert (table["name"], table["width"], table["optimizer"], table["seed"]) == ("t", 2, "adam", 0)
    assert table["slots"] == saved.table._table.slot_widths
    assert json.loads(metadata["counters"])["steps"] == 3


@settings(max_examples=30, deadline=None)
@given(keys=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=40), width=st.integers(1, 9))
def test_any_keys_and_widths_are_read_plainly(keys: list[int], width: int) -> None:
    saved = make_table(width, "rowwise_adagrad"), MemoryCheckpoints()
    train(saved[0], keys, 1)
    reader = saved[1].reader(save(*saved, "c1"))
    rows, _ = read_plainly({name: reader.read(name) for name in reader.names()})
    assert sorted(rows) == sorted(set(keys))
    for key, row in rows.items():
        np.testing.assert_array_equal(row["weights"], saved[0].lookup(np.array([key]), train=False)[0])
