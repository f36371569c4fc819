"""The table does what a dictionary of rows would do, whatever the order of operations."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from penrose_host.contracts.embedding import TableSpec
from penrose_host.embeddings.initializers import Initializer
from penrose_tfplus import Table

SECOND = 1_000_000
WIDTH = 2
RATE = np.float32(0.5)
#: A few keys, so that they meet again, and the ends of int64.
POOL = [-(2**63), -3, -1, 0, 1, 2, 7, 8, 9, 2**31, 2**63 - 1]
KEYS = st.lists(st.sampled_from(POOL), max_size=9).map(lambda keys: np.array(keys, np.int64))
#: Numbers that float32 adds and multiplies without rounding, mostly.
NUMBERS = st.sampled_from([-2.0, -1.0, -0.5, 0.5, 1.0, 2.0])
FIRST_VALUES = Initializer.of(TableSpec("t", WIDTH, initializer=("uniform", {"low": -1.0, "high": 1.0}), seed=3))


class Row:
    def __init__(self, key: int, time: int) -> None:
        self.weights = first_value(key)
        self.count, self.time = 0, time


def first_value(key: int) -> Any:
    return FIRST_VALUES.rows(np.array([key], np.int64))[0]


def written(op: str, to: Any, source: Any) -> Any:
    with np.errstate(all="ignore"):
        match op:
            case "assign":
                return source.copy()
            case "add":
                return to + source
            case "subtract":
                return to - source
            case "multiply":
                return to * source
            case "divide":
                return to / source
            case "minimum":
                return np.where(source < to, source, to)
            case _:
                return np.where(to < source, source, to)


class TableMachine(RuleBasedStateMachine):
    """Operations on a table, and on a dictionary."""

    admit: ClassVar[int | None] = None

    @initialize(shards=st.sampled_from([1, 2, 64]), threads=st.sampled_from([1, 3]))
    def start(self, shards: int, threads: int) -> None:
        self.table = Table(
            WIDTH,
            optimizer="sgd",
            optimizer_parameters={"learning_rate": float(RATE)},
            initializer="uniform",
            initializer_parameters={"low": -1.0, "high": 1.0},
            seed=3,
            admit_count=self.admit,
            shards=shards,
            threads=threads,
        )
        self.rows: dict[int, Row] = {}
        self.candidates: dict[int, list[int]] = {}  # key → count, time
        self.now = self.evicted = self.steps = self.lookups = 0
        self.last = np.empty(0, np.int64)

    # -- the model ---------------------------------------------------------------------------------

    def insert(self, key: int) -> Row:
        row = self.rows[key] = Row(key, self.now)
        row.count = self.candidates.pop(key, [0, 0])[0]
        return row

    def see(self, keys: Any) -> None:
        for key, repeats in zip(*(each.tolist() for each in np.unique(keys, return_counts=True)), strict=True):
            row = self.rows.get(key)
            if row is None:
                seen = self.candidates.get(key, [0, 0])[0] + repeats
                if self.admit is not None and seen < self.admit:
                    self.candidates[key] = [seen, self.now]
                    continue
                row = self.insert(key)
            row.count += repeats

    def expected(self, keys: Any, *, first: bool) -> Any:
        unseen = first_value if first else lambda key: np.zeros(WIDTH, np.float32)
        found = [self.rows[key].weights if key in self.rows else unseen(key) for key in keys.tolist()]
        return np.array(found, np.float32).reshape(len(keys), WIDTH)

    def remove(self, keys: list[int]) -> None:
        for key in keys:
            del self.rows[key]

    # -- operations --------------------------------------------------------------------------------

    @rule(keys=KEYS)
    def look_up_for_training(self, keys: Any) -> None:
        self.see(keys)
        self.lookups += 1
        self.last = keys
        np.testing.assert_array_equal(self.table.lookup(keys, train=True), self.expected(keys, first=False))

    @rule(keys=KEYS, first=st.booleans())
    def look_up_for_scoring(self, keys: Any, first: bool) -> None:
        rows = self.table.lookup(keys, unseen="first" if first else "zeros")
        np.testing.assert_array_equal(rows, self.expected(keys, first=first))
        rows.fill(99.0)  # what is handed out is the caller's

    @rule(keys=st.none() | KEYS, data=st.data(), seconds=st.integers(0, 50), more=st.integers(0, SECOND - 1))
    def apply(self, keys: Any, data: st.DataObject, seconds: int, more: int) -> None:
        """To the keys looked up last (None), or to others."""
        keys = self.last if keys is None else keys
        numbers = data.draw(st.lists(NUMBERS, min_size=len(keys) * WIDTH, max_size=len(keys) * WIDTH))
        gradients = np.array(numbers, np.float32).reshape(len(keys), WIDTH)
        self.table.apply(keys, gradients, time=seconds * SECOND + more)
        self.now = max(self.now, seconds)  # the table's clock does not go back
        self.steps += 1
        for key in set(keys.tolist()):
            row = self.rows.get(key)
            if row is None:
                if self.admit is not None:
                    continue
                row = self.insert(key)
            with np.errstate(all="ignore"):
                row.weights = row.weights - RATE * gradients[keys == key].sum(axis=0)
            row.time = self.now

    @rule(
        keys=KEYS,
        data=st.data(),
        op=st.sampled_from(["assign", "add", "subtract", "multiply", "divide", "minimum", "maximum"]),
    )
    def write(self, keys: Any, data: st.DataObject, op: Any) -> None:
        numbers = data.draw(st.lists(NUMBERS, min_size=len(keys) * WIDTH, max_size=len(keys) * WIDTH))
        rows = np.array(numbers, np.float32).reshape(len(keys), WIDTH)
        self.table.write(keys, rows, op)
        for key, source in zip(keys.tolist(), rows, strict=True):
            row = self.rows.get(key) or self.insert(key)
            row.weights = written(op, row.weights, source)

    @rule(keys=KEYS)
    def delete(self, keys: Any) -> None:
        there = [key for key in set(keys.tolist()) if key in self.rows]
        assert self.table.delete(keys) == len(there)
        self.remove(there)
        for key in keys.tolist():
            self.candidates.pop(key, None)

    @rule(
        before=st.none() | st.integers(0, 60),
        min_count=st.none() | st.integers(0, 5),
        min_norm=st.none() | st.sampled_from([0.0, 0.5, 1.0, 3.0]),
        max_rows=st.none() | st.integers(0, 8),
    )
    def evict(self, before: int | None, min_count: int | None, min_norm: float | None, max_rows: int | None) -> None:
        gone = self.table.evict(
            before=None if before is None else before * SECOND,
            min_count=min_count,
            min_norm=min_norm,
            max_rows=max_rows,
        )
        size = len(self.rows)
        with np.errstate(all="ignore"):
            self.remove(
                [
                    key
                    for key, row in self.rows.items()
                    if (before is not None and row.time < before)
                    or (min_count is not None and row.count < min_count)
                    or (min_norm is not None and np.sqrt((row.weights.astype(np.float64) ** 2).sum()) < min_norm)
                ]
            )
        if before is not None:
            self.candidates = {key: seen for key, seen in self.candidates.items() if seen[1] >= before}
        if max_rows is not None and len(self.rows) > max_rows:
            oldest = sorted(self.rows, key=lambda key: (self.rows[key].time, self.rows[key].count, key))
            self.remove(oldest[: len(self.rows) - max_rows])
        assert gone == size - len(self.rows)
        self.evicted += gone

    @precondition(lambda self: len(self.rows) > 4)
    @rule()
    def clear(self) -> None:
        self.table.clear()
        self.rows, self.candidates = {}, {}
        self.now = self.evicted = self.steps = self.lookups = 0

    # -- what is always so -------------------------------------------------------------------------

    @invariant()
    def is_what_the_dictionary_is(self) -> None:
        pool = np.array(POOL, np.int64)
        keys = self.table.keys()
        assert keys.tolist() == sorted(self.rows)
        assert len(self.table) == len(self.rows)
        assert self.table.candidates == len(self.candidates)
        assert self.table.contains(pool).tolist() == [key in self.rows for key in POOL]
        counts = [self.rows[k].count if k in self.rows else self.candidates.get(k, [0, 0])[0] for k in POOL]
        assert self.table.counts(pool).tolist() == counts
        seconds = [self.rows[k].time if k in self.rows else self.candidates.get(k, [0, -1])[1] for k in POOL]
        assert self.table.times(pool).tolist() == [-1 if time < 0 else time * SECOND for time in seconds]
        counters = self.table.counters
        assert counters == {
            "lookups": self.lookups,
            "steps": self.steps,
            "evicted": self.evicted,
            "now": self.now,
            "skipped_rows": 0,
        }
        if self.steps % 3 == 0:  # otherwise no lookup comes between those of training and what is applied
            np.testing.assert_array_equal(self.table.lookup(pool), self.expected(pool, first=False))


class TableThatAdmits(TableMachine):
    admit = 3


class TableThatAdmitsAtOnce(TableMachine):
    admit = 1


_SETTINGS = settings(max_examples=60, stateful_step_count=25)
TestTable = TableMachine.TestCase
TestTable.settings = _SETTINGS
TestTableThatAdmits = TableThatAdmits.TestCase
TestTableThatAdmits.settings = _SETTINGS
TestTableThatAdmitsAtOnce = TableThatAdmitsAtOnce.TestCase
TestTableThatAdmitsAtOnce.settings = settings(_SETTINGS, max_examples=15)
