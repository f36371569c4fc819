"""The datasource `kafka`: messages of topics as rows, positions kept by the checkpoint.

A partition is `TOPIC/NUMBER`, its offset Kafka's own (of Arrow messages, which hold many rows, the offset times the
most rows that one may hold, plus the row's number). The host assigns partitions; the consumer never joins a group, as
a group may hand a partition to somebody who would train again what was trained since the checkpoint.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from penrose_host.errors import SourceError, WrongStream
from penrose_host.interfaces import API_VERSION, Capability, DataSource, EndOfStream, Lag
from penrose_kafka.client import Unreachable, bad_option, explain, resolved
from penrose_kafka.options import KafkaOptions
from penrose_kafka.stamps import Stamp
from penrose_kafka.topics import Topics, named, placed

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, Message

    from penrose_host.batch import Chunk, Position, Reject
    from penrose_host.decoding import Decoder
    from penrose_kafka.committing import Commits
    from penrose_kafka.letters import LetterTopic
    from penrose_kafka.pieces import Pieces

__all__ = ["KafkaSource"]

log = logging.getLogger("penrose.kafka")
#: So many messages of the first partition decide the types of columns that are inferred.
SAMPLE = 1000
#: So long the sample may take without a message, in seconds.
SAMPLE_SECONDS = 30.0
#: A silent client is asked every so many seconds whether a broker answers it, and may take so long.
PROBE_SECONDS = 5.0
PROBE_TIMEOUT = 1.0
#: So many messages the client hands over at a time, at most.
AT_ONCE = 100_000


class KafkaSource(DataSource):
    """Messages of Kafka topics as rows, exactly once: positions belong to the checkpoint."""

    api_version: ClassVar[int] = API_VERSION
    Options = KafkaOptions
    capabilities = frozenset({Capability.SEEK, Capability.COMMIT, Capability.UNBOUNDED})

    options: KafkaOptions

    def __new__(cls, options: KafkaOptions) -> KafkaSource:
        """With `end` the source is another one, which ends."""
        return object.__new__(_BoundedSource if options.end is not None and cls is KafkaSource else cls)

    def __init__(self, options: KafkaOptions) -> None:
        super().__init__(options)
        self._brokers = ",".join(options.brokers)
        self._bounds: dict[str, str | dict[str, int]] = {} if options.end is None else {"datasource.end": options.end}
        self._consumer: Consumer | None = None
        self._topics: Topics | None = None
        self._decoder: Decoder | None = None
        self._commits: Commits | None = None
        self._letters: LetterTopic | None = None
        self._known: list[str] = []
        self._looked = 0.0
        self._expected: dict[str, Stamp] = {}
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
        self._opened = False
        self._error: KafkaError | None = None
        self._trouble = ""  # the last that the client told of its connections
        self._heard = time.monotonic()
        self._silent_since: float | None = None

    @property
    def source_id(self) -> str:
        return f"kafka:{self.options.decoder.format}:{','.join(sorted(self.options.topics))}"

    def partitions(self) -> Sequence[str]:
        """The topics' partitions, `TOPIC/NUMBER`; looked for anew every `discover`."""
        if not self._known:
            self._known = self._asked.partitions()
        elif time.monotonic() - self._looked >= self.options.discover / 1e6:
            # What is known stays known while no broker answers: `read` says for how long that may be.
            with contextlib.suppress(Unreachable):
                self._known = self._asked.partitions(once=True)
        else:
            return self._known
        self._looked = time.monotonic()
        return self._known

    def bound(self, until: str | Mapping[str, int]) -> None:
        self._bounds["until.stream"] = dict(until) if isinstance(until, Mapping) else until

    def expect(self, stamps: Mapping[str, str]) -> None:
        """Raises SourceError where the topics are another cluster's, or a partition is not there any more."""
        for name, text in stamps.items():
            try:
                stamp = self._expected[name] = Stamp.from_text(text)
            except (ValueError, TypeError, KeyError) as error:
                raise WrongStream(f"the stamp of {name!r} is not one of the datasource kafka: {text!r}") from error
            self._columns = stamp.columns or self._columns
        there = set(self.partitions())
        cluster = self._asked.cluster_id
        for name, stamp in self._expected.items():
            if stamp.cluster and cluster and stamp.cluster != cluster:
                raise SourceError(
                    f"the checkpoint is about {name} of the cluster {stamp.cluster}, "
                    f"but {self._brokers} are brokers of the cluster {cluster}",
                    plugin="kafka",
                    partition=name,
                    hint="point `datasource.brokers` at the same cluster; offsets of one mean nothing in another: "
                    "start a new run in another run directory, with `datasource.start` where it should begin",
                )
            if name not in there:
                raise SourceError(
                    f"{name} was read before the checkpoint, and {self._brokers} do not have it any more",
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
                    f"the position has a partition {name!r}, which {self._brokers} do not have",
                    hint="point the datasource at the same topics, or start a new run in another run directory",
                )
            if offset is not None and offset < 0:
                raise WrongStream(f"partition {name!r} cannot start at offset {offset}")
        unit = self._decoding.rows_per_message
        starts = self._starts([name for name, offset in new.items() if offset is None])
        rows = {
            name: starts[name] * unit if offset is None else self._row(name, offset) for name, offset in new.items()
        }
        self._resolve_ends(list(new))
        for name, row in rows.items():
            self._next[name] = row // unit
            stamp = self._expected.get(name)
            start = stamp.start if stamp is not None else row // unit
            self._stamps[name] = Stamp(self._asked.cluster_id, start)
        self._index(rows)
        self._stamp()
        self._client.incremental_assign([placed(name, row // unit) for name, row in rows.items()])
        self._opened = True
        for name in new:
            self._finish(name, self._next[name])
        self._hold()

    def read(self, max_rows: int, timeout: float) -> Chunk | None:
        if self._pieces is not None and (piece := self._pieces.take(max_rows, self._paused)) is not None:
            return piece
        if self._ends and len(self.ended()) == len(self._next):
            raise EndOfStream
        wanted = min(max_rows, AT_ONCE) if self._decoding.rows_per_message == 1 else self._share
        messages = self._client.consume(wanted, 0)
        if not messages:
            messages = self._client.consume(1, timeout)
            if messages and wanted > 1:
                messages += self._client.consume(wanted - 1, 0)
        self._check(bool(messages))
        messages = self._without_errors(messages)
        chunk = self._chunk(messages) if messages else None
        if chunk is None or self._decoding.rows_per_message == 1:
            return chunk
        return self._cut(chunk, len(messages), max_rows)

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

            self._commits = Commits(self._client, self._brokers)
        unit = self._decoding.rows_per_message
        self._commits.send({name: offset // unit for name, offset in position.offsets.items()})

    def dead_letters(self, letters: Sequence[Reject]) -> None:
        topic = self.options.dead_letter_topic
        if topic is None:
            return
        if self._letters is None:
            from penrose_kafka.letters import LetterTopic

            client = resolved(self.options.client, "datasource.client")
            self._letters = LetterTopic(topic, {"bootstrap.servers": self._brokers, **client})
        self._letters.send(letters, self._decoding.rows_per_message)

    def lag(self) -> Lag | None:
        behind: dict[str, int] = {}
        for name, offset in self._next.items():
            if name in self._ended:
                behind[name] = 0
                continue
            _, high = self._client.get_watermark_offsets(placed(name), cached=True)
            end = min(high, self._ends.get(name, high))
            # Until the first messages of a partition came, nobody knows.
            if high < 0:
                return None
            behind[name] = max(end - offset, 0)
        return Lag(sum(behind.values()), None, behind)

    def close(self) -> None:
        commits, self._commits = self._commits, None
        letters, self._letters = self._letters, None
        consumer, self._consumer, self._topics = self._consumer, None, None
        if commits is not None:
            commits.close()
        if letters is not None:
            letters.close()
        if consumer is not None:
            consumer.close()

    # -- the client ---------------------------------------------------------------------------------

    @property
    def _client(self) -> Consumer:
        if self._consumer is None:
            self._consumer = self._connect(self._on_error)
        return self._consumer

    def _connect(self, on_error: Any = None) -> Consumer:
        from confluent_kafka import Consumer, KafkaException

        options = self.options
        client = resolved(options.client, "datasource.client")
        config = {
            "fetch.wait.max.ms": 100,
            # Once the prefetch is full: the client's own second would let a fast reader run dry.
            "fetch.queue.backoff.ms": 20,
            # A single answer must not be much more than the prefetch.
            "fetch.max.bytes": min(options.prefetch_bytes, 50 << 20),
            "topic.metadata.refresh.interval.ms": max(min(options.discover // 1000, 300_000), 1000),
            **client,
            "bootstrap.servers": self._brokers,
            # A consumer that assigns itself needs a name all the same; it joins no group.
            "group.id": options.group or "penrose",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "allow.auto.create.topics": False,
            "enable.partition.eof": True,
            "queued.max.messages.kbytes": options.prefetch_bytes >> 10,
            "logger": log,
        }
        if on_error is not None:
            config["error_cb"] = on_error
        try:
            return Consumer(config)
        except (KafkaException, TypeError, ValueError) as error:
            raise bad_option(error, options.client, "datasource.client") from None  # it may hold a secret

    @property
    def _asked(self) -> Topics:
        if self._topics is None:
            names, letters = self.options.topics, self.options.dead_letter_topic
            self._topics = Topics(self._client, self._brokers, names, but=letters, listen=self._listen)
        return self._topics

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

    def _on_error(self, error: KafkaError) -> None:
        """Called by the client while it is being asked for messages."""
        from confluent_kafka import KafkaError as Code

        if error.code() != Code._ALL_BROKERS_DOWN:
            self._trouble = error.str()
        if error.code() in (Code._AUTHENTICATION, Code._SSL) or error.fatal():
            self._error = error

    def _listen(self) -> str:
        """What the client last told of its connections. Raises SourceError where it is for good."""
        if not self._opened:
            self._client.poll(0)  # no message can come: no partition is assigned
        if self._error is not None:
            raise explain(self._error, self._brokers)
        return self._trouble

    def _check(self, answered: bool) -> None:
        """Raise what the client told of: credentials refused; and where no broker answers for `patience`.

        Nothing but an answer tells a broker that is away from a topic that is silent.
        """
        now = time.monotonic()
        if answered:
            self._heard, self._silent_since, self._error, self._trouble = now, None, None, ""
            return
        if self._error is not None:
            raise explain(self._error, self._brokers)
        patience = self.options.patience
        if patience is None or now - self._heard < min(PROBE_SECONDS, patience / 4e6):
            return
        if self._asked.answers(PROBE_TIMEOUT):
            self._silent_since = None
        elif self._silent_since is None:
            self._silent_since = now
        self._heard = time.monotonic()
        if self._silent_since is not None and (silent := self._heard - self._silent_since) >= patience / 1e6:
            why = f": {self._trouble}" if self._trouble else ""
            raise Unreachable(
                f"no broker of {self._brokers} has answered for {silent:.0f} s (`datasource.patience`){why}",
                plugin="kafka",
                hint="start again once they are back: the run goes on where it was",
            )

    # -- where partitions start and end -------------------------------------------------------------

    def _starts(self, names: Sequence[str]) -> dict[str, int]:
        """Where partitions start that have no position, as offsets of messages."""
        found: dict[str, int] = {}
        fresh: list[str] = []
        for name in names:
            if name in self._expected:
                # A new run began there, and nothing had come yet.
                found[name] = self._within(name, self._expected[name].start)
            elif self._expected or self._opened:
                # It did not exist when the run began: from its beginning, whatever `start` says.
                found[name] = self._asked.held(name)[0]
            else:
                fresh.append(name)
        start = self.options.start
        if isinstance(start, dict):
            self._must_exist("datasource.start", start)
            for name in fresh:
                found[name] = self._begin(name, start[name]) if name in start else self._asked.held(name)[0]
        elif start in ("earliest", "latest"):
            found |= {name: self._asked.held(name)[start == "latest"] for name in fresh}
        else:
            found |= self._asked.at(fresh, start)
        return found

    def _begin(self, name: str, offset: int) -> int:
        """What `start` says, or the first that is left where it has expired. Raises SourceError."""
        low, high = self._asked.held(name)
        if offset > high:
            raise SourceError(
                f"`datasource.start` is offset {offset} of {name}, which ends at {high}",
                plugin="kafka",
                partition=name,
                offset=offset,
                hint=f"give an offset from {low} to {high}, or `latest`",
            )
        return self._within(name, offset)

    def _row(self, name: str, row: int) -> int:
        """The row, or the first that is left where its message has expired. Raises SourceError, WrongStream."""
        unit = self._decoding.rows_per_message
        found = self._within(name, row // unit)
        return row if found == row // unit else found * unit

    def _within(self, name: str, offset: int) -> int:
        """The offset, or the first that is left where it has expired. Raises SourceError, WrongStream."""
        low, high = self._asked.held(name)
        if offset > high:
            what = f"the position says offset {offset} in {name}, which ends at {high}"
            hint = (
                "the topic was made anew, or lost messages: start a new run in another run directory, with "
                "`datasource.start` where it should begin"
            )
            if name in self._expected:
                raise SourceError(what, plugin="kafka", partition=name, offset=offset, hint=hint)
            raise WrongStream(what, hint=hint)
        if offset >= low:
            return offset
        if self.options.expired == "fail":
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

    def _must_exist(self, place: str, offsets: Mapping[str, int]) -> None:
        unknown = [name for name in offsets if name not in self._known]
        if unknown:
            raise SourceError(
                f"`{place}` names {', '.join(unknown)}, which {self._brokers} do not have",
                plugin="kafka",
                hint=f"partitions are called as in {self._known[0]}",
            )

    def _resolve_ends(self, names: Sequence[str]) -> None:
        """Where partitions end: at the first of the bounds there are."""
        for place, until in self._bounds.items():
            if isinstance(until, dict):
                self._must_exist(place, until)
                ends = {name: until[name] if name in until else self._asked.held(name)[1] for name in names}
            elif until == "now":
                ends = {name: self._asked.held(name)[1] for name in names}
            else:
                ends = dict(self._asked.at(names, until))
            for name, end in ends.items():
                self._ends[name] = min(end, self._ends.get(name, end))

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
        from confluent_kafka import KafkaError as Code
        from confluent_kafka import Message

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
                raise explain(error, self._brokers, partition=name, offset=self._next.get(name))
        return [message for message, error in zip(messages, errors, strict=True) if error is None]

    def _out_of_range(self, name: str, offset: int) -> None:
        """The offset that comes next is not there: it expired, or the topic is not what it was."""
        low = self._within(name, offset)
        self._next[name] = low
        # The client has stopped fetching, and does not seek where it has.
        self._client.incremental_unassign([placed(name)])
        self._client.incremental_assign([placed(name, low)])
        if name in self._held:
            self._client.pause([placed(name)])
        self._finish(name, low)

    def _chunk(self, messages: list[Message]) -> Chunk | None:
        import numpy as np

        from penrose_kafka.messages import chunk_of, fetched

        if self._decoding.schema is None:
            self._fix_columns()
        got = fetched(messages, self._names, self._places)
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
        rows = max(chunk.batch.num_rows, 1)
        self._share = max(min(self._share * 2, max_rows * messages // rows, AT_ONCE), 1)
        if rows <= max_rows:
            return chunk
        if self._pieces is None:
            from penrose_kafka.pieces import Pieces

            self._pieces = Pieces()
        self._pieces.add(chunk)
        return self._pieces.take(max_rows, self._paused)

    def _fix_columns(self) -> None:
        """Infer the columns' types from the first messages of the first partition that has any.

        Not from what happened to arrive first: a run that is started again before its first checkpoint finds the same.
        """
        from confluent_kafka import KafkaException

        sampler = self._connect()
        try:
            for name in sorted(self._names):
                start = self._stamps[name].start
                low, high = self._asked.held(name)
                wanted = min(SAMPLE, high - max(start, low))
                if wanted <= 0:
                    continue
                sampler.assign([placed(name, max(start, low))])
                values = self._sample(sampler, name, wanted)
                self._decoding.infer(values)
                if self._decoding.schema is not None:
                    break
        except KafkaException as error:
            raise explain(error.args[0], self._brokers) from error
        finally:
            sampler.close()
        self._stamp()

    def _sample(self, sampler: Consumer, name: str, wanted: int) -> list[bytes | None]:
        """The values of so many messages, or of all up to the end. Raises SourceError where they do not come."""
        from confluent_kafka import KafkaError as Code

        values: list[bytes | None] = []
        heard = time.monotonic()
        while len(values) < wanted:
            for message in sampler.consume(wanted - len(values), 0.1):
                error = message.error()
                heard = time.monotonic()
                if error is None:
                    values.append(message.value())
                elif error.code() == Code._PARTITION_EOF:
                    return values
            if time.monotonic() - heard > SAMPLE_SECONDS:
                raise Unreachable(
                    f"the first messages of {name}, which decide the columns, did not come within {SAMPLE_SECONDS:.0f} "
                    f"s; {len(values)} of {wanted} did",
                    plugin="kafka",
                    partition=name,
                    hint="check that the brokers can be reached; then start again",
                )
        return values

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
        if not self._opened or held == self._held:
            return
        if more := held - self._held:
            self._client.pause([placed(name) for name in more])
        if less := self._held - held:
            self._client.resume([placed(name) for name in less])
        self._held = frozenset(held)


class _BoundedSource(KafkaSource):
    """A stream that ends."""

    capabilities = frozenset({Capability.SEEK, Capability.COMMIT})
