"""Runs a job: plugins, run directory, resume, roles. `run` is what `penrose run` and Python programs call."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from penrose_host.checkpoints import Checkpoint, CheckpointStore
from penrose_host.config.job import Job
from penrose_host.config.resolve import Resolved, load, resolve
from penrose_host.contracts.cluster import ClusterSpec, Role
from penrose_host.contracts.datasource import DataSource
from penrose_host.contracts.environment import Environment, RunResult, Runtime
from penrose_host.delivery.export import export
from penrose_host.errors import ConfigError, NonFiniteLoss, WrongStream
from penrose_host.features.encoder import FeatureEncoder
from penrose_host.plugins.hook_calls import Hooks
from penrose_host.storage.run_directory import keep, locked
from penrose_host.training.model import Model, build, refuse_another_job
from penrose_host.training.pull_driver import Loop
from penrose_host.training.push_driver import Operator
from penrose_host.training.session import Session, SessionParts
from penrose_host.training.signals import StopRequest, stop_on_signals

if TYPE_CHECKING:
    from penrose_host.monitoring.terminal import Display

__all__ = ["HostRuntime", "run"]

#: A job that has to go back this often has a problem that going back does not mend.
MAX_ROLLBACKS = 10


def run(
    job: Job | Resolved | Path | str,
    *,
    resume_from: str | None = None,
    fresh: bool = False,
    display: Display | None = None,
    stop: StopRequest | None = None,
) -> RunResult:
    """Run a job (or a job file) to its end and return how it ended; goes on from the last checkpoint, if any.

    `resume_from`: a checkpoint's id instead of the last one. `fresh`: leave every checkpoint and start anew.
    `stop`: set it (from another thread) to end in good order. Raises PenroseError.
    """
    if isinstance(job, Path | str):
        job = load(job, fresh=fresh)
    resolved = job if isinstance(job, Resolved) else resolve(job, fresh=fresh)
    environment: Environment = resolved.environment.create()
    runtime = HostRuntime(resolved, resume_from=resume_from, fresh=fresh, display=display, stop=stop)
    return environment.run(resolved.job, runtime)


@dataclass(frozen=True, slots=True)
class _Opened:
    """Everything that one life of a role works with."""

    session: Session
    encoder: FeatureEncoder
    hooks: Hooks
    checkpoint: Checkpoint | None


class HostRuntime(Runtime):
    """The host, as environments see it."""

    def __init__(
        self,
        resolved: Resolved,
        *,
        resume_from: str | None = None,
        fresh: bool = False,
        display: Display | None = None,
        stop: StopRequest | None = None,
    ) -> None:
        if resume_from is not None and fresh:
            raise ConfigError([("--fresh", "cannot be combined with --resume-from")])
        self._resolved = resolved
        self._resume_from = resume_from
        self._fresh = fresh
        self._display = display
        self._stop = stop or StopRequest()
        self._run_dir = resolved.job.run_directory

    def roles(self) -> Mapping[Role, int]:
        return {Role.CHIEF: 1}

    def run_role(self, role: Role, index: int, cluster: ClusterSpec) -> RunResult:
        skip: set[int] = set()
        with locked(self._run_dir), stop_on_signals(self._stop):
            while True:
                try:
                    return self._train(role, index, cluster, frozenset(skip))
                except NonFiniteLoss as error:
                    rollback = self._resolved.job.non_finite == "rollback"
                    if not rollback or error.sequence in skip or len(skip) >= MAX_ROLLBACKS:
                        raise
                    # The step is left out when it comes again; what was learned since the checkpoint is learned anew.
                    skip.add(error.sequence)
                    self._resume_from, self._fresh = None, False
                    if self._display is not None:
                        self._display.note(f"rolled back: {error.message}")

    @contextmanager
    def operator(
        self, *, source_id: str, partitions: Collection[str] = (), resume_from: str | None = None
    ) -> Iterator[Operator]:
        """The push driver. `resume_from`: the engine's id of its last committed checkpoint; None starts anew."""
        with locked(self._run_dir), ExitStack() as stack:
            cluster = ClusterSpec.single()
            opened = self._open(
                stack, Role.CHIEF, 0, cluster, source_id, resume_from=resume_from, latest=False, skip=frozenset()
            )
            opened.session.start()
            keep(self._run_dir / "job.yaml", self._resolved.to_yaml())
            operator = Operator(opened.session, opened.encoder, partitions)
            opened.hooks.run_started(self._resolved.job, self._run_dir)
            try:
                yield operator
                # An engine that lets go before the stream has ended was asked to stop.
                result = self._result(opened.session, "end-of-stream" if operator.finished else "signal")
                self._export(opened.session, opened.hooks, result)
            except BaseException as error:
                opened.hooks.run_ended(None, error)
                raise
            opened.hooks.run_ended(result, None)

    # -- one life of a role -------------------------------------------------------------------------

    def _train(self, role: Role, index: int, cluster: ClusterSpec, skip: frozenset[int]) -> RunResult:
        with ExitStack() as stack:
            source: DataSource = self._resolved.datasource.create()
            stack.callback(source.close)
            opened = self._open(
                stack,
                role,
                index,
                cluster,
                source.source_id,
                resume_from=self._resume_from,
                latest=not self._fresh,
                skip=skip,
            )
            session, hooks = opened.session, opened.hooks
            known: Mapping[str, int] = {}
            if opened.checkpoint is not None:
                # First: what a followed stream has forgotten is no partition of it any more.
                source.expect(session.source_state)
                known = opened.checkpoint.manifest.position.offsets
            if (bound := self._resolved.job.until.stream) is not None:
                source.bound(bound)
            assignment: dict[str, int | None] = {**dict.fromkeys(source.partitions()), **known}
            # Only now, when nothing more can be found wrong: newer checkpoints are left behind from here on, and what a
            # job leaves out is as in this one.
            session.start()
            keep(self._run_dir / "job.yaml", self._resolved.to_yaml())
            loop = Loop(
                self._resolved.job,
                session,
                source,
                opened.encoder,
                assignment,
                self._stop,
                self._display.tick if self._display is not None else None,
            )
            hooks.run_started(self._resolved.job, self._run_dir)
            try:
                reason = loop.run()
                result = self._result(session, reason)
                self._export(session, hooks, result)
            except BaseException as error:
                hooks.run_ended(None, error)
                raise
            hooks.run_ended(result, None)
            return result

    def _open(
        self,
        stack: ExitStack,
        role: Role,
        index: int,
        cluster: ClusterSpec,
        source_id: str,
        *,
        resume_from: str | None,
        latest: bool,
        skip: frozenset[int],
    ) -> _Opened:
        """Restore and build; nothing on disk is changed. What must be closed is left on `stack`."""
        resolved, job = self._resolved, self._resolved.job
        if self._display is not None:
            stack.enter_context(self._display.listening())
        hooks = Hooks(on_failure=self._display.hook_failed if self._display is not None else None)
        for hook in resolved.hooks:
            hooks.register(hook.record.name, hook.create())
        store = CheckpointStore(self._run_dir / "checkpoints")
        checkpoint = store.open(resume_from) if resume_from is not None else (store.latest() if latest else None)
        encoder = FeatureEncoder(job.features)
        model = build(stack, resolved, role, index, cluster)
        if checkpoint is not None:
            self._check(checkpoint, model, source_id)
        session = Session(
            SessionParts(
                job=job,
                fingerprint=model.fingerprint,
                model=model,
                hooks=hooks,
                store=store,
                run_dir=self._run_dir,
                source_id=source_id,
                labels_on_arrival=encoder.labels_on_arrival,
                role=role,
                index=index,
                on_report=self._display.report if self._display is not None else None,
                on_bad_rows=self._display.bad_rows if self._display is not None else None,
                skip_steps=skip,
            ),
            checkpoint,
        )
        # Who interrupts a run that is ending already does not wait for its checkpoint: without a manifest it is none.
        stack.push(lambda kind, *_: session.close(wait=kind is not KeyboardInterrupt))
        if self._display is not None:
            self._display.started(session, checkpoint)
        if checkpoint is not None:
            hooks.checkpoint_restored(checkpoint.manifest.id)
        return _Opened(session, encoder, hooks, checkpoint)

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

    def _export(self, session: Session, hooks: Hooks, result: RunResult) -> None:
        """What `output.export` asks for at the end of a run, and not of one that somebody wants to stop now."""
        job = self._resolved.job
        if job.output.export is None:
            return
        directory = self._run_dir / job.output.export
        if result.reason != "signal":
            export(session.executor, job.features.spec(), directory, hooks, result.metrics, self._run_dir)
        if self._display is not None:
            self._display.exported(directory, skipped=result.reason == "signal")

    def _result(self, session: Session, reason: str) -> RunResult:
        last = session.last_checkpoint
        return RunResult(
            reason=reason,
            rows=session.progress.rows,
            trained_rows=session.progress.trained_rows,
            position=session.progress.position(),
            checkpoint=last.id if last is not None else None,
            metrics=session.last_report,
            run_dir=self._run_dir,
        )
