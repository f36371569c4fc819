"""How far a run has come: positions, clocks and counters. All of it is checkpointed state."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from penrose_host.contracts.batch import Position, Reject
from penrose_host.core.partition_names import Names

if TYPE_CHECKING:
    from penrose_host.contracts.batch import Int64
    from penrose_host.core.rows import Rows

__all__ = ["NEVER", "Progress"]

#: The clock of a partition that has given no row yet.
NEVER = int(np.iinfo(np.int64).min)
_FOREVER = int(np.iinfo(np.int64).max)


class Progress:
    """Counters of a run, and for each partition the next offset and the latest event time scored.

    `rows` were scored, `trained_rows` trained; `skipped_rows` were left out of training for a loss that was
    not finite; `bad_rows` could not be used. `sequence` counts training steps. Times are microseconds.
    """

    def __init__(self, source_id: str, names: Names) -> None:
        self.source_id = source_id
        self.names = names
        self.rows = 0
        self.trained_rows = 0
        self.skipped_rows = 0
        self.bad_rows = 0
        self.sequence = 0
        self.clock = NEVER
        self.watermark = NEVER
        self.loss_rows = 0
        self.losses: dict[str, float] = {}
        self._next = np.empty(0, dtype=np.int64)
        self._arrived = np.empty(0, dtype=np.int64)
        self._clocks = np.empty(0, dtype=np.int64)
        # Behind the last row scored, and the bad rows counted that are further on.
        self._scored = np.empty(0, dtype=np.int64)
        self._beyond = np.empty(0, dtype=np.int64)
        # Bad rows not yet counted, as offsets from..to where they follow one another: a flood of them takes no room.
        self._rejects: dict[str, deque[list[int]]] = {}

    def seek(self, offsets: Mapping[str, int]) -> None:
        """Partitions are read from these offsets on."""
        self.names.add(offsets)
        self._grow()
        for name, offset in offsets.items():
            code = self.names.code(name)
            self._next[code] = self._arrived[code] = self._scored[code] = offset

    def forget(self, partitions: Iterable[str]) -> None:
        """These partitions have ended and are behind us for good: no position names them any more."""
        for name in partitions:
            code = self.names.code(name)
            self._grow()
            self._next[code] = self._arrived[code] = self._scored[code] = -1
            self._clocks[code], self._beyond[code] = NEVER, 0

    # -- positions and clocks ----------------------------------------------------------------------

    def position(self) -> Position:
        """The position after all rows scored, and all bad rows settled, so far."""
        self._grow()
        offsets = zip(self.names.all, self._next.tolist(), strict=True)
        return Position(self.source_id, {name: offset for name, offset in offsets if offset >= 0})

    def position_after(self, block: Rows, count: int) -> Position:
        """The position after the first `count` rows of the block that is being scored."""
        following = self._next.copy()
        following[block.partition[:count]] = block.offset[:count] + 1
        offsets = zip(self.names.all, following.tolist(), strict=True)
        return Position(self.source_id, {name: offset for name, offset in offsets if offset >= 0})

    def clocks(self) -> dict[str, int]:
        """Partition → the latest event time scored; those that gave no row yet have none."""
        self._grow()
        clocks = zip(self.names.all, self._clocks.tolist(), strict=True)
        return {name: clock for name, clock in clocks if clock != NEVER}

    def watermarks(self, block: Rows, clocks: Int64, starts: Int64, *, merged: bool, active: Collection[str]) -> Int64:
        """The watermark as each micro-batch of the block starts: all that is older has been seen.

        After a merge that is the clock of its first row; otherwise the oldest clock of the active
        partitions that have given a row.
        """
        self._grow()
        if merged:
            return clocks[starts]
        oldest = np.full(len(starts), _FOREVER, dtype=np.int64)
        for code in map(self.names.code, active):
            times = np.where(block.partition == code, block.event_time, NEVER)
            seen = np.maximum.accumulate(np.maximum(times, self._clocks[code]))[starts]
            oldest = np.minimum(oldest, np.where(seen == NEVER, _FOREVER, seen))
        oldest = np.where(oldest == _FOREVER, clocks[starts], oldest)
        return np.maximum.accumulate(np.maximum(oldest, self.watermark))

    # -- counting ----------------------------------------------------------------------------------

    def arrive(self, rows: Rows) -> None:
        """Rows have been taken in, and will be scored."""
        self._grow()
        self._arrived[rows.partition] = rows.offset + 1

    def advance(self, block: Rows, clock: int, watermark: int) -> None:
        """A block of rows has been scored."""
        self.rows += len(block)
        self.clock = clock
        self.watermark = watermark
        self._next[block.partition] = self._scored[block.partition] = block.offset + 1
        self._beyond[block.partition] = 0
        np.maximum.at(self._clocks, block.partition, block.event_time)

    def trained(self, rows: int, losses: Mapping[str, float]) -> None:
        """A step has trained on this many rows, with these mean losses."""
        self.trained_rows += rows
        self.loss_rows += rows
        for head, loss in losses.items():
            self.losses[head] = self.losses.get(head, 0.0) + loss * rows

    def mean_loss(self) -> float | None:
        """Mean loss since the last report, summed over heads; None where nothing was trained since."""
        return sum(self.losses.values()) / self.loss_rows if self.loss_rows else None

    def forget_losses(self) -> None:
        """A report was written: the next one tells of what comes now."""
        self.losses, self.loss_rows = {}, 0

    # -- bad rows ----------------------------------------------------------------------------------

    def reject(self, rejects: Iterable[Reject]) -> None:
        """Rows that could not be used have arrived."""
        for reject in sorted(rejects, key=lambda reject: reject.offset):
            runs = self._rejects.setdefault(reject.partition, deque())
            if runs and runs[-1][1] == reject.offset:
                runs[-1][1] += 1
            else:
                runs.append([reject.offset, reject.offset + 1])

    def settle(self, *, everything: bool = False) -> list[tuple[str, int]]:
        """Count the bad rows whose place is behind the position, and move it past them.

        A bad row waits until every good row before it in its partition has been scored, so that the
        position never passes a row that was not. `everything`: positions are not ours to keep.
        Returns how many of which partition.
        """
        settled: dict[str, int] = {}
        self.names.add(sorted(self._rejects))
        self._grow()
        for name, runs in sorted(self._rejects.items()):
            code = self.names.code(name)
            while runs:
                start, stop = runs[0]
                drained = self._next[code] >= self._arrived[code]
                if not (everything or drained or start < self._next[code]):
                    break
                self._next[code] = max(int(self._next[code]), stop)
                self._arrived[code] = max(int(self._arrived[code]), int(self._next[code]))
                if start >= self._scored[code]:
                    self._beyond[code] += stop - start
                settled[name] = settled.get(name, 0) + stop - start
                runs.popleft()
            if not runs:
                del self._rejects[name]
        self.bad_rows += sum(settled.values())
        return list(settled.items())

    def reported(self) -> tuple[int, Position]:
        """Bad rows and position up to the last row scored in each partition, as reports tell them.

        How many bad rows have arrived behind it is chance; they count once a later row is scored, or at the end.
        """
        offsets = zip(self.names.all, self._scored.tolist(), strict=True)
        position = Position(self.source_id, {name: offset for name, offset in offsets if offset >= 0})
        return self.bad_rows - int(self._beyond.sum()), position

    # -- state -------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """The state, as JSON; partitions by name, so that equal states print equal."""
        state: dict[str, Any] = {
            "rows": self.rows,
            "trained_rows": self.trained_rows,
            "skipped_rows": self.skipped_rows,
            "bad_rows": self.bad_rows,
            "sequence": self.sequence,
            "clock": self.clock,
            "watermark": self.watermark,
            "loss_rows": self.loss_rows,
        }
        state["losses"] = dict(sorted(self.losses.items()))
        state["position"] = self.position().to_json()
        state["clocks"] = dict(sorted(self.clocks().items()))
        beyond = zip(self.names.all, self._scored.tolist(), self._beyond.tolist(), strict=True)
        state["beyond"] = {name: [scored, count] for name, scored, count in sorted(beyond) if count}
        return state

    @classmethod
    def from_json(cls, state: Mapping[str, Any], names: Names) -> Progress:
        """What `to_json` wrote. Raises KeyError, TypeError or ValueError where it is not that."""
        position = Position.from_json(state["position"])
        progress = cls(position.source_id, names)
        progress.seek(position.offsets)
        progress.rows = int(state["rows"])
        progress.trained_rows = int(state["trained_rows"])
        progress.skipped_rows = int(state["skipped_rows"])
        progress.bad_rows = int(state["bad_rows"])
        progress.sequence = int(state["sequence"])
        progress.clock = int(state["clock"])
        progress.watermark = int(state["watermark"])
        progress.loss_rows = int(state["loss_rows"])
        progress.losses = {head: float(total) for head, total in state["losses"].items()}
        names.add(state["clocks"])
        progress._grow()
        for name, clock in state["clocks"].items():
            progress._clocks[names.code(name)] = int(clock)
        for name, (scored, count) in state["beyond"].items():
            progress._scored[names.code(name)], progress._beyond[names.code(name)] = int(scored), int(count)
        return progress

    def _grow(self) -> None:
        """Make room for names that are new."""
        new = len(self.names) - len(self._next)
        if new:
            self._next = np.append(self._next, np.full(new, -1, dtype=np.int64))
            self._arrived = np.append(self._arrived, np.full(new, -1, dtype=np.int64))
            self._clocks = np.append(self._clocks, np.full(new, NEVER, dtype=np.int64))
            self._scored = np.append(self._scored, np.full(new, -1, dtype=np.int64))
            self._beyond = np.append(self._beyond, np.zeros(new, dtype=np.int64))
