from __future__ import annotations

import numpy as np
import pytest
from executor_suite.entry_module import assert_imports_no_framework
from hypothesis import given, strategies as st
from pydantic import ValidationError

from penrose_host import Position, StepInfo, TableSpec
from penrose_host.embeddings.hashing import HashingBackend, HashingTable
from penrose_host.embeddings.initializers import Initializer
from penrose_host.embeddings.mixing import buckets
from penrose_host.embeddings.optimizers import Optimizer
from penrose_host.errors import ConfigError, TrainingError

STEP = StepInfo(0, 0, 0, lambda: Position("test"))
NORMAL = ("normal", {"stddev": 0.1})


def table(rows: int = 64, width: int = 3, optimizer: str = "adagrad", **spec: object) -> HashingTable:
    backend = HashingBackend(HashingBackend.Options(rows=rows))
    return backend.table(TableSpec("t", width, (optimizer, {"learning_rate": 0.5}), **{"initializer": NORMAL, **spec}))


def keys(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


KEYS = st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 9), max_size=40)


@given(
    st.lists(KEYS, max_size=5),
    st.sampled_from([1, 2, 3, 17]),
    st.sampled_from([1, 7, 64, 100_000]),
    st.sampled_from(["sgd", "adagrad", "rowwise_adagrad", "adam", "ftrl"]),
)
def test_a_table_is_one_row_a_bucket_and_sums_repeated_keys(
    batches: list[list[int]], width: int, rows: int, optimizer: str
) -> None:
    subject = table(rows, width, optimizer)
    spec = subject.spec
    kept: dict[int, tuple[np.ndarray, tuple[np.ndarray, ...]]] = {}
    reference = Optimizer.of(spec)

    def row(bucket: int) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        if bucket not in kept:
            slots = (np.full((1, 1 if slot.per_row else width), slot.initial, np.float32) for slot in reference.slots)
            kept[bucket] = (Initializer.of(spec).rows(keys(bucket)), tuple(slots))
        return kept[bucket]

    random = np.random.default_rng(len(batches))
    for batch in batches:
        at = buckets(keys(*batch), rows)
        gradients = random.standard_normal((len(batch), width)).astype(np.float32)
        subject.apply(keys(*batch), gradients, STEP)
        for bucket in set(at.tolist()):
            weights, slots = row(bucket)
            summed = gradients[at == bucket].astype(np.float64).sum(axis=0, keepdims=True).astype(np.float32)
            reference.update(weights, slots, summed)
        found = subject.lookup(keys(*batch), train=True)
        expected = np.array([row(bucket)[0][0] for bucket in at]).reshape(len(batch), width)
        # (Adagrad's first step on a sum near 0 is a sign times the rate: float32 sums may differ in it.)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    assert subject.stats().rows == len(kept)


def test_a_lookup_is_new_memory_and_changes_nothing() -> None:
    subject = table()
    first = subject.lookup(keys(1, 2, 1), train=True)
    assert first.dtype == np.float32
    first[:] = 99
    assert subject.lookup(keys(1, 2, 1), train=False).max() < 1
    assert subject.stats().rows == 0
    assert subject.lookup(keys(), train=False).shape == (0, 3)


def test_equal_steps_give_equal_bytes() -> None:
    random = np.random.default_rng(0)
    steps = [(random.integers(0, 500, 300), random.standard_normal((300, 3)).astype(np.float32)) for _ in range(20)]
    left, right = table(), table()
    for subject in (left, right):
        for batch, gradients in steps:
            subject.apply(batch, gradients, STEP)
    everything = np.arange(2000)
    assert left.lookup(everything, train=False).tobytes() == right.lookup(everything, train=False).tobytes()


def test_a_batch_larger_than_any_before_is_fine() -> None:
    subject = table(rows=1000, width=1, optimizer="sgd", initializer=("zeros", {}))
    many = np.arange(200_000) % 5
    subject.apply(many, np.ones((200_000, 1), np.float32), STEP)
    np.testing.assert_allclose(subject.lookup(keys(0, 1, 2, 3, 4), train=False), -20_000.0)


def test_an_empty_step_is_no_step() -> None:
    subject = table()
    subject.apply(keys(), np.zeros((0, 3), np.float32), STEP)
    assert subject.stats().counters == {"steps": 0}


@pytest.mark.parametrize(
    ("batch", "gradients", "message"),
    [
        (keys(1, 2), np.ones((1, 3), np.float32), r"gradients must be float32 \[2, 3\], not float32 \[1, 3\]"),
        (keys(1, 2), np.ones((2, 1), np.float32), r"not float32 \[2, 1\]"),
        (keys(1, 2), np.ones((2, 3), np.float64), r"not float64 \[2, 3\]"),
        (keys(1, 2).astype(np.int32), np.ones((2, 3), np.float32), r"keys must be int64 \[n\], not int32 \[2\]"),
        (keys(1, 2).reshape(1, 2), np.ones((2, 3), np.float32), r"not int64 \[1, 2\]"),
        (keys(1, 2), np.array([[0, 0, 0], [0, np.nan, 0]], np.float32), "not finite"),
        (keys(1, 1), np.array([[0, 0, 0], [0, np.inf, 0]], np.float32), "not finite"),
        (keys(1, 2), np.array([[0, 0, 0], [0, -1e30, 0]], np.float32), "too large"),
    ],
)
def test_what_does_not_fit_is_an_error_and_changes_nothing(
    batch: np.ndarray, gradients: np.ndarray, message: str
) -> None:
    subject = table()
    subject.apply(keys(1, 2, 3), np.ones((3, 3), np.float32), STEP)
    before = subject.lookup(np.arange(100), train=False)
    with pytest.raises(TrainingError, match=f"table 't' .*hashing.*{message}"):
        subject.apply(batch, gradients, STEP)
    np.testing.assert_array_equal(subject.lookup(np.arange(100), train=False), before)
    assert subject.stats().counters == {"steps": 1}


def test_lookups_of_other_types_are_refused() -> None:
    with pytest.raises(TrainingError, match="keys must be int64"):
        table().lookup(np.array([1.0]), train=False)


def test_only_rows_that_were_trained_are_exported_in_ascending_order() -> None:
    subject = table(rows=1000)
    batch = keys(5, 6, 7, 5, -1)
    subject.apply(batch, np.ones((5, 3), np.float32), STEP)
    (exported,) = subject.export_rows()
    at = exported["key"].to_numpy()
    assert at.tolist() == sorted(set(buckets(batch, subject.hash_rows).tolist()))
    values = np.array(exported["row"].to_pylist(), dtype=np.float32)
    where = np.searchsorted(at, buckets(batch, subject.hash_rows))
    np.testing.assert_array_equal(values[where], subject.lookup(batch, train=False))


def test_a_large_table_is_exported_in_pieces() -> None:
    subject = table(rows=200_000, width=1)
    batch = np.arange(300_000)
    subject.apply(batch, np.ones((300_000, 1), np.float32), STEP)
    pieces = list(subject.export_rows())
    assert len(pieces) > 1
    at = np.concatenate([piece["key"].to_numpy() for piece in pieces])
    assert (np.diff(at) > 0).all()
    assert len(at) == subject.stats().rows


def test_stats_count_bytes_of_weights_and_slots() -> None:
    small, large = table(rows=1000, width=1, optimizer="sgd"), table(rows=1000, width=16, optimizer="adam")
    assert small.stats().bytes >= 1000 * 4
    assert large.stats().bytes - small.stats().bytes == 1000 * 4 * (16 * 3 + 1 - 1)


def test_policies_and_widths_it_cannot_have_are_faults_of_the_job() -> None:
    with pytest.raises(ConfigError, match="no admission and no eviction"):
        table(eviction=("ttl", {"seconds": 5}))
    with pytest.raises(ConfigError, match="width must be at least 1"):
        table(width=0)
    with pytest.raises(ConfigError, match="'magic' does not exist"):
        table(optimizer="magic")


@pytest.mark.parametrize("options", [{"rows": 0}, {"rows": 2**31 + 1}, {"row": 5}])
def test_options_are_checked(options: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        HashingBackend.Options(**options)


def test_importing_the_entry_module_imports_no_framework() -> None:
    assert_imports_no_framework(HashingBackend)
