"""Folders that exports and scores may be written to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from penrose_host.errors import ConfigError

if TYPE_CHECKING:
    from penrose_host.config.job import Job

__all__ = ["check_output"]


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
