"""Reads a datasource, brings its rows into their order, and publishes them through a sink."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from penrose_host.contracts.datasource import DataSource
from penrose_host.contracts.sink import Sink
from penrose_host.core.merge import Merge
from penrose_host.core.partition_names import Names
from penrose_host.core.progress import Progress
from penrose_host.errors import BadRow, SinkError
from penrose_host.ingest.feed import Feed
from penrose_host.monitoring.events import Events, Listener, Noted
from penrose_host.replays.pace import Pace
from penrose_host.replays.whole import WholeRows
from penrose_host.training.signals import StopRequest, stop_on_signals

if TYPE_CHECKING:
    from penrose_host.contracts.batch import Int64
    from penrose_host.core.rows import Rows
    from penrose_host.ingest.reader import Delivery
    from penrose_host.replays.plan import Plan

__all__ = ["Replayed", "replay"]

REPORT_SECONDS = 5.0
#: Where so much waits for its place in the merge, nothing more is read but what it waits for.
KEPT_BYTES = 256 << 20
#: The most rows that a sink gets at once.
BATCH_ROWS = 16_384


@dataclass(frozen=True, slots=True)
class Replayed:
    """How a replay ended: `reason` is end-of-stream, rows or signal; `event_time`: the latest, in microseconds."""

    reason: str
    rows: int
    bad_rows: int
    event_time: int | None


def replay(
    plan: Plan, *, listeners: Iterable[Listener] = (), stop: StopRequest | None = None, pace: Pace | None = None
) -> Replayed:
    """Publish the datasource's rows from its start; what was published is flushed before this returns, or raises.

    `pace`: by default what `plan.speed` says. Raises SinkError, DataError; BadRow under `bad_rows: fail`.
    """
    stop = stop or StopRequest()
    if pace is None and plan.speed is not None:
        pace = Pace(plan.speed)
    with ExitStack() as stack, stop_on_signals(stop):
        source: DataSource = plan.datasource.create()
        stack.callback(source.close)
        sink: Sink = plan.sink.create()
        stack.callback(sink.close)
        sink.open()
        publisher = _Publisher(plan, source, sink, pace, Events(listeners), stop)
        try:
            reason = publisher.run()
            sink.flush()
        except Exception as error:
            if not isinstance(error, SinkError):
                with suppress(Exception):  # what ends the replay is the other one
                    sink.flush()
            publisher.tell("were given to the sink before the error")
            raise
    progress = publisher.progress
    event_time = progress.clock if progress.rows and publisher.timed else None
    return Replayed(reason, progress.rows, progress.bad_rows, event_time)


class _Publisher:
    """One replay: rows go from the reader through the merge to the sink."""

    def __init__(
        self,
        plan: Plan,
        source: DataSource,
        sink: Sink,
        pace: Pace | None,
        events: Events,
        stop: Callable[[], bool],
    ) -> None:
        names = Names()
        self.progress = Progress(source.source_id, names)
        self._plan = plan
        self._sink = sink
        self._pace = pace
        self._events = events
        self._stop = stop
        self.merge = Merge(plan.order, names)
        #: Whether it matters when a row happened; otherwise nobody asks.
        self.timed = plan.order == "event_time" or pace is not None
        self._whole = WholeRows(plan.event_time if self.timed else None)
        assignment: dict[str, int | None] = dict.fromkeys(source.partitions())
        self._feed = Feed(source, self._whole, assignment, self, idle=plan.idle)
        self._ended = False
        self._told_at, self._told_rows = time.monotonic(), 0

    def run(self) -> str:
        """Publish until the end; returns why it came."""
        with self._feed:
            reason = self._feed.run()
            self.progress.settle(everything=self._ended)
        return reason

    def tell(self, doing: str = "published") -> None:
        """Say how far it is."""
        now, rows, bad_rows = time.monotonic(), self.progress.rows, self.progress.bad_rows
        rate = (rows - self._told_rows) / max(now - self._told_at, 1e-9)
        bad = f" · bad rows {bad_rows:,}" if bad_rows else ""
        text = f"{rows:>12,} rows {doing} · {rate:>9,.0f} rows/s{bad}"
        self._events.tell(Noted("replaying", text, {"rows": rows, "bad_rows": bad_rows}))
        self._told_at, self._told_rows = now, rows

    # -- what the feed asks of a consumer ----------------------------------------------------------

    def accept(self, delivery: Delivery) -> None:
        """Take rows and rejects."""
        self.merge.forget(delivery.forgotten)
        self.progress.forget(delivery.forgotten)
        if delivery.rejects and self._plan.bad_rows == "fail":
            bad = delivery.rejects[0]
            error = BadRow(bad.partition, bad.offset, bad.reason)
            error.hint = "to go on past bad rows, and count them: --bad-rows skip"
            raise error
        self.progress.reject(delivery.rejects)
        if delivery.rows is not None:
            self.progress.arrive(self.merge.add(delivery.rows, self.progress.clock))
        self.progress.settle()

    def end(self, partitions: Iterable[str] | None = None) -> None:
        """These partitions have ended; None: the stream has, and nothing needs to be waited for."""
        if partitions is None:
            self._ended = True
        else:
            self.merge.end(partitions)

    def idle(self, seconds: float, silent: Collection[str] = ()) -> bool:
        """Tell the merge."""
        return self.merge.idle(seconds, silent)

    def paused(self) -> Collection[str]:
        """Those that ran ahead of the merge; where much is kept, all but those that it waits for."""
        return self.merge.holding() if self._whole.nbytes > KEPT_BYTES else self.merge.ahead()

    def work(self) -> str | None:
        """Publish the rows whose place is certain; returns why to stop, if so."""
        if self._tell_if_due():
            self._feed.compact(self.progress.position())
        limit = self._plan.rows
        if taken := self.merge.take(everything=self._ended):
            rows, clocks = taken
            clocks = np.maximum.accumulate(np.maximum(clocks, self.progress.clock))
            last = len(rows) if limit is None else min(len(rows), limit - self.progress.rows)
            if not self._publish(rows.take(slice(0, last)), clocks[:last]):
                return "signal"
        if limit is not None and self.progress.rows >= limit:
            return "rows"
        return "signal" if self._stop() else None

    def _publish(self, rows: Rows, clocks: Int64) -> bool:
        """Hand rows to the sink, when they are due; False where it was to stop before the end."""
        start = 0
        while start < len(rows):
            if self._stop():
                return False
            stop_at = min(start + BATCH_ROWS, len(rows))
            if self._pace is not None:
                stop_at = start + self._pace.due(clocks[start:stop_at])
                if stop_at == start:
                    self._pace.wait(int(clocks[start]))
                    self._tell_if_due()
                    continue
            part = rows.take(slice(start, stop_at))
            for batch in self._whole.take(part):
                self._sink.write(batch)
            clock = int(clocks[stop_at - 1])
            self.progress.advance(part, clock, clock)
            start = stop_at
            self._tell_if_due()
        return True

    def _tell_if_due(self) -> bool:
        due = time.monotonic() - self._told_at >= REPORT_SECONDS
        if due:
            self.tell()
        return due
