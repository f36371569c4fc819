"""Replaying a stream: which rows go out, in which order, how fast, and how it ends."""

from __future__ import annotations

import io
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings, strategies as st
from replay_support import EVENT_TIME, GivenSource, KeepingSink, chunk, plan

from penrose_host import Capability, Reject, StopRequest
from penrose_host.core.merge import AHEAD
from penrose_host.errors import BadRow, DataError, SinkError
from penrose_host.ingest import reader
from penrose_host.ingest.reader import MAX_BYTES
from penrose_host.monitoring.terminal import Terminal
from penrose_host.replays import Pace, publisher, replay
from penrose_host.replays.pace import LONGEST, TICK
from penrose_host.replays.publisher import BATCH_ROWS


def sink_of(made: Any) -> Any:
    return made.sink.plugin


def places(made: Any) -> list[tuple[str, int]]:
    return [(row["_partition"], row["_offset"]) for row in sink_of(made).rows()]


# -- order ------------------------------------------------------------------------------------------


@st.composite
def streams(draw: st.DrawFn) -> tuple[dict[str, list[int]], list[pa.RecordBatch]]:
    """Partition → event times, and the same rows in chunks: of one partition or of several, with changing columns."""
    names = draw(st.lists(st.text("abp01", min_size=1, max_size=2), min_size=1, max_size=4, unique=True))
    times = {name: draw(st.lists(st.integers(-5, 30), max_size=25)) for name in names}
    following = dict.fromkeys(names, 0)
    chunks = []
    while left := [name for name in names if following[name] < len(times[name])]:
        rows = []
        for _ in range(draw(st.integers(1, 3))):
            name = draw(st.sampled_from(left))
            stop = min(following[name] + draw(st.integers(1, 10)), len(times[name]))
            rows += [(name, offset, times[name][offset]) for offset in range(following[name], stop)]
            following[name] = stop
        more: dict[str, Any] = {"value": pa.array([f"{name}/{offset}" for name, offset, _ in rows])}
        if draw(st.booleans()):
            more["value"] = more["value"].dictionary_encode()
        if draw(st.integers(0, 3)) == 0:
            more["extra"] = pa.array([offset if offset % 2 else None for _, offset, _ in rows], pa.int32())
        if rows:
            chunks.append(chunk(rows, **more))
    return times, chunks


@settings(max_examples=60)
@given(streams())
def test_partitions_are_merged_by_their_latest_event_time_the_partition_and_the_offset(stream: Any) -> None:
    times, chunks = stream
    order = []
    for name, values in times.items():
        running = np.maximum.accumulate(values) if values else []
        order += [(int(time), name, offset) for offset, time in enumerate(running)]
    made = plan(chunks)

    done = replay(made)

    assert (done.reason, done.rows, done.bad_rows) == ("end-of-stream", len(order), 0)
    assert places(made) == [(name, offset) for _, name, offset in sorted(order)]
    given = {(row["_partition"], row["_offset"]): row for batch in chunks for row in batch.to_pylist()}
    assert sink_of(made).rows() == [given[place] for place in places(made)]
    assert all(batch.num_rows for batch in sink_of(made).batches)


def test_columns_and_their_types_stay_what_they_are() -> None:
    values = {
        "text": pa.array(["é", None, ""], pa.large_string()),
        "word": pa.array(["x", "y", None]).dictionary_encode(),
        "tags": pa.array([["a"], None, []], pa.list_(pa.string())),
        "inner": pa.array([{"a": 1}, None, {"a": None}], pa.struct({"a": pa.int8()})),
        "when": pa.array([1, 2, None], pa.timestamp("ns", "Europe/Berlin")),
        "price": pa.array([1.5, float("inf"), None], pa.float32()),
    }
    chunks = [chunk([(name, offset, offset * 2) for offset in range(3)], **values) for name in ("a", "b")]
    made = plan(chunks)

    replay(made)

    assert places(made) == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2), ("b", 2)]
    assert all(batch.schema.equals(chunks[0].schema) for batch in sink_of(made).batches)
    both = [row for batch in chunks for row in batch.to_pylist()]
    assert sink_of(made).rows() == [row for pair in zip(both[:3], both[3:], strict=True) for row in pair]


def test_partitions_given_as_a_dictionary_are_merged_too() -> None:
    rows = [("b", 0, 5), ("a", 0, 5), ("b", 1, 6)]
    coded = chunk(rows)
    coded = coded.set_column(0, "_partition", coded.column(0).dictionary_encode())
    made = plan([coded])
    replay(made)
    assert places(made) == [("a", 0), ("b", 0), ("b", 1)]


@pytest.mark.parametrize("event_time", [None, EVENT_TIME])
def test_in_order_of_arrival_nothing_is_moved_and_no_event_time_is_needed(event_time: Any) -> None:
    made = plan([chunk([("b", 0, 9), ("a", 0, None)]), chunk([("a", 1, 3)])], order="arrival", event_time=event_time)
    done = replay(made)
    assert places(made) == [("b", 0), ("a", 0), ("a", 1)]
    assert done.event_time is None


def test_a_sink_gets_no_more_at_once_than_it_can_hold() -> None:
    rows = 2 * BATCH_ROWS + 1
    made = plan([chunk([("a", offset, offset) for offset in range(rows)])])
    replay(made)
    assert [batch.num_rows for batch in sink_of(made).batches] == [BATCH_ROWS, BATCH_ROWS, 1]


def test_an_empty_stream_is_flushed_and_writes_nothing() -> None:
    made = plan([])
    assert replay(made).rows == 0
    assert sink_of(made).calls == ["open", "flush", "close"]


def test_a_partition_that_runs_ahead_is_held_back_and_memory_stays_bounded() -> None:
    """The stream is five times what may be held at once; `a` comes last, and all of `b` belongs behind it."""
    width, size = 1024, 8192
    limit = AHEAD + MAX_BYTES // width + 4 * size
    text = pa.array(["x" * width] * size)
    ahead = [chunk([("b", n * size + i, 10**6) for i in range(size)], text=text) for n in range(5 * limit // size)]
    made = plan([*ahead, chunk([("a", 0, 1)], text=text[:1])], sink=Counting)
    source = made.datasource.plugin
    given_before_a: list[int] = []
    read = source.read

    def counted(self: Any, max_rows: int, timeout: float) -> Any:
        found = read(self, max_rows, timeout)
        if found is not None and found.batch.column("_partition")[0].as_py() == "a":
            given_before_a.append(len(ahead) - len(self._left))
        return found

    source.read = counted
    done = replay(made)
    assert done.rows == len(ahead) * size + 1
    assert given_before_a[0] * size < limit


def test_wide_rows_of_many_partitions_are_held_back_by_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_BYTES", 1 << 20)
    monkeypatch.setattr(publisher, "KEPT_BYTES", 4 << 20)
    rows, half_a_megabyte = 16, 1 << 19
    text = pa.array(["x" * (half_a_megabyte // rows)] * rows)
    wide = [
        chunk([(name, n * rows + i, 10**6) for i in range(rows)], text=text) for n in range(40) for name in "bcdefghi"
    ]
    made = plan([*wide, chunk([("a", 0, 1)])], sink=Counting)
    source = made.datasource.plugin
    read, before_a = source.read, []

    def counted(self: Any, max_rows: int, timeout: float) -> Any:
        found = read(self, max_rows, timeout)
        if found is not None and found.batch.num_rows == 1:
            before_a.append(len(wide) - len(self._left))
        return found

    source.read = counted
    assert replay(made).rows == len(wide) * rows + 1
    # What may wait, what may be on its way, a chunk of each partition, and the one in hand.
    assert before_a[0] * half_a_megabyte <= (4 + 1 + 4 + 1) << 20


def test_types_that_cannot_be_moved_row_by_row_go_out_in_pieces() -> None:
    chunks = [
        chunk([(name, offset, offset // 2) for offset in range(4)], view=pa.array(list("wxyz"), pa.string_view()))
        for name in "ab"
    ]
    made = plan(chunks)
    replay(made)
    assert places(made) == [(name, offset) for pair in ((0, 1), (2, 3)) for name in "ab" for offset in pair]
    assert "".join(row["view"] for row in sink_of(made).rows()) == "wxwxyzyz"
    assert [batch.num_rows for batch in sink_of(made).batches] == [2, 2, 2, 2]


class Counting(KeepingSink):
    def write(self, rows: pa.RecordBatch) -> None:
        self.calls.append("write")


# -- bounds and bad rows ----------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 7, 10])
def test_only_the_first_rows_are_published(rows: int) -> None:
    made = plan([chunk([(name, offset, offset) for offset in range(5)]) for name in "ab"], rows=rows)
    done = replay(made)
    assert (done.reason, done.rows) == ("rows", rows)
    assert places(made) == [(name, offset) for offset in range(5) for name in "ab"][:rows]
    assert sink_of(made).calls[-2:] == ["flush", "close"]


def test_more_rows_than_there_are_end_with_the_stream() -> None:
    assert replay(plan([chunk([("a", 0, 1)])], rows=2)).reason == "end-of-stream"


BAD = {1: (Reject("a", 2, "is no JSON", b"{"),)}
CHUNKS = [chunk([("a", 0, 1), ("a", 1, None)]), chunk([("a", 3, 4)])]


def test_a_bad_row_ends_it_and_says_where_it_is() -> None:
    with pytest.raises(BadRow, match="partition 'a', offset 1: the event time, column 't', is null") as raised:
        replay(plan(CHUNKS))
    assert "--bad-rows skip" in str(raised.value)
    with pytest.raises(BadRow, match="offset 2: is no JSON"):
        replay(plan(CHUNKS[1:], {0: BAD[1]}))


def test_bad_rows_can_be_counted_instead() -> None:
    made = plan(CHUNKS, BAD, bad_rows="skip")
    done = replay(made)
    assert (done.rows, done.bad_rows) == (2, 2)
    assert places(made) == [("a", 0), ("a", 3)]


def test_what_was_published_before_an_error_is_flushed_and_told() -> None:
    made = plan([chunk([("a", 0, 1)]), chunk([("a", 1, 2)]).drop_columns(["t"])])
    shown = io.StringIO()
    with pytest.raises(DataError, match="the stream has no column 't'"):
        replay(made, listeners=[Terminal("text", shown)])
    assert sink_of(made).calls[-2:] == ["flush", "close"]
    assert made.datasource.plugin.closed
    assert f"{len(places(made))} rows were given to the sink before the error" in shown.getvalue()


class Full(KeepingSink):
    def write(self, rows: pa.RecordBatch) -> None:
        raise SinkError("the disk is full")


def test_a_sink_that_fails_ends_it_and_is_not_flushed() -> None:
    made = plan([chunk([("a", 0, 1)])], sink=Full)
    with pytest.raises(SinkError, match="the disk is full"):
        replay(made)
    assert sink_of(made).calls == ["open", "close"]
    assert made.datasource.plugin.closed


class Shut(KeepingSink):
    def open(self) -> None:
        raise SinkError("nobody is there")


def test_a_sink_that_cannot_be_opened_is_known_before_anything_is_read() -> None:
    made = plan([chunk([("a", 0, 1)])], sink=Shut)
    with pytest.raises(SinkError, match="nobody is there"):
        replay(made)
    assert sink_of(made).calls == ["close"]


def test_a_stop_ends_it_in_good_order_with_what_was_published() -> None:
    stop = StopRequest()

    class Stopping(KeepingSink):
        def write(self, rows: pa.RecordBatch) -> None:
            super().write(rows)
            stop.set()

    rows = 3 * BATCH_ROWS
    made = plan([chunk([("a", offset, offset) for offset in range(rows)])], sink=Stopping)
    done = replay(made, stop=stop)
    assert (done.reason, done.rows, done.event_time) == ("signal", BATCH_ROWS, BATCH_ROWS - 1)
    assert sink_of(made).calls == ["open", "write", "flush", "close"]


# -- pace -------------------------------------------------------------------------------------------


class Clock:
    """Time that passes only while somebody sleeps, or says that something took it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.slept.append(seconds)
        self.now += seconds


def paced(times: list[int], speed: float, seconds_a_write: float = 0.0) -> tuple[Clock, list[float]]:
    """Replay rows of these event times; the clock, and when each row was written."""
    clock, written = Clock(), []

    class Noting(KeepingSink):
        def write(self, rows: pa.RecordBatch) -> None:
            written.extend([clock.now] * rows.num_rows)
            clock.now += seconds_a_write

    made = plan([chunk([("a", offset, time) for offset, time in enumerate(times)])], sink=Noting)
    done = replay(made, pace=Pace(speed, clock, clock.sleep))
    assert done.rows == len(times) == len(written)
    return clock, written


@given(st.lists(st.integers(0, 3_000_000), min_size=1, max_size=30), st.sampled_from([0.5, 1.0, 60.0]))
@settings(max_examples=30)
def test_each_row_is_published_when_it_is_due_and_at_most_a_tick_later(gaps: list[int], speed: float) -> None:
    times = np.cumsum([1_385_856_000_000_000, *gaps[1:]]).tolist()
    _, written = paced(times, speed)
    for time, at in zip(times, written, strict=True):
        late = at - 1000.0 - (time - times[0]) / 1e6 / speed
        assert -1e-4 < late <= TICK + 1e-4


def test_a_long_pause_in_the_stream_is_slept_in_short_naps() -> None:
    clock, written = paced([0, 3_600_000_000], 60.0)
    assert written[1] == pytest.approx(1060.0, abs=TICK)
    assert max(clock.slept) <= LONGEST


def test_a_replay_that_fell_behind_catches_up_without_sleeping() -> None:
    _, written = paced([0, 1_000_000, 2_000_000, 100_000_000], 1.0, seconds_a_write=10.0)
    assert written[1:3] == [1010.0, 1010.0]
    assert written[3] == pytest.approx(1100.0, abs=TICK)


def test_rows_that_come_fast_go_in_batches() -> None:
    _, written = paced(list(range(0, 1_000_000, 100)), 1.0)
    assert len(set(written)) <= 1 / TICK + 2
    assert all(b >= a for a, b in pairwise(written))


def test_a_stop_ends_the_wait_for_a_row_that_is_not_due() -> None:
    stop, clock = StopRequest(), Clock()

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        if len(clock.slept) == 5:
            stop.set()

    made = plan([chunk([("a", 0, 0), ("a", 1, 10**12)])])
    done = replay(made, stop=stop, pace=Pace(1.0, clock, sleep))
    assert (done.reason, done.rows) == ("signal", 1)
    assert len(clock.slept) == 5


def test_arrivals_can_be_paced_too() -> None:
    clock = Clock()
    made = plan([chunk([("b", 0, 5_000_000), ("a", 0, 0), ("a", 1, 7_000_000)])], order="arrival")
    replay(made, pace=Pace(1.0, clock, clock.sleep))
    assert places(made) == [("b", 0), ("a", 0), ("a", 1)]
    assert clock.now == pytest.approx(1002.0, abs=TICK)


def test_a_partition_is_not_silent_because_rows_of_others_are_not_due(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    for module in ("penrose_host.core.merge", "penrose_host.replays.publisher"):
        monkeypatch.setattr(f"{module}.time", SimpleNamespace(monotonic=clock))
    monkeypatch.setattr(GivenSource, "capabilities", frozenset({Capability.UNBOUNDED}))
    second = 1_000_000
    made = plan(
        [
            chunk([("a", 0, 0), ("a", 1, 5 * second), ("b", 0, 5 * second)]),
            chunk([("a", 2, 20 * second)]),
            chunk([("a", 3, 30 * second)]),
            chunk([("b", 1, 10 * second)]),
        ],
        idle=50_000,
    )
    replay(made, pace=Pace(1.0, clock, clock.sleep))
    assert places(made) == [("a", 0), ("a", 1), ("b", 0), ("b", 1), ("a", 2), ("a", 3)]
