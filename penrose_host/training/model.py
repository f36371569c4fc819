"""The model of a job: its executor, set up, with the tables it uses; new, or as a checkpoint holds it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from penrose_host.checkpoints import Checkpoint
from penrose_host.config.difference import difference
from penrose_host.config.resolve import Resolved
from penrose_host.contracts.cluster import ClusterSpec, Role
from penrose_host.contracts.executor import Executor, ExecutorContext
from penrose_host.errors import CheckpointError
from penrose_host.plugins.hook_calls import Hooks
from penrose_host.training.role_environment import variables_set
from penrose_host.training.tables import Tables

__all__ = ["Model", "build", "refuse_another_job", "restore"]

#: What scores depend on; a model may be used with another order and other micro-batches than it was trained with.
SCORES = ("features", "executor", "embedding", "seed")


@dataclass(frozen=True, slots=True)
class Model:
    """`tables` is None with `embedding: none`. `fingerprint`: what a checkpoint of it depends on."""

    executor: Executor
    tables: Tables | None
    fingerprint: Mapping[str, Any]

    def restore(self, checkpoint: Checkpoint, role: Role, index: int) -> None:
        """Become what this role's fragment holds. Raises CheckpointDamaged; the model cannot be used then."""
        self.executor.restore(checkpoint.reader(role, index, "executor"))
        if self.tables is not None:
            self.tables.restore(checkpoint)


def build(
    stack: ExitStack, resolved: Resolved, role: Role, index: int, cluster: ClusterSpec, hooks: Hooks | None = None
) -> Model:
    """A new model. What must be closed is left on `stack`, the variables of its role too."""
    hooks = hooks if hooks is not None else Hooks()
    tables = Tables(resolved.embedding.create(), role, index) if resolved.embedding is not None else None
    executor: Executor = resolved.executor.create()
    hooks.register_executor(resolved.executor.record.name, executor)
    stack.enter_context(variables_set(hooks.role_environment(role, index, cluster)))
    stack.callback(executor.close)
    executor.setup(ExecutorContext(resolved.job.features.spec(), role, index, cluster, resolved.job.seed, tables))
    made = tables is not None and tables.complete()
    return Model(executor, tables, resolved.fingerprint(tables=made))


def refuse_another_job(
    checkpoint: Checkpoint, model: Model, *, hint: str, parts: Collection[str] | None = None
) -> None:
    """Raises CheckpointError, saying what differs, where the checkpoint was not taken by a job with such a model.

    `parts`: of the fingerprint that have to be equal; None: all of it.
    """
    manifest, run_dir = checkpoint.manifest, checkpoint.root.parent

    def chosen(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in fingerprint.items() if parts is None or key in parts}

    other = difference(chosen(manifest.job), chosen(model.fingerprint))
    if other:
        shown = "\n".join(f"  {line}" for line in other)
        raise CheckpointError(
            f"checkpoint {manifest.id} of {run_dir} belongs to another job:\n{shown}", path=run_dir, hint=hint
        )


def restore(stack: ExitStack, resolved: Resolved, checkpoint: Checkpoint) -> Model:
    """The chief's model as the checkpoint holds it, to be read and not trained. What must be closed is on `stack`.

    Raises CheckpointError where it is another job's, CheckpointDamaged.
    """
    hint = "give the job that was trained in this directory, or another directory with --run-dir"
    model = build(stack, resolved, Role.CHIEF, 0, ClusterSpec.single())
    refuse_another_job(checkpoint, model, parts=SCORES, hint=hint)
    model.restore(checkpoint, Role.CHIEF, 0)
    return model
