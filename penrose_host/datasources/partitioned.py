"""A base for sources whose rows are there whenever they are asked for: tables, archives, what a formula gives."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from penrose_host.contracts.batch import OFFSET, Chunk
from penrose_host.contracts.datasource import DataSource, EndOfStream, Lag
from penrose_host.errors import SourceError, WrongStream

if TYPE_CHECKING:
    import pyarrow as pa
    from pydantic import BaseModel

__all__ = ["PartitionedSource"]

_AS_BEFORE = "give the datasource the options that it had, or start a new run in another run directory"


@dataclass(slots=True)
class _Assigned:
    """An assigned partition: its number among all, the offset where reading goes on, and the one behind its end."""

    number: int
    next: int
    end: int | None


class PartitionedSource(DataSource):
    """Reads partitions by turns; a source says which there are, where each ends, and what its rows are.

    Write `source_id`, `partitions`, `end` and `rows`; `turn` and `close` where the defaults do not fit. Sources that
    wait for rows, or reject some, implement `DataSource` itself.
    """

    def __init__(self, options: BaseModel) -> None:
        super().__init__(options)
        # Two underscores: attributes of a source that is built on this one may have any name.
        self.__assigned: dict[str, _Assigned] = {}
        self.__paused: frozenset[str] = frozenset()

    @abstractmethod
    def end(self, partition: str) -> int | None:
        """The offset behind the last row of a partition (0: it has no rows); None where it never ends.

        Called when the partition is opened, and not again.
        """

    @abstractmethod
    def rows(self, partition: str, offset: int, max_rows: int) -> pa.RecordBatch:
        """The next rows of a partition: 1 to `max_rows` of them, from `offset` on, all before its end.

        The column `_partition` is added, and so is `_offset` where rows stand at all offsets; a source that leaves
        some out gives `_offset` (int64, ascending, none before `offset`) itself.
        """

    def turn(self, partition: str, offset: int) -> Any:  # noqa: ARG002 - other sources look at the partition
        """Decides which partition is read next: the one where this is least; where equal, the first of `partitions`.

        `offset`: where reading goes on, which is also the default: partitions are read side by side.
        """
        return offset

    @property
    def next_offsets(self) -> Mapping[str, int]:
        """Assigned partition → the offset where reading goes on."""
        return MappingProxyType({name: assigned.next for name, assigned in self.__assigned.items()})

    def open(self, assignment: Mapping[str, int | None]) -> None:
        numbers = {name: number for number, name in enumerate(self.partitions())}
        for name, offset in assignment.items():
            if name in self.__assigned:
                continue
            if name not in numbers:
                shown = ", ".join([*itertools.islice(numbers, 8), *(["…"] if len(numbers) > 8 else [])])
                raise WrongStream(
                    f"the stream {self.source_id!r} has no partition {name!r}: it has {shown}", hint=_AS_BEFORE
                )
            end, start = self.end(name), offset or 0
            if start < 0 or (end is not None and start > end):
                ends = "" if end is None else f": it ends at offset {end}"
                raise WrongStream(
                    f"partition {name!r} of the stream {self.source_id!r} cannot start at offset {offset}{ends}",
                    hint=_AS_BEFORE,
                )
            self.__assigned[name] = _Assigned(numbers[name], start, end)

    def read(self, max_rows: int, timeout: float) -> Chunk | None:  # noqa: ARG002 - rows are always there
        from penrose_host.formats.batches import with_origin

        unfinished = self.__assigned.keys() - self.ended()
        if not unfinished:
            raise EndOfStream
        ready = unfinished - self.__paused
        if not ready:
            return None
        name = min(ready, key=self._order)
        assigned = self.__assigned[name]
        rows = self.rows(name, assigned.next, max_rows)
        if not rows.num_rows:
            raise SourceError(
                f"partition {name!r} of the stream {self.source_id!r} gave no rows at offset {assigned.next}, "
                f"before its end at {assigned.end}",
                partition=name,
                offset=assigned.next,
                hint="rows of a stream stay where they are: put back what was deleted, or start a new run",
            )
        batch = with_origin(rows, name, assigned.next)
        assigned.next = batch.column(OFFSET)[-1].as_py() + 1
        return Chunk(batch)

    def pause(self, partitions: Collection[str]) -> None:
        self.__paused = frozenset(partitions)

    def ended(self) -> set[str]:
        return {name for name, assigned in self.__assigned.items() if assigned.next == assigned.end}

    def lag(self) -> Lag | None:
        """How many offsets are left; None where a partition never ends, or none is open."""
        left: dict[str, int] = {}
        for name, assigned in self.__assigned.items():
            if assigned.end is None:
                return None
            left[name] = assigned.end - assigned.next
        return Lag(rows=sum(left.values()), partitions=left) if left else None

    def close(self) -> None:
        """Forget what was open; a source that holds files or connections closes them too."""
        self.__assigned.clear()

    def _order(self, name: str) -> tuple[Any, int]:
        assigned = self.__assigned[name]
        return self.turn(name, assigned.next), assigned.number
