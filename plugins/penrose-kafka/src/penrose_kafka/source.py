"""The datasource `kafka`: messages of topics as rows, positions kept by the checkpoint.

A partition is `TOPIC/NUMBER`, its offset Kafka's own (of Arrow messages, which hold many rows, the offset times the
most rows that one may hold, plus the row's number). The host assigns partitions; the consumer never joins a group, as
a group may hand a partition to somebody who would train again what was trained since the checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, ClassVar

from penrose_host import API_VERSION, Capability, DataSource, EndOfStream, Lag, SourceError, WrongStream
from penrose_kafka.client import Unreachable, explain, resolved
from penrose_kafka.connection import Connection
from penrose_kafka.options import KafkaOptions
from penrose_kafka.places import Places
from penrose_kafka.sampling import samples
from penrose_kafka.stamps import Stamp
from penrose_kafka.topics import named, placed

if TYPE_CHECKING:
    from confluent_kafka import Message

    from penrose_host import Chunk, Position, Reject
    from penrose_host.decoding import Decoder
    from penrose_kafka.committing import Commits
    from penrose_kafka.letters import LetterTopic
    from penrose_kafka.messages import Fetched
    from penrose_kafka.pieces import Pieces

__all__ = ["KafkaSource"]

#: So many messages the client hands over at a time.
AT_ONCE = 2048
#: Of messages with many rows each, so many are decoded at a time at most.
MOST_SHARED = 1024


class KafkaSource(DataSource):
    """Messages of Kafka topics as rows, exactly once: positions belong to the checkpoint."""

    api_version: ClassVar[int] = API_VERSION
    Options = KafkaOptions
    capabilities = frozenset({Capability.SEEK, Capability.COMMIT, Capability.UNBOUNDED, Capability.DEAD_LETTERS})

    options: KafkaOptions

    def __init__(self, options: KafkaOptions) -> None:
        super().__init__(options)
        if options.end is not None:
            self.capabilities = self.capabilities - {Capability.UNBOUNDED}
        if options.dead_letter_topic is None:
            self.capabilities = self.capabilities - {Capability.DEAD_LETTERS}
        self._connection = Connection(options)
        self._where = Places(self._connection, options)
        self._decoder: Decoder | None = None
        self._commits: Commits | None = None
        self._letters: LetterTopic | None = None
        self._known: list[str] = []
        self._looked = 0.0
        self._columns = ""
        self._stamps: dict[str, Stamp] = {}
        self._texts: dict[str, str] = {}
        # By place in `_names`: where each partition goes on, in rows; where it stops, in messages.
        self._names: list[str] = []
        self._places: dict[str, Any] = {}
        self._first: Any = None
        self._next: dict[str, int] = {}
        self._ends: dict[str, int] = {}
        self._ended: set[str] = set()
        # Of messages with many rows: how many to take at a time, and what is left of those taken.
        self._share = 1
        self._pieces: Pieces | None = None
        self._paused: frozenset[str] = frozenset()
        self._held: frozenset[str] = frozenset()

    @property
    def source_id(self) -> str:
        return f"kafka:{self.options.decoder.format}:{','.join(sorted(self.options.topics))}"

    def partitions(self) -> Sequence[str]:
        """The topics' partitions, `TOPIC/NUMBER`; looked for anew every `discover`."""
        if not self._known:
            self._known = self._connection.topics.partitions()
        elif time.monotonic() - self._looked >= self.options.discover / 1e6:
            # What is known stays known while no broker answers: `read` says for how long that may be.
            with suppress(Unreachable):
                self._known = self._connection.topics.partitions(once=True)
        else:
            return self._known
        self._looked = time.monotonic()
        return self._known

    def bound(self, until: str | Mapping[str, int]) -> None:
        self._where.bounds["until.stream"] = dict(until) if isinstance(until, Mapping) else until

    def expect(self, stamps: Mapping[str, str]) -> None:
        """Raises SourceError where the topics are another cluster's, or a partition is not there any more."""
        for name, text in stamps.items():
            try:
                stamp = self._where.expected[name] = Stamp.from_text(text)
            except (ValueError, TypeError, KeyError) as error:
                raise WrongStream(f"the stamp of {name!r} is not one of the datasource kafka: {text!r}") from error
            self._columns = stamp.columns or self._columns
        there = set(self.partitions())
        cluster = self._connection.topics.cluster_id
        for name, stamp in self._where.expected.items():
            if stamp.cluster and cluster and stamp.cluster != cluster:
                raise SourceError(
                    f"the checkpoint is about {name} of the cluster {stamp.cluster}, "
                    f"but {self._connection.brokers} are brokers of the cluster {cluster}",
                    plugin="kafka",
                    partition=name,
                    hint="point `datasource.brokers` at the same cluster; offsets of one mean nothing in another: "
                    "start a new run in another run directory, with `datasource.start` where it should begin",
                )
            if name not in there:
                raise SourceError(
                    f"{name} was read before the checkpoint, and {self._connection.brokers} do not have it any more",
                    plugin="kafka",
                    partition=name,
                    hint="a topic that was deleted or made anew cannot be gone on with: start a new run in another "
                    "run directory",
                )

    def stamps(self) -> Mapping[str, str]:
        return self._texts

    def open(self, assignment: Mapping[str, int | None]) -> None:
        new = {name: offset for name, offset in assignment.items() if name not in self._next}
        for name, offset in new.items():
            if name not in self._known and name not in self.partitions():
                raise WrongStream(
                    f"the position has a partition {name!r}, which {self._connection.brokers} do not have",
                    hint="point the datasource at the same topics, or start a new run in another run directory",
                )
            if offset is not None and offset < 0:
                raise WrongStream(f"partition {name!r} cannot start at offset {offset}")
        unit = self._decoding.rows_per_message
        starts = self._where.starts([name for name, offset in new.items() if offset is None], self._known)
        rows = {
            name: starts[name] * unit if offset is None else self._where.row(name, offset, unit)
            for name, offset in new.items()
        }
        self._ends |= self._where.ends(list(new), self._known)
        for name, row in rows.items():
            self._next[name] = row // unit
            stamp = self._where.expected.get(name)
            start = stamp.start if stamp is not None else row // unit
            self._stamps[name] = Stamp(self._connection.topics.cluster_id, start)
        self._index(rows)
        self._stamp()
        self._connection.consumer.incremental_assign([placed(name, row // unit) for name, row in rows.items()])
        self._connection.assigned = True
        for name in new:
            self._finish(name, self._next[name])
        self._hold()

    def read(self, max_rows: int, timeout: float) -> Chunk | None:
        if self._pieces is not None and (piece := self._pieces.take(max_rows, self._paused)) is not None:
            return piece
        if self._ends and len(self.ended()) == len(self._next):
            raise EndOfStream
        got = self._fetch(max_rows if self._decoding.rows_per_message == 1 else self._share, timeout)
        chunk = self._chunk(got) if got is not None else None
        if got is None or chunk is None or self._decoding.rows_per_message == 1:
            return chunk
        return self._cut(chunk, len(got), max_rows)

    def pause(self, partitions: Collection[str]) -> None:
        self._paused = frozenset(partitions)
        self._hold()

    def ended(self) -> Collection[str]:
        return self._ended - self._pieces.partitions if self._pieces is not None else self._ended

    def commit(self, position: Position) -> None:
        if self.options.group is None:
            return
        if self._commits is None:
            from penrose_kafka.committing import Commits

            self._commits = Commits(self._connection.consumer, self._connection.brokers)
        unit = self._decoding.rows_per_message
        self._commits.send({name: offset // unit for name, offset in position.offsets.items()})

    def dead_letters(self, rejects: Sequence[Reject]) -> None:
        topic = self.options.dead_letter_topic
        assert topic is not None  # else the source does not declare DEAD_LETTERS
        if self._letters is None:
            from penrose_kafka.letters import LetterTopic

            client = resolved(self.options.client, "datasource.client")
            self._letters = LetterTopic(topic, {"bootstrap.servers": self._connection.brokers, **client})
        self._letters.send(rejects, self._decoding.rows_per_message)

    def lag(self) -> Lag | None:
        behind: dict[str, int] = {}
        for name, offset in self._next.items():
            if name in self._ended:
                behind[name] = 0
                continue
            _, high = self._connection.consumer.get_watermark_offsets(placed(name), cached=True)
            end = min(high, self._ends.get(name, high))
            # Until the first messages of a partition came, nobody knows.
            if high < 0:
                return None
            behind[name] = max(end - offset, 0)
        return Lag(sum(behind.values()), None, behind)

    def close(self) -> None:
        commits, self._commits = self._commits, None
        letters, self._letters = self._letters, None
        if commits is not None:
            commits.close()
        if letters is not None:
            letters.close()
        self._connection.close()

    # -- the client ---------------------------------------------------------------------------------

    @property
    def _decoding(self) -> Decoder:
        if self._decoder is None:
            from penrose_host.decoding import make_decoder

            schemas = None
            if self.options.registry is not None:
                from penrose_kafka.registry import Registry

                schemas = Registry(self.options.registry)
            self._decoder = make_decoder(self.options.decoder, schemas=schemas, state=self._columns)
        return self._decoder

    # -- messages -----------------------------------------------------------------------------------

    def _index(self, rows: Mapping[str, int]) -> None:
        """The tables by which messages find their partition's place."""
        import numpy as np

        first = [] if self._first is None else self._first.tolist()
        self._names += rows
        self._first = np.array(first + list(rows.values()), dtype=np.int64)
        for place, name in enumerate(self._names):
            at = placed(name)
            table = self._places.get(at.topic, np.zeros(0, dtype=np.int32))
            if at.partition >= len(table):
                table = np.concatenate([table, np.full(at.partition + 1 - len(table), -1, dtype=np.int32)])
            table[at.partition] = place
            self._places[at.topic] = table

    def _without_errors(self, messages: list[Message]) -> list[Message]:
        """The messages that are some; ends of partitions are noted, errors raised."""
        from confluent_kafka import KafkaError as Code, Message

        errors = list(map(Message.error, messages))
        if not any(errors):
            return messages
        for message, error in zip(messages, errors, strict=True):
            if error is None:
                continue
            name = named(message.topic() or "", message.partition() or 0)
            if error.code() == Code._PARTITION_EOF:
                self._finish(name, message.offset() or 0)
            elif error.code() == Code._AUTO_OFFSET_RESET:
                # Behind messages of this batch, maybe: the error has its own offset.
                self._out_of_range(name, message.offset() or 0)
            elif error.fatal() or not (error.retriable() or error.code() in (Code._TRANSPORT, Code._TIMED_OUT)):
                raise explain(error, self._connection.brokers, partition=name, offset=self._next.get(name))
        return [message for message, error in zip(messages, errors, strict=True) if error is None]

    def _out_of_range(self, name: str, offset: int) -> None:
        """The offset that comes next is not there: it expired, or the topic is not what it was."""
        low = self._where.within(name, offset)
        self._next[name] = low
        # The client has stopped fetching, and does not seek where it has.
        self._connection.consumer.incremental_unassign([placed(name)])
        self._connection.consumer.incremental_assign([placed(name, low)])
        if name in self._held:
            self._connection.consumer.pause([placed(name)])
        self._finish(name, low)

    def _fetch(self, wanted: int, timeout: float) -> Fetched | None:
        """So many messages, or what is there now; None where none comes within `timeout` seconds."""
        from penrose_kafka.messages import fetched, joined

        consumer, keep = self._connection.consumer, bool(self.options.metadata.columns())
        parts: list[Fetched] = []
        while wanted > 0:
            # In parts: ten thousand message objects at a time cost twice as much each as two thousand.
            size = min(wanted, AT_ONCE)
            messages = consumer.consume(size, 0)
            if not messages and not parts:
                messages = consumer.consume(1, timeout)
                size = len(messages)
                self._connection.check(bool(messages))
            came = len(messages)
            if messages := self._without_errors(messages):
                parts.append(fetched(messages, self._names, self._places, keep=keep))
            del messages  # before the next ones are made
            wanted -= came
            if came < size or not came:
                break
        return joined(parts) if parts else None

    def _chunk(self, got: Fetched) -> Chunk | None:
        import numpy as np

        from penrose_kafka.messages import chunk_of

        if self._decoding.schema is None:
            self._fix_columns()
        for place in np.unique(got.partition).tolist():
            # In order: the last one of a partition is its latest.
            last = int(got.offset[len(got) - 1 - int(np.argmax(got.partition[::-1] == place))])
            name = self._names[place]
            self._next[name] = max(self._next[name], last + 1)
            self._finish(name, last + 1)
        if self._ends:
            bounds = np.array([self._ends[name] for name in self._names], dtype=np.int64)
            inside = got.offset < bounds[got.partition]
            if not inside.all():
                got = got.take(np.flatnonzero(inside))
        if not len(got):
            return None
        before = self._decoding.schema
        chunk = chunk_of(got, self._decoding, self.options.metadata, self._first)
        if self._decoding.schema is not before:
            self._stamp()
        return chunk

    def _cut(self, chunk: Chunk, messages: int, max_rows: int) -> Chunk | None:
        """The first rows of these; the others are kept. Takes next as many messages as should have `max_rows`."""
        rows = max(chunk.batch.num_rows + len(chunk.rejects), 1)
        self._share = max(min(self._share * 2, max_rows * messages // rows, MOST_SHARED), 1)
        if rows <= max_rows:
            return chunk
        if self._pieces is None:
            from penrose_kafka.pieces import Pieces

            self._pieces = Pieces()
        self._pieces.add(chunk)
        return self._pieces.take(max_rows, self._paused)

    def _fix_columns(self) -> None:
        """Infer the columns' types from the first messages of the first partition that has any of use."""
        with closing(samples(self._connection, {name: stamp.start for name, stamp in self._stamps.items()})) as found:
            for values in found:
                self._decoding.infer(values)
                if self._decoding.schema is not None:
                    break
        self._stamp()

    def _stamp(self) -> None:
        """Stamps as text: where each partition started; the columns, which one is enough to tell."""
        state = self._decoding.state()
        self._texts = {name: stamp.to_text() for name, stamp in self._stamps.items()}
        if state and self._stamps:
            carrier = min(self._stamps)
            self._texts[carrier] = Stamp(self._stamps[carrier].cluster, self._stamps[carrier].start, state).to_text()

    def _finish(self, name: str, offset: int) -> None:
        """The partition is read up to `offset`: has it come to its end?"""
        if name in self._ends and offset >= self._ends[name] and name not in self._ended:
            self._ended.add(name)
            self._hold()

    def _hold(self) -> None:
        """Tell the client which partitions to leave alone: those paused, and those read to their end."""
        held = (self._paused | self._ended) & self._next.keys()
        if not self._connection.assigned or held == self._held:
            return
        if more := held - self._held:
            self._connection.consumer.pause([placed(name) for name in more])
        if less := self._held - held:
            self._connection.consumer.resume([placed(name) for name in less])
        self._held = frozenset(held)
