"""Compiled Keras models that hold their embeddings themselves, and loops of the user's around `fit`."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from penrose_host import FeatureSpec

__all__ = ["embeddings", "moving", "prefetching"]


class Towers(keras.Model):
    """Every feature, dropout, and with `normal` batch normalisation; [rows, 1] for one label, otherwise a dict."""

    def __init__(self, features: FeatureSpec, width: int, *, normal: bool) -> None:
        super().__init__()
        self.features = features
        self.table = keras.layers.Embedding(100, width)
        self.normal = keras.layers.BatchNormalization() if normal else None
        self.drop = keras.layers.Dropout(0.25)
        self.towers = [keras.layers.Dense(1, activation="sigmoid") for _ in features.labels]

    def call(self, inputs: Any, training: bool = False) -> Any:
        columns = [self.table(inputs[name] % 100) for name in self.features.categorical]
        for feature in self.features.lists:
            ids = inputs[feature.name]
            values = self.table(ids.values % 100)
            columns.append(tf.math.unsorted_segment_sum(values, ids.value_rowids(), ids.nrows()))
        columns += [inputs[name][:, None] for name in self.features.numeric]
        hidden = tf.concat(columns, 1)
        if self.normal is not None:
            hidden = self.normal(hidden, training=training)
        hidden = self.drop(hidden, training=training)
        found = {label: tower(hidden) for label, tower in zip(self.features.labels, self.towers, strict=True)}
        return found if len(found) > 1 else found[self.features.labels[0]]


def _compiled(features: FeatureSpec, width: int, *, normal: bool, reduction: str = "sum") -> keras.Model:
    model = Towers(features, width, normal=normal)
    model.compile(
        optimizer=keras.optimizers.SGD(0.01, momentum=0.9), loss=keras.losses.BinaryCrossentropy(reduction=reduction)
    )
    return model


def embeddings(features: FeatureSpec, width: int, **options: Any) -> keras.Model:
    return _compiled(features, width, normal=False, **options)


def moving(features: FeatureSpec, width: int, **options: Any) -> keras.Model:
    """The same with moving averages, which a step changes beside what the optimizer does."""
    return _compiled(features, width, normal=True, **options)


def prefetching(model: keras.Model, dataset: tf.data.Dataset, callbacks: list[Any]) -> None:
    """Pulls ahead, in several stages."""
    ahead = dataset.map(lambda *batch: batch, num_parallel_calls=2).prefetch(3)
    model.fit(ahead, epochs=1, shuffle=False, verbose=0, callbacks=callbacks)
