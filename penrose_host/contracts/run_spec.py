"""A run as data: the resolved job and what it was resolved to, which another process can be told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from penrose_host.contracts.cluster import Role

__all__ = ["PluginRef", "RunSpec"]


@dataclass(frozen=True, slots=True)
class PluginRef:
    """A plugin that a run uses: its kind and name, and the distribution that provides it."""

    kind: str
    name: str
    distribution: str
    version: str


@dataclass(frozen=True, slots=True)
class RunSpec:
    """One run of a job, in JSON types.

    `job` is the job with every default spelt out, every plugin chosen and its options complete; secrets are masked.
    `plugins` says where each comes from. `roles` is how many processes of each role the job asks for.
    `resume_from` and `fresh` say where the run begins: at a checkpoint, anew, or (neither) at the newest checkpoint.
    """

    name: str
    run_dir: Path
    job: Mapping[str, Any]
    plugins: tuple[PluginRef, ...] = ()
    roles: Mapping[Role, int] = field(default_factory=lambda: {Role.CHIEF: 1})
    resume_from: str | None = None
    fresh: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON types that `from_dict` takes back."""
        return {
            "name": self.name,
            "run_dir": str(self.run_dir),
            "job": dict(self.job),
            "plugins": [asdict(plugin) for plugin in self.plugins],
            "roles": {str(role): count for role, count in self.roles.items()},
            "resume_from": self.resume_from,
            "fresh": self.fresh,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The spec that `to_dict` gave. Raises ValueError for anything else."""
        try:
            known = {
                **data,
                "run_dir": Path(data["run_dir"]),
                "plugins": tuple(PluginRef(**plugin) for plugin in data["plugins"]),
                "roles": {Role(role): int(count) for role, count in data["roles"].items()},
            }
            return cls(**known)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"this is not a run spec: {type(error).__name__}: {error}") from error
