"""Contract classes for the authors of plugins, to derive test classes from: `docs/testing.md`.

Imported lazily: pytest imports this package at its start, for `pytest_plugin`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penrose_host.testing.datasources import DataSourceContract
    from penrose_host.testing.environments import EnvironmentContract
    from penrose_host.testing.executors import ExecutorContract
    from penrose_host.testing.hooks import HookContract
    from penrose_host.testing.memory import MemoryCheckpoints
    from penrose_host.testing.promises import BrokenPromise, promises_of
    from penrose_host.testing.sinks import SinkContract
    from penrose_host.testing.tables import EmbeddingTableContract

_MODULE_OF = {
    "BrokenPromise": "promises",
    "DataSourceContract": "datasources",
    "EmbeddingTableContract": "tables",
    "EnvironmentContract": "environments",
    "ExecutorContract": "executors",
    "HookContract": "hooks",
    "MemoryCheckpoints": "memory",
    "SinkContract": "sinks",
    "promises_of": "promises",
}

__all__ = [
    "BrokenPromise",
    "DataSourceContract",
    "EmbeddingTableContract",
    "EnvironmentContract",
    "ExecutorContract",
    "HookContract",
    "MemoryCheckpoints",
    "SinkContract",
    "promises_of",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
