"""The contract of sinks."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import ClassVar

import pyarrow as pa

from penrose_host.contracts.batch import OFFSET, PARTITION
from penrose_host.contracts.sink import Sink
from penrose_host.errors import SinkError
from penrose_host.testing.plugins import PluginContract
from penrose_host.testing.promises import Broken, promise, raised_by, told
from penrose_host.testing.watching import Held

__all__ = ["SinkContract"]


class SinkContract(PluginContract):
    """Derive a test class from it; return your sink from `make`, and from `written` what is behind it by then."""

    #: False where rows keep their order only within parts that the sink chooses itself.
    ordered: ClassVar[bool] = True
    #: Threads get so many seconds to end after `close`.
    patience: ClassVar[float] = 5.0

    def make(self) -> Sink:
        """A new sink, not open; all of one test lead to the same place, which was empty when the test began."""
        found: Sink = super().make()
        return found

    def written(self) -> Sequence[int]:
        """Column `row` of every row that is durable where the sinks of `make` lead to, in the order it is kept in."""
        raise NotImplementedError(f"{type(self).__name__} needs a method `written` that reads back what is durable")

    @promise
    def test_flushed_rows_are_there_once_and_in_order(self) -> None:
        """After `flush` every row that was written is durable, once and in the order of writing, before `close` too."""
        sink, count = self.make(), 0
        sink.open()
        try:
            for lengths in ((0, 1, 3), (1000, 0, 2)):
                for length in lengths:
                    sink.write(_rows(count, length))
                    count += length
                sink.flush()
                self._compare(count, "before `close`")
        finally:
            sink.close()
        self._compare(count, "after `close`")

    @promise
    def test_flushing_nothing_returns(self) -> None:
        """`flush` returns where nothing was written, and where everything was flushed already."""
        sink = self.make()
        sink.open()
        try:
            sink.flush()
            sink.write(_rows(0, 2))
            sink.flush()
            sink.flush()
        finally:
            sink.close()
        self._compare(2, "after three calls of `flush`")

    @promise
    def test_columns_may_change(self) -> None:
        """Batches may differ in their columns: rows are taken whole, or `write` or `flush` raises `SinkError`."""
        more = _rows(2, 2).append_column("more", pa.array([1.5, None]))
        fewer = _rows(4, 2).drop_columns(["text"])
        self._take_or_refuse([_rows(0, 2), more, fewer], "a column more, then one less")

    @promise
    def test_usual_types_are_taken_or_refused(self) -> None:
        """Columns of lists, structs, times, bytes and dictionaries are taken, or refused with `SinkError`."""
        columns = {
            "tags": pa.array([["a", None], None], pa.list_(pa.string())),
            "inner": pa.array([{"a": 1}, None], pa.struct({"a": pa.int8()})),
            "day": pa.array([0, None], pa.date32()),
            "raw": pa.array([b"\xff\x00", None], pa.binary()),
            "word": pa.array(["x", None]).dictionary_encode(),
            "price": pa.array([float("nan"), float("inf")]),
        }
        for name, column in columns.items():
            self._take_or_refuse([_rows(0, 2).append_column(name, column)], f"a column of {column.type}")

    @promise
    def test_close_twice_and_without_open(self) -> None:
        """`close` may be called twice, and without `open`."""
        sink = self.make()
        sink.close()
        sink.close()
        sink = self.make()
        sink.open()
        sink.close()
        sink.close()

    @promise
    def test_close_lets_go_of_everything(self) -> None:
        """After `close` no file is open and no thread runs that was not there before, though nothing was flushed."""
        for number in range(3):
            held = Held()
            sink = self.make()
            sink.open()
            sink.write(_rows(0, 10))
            sink.close()
            # What stays from the first time belongs to libraries, which are loaded once.
            if number and (left := held.more(self.patience)):
                raise Broken(f"after `close` {', '.join(left)} was left.", "let go of everything in `close`.")

    def _take_or_refuse(self, batches: Sequence[pa.RecordBatch], what: str) -> None:
        before = sorted(self.written())
        sink = self.make()

        def write() -> None:
            for batch in batches:
                sink.write(batch)
            sink.flush()

        sink.open()
        try:
            error = raised_by(write)
        finally:
            # What was refused may be in the way of closing in good order; that it is refused was told already.
            with suppress(SinkError):
                sink.close()
        if error is None:
            expected = sorted([*before, *range(sum(batch.num_rows for batch in batches))])
            if (found := sorted(self.written())) != expected:
                raise Broken(
                    f"with {what}, {len(expected) - len(before)} rows were written and {len(found) - len(before)} "
                    "are durable.",
                    "write them all, or raise SinkError.",
                )
        elif not isinstance(error, SinkError):
            raise Broken(f"with {what} it {told(error)}.", "raise SinkError, and say which column cannot be written.")

    def _compare(self, count: int, when: str) -> None:
        found, expected = list(self.written()), list(range(count))
        if found == expected or (not self.ordered and sorted(found) == expected):
            return
        if sorted(found) == expected:
            raise Broken(
                f"{when} {count} rows are durable in another order than they were written in.",
                "keep the order, or set `ordered = False` where the sink spreads rows on purpose.",
            )
        missing, again = len(set(expected) - set(found)), len(found) - len(set(found))
        raise Broken(
            f"of {count} rows that were flushed, {when} {missing} are missing and {again} are there again.",
            "return from `flush` once everything is durable.",
        )


def _rows(first: int, count: int) -> pa.RecordBatch:
    """Rows of one partition: a number, text of any kind, a time."""
    texts = ["plain", "é\n\t\"'\\", None, "", "\x00\u2028"]
    numbers = range(first, first + count)
    return pa.record_batch(
        {
            PARTITION: pa.array(["p0"] * count, pa.string()),
            OFFSET: pa.array(numbers, pa.int64()),
            "row": pa.array(numbers, pa.int64()),
            "text": pa.array([texts[number % len(texts)] for number in numbers], pa.string()),
            "when": pa.array([number * 1_000_000 for number in numbers], pa.timestamp("us", "UTC")),
        }
    )
