"""Roles and the cluster spec: who runs where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["ClusterSpec", "Role"]


class Role(StrEnum):
    """What a process does in a job."""

    CHIEF = "chief"  # writes the manifests; trains too
    WORKER = "worker"  # reads its partitions and trains
    PS = "ps"  # holds tables and dense parameters
    EVALUATOR = "evaluator"  # scores with checkpoints, never trains


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """Role → the addresses (`host:port`) of its processes, in order of their index."""

    addresses: Mapping[Role, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def single(cls) -> ClusterSpec:
        """One process that is everything; it needs no address of its own."""
        return cls({Role.CHIEF: ("localhost:0",)})

    def __post_init__(self) -> None:
        object.__setattr__(self, "addresses", {Role(r): tuple(a) for r, a in self.addresses.items() if a})
        for role, addresses in self.addresses.items():
            for address in addresses:
                host, colon, port = address.rpartition(":")
                if not (host and colon and port.isdigit() and int(port) < 65536):
                    raise ValueError(f"{address!r} of role {role} is not host:port")

    def count(self, role: Role) -> int:
        """How many processes have this role."""
        return len(self.addresses.get(role, ()))

    def trainers(self) -> tuple[str, ...]:
        """Addresses of all processes that train, the chief first; their index here is their rank."""
        return self.addresses.get(Role.CHIEF, ()) + self.addresses.get(Role.WORKER, ())

    def rank(self, role: Role, index: int) -> int:
        """The rank of a training process. Raises ValueError for one that does not train or is not there."""
        if role not in (Role.CHIEF, Role.WORKER):
            raise ValueError(f"a process of role {role} does not train and has no rank")
        if not 0 <= index < self.count(role):
            raise ValueError(f"there is no {role} {index}: the cluster has {self.count(role)}")
        return index if role is Role.CHIEF else self.count(Role.CHIEF) + index
