"""The pull driver: takes rows from a datasource until it ends, a limit is reached or a signal arrives."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from penrose_host.contracts.datasource import DataSource
from penrose_host.contracts.plugin import Capability
from penrose_host.ingest.feed import Feed
from penrose_host.monitoring.events import Progressed, Status

if TYPE_CHECKING:
    from penrose_host.checkpoints import Manifest
    from penrose_host.config.job import Job
    from penrose_host.core.merge import Merge
    from penrose_host.features.encoder import FeatureEncoder
    from penrose_host.ingest.reader import Delivery
    from penrose_host.training.session import Session

__all__ = ["PullDriver"]

#: The most rows that are asked of a source at a time, unless a micro-batch has more.
CHUNK_ROWS = 16_384


class PullDriver:
    """Drives a session from a datasource: `run` returns why it ended."""

    def __init__(
        self,
        job: Job,
        session: Session,
        source: DataSource,
        encoder: FeatureEncoder,
        assignment: Mapping[str, int | None],
        stop: Callable[[], bool],
    ) -> None:
        """`stop`: whether a signal asks for the end."""
        self._job = job
        self._session = session
        self._source = source
        self._stop = stop
        self._started_at = session.progress.rows
        self._feed = Feed(
            source,
            encoder,
            assignment,
            self,
            idle=job.idle,
            bounded=job.until.stream is not None,
            chunk_rows=max(job.micro_batch.rows, CHUNK_ROWS),
        )
        self._outbox = session.outbox(source)
        self._due_rows = 0
        self._due_time = 0.0
        self._saved = (0, 0, 0)

    def run(self) -> str:
        """Train until the end; `end-of-stream`, `until` or `signal`. The last checkpoint is durable then."""
        session, start = self._session, self._state()
        self._schedule()
        with self._feed:
            session.reports.lag = self._lag
            self._send_letters()
            reason = self._feed.run()
            ended = reason == "end-of-stream"
            if session.last_checkpoint is None or self._state() != start or ended > session.finished:
                self._finish(ended)
            if not ended:
                # Behind the checkpoint: a resumed run cuts this line off, and ends as if it had never stopped.
                session.report()
        return "until" if reason == "drained" else reason

    # -- what the feed asks of a consumer ----------------------------------------------------------

    @property
    def merge(self) -> Merge:
        """The trainer's."""
        return self._session.trainer.merge

    def work(self) -> str | None:
        """Work through what is complete; returns why to stop, if so."""
        until, session = self._job.until, self._session
        while True:
            if self._stop():
                return "signal"
            if session.reached(until):
                return "until"
            due = 0 if session.checkpointing else self._due_rows
            limits = [limit for limit in (due, until.rows) if limit]
            worked = session.work(min(limits, default=None), until.event_time)
            self._checkpoint_if_due()
            session.events.tell(Progressed(self._status))
            if not worked:
                return None

    def accept(self, delivery: Delivery) -> None:
        """Hand it to the session."""
        self._session.forget(delivery.forgotten)
        self._session.take(delivery.rows, delivery.rejects, delivery.stamps)
        if delivery.stamps and self._session.last_checkpoint is None and self._feed.endless:
            # Where an endless stream begins for this run (its `latest`) must survive a crash before any row came.
            self._checkpoint()

    def end(self, partitions: Iterable[str] | None = None) -> None:
        """Tell the trainer."""
        self._session.trainer.end(partitions)

    def idle(self, seconds: float, silent: Collection[str] = ()) -> bool:
        """Tell the trainer."""
        return self._session.trainer.idle(seconds, silent)

    def paused(self) -> Collection[str]:
        """Those that ran ahead of the merge."""
        return self.merge.ahead()

    # -- how the run stands ------------------------------------------------------------------------

    def _lag(self) -> Mapping[str, Any] | None:
        return self._feed.lag(self._session.progress.rows - self._started_at)

    def _status(self) -> Status:
        known = self._feed.reader.lag
        return self._session.status(self._lag(), known.seconds if known is not None else None)

    # -- checkpoints --------------------------------------------------------------------------------

    def _checkpoint_if_due(self) -> None:
        self._committed(self._session.poll())
        by_rows = self._due_rows > 0 and self._session.progress.rows >= self._due_rows
        by_time = self._due_time > 0 and time.monotonic() >= self._due_time and self._state() != self._saved
        if by_rows or by_time:
            self._checkpoint()

    def _checkpoint(self) -> None:
        """Take a checkpoint, unless one is still being written."""
        if self._session.checkpointing:
            return
        self._session.checkpoint()
        # What the source can do without is left out from the next checkpoint on.
        self._feed.compact(self._session.progress.position())
        self._schedule()

    def _finish(self, ended: bool) -> None:
        """The last checkpoint, and before it the last report if the stream has ended."""
        self._committed(self._session.poll(wait=True))
        if ended:
            self._session.report(final=True)
        self._session.checkpoint(finished=ended)
        self._committed(self._session.poll(wait=True))

    def _committed(self, manifest: Manifest | None) -> None:
        if manifest is None:
            return
        if Capability.COMMIT in self._source.capabilities:
            self._feed.reader.commit(manifest.position)
        self._send_letters()

    def _send_letters(self) -> None:
        """What an older life of the run did not come to is sent by this one."""
        if self._outbox is not None:
            self._feed.reader.send(self._outbox, self._session.durable_dead_letters)

    def _schedule(self) -> None:
        cadence = self._job.checkpoint
        self._saved = self._state()
        self._due_rows = self._session.progress.rows + cadence.rows if cadence.rows else 0
        self._due_time = time.monotonic() + cadence.seconds if cadence.seconds else 0.0

    def _state(self) -> tuple[int, int, int]:
        """What changes whenever something happens that a checkpoint should hold."""
        progress = self._session.progress
        return progress.rows, progress.sequence, progress.bad_rows
