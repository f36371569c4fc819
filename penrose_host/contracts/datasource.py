"""Where rows come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from penrose_host.contracts.plugin import Plugin
from penrose_host.errors import SourceError

if TYPE_CHECKING:
    from penrose_host.contracts.batch import Chunk, Position, Reject

__all__ = ["DataSource", "EndOfStream", "Lag"]


class EndOfStream(Exception):
    """Raised by `DataSource.read` when no assigned partition will ever give another row."""


@dataclass(frozen=True, slots=True)
class Lag:
    """How far reading is behind: rows and seconds not yet read, in all and by partition; None where unknown."""

    rows: int | None = None
    seconds: float | None = None
    partitions: Mapping[str, int] = field(default_factory=dict)


class DataSource(Plugin, ABC):
    """Hands over chunks. The host makes one instance a worker and calls it from one thread at a time.

    `source_id`, `partitions`, `expect` and a last `close` come from another thread than the calls from `open` on.
    """

    @property
    @abstractmethod
    def source_id(self) -> str:
        """Names the stream: a position with another `source_id` is refused. Known before `open`.

        Equal streams have equal ids, whatever options only say *how* to read (batch sizes, prefetch).
        """

    @abstractmethod
    def partitions(self) -> Sequence[str]:
        """All partitions of the stream now; may grow while running. Names do not depend on workers."""

    def expect(self, stamps: Mapping[str, str]) -> None:
        """What `stamps` gave when the checkpoint was taken; called before the first `open` of a resumed run.

        Raises `SourceError`, naming the partition, where what was read then is not there any more as it was.
        """

    def stamps(self) -> Mapping[str, str]:
        """Partition → stamp of its content as far as this run has touched it: short opaque text, kept in checkpoints.

        A source whose data could change under a position (files) gives one; the host compares nothing itself.
        """
        return {}

    def bound(self, until: str | Mapping[str, int]) -> None:
        """In this run, read no further than there; called before the first `open`, where the job has `until.stream`.

        `now`: what is there as the run starts; an ISO 8601 time of the stream's own clock; or partition → the offset
        to stop before. A partition that is read that far counts as `ended`, and once all are, `read` raises
        `EndOfStream`. Raises `SourceError` for a bound that the source cannot keep; here, for any.
        """
        raise SourceError(
            f"{type(self).__name__} cannot say where its stream is at `until.stream` ({until!r})",
            hint="bound the run with --until rows=N or --until event_time=T",
        )

    @abstractmethod
    def open(self, assignment: Mapping[str, int | None]) -> None:
        """Read these partitions, each from its first offset (None: where the options say a new run starts).

        May be called again while open with a larger assignment: added partitions start where it says,
        the others go on. Raises `WrongStream` for an unknown partition or an offset that cannot be one,
        `SourceError` where the data has changed or is no longer there.
        """

    @abstractmethod
    def read(self, max_rows: int, timeout: float) -> Chunk | None:
        """The next rows, at most `max_rows`, in order within each partition.

        None: nothing came within `timeout` seconds. Raises `EndOfStream` at the end, `SourceError` on failure.
        Which partitions stand together in a chunk, and how long a chunk is, may vary from run to run;
        the rows of a partition and their order may not.
        """

    def pause(self, partitions: Collection[str]) -> None:
        """From now on `read` gives no rows of these partitions, until the next call (an empty one resumes all).

        An event-time merge holds back the partitions that ran ahead, so that its memory stays bounded.
        Sources with a single partition need not implement it.
        """

    def ended(self) -> Collection[str]:
        """Assigned partitions that will never give another row; an event-time merge waits no longer for them."""
        return ()

    def commit(self, position: Position) -> None:
        """The checkpoint with this position is durable. Called after that, never before."""

    def dead_letters(self, rejects: Sequence[Reject]) -> None:
        """Store bad rows that the run has come to, under `bad_rows: dead-letter`; they are in its `dead-letter.jsonl`.

        For sources that have a place of their own for them, and whose instance declares `Capability.DEAD_LETTERS`: no
        other is asked. Called behind the checkpoint that covers the rows, in order within each partition; on return
        they are durable there. After a crash some come again: at least once. Raises `SinkError`.
        """
        raise NotImplementedError

    def compact(self, position: Position) -> Position:
        """The same position without partitions that can never be read again (an endless file stream).

        An endless source is asked whenever a checkpoint is taken; what it leaves out it does not name again, neither
        in `partitions`, `ended` nor `stamps`.
        """
        return position

    def lag(self) -> Lag | None:
        """How far reading is behind; None where the source cannot know."""
        return None

    @abstractmethod
    def close(self) -> None:
        """Let go of everything. May be called twice, and without `open`."""
