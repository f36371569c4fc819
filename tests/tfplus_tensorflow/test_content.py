"""What is taken out of a table and put into another: states, exports of all and of changes, checkpoints."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings, strategies as st
from tfplus_tensorflow_support import assert_same_state, int64, make_kv, train

from penrose_tfplus import optimizers
from penrose_tfplus_tensorflow import KvVariable


def trained(seed: int = 0, **options: Any) -> KvVariable:
    """A variable with rows, counts, times, slots, counters and, by its admission, keys that wait."""
    kv, random = make_kv(2, **{"admit_count": 2, **options}), np.random.default_rng(seed)
    for step in range(6):
        keys = random.integers(-20, 20, 15)
        train(kv, keys, random.standard_normal((15, 2)).astype(np.float32), time=step * 1_000_000)
    return kv


@pytest.mark.parametrize("optimizer", sorted(optimizers()))
def test_a_state_makes_an_equal_table_that_goes_on_equally(optimizer: str) -> None:
    one, two = trained(optimizer=optimizer), make_kv(2, optimizer=optimizer, admit_count=2, shards=16)
    two.insert([99], [[1.0, 1.0]])
    state = one.state()
    assert len(state["candidate_keys"]) > 0
    two.load_state(state)
    assert_same_state(two.state(), state)
    for kv in (one, two):
        train(kv, np.arange(-20, 20), np.ones((40, 2), np.float32), time=99_000_000)
    assert_same_state(two.state(), one.state())


def test_a_state_is_ascending_whatever_came_first_and_named() -> None:
    one, two = make_kv(2), make_kv(2, shards=64)
    one.insert([3, -1, 2], [[3.0, 3], [-1, -1], [2, 2]])
    two.insert([2, 3, -1], [[2.0, 2], [3, 3], [-1, -1]])
    assert_same_state(one.state(), two.state())
    state = one.state()
    assert state["keys"].numpy().tolist() == [-1, 2, 3]
    assert list(state) == [
        "keys", "counts", "times", "rows", "slot_accumulator",
        "candidate_keys", "candidate_counts", "candidate_times", "counters",
    ]  # fmt: skip


def test_a_state_may_be_numpy_arrays_and_may_be_empty() -> None:
    kv = make_kv(2)
    kv.load_state({name: tensor.numpy() for name, tensor in make_kv(2).state().items()})
    assert kv.size() == 0
    kv.load_state({name: tensor.numpy() for name, tensor in make_kv(2).state().items()})


def test_states_are_taken_and_loaded_inside_functions() -> None:
    one, two = trained(), make_kv(2, admit_count=2)
    tf.function(lambda: two.load_state(one.state()))()
    assert_same_state(two.state(), one.state())


def test_what_a_state_leaves_behind_is_nothing() -> None:
    kv = trained()
    kv.export(full=True)
    kv.commit_export()
    kv.insert([500], [[1.0, 2.0]])
    kv.state()
    assert kv.export()["keys"].numpy().tolist() == [500]


def broken(**changes: Any) -> dict[str, Any]:
    """A state of two rows and a waiting key, with parts replaced; None takes one away."""
    state = {
        "keys": int64(1, 2),
        "counts": int64(1, 1),
        "times": int64(0, 0),
        "rows": tf.zeros([2, 2]),
        "slot_accumulator": tf.zeros([2, 2]),
        "candidate_keys": int64(3),
        "candidate_counts": int64(1),
        "candidate_times": int64(0),
        "counters": int64(1, 1, 0, 0, 0),
        **changes,
    }
    return {name: value for name, value in state.items() if value is not None}


BROKEN = [
    ({"keys": None}, "it has no keys"),
    ({"slot_accumulator": None}, "it has no slot_accumulator"),
    ({"slot_linear": tf.zeros([2, 2])}, "has no slot_linear: it is trained by another optimizer"),
    ({"rows": tf.zeros([2, 3])}, r"rows must be float32 \(2, 2\), not float32 \(2, 3\)"),
    ({"rows": tf.zeros([3, 2])}, r"rows must be float32 \(2, 2\), not float32 \(3, 2\)"),
    ({"rows": tf.zeros([2, 2], tf.float64)}, "rows must be float32"),
    ({"keys": tf.constant([1, 2], tf.int32)}, "keys must be int64"),
    ({"keys": tf.constant([[1, 2]], tf.int64)}, "keys must be int64"),
    ({"counts": int64(1)}, r"counts must be int64 \(2,\), not int64 \(1,\)"),
    ({"counts": int64(1, -1)}, "counts has a number that cannot be: -1"),
    ({"counts": int64(1, 2**32)}, "counts has a number that cannot be: 4294967296"),
    ({"times": int64(1, -1)}, "times has a number that cannot be: -1"),
    ({"times": int64(1, 2**62)}, "times has a number that cannot be"),
    ({"candidate_counts": int64(0)}, "candidate_counts has a number that cannot be: 0"),
    ({"candidate_times": int64(1, 2)}, r"candidate_times must be int64 \(1,\)"),
    ({"counters": int64(1, 1)}, r"counters must be int64 \(5,\)"),
    ({"counters": int64(1, 1, -1, 0, 0)}, "counters has a number that cannot be: -1"),
    ({"counters": int64(1, 1, 0, 2**32, 0)}, "counters have a time that cannot be: 4294967296"),
]


@pytest.mark.parametrize(("changes", "match"), BROKEN, ids=range(len(BROKEN)))
def test_a_state_that_cannot_be_is_refused_and_the_table_stays(changes: dict[str, Any], match: str) -> None:
    kv = trained()
    before = kv.state()
    make_kv(2).load_state(broken())
    for take in (kv.check_state, kv.load_state):
        with pytest.raises(ValueError, match=match):
            take(broken(**changes))
    assert_same_state(kv.state(), before)


def test_a_state_that_fits_is_checked_without_being_taken() -> None:
    kv = trained()
    before = kv.state()
    kv.check_state(broken())
    assert_same_state(kv.state(), before)


@pytest.mark.parametrize("at_limit", ["fail", "evict"])
def test_more_rows_than_there_may_be_are_refused_and_the_table_stays(at_limit: Any) -> None:
    large, kv = make_kv(2), make_kv(2, max_rows=5, at_limit=at_limit)
    large.insert(np.arange(10), tf.ones([10, 2]))
    kv.insert([100], tf.ones([1, 2]))
    before = kv.state()
    full = large.export(full=True)
    for take, content in ((kv.load_state, {**full}), (kv.import_, full)):
        with pytest.raises(ValueError, match="table 't': there would be 10 rows, and max_rows is 5"):
            take(content)
    with pytest.raises(tf.errors.InvalidArgumentError, match="there would be 10 rows"):
        tf.function(lambda: kv.load_state(full))()
    assert_same_state(kv.state(), before)


@settings(max_examples=60)
@given(
    held=st.sets(st.integers(0, 9), max_size=5),
    given_=st.lists(st.integers(0, 9), max_size=7),
    deleted=st.lists(st.integers(0, 9), max_size=4),
    full=st.booleans(),
)
def test_an_import_is_refused_just_where_it_would_leave_too_many_rows(
    held: set[int], given_: list[int], deleted: list[int], full: bool
) -> None:
    kv = make_kv(2, max_rows=5)
    kv.insert(int64(*held), tf.ones([len(held), 2]))
    before, count = kv.state(), len(given_)
    numbers = tf.ones([count], tf.int64)
    parts = {"keys": int64(*given_), "counts": numbers, "times": numbers, "deleted": int64(*deleted)}
    columns = {name: tf.ones([count, 2]) for name in ("rows", "slot_accumulator")}
    waiting = {f"candidate_{name}": int64() for name in ("keys", "counts", "times")}
    content = {**parts, **columns, **waiting, "counters": int64(0, 0, 0, 0, 0), "full": tf.constant(full)}
    expected = set(given_) | (set() if full else held - set(deleted))
    if len(expected) <= 5:
        kv.import_(content)
        assert kv.keys().numpy().tolist() == sorted(expected)
    else:
        with pytest.raises(ValueError, match=f"there would be {len(expected)} rows, and max_rows is 5"):
            kv.import_(content)
        assert_same_state(kv.state(), before)


@pytest.mark.parametrize("name", ["keys", "candidate_keys", "deleted"])
@pytest.mark.parametrize("key", [2**40, 2**31, -(2**31) - 1])
def test_keys_that_are_too_large_for_the_dtype_are_refused_and_the_table_stays(name: str, key: int) -> None:
    kv = make_kv(2, key_dtype=tf.int32)
    kv.insert(tf.constant([7], tf.int32), tf.ones([1, 2]))
    before = kv.state()
    content = {"full": tf.constant(False), "deleted": int64(1), **broken()}
    changed = int64(5, key) if name == "keys" else int64(key)
    with pytest.raises(ValueError, match=f"table 't': {name} has a number that cannot be: {key}"):
        kv.import_({**content, name: changed})
    assert_same_state(kv.state(), before)
    kv.import_({**content, name: int64(5, -(2**31)) if name == "keys" else int64(2**31 - 1)})


@pytest.mark.parametrize("changes", [{"rows": tf.zeros([2, 3])}, {"counts": int64(1)}, {"keys": int64(1, 2, 3)}])
def test_lengths_that_only_show_while_running_are_refused_too(changes: dict[str, Any]) -> None:
    kv, state = make_kv(2), broken(**changes)
    unknown = {name: tf.TensorSpec([None] * value.shape.rank, value.dtype) for name, value in state.items()}
    load = tf.function(lambda state: kv.load_state(state), input_signature=[unknown])
    with pytest.raises(tf.errors.InvalidArgumentError, match="must be"):
        load(state)
    assert kv.size() == 0


ACTIONS = st.one_of(
    st.tuples(st.just("train"), st.lists(st.integers(-3, 6), max_size=5)),
    st.tuples(st.just("insert"), st.lists(st.integers(-3, 6), max_size=3)),
    st.tuples(st.just("delete"), st.lists(st.integers(-3, 6), max_size=3)),
    st.tuples(st.just("evict"), st.integers(0, 6)),
    st.tuples(st.just("clear"), st.just(0)),
    st.tuples(st.sampled_from(["commit", "commit", "commit", "abort"]), st.booleans()),
)


@settings(max_examples=120)
@given(actions=st.lists(ACTIONS, max_size=16), admit=st.sampled_from([None, 2]), inside=st.booleans())
def test_exports_one_after_the_other_rebuild_the_table(
    actions: list[tuple[str, Any]], admit: int | None, inside: bool
) -> None:
    """Whatever was exported and lost in between: a replica that takes over what was committed is the same."""
    kv, replica = make_kv(2, admit_count=admit), make_kv(2, admit_count=admit, shards=1)
    fresh = True
    for number, (action, given_) in enumerate([*actions, ("commit", False)]):
        if action == "train":
            train(kv, given_, np.full((len(given_), 2), number + 1, np.float32), time=number * 1_000_000)
        elif action == "insert":
            kv.insert(given_, np.full((len(given_), 2), number, np.float32))
        elif action == "delete":
            kv.delete(given_)
        elif action == "evict":
            kv.evict(max_rows=given_)
        elif action == "clear":
            kv.clear()
            fresh = True
        else:
            exported = kv.export(full=fresh or given_)
            if inside:  # what changes while an export is on its way belongs to the next one
                train(kv, [1, 2], np.ones((2, 2), np.float32), time=number * 1_000_000)
            if action == "abort":
                kv.abort_export()
                continue
            kv.commit_export()
            fresh = False
            replica.import_(exported)
    if inside:
        replica.import_(kv.export())
        kv.commit_export()
    assert_same_state(replica.state(), kv.state())


def test_an_export_of_changes_has_changed_rows_and_deleted_keys() -> None:
    kv = make_kv(2)
    kv.insert(np.arange(100), np.ones((100, 2), np.float32))
    full = kv.export(full=True)
    assert (len(full["keys"]), bool(full["full"])) == (100, True)
    kv.commit_export()
    kv.insert([7, 200], np.ones((2, 2), np.float32))
    kv.delete([3, 400, 2])
    changes = kv.export()
    assert changes["keys"].numpy().tolist() == [7, 200]
    assert changes["deleted"].numpy().tolist() == [2, 3]
    assert not changes["full"]
    kv.commit_export()
    assert len(kv.export()["keys"]) == 0


@pytest.mark.parametrize("what", ["whole", "changes"])
def test_who_reads_while_an_export_is_taken_over_sees_all_of_it(what: str) -> None:
    source, replica = make_kv(8), make_kv(8)
    source.insert(np.arange(20_000), np.ones((20_000, 8), np.float32))
    whole = source.export(full=True)
    source.commit_export()
    replica.import_(whole)
    # A key that was deleted and came back is in both lists.
    source.delete(int64(5))
    source.insert(int64(5), tf.ones([1, 8]))
    changes = source.export()
    assert (changes["keys"].numpy().tolist(), changes["deleted"].numpy().tolist()) == ([5], [5])
    exported = {"whole": whole, "changes": changes}[what]
    ended, seen = threading.Event(), []

    @tf.function
    def missing(keys: tf.Tensor) -> tf.Tensor:
        found = tf.constant(0)
        for _ in tf.range(200):
            found += tf.cast(tf.reduce_any(replica.gather(keys) == 0), tf.int32)
        return found

    def read() -> None:
        while not ended.is_set():
            seen.append(int(missing(int64(5, 19_999))))

    assert missing(int64(5, 19_999)) == 0
    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    limit, taken = time.monotonic() + 60, 0
    try:
        while (len(seen) < 500 or taken < 300) and time.monotonic() < limit:
            replica.import_(exported)
            taken += 1
    finally:
        ended.set()
        for reader in readers:
            reader.join(60)
    assert len(seen) >= 500
    assert not any(seen)


def test_one_export_at_a_time(tmp_path: Path) -> None:
    kv = make_kv(2)
    kv.export(full=True)
    checkpoint = tf.train.Checkpoint(users=kv)
    for another in (kv.export, kv.state, lambda: checkpoint.write(str(tmp_path / "ckpt"))):
        with pytest.raises(
            tf.errors.FailedPreconditionError,
            match="table 't': the last snapshot is neither committed nor aborted: call commit_export or abort_export",
        ):
            another()
    kv.abort_export()
    checkpoint.write(str(tmp_path / "ckpt"))
    kv.state()


def test_after_a_clear_only_a_full_export_will_do() -> None:
    kv = trained()
    kv.clear()
    with pytest.raises(
        tf.errors.FailedPreconditionError, match=r"table 't': .* only a full export will do: export\(full"
    ):
        kv.export()
    kv.export(full=True)
    kv.commit_export()
    kv.export()


def test_a_checkpoint_of_tensorflow_holds_all_of_it(tmp_path: Path) -> None:
    one, two = trained(), make_kv(2, admit_count=2)
    path = tf.train.Checkpoint(users=one, step=tf.Variable(3)).save(str(tmp_path / "ckpt"))
    saved = one.state()
    train(one, [1], np.ones((1, 2), np.float32))
    step = tf.Variable(0)
    tf.train.Checkpoint(users=two, step=step).restore(path).assert_consumed()
    assert_same_state(two.state(), saved)
    assert step == 3
    tf.train.Checkpoint(users=one).restore(path).expect_partial()
    assert_same_state(one.state(), saved)


def test_a_checkpoint_of_another_width_is_refused(tmp_path: Path) -> None:
    path = tf.train.Checkpoint(users=trained()).save(str(tmp_path / "ckpt"))
    with pytest.raises(ValueError, match=r"rows must be float32 \(\d+, 3\), not float32 \(\d+, 2\)"):
        tf.train.Checkpoint(users=make_kv(3)).restore(path)


def test_a_checkpoint_managed_while_training_goes_on_from_where_it_was(tmp_path: Path) -> None:
    kv = trained()
    manager = tf.train.CheckpointManager(tf.train.Checkpoint(model=tf.Module(), users=kv), str(tmp_path), max_to_keep=2)
    for _ in range(3):
        train(kv, [1, 2], np.ones((2, 2), np.float32))
        manager.save()
    last = kv.state()
    kv.clear()
    tf.train.Checkpoint(users=kv).restore(manager.latest_checkpoint).expect_partial()
    assert_same_state(kv.state(), last)
