"""Exact metrics, and a checkpoint in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from penrose_host.contracts.snapshots import CheckpointReader, FileRef, Snapshot, SnapshotRef, SnapshotWriter


def exact_auc(labels: Any, scores: Any) -> float | None:
    """ROC AUC by ranks; ties count half. None without both a positive and a negative row."""
    labels, scores = np.asarray(labels), np.asarray(scores)
    _, group, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[group]
    positives = int((labels > 0).sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        return None
    return float((ranks[labels > 0].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def exact_log_loss(labels: Any, scores: Any) -> float:
    """Mean log loss of scores that are neither 0 nor 1."""
    y, p = np.asarray(labels, np.float64), np.asarray(scores, np.float64)
    return float(-(y * np.log(p) + (1 - y) * np.log(1 - p)).mean())


class MemoryCheckpoint(SnapshotWriter, CheckpointReader):
    """The files of one snapshot, in a dict."""

    def __init__(self, snapshot: Snapshot | None = None) -> None:
        self.files: dict[str, bytes] = {}
        if snapshot is not None:
            snapshot.write(self)

    def add(self, name: str, data: Any | Iterable[Any]) -> None:
        self.files[name] = bytes(data) if isinstance(data, (bytes, bytearray, memoryview)) else b"".join(data)

    def reuse(self, name: str, ref: FileRef) -> None:
        raise AssertionError("there is no earlier checkpoint")

    @property
    def ref(self) -> SnapshotRef:
        return SnapshotRef("memory")

    def names(self) -> Sequence[str]:
        return sorted(self.files)

    def read(self, name: str) -> bytes:
        return self.files[name]
