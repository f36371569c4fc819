"""The environment `local`: the whole job in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import BaseModel, ConfigDict

from penrose_host.contracts.cluster import ClusterSpec, Role
from penrose_host.contracts.environment import Environment
from penrose_host.errors import ConfigError

if TYPE_CHECKING:
    from penrose_host.contracts.environment import RunResult, Runtime
    from penrose_host.contracts.run_spec import RunSpec

__all__ = ["LocalEnvironment"]


class LocalEnvironment(Environment):
    """Runs the chief, which does everything there is to do. Jobs that need other processes are refused."""

    api_version: ClassVar[int] = 1

    class Options(BaseModel):
        """There is nothing to choose."""

        model_config = ConfigDict(extra="forbid", frozen=True)

    def run(self, spec: RunSpec, runtime: Runtime) -> RunResult:
        """Be the chief until the job ends. Raises `ConfigError` for a job of several processes."""
        roles = {role: count for role, count in spec.roles.items() if count}
        if roles != {Role.CHIEF: 1}:
            asked = ", ".join(f"{count} {role}" for role, count in roles.items()) or "no process"
            raise ConfigError(
                [("environment", f"`local` runs one process, the chief, and this job asks for {asked}")],
                hint="choose an environment that starts processes (`penrose plugins` lists them), or ask for fewer",
            )
        return runtime.run_role(Role.CHIEF, 0, ClusterSpec.single())
