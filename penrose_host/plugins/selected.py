"""A plugin that a job selected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from penrose_host.contracts.plugin import Plugin
from penrose_host.plugins.index import Record
from penrose_host.plugins.loading import make

__all__ = ["Selected"]


@dataclass(frozen=True, slots=True)
class Selected:
    """One plugin of a job: where it comes from, its class, its options complete with defaults."""

    record: Record
    plugin: type[Plugin]
    options: BaseModel

    def create(self) -> Any:
        """A new instance. Raises `PluginBroken` where making it raises."""
        return make(self.record, self.plugin, self.options)

    def to_dict(self) -> dict[str, Any]:
        """The form of the job file, with every option; secrets are masked."""
        return {"name": self.record.name, **self.options.model_dump(mode="json")}
