"""Each promise of sinks is broken by a sink that is wrong in one way; a good one keeps them all."""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pytest
from contract_support import IN_A_PROCESS, Mutants, broken_promises, said_well
from file_sink import LinesSink

from penrose_host.errors import SinkError
from penrose_host.testing import SinkContract, promises_of
from penrose_host.testing.plugins import PluginContract

MUTANTS = Mutants()
breaks = MUTANTS.breaks
FLUSHED, NOTHING, COLUMNS, TYPES, TWICE, LEFT = (
    "flushed_rows_are_there_once_and_in_order",
    "flushing_nothing_returns",
    "columns_may_change",
    "usual_types_are_taken_or_refused",
    "close_twice_and_without_open",
    "close_lets_go_of_everything",
)


class Sunk(SinkContract):
    plugin: ClassVar[type[LinesSink]] = LinesSink
    folder: ClassVar[Path]
    patience = 0.05

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(dir=self.folder)) / "out"

    def make(self) -> LinesSink:
        return self.plugin(self.plugin.Options(topic=str(self.path)))

    def written(self) -> Sequence[int]:
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        return [json.loads(line)["row"] for line in lines]


def test_a_good_sink_keeps_every_promise(tmp_path: Path) -> None:
    assert broken_promises(type("Test", (Sunk,), {"folder": tmp_path}), tmp_path) == {}


@pytest.mark.parametrize(("mutant", "expected"), MUTANTS)
def test_a_broken_sink_breaks_its_promise_and_no_other(mutant: type[Any], expected: set[str], tmp_path: Path) -> None:
    told = broken_promises(type("Test", (Sunk,), {"plugin": mutant, "folder": tmp_path}), tmp_path)
    assert set(told) == expected, told
    assert all(map(said_well, told.values())), told


def test_every_promise_is_broken_by_some_sink() -> None:
    of_all_plugins = set(promises_of(PluginContract))
    assert MUTANTS.broken() == set(promises_of(SinkContract)) - of_all_plugins - {IN_A_PROCESS}


def test_a_sink_may_spread_rows_where_it_says_so(tmp_path: Path) -> None:
    class Spreading(LinesSink):
        def write(self, rows: pa.RecordBatch) -> None:
            super().write(rows.take(pa.array(range(rows.num_rows - 1, -1, -1), pa.int64())))

    told = broken_promises(type("Test", (Sunk,), {"plugin": Spreading, "folder": tmp_path}), tmp_path)
    assert set(told) == {f"test_{name}" for name in (FLUSHED, NOTHING)}
    changes = {"plugin": Spreading, "folder": tmp_path, "ordered": False}
    assert broken_promises(type("Test", (Sunk,), changes), tmp_path / "again") == {}


@breaks(FLUSHED, NOTHING, COLUMNS, TYPES)
class KeepsRowsUntilItIsClosed(LinesSink):
    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self._held: list[pa.RecordBatch] = []

    def write(self, rows: pa.RecordBatch) -> None:
        self._held.append(rows)


@breaks(FLUSHED, COLUMNS)
class WritesEmptyBatchesOnly(LinesSink):
    def write(self, rows: pa.RecordBatch) -> None:
        if self._rows < 3:
            super().write(rows)


@breaks(NOTHING)
class WritesTheLastRowsAgain(LinesSink):
    _last: pa.RecordBatch | None = None
    _flushed = 0

    def write(self, rows: pa.RecordBatch) -> None:
        super().write(rows)
        self._last = rows
        self._flushed = 0

    def flush(self) -> None:
        super().flush()
        self._flushed += 1
        if self._flushed > 1 and self._last is not None:
            super().write(self._last)


@breaks(NOTHING)
class FailsOnNothing(LinesSink):
    def flush(self) -> None:
        super().flush()
        if not self._rows:
            raise ValueError("nothing to flush")


@breaks(COLUMNS)
class WantsTheSameColumns(LinesSink):
    schema: pa.Schema | None = None

    def write(self, rows: pa.RecordBatch) -> None:
        self.schema = self.schema or rows.schema
        if rows.schema != self.schema:
            raise KeyError("text")
        super().write(rows)


class RefusesOtherColumns(WantsTheSameColumns):
    def write(self, rows: pa.RecordBatch) -> None:
        try:
            super().write(rows)
        except KeyError as error:
            raise SinkError(f"column {error} is missing") from error


@breaks(TYPES)
class KnowsNoBytes(LinesSink):
    def write(self, rows: pa.RecordBatch) -> None:
        if pa.binary() in rows.schema.types:
            raise TypeError("bytes are not JSON")
        super().write(rows)


@breaks(TWICE)
class ClosesOnce(LinesSink):
    def close(self) -> None:
        if self._file is None:
            raise ValueError("it is closed")
        super().close()


@breaks(LEFT)
class LeavesAThread(LinesSink):
    def open(self) -> None:
        super().open()
        threading.Thread(target=threading.Event().wait, args=(1,), name="sender", daemon=True).start()


def test_refusing_with_the_right_error_keeps_the_promise(tmp_path: Path) -> None:
    assert broken_promises(type("Test", (Sunk,), {"plugin": RefusesOtherColumns, "folder": tmp_path}), tmp_path) == {}
