"""Chunks of more rows than were asked for, as messages of many rows make them, handed over by and by."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from penrose_host import OFFSET, PARTITION, Chunk, Reject

__all__ = ["ChunkSplitter"]

#: So many messages are decoded at a time at most.
_MOST_MESSAGES = 1024


@dataclass(slots=True)
class _Remainder:
    """What is left of a partition: rows from `start` on, and rejects in order, each with the row it comes before."""

    batch: pa.RecordBatch
    rejects: deque[tuple[int, Reject]]
    raw: Any
    start: int = 0


class ChunkSplitter:
    """Chunks in, chunks of at most so many rows and rejects out, each of one partition, in its order.

    `messages`: how many to take at a time, so that they have about as many rows as are asked for.
    """

    def __init__(self) -> None:
        self.messages = 1
        self._remainders: dict[str, _Remainder] = {}

    @property
    def partitions(self) -> frozenset[str]:
        """Those that have something left."""
        return frozenset(self._remainders)

    def split(self, chunk: Chunk, messages: int, max_rows: int, paused: Collection[str]) -> Chunk | None:
        """The first rows of a chunk of so many messages; the others are kept for `take`."""
        rows = max(chunk.batch.num_rows + len(chunk.rejects), 1)
        self.messages = max(min(self.messages * 2, max_rows * messages // rows, _MOST_MESSAGES), 1)
        if rows <= max_rows:
            return chunk
        self.add(chunk)
        return self.take(max_rows, paused)

    def add(self, chunk: Chunk) -> None:
        """Take a chunk; of its partitions nothing may be left."""
        column = chunk.batch.column(PARTITION)
        codes = np.asarray(column.indices)
        for code, name in enumerate(column.dictionary.to_pylist()):
            index = np.flatnonzero(codes == code)
            rejects = sorted((r for r in chunk.rejects if r.partition == name), key=lambda reject: reject.offset)
            if len(index) or rejects:
                rows = chunk.batch.take(pa.array(index))
                before = np.searchsorted(rows.column(OFFSET).to_numpy(), [reject.offset for reject in rejects])
                raw = chunk.raw
                data = [raw[row] for row in index.tolist()] if raw is not None else None
                self._remainders[name] = _Remainder(rows, deque(zip(before.tolist(), rejects, strict=True)), data)

    def take(self, max_rows: int, paused: Collection[str]) -> Chunk | None:
        """The next of a partition that is not paused; None where there are none."""
        for name, left in self._remainders.items():
            if name in paused:
                continue
            # A reject must not come before the rows in front of it: the position would pass them.
            due: list[Reject] = []
            while left.rejects and left.rejects[0][0] - left.start + len(due) < max_rows:
                due.append(left.rejects.popleft()[1])
            start = left.start
            left.start = stop = min(start + max_rows - len(due), left.batch.num_rows)
            if stop == left.batch.num_rows and not left.rejects:
                del self._remainders[name]
            raw = left.raw[start:stop] if left.raw is not None else None
            return Chunk(left.batch.slice(start, stop - start), tuple(due), raw)
        return None
