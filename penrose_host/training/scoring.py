"""Scores a stream with the model of a checkpoint: no training, and nothing in the run directory is changed.

Rows come in the order of a run (`order`) and end where a run ends (`until`), but need no micro-batches of their own:
they are scored by `micro_batch.rows` at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from penrose_host.checkpoints import Checkpoint, Manifest
from penrose_host.checkpoints.reading import read_checkpoint
from penrose_host.contracts.datasource import DataSource
from penrose_host.core.merge import Merge
from penrose_host.core.metrics.progressive import ProgressiveMetrics
from penrose_host.core.partition_names import Names
from penrose_host.core.progress import Progress
from penrose_host.errors import BadRow, PenroseError, RunDirectoryError
from penrose_host.features.unlabelled import UnlabelledEncoder
from penrose_host.ingest.feed import Feed
from penrose_host.monitoring.events import Events, Listener, Noted
from penrose_host.outputs.dead_letters import DeadLetters
from penrose_host.outputs.predictions import PredictionsFolder
from penrose_host.training.model import Model, restore
from penrose_host.training.output_folder import check_output
from penrose_host.training.signals import StopRequest, stop_on_signals

if TYPE_CHECKING:
    from penrose_host.config.job import Job
    from penrose_host.config.resolve import Resolved
    from penrose_host.contracts.executor import Executor
    from penrose_host.core.rows import Rows
    from penrose_host.ingest.reader import Delivery

__all__ = ["Scored", "score"]

REPORT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Scored:
    """How scoring ended: `reason` is end-of-stream, until or signal. `metrics`: of the rows that have a label."""

    reason: str
    rows: int
    bad_rows: int
    checkpoint: str
    output: Path
    metrics: Mapping[str, Any]


def score(
    resolved: Resolved,
    output: Path,
    *,
    checkpoint: str | None = None,
    replace: bool = False,
    listeners: Iterable[Listener] = (),
    stop: StopRequest | None = None,
) -> Scored:
    """Score the job's stream from its start with a checkpoint (None: the newest) of the job's run directory.

    `output` gets the same Parquet files as `output.predictions` of a run; a label is null where the stream has none.
    Raises ConfigError where `output` is not empty (`replace`: parts in it are replaced), CheckpointError, DataError.
    """
    job = resolved.job
    check_output(output, job, replace=replace)
    stop, events = stop or StopRequest(), Events(listeners)
    with ExitStack() as stack:

        def read(found: Checkpoint) -> tuple[Model, Manifest]:
            stack.close()  # what a checkpoint that was removed meanwhile has left
            return restore(stack, resolved, found), found.manifest

        model, manifest = read_checkpoint(job.run_directory, checkpoint, read)
        text = f"scoring with checkpoint {manifest.id} of {job.run_directory}"
        events.tell(Noted("opened", text, {"id": manifest.id}))
        source: DataSource = resolved.datasource.create()
        stack.callback(source.close)
        if job.until.stream is not None:
            source.bound(job.until.stream)
        try:
            scorer = _Scorer(job, model.executor, source, output, events, stop)
            stack.callback(scorer.close)
            with stop_on_signals(stop):
                reason = scorer.run()
        except RunDirectoryError as error:  # what a run's own files would say, in a folder that is no run's
            hint = "free some space, or choose another folder with --output; what was scored stays in whole parts"
            raise PenroseError(error.message, hint=hint) from error
    progress = scorer.progress
    return Scored(reason, progress.rows, progress.bad_rows, manifest.id, output, scorer.metrics.values())


class _Scorer:
    """Takes rows from a source, brings them into their order, scores them, and writes what they got."""

    def __init__(
        self,
        job: Job,
        executor: Executor,
        source: DataSource,
        output: Path,
        events: Events,
        stop: Callable[[], bool],
    ) -> None:
        heads = tuple(label.name for label in job.features.labels)
        names = Names()
        self.progress = Progress(source.source_id, names)
        self.metrics = ProgressiveMetrics(heads, job.metrics)
        self.merge = Merge(job.order, names)
        self._job = job
        self._executor = executor
        self._events = events
        self._stop = stop
        self._predictions = PredictionsFolder(output, heads)
        self._dead_letters = DeadLetters(output / "dead-letter.jsonl", wanted=job.bad_rows == "dead-letter")
        assignment: dict[str, int | None] = dict.fromkeys(source.partitions())
        self._feed = Feed(source, UnlabelledEncoder(job.features), assignment, self, idle=job.idle)
        self._ended = False
        self._cut_at = self._told_at = time.monotonic()
        self._cut_rows = self._told_rows = 0

    def run(self) -> str:
        """Score until the end; returns why it came. Everything that was scored is on disk then."""
        self._predictions.cut()
        if self._job.bad_rows == "dead-letter":
            self._dead_letters.cut()
        with self._feed:
            reason = self._feed.run()
            self._settle()
            self._cut()
        bounded = reason == "end-of-stream" and self._job.until.stream is not None
        return "until" if bounded else reason

    def close(self) -> None:
        """Close the files. May be called twice."""
        self._dead_letters.close()

    # -- what the feed asks of a consumer ----------------------------------------------------------

    def accept(self, delivery: Delivery) -> None:
        """Take rows and rejects."""
        self.merge.forget(delivery.forgotten)
        self.progress.forget(delivery.forgotten)
        for reject in delivery.rejects:
            if self._job.bad_rows == "fail":
                raise BadRow(reject.partition, reject.offset, reject.reason)
        self.progress.reject(delivery.rejects)
        self._dead_letters.hold(delivery.rejects)
        if delivery.rows is not None:
            self.progress.arrive(self.merge.add(delivery.rows, self.progress.clock))
        self._settle()

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
        """Those that ran ahead of the merge."""
        return self.merge.ahead()

    def work(self) -> str | None:
        """Score the rows whose place is certain; returns why to stop, if so."""
        until = self._job.until
        if taken := self.merge.take(everything=self._ended):
            rows, clocks = taken
            clocks = np.maximum.accumulate(np.maximum(clocks, self.progress.clock))
            last = len(rows)
            if until.event_time is not None:
                last = int(np.searchsorted(clocks, until.event_time))
            if until.rows is not None:
                last = min(last, until.rows - self.progress.rows)
            for start in range(0, last, self._job.micro_batch.rows):
                if self._stop():
                    return "signal"
                end = min(start + self._job.micro_batch.rows, last)
                self._score(rows.take(slice(start, end)), int(clocks[end - 1]))
            if last < len(rows):
                return "until"
        if until.rows is not None and self.progress.rows >= until.rows:
            return "until"
        self._cut_if_due()
        return "signal" if self._stop() else None

    def _score(self, rows: Rows, clock: int) -> None:
        given = self._executor.predict(rows.batch())
        rows = rows.with_scores({head: np.array(given[head], dtype=np.float32) for head in self.metrics.heads})
        self._predictions.append(rows)
        self.progress.advance(rows, clock, clock)
        labelled = rows.has_label()
        if labelled.any():
            known = rows.take(np.flatnonzero(labelled))
            self.metrics.update(known.labels, known.scores or {}, known.event_time)
        self._settle()
        self._cut_if_due()

    def _settle(self) -> None:
        """Count bad rows that were come to, and keep them where the job says so."""
        self._dead_letters.release(self.progress.settle())

    def _cut_if_due(self) -> None:
        """Close a part as often as a run takes checkpoints; tell how far we are."""
        cadence, now, rows = self._job.checkpoint, time.monotonic(), self.progress.rows
        by_rows = cadence.rows is not None and rows - self._cut_rows >= cadence.rows
        by_time = cadence.seconds is not None and now - self._cut_at >= cadence.seconds and rows > self._cut_rows
        if by_rows or by_time:
            self._cut()
        if now - self._told_at >= REPORT_SECONDS:
            rate = (rows - self._told_rows) / (now - self._told_at)
            bad = f" · bad rows {self.progress.bad_rows:,}" if self.progress.bad_rows else ""
            facts = {"rows": rows, "bad_rows": self.progress.bad_rows}
            self._events.tell(Noted("scoring", f"{rows:>12,} rows · {rate:>9,.0f} rows/s{bad}", facts))
            self._told_at, self._told_rows = now, rows

    def _cut(self) -> None:
        """Make what was scored so far visible and durable, as whole parts."""
        self._predictions.write(self._predictions.roll())
        self._cut_at, self._cut_rows = time.monotonic(), self.progress.rows
        self._feed.compact(self.progress.position())
