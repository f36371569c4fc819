"""Exports: a servable artifact, asked of every gate first, and whole or not there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penrose_host.errors import ExportDenied, PenroseError
from penrose_host.plugins.hook_calls import Hooks

if TYPE_CHECKING:
    from penrose_host.contracts.executor import Executor, FeatureSpec

__all__ = ["FEATURES", "export"]

#: What every export has: what goes in, and how raw columns become that.
FEATURES = "features.json"


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


def _tidy(directory: Path, draft: Path, before: Path) -> None:
    """Leave one export, the last that was complete, whatever ended this one or an earlier one."""
    if before.exists() and not directory.exists():
        before.rename(directory)
    for left in (draft, before):
        shutil.rmtree(left, ignore_errors=True)
