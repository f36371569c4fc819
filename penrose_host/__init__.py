"""Penrose: online training from streams that never end. All public names are exported here, lazily."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penrose_host.batch import (
        OFFSET,
        PARTITION,
        Chunk,
        EncodedBatch,
        Position,
        Ragged,
        Reject,
        StepInfo,
        StepResult,
    )
    from penrose_host.cluster import ClusterSpec, Role
    from penrose_host.config.job import Job, load_job
    from penrose_host.interfaces import (
        API_VERSION,
        Capability,
        DataSource,
        DenseParameters,
        EmbeddingBackend,
        EmbeddingTable,
        EndOfStream,
        Environment,
        Executor,
        ExecutorContext,
        FeatureSpec,
        Lag,
        ListFeature,
        Plugin,
        RunResult,
        Runtime,
        Sink,
        TableFactory,
        TableSpec,
        TableStats,
    )
    from penrose_host.operator import Operator
    from penrose_host.owned_loop import OwnedLoop
    from penrose_host.plugins.hookspecs import Deny, HookPlugin, hookimpl
    from penrose_host.runner import HostRuntime, run
    from penrose_host.signals import StopRequest
    from penrose_host.snapshots import (
        CheckpointReader,
        FileRef,
        FilesSnapshot,
        Snapshot,
        SnapshotRef,
        SnapshotWriter,
    )

_HOME = {
    "penrose_host.batch": ("OFFSET PARTITION Chunk EncodedBatch Position Ragged Reject StepInfo StepResult"),
    "penrose_host.cluster": "ClusterSpec Role",
    "penrose_host.config.job": "Job load_job",
    "penrose_host.interfaces": (
        "API_VERSION Capability DataSource DenseParameters EmbeddingBackend EmbeddingTable EndOfStream Environment "
        "Executor ExecutorContext FeatureSpec Lag ListFeature Plugin RunResult Runtime Sink TableFactory TableSpec "
        "TableStats"
    ),
    "penrose_host.operator": "Operator",
    "penrose_host.owned_loop": "OwnedLoop",
    "penrose_host.plugins.hookspecs": "Deny HookPlugin hookimpl",
    "penrose_host.runner": "HostRuntime run",
    "penrose_host.signals": "StopRequest",
    "penrose_host.snapshots": "CheckpointReader FileRef FilesSnapshot Snapshot SnapshotRef SnapshotWriter",
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names.split()}

__all__ = [
    "API_VERSION",
    "OFFSET",
    "PARTITION",
    "Capability",
    "CheckpointReader",
    "Chunk",
    "ClusterSpec",
    "DataSource",
    "DenseParameters",
    "Deny",
    "EmbeddingBackend",
    "EmbeddingTable",
    "EncodedBatch",
    "EndOfStream",
    "Environment",
    "Executor",
    "ExecutorContext",
    "FeatureSpec",
    "FileRef",
    "FilesSnapshot",
    "HookPlugin",
    "HostRuntime",
    "Job",
    "Lag",
    "ListFeature",
    "Operator",
    "OwnedLoop",
    "Plugin",
    "Position",
    "Ragged",
    "Reject",
    "Role",
    "RunResult",
    "Runtime",
    "Sink",
    "Snapshot",
    "SnapshotRef",
    "SnapshotWriter",
    "StepInfo",
    "StepResult",
    "StopRequest",
    "TableFactory",
    "TableSpec",
    "TableStats",
    "hookimpl",
    "load_job",
    "run",
]


def __getattr__(name: str) -> Any:
    """Import the module of a public name when it is first used: `import penrose_host` costs nothing."""
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'penrose_host' has no attribute {name!r}")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value
