"""Where partitions start and end in a run, as offsets of messages."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from penrose_host import SourceError, WrongStream
from penrose_kafka.source.stamps import Stamps

if TYPE_CHECKING:
    from penrose_kafka.source.connection import Connection
    from penrose_kafka.source.options import KafkaOptions

__all__ = ["Positions"]

log = logging.getLogger("penrose.kafka")


class Positions:
    """`stamps`: of the checkpoint that a run goes on from, and those that it gives."""

    def __init__(self, connection: Connection, options: KafkaOptions) -> None:
        self.stamps = Stamps()
        self._connection = connection
        self._options = options
        # By the option that says so: where the run ends.
        self._bounds: dict[str, str | Mapping[str, int]] = (
            {} if options.end is None else {"datasource.end": options.end}
        )

    def bound(self, until: str | Mapping[str, int]) -> None:
        """End there, or where the options say, whichever comes first."""
        self._bounds["until.stream"] = dict(until) if isinstance(until, Mapping) else until

    def expect(self, stamps: Mapping[str, str]) -> None:
        """Raises SourceError where the topics are another cluster's, or a partition is not there any more."""
        self.stamps.expect(stamps)
        there = set(self._connection.partitions())
        brokers, cluster = self._connection.brokers, self._connection.topics.cluster_id
        for name, stamp in self.stamps.expected.items():
            if stamp.cluster and cluster and stamp.cluster != cluster:
                raise SourceError(
                    f"the checkpoint is about {name} of the cluster {stamp.cluster}, "
                    f"but {brokers} are brokers of the cluster {cluster}",
                    plugin="kafka",
                    partition=name,
                    hint="point `datasource.brokers` at the same cluster; offsets of one mean nothing in another: "
                    "start a new run in another run directory, with `datasource.start` where it should begin",
                )
            if name not in there:
                raise SourceError(
                    f"{name} was read before the checkpoint, and {brokers} do not have it any more",
                    plugin="kafka",
                    partition=name,
                    hint="a topic that was deleted or made anew cannot be gone on with: start a new run in another "
                    "run directory",
                )

    def check(self, assignment: Mapping[str, int | None]) -> None:
        """Raises WrongStream for a partition that is not there, or an offset that cannot be one."""
        for name, offset in assignment.items():
            if name not in self._connection.known and name not in self._connection.partitions():
                raise WrongStream(
                    f"the position has a partition {name!r}, which {self._connection.brokers} do not have",
                    hint="point the datasource at the same topics, or start a new run in another run directory",
                )
            if offset is not None and offset < 0:
                raise WrongStream(f"partition {name!r} cannot start at offset {offset}")

    def rows(self, assignment: Mapping[str, int | None], rows_per_message: int) -> dict[str, int]:
        """Partition → the first row to read, by its position or, without one, by `starts`."""
        starts = self.starts([name for name, offset in assignment.items() if offset is None])
        return {
            name: starts[name] * rows_per_message if row is None else self._row(name, row, rows_per_message)
            for name, row in assignment.items()
        }

    def starts(self, names: Sequence[str]) -> dict[str, int]:
        """Where partitions start that have no position."""
        topics, expected = self._connection.topics, self.stamps.expected
        found: dict[str, int] = {}
        fresh: list[str] = []
        for name in names:
            if name in expected:
                # A new run began there, and nothing had come yet.
                found[name] = self.within(name, expected[name].start)
            elif expected or self._connection.assigned:
                # It did not exist when the run began: from its beginning, whatever `start` says.
                found[name] = topics.offsets_held(name)[0]
            else:
                fresh.append(name)
        start = self._options.start
        if isinstance(start, dict):
            self._must_exist("datasource.start", start)
            for name in fresh:
                found[name] = self._begin(name, start[name]) if name in start else topics.offsets_held(name)[0]
        elif start in ("earliest", "latest"):
            found |= {name: topics.offsets_held(name)[start == "latest"] for name in fresh}
        else:
            found |= topics.offsets_at(fresh, start)
        return found

    def _begin(self, name: str, offset: int) -> int:
        """What `start` says, or the first that is left where it has expired. Raises SourceError."""
        low, high = self._connection.topics.offsets_held(name)
        if offset > high:
            raise SourceError(
                f"`datasource.start` is offset {offset} of {name}, which ends at {high}",
                plugin="kafka",
                partition=name,
                offset=offset,
                hint=f"give an offset from {low} to {high}, or `latest`",
            )
        return self.within(name, offset)

    def _row(self, name: str, row: int, rows_per_message: int) -> int:
        """The row, or the first that is left where its message has expired. Raises SourceError, WrongStream."""
        offset = row // rows_per_message
        found = self.within(name, offset)
        return row if found == offset else found * rows_per_message

    def within(self, name: str, offset: int) -> int:
        """The offset, or the first that is left where it has expired. Raises SourceError, WrongStream."""
        low, high = self._connection.topics.offsets_held(name)
        if offset > high:
            what = f"the position says offset {offset} in {name}, which ends at {high}"
            hint = (
                "the topic was made anew, or lost messages: start a new run in another run directory, with "
                "`datasource.start` where it should begin"
            )
            if name in self.stamps.expected or self._connection.assigned:
                raise SourceError(what, plugin="kafka", partition=name, offset=offset, hint=hint)
            raise WrongStream(what, hint=hint)
        if offset >= low:
            return offset
        if self._options.expired == "fail":
            raise self._expired(name, offset, low, high)
        log.warning(
            "%s: %d messages expired unread, %d to %d; going on at %d", name, low - offset, offset, low - 1, low
        )
        return low

    def _expired(self, name: str, offset: int, low: int, high: int) -> SourceError:
        return SourceError(
            f"{name} does not hold the messages {offset} to {low - 1} any more: they expired before they were read; "
            + (f"left are {low} to {high - 1}" if high > low else "nothing is left"),
            plugin="kafka",
            partition=name,
            offset=offset,
            hint="go on with what is left by -o datasource.expired=skip, and let the topic keep messages for longer "
            "(retention.ms)",
        )

    def _must_exist(self, option: str, offsets: Mapping[str, int]) -> None:
        known = self._connection.known
        unknown = [name for name in offsets if name not in known]
        if unknown:
            raise SourceError(
                f"`{option}` names {', '.join(unknown)}, which {self._connection.brokers} do not have",
                plugin="kafka",
                hint=f"partitions are called as in {known[0]}",
            )

    def ends(self, names: Sequence[str]) -> dict[str, int]:
        """Where partitions end: at the first of the bounds there are; none where the stream never ends."""
        topics = self._connection.topics
        found: dict[str, int] = {}
        for option, until in self._bounds.items():
            if isinstance(until, Mapping):
                self._must_exist(option, until)
                ends = {name: until[name] if name in until else topics.offsets_held(name)[1] for name in names}
            elif until == "now":
                ends = {name: topics.offsets_held(name)[1] for name in names}
            else:
                ends = dict(topics.offsets_at(names, until))
            found |= {name: min(end, found.get(name, end)) for name, end in ends.items()}
        return found
