"""What a step costs and keeps its hands off: one trace, no copies, nobody's memory."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from penrose_tensorflow.tensors import ALIGNMENT, tensor


@pytest.fixture(autouse=True)
def started() -> None:
    """A tensor can be made of memory once TensorFlow has made one itself, as every model does."""
    tf.zeros([])


def aligned(numbers: int, offset: int = 0) -> np.ndarray:
    """Random float32 [numbers] that begin `offset` bytes after a multiple of the alignment."""
    memory = np.empty(4 * numbers + 2 * ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT + offset
    array = memory[start : start + 4 * numbers].view(np.float32)
    array[:] = np.random.default_rng(0).random(numbers, np.float32)
    return array


def address(given: Any) -> int:
    return np.frombuffer(memoryview(given), np.uint8).ctypes.data


@pytest.mark.parametrize("writeable", [True, False])
def test_aligned_memory_is_taken_as_it_is(writeable: bool) -> None:
    array = aligned(1000)
    array.flags.writeable = writeable
    made = tensor(array)
    assert address(made) == array.ctypes.data
    assert address(tensor(array.reshape(10, 100))) == array.ctypes.data
    kept = array.copy()
    # The tensor keeps what it shares.
    del array
    gc.collect()
    np.testing.assert_array_equal(made, kept)


@pytest.mark.parametrize("offset", [4, 16, 32])
def test_other_memory_is_copied_by_tensorflow(offset: int) -> None:
    array = aligned(1000, offset)
    made = tensor(array)
    assert address(made) != array.ctypes.data
    np.testing.assert_array_equal(made, array)


def test_columns_that_are_not_one_after_the_other_are_copied() -> None:
    array = aligned(1000).reshape(10, 100)
    np.testing.assert_array_equal(tensor(array.T), array.T)
    np.testing.assert_array_equal(tensor(array[:, ::2]), array[:, ::2])


@pytest.mark.parametrize(("model", "rows"), [("logistic", 1000), ("fm", None), ("deepfm", 1000), ("dcn", None)])
def test_one_compilation_is_enough_for_all_batch_sizes(lab: Any, model: str, rows: int | None) -> None:
    executor = lab.executor(lab.rich, model=model, rows=rows)
    for count in (0, 1, 4, 4, 100, 3, 1000, 0):
        batch = lab.batch(lab.rich, count, seed=count)
        executor.predict(batch)
        executor.train(batch, lab.step())
    assert executor._parts.learner.traces == {"predict": 1, "train": 1}


@pytest.mark.parametrize("rows", [1000, None], ids=["table", "layer"])
def test_a_batch_is_left_as_it_was_and_scores_are_the_callers_own(lab: Any, rows: int | None) -> None:
    executor = lab.executor(lab.rich, model="deepfm", rows=rows)
    batch = lab.batch(lab.rich, 50)  # read-only
    before = [batch.ids.copy(), *(column.copy() for column in [*batch.numeric.values(), *batch.labels.values()])]
    first = executor.predict(batch)
    kept = {head: scores.copy() for head, scores in first.items()}
    result = executor.train(batch, lab.step())
    for number in range(20):
        executor.train(lab.batch(lab.rich, 50, seed=number), lab.step(number))
    for array, expected in zip([batch.ids, *batch.numeric.values(), *batch.labels.values()], before, strict=True):
        np.testing.assert_array_equal(array, expected)
    for head, scores in kept.items():
        np.testing.assert_array_equal(first[head], scores)
        np.testing.assert_allclose(result.scores[head], scores, rtol=1e-6)
        first[head][:] = 0  # theirs to write to
