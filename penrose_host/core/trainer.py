"""The source-free core: cut, score, wait for labels, train, snapshot.

Rows go in, in any chunks; everything that follows is a function of the rows and the configuration alone.
`advance` works through complete micro-batches by windows: all that can be planned for a window (cuts,
watermarks, which waiting rows are released when) is computed for all its micro-batches at once, so that a
micro-batch of four rows costs little more than the executor's own step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from penrose_host.contracts.batch import Position, StepInfo, StepResult
from penrose_host.core.merge import Merge
from penrose_host.core.progress import Progress
from penrose_host.core.rows import Rows
from penrose_host.core.waiting import WaitingRows
from penrose_host.errors import NonFiniteLoss, TrainingError

if TYPE_CHECKING:
    from penrose_host.contracts.batch import EncodedBatch, Float32, Int64
    from penrose_host.contracts.executor import Executor
    from penrose_host.core.metrics.progressive import ProgressiveMetrics

__all__ = ["Trainer", "TrainerConfig"]

#: A window should take about this many seconds: between windows signals are seen and checkpoints taken.
WINDOW_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class TrainerConfig:
    """What the core needs of the job; times in microseconds. `non_finite`: stop | skip."""

    heads: tuple[str, ...]
    max_rows: int
    span: int | None
    labels_on_arrival: bool
    max_waiting: int
    non_finite: str = "stop"
    worker: int = 0


class Trainer:
    """Scores each row, then trains on it once its label is known."""

    def __init__(
        self,
        executor: Executor,
        metrics: ProgressiveMetrics,
        merge: Merge,
        config: TrainerConfig,
        progress: Progress,
        *,
        incarnation: int = 1,
        on_scored: Callable[[Rows], None] | None = None,
        skip_steps: Iterable[int] = (),
    ) -> None:
        """`progress`: where a restored run stands. `on_scored` sees every row once, with its scores, in order."""
        self.executor = executor
        self.metrics = metrics
        self.merge = merge
        self.config = config
        self.progress = progress
        self.waiting = WaitingRows(config.max_waiting)
        self.incarnation = incarnation
        self._on_scored = on_scored
        self._skip_steps = frozenset(skip_steps)
        self._ready: Rows | None = None
        self._clocks: Int64 = np.empty(0, dtype=np.int64)
        self._starts: Int64 = np.empty(0, dtype=np.int64)
        self._ends: Int64 = np.empty(0, dtype=np.int64)
        self._ended = False
        self._stride = 1

    # -- rows in ----------------------------------------------------------------------------------

    def add(self, rows: Rows) -> None:
        """Take rows, in order within each partition. Nothing is scored yet."""
        self.progress.arrive(self.merge.add(rows, self.progress.clock))
        self._refill()

    def end(self, partitions: Iterable[str] | None = None) -> None:
        """These partitions have ended; None: the stream has. The end releases all rows that wait."""
        if partitions is not None:
            self.merge.end(partitions)
        else:
            self._ended = True
        self._refill()

    def idle(self, seconds: float, silent: Collection[str] = ()) -> bool:
        """Wait no longer for partitions that were silent for this long, or will be; False where nothing changes."""
        changed = self.merge.idle(seconds, silent)
        if changed:
            self._refill()
        return changed

    def process(self, rows: Rows) -> None:
        """Take rows and work through every micro-batch that is complete with them."""
        self.add(rows)
        while self.advance():
            pass

    def reached(self, event_time: int) -> bool:
        """Whether every row before this event time has been scored, and one that is not has arrived."""
        return len(self._clocks) > 0 and int(self._clocks[0]) >= event_time

    def pending(self) -> list[Rows]:
        """Rows that arrived and have not been scored, in order within each partition."""
        return ([] if self._ready is None else [self._ready]) + self.merge.pending()

    # -- working through them ---------------------------------------------------------------------

    def advance(self, until_rows: int | None = None, until_event_time: int | None = None) -> bool:
        """Work through some complete micro-batches; False where there was nothing to do.

        Stops behind the first micro-batch with which `progress.rows` reaches `until_rows`, and before
        the first that starts at `until_event_time` or later.
        """
        began = time.perf_counter()
        count = min(self._stride, len(self._starts))
        if count and until_rows is not None:
            count = min(count, 1 + int(np.searchsorted(self._ends, until_rows - self.progress.rows)))
        if count and until_event_time is not None:
            count = int(np.searchsorted(self._clocks[self._starts[:count]], until_event_time))
        if count:
            self._window(count)
        elif len(self._starts) or not self._ended or not self._release_rest():
            return False
        took = time.perf_counter() - began
        if took < WINDOW_SECONDS / 2:
            self._stride = min(self._stride * 2, 1024)
        elif took > WINDOW_SECONDS * 2:
            self._stride = max(self._stride // 2, 1)
        return True

    def _refill(self) -> None:
        """Move rows whose place is certain behind the ready ones, and find the complete micro-batches."""
        taken = self.merge.take(everything=self._ended)
        if taken is not None:
            rows, clocks = taken
            last = self._clocks[-1] if len(self._clocks) else self.progress.clock
            # Under `arrival` the clocks of different partitions interleave; cuts follow the latest seen.
            clocks = np.maximum.accumulate(np.maximum(clocks, last))
            if self._ready is not None:
                rows = Rows.concat([self._ready, rows])
                clocks = np.concatenate([self._clocks, clocks])
            self._ready, self._clocks = rows, clocks
        self._cut()

    def _cut(self) -> None:
        """Find where each complete micro-batch of the ready rows starts and ends."""
        total = len(self._clocks)
        if total == 0:
            return
        breaks = np.zeros(1, dtype=np.int64)
        if self.config.span is not None:
            periods = self._clocks // self.config.span
            breaks = np.concatenate([breaks, np.flatnonzero(np.diff(periods)) + 1])
        pieces = -(-np.diff(breaks, append=total) // self.config.max_rows)
        first = np.repeat(np.cumsum(pieces) - pieces, pieces)
        starts = np.repeat(breaks, pieces) + (np.arange(len(first)) - first) * self.config.max_rows
        # Only a row that belongs to the next micro-batch, or the full number of rows, completes one.
        complete = self._ended or total - int(starts[-1]) == self.config.max_rows
        count = len(starts) if complete else len(starts) - 1
        self._starts, self._ends = starts[:count], np.append(starts[1:], total)[:count]

    def _window(self, count: int) -> None:
        """Score and train the first `count` micro-batches."""
        assert self._ready is not None
        starts, ends = self._starts[:count], self._ends[:count]
        total = int(ends[-1])
        block = self._ready.take(slice(0, total))
        watermarks = self.progress.watermarks(
            block, self._clocks, starts, merged=self.merge.merged, active=self.merge.active()
        )
        if self.config.labels_on_arrival:
            block = self._train_on_arrival(block, starts, ends)
        else:
            block = self._train_when_known(block, starts, ends, watermarks)
        if self._on_scored is not None:
            self._on_scored(block)
        self.progress.advance(block, int(self._clocks[total - 1]), int(watermarks[-1]))
        rest = len(self._clocks) > total
        self._ready = self._ready.take(slice(total, len(self._clocks))) if rest else None
        self._clocks = self._clocks[total:]
        self._starts, self._ends = self._starts[count:] - total, self._ends[count:] - total

    def _train_on_arrival(self, block: Rows, starts: Int64, ends: Int64) -> Rows:
        """One forward pass a micro-batch: its scores are those of the training step, before the update."""
        batch, labelled = block.batch(), block.has_label()
        scores = self._empty_scores(len(block))
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            micro = batch.slice(start, end)
            known = labelled[start:end]
            if known.all():
                position = partial(self.progress.position_after, block, end)
                given = self._train(micro, block.event_time[start:end], position)
                self._store(scores, start, end, given if given is not None else self.executor.predict(micro))
                continue
            self._store(scores, start, end, self.executor.predict(micro))
            if known.any():
                labels = block.take(start + np.flatnonzero(known))
                self._train(labels.batch(), labels.event_time, partial(self.progress.position_after, block, end))
        block = block.with_scores(scores)
        self._measure(block if labelled.all() else block.take(np.flatnonzero(labelled)))
        return block

    def _train_when_known(self, block: Rows, starts: Int64, ends: Int64, watermarks: Int64) -> Rows:
        """Before each micro-batch is scored, train on the rows whose label its watermark makes known."""
        count = len(starts)
        micro_batch = np.repeat(np.arange(count), ends - starts)
        release = np.maximum(np.searchsorted(watermarks, block.known_at, side="left"), micro_batch + 1)
        labelled = block.has_label()
        fresh = np.flatnonzero(labelled & (release < count))
        old = self.waiting.release(int(watermarks[-1]))
        when = release[fresh]
        due = block.take(fresh)
        if old is not None:
            when = np.concatenate([np.searchsorted(watermarks, old.known_at, side="left"), when])
            due = Rows.concat([old.without_scores(), due])
        order = np.lexsort((due.offset, self.merge.names.ranks()[due.partition], due.known_at, when))
        due = due.take(order)
        bounds = np.searchsorted(when[order], np.arange(count + 1)).tolist()

        batch = block.batch()
        scores = self._empty_scores(len(block))
        for number, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
            self._train_steps(
                due, bounds[number], bounds[number + 1], partial(self.progress.position_after, block, start)
            )
            self._store(scores, start, end, self.executor.predict(batch.slice(start, end)))

        block = block.with_scores(scores)
        given = {head: column[fresh] for head, column in scores.items()}
        if old is not None and old.scores is not None:
            given = {head: np.concatenate([old.scores[head], column]) for head, column in given.items()}
        self._measure(due.with_scores({head: column[order] for head, column in given.items()}))
        self.waiting.add(block.take(np.flatnonzero(labelled & (release >= count))))
        return block

    def _release_rest(self) -> bool:
        """The stream has ended: train on what still waits, in the same order. False where nothing does."""
        watermark = self.waiting.earliest(self._stride * self.config.max_rows)
        if watermark is None:
            return False
        due = self.waiting.release(watermark)
        assert due is not None
        ranks = self.merge.names.ranks()[due.partition]
        due = due.take(np.lexsort((due.offset, ranks, due.known_at)))
        # Whole steps only, so that the cuts do not depend on how much is released at a time.
        whole = len(due) - len(due) % self.config.max_rows if len(self.waiting) else len(due)
        if whole == 0:
            whole = len(due)
        self.waiting.add(due.take(slice(whole, len(due))))
        due = due.take(slice(0, whole))
        self._train_steps(due, 0, len(due), self.progress.position)
        self._measure(due)
        return True

    def _train_steps(self, due: Rows, start: int, end: int, position: Callable[[], Position]) -> None:
        batch = due.batch()
        for first in range(start, end, self.config.max_rows):
            stop = min(first + self.config.max_rows, end)
            self._train(batch.slice(first, stop), due.event_time[first:stop], position)

    def _train(
        self, batch: EncodedBatch, event_time: Int64, position: Callable[[], Position]
    ) -> Mapping[str, Float32] | None:
        """One training step; returns its scores, None where nothing was trained."""
        progress = self.progress
        progress.sequence += 1
        if progress.sequence in self._skip_steps:
            progress.skipped_rows += len(batch)
            return None
        step = StepInfo(
            self.config.worker, self.incarnation, progress.sequence, position, lambda: int(event_time.max())
        )
        result = self.executor.train(batch, step)
        if not isinstance(result, StepResult):
            raise self._unfit(f"`train` gave {result!r:.80} in step {progress.sequence} instead of a StepResult")
        if not result.applied:
            if self.config.non_finite != "skip":
                raise NonFiniteLoss(progress.sequence, dict(result.losses), position())
            progress.skipped_rows += len(batch)
            return None
        progress.trained(len(batch), result.losses)
        return result.scores

    def _measure(self, rows: Rows) -> None:
        if len(rows) and rows.scores is not None:
            self.metrics.update(rows.labels, rows.scores, rows.event_time)

    def _empty_scores(self, rows: int) -> dict[str, Float32]:
        return {head: np.empty(rows, dtype=np.float32) for head in self.config.heads}

    def _store(self, scores: Mapping[str, Float32], start: int, end: int, given: Mapping[str, Float32]) -> None:
        """Keep the scores of one micro-batch. Raises TrainingError where they are not of its rows and heads."""
        for head, column in scores.items():
            try:
                column[start:end] = given[head]
            except (LookupError, TypeError, ValueError) as error:
                what = f"{type(error).__name__}: {error}"
                raise self._unfit(f"the scores of {head!r} are not float32 [{end - start}]: {what}") from error

    def _unfit(self, what: str) -> TrainingError:
        """What the executor handed out is not what executors promise."""
        name = f"{type(self.executor).__module__}.{type(self.executor).__qualname__}"
        return TrainingError(
            f"the executor {name} does not keep its contract: {what}",
            hint="if it is yours, its tests can check that: `class TestMine(penrose_host.testing.ExecutorContract)`",
        )
