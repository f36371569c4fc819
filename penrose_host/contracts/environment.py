"""Where the roles of a job run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penrose_host.contracts.plugin import Plugin

if TYPE_CHECKING:
    from penrose_host.contracts.batch import Position
    from penrose_host.contracts.cluster import ClusterSpec, Role
    from penrose_host.contracts.operator import Operator
    from penrose_host.contracts.run_spec import RunSpec

__all__ = ["Environment", "RunResult", "Runtime"]


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended: `reason` is end-of-stream, until, signal or failed.

    `metrics` is the last line of `metrics.jsonl`; `checkpoint` the id of the last durable checkpoint.
    """

    reason: str
    rows: int
    trained_rows: int
    position: Position
    checkpoint: str | None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    run_dir: Path | None = None


class Runtime(ABC):
    """All that an environment needs of the host: how to be one of the roles that the run spec names."""

    @abstractmethod
    def run_role(self, role: Role, index: int, cluster: ClusterSpec) -> RunResult:
        """Be this role until the job ends; blocks. Raises what ended it otherwise, ConfigError for a role that the
        job does not have."""

    @abstractmethod
    def operator(
        self, *, source_id: str, partitions: Collection[str] = (), resume_from: str | None = None
    ) -> AbstractContextManager[Operator]:
        """The push driver, for engines that own the loop; used as `with runtime.operator(…) as operator`.

        `source_id` names the engine's stream, `partitions` those an event-time merge waits for, `resume_from`
        the engine's id of its last committed checkpoint (None: start anew).
        """


class Environment(Plugin, ABC):
    """Decides where the roles of a job run."""

    @abstractmethod
    def run(self, spec: RunSpec, runtime: Runtime) -> RunResult:
        """Run the job to its end and return the chief's result. `spec` is what `runtime` would run, as data."""
