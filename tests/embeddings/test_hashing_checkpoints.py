from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings, strategies as st

from penrose_host import FileRef, Position, SnapshotRef, StepInfo, TableSpec
from penrose_host.embeddings.hashing import HashingBackend, HashingTable
from penrose_host.embeddings.tensorfile import decode, encode
from penrose_host.errors import CheckpointDamaged, TrainingError
from penrose_host.testing.memory import MemoryCheckpoints

STEP = StepInfo(0, 0, 0, lambda: Position("test"))
ROWS = 500


def table(rows: int = ROWS, name: str = "t", width: int = 2, optimizer: str = "adam", seed: int = 0) -> HashingTable:
    spec = TableSpec(name, width, (optimizer, {"learning_rate": 0.5}), ("normal", {}), seed)
    return HashingBackend(HashingBackend.Options(rows=rows)).table(spec)


def train(subject: HashingTable, seed: int, keys: int = 30) -> None:
    random = np.random.default_rng(seed)
    gradients = random.standard_normal((keys, subject.spec.width)).astype(np.float32)
    subject.apply(random.integers(0, 2000, keys), gradients, STEP)


def state(subject: HashingTable) -> bytes:
    """Everything that decides what the table does next: weights, slots, counters, which rows were trained."""
    whole = MemoryCheckpoints()
    if subject._pending is not None:
        subject.aborted()
    ref = whole.write("all", subject.snapshot(None))
    subject.aborted()
    rest = subject.lookup(np.arange(5 * ROWS), train=False).tobytes()
    return whole.reader(ref).read("rows-0000.safetensors") + rest


def test_a_restored_table_goes_on_with_the_same_bytes() -> None:
    straight, checkpoints = table(), MemoryCheckpoints()
    for step in range(10):
        train(straight, step)
    ref = checkpoints.write("c1", straight.snapshot(None))
    resumed = table()
    train(resumed, 99)
    resumed.restore(checkpoints.reader(ref))
    assert state(resumed) == state(straight)
    for step in range(10, 20):
        train(straight, step)
        train(resumed, step)
    assert state(resumed) == state(straight)
    assert resumed.stats() == straight.stats()


def test_training_after_the_snapshot_does_not_reach_it() -> None:
    subject, checkpoints = table(), MemoryCheckpoints()
    train(subject, 1)
    before = state(subject)
    snapshot = subject.snapshot(None)
    train(subject, 2)
    restored = table()
    restored.restore(checkpoints.reader(checkpoints.write("c1", snapshot)))
    assert state(restored) == before


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["train", "train a bit", "commit", "abort", "crash", "forget"]), max_size=40))
def test_any_history_of_snapshots_restores_what_was_there(history: list[str]) -> None:
    subject, checkpoints = table(), MemoryCheckpoints()
    since: SnapshotRef | None = None
    committed = state(subject)
    for number, event in enumerate(history):
        if event == "train":
            train(subject, number)
        elif event == "train a bit":
            train(subject, number, keys=2)
        elif event == "crash" and since is not None:
            subject = table()
            subject.restore(checkpoints.reader(since))
            assert state(subject) == committed
        elif event == "forget":
            # The host's last committed checkpoint is not the one that the table knows: all must be written.
            since = since and SnapshotRef("elsewhere", since.files)
        elif event in ("commit", "abort"):
            now = state(subject)
            snapshot = subject.snapshot(since)
            train(subject, 1000 + number, keys=3)
            ref = checkpoints.write(f"c{number}", snapshot)
            if event == "abort":
                subject.aborted()
                continue
            subject.committed(ref)
            since, committed = ref, now
            restored = table()
            restored.restore(checkpoints.reader(ref))
            assert state(restored) == now


def test_few_changes_are_written_as_a_delta_and_the_rest_is_reused() -> None:
    subject, checkpoints = table(rows=20_000), MemoryCheckpoints()
    train(subject, 0, keys=5000)
    base = checkpoints.write("c1", subject.snapshot(None))
    subject.committed(base)
    train(subject, 1, keys=4)
    delta = checkpoints.write("c2", subject.snapshot(base))
    subject.committed(delta)
    assert delta.files["rows-0000.safetensors"] == base.files["rows-0000.safetensors"]
    assert delta.files["rows-0001.safetensors"].checkpoint == "c2"
    assert delta.files["rows-0001.safetensors"].bytes < base.files["rows-0000.safetensors"].bytes / 10
    unchanged = checkpoints.write("c3", subject.snapshot(delta))
    assert unchanged.files == delta.files


def test_a_chain_of_deltas_ends_when_it_grows_past_half_of_its_base() -> None:
    subject, checkpoints = table(rows=20_000), MemoryCheckpoints()
    train(subject, 0, keys=4000)
    ref = checkpoints.write("c0", subject.snapshot(None))
    subject.committed(ref)
    bases = set()
    for number in range(1, 30):
        train(subject, number, keys=200)
        ref = checkpoints.write(f"c{number}", subject.snapshot(ref))
        subject.committed(ref)
        base = ref.files["rows-0000.safetensors"]
        bases.add(base.checkpoint)
        deltas = sum(file.bytes for name, file in ref.files.items() if name != "rows-0000.safetensors")
        assert deltas < base.bytes / 2 + 2000
    assert len(bases) > 1


def test_a_chain_of_tiny_deltas_ends_too() -> None:
    subject, checkpoints = table(rows=20_000), MemoryCheckpoints()
    train(subject, 0, keys=5000)
    ref = checkpoints.write("c0", subject.snapshot(None))
    subject.committed(ref)
    longest = 0
    for number in range(1, 70):
        train(subject, number, keys=1)
        ref = checkpoints.write(f"c{number}", subject.snapshot(ref))
        subject.committed(ref)
        longest = max(longest, len(ref.files))
    assert longest == 32


def test_what_an_aborted_snapshot_covered_is_in_the_next_one() -> None:
    subject, checkpoints = table(rows=20_000), MemoryCheckpoints()
    train(subject, 0, keys=5000)
    base = checkpoints.write("c1", subject.snapshot(None))
    subject.committed(base)
    train(subject, 1, keys=5)
    subject.snapshot(base)
    train(subject, 2, keys=5)
    subject.aborted()
    ref = checkpoints.write("c2", subject.snapshot(base))
    restored = table(rows=20_000)
    restored.restore(checkpoints.reader(ref))
    keys = np.arange(2000)
    np.testing.assert_array_equal(restored.lookup(keys, train=False), subject.lookup(keys, train=False))


def test_two_snapshots_at_a_time_are_refused() -> None:
    subject = table()
    subject.snapshot(None)
    with pytest.raises(TrainingError, match="neither committed nor aborted"):
        subject.snapshot(None)


def test_files_are_safetensors_that_say_whose_they_are() -> None:
    subject, checkpoints = table(), MemoryCheckpoints()
    train(subject, 0)
    ref = checkpoints.write("c1", subject.snapshot(None))
    data = checkpoints.reader(ref).read("rows-0000.safetensors")
    assert set(safetensors.numpy.load(data)) == {"index", "weights", "first", "second", "steps"}
    about = json.loads(decode(data)[1]["table"])
    assert (about["name"], about["rows"], about["width"], about["optimizer"]) == ("t", ROWS, 2, "adam")


def test_the_learning_rate_may_change_between_runs() -> None:
    subject, checkpoints = table(), MemoryCheckpoints()
    train(subject, 0)
    ref = checkpoints.write("c1", subject.snapshot(None))
    other = HashingBackend(HashingBackend.Options(rows=ROWS)).table(
        TableSpec("t", 2, ("adam", {"learning_rate": 0.001}), ("normal", {}))
    )
    other.restore(checkpoints.reader(ref))
    np.testing.assert_array_equal(other.lookup(np.arange(9), train=False), subject.lookup(np.arange(9), train=False))


@pytest.mark.parametrize(
    "other",
    [{"rows": 600}, {"name": "u"}, {"width": 3}, {"optimizer": "adagrad"}, {"seed": 1}],
    ids=lambda other: next(iter(other)),
)
def test_a_checkpoint_of_another_table_is_refused(other: dict[str, Any]) -> None:
    written, checkpoints = table(), MemoryCheckpoints()
    train(written, 0)
    ref = checkpoints.write("c1", written.snapshot(None))
    subject = table(**other)
    train(subject, 5)
    before = subject.lookup(np.arange(99), train=False)
    with pytest.raises(CheckpointDamaged, match=r"c1, file rows-0000.safetensors: it was written by the table"):
        subject.restore(checkpoints.reader(ref))
    np.testing.assert_array_equal(subject.lookup(np.arange(99), train=False), before)


def damaged(change: Any) -> MemoryCheckpoints:
    """A checkpoint whose file was rewritten, digest included: what a bug or another program would leave."""
    subject, checkpoints = table(), MemoryCheckpoints()
    train(subject, 0)
    ref = checkpoints.write("c1", subject.snapshot(None))
    tensors, metadata = decode(checkpoints.reader(ref).read("rows-0000.safetensors"))
    change(tensors, metadata)
    checkpoints.files["c1", "rows-0000.safetensors"] = b"".join(
        encode({name: np.ascontiguousarray(array) for name, array in tensors.items()}, metadata)
    )
    return checkpoints


def shifted(by: int) -> Any:
    return lambda tensors, metadata: tensors.update(index=tensors["index"] + np.int32(by))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (shifted(ROWS), "leaves the table"),
        (shifted(-ROWS), "leaves the table"),
        (lambda tensors, _: tensors.update(index=tensors["index"][::-1]), "not ascending"),
        (lambda tensors, _: tensors.pop("index"), "no index"),
        (lambda tensors, _: tensors.pop("steps"), "it holds"),
        (lambda tensors, _: tensors.update(weights=tensors["weights"][:-1]), "it holds"),
        (lambda _, metadata: metadata.pop("table"), "metadata cannot be read"),
        (lambda _, metadata: metadata.update(counters="[]"), "metadata cannot be read"),
        (lambda _, metadata: metadata.update(table="{"), "file rows-0000"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(change: Any, message: str) -> None:
    checkpoints = damaged(change)
    data = checkpoints.files["c1", "rows-0000.safetensors"]
    ref = SnapshotRef(
        "c1",
        {"rows-0000.safetensors": FileRef("c1", "rows-0000.safetensors", len(data), hashlib.sha256(data).hexdigest())},
    )
    with pytest.raises(CheckpointDamaged, match=message):
        table().restore(checkpoints.reader(ref))


@pytest.mark.parametrize("names", [[], ["rows-0001.safetensors"], ["model.bin"]])
def test_other_files_are_refused(names: list[str]) -> None:
    subject, checkpoints = table(), MemoryCheckpoints()
    ref = checkpoints.write("c1", subject.snapshot(None))
    files = dict.fromkeys(names, ref.files["rows-0000.safetensors"])
    with pytest.raises(CheckpointDamaged, match="not the files of a hashing table"):
        table().restore(checkpoints.reader(SnapshotRef("c1", files)))
