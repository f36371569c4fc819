"""The lifecycle hooks: what a hook plugin may implement. None of them runs for each row or batch.

A hook plugin is a class derived from `HookPlugin`, registered under `penrose.hooks`; its methods marked with
`@hookimpl` have the name of a hook and as many of its arguments as they need.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy
from pydantic import BaseModel, ConfigDict

from penrose_host.contracts.plugin import Plugin

if TYPE_CHECKING:
    from penrose_host.contracts.cluster import ClusterSpec, Role
    from penrose_host.contracts.environment import RunResult
    from penrose_host.contracts.run_spec import RunSpec

__all__ = ["Deny", "HookPlugin", "HookSpecs", "hookimpl"]

_PROJECT = "penrose"
hookspec = pluggy.HookspecMarker(_PROJECT)
#: Marks a method of a hook plugin as the implementation of the hook of that name.
hookimpl = pluggy.HookimplMarker(_PROJECT)


@dataclass(frozen=True, slots=True)
class Deny:
    """A gate's refusal, with the reason that the user will read."""

    reason: str


class HookPlugin(Plugin):
    """The base of hook plugins: options as for every plugin, and methods marked with `@hookimpl`."""

    class Options(BaseModel):
        """No options; a plugin that has some declares its own."""

        model_config = ConfigDict(extra="forbid", frozen=True)


class HookSpecs:
    """Observers return nothing, and one that raises is reported and stops nothing. Gates are all asked."""

    @hookspec
    def run_started(self, spec: RunSpec, run_dir: Path) -> None:
        """A run begins, or resumes, in `run_dir`; `spec.job` is the job with every default, secrets masked."""

    @hookspec
    def role_environment(self, role: Role, index: int, cluster: ClusterSpec) -> Mapping[str, str] | None:
        """Variables of the process that is this role, from before the executor is set up until it was closed.

        What a framework calls its cluster stands in them. Executors may implement this hook too, and no other. It is no
        observer: what it raises ends the run, and so do two plugins that give one variable different values.
        """

    @hookspec
    def run_ended(self, result: RunResult | None, error: BaseException | None) -> None:
        """The run is over: with a result, or with the error that ended it."""

    @hookspec
    def reported(self, metrics: Mapping[str, Any]) -> None:
        """A line was added to `metrics.jsonl`; these are its fields."""

    @hookspec
    def checkpoint_written(self, checkpoint: str) -> None:
        """The checkpoint with this id is durable."""

    @hookspec
    def checkpoint_restored(self, checkpoint: str) -> None:
        """The run goes on from the checkpoint with this id."""

    @hookspec
    def exported(self, directory: Path, metrics: Mapping[str, Any], run_dir: Path) -> None:
        """An export of the run in `run_dir` is complete in `directory`."""

    @hookspec
    def allow_export(self, directory: Path, metrics: Mapping[str, Any], run_dir: Path) -> Deny | None:
        """Gate: `Deny(reason)` keeps the export of the run in `run_dir` back; None has nothing against it.

        A run asks at its end; `penrose export` asks too, and calls no hook but this one and `exported`.
        """
