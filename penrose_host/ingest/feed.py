"""The one pull loop: rows of a datasource, handed to whoever works through them, until one of both has had enough."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from penrose_host.contracts.plugin import Capability
from penrose_host.ingest.reader import Delivery, Encoder, Reader

if TYPE_CHECKING:
    from penrose_host.contracts.batch import Position
    from penrose_host.contracts.datasource import DataSource
    from penrose_host.core.merge import Merge

__all__ = ["Consumer", "Feed"]

#: How long a delivery is waited for before the loop looks around again.
WAIT_SECONDS = 0.1


class Consumer(Protocol):
    """Whoever works through rows: a run, a prediction, a replay."""

    @property
    def merge(self) -> Merge:
        """Where its rows come into their order."""

    def work(self) -> str | None:
        """Work through all that is complete; returns why to stop, if so."""

    def accept(self, delivery: Delivery) -> None:
        """Take rows, rejects and what is to be forgotten. Partitions that are new or have ended come apart."""

    def end(self, partitions: Iterable[str] | None = None) -> None:
        """These partitions will give no more rows; None: the stream has ended."""

    def idle(self, seconds: float, silent: Collection[str] = ()) -> bool:
        """Wait no longer for partitions that were silent for this long, or are named; False where nothing changes."""

    def paused(self) -> Collection[str]:
        """Partitions of which nothing more is to be read for now."""


class Feed:
    """Pulls a datasource for a consumer. Used as `with feed:`, which opens the source on a thread and closes it."""

    def __init__(
        self,
        source: DataSource,
        encoder: Encoder,
        assignment: Mapping[str, int | None],
        consumer: Consumer,
        *,
        idle: int | None = None,
        bounded: bool = False,
        chunk_rows: int = 0,
    ) -> None:
        """`idle`: microseconds after which a silent partition of an endless stream is not waited for any more.

        `bounded`: partitions that the source calls ended have only come to the bound of this run, and may go on in
        the next one.
        """
        self.endless = Capability.UNBOUNDED in source.capabilities
        self._source = source
        self._encoder = encoder
        self._assignment = dict(assignment)
        self._consumer = consumer
        # A bounded stream is never cut short: its silent partitions are only slow.
        self._idle = idle / 1e6 if idle is not None and self.endless else None
        self._chunk_rows = chunk_rows
        self._reader: Reader | None = None
        self._ended = False
        self._bounded: set[str] | None = set() if bounded else None
        self._listening = 0.0

    def __enter__(self) -> Self:
        self._consumer.merge.assign(self._assignment)
        self._reader = Reader(self._source, self._encoder, self._assignment, chunk_rows=self._chunk_rows)
        self._listening = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.reader.close()
            return
        with suppress(Exception):  # whatever else goes wrong now is not why this ends
            self.reader.close()

    @property
    def reader(self) -> Reader:
        """The thread that owns the source, while the feed is open."""
        assert self._reader is not None, "the feed is not open"
        return self._reader

    def run(self) -> str:
        """Hand rows over until the end; returns why it came.

        `end-of-stream`; `drained`: everything up to the bound was worked through, as far as its place is certain;
        or what the consumer said. Raises what reading or working raises.
        """
        while True:
            began = time.monotonic()
            if reason := self._consumer.work():
                return reason
            if self._ended:
                return "end-of-stream"
            if time.monotonic() - began > WAIT_SECONDS:
                # Whoever was not listened to meanwhile was not silent.
                self._listening = time.monotonic()
            # What was taken since may have let a partition catch up: nothing else would ever resume it.
            self.reader.pause(self._consumer.paused())
            delivery = self.reader.get(WAIT_SECONDS)
            if delivery is not None:
                self._accept(delivery)
            # What is queued may be rows of those that seem silent.
            changed = self.reader.empty and self._let_go()
            if delivery is None and not changed and self._drained():
                return "drained"

    def lag(self, worked: int) -> Mapping[str, Any] | None:
        """`rows` of the stream that were not worked through, where `worked` of those handed over were, and by
        partition those not yet read; None where nobody knows."""
        lag = self.reader.lag
        if lag is None or (behind := self.reader.rows_behind(worked)) is None:
            return None
        return {"rows": behind, "partitions": dict(lag.partitions)}

    def compact(self, position: Position) -> None:
        """Ask an endless source which partitions of this position can be forgotten; a delivery will tell."""
        if self.endless:
            self.reader.compact(position)

    def _accept(self, delivery: Delivery) -> None:
        self._consumer.merge.assign(delivery.assigned)
        self._consumer.accept(delivery)
        if self._bounded is not None:
            self._bounded |= delivery.ended
            return
        if delivery.ended:
            self._consumer.end(delivery.ended)
        if delivery.end_of_stream:
            self._ended = True
            self._consumer.end()

    def _let_go(self) -> bool:
        """Wait no longer for silent partitions, and for those that came to the bound; False where nothing changes."""
        if self._idle is None:
            return False
        listened = time.monotonic() - self._listening >= self._idle
        return self._consumer.idle(self._idle if listened else math.inf, self._bounded or ())

    def _drained(self) -> bool:
        """Whether no partition will give another row in this run, but those that wait for others to catch up."""
        return self._bounded is not None and self._consumer.merge.expected() <= self._bounded
