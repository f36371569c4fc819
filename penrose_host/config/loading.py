"""A job from its file, the variables and the flags."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from penrose_host.config.job import Job
from penrose_host.config.layers import Flags, Merged, merge
from penrose_host.errors import ConfigError
from penrose_host.options.faults import faults_of, with_origins

__all__ = ["load_job", "merge_layers", "validate_job"]


def load_job(path: Path | str | None, flags: Flags | None = None, environ: Mapping[str, str] | None = None) -> Job:
    """The job of a YAML or TOML file (None: no file), variables (default: the process's) and flags.

    Raises one `ConfigError` with every fault of the job itself; `resolve.load` checks the plugins' options too.
    """
    merged = merge_layers(path, flags, environ)
    job, faults = validate_job(merged)
    if job is None or faults:
        raise ConfigError(with_origins(faults, merged.origins))
    return job


def merge_layers(path: Path | str | None, flags: Flags | None, environ: Mapping[str, str] | None) -> Merged:
    """The job's layers put together, not validated yet."""
    variables = os.environ if environ is None else environ
    return merge(None if path is None else Path(path), flags or Flags(), variables, Job.model_fields)


def validate_job(merged: Merged) -> tuple[Job | None, list[tuple[str, str]]]:
    """The job where its values are valid, and all faults, those of the layers first."""
    try:
        job = Job.model_validate(merged.data)
    except ValidationError as error:
        return None, merged.faults + faults_of(error, Job, merged.data)
    choices = {key: merged.with_set_aside(key, getattr(job, key)) for key in merged.set_aside}
    return job.model_copy(update=choices), merged.faults
