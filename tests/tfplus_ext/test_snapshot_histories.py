"""Whatever happens to a table, and whenever: each committed snapshot restores to its own instant, to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from tfplus_support import Interrupted, content, make_table, restored, save, train

from penrose_host import Snapshot, SnapshotRef
from penrose_host.errors import CheckpointError
from penrose_host.testing.memory import MemoryCheckpoints
from penrose_tfplus import backend_table
from penrose_tfplus.backend_table import TfplusTable

UNIVERSE = np.array([*range(-30, 60), -(2**63), 2**63 - 1, 2**32, -(2**32)], np.int64)
KEYS = st.lists(st.sampled_from(UNIVERSE.tolist()), max_size=12)
#: What happens to a table, as data, so that it can happen again to another: (what, its arguments …).
OPERATIONS = st.one_of(
    st.tuples(st.just("train"), KEYS, st.integers(0, 99), st.integers(0, 1000)),
    st.tuples(st.just("train"), st.just(UNIVERSE.tolist()), st.integers(0, 99), st.integers(0, 1000)),
    st.tuples(st.just("look up"), KEYS),
    st.tuples(st.just("write"), KEYS, st.sampled_from(["assign", "add", "multiply", "minimum"])),
    st.tuples(st.just("delete"), KEYS),
    st.tuples(st.just("evict"), st.just("before"), st.integers(0, 1000).map(lambda seconds: seconds * 1_000_000)),
    st.tuples(st.just("evict"), st.just("min_count"), st.integers(0, 8)),
    st.tuples(st.just("evict"), st.just("min_norm"), st.floats(0, 1)),
    st.tuples(st.just("evict"), st.just("max_rows"), st.integers(0, 60)),
)


def perform(table: TfplusTable, operation: tuple[Any, ...]) -> None:
    what, *rest = operation
    inner = table._table
    keys = np.array(rest[0], np.int64) if what in ("train", "look up", "write", "delete") else None
    if what == "train":
        train(table, *rest)
    elif what == "look up":
        inner.lookup(keys, train=True)
    elif what == "write":
        rows = np.random.default_rng(len(keys)).standard_normal((len(keys), table.spec.width))
        inner.write(keys, rows.astype(np.float32), rest[1])
    elif what == "delete":
        inner.delete(keys)
    elif what == "evict":
        inner.evict(**{rest[0]: rest[1]})
    else:
        inner.clear()


class Histories(RuleBasedStateMachine):
    @initialize(
        optimizer=st.sampled_from(["sgd", "adagrad", "rowwise_adagrad", "adam", "group_adam"]),
        width=st.integers(1, 5),
        admission=st.sampled_from([None, {"count": 3}, {"probability": 0.4}]),
        every=st.sampled_from([None, 3]),
        max_rows=st.sampled_from([None, 70]),
        shards=st.sampled_from([1, 4, 16]),
        whole_files=st.booleans(),
        trained=st.booleans(),
    )
    def start(
        self,
        optimizer: str,
        width: int,
        admission: Any,
        every: Any,
        max_rows: Any,
        shards: int,
        whole_files: bool,
        trained: bool,
    ) -> None:
        eviction = every and {"max_age": "400s", "every": every}
        limit = {"max_rows": max_rows, "at_limit": "evict"} if max_rows else {}
        # A chance to get in between the files of a snapshot: as many as there are shards.
        self.patch = pytest.MonkeyPatch()
        if not whole_files:
            self.patch.setattr(backend_table, "_FILE_BYTES", 1)
        # Batches of all keys do not fit into a table of at most 70 rows, unless most must wait for their admission.
        self.room = len(UNIVERSE) if max_rows is None else 12
        self.table = make_table(
            width,
            optimizer,
            initializer=("uniform", {}),
            shards=shards,
            admission=admission,
            eviction=eviction,
            **limit,
        )
        self.checkpoints = MemoryCheckpoints()
        self.number = 0
        self.since: SnapshotRef | None = None
        self.held = content(self.table, UNIVERSE)
        self.log: list[tuple[Any, ...]] = []
        self.snapshot: Snapshot | None = None
        self.written: SnapshotRef | None = None
        self.dead = False
        if trained:
            # A base that small deltas can follow; otherwise most histories are too short for one.
            for _ in range(3):
                train(self.table, UNIVERSE[: max(self.room, 60)], 1)
            self.since = save(self.table, self.checkpoints, "base")
            self.held = content(self.table, UNIVERSE)

    def operate(self, operation: tuple[Any, ...]) -> None:
        if isinstance(operation[1], list):
            operation = (operation[0], operation[1][: self.room], *operation[2:])
        perform(self.table, operation)
        self.log.append(operation)

    @rule(operations=st.lists(OPERATIONS, min_size=1, max_size=4))
    def something_happens(self, operations: list[tuple[Any, ...]]) -> None:
        for operation in operations:
            self.operate(operation)

    @rule()
    def everything_goes(self) -> None:
        self.operate(("clear", None))
        self.dead = self.snapshot is not None and self.written is None

    @precondition(lambda self: self.snapshot is None)
    @rule(knows=st.integers(0, 5))
    def a_snapshot_is_taken(self, knows: int) -> None:
        # Now and then the host's last committed checkpoint is not the one that the table knows.
        since = self.since if knows or self.since is None else SnapshotRef("elsewhere", self.since.files)
        self.instant = content(self.table, UNIVERSE)
        self.snapshot = self.table.snapshot(since)
        self.at = len(self.log)

    @precondition(lambda self: self.snapshot is not None and self.written is None)
    @rule(operations=st.lists(OPERATIONS, max_size=6))
    def it_is_written(self, operations: list[tuple[Any, ...]]) -> None:
        def between() -> None:
            if operations:
                self.operate(operations.pop())

        self.number += 1
        assert self.snapshot is not None
        snapshot = Interrupted(self.snapshot, between)
        if self.dead:
            with pytest.raises(CheckpointError, match="was aborted, or its table cleared"):
                self.checkpoints.write(f"c{self.number}", snapshot)
            self.it_is_aborted(late=False)
        else:
            self.written = self.checkpoints.write(f"c{self.number}", snapshot)

    @precondition(lambda self: self.written is not None)
    @rule(shards=st.sampled_from([1, 16, 256]))
    def it_is_committed(self, shards: int) -> None:
        assert self.written is not None
        self.table.committed(self.written)
        self.since, self.held, self.log = self.written, self.instant, self.log[self.at :]
        self.snapshot = self.written = None
        assert content(restored(self.table, self.checkpoints, self.since, shards=shards), UNIVERSE) == self.held

    @precondition(lambda self: self.snapshot is not None)
    @rule(late=st.booleans())
    def it_is_aborted(self, late: bool) -> None:
        self.table.aborted()
        if late and self.written is None and self.instant["keys"]:
            assert self.snapshot is not None
            with pytest.raises(CheckpointError, match="was aborted, or its table cleared"):
                self.checkpoints.write("late", self.snapshot)
        self.snapshot = self.written = None
        self.dead = False

    @precondition(lambda self: self.since is not None)
    @rule(shards=st.sampled_from([1, 4, 16, 64]))
    def it_crashes(self, shards: int) -> None:
        """Restored, and everything since done again: the table is what it was."""
        before = content(self.table, UNIVERSE)
        assert self.since is not None
        self.table = restored(self.table, self.checkpoints, self.since, shards=shards)
        assert content(self.table, UNIVERSE) == self.held
        for operation in self.log:
            perform(self.table, operation)
        assert content(self.table, UNIVERSE) == before
        self.snapshot = self.written = None
        self.dead = False

    def teardown(self) -> None:
        if hasattr(self, "patch"):
            self.patch.undo()


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
