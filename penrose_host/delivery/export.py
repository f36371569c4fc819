"""Exports: a servable artifact, asked of every gate first, and whole or not there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penrose_host.errors import ExportDenied, PenroseError
from penrose_host.plugins.hook_calls import Hooks
from penrose_host.storage.durable_files import atomic_folder

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
    try:
        with atomic_folder(directory) as draft:
            executor.export(draft)
            if not (draft / FEATURES).exists():
                described = {"format": 1, "features": asdict(features)}
                (draft / FEATURES).write_text(json.dumps(described, indent=2, ensure_ascii=False) + "\n", "utf-8")
    except OSError as error:
        raise PenroseError(
            f"cannot write the export to {directory}: {error.strerror or error}",
            hint="free some space, or make the folder writable; what was there before is still there",
        ) from error
