"""Features by name: the same values whichever way they come, of slices and of chosen rows too."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from hypothesis import given, settings, strategies as st

from penrose_host import EncodedBatch, FeatureSpec, ListFeature
from penrose_host.testing.batches import random_batch
from penrose_tensorflow.named_columns import NamedColumns, taken

FEATURES = FeatureSpec(
    categorical=("user", "item"),
    lists=(ListFeature("tags"), ListFeature("past")),
    numeric=("price",),
    labels=("click",),
)


def by_row(batch: EncodedBatch) -> list[Any]:
    """Each row as plain values, its NaN label as None."""
    found = []
    for row in range(len(batch)):
        lists = [
            ragged.values[ragged.offsets[row] : ragged.offsets[row + 1]].tolist() for ragged in batch.lists.values()
        ]
        label = float(batch.labels["click"][row])
        found.append(
            (batch.ids[row].tolist(), lists, float(batch.numeric["price"][row]), label if label == label else None)
        )
    return found


def plain(features: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.to_list() if isinstance(value, tf.RaggedTensor) else value.numpy().tolist()
        for name, value in features.items()
    }


@given(seed=st.integers(0, 99), cut=st.tuples(st.integers(0, 12), st.integers(0, 12)), data=st.data())
@settings(deadline=None, max_examples=60)
def test_chosen_rows_are_those_rows(seed: int, cut: tuple[int, int], data: st.DataObject) -> None:
    batch = random_batch(FEATURES, 12, seed).slice(min(cut), max(cut))
    chosen = np.array(data.draw(st.lists(st.booleans(), min_size=len(batch), max_size=len(batch))), dtype=bool)
    wanted = [row for row, one in zip(by_row(batch), chosen, strict=True) if one]
    assert by_row(taken(batch, chosen)) == wanted


@given(seed=st.integers(0, 99), cut=st.tuples(st.integers(0, 12), st.integers(0, 12)))
@settings(deadline=None, max_examples=30)
def test_a_model_gets_the_same_in_training_and_in_serving(seed: int, cut: tuple[int, int]) -> None:
    columns = NamedColumns(FEATURES, "executor.model")
    batch = random_batch(FEATURES, 12, seed).slice(min(cut), max(cut))
    trained = plain(columns.by_name([tf.constant(array) for array in columns.arrays(batch)]))
    lists = {
        name: (ragged.values[ragged.offsets[0] : ragged.offsets[-1]], np.diff(ragged.offsets))
        for name, ragged in batch.lists.items()
    }
    numeric = {name: tf.constant(column) for name, column in batch.numeric.items()}
    served = plain(columns.by_name(columns.tensors(tf.constant(batch.ids), numeric, lists)))
    assert served == trained
    rows = by_row(batch)
    assert trained["user"] == [ids[0] for ids, *_ in rows]
    assert trained["past"] == [past for _, (_, past), *_ in rows]
    assert trained["price"] == [price for *_, price, _ in rows]
