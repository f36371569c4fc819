"""One role's training session: the core, with its files, reports and checkpoints. Both drivers stand on it.

A driver brings rows and decides when a checkpoint is due; the session does everything that must be the
same whether rows are pulled from a datasource or pushed by an engine.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penrose_host.checkpoints import Checkpoint, Checkpointer, CheckpointStore, Manifest, Retention
from penrose_host.contracts.batch import Position, Reject
from penrose_host.contracts.cluster import Role
from penrose_host.contracts.datasource import DataSource
from penrose_host.contracts.snapshots import Snapshot
from penrose_host.core.merge import Merge
from penrose_host.core.metrics.progressive import ProgressiveMetrics
from penrose_host.core.partition_names import Names
from penrose_host.core.progress import NEVER, Progress
from penrose_host.core.rows import Rows
from penrose_host.core.trainer import Trainer, TrainerConfig
from penrose_host.core.trainer_state import TrainerState, read_pending, read_progress, restore_waiting
from penrose_host.errors import BadRow, CheckpointDamaged
from penrose_host.outputs.dead_letter_outbox import DeadLetterOutbox
from penrose_host.outputs.dead_letters import DeadLetters
from penrose_host.outputs.lines import LinesFile
from penrose_host.outputs.predictions import PredictionsFolder

if TYPE_CHECKING:
    from penrose_host.config.job import Job
    from penrose_host.contracts.executor import Executor
    from penrose_host.plugins.hook_calls import Hooks
    from penrose_host.training.model import Model

__all__ = ["Session", "SessionParts"]


@dataclass(frozen=True, slots=True)
class SessionParts:
    """What the runner made for a session.

    `on_report` sees every report that is written; `on_bad_rows` how many rows were bad, and the last of them, where
    that many of them came that a report would be due.
    """

    job: Job
    fingerprint: Mapping[str, Any]
    model: Model
    hooks: Hooks
    store: CheckpointStore
    run_dir: Path
    source_id: str
    labels_on_arrival: bool
    role: Role = Role.CHIEF
    index: int = 0
    on_report: Callable[[Mapping[str, Any]], None] | None = None
    on_bad_rows: Callable[[int, int, Reject], None] | None = None
    skip_steps: frozenset[int] = frozenset()


class Session:
    """Takes rows, works through them, reports, and takes checkpoints that are written behind training."""

    def __init__(self, parts: SessionParts, checkpoint: Checkpoint | None) -> None:
        """`checkpoint`: go on from here. It is restored and verified, and nothing on disk is changed before `start`."""
        job = parts.job
        heads = tuple(label.name for label in job.features.labels)
        names = Names()
        self._parts = parts
        self._restored = checkpoint
        self._source_state: dict[str, str] = {}
        #: Whether the stream had ended when the last checkpoint was taken, and its last report is written.
        self.finished = False
        self.metrics = ProgressiveMetrics(heads, job.metrics)
        progress = Progress(parts.source_id, names)
        outputs: dict[str, int] = {"metrics": 0, "dead_letters": 0, "predictions": 0}
        if checkpoint is not None:
            progress = read_progress(self._reader(checkpoint, "trainer"), names)
            self.metrics.restore(self._reader(checkpoint, "metrics"))
            parts.model.restore(checkpoint, parts.role, parts.index)
            outputs = self._read_host_state(checkpoint)
        self.progress = progress
        self._lines = LinesFile(parts.run_dir / "metrics.jsonl", outputs["metrics"])
        self._dead_letters = DeadLetters(
            parts.run_dir / "dead-letter.jsonl", outputs["dead_letters"], wanted=job.bad_rows == "dead-letter"
        )
        folder = job.output.predictions
        self._predictions = (
            PredictionsFolder(parts.run_dir / folder, heads, outputs["predictions"]) if folder is not None else None
        )
        self.trainer = Trainer(
            parts.model.executor,
            self.metrics,
            Merge(job.order, names, progress.clocks()),
            TrainerConfig(
                heads=heads,
                max_rows=job.micro_batch.rows,
                span=job.micro_batch.event_time,
                labels_on_arrival=parts.labels_on_arrival,
                max_waiting=job.waiting.max_rows,
                non_finite=job.non_finite,
                worker=parts.index,
            ),
            progress,
            on_scored=self._predictions.append if self._predictions is not None else None,
            skip_steps=parts.skip_steps,
        )
        if checkpoint is not None:
            reader = self._reader(checkpoint, "trainer")
            restore_waiting(reader, self.trainer)
            for rows in read_pending(reader):
                self.trainer.add(rows)
        self._outputs = outputs
        #: What a report says of how far reading is behind; a driver that knows sets it.
        self.lag: Callable[[], Mapping[str, Any] | None] = lambda: None
        #: Bytes of `dead-letter.jsonl` that the last durable checkpoint covers, and the one being written.
        self.durable_letters = self._covered_letters = outputs["dead_letters"]
        self._pinned: str | None = checkpoint.manifest.external_id if checkpoint else None
        self._checkpoint_number = checkpoint.manifest.number if checkpoint else 0
        self._checkpointer = Checkpointer()
        self._retention = Retention(parts.store, job.checkpoint.keep)
        self._next_report = self._report_after(progress.rows)
        self._told_bad_rows = progress.bad_rows
        self._last_bad: Reject | None = None
        # Rows and clock at the last report, and at the last one that told of fewer rows.
        self._reported = self._before = (progress.rows, time.perf_counter())
        # A run that has nothing left to do ends with what its checkpoint measured.
        self.last_report: Mapping[str, Any] = (
            {} if checkpoint is None else self._figures(progress.bad_rows, progress.position())
        )
        self.last_checkpoint = checkpoint.manifest if checkpoint else None

    def start(self) -> None:
        """Take the run over, and cut its files back to the checkpoint. Raises CheckpointError, RunDirectoryError."""
        # The claim comes first: were the files cut and the claim not made, a newer checkpoint would miss their ends.
        self.trainer.incarnation = self._parts.store.claim(self._restored)
        self._lines.cut()
        self._dead_letters.cut()
        if self._predictions is not None:
            self._predictions.cut()
        self._parts.store.sweep()

    def outbox(self, source: DataSource) -> DeadLetterOutbox | None:
        """What takes dead letters to the source's own place for them; None where that is not wanted, or there is none.

        Raises RunDirectoryError.
        """
        if self._parts.job.bad_rows != "dead-letter":
            return None
        return DeadLetterOutbox.open(self._parts.run_dir / "dead-letter.jsonl", source, self.durable_letters)

    @property
    def executor(self) -> Executor:
        """What trains."""
        return self._parts.model.executor

    # -- rows ---------------------------------------------------------------------------------------

    @property
    def source_state(self) -> Mapping[str, str]:
        """Partition → stamp of its content, as the checkpoint knew it."""
        return self._source_state

    def take(self, rows: Rows | None, rejects: Collection[Reject], stamps: Mapping[str, str] | None = None) -> None:
        """Take rows and rejects. Raises BadRow under `bad_rows: fail`."""
        for reject in rejects:
            if self._parts.job.bad_rows == "fail":
                raise BadRow(reject.partition, reject.offset, reject.reason)
        self.progress.reject(rejects)
        self._dead_letters.hold(rejects)
        self._source_state.update(stamps or {})
        if rows is not None:
            self.trainer.add(rows)
        self.settle()
        self._last_bad = max(rejects, key=lambda reject: reject.offset, default=self._last_bad)
        if self.progress.bad_rows - self._told_bad_rows >= self._parts.job.report.rows:
            self._tell_bad_rows()

    def forget(self, partitions: Iterable[str]) -> None:
        """The source will never name these partitions again: neither will positions, clocks and stamps."""
        for name in partitions:
            self._source_state.pop(name, None)
        self.progress.forget(partitions)
        self.trainer.merge.forget(partitions)

    def work(self, until_rows: int | None = None, until_event_time: int | None = None) -> bool:
        """Work through some micro-batches, and report where one is due; False where there was nothing to do."""
        limit = self._next_report if until_rows is None else min(self._next_report, until_rows)
        worked = self.trainer.advance(limit, until_event_time)
        if self.progress.rows >= self._next_report:
            self.report()
            self._next_report = self._report_after(self.progress.rows)
        return worked

    def settle(self, *, everything: bool = False) -> None:
        """Count bad rows that the position may pass, and keep them where the job says so."""
        self._dead_letters.release(self.progress.settle(everything=everything))

    # -- reports ------------------------------------------------------------------------------------

    def report(self, *, final: bool = False) -> Mapping[str, Any]:
        """Write a line to `metrics.jsonl` and tell whoever listens."""
        self.settle()
        progress = self.progress
        bad_rows, position = (progress.bad_rows, progress.position()) if final else progress.told()
        rate = self._rate(progress.rows, time.perf_counter())
        report: dict[str, Any] = {
            **self._figures(bad_rows, position),
            "rows_per_second": round(rate, 1),
            "lag": self.lag(),
            "time": time.time(),
            "final": final,
        }
        self._told_bad_rows = progress.bad_rows
        progress.forget_losses()
        self._lines.append(json.dumps(report).encode())
        self.last_report = report
        if self._parts.on_report is not None:
            self._parts.on_report(report)
        self._parts.hooks.reported(report)
        return report

    def _tell_bad_rows(self) -> None:
        """A flood of bad rows is shown while it lasts; reports come by rows scored.

        How many bad rows have arrived before the next row is scored is chance, so that no line of `metrics.jsonl`,
        which is the same whenever the same rows are read, can tell of it.
        """
        self._told_bad_rows = self.progress.bad_rows
        if self._parts.on_bad_rows is not None and self._last_bad is not None:
            self._parts.on_bad_rows(self.progress.rows, self.progress.bad_rows, self._last_bad)

    def _figures(self, bad_rows: int, position: Position) -> dict[str, Any]:
        """What a report says of this instant, but for what belongs to the clock."""
        progress = self.progress
        return {
            "rows": progress.rows,
            "trained_rows": progress.trained_rows,
            "waiting_rows": len(self.trainer.waiting),
            "bad_rows": bad_rows,
            "skipped_rows": progress.skipped_rows,
            "steps": progress.sequence,
            **self.metrics.values(),
            "loss": progress.mean_loss(),
            "event_time": None if progress.clock == NEVER else progress.clock,
            "position": dict(position.offsets),
        }

    def _rate(self, rows: int, now: float) -> float:
        """Rows a second since the report before. One that tells of no more rows belongs to the same stretch:
        a last report right behind another must not say that the run stood still."""
        if rows > self._reported[0]:
            self._before = self._reported
        self._reported = (rows, now)
        return (rows - self._before[0]) / max(now - self._before[1], 1e-9)

    def _report_after(self, rows: int) -> int:
        every = self._parts.job.report.rows
        return (rows // every + 1) * every

    # -- checkpoints --------------------------------------------------------------------------------

    @property
    def checkpointing(self) -> bool:
        """Whether a checkpoint is still being written."""
        return self._checkpointer.busy

    def checkpoint(
        self, *, position: Position | None = None, external_id: str | None = None, finished: bool = False
    ) -> None:
        """Freeze this instant and write it behind. `position`, `external_id`: an engine's own.

        `finished`: the stream has ended. The checkpoint before must have ended (`poll` or `wait`).
        """
        self.finished = finished
        self.settle(everything=external_id is not None)
        rows = self.progress.rows
        # An engine's position stands for everything it pushed; ours for what was scored.
        pushed = external_id is not None
        snapshots: dict[str, Snapshot] = {
            "trainer": TrainerState(self.trainer, with_pending=pushed),
            "metrics": self.metrics.snapshot(),
            "executor": self._parts.model.executor.snapshot(),
        }
        if self._parts.model.tables is not None:
            snapshots |= self._parts.model.tables.snapshot()
        part = self._predictions.roll() if self._predictions is not None else None
        host = self._host_state()
        where = position or self.progress.position()
        number = self._checkpoint_number = self._checkpoint_number + 1

        def write() -> Manifest:
            folder = self._parts.store.begin(number)
            fragment = self._parts.store.fragment(folder, self._parts.role, self._parts.index)
            for name, snapshot in snapshots.items():
                snapshot.write(fragment.part(name))
            fragment.add("host.json", host)
            if self._predictions is not None:
                self._predictions.write(part)
            self._lines.sync()
            self._dead_letters.sync()
            manifest = self._parts.store.commit(
                folder,
                fragment.close(),
                rows=rows,
                position=where,
                job=self._parts.fingerprint,
                external_id=external_id,
            )
            self._retention.apply(pinned=self._pinned)
            return manifest

        self._checkpointer.submit(write)

    def poll(self, *, wait: bool = False) -> Manifest | None:
        """The manifest of the checkpoint in flight, once it is durable. Raises what writing it raised."""
        try:
            manifest = self._checkpointer.wait() if wait else self._checkpointer.poll()
        except BaseException:
            if self._parts.model.tables is not None:
                self._parts.model.tables.aborted()
            raise
        if manifest is not None:
            self.last_checkpoint = manifest
            self.durable_letters = self._covered_letters
            if self._parts.model.tables is not None:
                self._parts.model.tables.committed(manifest)
            self._parts.hooks.checkpoint_written(manifest.id)
        return manifest

    def pin(self, external_id: str) -> None:
        """Keep the checkpoint of this engine id, however many newer ones there are, until another is pinned."""
        self._pinned = external_id

    def unpin(self, external_id: str) -> None:
        """The engine will not come back to this one."""
        if self._pinned == external_id:
            self._pinned = None

    def close(self, *, wait: bool = True) -> None:
        """Close the files. `wait`: let a checkpoint in flight end first. May be called twice."""
        self._checkpointer.close(wait=wait)
        self._lines.close()
        self._dead_letters.close()

    def _host_state(self) -> bytes:
        self._covered_letters = self._dead_letters.length
        self._outputs |= {"metrics": self._lines.length, "dead_letters": self._covered_letters}
        # Parts that a life without predictions did not touch are still there for the next one.
        if self._predictions is not None:
            self._outputs["predictions"] = self._predictions.parts
        state = {"outputs": self._outputs, "stamps": self._source_state, "finished": self.finished}
        return json.dumps(state, sort_keys=True).encode()

    def _read_host_state(self, checkpoint: Checkpoint) -> dict[str, int]:
        prefix = f"{self._parts.role}-{self._parts.index}"
        reader = checkpoint.reader(self._parts.role, self._parts.index, "")
        try:
            state = json.loads(reader.read("host.json"))
            self._source_state, self.finished = dict(state["stamps"]), bool(state["finished"])
            return dict(state["outputs"])
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointDamaged(f"{prefix}/host.json cannot be understood: {error}") from error

    def _reader(self, checkpoint: Checkpoint, part: str) -> Any:
        return checkpoint.reader(self._parts.role, self._parts.index, part)
