"""Brings arriving rows into the one order in which they are scored.

`order: arrival` takes rows as they come. `order: event_time` merges partitions by (event time, partition,
offset): a row goes on once no partition can still give one that belongs before it. Event time never runs
back within a partition here: a row older than the one before it counts as of that one's time.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np

from penrose_host.core.partition_names import Names
from penrose_host.core.progress import NEVER
from penrose_host.core.rows import Rows

if TYPE_CHECKING:
    from penrose_host.contracts.batch import Int64

__all__ = ["Merge"]

Order = Literal["event_time", "arrival"]
#: A partition that is this many rows ahead of the merge is paused until the others have caught up.
AHEAD = 32_768


class _PartitionBuffer:
    """One partition's rows on their way into the merge; `clock` is the latest event time that arrived."""

    __slots__ = ("clock", "clocks", "ended", "heard", "idle", "name", "rows")

    def __init__(self, name: str, clock: int) -> None:
        self.name = name
        self.clock = clock
        self.rows: list[Rows] = []
        self.clocks: list[Int64] = []
        self.heard = time.monotonic()
        self.idle = False
        self.ended = False

    def waiting(self) -> int:
        return sum(len(rows) for rows in self.rows)


class Merge:
    """Rows in, ordered rows out, each with its clock: an event time that never runs back."""

    def __init__(self, order: Order, names: Names, clocks: Mapping[str, int] | None = None) -> None:
        """`names`: rows that come out index these. `clocks`: of the partitions, where reading goes on."""
        self.merged = order == "event_time"
        self.names = names
        self._buffers: dict[str, _PartitionBuffer] = {}
        # Buffers with rows, by the clock of their first: there may be thousands of buffers, of which most cannot go on.
        self._firsts: list[tuple[int, str]] = []
        self._far: set[str] = set()  # buffers that are AHEAD
        for name, clock in (clocks or {}).items():
            self._buffer(name).clock = clock
        self._arrived: list[tuple[Rows, Int64]] = []

    def assign(self, partitions: Iterable[str]) -> None:
        """These partitions take part from now on: the merge waits for each of them."""
        for name in partitions:
            self._buffer(name)

    def end(self, partitions: Iterable[str]) -> None:
        """These partitions will give no more rows."""
        for name in partitions:
            self._buffer(name).ended = True

    def forget(self, partitions: Iterable[str]) -> None:
        """These partitions have ended, and all their rows were taken."""
        for name in partitions:
            self._buffers.pop(name, None)

    def idle(self, seconds: float, silent: Collection[str] = ()) -> bool:
        """Wait no longer for partitions that were silent for this long, or will be; False where nothing changes."""
        now, changed = time.monotonic(), False
        for buffer in self._buffers.values():
            # Once let go of, a partition stays so until it gives rows.
            if not (buffer.idle or buffer.rows) and (now - buffer.heard >= seconds or buffer.name in silent):
                buffer.idle = changed = True
        return changed

    def pending(self) -> list[Rows]:
        """Rows that arrived and have not been taken, in order within each partition."""
        return [rows for rows, _ in self._arrived] + [rows for buffer in self._buffers.values() for rows in buffer.rows]

    def ahead(self) -> frozenset[str]:
        """Partitions that ran ahead of the merge; read no more of them for now."""
        return frozenset(self._far)

    def holding(self) -> frozenset[str]:
        """Partitions of which rows are here whose place is not certain yet; never those that the merge waits for."""
        return frozenset(name for _, name in self._firsts)

    def expected(self) -> frozenset[str]:
        """Partitions that may give more rows, and are read on for now."""
        return frozenset(name for name, buffer in self._buffers.items() if not buffer.ended and name not in self._far)

    def active(self) -> frozenset[str]:
        """Partitions that may give more rows, and are not silent."""
        return frozenset(name for name, buffer in self._buffers.items() if not (buffer.ended or buffer.idle))

    def add(self, rows: Rows, floor: int = NEVER) -> Rows:
        """Take rows, in order within each partition; returns them with `names` as their partitions.

        `floor`: no clock may be older than that of the rows that came out already.
        """
        rows = self._renamed(rows)
        clocks = np.empty(len(rows), dtype=np.int64)
        for code in _distinct(rows.partition):
            buffer = self._buffers[self.names.all[code]]
            index = np.flatnonzero(rows.partition == code)
            alone = len(index) == len(rows)
            own = np.maximum.accumulate(np.maximum(rows.event_time[index], max(buffer.clock, floor)))
            clocks[index] = own
            buffer.clock = int(own[-1])
            buffer.heard = time.monotonic()
            buffer.idle = False
            if self.merged:
                if not buffer.rows:
                    heapq.heappush(self._firsts, (int(own[0]), buffer.name))
                buffer.rows.append(rows if alone else rows.take(index))
                buffer.clocks.append(own)
                if buffer.waiting() >= AHEAD:
                    self._far.add(buffer.name)
        if not self.merged and len(rows):
            self._arrived.append((rows, clocks))
        return rows

    def take(self, *, everything: bool = False) -> tuple[Rows, Int64] | None:
        """The rows whose place is certain, in order, and their clocks; None where there are none.

        `everything`: the stream has ended, nothing needs to be waited for.
        """
        if not self.merged:
            arrived, self._arrived = self._arrived, []
            if not arrived:
                return None
            return Rows.concat([rows for rows, _ in arrived]), np.concatenate([clocks for _, clocks in arrived])
        bound = None if everything else self._bound()
        certain: list[tuple[Rows, Int64]] = []
        while self._firsts and (bound is None or self._firsts[0] <= bound):
            buffer = self._buffers[heapq.heappop(self._firsts)[1]]
            certain += _certain(buffer, bound)
            if buffer.rows:
                heapq.heappush(self._firsts, (int(buffer.clocks[0][0]), buffer.name))
            if buffer.waiting() < AHEAD:
                self._far.discard(buffer.name)
        if not certain:
            return None
        rows = Rows.concat([part for part, _ in certain])
        clocks = np.concatenate([clock for _, clock in certain])
        if len({int(part.partition[0]) for part, _ in certain}) == 1:
            return rows, clocks
        # Stable, and each partition's rows are in order already: offsets need not be compared.
        index = np.lexsort((self.names.ranks()[rows.partition], clocks))
        return rows.take(index), clocks[index]

    def _bound(self) -> tuple[int, str] | None:
        """The smallest (clock, partition) that may still come; None where nothing more can come."""
        return min(((x.clock, x.name) for x in self._buffers.values() if not (x.ended or x.idle)), default=None)

    def _buffer(self, name: str) -> _PartitionBuffer:
        buffer = self._buffers.get(name)
        if buffer is None:
            buffer = self._buffers[name] = _PartitionBuffer(name, NEVER)
            self.names.code(name)
        return buffer

    def _renamed(self, rows: Rows) -> Rows:
        """The same rows, with partitions indexing this merge's names."""
        for name in rows.names:
            self._buffer(name)
        table = np.array([self.names.code(name) for name in rows.names], dtype=np.int32)
        return rows.with_partitions(self.names.all, table[rows.partition] if len(table) else rows.partition)


def _certain(buffer: _PartitionBuffer, bound: tuple[int, str] | None) -> list[tuple[Rows, Int64]]:
    """Cut from a buffer what comes before `bound`, in pieces."""
    taken: list[tuple[Rows, Int64]] = []
    while buffer.rows:
        rows, clocks = buffer.rows[0], buffer.clocks[0]
        count = len(rows)
        if bound is not None:
            latest, name = bound
            count = int(np.searchsorted(clocks, latest, side="right" if buffer.name <= name else "left"))
        if count == 0:
            break
        taken.append((rows.take(slice(0, count)), clocks[:count]))
        if count < len(rows):
            buffer.rows[0], buffer.clocks[0] = rows.take(slice(count, len(rows))), clocks[count:]
            break
        del buffer.rows[0], buffer.clocks[0]
    return taken


def _distinct(codes: np.ndarray[tuple[int], np.dtype[np.int32]]) -> list[int]:
    if len(codes) == 0:
        return []
    return [int(code) for code in np.flatnonzero(np.bincount(codes))]
