"""What a variable reads, writes and counts, eagerly and in graphs."""

from __future__ import annotations

import copy
import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings, strategies as st
from tfplus_tensorflow_support import FIRST, assert_same_state, int64, make_kv, train

from penrose_tfplus import Table
from penrose_tfplus_tensorflow import KvVariable

DAY = 86_400_000_000
EXTREME = [0, -1, 1, 2**63 - 1, -(2**63), 7]


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return tf.function(function, reduce_retracing=True)


@pytest.fixture(params=["eager", "graph"])
def run(request: pytest.FixtureRequest) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A way to run a function: as it is, or compiled."""
    return compiled if request.param == "graph" else lambda function: function


def test_keys_without_a_row_read_zeros_or_their_first_value_and_nothing_changes(run: Any) -> None:
    kv = make_kv()
    zeros, first = run(lambda keys: (kv.gather(keys), kv.gather(keys, unseen="first")))(int64(1, 2))
    assert (zeros.numpy() == 0).all()
    assert (first.numpy() == FIRST).all()
    assert kv.size() == 0
    assert kv.counters()["lookups"] == 0


@pytest.mark.parametrize("shape", [(), (6,), (0,), (2, 3), (3, 0, 2), (1, 2, 3)])
def test_keys_of_any_shape_give_a_row_each(run: Any, shape: tuple[int, ...]) -> None:
    kv = make_kv()
    keys = tf.reshape(tf.range(np.prod(shape, dtype=np.int64)), shape)
    rows = run(lambda keys: kv.gather(keys, train=True))(keys)
    assert rows.shape == (*shape, 3)
    assert (rows.numpy() == FIRST).all()
    assert kv.counts(keys).numpy().tolist() == np.ones(shape, int).tolist()
    assert kv.contains(keys).numpy().all()
    assert kv.slots(keys)["accumulator"].shape == (*shape, 3)


def test_every_int64_is_a_key_of_its_own() -> None:
    kv, keys = make_kv(1), int64(*EXTREME)
    kv.insert(keys, np.arange(len(EXTREME), dtype=np.float32)[:, None])
    assert kv.gather(keys).numpy().ravel().tolist() == list(range(len(EXTREME)))
    assert kv.keys().numpy().tolist() == sorted(EXTREME)


@pytest.mark.parametrize(
    "keys", [5, [5], (5, 6), [[5], [6]], [], np.array([5]), np.int64(5), tf.Variable([5], dtype=tf.int64)], ids=range(8)
)
def test_keys_are_numbers_arrays_tensors_or_variables(run: Any, keys: Any) -> None:
    kv = make_kv()
    rows = run(lambda: kv.gather(keys, train=True))()
    assert rows.shape == (*np.shape(keys), 3)
    assert kv.size() == np.size(keys)


def test_int32_keys_are_the_same_numbers() -> None:
    kv = make_kv(1, key_dtype=tf.int32)
    keys = tf.constant([-1, 2**31 - 1, -(2**31), 5], tf.int32)
    kv.insert(keys, [[1.0], [2.0], [3.0], [4.0]])
    train(kv, keys[:1], np.ones((1, 1), np.float32), learning_rate=1.0)
    assert kv.keys().numpy().tolist() == [-(2**31), -1, 5, 2**31 - 1]
    assert kv.gather(keys).numpy().ravel().tolist() == [0.0, 2.0, 3.0, 4.0]


SCATTERS = {
    "insert": lambda old, new: new,
    "scatter_update": lambda old, new: new,
    "scatter_add": np.add,
    "scatter_sub": np.subtract,
    "scatter_mul": np.multiply,
    "scatter_div": np.divide,
    "scatter_min": np.minimum,
    "scatter_max": np.maximum,
}


@pytest.mark.parametrize("name", SCATTERS)
def test_rows_are_written_one_after_the_other_and_made_first(run: Any, name: str) -> None:
    kv, random = make_kv(2), np.random.default_rng(1)
    keys = np.array([4, 9, 4, -4], np.int64)
    rows = random.uniform(0.5, 2.0, (4, 2)).astype(np.float32)
    run(getattr(kv, name))(tf.constant(keys), tf.constant(rows))
    expected: dict[int, Any] = {}
    for key, row in zip(keys.tolist(), rows, strict=True):
        expected[key] = SCATTERS[name](expected.get(key, np.full(2, FIRST, np.float32)), row)
    assert kv.size() == 3
    for key, row in expected.items():
        assert kv.gather(int64(key)).numpy().tolist() == [row.tolist()]


def test_two_lookups_of_one_variable_add_up(run: Any) -> None:
    kv = make_kv(2)

    def gradient(first: tf.Tensor, second: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            loss = 2 * tf.reduce_sum(kv.gather(first, train=True)) + 3 * tf.reduce_sum(kv.gather(second, train=True))
        return tape.gradient(loss, kv)

    found = run(gradient)(int64(1, 2), tf.constant([[2], [7]], tf.int64))
    assert isinstance(found, tf.IndexedSlices)
    sums = dict.fromkeys((1, 2, 7), 0.0)
    for key, row in zip(found.indices.numpy().tolist(), found.values.numpy(), strict=True):
        assert row[0] == row[1]
        sums[key] += row[0]
    assert sums == {1: 2.0, 2: 5.0, 7: 3.0}


def test_gradients_pass_through_the_border_of_a_function() -> None:
    kv = make_kv(2)
    inner = tf.function(lambda keys: tf.reduce_sum(kv.gather(keys, train=True) ** 2))
    with tf.GradientTape() as tape:
        loss = inner(int64(1, 2)) + inner(int64(2, 3))
    found = tape.gradient(loss, kv)
    assert sorted(found.indices.numpy().tolist()) == [1, 2, 2, 3]
    assert (found.values.numpy() == 2 * FIRST).all()


def test_symbolic_gradients_are_slices_too() -> None:
    kv = make_kv(2)

    @tf.function
    def gradients(keys: tf.Tensor) -> Any:
        loss = tf.reduce_sum(tf.square(kv.gather(keys)[:, :1]))
        return tf.gradients(loss, kv)[0]

    kv.insert([1, 2], [[1.0, 9.0], [2.0, 9.0]])
    found = gradients(int64(2, 1))
    assert found.indices.numpy().tolist() == [2, 1]
    assert found.values.numpy().tolist() == [[4.0, 0.0], [2.0, 0.0]]


def test_rows_that_are_gathered_again_have_gradients_of_their_keys() -> None:
    kv = make_kv(2)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.gather(kv.gather(int64(10, 20, 30), train=True), [2, 2, 0]))
    found = tape.gradient(loss, kv)
    assert found.indices.numpy().tolist() == [30, 30, 10]
    assert found.values.shape == (3, 2)


def test_a_variable_is_an_argument_of_a_function_and_watched_by_the_tape() -> None:
    kv = make_kv(2)
    rows = tf.function(lambda kv, keys: kv.gather(keys, unseen="first"))(kv, int64(1))
    assert rows.numpy().tolist() == [[FIRST, FIRST]]
    with tf.GradientTape() as tape:
        kv.gather(int64(1))
    assert [each is kv for each in tape.watched_variables()] == [True]


@pytest.mark.parametrize("keys", [np.array([[1, 2], [2, 3]]), np.zeros([0], np.int64), np.array(4)], ids=str)
def test_keys_of_unknown_rank_train_too(keys: np.ndarray) -> None:
    kv = make_kv(2)
    step = tf.function(train, input_signature=None).get_concrete_function(
        kv, tf.TensorSpec(None, tf.int64), tf.TensorSpec(None)
    )
    step(tf.constant(keys), tf.ones([*keys.shape, 2]))
    assert kv.keys().numpy().tolist() == sorted({*keys.ravel().tolist()})
    assert kv.counters()["steps"] == 1


def test_a_deep_copy_is_another_table_with_the_same_in_it() -> None:
    kv = make_kv(2, key_dtype=tf.int32, optimizer="adam", admit_count=2, threads=2)
    kv.insert([1], [[1.0, 2.0]])
    other = copy.deepcopy(kv)
    assert (other.name, other.identity, other.options.threads) == (kv.name, kv.identity, 2)
    assert_same_state(other.state(), kv.state())
    other.insert([1, 2], tf.zeros([2, 2]))
    assert kv.gather([1, 2]).numpy().tolist() == [[1, 2], [0, 0]]


def test_dynamic_shapes_need_no_new_trace() -> None:
    kv = make_kv(2)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64)])
    def step(keys: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            rows = kv.gather(keys, train=True)
            loss = tf.reduce_sum(rows)
        assert rows.shape.as_list() == [None, 2]
        kv.apply_gradients(tape.gradient(loss, kv))
        return loss

    for count in (1, 5, 0, 9):
        step(tf.range(count, dtype=tf.int64))
    assert step.experimental_get_tracing_count() == 1
    assert kv.size() == 9
    assert kv.counters()["steps"] == 4


def test_a_function_does_everything_in_the_order_it_says() -> None:
    kv = make_kv(1)

    @tf.function
    def steps(key: tf.Tensor) -> Any:
        before = kv.size()
        kv.insert(key, [[1.0]])
        seen = kv.gather(key)
        kv.scatter_add(key, [[4.0]])
        kv.scatter_mul(key, [[2.0]])
        after = kv.gather(key)
        kv.delete(key)
        return before, seen, after, kv.size()

    for _ in range(20):
        before, seen, after, left = (each.numpy().ravel().tolist() for each in steps(int64(3)))
        assert (before, seen, after, left) == ([0], [1.0], [10.0], [0])


def test_a_loop_over_a_dataset_inside_a_function_trains_batch_by_batch() -> None:
    def looped(kv: KvVariable, batches: tf.data.Dataset) -> None:
        for keys in batches:
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(kv.gather(keys, train=True) ** 2)
            kv.apply_gradients(tape.gradient(loss, kv), time=tf.reduce_max(keys) * DAY)

    data = tf.data.Dataset.range(50).map(lambda n: n % 13).batch(7)
    eager, graph = make_kv(2), make_kv(2)
    looped(eager, data)
    tf.function(looped)(graph, data)
    keys = tf.range(13, dtype=tf.int64)
    assert (eager.gather(keys).numpy() == graph.gather(keys).numpy()).all()
    assert (eager.gather(keys).numpy() < FIRST).all()
    assert graph.counters()["steps"] == 8
    assert graph.times(int64(0)) == 12 * DAY


@settings(max_examples=60)
@given(data=st.data())
def test_a_stream_ends_as_in_the_table_of_numpy(data: st.DataObject) -> None:
    optimizer = data.draw(st.sampled_from(["sgd", "adagrad", "adam", "ftrl"]))
    options: dict[str, Any] = {
        "initializer": "normal",
        "seed": data.draw(st.integers(0, 2**64 - 1)),
        "admit_count": data.draw(st.sampled_from([None, 1, 2])),
        "max_rows": data.draw(st.sampled_from([None, 6])),
        "at_limit": "evict",
        "threads": 1,
    }
    kv, table = KvVariable("t", 2, optimizer=optimizer, **options), Table(2, optimizer=optimizer, **options)
    for seconds, chosen in enumerate(data.draw(st.lists(st.lists(st.integers(-4, 4), max_size=6), max_size=6))):
        keys = np.array(chosen, np.int64)
        gradients = np.linspace(-1, 2, 2 * len(keys), dtype=np.float32).reshape(-1, 2)
        train(kv, keys, gradients, time=seconds * 1_000_000)
        table.lookup(keys, train=True)
        table.apply(keys, gradients, time=seconds * 1_000_000)
    all_keys = np.arange(-4, 5)
    assert kv.keys().numpy().tolist() == table.keys().tolist()
    assert (kv.gather(all_keys).numpy() == table.lookup(all_keys)).all()
    assert (kv.counts(all_keys).numpy() == table.counts(all_keys)).all()
    assert (kv.times(all_keys).numpy() == table.times(all_keys)).all()
    for slot, values in table.slots(all_keys).items():
        assert (kv.slots(all_keys)[slot].numpy() == values).all()
    assert {name: int(value) for name, value in kv.counters().items()} == table.counters
    assert kv.candidates() == table.candidates


def test_times_are_those_of_the_steps_and_never_go_back(run: Any) -> None:
    kv = make_kv(1)
    step = run(lambda key, time: train(kv, key, tf.ones([1, 1]), time=time))
    step(int64(1), tf.constant(5 * DAY, tf.int64))
    step(int64(2), tf.constant(3 * DAY, tf.int64))
    assert kv.times(int64(1, 2, 3)).numpy().tolist() == [5 * DAY, 5 * DAY, -1]


def test_rows_are_given_up_by_age_count_norm_and_number(run: Any) -> None:
    kv = make_kv(1, optimizer="sgd")
    for key in range(1, 7):
        train(kv, [key] * key, np.zeros((key, 1), np.float32), time=key * DAY)
    kv.insert([6], [[0.01]])
    assert run(lambda: kv.evict(before=2 * DAY))() == 1
    assert run(lambda bound: kv.evict(min_count=bound))(tf.constant(3)) == 1
    assert run(lambda: kv.evict(min_norm=0.1))() == 1
    assert run(lambda: kv.evict())() == 0
    assert run(lambda: kv.evict(max_rows=2))() == 1
    assert kv.keys().numpy().tolist() == [4, 5]
    assert run(lambda: kv.delete(int64(5, 77, 5)))() == 1
    run(lambda: kv.clear())()
    assert kv.size() == 0
    assert kv.counters()["steps"] == 0


def test_admission_by_count_and_by_probability() -> None:
    counted = make_kv(1, admit_count=3)
    for _ in range(2):
        train(counted, [1], np.ones((1, 1), np.float32))
    assert (counted.size(), counted.candidates(), counted.counts([1])) == (0, 1, 2)
    assert counted.gather([1], train=True).numpy() == FIRST
    assert (counted.size(), counted.candidates()) == (1, 0)
    drawn = make_kv(1, admit_probability=0.3)
    drawn.gather(np.arange(1000), train=True)
    assert 200 < drawn.size() < 400


def test_tables_that_nobody_holds_give_their_memory_back() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def one() -> None:
        make_kv(64, optimizer="sgd").gather(np.arange(100_000), train=True)  # 26 MB of rows
        gc.collect()

    one()
    before = resident()
    for _ in range(12):
        one()
    assert resident() - before < 120e6


def test_variables_of_one_name_have_tables_of_their_own() -> None:
    one, two = make_kv(1, name="same"), make_kv(2, name="same")
    one.insert([1], [[1.0]])
    assert (one.size(), two.size()) == (1, 0)


def test_a_graph_of_a_session_shares_its_tables_by_name() -> None:
    with tf.Graph().as_default():
        one, two = make_kv(1, name="same"), make_kv(1, name="same")
        with tf.control_dependencies([one.insert(int64(1), tf.ones([1, 1]))]):
            read = two.gather(int64(1))
        with pytest.raises(
            ValueError, match=r"this graph has a table 'same' with .*width=1.* this one would be .*width=2"
        ):
            make_kv(2, name="same")
        with tf.compat.v1.Session() as session:
            assert session.run(read).tolist() == [[1.0]]
