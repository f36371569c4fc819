"""Rows of messages that hold more of them than were asked for: handed over bit by bit, by partition."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from penrose_host import OFFSET, PARTITION, Chunk, Reject

__all__ = ["Pieces"]


@dataclass(slots=True)
class _Rest:
    """What is left of a partition: rows from `start` on, and rejects in order, each with the row it comes before."""

    batch: pa.RecordBatch
    rejects: deque[tuple[int, Reject]]
    raw: Any
    start: int = 0


class Pieces:
    """Chunks in, chunks of at most so many rows and rejects out, each of one partition, in its order."""

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
            rejects = sorted((r for r in chunk.rejects if r.partition == name), key=lambda reject: reject.offset)
            if len(index) or rejects:
                rows = chunk.batch.take(pa.array(index))
                places = np.searchsorted(rows.column(OFFSET).to_numpy(), [reject.offset for reject in rejects])
                raw = chunk.raw
                data = [raw[row] for row in index.tolist()] if raw is not None else None
                self._rests[name] = _Rest(rows, deque(zip(places.tolist(), rejects, strict=True)), data)

    def take(self, rows: int, but: Collection[str]) -> Chunk | None:
        """The next of a partition that is not one of `but`; None where there are none."""
        for name, rest in self._rests.items():
            if name in but:
                continue
            # A reject must not come before the rows in front of it: the position would pass them.
            due: list[Reject] = []
            while rest.rejects and rest.rejects[0][0] - rest.start + len(due) < rows:
                due.append(rest.rejects.popleft()[1])
            start = rest.start
            rest.start = stop = min(start + rows - len(due), rest.batch.num_rows)
            if stop == rest.batch.num_rows and not rest.rejects:
                del self._rests[name]
            raw = rest.raw[start:stop] if rest.raw is not None else None
            return Chunk(rest.batch.slice(start, stop - start), tuple(due), raw)
        return None
