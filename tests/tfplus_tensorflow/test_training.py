"""Tables trained beside dense variables, in one step, by hand and by Keras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tfplus_tensorflow_support import assert_same_state, int64, make_kv

from penrose_tfplus_tensorflow import Embedding, KvVariable, MixedOptimizer, Model, TrainsTables, kv_variables

#: Keras itself, of the versions that there are, when it saves with a NumPy that is newer.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
RATE = {"optimizer_parameters": {"learning_rate": 0.1}, "initializer": "normal", "threads": 1}
IDS = np.random.default_rng(0).integers(0, 300, (256, 3))
LABELS = (IDS.sum(1) % 2).astype(np.float32)

#: Of the rows that Keras trains.
SHAPE = tf.constant([3, 2])


def both() -> tuple[KvVariable, tf.Variable, MixedOptimizer]:
    kv = make_kv(2, optimizer="sgd", optimizer_parameters={"learning_rate": 1.0})
    return kv, tf.Variable([1.0, 2.0]), MixedOptimizer(keras.optimizers.Adam(0.1))


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
def test_one_step_trains_both_kinds(graph: bool) -> None:
    kv, dense, optimizer = both()

    def step() -> tf.Tensor:
        return optimizer.minimize(
            lambda: tf.reduce_sum(kv.gather(int64(1, 2), train=True) * dense), [dense, kv], time=7
        )

    run = tf.function(step) if graph else step
    assert run()
    np.testing.assert_allclose(kv.gather([1, 2]), [[0.5 - 1, 0.5 - 2]] * 2)
    np.testing.assert_allclose(dense, [0.9, 1.9], atol=1e-5)
    assert run()
    assert kv.counters()["steps"] == 2
    assert optimizer.dense.iterations == 2


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize(
    ("where", "bad"),
    [("table", np.nan), ("table", -np.inf), ("table", 1e30), ("dense", np.nan), ("dense", np.inf), ("slices", np.nan)],
)
def test_nothing_changes_where_a_gradient_is_not_finite(graph: bool, where: str, bad: float) -> None:
    kv, dense, optimizer = both()
    rows = tf.Variable(tf.ones([3, 2]))
    kv.gather(int64(1), train=True)
    before = kv.state()

    def step(gradients: list[Any]) -> tf.Tensor:
        return optimizer.apply(gradients, [dense, kv, rows])

    good = [
        tf.ones([2]),
        tf.IndexedSlices(tf.ones([1, 2]), int64(1)),
        tf.IndexedSlices(tf.ones([1, 2]), int64(0), SHAPE),
    ]
    wrong = tf.constant([[bad, 1.0]])
    change = {
        "table": [good[0], tf.IndexedSlices(wrong, int64(1)), good[2]],
        "dense": [wrong[0], *good[1:]],
        "slices": [*good[:2], tf.IndexedSlices(wrong, int64(0), SHAPE)],
    }[where]
    run = tf.function(step) if graph else step
    assert not run(change)
    assert_same_state(kv.state(), before)
    assert (dense.numpy() == [1, 2]).all()
    assert (rows.numpy() == 1).all()
    assert optimizer.dense.iterations == 0
    assert run(good)
    assert optimizer.dense.iterations == 1


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("dense_optimizer", [keras.optimizers.SGD, keras.optimizers.Adam])
def test_an_error_of_a_table_leaves_the_dense_variables(graph: bool, dense_optimizer: Any) -> None:
    kv, dense = make_kv(2, max_rows=1), tf.Variable([1.0, 2.0])
    kv.gather(int64(1), train=True)
    optimizer = MixedOptimizer(dense_optimizer(0.1))

    def step() -> tf.Tensor:
        return optimizer.apply([tf.ones([2]), tf.IndexedSlices(tf.ones([1, 2]), int64(2))], [dense, kv])

    run = tf.function(step) if graph else step
    for _ in range(20):
        with pytest.raises(tf.errors.ResourceExhaustedError, match="may hold 1"):
            run()
    assert dense.numpy().tolist() == [1, 2]
    assert optimizer.dense.iterations == 0


def test_variables_without_a_gradient_stay_and_some_have_to_have_one() -> None:
    kv, dense, optimizer = both()
    assert optimizer.apply([None, tf.IndexedSlices(tf.ones([1, 2]), int64(1))], [dense, kv])
    assert optimizer.apply([tf.ones([2]), None], [dense, kv])
    assert kv.counters()["steps"] == 1
    with pytest.raises(ValueError, match="no variable has a gradient"):
        optimizer.apply([None, None], [dense, kv])
    with pytest.raises(ValueError, match="argument 2 is longer"):
        optimizer.apply([None], [dense, kv])


def model_of(**compiled: Any) -> Any:
    keras.utils.set_random_seed(0)
    ids = keras.Input((3,), dtype="int64")
    rows = keras.layers.Flatten()(Embedding(4, options=RATE, name="rows")(ids))
    model = Model(ids, keras.layers.Dense(1, activation="sigmoid")(rows))
    model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy", metrics=["accuracy"], **compiled)
    return model


def test_fit_trains_tables_beside_weights() -> None:
    model = model_of()
    history = model.fit(IDS, LABELS, batch_size=50, epochs=30, verbose=0).history
    assert history["loss"][0] > 0.6
    assert history["loss"][-1] < 0.1
    assert history["accuracy"][-1] == 1
    (kv,) = kv_variables(model)
    assert kv.keys().numpy().tolist() == sorted({*IDS.ravel().tolist()})
    assert kv.counters()["steps"] == 30 * 6
    assert model.evaluate(IDS, LABELS, verbose=0)[1] == 1
    model.predict(IDS + 10_000, verbose=0)
    assert kv.size() == len({*IDS.ravel().tolist()})


def test_fit_is_the_same_eagerly_and_as_a_graph() -> None:
    graph, eager = model_of(), model_of(run_eagerly=True)
    for model in (graph, eager):
        model.fit(IDS, LABELS, batch_size=64, epochs=2, verbose=0, shuffle=False)
    for left, right in zip(graph.get_weights(), eager.get_weights(), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-6)
    (one,), (two,) = kv_variables(graph), kv_variables(eager)
    np.testing.assert_allclose(one.state()["rows"], two.state()["rows"], atol=1e-6)


def test_fit_takes_a_dataset_and_weights_of_its_rows() -> None:
    model = model_of()
    data = tf.data.Dataset.from_tensor_slices((IDS, LABELS, np.zeros(256, np.float32))).batch(32)
    assert model.fit(data, verbose=0, shuffle=False).history["loss"] == [0.0]
    assert kv_variables(model)[0].counters()["steps"] == 8


def test_fit_stops_at_a_gradient_that_is_not_finite() -> None:
    model = model_of()
    model.fit(IDS, LABELS, verbose=0)
    weights, state = model.get_weights(), kv_variables(model)[0].state()
    with pytest.raises(tf.errors.InvalidArgumentError, match="a gradient is not finite"):
        model.fit(IDS, np.full(256, np.nan, np.float32), verbose=0)
    for left, right in zip(model.get_weights(), weights, strict=True):
        assert (left == right).all()
    assert (kv_variables(model)[0].state()["rows"].numpy() == state["rows"].numpy()).all()


class Own(Model):
    """A model that has a table of its own and shares another with a layer, in a layer that is frozen."""

    def __init__(self, shared: KvVariable) -> None:
        super().__init__()
        self.mine = KvVariable("mine", 4, **RATE)
        self.layer = Embedding(4, kv=shared)
        self.frozen = Embedding(4, options=RATE, trainable=False)
        self.out = keras.layers.Dense(1)

    def call(self, ids: Any, training: bool = False) -> Any:
        rows = self.mine.gather(ids, train=training) + self.layer(ids, training=training)
        return self.out(tf.reduce_sum(rows + self.frozen(ids, training=training), 1))


def test_a_model_of_ones_own_trains_the_tables_that_are_not_frozen() -> None:
    shared = KvVariable("shared", 4, **RATE)
    model = Own(shared)
    model.compile("sgd", "mse")
    model.fit(IDS, LABELS, verbose=0)
    assert kv_variables(model) == [model.mine, shared]
    assert model.mine.size() == shared.size() == len({*IDS.ravel().tolist()})
    assert model.frozen.kv.size() == 0
    model_of()
    Own(shared)  # Keras has not changed the class in the meantime


class OnlyTables(Model):
    """Tables in a list and in a dictionary, and no weight."""

    def __init__(self) -> None:
        super().__init__()
        self.listed = [KvVariable(f"list{number}", 1, **RATE) for number in range(2)]
        self.named = {"bias": KvVariable("bias", 1, **RATE)}

    def call(self, ids: Any, training: bool = False) -> Any:
        tables = [*self.listed, self.named["bias"]]
        return tf.add_n([kv.gather(ids[:, at], train=training) for at, kv in enumerate(tables)])


def test_a_model_of_tables_alone_trains() -> None:
    model = OnlyTables()
    model.compile("sgd", "mse")
    first = model.fit(IDS, LABELS, verbose=0).history["loss"][0]
    assert model.fit(IDS, LABELS, epochs=5, verbose=0).history["loss"][-1] < first
    assert [kv.name for kv in kv_variables(model)] == ["list0", "list1", "bias"]
    assert all(kv.counters()["steps"] == 48 for kv in kv_variables(model))


class OfAnotherLayer(keras.layers.Layer):
    """A layer that knows nothing of saving tables."""

    def __init__(self) -> None:
        super().__init__()
        self.held = {"table": KvVariable("held", 1, **RATE)}
        self.scale = self.add_weight(shape=(1,), initializer="ones")

    def call(self, ids: Any, training: bool = False) -> Any:
        return tf.reduce_sum(self.held["table"].gather(ids, train=training), 1) * self.scale


class Everywhere(Own):
    """Tables in the model, in a layer of another kind, in an inner model, and in `Embedding`s."""

    def __init__(self) -> None:
        super().__init__(KvVariable("shared", 4, **RATE))
        self.again = self.layer.kv
        self.other = OfAnotherLayer()
        self.inner = OnlyTables()

    def call(self, ids: Any, training: bool = False) -> Any:
        return super().call(ids, training) + self.other(ids, training=training) + self.inner(ids, training=training)


def everywhere() -> Everywhere:
    keras.utils.set_random_seed(0)
    model = Everywhere()
    model.compile("sgd", "mse")
    model.fit(IDS, LABELS, verbose=0)
    return model


@pytest.mark.parametrize("kind", ["weights", "checkpoint"])
def test_wherever_a_model_holds_tables_they_are_saved(tmp_path: Path, kind: str) -> None:
    model, other = everywhere(), everywhere()
    other.fit(IDS + 7, LABELS, verbose=0)
    if kind == "weights":
        model.save_weights(tmp_path / "all.weights.h5")
        other.load_weights(tmp_path / "all.weights.h5")
    else:
        path = tf.train.Checkpoint(model=model).save(str(tmp_path / "ckpt"))
        tf.train.Checkpoint(model=other).restore(path).expect_partial()
    saved, restored = kv_variables(model), kv_variables(other)
    assert [kv.name for kv in restored] == ["mine", "shared", "held", "list0", "list1", "bias"]
    for one, two in zip(saved, restored, strict=True):
        assert one.size() > 0
        assert_same_state(two.state(), one.state())
    for one, two in zip(model.get_weights(), other.get_weights(), strict=True):
        assert (one == two).all()


def test_tables_that_a_model_has_not_are_an_error_and_so_are_those_that_were_not_saved(tmp_path: Path) -> None:
    one, two = OnlyTables(), OnlyTables()
    two.listed.pop()
    for model, other, match in ((one, two, "expected 0 variables"), (two, one, "table 'bias' .* it has no ")):
        path = tmp_path / f"{len(model.listed)}.weights.h5"
        for each in (model, other):
            each.build((None, 3))
        model.save_weights(path)
        with pytest.raises(ValueError, match=match):
            other.load_weights(path)


def test_the_training_goes_with_any_class_of_models() -> None:
    class Mixed(TrainsTables, keras.Sequential):
        """A sequence of layers."""

    model = Mixed(
        [keras.Input((3,), dtype="int64"), Embedding(4, options=RATE), keras.layers.Flatten(), keras.layers.Dense(1)]
    )
    model.compile("sgd", "mse")
    model.fit(IDS, LABELS, verbose=0)
    assert kv_variables(model)[0].counters()["steps"] == 8


def test_weights_of_a_model_are_saved_with_its_tables(tmp_path: Path) -> None:
    model, other = model_of(), model_of()
    for each in (model, other):
        each.fit(IDS, LABELS, epochs=2, verbose=0)
    model.save_weights(tmp_path / "all.weights.h5")
    other.load_weights(tmp_path / "all.weights.h5")
    assert_same_state(kv_variables(other)[0].state(), kv_variables(model)[0].state())
    assert (other.predict(IDS, verbose=0) == model.predict(IDS, verbose=0)).all()


def test_a_saved_model_comes_back_with_its_tables_and_goes_on(tmp_path: Path) -> None:
    model = model_of()
    model.fit(IDS, LABELS, epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    other = keras.models.load_model(tmp_path / "model.keras")
    (kv,), (loaded,) = kv_variables(model), kv_variables(other)
    assert loaded.identity == kv.identity
    assert_same_state(loaded.state(), kv.state())
    for each in (model, other):
        each.fit(IDS, LABELS, verbose=0, shuffle=False)
    np.testing.assert_allclose(loaded.state()["rows"], kv.state()["rows"], atol=1e-6)


def test_a_checkpoint_of_a_model_has_its_tables(tmp_path: Path) -> None:
    model, other = model_of(), model_of()
    model.fit(IDS, LABELS, verbose=0)
    path = tf.train.Checkpoint(model=model).save(str(tmp_path / "ckpt"))
    tf.train.Checkpoint(model=other).restore(path).expect_partial()
    assert_same_state(kv_variables(other)[0].state(), kv_variables(model)[0].state())


def test_a_layer_combines_bags_and_widens_ids() -> None:
    bags = Embedding(4, combiner="sum", options={**RATE, "initializer": "constant"})
    bags.kv.insert([1, 2], [[1.0] * 4, [10.0] * 4])
    assert bags(tf.ragged.constant([[1, 2], []])).numpy().tolist() == [[11.0] * 4, [0.0] * 4]
    plain = Embedding(4, kv=bags.kv)
    assert plain(np.array([[1], [2]], np.int32)).numpy()[:, 0, 0].tolist() == [1.0, 10.0]
    assert plain.compute_output_shape((None, 3)) == (None, 3, 4)
    assert bags.compute_output_shape((None, 3)) == (None, 4)
    with pytest.raises(
        ValueError, match=r"must be int64, not .*float32.*: start the model with keras.Input\(..., dtype="
    ):
        plain(np.array([1.0], np.float32))


def test_a_layer_has_a_variable_given_or_makes_one() -> None:
    kv = KvVariable("given", 4)
    assert Embedding(4, kv=kv).kv is kv
    for wrong in ({"width": 5, "kv": kv}, {"width": 4, "kv": kv, "options": RATE}):
        with pytest.raises(ValueError, match="give kv, or the width and options of a new one"):
            Embedding(**wrong)
    again = Embedding.from_config(Embedding(4, options={**RATE, "admit_count": 3, "max_rows": 10}).get_config())
    assert (again.kv.options.admission, again.kv.options.admit, again.kv.options.max_rows) == ("count", 3.0, 10)


@pytest.mark.parametrize("dtype", [None, "mixed_float16"])
@pytest.mark.parametrize("kind", ["ragged", "sparse"])
@pytest.mark.parametrize("weighted", [False, True])
def test_lists_are_inputs_of_a_model(kind: str, weighted: bool, dtype: str | None) -> None:
    inputs = [keras.Input((None,), dtype=dtype, **{kind: True}) for dtype in ("int64", "float32")[: 1 + weighted]]
    bags = Embedding(4, combiner="sum", options=RATE, dtype=dtype)
    model = Model(inputs, keras.layers.Dense(1)(bags(inputs[0], weights=inputs[1] if weighted else None)))
    model.compile("adam", "mse")
    lists = [tf.ragged.constant([[1, 2], [], [3]], tf.int64), tf.ragged.constant([[1.0, 2.0], [], [3.0]])]
    batch = tuple(each if kind == "ragged" else each.to_sparse() for each in lists[: len(inputs)])
    model.fit(tf.data.Dataset.from_tensors((batch, tf.ones([3]))), verbose=0, shuffle=False)
    assert bags.kv.keys().numpy().tolist() == [1, 2, 3]
    assert bags.kv.counters()["steps"] == 1


def test_rows_have_the_dtype_that_a_model_computes_in_and_its_loss_is_not_scaled() -> None:
    ids = keras.Input((3,), dtype="int64")
    rows = Embedding(4, options=RATE, dtype="mixed_float16")(ids)
    model = Model(ids, keras.layers.Dense(1, dtype="mixed_float16")(keras.layers.Flatten()(rows)))
    assert rows.dtype == "float16"
    model.compile("adam", "mse")
    model.fit(IDS, LABELS, verbose=0)
    assert kv_variables(model)[0].counters()["steps"] == 8
    with pytest.raises(ValueError, match="compile the model with auto_scale_loss=False"):
        MixedOptimizer(keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam()))
