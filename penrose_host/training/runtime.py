"""Runs a job: plugins, run directory, resume, roles. `run` is what `penrose run` and Python programs call."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from penrose_host.checkpoints import Checkpoint, CheckpointStore
from penrose_host.config.job import Job
from penrose_host.config.resolve import Resolved, load, resolve
from penrose_host.contracts.cluster import ClusterSpec, Role
from penrose_host.contracts.datasource import DataSource
from penrose_host.contracts.environment import Environment, RunResult, Runtime
from penrose_host.contracts.run_spec import PluginRef, RunSpec
from penrose_host.delivery.export import export
from penrose_host.errors import ConfigError, NonFiniteLoss, RunDirectoryError, WrongStream
from penrose_host.features.encoder import FeatureEncoder
from penrose_host.monitoring.events import (
    Events,
    Exported,
    ExportSkipped,
    Listener,
    Opened,
    RolledBack,
    RunEnded,
    RunStarted,
)
from penrose_host.monitoring.hook_listener import listening_hooks
from penrose_host.monitoring.plugin_logs import plugin_logs
from penrose_host.plugins.hook_calls import Hooks
from penrose_host.storage.durable_files import write_atomic
from penrose_host.storage.run_directory import locked
from penrose_host.storage.write_errors import write_errors
from penrose_host.training.model import Model, build, refuse_another_job
from penrose_host.training.pull_driver import PullDriver
from penrose_host.training.push_driver import PushDriver
from penrose_host.training.restored import Restored
from penrose_host.training.rollback import RollbackPolicy
from penrose_host.training.session import Session, SessionParts
from penrose_host.training.signals import StopRequest, stop_on_signals

__all__ = ["HostRuntime", "run"]


def run(
    job: Job | Resolved | Path | str,
    *,
    resume_from: str | None = None,
    fresh: bool = False,
    listeners: Iterable[Listener] = (),
    stop: StopRequest | None = None,
) -> RunResult:
    """Run a job (or a job file) to its end and return how it ended; goes on from the last checkpoint, if any.

    `resume_from`: a checkpoint's id instead of the last one. `fresh`: leave every checkpoint and start anew.
    `listeners` are told what happens. `stop`: set it (from another thread) to end in good order. Raises PenroseError.
    """
    if isinstance(job, Path | str):
        job = load(job, fresh=fresh)
    resolved = job if isinstance(job, Resolved) else resolve(job, fresh=fresh)
    environment: Environment = resolved.environment.create()
    runtime = HostRuntime(resolved, resume_from=resume_from, fresh=fresh, listeners=listeners, stop=stop)
    return environment.run(runtime.spec, runtime)


@dataclass(frozen=True, slots=True)
class _Start:
    """Where a life of the run begins: at a checkpoint by its id (the host's or an engine's), the newest, or anew."""

    checkpoint: str | None = None
    newest: bool = False

    def find(self, store: CheckpointStore) -> Checkpoint | None:
        """The checkpoint to go on from. Raises CheckpointNotFound, CheckpointDamaged."""
        if self.checkpoint is not None:
            return store.open(self.checkpoint)
        return store.latest() if self.newest else None


@dataclass(frozen=True, slots=True)
class _Opened:
    """Everything that one life of a role works with."""

    session: Session
    restored: Restored
    encoder: FeatureEncoder
    hooks: Hooks
    events: Events


class HostRuntime(Runtime):
    """The host, as environments see it."""

    def __init__(
        self,
        resolved: Resolved,
        *,
        resume_from: str | None = None,
        fresh: bool = False,
        listeners: Iterable[Listener] = (),
        stop: StopRequest | None = None,
    ) -> None:
        if resume_from is not None and fresh:
            raise ConfigError([("--fresh", "cannot be combined with --resume-from")])
        self._resolved = resolved
        self._listeners = tuple(listeners)
        self._stop = stop or StopRequest()
        self._run_dir = resolved.job.run_directory
        self._start = _Start(resume_from, newest=not fresh)
        self._rollback = RollbackPolicy(wanted=resolved.job.non_finite == "rollback")
        self.spec = _spec(resolved, resume_from, fresh)

    def run_role(self, role: Role, index: int, cluster: ClusterSpec) -> RunResult:
        if not 0 <= index < self.spec.roles.get(role, 0):
            has = ", ".join(f"{count} {name}" for name, count in self.spec.roles.items())
            raise ConfigError(
                [("environment", f"it starts a process as {role} {index}, and this job has {has} and nothing else")],
                hint="start the roles that the run spec names; the chief of such a job does everything itself",
            )
        with locked(self._run_dir), stop_on_signals(self._stop):
            return self._rollback.run(lambda: self._train(role, index, cluster), self._roll_back)

    @contextmanager
    def operator(
        self, *, source_id: str, partitions: Collection[str] = (), resume_from: str | None = None
    ) -> Iterator[PushDriver]:
        """The push driver. `resume_from`: the engine's id of its last committed checkpoint; None starts anew."""
        job = self._resolved.job
        if job.until.stream is not None:
            raise ConfigError(
                [("until.stream", "is where a datasource's stream is, and this run is pushed by an engine")],
                hint="bound the run with until.rows or until.event_time, or let the engine stop pushing",
            )
        with locked(self._run_dir), ExitStack() as stack:
            opened = self._open(stack, Role.CHIEF, 0, ClusterSpec.single(), source_id, _Start(resume_from))
            opened.session.start()
            self._keep_job()
            operator = PushDriver(opened.session, opened.encoder, job.until, self._rollback, partitions)
            with self._told(opened) as outcome:
                yield operator
                # An engine that lets go before the stream has ended was asked to stop.
                reason = "until" if operator.done else "end-of-stream" if operator.finished else "signal"
                outcome.append(self._end(opened, reason))

    def _keep_job(self) -> None:
        with write_errors(RunDirectoryError, path := self._run_dir / "job.yaml"):
            write_atomic(path, self._resolved.to_yaml().encode())

    # -- one life of a role -------------------------------------------------------------------------

    def _roll_back(self, error: NonFiniteLoss) -> None:
        self._start = _Start(newest=True)
        Events(self._listeners).tell(RolledBack(error.message))

    def _train(self, role: Role, index: int, cluster: ClusterSpec) -> RunResult:
        with ExitStack() as stack:
            source: DataSource = self._resolved.datasource.create()
            stack.callback(source.close)
            opened = self._open(stack, role, index, cluster, source.source_id, self._start)
            session, known = opened.session, dict[str, int]()
            if (checkpoint := opened.restored.checkpoint) is not None:
                # First: what a followed stream has forgotten is no partition of it any more.
                source.expect(opened.restored.stamps)
                known = dict(checkpoint.manifest.position.offsets)
            if (bound := self._resolved.job.until.stream) is not None:
                source.bound(bound)
            assignment: dict[str, int | None] = {**dict.fromkeys(source.partitions()), **known}
            # Only now, when nothing more can be found wrong: newer checkpoints are left behind from here on, and what a
            # job leaves out is as in this one.
            session.start()
            self._keep_job()
            driver = PullDriver(self._resolved.job, session, source, opened.encoder, assignment, self._stop)
            with self._told(opened) as outcome:
                outcome.append(self._end(opened, driver.run()))
            return outcome[0]

    @contextmanager
    def _told(self, opened: _Opened) -> Iterator[list[RunResult]]:
        """Tell that the run has started, and how it ended: with the result that is put into the list, or an error."""
        outcome: list[RunResult] = []
        opened.events.tell(RunStarted(self.spec))
        try:
            yield outcome
        except BaseException as error:
            opened.events.tell(RunEnded(None, error))
            raise
        opened.events.tell(RunEnded(outcome[0]))

    def _open(
        self, stack: ExitStack, role: Role, index: int, cluster: ClusterSpec, source_id: str, start: _Start
    ) -> _Opened:
        """Restore and build; nothing on disk is changed. What must be closed is left on `stack`."""
        resolved, job = self._resolved, self._resolved.job
        events = Events()
        stack.enter_context(plugin_logs(events))
        hooks = listening_hooks(resolved.hooks, events)
        for listener in self._listeners:
            events.add(listener)
        store = CheckpointStore(self._run_dir / "checkpoints")
        checkpoint = start.find(store)
        encoder = FeatureEncoder(job.features)
        model = build(stack, resolved, role, index, cluster, hooks)
        if checkpoint is not None:
            self._check(checkpoint, model, source_id)
        restored = (
            Restored.new(job, source_id, role, index)
            if checkpoint is None
            else Restored.of(checkpoint, job, model, role, index)
        )
        parts = SessionParts(
            job=job,
            fingerprint=model.fingerprint,
            model=model,
            events=events,
            store=store,
            run_dir=self._run_dir,
            labels_on_arrival=encoder.labels_on_arrival,
            skip_steps=self._rollback.skip,
        )
        session = Session(parts, restored)
        # Who interrupts a run that is ending already does not wait for its checkpoint: without a manifest it is none.
        stack.push(lambda kind, *_: session.close(wait=kind is not KeyboardInterrupt))
        events.tell(Opened(restored.progress.rows, None if checkpoint is None else checkpoint.manifest.id))
        return _Opened(session, restored, encoder, hooks, events)

    def _check(self, checkpoint: Checkpoint, model: Model, source_id: str) -> None:
        """Refuse to go on from another model's state, or at a position of another stream."""
        hint = "change the job back, start anew in the same directory with --fresh, or use another --run-dir"
        refuse_another_job(checkpoint, model, hint=hint)
        manifest = checkpoint.manifest
        if manifest.position.source_id != source_id:
            raise WrongStream(
                f"checkpoint {manifest.id} is a position of the stream {manifest.position.source_id!r}, "
                f"but the datasource reads {source_id!r}",
                hint="point the datasource at the same stream, start anew with --fresh, or use another --run-dir",
            )

    def _end(self, opened: _Opened, reason: str) -> RunResult:
        """The result of a life, after what `output.export` asks for, which one that is to stop now leaves out."""
        session, last, job = opened.session, opened.session.last_checkpoint, self._resolved.job
        result = RunResult(
            reason=reason,
            rows=session.progress.rows,
            trained_rows=session.progress.trained_rows,
            position=session.progress.position(),
            checkpoint=last.id if last is not None else None,
            metrics=session.reports.last,
            run_dir=self._run_dir,
        )
        if job.output.export is None:
            return result
        directory = self._run_dir / job.output.export
        if reason == "signal":
            opened.events.tell(ExportSkipped(directory))
            return result
        export(session.executor, job.features.spec(), directory, opened.hooks, result.metrics, self._run_dir)
        opened.events.tell(Exported(directory, result.metrics, self._run_dir))
        return result


def _spec(resolved: Resolved, resume_from: str | None, fresh: bool) -> RunSpec:
    records = [plugin.record for plugin in resolved.plugins]
    return RunSpec(
        name=resolved.job.name,
        run_dir=resolved.job.run_directory,
        job=resolved.to_dict(),
        plugins=tuple(PluginRef(record.kind.value, record.name, record.dist, record.version) for record in records),
        resume_from=resume_from,
        fresh=fresh,
    )
