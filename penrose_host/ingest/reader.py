"""Reading and encoding ahead of training: one thread that owns the datasource, and a queue bounded in bytes."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from penrose_host.contracts.batch import Position, Reject
from penrose_host.contracts.datasource import EndOfStream, Lag
from penrose_host.contracts.plugin import Capability

if TYPE_CHECKING:
    from penrose_host.contracts.batch import Chunk
    from penrose_host.contracts.datasource import DataSource
    from penrose_host.core.rows import Rows
    from penrose_host.outputs.dead_letter_outbox import DeadLetterOutbox

__all__ = ["Delivery", "Encoder", "Reader"]

MAX_BYTES = 32 << 20
CHUNK_ROWS = 16_384
POLL_SECONDS = 0.2
#: About what a reject takes beside the bytes of the row.
REJECT_BYTES = 256
#: How often an endless source is asked for new partitions, and any source for its lag.
SURVEY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the thread hands over: rows, rejects, partitions that are new or have ended, stamps that changed.

    `forgotten`: partitions that no position need name any more.
    """

    rows: Rows | None = None
    rejects: tuple[Reject, ...] = ()
    assigned: frozenset[str] = frozenset()
    ended: frozenset[str] = frozenset()
    forgotten: frozenset[str] = frozenset()
    stamps: Mapping[str, str] = field(default_factory=dict)
    end_of_stream: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes of all rows and rejects."""
        rows = self.rows.nbytes if self.rows is not None else 0
        return rows + sum(REJECT_BYTES + len(reject.raw) for reject in self.rejects)


class Encoder(Protocol):
    """Makes of a chunk what the host works with: a `FeatureEncoder`, or another."""

    def encode(self, chunk: Chunk) -> tuple[Rows, tuple[Reject, ...]]:
        """The rows that can be used, in order, and the rejects. Called on the reader's thread."""


class Reader:
    """Calls a datasource from one thread only. `get` gives deliveries in order, and raises what reading raised."""

    def __init__(
        self, source: DataSource, encoder: Encoder, assignment: Mapping[str, int | None], *, chunk_rows: int = 0
    ) -> None:
        """`source` is opened on the thread; so errors of opening come from `get` too."""
        self._source = source
        self._encoder = encoder
        self._assignment = dict(assignment)
        self._chunk_rows = chunk_rows or CHUNK_ROWS
        self._changed = threading.Condition()
        self._deliveries: deque[Delivery] = deque()
        self._bytes = 0
        self._read_rows = 0
        # What the source said last of how far reading is behind, and what was read since: in all, and by partition.
        self._lag: Lag | None = None
        self._lag_at = 0
        self._read_since: Counter[str] = Counter()
        self._calls: deque[Callable[[], None]] = deque()
        self._error: BaseException | None = None
        self._late_error: BaseException | None = None
        self._stopping = False
        self._paused: frozenset[str] = frozenset()
        self._forgotten: frozenset[str] = frozenset()
        self._thread = threading.Thread(target=self._run, name="penrose-reader", daemon=True)
        self._thread.start()

    def get(self, timeout: float) -> Delivery | None:
        """The next delivery; None where there is none within `timeout` seconds. Raises what reading raised."""
        with self._changed:
            if not self._deliveries and self._error is None:
                self._changed.wait(timeout)
            if self._deliveries:
                delivery = self._deliveries.popleft()
                self._bytes -= delivery.nbytes
                self._changed.notify_all()
                return delivery
            if self._error is not None:
                raise self._error
            return None

    @property
    def empty(self) -> bool:
        """Whether everything that was read has been handed over."""
        with self._changed:
            return not self._deliveries

    @property
    def lag(self) -> Lag | None:
        """How far reading is behind now: what the source said last, less what was read since; None where unknown."""
        with self._changed:
            lag, since = self._lag, dict(self._read_since)
            read = self._read_rows - self._lag_at
        if lag is None:
            return None
        return Lag(
            rows=None if lag.rows is None else max(lag.rows - read, 0),
            seconds=lag.seconds,
            partitions={name: max(rows - since.get(name, 0), 0) for name, rows in lag.partitions.items()},
        )

    def rows_behind(self, scored: int) -> int | None:
        """Rows of the stream that were not scored, where `scored` were of those handed over; None where unknown."""
        with self._changed:
            if self._lag is None or self._lag.rows is None:
                return None
            return max(self._lag.rows + self._lag_at - scored, 0)

    def commit(self, position: Position) -> None:
        """Tell the source, soon, that this position is durable."""
        self._call(lambda: self._source.commit(position))

    def send(self, outbox: DeadLetterOutbox, length: int) -> None:
        """Have the dead letters before `length` sent, soon."""
        self._call(lambda: outbox.send(length))

    def pause(self, partitions: Collection[str]) -> None:
        """Read nothing of these partitions until told otherwise."""
        wanted = frozenset(partitions)
        if wanted != self._paused:
            self._paused = wanted
            self._call(lambda: self._source.pause(wanted))

    def compact(self, position: Position) -> None:
        """Ask the source, soon, which partitions of this position it need not name; a delivery tells."""
        self._call(lambda: self._compact(position))

    def close(self) -> None:
        """Finish the calls that were asked for, close the source, end the thread.

        Raises what went wrong in a call or in closing. What reading ahead ran into and `get` did not come to is
        left for the next life of the run. May be called twice.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join()
        error, self._late_error = self._late_error, None
        if error is not None:
            raise error

    # -- on the thread ------------------------------------------------------------------------------

    def _call(self, call: Callable[[], None]) -> None:
        with self._changed:
            self._calls.append(call)
            self._changed.notify_all()

    def _run(self) -> None:
        try:
            self._source.open(self._assignment)
            self._read_all()
        except BaseException as error:  # reported by `get`, on the training thread
            with self._changed:
                self._error = error
                self._changed.notify_all()
        try:
            self._source.close()
        except BaseException as error:  # reported by `close`
            self._late_error = self._late_error or error

    def _read_all(self) -> None:
        ended: frozenset[str] = frozenset()
        stamps: dict[str, str] = {}
        surveyed = -SURVEY_SECONDS
        while self._may_read():
            try:
                chunk = self._source.read(self._chunk_rows, POLL_SECONDS)
            except EndOfStream:
                # It may be the first answer: the end comes with what nobody was told yet.
                last = frozenset(self._source.ended()) - ended
                told = _changed(stamps, self._source.stamps())
                self._survey()
                self._deliver(Delivery(ended=last, stamps=told, end_of_stream=True))
                self._serve_calls()
                return
            rows, rejects = self._encoder.encode(chunk) if chunk is not None else (None, ())
            assigned: frozenset[str] = frozenset()
            due = time.monotonic() - surveyed >= SURVEY_SECONDS
            if due:
                surveyed = time.monotonic()
                assigned = self._new_partitions()
            now_ended = frozenset(self._source.ended())
            now_stamps = dict(self._source.stamps())
            # What had ended and is not mentioned any more was forgotten too: it gave no row that a position could name.
            forgotten, self._forgotten = self._forgotten | (ended - now_ended), frozenset()
            for name in forgotten:
                self._assignment.pop(name, None)
            delivery = Delivery(
                rows if rows is not None and len(rows) else None,
                rejects,
                assigned,
                now_ended - ended,
                forgotten,
                _changed(stamps, now_stamps),
            )
            ended, stamps = now_ended, now_stamps
            if delivery != Delivery():
                self._deliver(delivery)
            if due:
                self._survey()  # only now: what the source says counts what it just gave as read

    def _survey(self) -> None:
        """Ask the source how far reading is behind."""
        lag = self._source.lag()
        with self._changed:
            self._lag, self._lag_at = lag, self._read_rows
            self._read_since.clear()

    def _new_partitions(self) -> frozenset[str]:
        if Capability.UNBOUNDED not in self._source.capabilities:
            return frozenset()
        new = frozenset(self._source.partitions()) - self._assignment.keys()
        if new:
            self._assignment.update(dict.fromkeys(new))
            self._source.open(self._assignment)
        return new

    def _compact(self, position: Position) -> None:
        self._forgotten |= position.offsets.keys() - self._source.compact(position).offsets.keys()

    def _may_read(self) -> bool:
        """Run what was asked for; wait while the queue is full. False once the reader is being closed."""
        while True:
            self._run_calls()
            with self._changed:
                if self._calls:
                    continue
                if self._stopping:
                    return False
                if self._bytes < MAX_BYTES:
                    return True
                self._changed.wait()

    def _serve_calls(self) -> None:
        """The stream has ended: only commits are still asked for."""
        while True:
            self._run_calls()
            with self._changed:
                if self._calls:
                    continue
                if self._stopping:
                    return
                self._changed.wait()

    def _run_calls(self) -> None:
        while True:
            with self._changed:
                if not self._calls:
                    return
                call = self._calls.popleft()
            try:
                call()
            except BaseException as error:
                self._late_error = error
                raise

    def _deliver(self, delivery: Delivery) -> None:
        with self._changed:
            self._deliveries.append(delivery)
            self._bytes += delivery.nbytes
            if (rows := delivery.rows) is not None:
                self._read_rows += len(rows)
                counts = np.bincount(rows.partition, minlength=len(rows.names)).tolist()
                self._read_since.update({name: n for name, n in zip(rows.names, counts, strict=False) if n})
            self._read_since.update(reject.partition for reject in delivery.rejects)
            self._changed.notify_all()


def _changed(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    return {name: stamp for name, stamp in new.items() if old.get(name) != stamp}
