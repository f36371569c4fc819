"""The pull driver: takes rows from a datasource until it ends, a limit is reached or a signal arrives."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from penrose_host.contracts.datasource import DataSource
from penrose_host.contracts.plugin import Capability
from penrose_host.ingest.reader import Reader

if TYPE_CHECKING:
    from penrose_host.checkpoints import Manifest
    from penrose_host.config.job import Job
    from penrose_host.features.encoder import FeatureEncoder
    from penrose_host.outputs.dead_letter_outbox import DeadLetterOutbox
    from penrose_host.training.session import Session

__all__ = ["Loop"]

WAIT_SECONDS = 0.1


class Loop:
    """Drives a session from a datasource: `run` returns why it ended."""

    def __init__(
        self,
        job: Job,
        session: Session,
        source: DataSource,
        encoder: FeatureEncoder,
        assignment: Mapping[str, int | None],
        stop: Callable[[], bool],
        on_tick: Callable[[Loop], None] | None = None,
    ) -> None:
        """`stop`: a signal asks for the end. `on_tick`: called a few times a second, for whoever watches."""
        self.session = session
        self.reader: Reader | None = None
        self.started_at = session.progress.rows
        self._job = job
        self._source = source
        self._encoder = encoder
        self._assignment = dict(assignment)
        self._stop = stop
        self._on_tick = on_tick
        self._ended = False
        # Partitions that were read up to `until.stream`; they have not ended: the next run goes on with them.
        self._bounded: set[str] = set()
        self._outbox: DeadLetterOutbox | None = None
        self._due_rows = 0
        self._due_time = 0.0
        self._saved = (0, 0, 0)

    def run(self) -> str:
        """Train until the end; `end-of-stream`, `until` or `signal`. The last checkpoint is durable then."""
        start = self._state()
        trainer = self.session.trainer
        trainer.merge.assign(self._assignment)
        self._schedule()
        self._outbox = self.session.outbox(self._source)
        self.reader = Reader(self._source, self._encoder, self._assignment, chunk_rows=self._chunk_rows())
        self.session.lag = self.lag
        self._send_letters()
        try:
            reason = self._pull()
            ended = reason == "end-of-stream"
            if self.session.last_checkpoint is None or self._state() != start or ended > self.session.finished:
                self._finish(ended)
            if not ended:
                # Behind the checkpoint: a resumed run cuts this line off, and ends as if it had never stopped.
                self.session.report()
        except BaseException:
            with suppress(Exception):  # whatever else goes wrong now is not why the run ends
                self.reader.close()
            raise
        self.reader.close()
        return reason

    def lag(self) -> Mapping[str, Any] | None:
        """`rows` of the stream that were not scored, and by partition those not yet read; None where nobody knows."""
        lag = self.reader.lag if self.reader is not None else None
        if self.reader is None or lag is None or lag.rows is None:
            return None
        behind = self.reader.rows_behind(self.session.progress.rows - self.started_at)
        return {"rows": behind, "partitions": dict(lag.partitions)}

    def _pull(self) -> str:
        assert self.reader is not None
        trainer = self.session.trainer
        idle = self._idle_seconds()
        seen: tuple[int, int, int] | None = None
        while True:
            reason = self._work()
            if reason is not None:
                return reason
            if self._ended:
                return "end-of-stream"
            # Also where nothing came: partitions that nobody waits for any more let others go on.
            self.reader.pause(trainer.merge.ahead())
            delivery = self.reader.get(WAIT_SECONDS)
            if delivery is None:
                # Not while something is queued: it may be rows of those that seem silent.
                if idle is not None:
                    trainer.idle(idle, self._bounded)
                # Twice the same: what became certain by the partitions that came to the bound has been worked through.
                last, seen = seen, self._state()
                if self._all_bounded() and seen == last:
                    return "until"
                continue
            seen = None
            trainer.merge.assign(delivery.assigned)
            self.session.forget(delivery.forgotten)
            self.session.take(delivery.rows, delivery.rejects, delivery.stamps)
            if self._job.until.stream is not None:
                self._bounded |= delivery.ended
            elif delivery.ended:
                trainer.end(delivery.ended)
            if delivery.stamps and self.session.last_checkpoint is None and self._endless():
                # Where an endless stream begins for this run (its `latest`) must survive a crash before any row came.
                self._checkpoint()
            if delivery.end_of_stream and self._job.until.stream is None:
                self._ended = True
                trainer.end()

    def _all_bounded(self) -> bool:
        """Whether no partition will give another row in this run, but those that wait for others to catch up."""
        return self._job.until.stream is not None and self.session.trainer.merge.expected() <= self._bounded

    def _work(self) -> str | None:
        """Work through what is complete; returns why to stop, if so."""
        until = self._job.until
        while True:
            if self._stop():
                return "signal"
            if until.rows is not None and self.session.progress.rows >= until.rows:
                return "until"
            if until.event_time is not None and self.session.trainer.reached(until.event_time):
                return "until"
            due = 0 if self.session.checkpointing else self._due_rows
            limits = [limit for limit in (due, until.rows) if limit]
            worked = self.session.work(min(limits, default=None), until.event_time)
            self._checkpoint_if_due()
            if self._on_tick is not None:
                self._on_tick(self)
            if not worked:
                return None

    # -- checkpoints --------------------------------------------------------------------------------

    def _checkpoint_if_due(self) -> None:
        self._committed(self.session.poll())
        by_rows = self._due_rows > 0 and self.session.progress.rows >= self._due_rows
        by_time = self._due_time > 0 and time.monotonic() >= self._due_time and self._state() != self._saved
        if by_rows or by_time:
            self._checkpoint()

    def _checkpoint(self) -> None:
        """Take a checkpoint, unless one is still being written."""
        if self.session.checkpointing:
            return
        self.session.checkpoint()
        if self.reader is not None and self._endless():
            # What the source can do without is left out from the next checkpoint on.
            self.reader.compact(self.session.progress.position())
        self._schedule()

    def _endless(self) -> bool:
        return Capability.UNBOUNDED in self._source.capabilities

    def _finish(self, ended: bool) -> None:
        """The last checkpoint, and before it the last report if the stream has ended."""
        self._committed(self.session.poll(wait=True))
        if ended:
            self.session.report(final=True)
        self.session.checkpoint(finished=ended)
        self._committed(self.session.poll(wait=True))

    def _committed(self, manifest: Manifest | None) -> None:
        if manifest is not None and self.reader is not None and Capability.COMMIT in self._source.capabilities:
            self.reader.commit(manifest.position)
        if manifest is not None:
            self._send_letters()

    def _send_letters(self) -> None:
        """What an older life of the run did not come to is sent by this one."""
        if self._outbox is not None and self.reader is not None:
            self.reader.send(self._outbox, self.session.durable_letters)

    def _schedule(self) -> None:
        cadence = self._job.checkpoint
        self._saved = self._state()
        self._due_rows = self.session.progress.rows + cadence.rows if cadence.rows else 0
        self._due_time = time.monotonic() + cadence.seconds if cadence.seconds else 0.0

    def _state(self) -> tuple[int, int, int]:
        """What changes whenever something happens that a checkpoint should hold."""
        progress = self.session.progress
        return progress.rows, progress.sequence, progress.bad_rows

    def _idle_seconds(self) -> float | None:
        # A bounded stream is never cut short: its silent partitions are only slow.
        if self._job.idle is None or not self._endless():
            return None
        return self._job.idle / 1e6

    def _chunk_rows(self) -> int:
        return max(self._job.micro_batch.rows, 16_384)
