"""One role's training session: the core, with its files, reports and checkpoints. Both drivers stand on it.

A driver brings rows and decides when a checkpoint is due; the session does everything that must be the
same whether rows are pulled from a datasource or pushed by an engine.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penrose_host.checkpoints import Checkpointer, CheckpointStore, Manifest, Retention
from penrose_host.contracts.batch import Position, Reject
from penrose_host.contracts.datasource import DataSource
from penrose_host.contracts.snapshots import Snapshot
from penrose_host.core.merge import Merge
from penrose_host.core.rows import Rows
from penrose_host.core.trainer import Trainer, TrainerConfig
from penrose_host.core.trainer_state import TrainerState, read_pending, restore_waiting
from penrose_host.errors import BadRow
from penrose_host.monitoring.events import CheckpointWritten, Events, Status
from penrose_host.outputs.dead_letter_outbox import DeadLetterOutbox
from penrose_host.outputs.dead_letters import DeadLetters
from penrose_host.outputs.lines import LinesFile
from penrose_host.outputs.predictions import PredictionsFolder
from penrose_host.training.reports import Reports

if TYPE_CHECKING:
    from penrose_host.config.job import Job, Until
    from penrose_host.contracts.executor import Executor
    from penrose_host.training.model import Model
    from penrose_host.training.restored import Restored

__all__ = ["Session", "SessionParts"]


@dataclass(frozen=True, slots=True)
class SessionParts:
    """What the runtime made for a session."""

    job: Job
    fingerprint: Mapping[str, Any]
    model: Model
    events: Events
    store: CheckpointStore
    run_dir: Path
    labels_on_arrival: bool
    skip_steps: frozenset[int] = frozenset()


class Session:
    """Takes rows, works through them, reports, and takes checkpoints that are written behind training."""

    def __init__(self, parts: SessionParts, restored: Restored) -> None:
        """Go on from what was restored. Nothing on disk is changed before `start`. Raises CheckpointDamaged."""
        job = parts.job
        self._parts = parts
        self._restored = restored
        self._stamps = restored.stamps
        #: Whether the stream had ended when the last checkpoint was taken, and its last report is written.
        self.finished = restored.finished
        self.metrics = restored.metrics
        self.progress = restored.progress
        self.events = parts.events
        self._outputs = restored.outputs
        self._lines = LinesFile(parts.run_dir / "metrics.jsonl", self._outputs["metrics"])
        self._dead_letters = DeadLetters(
            parts.run_dir / "dead-letter.jsonl", self._outputs["dead_letters"], wanted=job.bad_rows == "dead-letter"
        )
        folder, heads = job.output.predictions, tuple(restored.metrics.heads)
        self._predictions = (
            PredictionsFolder(parts.run_dir / folder, heads, self._outputs["predictions"])
            if folder is not None
            else None
        )
        self.trainer = self._trainer(heads)
        if (reader := restored.reader("trainer")) is not None:
            restore_waiting(reader, self.trainer)
            for rows in read_pending(reader):
                self.trainer.add(rows)
        self.reports = Reports(self.trainer, self.metrics, self._lines, parts.events, job.report.rows)
        #: Bytes of `dead-letter.jsonl` that the last durable checkpoint covers, and the one being written.
        self.durable_dead_letters = self._covered_dead_letters = self._outputs["dead_letters"]
        checkpoint = restored.checkpoint
        self.last_checkpoint = checkpoint.manifest if checkpoint else None
        self._pinned = checkpoint.manifest.external_id if checkpoint else None
        self._checkpoint_number = checkpoint.manifest.number if checkpoint else 0
        self._checkpointer = Checkpointer()
        self._retention = Retention(parts.store, job.checkpoint.keep)
        if checkpoint is not None:
            self.reports.recall()

    def _trainer(self, heads: tuple[str, ...]) -> Trainer:
        job, restored = self._parts.job, self._restored
        return Trainer(
            self._parts.model.executor,
            self.metrics,
            Merge(job.order, restored.names, restored.progress.clocks()),
            TrainerConfig(
                heads=heads,
                max_rows=job.micro_batch.rows,
                span=job.micro_batch.event_time,
                labels_on_arrival=self._parts.labels_on_arrival,
                max_waiting=job.waiting.max_rows,
                non_finite=job.non_finite,
                worker=restored.index,
            ),
            restored.progress,
            on_scored=self._predictions.append if self._predictions is not None else None,
            skip_steps=self._parts.skip_steps,
        )

    def start(self) -> None:
        """Take the run over, and cut its files back to the checkpoint. Raises CheckpointError, RunDirectoryError."""
        # The claim comes first: were the files cut and the claim not made, a newer checkpoint would miss their ends.
        self.trainer.incarnation = self._parts.store.claim(self._restored.checkpoint)
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
        return DeadLetterOutbox.open(self._parts.run_dir / "dead-letter.jsonl", source, self.durable_dead_letters)

    @property
    def executor(self) -> Executor:
        """What trains."""
        return self._parts.model.executor

    # -- rows ---------------------------------------------------------------------------------------

    def take(self, rows: Rows | None, rejects: Collection[Reject], stamps: Mapping[str, str] | None = None) -> None:
        """Take rows and rejects. Raises BadRow under `bad_rows: fail`."""
        for reject in rejects:
            if self._parts.job.bad_rows == "fail":
                raise BadRow(reject.partition, reject.offset, reject.reason)
        self.progress.reject(rejects)
        self._dead_letters.hold(rejects)
        self._stamps.update(stamps or {})
        if rows is not None:
            self.trainer.add(rows)
        self.settle()
        self.reports.note_bad_rows(tuple(rejects))

    def forget(self, partitions: Iterable[str]) -> None:
        """The source will never name these partitions again: neither will positions, clocks and stamps."""
        for name in partitions:
            self._stamps.pop(name, None)
        self.progress.forget(partitions)
        self.trainer.merge.forget(partitions)

    def reached(self, until: Until) -> bool:
        """Whether the run has come to one of these bounds: rows scored, or event time."""
        if until.rows is not None and self.progress.rows >= until.rows:
            return True
        return until.event_time is not None and self.trainer.reached(until.event_time)

    def work(self, until_rows: int | None = None, until_event_time: int | None = None) -> bool:
        """Work through some micro-batches, and report where one is due; False where there was nothing to do."""
        due = self.reports.next_rows
        worked = self.trainer.advance(due if until_rows is None else min(due, until_rows), until_event_time)
        if self.progress.rows >= due:
            self.settle()
            self.reports.write_if_due()
        return worked

    def settle(self, *, everything: bool = False) -> None:
        """Count bad rows that the position may pass, and keep them where the job says so."""
        self._dead_letters.release(self.progress.settle(everything=everything))

    # -- reports ------------------------------------------------------------------------------------

    def report(self, *, final: bool = False) -> None:
        """Write a line to `metrics.jsonl` and tell whoever listens."""
        self.settle()
        self.reports.write(final=final)

    def status(self, lag: Mapping[str, Any] | None, lag_seconds: float | None) -> Status:
        """How the run stands, for a live view."""
        loss, last = self.progress.mean_loss(), self.last_checkpoint
        return Status(
            rows=self.progress.rows,
            waiting=len(self.trainer.waiting),
            bad_rows=self.progress.bad_rows,
            loss=loss if loss is not None else self.reports.last.get("loss"),
            metrics=self.metrics.values(),
            lag=lag,
            lag_seconds=lag_seconds,
            checkpoint=None if last is None else (last.id, last.created),
        )

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
            fragment = self._parts.store.fragment(folder, self._restored.role, self._restored.index)
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
            self.durable_dead_letters = self._covered_dead_letters
            if self._parts.model.tables is not None:
                self._parts.model.tables.committed(manifest)
            self.events.tell(CheckpointWritten(manifest.id))
        return manifest

    def pin(self, external_id: str) -> None:
        """Keep the checkpoint of this engine id, however many newer ones there are, until another is pinned.

        Raises CheckpointNotFound where none of that id is durable.
        """
        self._parts.store.open(external_id)
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
        self._covered_dead_letters = self._dead_letters.length
        self._outputs |= {"metrics": self._lines.length, "dead_letters": self._covered_dead_letters}
        # Parts that a life without predictions did not touch are still there for the next one.
        if self._predictions is not None:
            self._outputs["predictions"] = self._predictions.parts
        state = {"outputs": self._outputs, "stamps": self._stamps, "finished": self.finished}
        return json.dumps(state, sort_keys=True).encode()
