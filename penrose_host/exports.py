"""Exports: a servable artifact, asked of every gate first, and whole or not there."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penrose_host.errors import ExportDenied

if TYPE_CHECKING:
    from penrose_host.interfaces import Executor
    from penrose_host.plugins.hooks import Hooks

__all__ = ["export"]


def export(executor: Executor, directory: Path, hooks: Hooks, metrics: Mapping[str, Any]) -> None:
    """Write the executor's artifact to `directory`, replacing what was there. Raises ExportDenied, PenroseError."""
    denials = hooks.allow_export(directory, metrics)
    if denials:
        raise ExportDenied(denials)
    draft = directory.with_name(directory.name + ".tmp")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    executor.export(draft)
    shutil.rmtree(directory, ignore_errors=True)
    draft.rename(directory)
    hooks.exported(directory, metrics)
