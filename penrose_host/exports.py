"""Exports: a servable artifact, asked of every gate first, and whole or not there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penrose_host.checkpoints import Checkpoint, Manifest
from penrose_host.checkpoints.reading import read_checkpoint
from penrose_host.cluster import Role
from penrose_host.errors import ConfigError, ExportDenied, PenroseError
from penrose_host.metrics.progressive import ProgressiveMetrics
from penrose_host.model import Model, restore
from penrose_host.names import Names
from penrose_host.plugins.hooks import Hooks
from penrose_host.progress import NEVER
from penrose_host.trainer_state import read_progress

if TYPE_CHECKING:
    from penrose_host.config.job import Job
    from penrose_host.config.resolve import Resolved
    from penrose_host.display import Display
    from penrose_host.interfaces import Executor, FeatureSpec

__all__ = ["FEATURES", "Exported", "check_output", "export", "export_checkpoint"]

#: What every export has: what goes in, and how raw columns become that.
FEATURES = "features.json"


@dataclass(frozen=True, slots=True)
class Exported:
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
    display: Display | None = None,
) -> Exported:
    """Export the model of a checkpoint (None: the newest) of the job's run directory, where a run may be going on.

    `replace`: whatever is in `directory` gives way once the export is complete. Raises ConfigError where it may not,
    ExportDenied, CheckpointError, PenroseError.
    """
    directory = directory.absolute()
    check_output(directory, resolved.job, replace=replace)
    hooks = Hooks(on_failure=display.hook_failed if display is not None else None)
    for hook in resolved.hooks:
        hooks.register(hook.record.name, hook.create())
    with ExitStack() as stack:

        def read(found: Checkpoint) -> tuple[Model, Mapping[str, Any], Manifest]:
            stack.close()  # what a checkpoint that was removed meanwhile has left
            return restore(stack, resolved, found), _figures(resolved.job, found), found.manifest

        model, figures, manifest = read_checkpoint(resolved.job.run_directory, checkpoint, read)
        features = resolved.job.features.spec()
        export(model.executor, features, directory, hooks, figures, resolved.job.run_directory)
    files = {str(p.relative_to(directory)): p.stat().st_size for p in sorted(directory.rglob("*")) if p.is_file()}
    return Exported(directory, manifest.id, manifest.rows, files)


def export(
    executor: Executor,
    features: FeatureSpec,
    directory: Path,
    hooks: Hooks,
    metrics: Mapping[str, Any],
    run_dir: Path,
) -> None:
    """Write the executor's artifact to `directory`, replacing what was there. Raises ExportDenied, PenroseError.

    `features.json` says what goes in; it is written here where the executor has nothing to add to it.
    """
    denials = hooks.allow_export(directory, metrics, run_dir)
    if denials:
        raise ExportDenied(denials)
    draft, before = (directory.with_name(f".{directory.name}.{what}") for what in ("draft", "before"))
    try:
        _tidy(directory, draft, before)
        draft.mkdir(parents=True)
        executor.export(draft)
        if not (draft / FEATURES).exists():
            described = {"format": 1, "features": asdict(features)}
            (draft / FEATURES).write_text(json.dumps(described, indent=2, ensure_ascii=False) + "\n", "utf-8")
        if directory.exists():
            directory.rename(before)
        draft.rename(directory)
    except OSError as error:
        raise PenroseError(
            f"cannot write the export to {directory}: {error.strerror or error}",
            hint="free some space, or make the folder writable; what was there before is still there",
        ) from error
    finally:
        _tidy(directory, draft, before)
    hooks.exported(directory, metrics, run_dir)


def _tidy(directory: Path, draft: Path, before: Path) -> None:
    """Leave one export, the last that was complete, whatever ended this one or an earlier one."""
    if before.exists() and not directory.exists():
        before.rename(directory)
    for left in (draft, before):
        shutil.rmtree(left, ignore_errors=True)


def check_output(folder: Path, job: Job, *, replace: bool) -> None:
    """Refuse an output folder that would take the place of something else. Raises ConfigError."""
    folder, run_dir = folder.resolve(), job.run_directory.resolve()
    kept = [run_dir / name for name in ("checkpoints", job.output.predictions) if name is not None]
    fault = None
    if folder.exists() and not folder.is_dir():
        fault = f"{folder} is not a folder"
    elif run_dir.is_relative_to(folder) or any(folder.is_relative_to(place) for place in kept):
        fault = f"{folder} belongs to the run: choose another"
    elif not replace and folder.is_dir() and any(folder.iterdir()):
        fault = f"{folder} is not empty: empty it, choose another, or have it replaced with --replace"
    if fault is not None:
        raise ConfigError([("--output", fault)])


def _figures(job: Job, checkpoint: Checkpoint) -> dict[str, Any]:
    """What a report of that instant says, but for what belongs to the clock: rows, metrics, position."""
    progress = read_progress(checkpoint.reader(Role.CHIEF, 0, "trainer"), Names())
    metrics = ProgressiveMetrics([label.name for label in job.features.labels], job.metrics)
    metrics.restore(checkpoint.reader(Role.CHIEF, 0, "metrics"))
    return {
        "rows": progress.rows,
        "trained_rows": progress.trained_rows,
        "bad_rows": progress.bad_rows,
        "skipped_rows": progress.skipped_rows,
        "steps": progress.sequence,
        **metrics.values(),
        "event_time": None if progress.clock == NEVER else progress.clock,
        "position": dict(progress.position().offsets),
        "checkpoint": checkpoint.manifest.id,
    }
