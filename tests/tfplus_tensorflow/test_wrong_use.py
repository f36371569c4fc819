"""What is wrong is said clearly, and while a graph is built where that can be."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tfplus_tensorflow_support import int64, make_kv

from penrose_tfplus_tensorflow import KvVariable, embedding_lookup, forget_kv_variables, get_kv_variable


@pytest.fixture(autouse=True)
def no_names() -> Iterator[None]:
    yield
    forget_kv_variables()


def slices(keys: Any, values: Any) -> tf.IndexedSlices:
    return tf.IndexedSlices(tf.convert_to_tensor(values), tf.convert_to_tensor(keys))


NARROW = tf.constant([1], tf.int32)
WHILE_BUILDING: list[tuple[Callable[[KvVariable], Any], str]] = [
    (lambda kv: kv.gather(NARROW), "keys of table 't' must be int64, not int32"),
    (lambda kv: kv.gather(tf.constant([1.5])), "keys of table 't' must be int64, not float32"),
    (lambda kv: kv.gather(["a"]), "keys of table 't' must be int64, not string"),
    (lambda kv: kv.gather(tf.ragged.constant([[1]], dtype=tf.int64)), "look RaggedTensors up with embedding_lookup"),
    (lambda kv: kv.gather(int64(1), unseen="random"), "unseen must be zeros, first or error, not 'random'"),
    (lambda kv: embedding_lookup(kv, NARROW, train=True), "keys of table 't' must be int64, not int32"),
    (lambda kv: kv.insert(int64(1), tf.ones([1, 4])), r"must be float32 \[n, 3\], not float32 \(1, 4\)"),
    (lambda kv: kv.insert(int64(1), tf.ones([3])), r"rows of table 't' must be float32 \[n, 3\], not float32 \(3,\)"),
    (lambda kv: kv.scatter_add(int64(1), tf.ones([1, 3], tf.float64)), "must be float32 .*, not float64"),
    (lambda kv: kv.scatter_max(NARROW, tf.ones([1, 3])), "keys of table 't' must be int64, not int32"),
    (lambda kv: kv.apply_gradients(tf.ones([1, 3])), "table 't' takes tf.IndexedSlices, as tape.gradient"),
    (lambda kv: kv.apply_gradients(None), "table 't' takes tf.IndexedSlices, .* not None"),
    (lambda kv: kv.apply_gradients(slices(NARROW, tf.ones([1, 3]))), "keys of table 't' must be int64, not int32"),
    (lambda kv: kv.apply_gradients(slices(int64(1), tf.ones([1, 2]))), r"gradients of table 't' must be float32 "),
    (
        lambda kv: kv.apply_gradients(slices(int64(1), tf.ones([1, 3])), learning_rate=-1.0),
        "table 't': learning_rate must be a number from",
    ),
    (lambda kv: kv.apply_gradients(slices(int64(1), tf.ones([1, 3])), time=1.5), "time must be a number"),
    (lambda kv: kv.apply_gradients(slices(int64(1), tf.ones([1, 3])), time=int64(1)), "time must be one number"),
    (lambda kv: kv.evict(before=-1), "before must not be negative, nor too large: -1"),
    (lambda kv: kv.evict(before=np.int64(-1)), "before must not be negative, nor too large: .*-1"),
    (lambda kv: kv.evict(max_rows=2**70), "max_rows must be a number"),
    (lambda kv: kv.evict(min_norm=float("nan")), "min_norm must not be negative"),
    (lambda kv: kv.counts(NARROW), "keys of table 't' must be int64, not int32"),
    (lambda kv: kv.delete(NARROW), "keys of table 't' must be int64, not int32"),
]  # fmt: skip


@pytest.mark.parametrize("case", WHILE_BUILDING, ids=range(len(WHILE_BUILDING)))
def test_it_is_refused_eagerly_and_while_a_graph_is_built(case: tuple[Callable[[KvVariable], Any], str]) -> None:
    wrong, match = case
    kv = make_kv()
    with pytest.raises(ValueError, match=match):
        wrong(kv)
    with pytest.raises(ValueError, match=match):
        tf.function(lambda: wrong(kv)).get_concrete_function()
    assert kv.size() == 0


@pytest.mark.parametrize("key", [2**31, -(2**31) - 1, 2**62])
def test_numbers_that_an_int32_cannot_be_are_refused(key: int) -> None:
    kv = make_kv(2, key_dtype=tf.int32)
    for keys in ([1, key], (key,), key):
        with pytest.raises(ValueError, match=f"keys of table 't' must fit int32, and one of .*{key}.* does not"):
            kv.gather(keys)
    kv.insert([2**31 - 1, -(2**31)], tf.ones([2, 2]))
    assert kv.keys().numpy().tolist() == [-(2**31), 2**31 - 1]


def test_a_graph_of_a_session_needs_names_and_has_nothing_to_copy() -> None:
    with tf.Graph().as_default():
        with pytest.raises(ValueError, match="table '': in a graph it needs a name"):
            KvVariable("", 2)
        kv = make_kv(2)
        for wrong in (kv.frozen, lambda: copy.deepcopy(kv)):
            with pytest.raises(ValueError, match=r"table 't' can be (frozen|copied) eagerly only"):
                wrong()


def test_lengths_that_do_not_fit_are_refused_while_a_graph_is_built_and_eagerly() -> None:
    kv = make_kv()
    for wrong in (
        lambda: kv.insert(int64(1, 2), tf.ones([3, 3])),
        lambda: kv.insert(tf.constant([[1]], tf.int64), tf.ones([1, 3])),
        lambda: kv.apply_gradients(slices(int64(1, 2), tf.ones([1, 3]))),
    ):
        with pytest.raises(ValueError, match=r"must be (equal|rank)|Shapes must be"):
            tf.function(wrong).get_concrete_function()
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"must be \["):
            wrong()
    assert kv.size() == 0


def test_widths_that_only_show_while_running_are_refused_too() -> None:
    kv = make_kv()
    insert = tf.function(
        lambda keys, rows: kv.insert(keys, rows),
        input_signature=[tf.TensorSpec([None], tf.int64), tf.TensorSpec(None, tf.float32)],
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"rows must be \[1, 3\], not \[1,2\]"):
        insert(int64(1), tf.ones([1, 2]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="learning_rate must be a number from 0 "):
        kv.apply_gradients(slices(int64(1), tf.ones([1, 3])), learning_rate=tf.constant(float("nan")))
    assert kv.size() == 0


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"width": 0}, "table 't': width must be from 1 to 1024, not 0"),
        ({"width": 2.5}, "table 't': 'float' object cannot be interpreted as an integer"),
        ({"optimizer": "adamm"}, "table 't': there is no optimizer 'adamm'; there are sgd, "),
        ({"optimizer_parameters": {"lr": 1}}, "adagrad has no parameter 'lr'; its parameters: learning_rate, "),
        ({"initializer": "ones"}, "there is no initializer 'ones'"),
        ({"key_dtype": tf.uint8}, "table 't': key_dtype must be int64 or int32, not uint8"),
        ({"key_dtype": "keys"}, "table 't': "),
        ({"admit_count": 2, "admit_probability": 0.5}, "admit_count or admit_probability, not both"),
        ({"admission": 2}, "table 't': there is no option 'admission'; there are optimizer, "),
        ({"shards": 3}, "table 't': shards must be a power of two"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        KvVariable("t", **{"width": 2, **options})


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
def test_keys_that_are_unknown_in_inference_are_an_error_where_they_should_be(graph: bool) -> None:
    kv = make_kv()
    kv.gather(int64(1, 2), train=True)
    gather = functools.partial(kv.gather, unseen="error")
    gather = tf.function(gather) if graph else gather
    assert (gather(int64(2, 1)) == kv.gather(int64(2, 1))).numpy().all()
    with pytest.raises(tf.errors.NotFoundError, match="2 of 4 keys have no row; the first of them is 7"):
        gather(int64(1, 7, 2, -8))


def test_a_table_at_its_limit_says_so() -> None:
    kv = make_kv(max_rows=3)
    kv.gather(int64(1, 2), train=True)
    with pytest.raises(tf.errors.ResourceExhaustedError, match="the table holds 2 rows and may hold 3"):
        tf.function(lambda: kv.gather(int64(3, 4), train=True))()
    with pytest.raises(tf.errors.ResourceExhaustedError, match="2 keys of this batch would be added"):
        kv.insert(int64(3, 4), tf.ones([2, 3]))
    assert kv.keys().numpy().tolist() == [1, 2]


def test_one_name_is_one_variable_in_a_process_and_in_functions() -> None:
    one = get_kv_variable("users", 4, optimizer="adam", threads=1)
    assert get_kv_variable("users", 4, optimizer="adam", threads=1) is one
    assert tf.function(lambda: get_kv_variable("users", 4, optimizer="adam", threads=1).size())() == 0
    assert get_kv_variable("items", 4, threads=1) is not one
    assert get_kv_variable("users", 4, optimizer="adam", initializer="zeros", seed=0) is one


@pytest.mark.parametrize(
    ("width", "options"), [(5, {}), (4, {"key_dtype": tf.int32}), (4, {"optimizer": "sgd"}), (4, {"seed": 1})]
)
def test_a_name_used_twice_names_both(width: int, options: dict[str, Any]) -> None:
    get_kv_variable("users", 4)
    with pytest.raises(
        ValueError, match=r"there is KvVariable\('users', .* already, and what is asked for is KvVariable"
    ):
        tf.function(lambda: get_kv_variable("users", width, **options).size()).get_concrete_function()
    forget_kv_variables()
    assert get_kv_variable("users", width, **options).width == width
