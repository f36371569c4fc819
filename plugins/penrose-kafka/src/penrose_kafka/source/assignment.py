"""The partitions that the consumer reads: where each goes on and ends, and which it leaves alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from penrose_host import Lag
from penrose_kafka.topic_names import topic_partition

if TYPE_CHECKING:
    from penrose_kafka.source.connection import Connection

__all__ = ["Assignment"]


class Assignment:
    """By partition, in offsets of messages: `next`, the one that comes next; `ends`, the one to stop before, if any.

    `ended`: partitions that were read up to there. `paused`: those that the host wants nothing of now.
    """

    def __init__(self, connection: Connection) -> None:
        self.next: dict[str, int] = {}
        self.ends: dict[str, int] = {}
        self.ended: set[str] = set()
        self.paused: frozenset[str] = frozenset()
        self._held: frozenset[str] = frozenset()  # the client was told to leave these alone
        self._connection = connection

    def add(self, starts: Mapping[str, int], ends: Mapping[str, int]) -> None:
        """Read these partitions too."""
        self.next |= starts
        self.ends |= ends
        self._connection.consumer.incremental_assign([topic_partition(name, start) for name, start in starts.items()])
        self._connection.assigned = True
        for name, start in starts.items():
            self.reached(name, start)
        self._hold()

    def advance(self, name: str, offset: int) -> None:
        """The partition's messages before this offset came."""
        self.next[name] = max(self.next[name], offset)
        self.reached(name, offset)

    def reached(self, name: str, offset: int) -> None:
        """The partition has nothing before this offset that did not come: is that its end?"""
        if name in self.ends and offset >= self.ends[name] and name not in self.ended:
            self.ended.add(name)
            self._hold()

    def restart(self, name: str, offset: int) -> None:
        """Go on there with a partition whose fetching has failed."""
        self.next[name] = offset
        # The client has stopped fetching, and does not seek where it has.
        self._connection.consumer.incremental_unassign([topic_partition(name)])
        self._connection.consumer.incremental_assign([topic_partition(name, offset)])
        if name in self._held:
            self._connection.consumer.pause([topic_partition(name)])
        self.reached(name, offset)

    def pause(self, partitions: Collection[str]) -> None:
        """Read nothing of these partitions, until the next call."""
        self.paused = frozenset(partitions)
        self._hold()

    def lag(self) -> Lag | None:
        """Messages that were not read; None until the first messages of each partition came."""
        behind: dict[str, int] = {}
        for name, offset in self.next.items():
            if name in self.ended:
                behind[name] = 0
                continue
            _, high = self._connection.consumer.get_watermark_offsets(topic_partition(name), cached=True)
            if high < 0:
                return None
            behind[name] = max(min(high, self.ends.get(name, high)) - offset, 0)
        return Lag(sum(behind.values()), None, behind)

    def _hold(self) -> None:
        """Tell the client which partitions to leave alone: those paused, and those read to their end."""
        held = frozenset((self.paused | self.ended) & self.next.keys())
        if not self._connection.assigned or held == self._held:
            return
        if more := held - self._held:
            self._connection.consumer.pause([topic_partition(name) for name in more])
        if less := self._held - held:
            self._connection.consumer.resume([topic_partition(name) for name in less])
        self._held = held
