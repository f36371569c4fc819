"""Scores a stream with the model of a checkpoint: no training, and nothing in the run directory is changed.

Rows come in the order of a run (`order`) and end where a run ends (`until`), but need no micro-batches of their own:
they are scored by `micro_batch.rows` at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from penrose_host.checkpoints import Checkpoint, Manifest
from penrose_host.checkpoints.reading import read_checkpoint
from penrose_host.contracts.datasource import DataSource
from penrose_host.contracts.plugin import Capability
from penrose_host.core.merge import Merge
from penrose_host.core.metrics.progressive import ProgressiveMetrics
from penrose_host.core.partition_names import Names
from penrose_host.core.progress import Progress
from penrose_host.errors import BadRow, PenroseError, RunDirectoryError
from penrose_host.features.unlabelled import UnlabelledEncoder
from penrose_host.ingest.reader import Reader
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
    from penrose_host.monitoring.terminal import Display

__all__ = ["Scored", "score"]

WAIT_SECONDS = 0.1
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
    display: Display | None = None,
    stop: StopRequest | None = None,
) -> Scored:
    """Score the job's stream from its start with a checkpoint (None: the newest) of the job's run directory.

    `output` gets the same Parquet files as `output.predictions` of a run; a label is null where the stream has none.
    Raises ConfigError where `output` is not empty (`replace`: parts in it are replaced), CheckpointError, DataError.
    """
    job = resolved.job
    check_output(output, job, replace=replace)
    stop = stop or StopRequest()
    with ExitStack() as stack:

        def read(found: Checkpoint) -> tuple[Model, Manifest]:
            stack.close()  # what a checkpoint that was removed meanwhile has left
            return restore(stack, resolved, found), found.manifest

        model, manifest = read_checkpoint(job.run_directory, checkpoint, read)
        if display is not None:
            display.note(f"scoring with checkpoint {manifest.id} of {job.run_directory}", "opened", id=manifest.id)
        source: DataSource = resolved.datasource.create()
        stack.callback(source.close)
        if job.until.stream is not None:
            source.bound(job.until.stream)
        try:
            scorer = _Scorer(job, model.executor, source, output, display)
            stack.callback(scorer.close)
            with stop_on_signals(stop):
                reason = scorer.run(stop)
        except RunDirectoryError as error:  # what a run's own files would say, in a folder that is no run's
            hint = "free some space, or choose another folder with --output; what was scored stays in whole parts"
            raise PenroseError(error.message, hint=hint) from error
    progress = scorer.progress
    return Scored(reason, progress.rows, progress.bad_rows, manifest.id, output, scorer.metrics.values())


class _Scorer:
    """Takes rows from a source, brings them into their order, scores them, and writes what they got."""

    def __init__(self, job: Job, executor: Executor, source: DataSource, output: Path, display: Display | None) -> None:
        heads = tuple(label.name for label in job.features.labels)
        names = Names()
        self.progress = Progress(source.source_id, names)
        self.metrics = ProgressiveMetrics(heads, job.metrics)
        self._job = job
        self._executor = executor
        self._source = source
        self._display = display
        self._merge = Merge(job.order, names)
        self._predictions = PredictionsFolder(output, heads)
        self._dead_letters = DeadLetters(output / "dead-letter.jsonl", wanted=job.bad_rows == "dead-letter")
        self._reader: Reader | None = None
        self._ended = False
        self._cut_at = self._told_at = time.monotonic()
        self._cut_rows = self._told_rows = 0

    def run(self, stop: Callable[[], bool]) -> str:
        """Score until the end; returns why it came. Everything that was scored is on disk then."""
        self._predictions.cut()
        if self._job.bad_rows == "dead-letter":
            self._dead_letters.cut()
        assignment: dict[str, int | None] = dict.fromkeys(self._source.partitions())
        self._merge.assign(assignment)
        self._reader = reader = Reader(self._source, UnlabelledEncoder(self._job.features), assignment)
        try:
            reason = self._pull(reader, stop)
            self._settle()
            self._cut()
        except BaseException:
            with suppress(Exception):  # whatever else goes wrong now is not why scoring ends
                reader.close()
            raise
        reader.close()
        return reason

    def close(self) -> None:
        """Close the files. May be called twice."""
        self._dead_letters.close()

    def _pull(self, reader: Reader, stop: Callable[[], bool]) -> str:
        unbounded = Capability.UNBOUNDED in self._source.capabilities
        idle = self._job.idle / 1e6 if self._job.idle is not None and unbounded else None
        while True:
            reason = self._work(stop)
            if reason is not None:
                return reason
            if self._ended:
                return "end-of-stream" if self._job.until.stream is None else "until"
            # What was taken since may have let a partition catch up: nothing else would ever resume it.
            reader.pause(self._merge.ahead())
            delivery = reader.get(WAIT_SECONDS)
            if idle is not None:
                self._merge.idle(idle)
            if delivery is None:
                continue
            self._merge.assign(delivery.assigned)
            self._merge.forget(delivery.forgotten)
            self.progress.forget(delivery.forgotten)
            for reject in delivery.rejects:
                if self._job.bad_rows == "fail":
                    raise BadRow(reject.partition, reject.offset, reject.reason)
            self.progress.reject(delivery.rejects)
            self._dead_letters.hold(delivery.rejects)
            if delivery.rows is not None:
                self.progress.arrive(self._merge.add(delivery.rows, self.progress.clock))
            self._merge.end(delivery.ended)
            self._ended |= delivery.end_of_stream
            self._settle()

    def _work(self, stop: Callable[[], bool]) -> str | None:
        """Score the rows whose place is certain; returns why to stop, if so."""
        until = self._job.until
        if taken := self._merge.take(everything=self._ended):
            rows, clocks = taken
            clocks = np.maximum.accumulate(np.maximum(clocks, self.progress.clock))
            last = len(rows)
            if until.event_time is not None:
                last = int(np.searchsorted(clocks, until.event_time))
            if until.rows is not None:
                last = min(last, until.rows - self.progress.rows)
            for start in range(0, last, self._job.micro_batch.rows):
                if stop():
                    return "signal"
                end = min(start + self._job.micro_batch.rows, last)
                self._score(rows.take(slice(start, end)), int(clocks[end - 1]))
            if last < len(rows):
                return "until"
        if until.rows is not None and self.progress.rows >= until.rows:
            return "until"
        self._cut_if_due()
        return "signal" if stop() else None

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
        if self._display is not None and now - self._told_at >= REPORT_SECONDS:
            rate = (rows - self._told_rows) / (now - self._told_at)
            bad = f" · bad rows {self.progress.bad_rows:,}" if self.progress.bad_rows else ""
            facts = {"rows": rows, "bad_rows": self.progress.bad_rows}
            self._display.note(f"{rows:>12,} rows · {rate:>9,.0f} rows/s{bad}", "scoring", **facts)
            self._told_at, self._told_rows = now, rows

    def _cut(self) -> None:
        """Make what was scored so far visible and durable, as whole parts."""
        self._predictions.write(self._predictions.roll())
        self._cut_at, self._cut_rows = time.monotonic(), self.progress.rows
        if self._reader is not None and Capability.UNBOUNDED in self._source.capabilities:
            self._reader.compact(self.progress.position())
