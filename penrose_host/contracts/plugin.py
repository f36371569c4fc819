"""What all plugins share."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["API_VERSION", "Capability", "Plugin"]


#: The plugin API this host speaks. It also accepts plugins written for the one before.
API_VERSION = 1


class Capability(Enum):
    """What a plugin can do, or cannot promise; shown by `penrose plugins show`."""

    SEEK = "seek"  # a datasource that can be opened at any position it ever gave
    UNBOUNDED = "unbounded"  # a datasource that never ends by itself
    COMMIT = "commit"  # a datasource that wants to be told which position is durable
    DEAD_LETTERS = "dead-letters"  # a datasource that has a place of its own for bad rows
    SINGLE_WORKER = "single-worker"  # an executor whose state cannot be shared by several workers


class Plugin:
    """What all plugins share: an API version, options, capabilities."""

    #: The plugin API this class was written for.
    api_version: ClassVar[int]
    #: A pydantic model with `extra="forbid"`: its fields, defaults and descriptions are the plugin's options.
    Options: ClassVar[type[BaseModel]]
    #: Of the class; an instance whose options say otherwise (a stream with an end) may set its own.
    capabilities: frozenset[Capability] = frozenset()
    #: The schema of `Options`, by a name that plugins of this kind share whose options mean the same: where a flag puts
    #: one of them in the place of another, the options in the job stay. None: this plugin shares its options with none.
    options_schema: ClassVar[str | None] = None

    def __init__(self, options: BaseModel) -> None:
        """Keep the options. Opening files, sockets or frameworks waits for `open`, `setup` or `run`."""
        self.options: Any = options
