"""Lookups of many shapes, compared with TensorFlow's own over a dense table of the same rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings, strategies as st
from tfplus_tensorflow_support import FIRST, int64, make_kv

from penrose_tfplus_tensorflow import Embedding, embedding_lookup, safe_embedding_lookup_sparse

ROWS, WIDTH = 6, 3
DENSE = np.random.default_rng(0).standard_normal((ROWS, WIDTH)).astype(np.float32)


def filled() -> Any:
    kv = make_kv(WIDTH)
    kv.insert(np.arange(ROWS), DENSE)
    return kv


@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (2, 1, 3), (0, 2)])
def test_dense_ids_of_any_shape(shape: tuple[int, ...]) -> None:
    ids = np.random.default_rng(1).integers(0, ROWS, shape)
    assert (embedding_lookup(filled(), ids).numpy() == DENSE[ids]).all()


def test_ragged_ids_give_ragged_rows_and_train() -> None:
    kv = make_kv(2)
    ids = tf.ragged.constant([[1, 2], [], [3]], dtype=tf.int64)
    rows = embedding_lookup(kv, ids, train=True)
    assert isinstance(rows, tf.RaggedTensor)
    assert rows.shape.as_list() == [3, None, 2]
    assert rows.row_lengths().numpy().tolist() == [2, 0, 1]
    assert kv.size() == 3


def test_sparse_ids_are_for_the_lookup_that_combines() -> None:
    with pytest.raises(ValueError, match="safe_embedding_lookup_sparse"):
        embedding_lookup(filled(), tf.sparse.from_dense([[1, 2]]))


@st.composite
def sparse_ids(draw: st.DrawFn) -> tuple[tf.SparseTensor, tf.SparseTensor]:
    """Ids from -2 up, with weights from -2 to 2, in bags that may be empty, at any place of each bag."""
    outer = draw(st.lists(st.integers(1, 3), min_size=1, max_size=2))
    length = draw(st.integers(1, 4))
    shape = [*outer, length]
    taken = np.array(draw(st.lists(st.booleans(), min_size=int(np.prod(shape)), max_size=int(np.prod(shape)))))
    indices = np.argwhere(taken.reshape(shape))
    count = len(indices)
    ids = draw(st.lists(st.integers(-2, ROWS - 1), min_size=count, max_size=count))
    weights = draw(st.lists(st.sampled_from([-2.0, 0.0, 0.25, 1.0, 2.0]), min_size=count, max_size=count))
    place = tf.constant(indices.reshape(-1, len(shape)), tf.int64)
    return (
        tf.SparseTensor(place, tf.constant(ids, tf.int64), shape),
        tf.SparseTensor(place, tf.constant(weights, tf.float32), shape),
    )


@settings(max_examples=200)
@given(
    features=sparse_ids(),
    weighted=st.booleans(),
    combiner=st.sampled_from(["mean", "sum", "sqrtn"]),
    default_id=st.sampled_from([None, 0, 3]),
    max_norm=st.sampled_from([None, 0.5, 2.0]),
)
def test_sparse_ids_are_combined_as_tensorflow_does(
    features: Any, weighted: bool, combiner: Any, default_id: int | None, max_norm: float | None
) -> None:
    ids, weights = features[0], features[1] if weighted else None
    kv, dense = filled(), tf.Variable(DENSE)
    with tf.GradientTape(persistent=True) as tape:
        expected = tf.nn.safe_embedding_lookup_sparse(
            dense, ids, weights, combiner=combiner, default_id=default_id, max_norm=max_norm
        )
        found = safe_embedding_lookup_sparse(kv, ids, weights, combiner, default_id, max_norm, train=True)
        losses = tf.reduce_sum(expected**2), tf.reduce_sum(found**2)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert kv.size() == ROWS
    wanted = tf.convert_to_tensor(tape.gradient(losses[0], dense))
    slices = tape.gradient(losses[1], kv)
    np.testing.assert_allclose(
        tf.math.unsorted_segment_sum(slices.values, slices.indices, ROWS), wanted, rtol=0, atol=2e-5
    )


def test_negative_ids_and_empty_bags_add_no_keys() -> None:
    kv = make_kv(2)
    ids = tf.ragged.constant([[-1, -5], [], [7, -1]], dtype=tf.int64)
    rows = safe_embedding_lookup_sparse(kv, ids, train=True)
    assert rows.numpy()[:2].tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert kv.keys().numpy().tolist() == [7]


SIGNED = [[-(2**63), -1], [], [2**62, 3, -5]]


@pytest.mark.parametrize("combiner", ["mean", "sum", "sqrtn"])
@pytest.mark.parametrize("sparse", [False, True], ids=["ragged", "sparse"])
def test_the_layer_pools_every_signed_id(combiner: Any, sparse: bool) -> None:
    layer = Embedding(2, combiner=combiner, options={"initializer": "normal"})
    bags = tf.ragged.constant(SIGNED, dtype=tf.int64)
    found = layer(bags.to_sparse() if sparse else bags, training=True).numpy()
    assert sorted(layer.kv.keys().numpy().tolist()) == sorted(id_ for bag in SIGNED for id_ in bag)
    for row, bag in zip(found, SIGNED, strict=True):
        total = layer.kv.gather(tf.constant(bag, tf.int64)).numpy().sum(0)
        scale = {"mean": len(bag), "sum": 1, "sqrtn": len(bag) ** 0.5}[combiner] or 1
        np.testing.assert_allclose(row, total / scale, rtol=1e-5, atol=1e-7)


def test_negative_ids_are_kept_where_that_is_asked_for() -> None:
    kv = make_kv(2)
    bags = tf.ragged.constant(SIGNED, dtype=tf.int64)
    weights = bags.with_values(tf.ones_like(bags.values, tf.float32))
    for given_ in (None, weights):
        kept = safe_embedding_lookup_sparse(kv, bags, given_, "sum", train=True, negative_ids="keep")
        assert kept.numpy()[:, 0].tolist() == [2 * FIRST, 0.0, 3 * FIRST]
    assert kv.size() == 5
    assert safe_embedding_lookup_sparse(kv, bags, combiner="sum").numpy()[:, 0].tolist() == [0.0, 0.0, 2 * FIRST]


@pytest.mark.parametrize("weights", [1, 3])
@pytest.mark.parametrize("combiner", ["sum", "mean"])
def test_as_many_weights_as_ids_also_where_that_only_shows_while_running(combiner: Any, weights: int) -> None:
    kv = filled()

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 2], tf.int64), tf.TensorSpec([None], tf.int64),
            tf.TensorSpec([None, 2], tf.int64), tf.TensorSpec([None]),
        ]
    )  # fmt: skip
    def combined(places: Any, ids: Any, weight_places: Any, weights: Any) -> Any:
        sparse = tf.SparseTensor(places, ids, [1, 3]), tf.SparseTensor(weight_places, weights, [1, 3])
        return safe_embedding_lookup_sparse(kv, *sparse, combiner=combiner)

    places = np.array([[0, 0], [0, 1], [0, 2]])
    assert combined(places, [1, 2, 3], places, [1.0, 1.0, 1.0]).shape == (1, WIDTH)
    with pytest.raises(tf.errors.InvalidArgumentError, match="one weight for each id"):
        combined(places[:2], [1, 2], places[:weights], [1.0] * weights)


def test_every_occurrence_counts() -> None:
    kv = make_kv(2)
    safe_embedding_lookup_sparse(kv, tf.ragged.constant([[4, 4], [4]], dtype=tf.int64), train=True)
    assert kv.counts([4]) == 3


def test_weights_learn_too() -> None:
    kv, weights = filled(), tf.Variable([1.0, 2.0])
    with tf.GradientTape() as tape:
        bags = tf.SparseTensor([[0, 0], [0, 1]], int64(1, 2), [1, 2])
        weighted = tf.SparseTensor(bags.indices, weights.read_value(), [1, 2])
        loss = tf.reduce_sum(safe_embedding_lookup_sparse(kv, bags, weighted, "sum"))
    np.testing.assert_allclose(tape.gradient(loss, weights), DENSE[1:3].sum(1), atol=1e-6)


def test_dynamic_shapes_need_no_new_trace() -> None:
    kv = filled()
    spec = tf.SparseTensorSpec([None, None], tf.int64)
    lookup = tf.function(lambda ids: safe_embedding_lookup_sparse(kv, ids), input_signature=[spec])
    for bags in ([[1, 2], [3, -1]], [[1, 0, 1]], [[], []]):
        ids = tf.ragged.constant(bags, dtype=tf.int64, ragged_rank=1).to_sparse()
        expected = tf.nn.safe_embedding_lookup_sparse(tf.constant(DENSE), ids)
        np.testing.assert_allclose(lookup(ids), expected, atol=1e-6)
    assert lookup.experimental_get_tracing_count() == 1
    assert lookup.get_concrete_function().output_shapes.as_list() == [None, WIDTH]


BAGS = tf.SparseTensor([[0, 0]], [1], [1, 1])


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"sp_ids": tf.constant([[1]])}, "ids must be a SparseTensor or a RaggedTensor"),
        ({"sp_ids": BAGS}, "keys of table 't' must be int64, not int32"),
        ({"sp_ids": BAGS, "combiner": "max"}, "combiner must be mean, sum or sqrtn, not 'max'"),
        ({"sp_ids": BAGS, "negative_ids": "all"}, "negative_ids must be drop or keep, not 'all'"),
        ({"sp_ids": BAGS, "sp_weights": BAGS}, "weights must be float32, not int32"),
        ({"sp_ids": BAGS, "sp_weights": [1.0]}, "weights must be a SparseTensor"),
    ],
)
def test_what_cannot_be_combined_is_refused_while_the_graph_is_built(arguments: Any, match: str) -> None:
    kv = filled()
    with pytest.raises(ValueError, match=match):
        tf.function(lambda: safe_embedding_lookup_sparse(kv, **arguments)).get_concrete_function()
