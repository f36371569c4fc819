"""The models that have a name.

Each takes `slots`, float32 [rows, slots, width]: one embedding for each categorical and each (pooled) list
feature, and `numeric`, float32 [rows, numbers], and gives logits, float32 [rows, heads]. `width` says how
wide the embeddings must be. First values are drawn from the distributions that PyTorch's layers draw from.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from penrose_tensorflow.layers import kept
from penrose_tensorflow.options import TensorflowOptions

__all__ = ["DCN", "FM", "DeepFM", "Logistic", "Named", "named_model"]


class Named(keras.Model):  # type: ignore[misc]  # Keras has no types
    """A model over slots and numbers; `logits` is what training and serving call."""

    width: int

    @property
    def kept(self) -> list[Any]:
        return kept(self)

    def logits(self, slots: tf.Tensor, numeric: tf.Tensor, *, training: bool) -> tf.Tensor:  # noqa: ARG002
        """None of these acts differently in training."""
        return self(slots, numeric)


class Linear(keras.layers.Layer):  # type: ignore[misc]
    """Bias and weights of the numeric features, all zero at first: [rows, numbers] → [rows, heads]."""

    def __init__(self, numbers: int, heads: int, bias: bool) -> None:
        super().__init__()
        self.bias = self.add_weight(shape=(heads,), initializer="zeros", name="bias") if bias else None
        self.kernel = self.add_weight(shape=(numbers, heads), initializer="zeros", name="weight") if numbers else None

    def call(self, logits: tf.Tensor, numeric: tf.Tensor) -> tf.Tensor:
        """`logits` with its own part added."""
        if self.kernel is not None:
            logits = logits + tf.matmul(numeric, self.kernel.value)
        return logits if self.bias is None else logits + self.bias.value


class Logistic(Named):
    """Logistic regression: an embedding is one weight for each head."""

    def __init__(self, numbers: int, heads: int, bias: bool) -> None:
        super().__init__()
        self.width = heads
        self.linear = Linear(numbers, heads, bias)

    def call(self, slots: tf.Tensor, numeric: tf.Tensor) -> tf.Tensor:
        return self.linear(tf.reduce_sum(slots, 1), numeric)


class FM(Named):
    """Factorization machine: an embedding is, for each head, one weight and `factors` factors."""

    def __init__(self, numbers: int, heads: int, bias: bool, factors: int) -> None:
        super().__init__()
        self.heads, self.factors = heads, factors
        self.width = heads * (1 + factors)
        self.linear = Linear(numbers, heads, bias)

    def call(self, slots: tf.Tensor, numeric: tf.Tensor) -> tf.Tensor:
        logits = self.linear(tf.reduce_sum(slots[..., : self.heads], 1), numeric)
        shape = tf.shape(slots)
        factors = tf.reshape(slots[..., self.heads :], [shape[0], shape[1], self.heads, self.factors])
        # All pairs at once: half of (the square of the sum, less the sum of the squares).
        pairs = tf.square(tf.reduce_sum(factors, 1)) - tf.reduce_sum(tf.square(factors), 1)
        return logits + 0.5 * tf.reduce_sum(pairs, 2)


class DeepFM(Named):
    """A factorization machine, and a network over the same factors."""

    def __init__(self, slots: int, numbers: int, heads: int, bias: bool, factors: int, hidden: list[int]) -> None:
        super().__init__()
        self.fm = FM(numbers, heads, bias, factors)
        self.width = self.fm.width
        self.inputs_width = slots * heads * factors
        self.deep = _dense(self.inputs_width + numbers, hidden, heads)

    def call(self, slots: tf.Tensor, numeric: tf.Tensor) -> tf.Tensor:
        factors = tf.reshape(slots[..., self.fm.heads :], [tf.shape(slots)[0], self.inputs_width])
        return self.fm(slots, numeric) + _through(self.deep, tf.concat([factors, numeric], 1))


class DCN(Named):
    """Deep and cross network: explicit crosses of all inputs beside a network over them."""

    def __init__(self, slots: int, numbers: int, heads: int, width: int, cross_layers: int, hidden: list[int]) -> None:
        super().__init__()
        self.width = width
        self.inputs_width = slots * width
        size = self.inputs_width + numbers
        self.crosses = [_layer(size, size) for _ in range(cross_layers)]
        self.deep = _dense(size, hidden)
        self.out = _layer(size + hidden[-1] if hidden else size, heads)

    def call(self, slots: tf.Tensor, numeric: tf.Tensor) -> tf.Tensor:
        first = tf.concat([tf.reshape(slots, [tf.shape(slots)[0], self.inputs_width]), numeric], 1)
        crossed = first
        for cross in self.crosses:
            crossed = first * cross(crossed) + crossed
        if self.deep:
            crossed = tf.concat([crossed, _through(self.deep, first)], 1)
        return self.out(crossed)


def _layer(inputs: int, units: int, **more: Any) -> keras.layers.Dense:
    """A layer that is linear in its inputs, uniform within ±1/√inputs at first, weights and bias alike."""
    bound = inputs**-0.5 if inputs else 0.0
    first = [keras.initializers.RandomUniform(-bound, bound) for _ in range(2)]
    made = keras.layers.Dense(units, kernel_initializer=first[0], bias_initializer=first[1], **more)
    made.build((None, inputs))
    return made


def _dense(inputs: int, hidden: list[int], outputs: int | None = None) -> list[keras.layers.Dense]:
    """The hidden layers and, where there are `outputs`, one more without activation."""
    sizes = [inputs, *hidden]
    layers = [_layer(size, units, activation="relu") for size, units in zip(sizes, hidden, strict=False)]
    return layers if outputs is None else [*layers, _layer(sizes[-1], outputs)]


def _through(layers: list[keras.layers.Dense], values: tf.Tensor) -> tf.Tensor:
    for layer in layers:
        values = layer(values)
    return values


def named_model(options: TensorflowOptions, slots: int, numbers: int, heads: int) -> Named:
    """The model that `options.model` names, for so many slots, numeric features and heads."""
    if options.model == "logistic":
        return Logistic(numbers, heads, options.bias)
    if options.model == "fm":
        return FM(numbers, heads, options.bias, options.width)
    if options.model == "deepfm":
        return DeepFM(slots, numbers, heads, options.bias, options.width, options.hidden)
    return DCN(slots, numbers, heads, options.width, options.cross_layers, options.hidden)
