"""Rows of messages that hold more of them than were asked for: handed over bit by bit, by partition."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from penrose_host.batch import OFFSET, PARTITION, Chunk, Reject

__all__ = ["Pieces"]


@dataclass(slots=True)
class _Rest:
    """What is left of a partition's rows: those from `start` on, and rejects in order."""

    batch: pa.RecordBatch
    rejects: list[Reject]
    raw: Any
    start: int = 0


class Pieces:
    """Chunks in, chunks of at most so many rows out, each of one partition; nothing overtakes within a partition."""

    def __init__(self) -> None:
        self._rests: dict[str, _Rest] = {}

    @property
    def partitions(self) -> frozenset[str]:
        """Those that have something left."""
        return frozenset(self._rests)

    def add(self, chunk: Chunk) -> None:
        """Take a chunk; of its partitions nothing may be left."""
        column = chunk.batch.column(PARTITION)
        codes = np.asarray(column.indices)
        for code, name in enumerate(column.dictionary.to_pylist()):
            index = np.flatnonzero(codes == code)
            rejects = [reject for reject in chunk.rejects if reject.partition == name]
            if len(index) or rejects:
                raw = chunk.raw
                rows = [raw[row] for row in index.tolist()] if raw is not None else None
                self._rests[name] = _Rest(chunk.batch.take(pa.array(index)), rejects, rows)

    def take(self, rows: int, but: Collection[str]) -> Chunk | None:
        """The next rows of a partition that is not one of `but`; None where there are none."""
        for name, rest in self._rests.items():
            if name in but:
                continue
            stop = rest.start + rows
            piece = rest.batch.slice(rest.start, rows)
            raw = rest.raw[rest.start : stop] if rest.raw is not None else None
            if stop >= rest.batch.num_rows:
                del self._rests[name]
                return Chunk(piece, tuple(rest.rejects), raw)
            # A reject must not come before the rows in front of it: the position would pass them.
            before = rest.batch.column(OFFSET)[stop].as_py()
            due = [reject for reject in rest.rejects if reject.offset < before]
            del rest.rejects[: len(due)]
            rest.start = stop
            return Chunk(piece, tuple(due), raw)
        return None
