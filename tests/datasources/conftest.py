"""Reading a source to its end, as plain Python values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from penrose_host import OFFSET, PARTITION, DataSource, EndOfStream, Reject
from penrose_host.datasources.files.source import FilesSource


@dataclass
class Stream:
    """What a source gave: partition → offset → row, and the rejects; `order`: partitions as their rows came."""

    rows: dict[str, dict[int, dict[str, Any]]] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    chunks: int = 0

    def values(self, column: str) -> list[Any]:
        """One column of all rows, in the order of partition and offset."""
        return [row[column] for _, rows in sorted(self.rows.items()) for _, row in sorted(rows.items())]


def read_stream(source: DataSource, start: Mapping[str, int | None] | None = None, *, max_rows: int = 10_000) -> Stream:
    """Open at `start` (by default all partitions from their beginning), read to the end, close.

    Checks what holds of every source: no chunk is too long, offsets ascend, none stands twice.
    """
    stream = Stream()
    last: dict[str, int] = {}
    try:
        source.open(dict.fromkeys(source.partitions()) if start is None else start)
        while True:
            chunk = source.read(max_rows, 1.0)
            assert chunk is not None
            assert chunk.batch.num_rows + len(chunk.rejects) <= max_rows
            stream.chunks += 1
            places = [(row[PARTITION], row[OFFSET], row) for row in chunk.batch.to_pylist()]
            places += [(reject.partition, reject.offset, None) for reject in chunk.rejects]
            for name, offset, row in sorted(places, key=lambda place: place[:2]):
                assert offset > last.get(name, -1)
                last[name] = offset
                if row is not None:
                    plain = {key: value for key, value in row.items() if key not in (PARTITION, OFFSET)}
                    stream.rows.setdefault(name, {})[offset] = plain
                    stream.order.append(name)
            stream.rejects.extend(chunk.rejects)
    except EndOfStream:
        assert set(source.ended()) == set(start if start is not None else source.partitions())
    finally:
        source.close()
    return stream


@pytest.fixture(scope="session")
def read() -> Callable[..., Stream]:
    return read_stream


@pytest.fixture(scope="session")
def files() -> Callable[..., FilesSource]:
    """A `files` source of these options."""

    def make(path: Any, **options: Any) -> FilesSource:
        return FilesSource(FilesSource.Options(path=path, **options))

    return make


@pytest.fixture(scope="session")
def small_blocks() -> Callable[[int], Any]:
    """Inside it, text files are read so many bytes at a time."""

    @contextmanager
    def within(size: int) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("penrose_host.datasources.files.text_reader.BLOCK_BYTES", size)
            patch.setattr("penrose_host.datasources.files.csv_header.BLOCK_BYTES", size)
            yield

    return within
