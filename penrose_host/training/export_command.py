"""The export of a checkpoint, beside a run or after it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penrose_host.checkpoints import Checkpoint, Manifest
from penrose_host.checkpoints.reading import read_checkpoint
from penrose_host.contracts.cluster import Role
from penrose_host.core.metrics.progressive import ProgressiveMetrics
from penrose_host.core.partition_names import Names
from penrose_host.core.report_figures import report_figures
from penrose_host.core.trainer_state import read_progress
from penrose_host.delivery.export import export
from penrose_host.monitoring.events import Event, Events, Exported, Listener
from penrose_host.monitoring.hook_listener import listening_hooks
from penrose_host.training.model import Model, restore
from penrose_host.training.output_folder import check_output

if TYPE_CHECKING:
    from penrose_host.config.job import Job
    from penrose_host.config.resolve import Resolved

__all__ = ["ExportedFiles", "export_checkpoint"]


@dataclass(frozen=True, slots=True)
class ExportedFiles:
    """What `export_checkpoint` wrote: the folder, and its files with their length in bytes."""

    directory: Path
    checkpoint: str
    rows: int
    files: Mapping[str, int]


def export_checkpoint(
    resolved: Resolved,
    directory: Path,
    *,
    checkpoint: str | None = None,
    replace: bool = False,
    listeners: Iterable[Listener] = (),
) -> ExportedFiles:
    """Export the model of a checkpoint (None: the newest) of the job's run directory, where a run may be going on.

    `replace`: whatever is in `directory` gives way once the export is complete. Raises ConfigError where it may not,
    ExportDenied, CheckpointError, PenroseError.
    """
    directory = directory.absolute()
    check_output(directory, resolved.job, replace=replace)
    events = Events()
    hooks = listening_hooks(resolved.hooks, events)
    # Whoever listens hears of hooks that fail; that the export is complete is what the caller is told.
    others = tuple(listeners)

    def hand_on(event: Event) -> None:
        for listener in others if not isinstance(event, Exported) else ():
            listener(event)

    events.add(hand_on)
    with ExitStack() as stack:

        def read(found: Checkpoint) -> tuple[Model, Mapping[str, Any], Manifest]:
            stack.close()  # what a checkpoint that was removed meanwhile has left
            return restore(stack, resolved, found), _figures(resolved.job, found), found.manifest

        model, figures, manifest = read_checkpoint(resolved.job.run_directory, checkpoint, read)
        features = resolved.job.features.spec()
        export(model.executor, features, directory, hooks, figures, resolved.job.run_directory)
        events.tell(Exported(directory, figures, resolved.job.run_directory))
    files = {str(p.relative_to(directory)): p.stat().st_size for p in sorted(directory.rglob("*")) if p.is_file()}
    return ExportedFiles(directory, manifest.id, manifest.rows, files)


def _figures(job: Job, checkpoint: Checkpoint) -> dict[str, Any]:
    """What a report of that instant says, but for what belongs to the clock, and which checkpoint it is."""
    progress = read_progress(checkpoint.reader(Role.CHIEF, 0, "trainer"), Names())
    metrics = ProgressiveMetrics([label.name for label in job.features.labels], job.metrics)
    metrics.restore(checkpoint.reader(Role.CHIEF, 0, "metrics"))
    figures = report_figures(progress, metrics, progress.bad_rows, progress.position())
    return figures | {"checkpoint": checkpoint.manifest.id}
