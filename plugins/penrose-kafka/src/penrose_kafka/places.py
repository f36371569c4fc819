"""Where partitions start and end, as offsets of messages."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from penrose_host import SourceError, WrongStream

if TYPE_CHECKING:
    from penrose_kafka.connection import Connection
    from penrose_kafka.options import KafkaOptions
    from penrose_kafka.stamps import Stamp

__all__ = ["Places"]

log = logging.getLogger("penrose.kafka")


class Places:
    """`expected`: stamps of the checkpoint that a run goes on from; `bounds`: what says where it ends, by its place."""

    def __init__(self, connection: Connection, options: KafkaOptions) -> None:
        self.expected: dict[str, Stamp] = {}
        self.bounds: dict[str, str | dict[str, int]] = {} if options.end is None else {"datasource.end": options.end}
        self._connection = connection
        self._options = options

    def starts(self, names: Sequence[str], known: Sequence[str]) -> dict[str, int]:
        """Where partitions start that have no position, as offsets of messages. `known`: all there are."""
        found: dict[str, int] = {}
        fresh: list[str] = []
        for name in names:
            if name in self.expected:
                # A new run began there, and nothing had come yet.
                found[name] = self.within(name, self.expected[name].start)
            elif self.expected or self._connection.assigned:
                # It did not exist when the run began: from its beginning, whatever `start` says.
                found[name] = self._connection.topics.held(name)[0]
            else:
                fresh.append(name)
        start = self._options.start
        if isinstance(start, dict):
            self._must_exist("datasource.start", start, known)
            for name in fresh:
                found[name] = self._begin(name, start[name]) if name in start else self._connection.topics.held(name)[0]
        elif start in ("earliest", "latest"):
            found |= {name: self._connection.topics.held(name)[start == "latest"] for name in fresh}
        else:
            found |= self._connection.topics.at(fresh, start)
        return found

    def _begin(self, name: str, offset: int) -> int:
        """What `start` says, or the first that is left where it has expired. Raises SourceError."""
        low, high = self._connection.topics.held(name)
        if offset > high:
            raise SourceError(
                f"`datasource.start` is offset {offset} of {name}, which ends at {high}",
                plugin="kafka",
                partition=name,
                offset=offset,
                hint=f"give an offset from {low} to {high}, or `latest`",
            )
        return self.within(name, offset)

    def row(self, name: str, row: int, unit: int) -> int:
        """The row, or the first that is left where its message has expired; `unit` rows a message.

        Raises SourceError, WrongStream.
        """
        found = self.within(name, row // unit)
        return row if found == row // unit else found * unit

    def within(self, name: str, offset: int) -> int:
        """The offset, or the first that is left where it has expired. Raises SourceError, WrongStream."""
        low, high = self._connection.topics.held(name)
        if offset > high:
            what = f"the position says offset {offset} in {name}, which ends at {high}"
            hint = (
                "the topic was made anew, or lost messages: start a new run in another run directory, with "
                "`datasource.start` where it should begin"
            )
            if name in self.expected or self._connection.assigned:
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

    def _must_exist(self, place: str, offsets: Mapping[str, int], known: Sequence[str]) -> None:
        unknown = [name for name in offsets if name not in known]
        if unknown:
            raise SourceError(
                f"`{place}` names {', '.join(unknown)}, which {self._connection.brokers} do not have",
                plugin="kafka",
                hint=f"partitions are called as in {known[0]}",
            )

    def ends(self, names: Sequence[str], known: Sequence[str]) -> dict[str, int]:
        """Where partitions end: at the first of the bounds there are; none where the stream never ends."""
        found: dict[str, int] = {}
        for place, until in self.bounds.items():
            if isinstance(until, dict):
                self._must_exist(place, until, known)
                ends = {name: until[name] if name in until else self._connection.topics.held(name)[1] for name in names}
            elif until == "now":
                ends = {name: self._connection.topics.held(name)[1] for name in names}
            else:
                ends = dict(self._connection.topics.at(names, until))
            found |= {name: min(end, found.get(name, end)) for name, end in ends.items()}
        return found
