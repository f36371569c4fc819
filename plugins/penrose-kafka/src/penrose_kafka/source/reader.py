"""Reading: the assigned partitions' messages, from their positions on, as chunks of rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import closing
from typing import TYPE_CHECKING

from penrose_host import EndOfStream
from penrose_kafka.source.assignment import Assignment
from penrose_kafka.source.positions import Positions
from penrose_kafka.source.sampling import samples

if TYPE_CHECKING:
    from penrose_host import Chunk, Lag
    from penrose_host.decoding import Decoder
    from penrose_kafka.source.chunk_splitter import ChunkSplitter
    from penrose_kafka.source.connection import Connection
    from penrose_kafka.source.fetching import Fetched, Fetcher
    from penrose_kafka.source.options import KafkaOptions

__all__ = ["Reader"]


class Reader:
    """Rows of messages, each partition's in order. `positions` says where they start and end.

    A row's offset is its message's; of messages that hold many rows, the message's times `rows_per_message`, plus the
    row's number in it.
    """

    def __init__(self, connection: Connection, options: KafkaOptions) -> None:
        self.positions = Positions(connection, options)
        self._connection = connection
        self._options = options
        self._assignment = Assignment(connection)
        self._decoder: Decoder | None = None
        self._fetcher: Fetcher | None = None
        self._splitter: ChunkSplitter | None = None

    @property
    def rows_per_message(self) -> int:
        """How many rows a message may have."""
        return self._decoding.rows_per_message

    def open(self, assignment: Mapping[str, int | None]) -> None:
        """Read these partitions, each from its first row; those that are being read already go on."""
        new = {name: offset for name, offset in assignment.items() if name not in self._assignment.next}
        self.positions.check(new)
        unit = self.rows_per_message
        rows = self.positions.rows(new, unit)
        ends = self.positions.ends(list(new))
        starts = {name: row // unit for name, row in rows.items()}
        for name, start in starts.items():
            self.positions.stamps.begin(name, self._connection.topics.cluster_id, start)
        self._fetching.index.add(rows)
        self._write_stamps()
        self._assignment.add(starts, ends)

    def read(self, max_rows: int, timeout: float) -> Chunk | None:
        """The next rows, at most `max_rows`; None where none came within `timeout` seconds.

        Raises EndOfStream once all partitions have ended, SourceError.
        """
        assignment, splitter = self._assignment, self._splitter
        if splitter is not None and (chunk := splitter.take(max_rows, assignment.paused)) is not None:
            return chunk
        if assignment.ends and len(self.ended()) == len(assignment.next):
            raise EndOfStream
        fetched = self._fetching.fetch(max_rows if splitter is None else splitter.messages, timeout)
        chunk = self._chunk(fetched) if fetched is not None else None
        if fetched is None or chunk is None or splitter is None:
            return chunk
        return splitter.split(chunk, len(fetched), max_rows, assignment.paused)

    def pause(self, partitions: Collection[str]) -> None:
        """From now on `read` gives no rows of these partitions, until the next call."""
        self._assignment.pause(partitions)

    def ended(self) -> Collection[str]:
        """Partitions whose last row was read."""
        ended = self._assignment.ended
        return ended if self._splitter is None else ended - self._splitter.partitions

    def lag(self) -> Lag | None:
        """How many messages were not read yet."""
        return self._assignment.lag()

    @property
    def _decoding(self) -> Decoder:
        if self._decoder is None:
            from penrose_host.decoding import make_decoder

            schemas = None
            if self._options.registry is not None:
                from penrose_kafka.source.registry import Registry

                schemas = Registry(self._options.registry)
            self._decoder = make_decoder(
                self._options.decoder, plugin="kafka", schemas=schemas, state=self.positions.stamps.columns
            )
            if self._decoder.rows_per_message > 1:
                from penrose_kafka.source.chunk_splitter import ChunkSplitter

                self._splitter = ChunkSplitter()
        return self._decoder

    @property
    def _fetching(self) -> Fetcher:
        if self._fetcher is None:
            from penrose_kafka.source.fetching import Fetcher

            whole_messages = bool(self._options.metadata.columns())
            self._fetcher = Fetcher(self._connection, self._assignment, self.positions, whole_messages=whole_messages)
        return self._fetcher

    def _chunk(self, fetched: Fetched) -> Chunk | None:
        """The rows of these messages; None where all lie behind the end."""
        from penrose_kafka.source.messages import chunk_of

        decoder = self._decoding
        if decoder.schema is None:
            self._infer_columns(decoder)
        for name, offset in fetched.next_offsets().items():
            self._assignment.advance(name, offset)
        if self._assignment.ends:
            fetched = fetched.before(self._assignment.ends)
        if not len(fetched):
            return None
        before = decoder.schema
        chunk = chunk_of(fetched, decoder, self._options.metadata)
        if decoder.schema is not before:
            self._write_stamps()
        return chunk

    def _infer_columns(self, decoder: Decoder) -> None:
        """Fix the columns' types by the first messages of the first partition that has any of use."""
        with closing(samples(self._connection, self.positions.stamps.starts)) as found:
            for values in found:
                decoder.infer(values)
                if decoder.schema is not None:
                    break
        self._write_stamps()

    def _write_stamps(self) -> None:
        self.positions.stamps.write(self._decoding.state())
