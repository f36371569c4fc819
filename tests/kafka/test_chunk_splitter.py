"""Chunks of messages with many rows, handed over by and by."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given, strategies as st

from penrose_host.contracts.batch import OFFSET, PARTITION, Chunk, Reject
from penrose_kafka.source.chunk_splitter import ChunkSplitter


@given(
    st.lists(st.lists(st.sampled_from("rx"), max_size=30), min_size=1, max_size=3),
    st.integers(1, 12),
    st.sets(st.integers(0, 2)),
)
def test_split_chunks_are_what_went_in_in_its_order(partitions: list[list[str]], rows: int, paused: set[int]) -> None:
    """`r` a row, `x` a reject."""
    names = [f"t/{number}" for number in range(len(partitions))]
    at = [(n, o) for n, kinds in enumerate(partitions) for o, kind in enumerate(kinds) if kind == "r"]
    rejects = [
        Reject(names[n], o, "bad", b"") for n, kinds in enumerate(partitions) for o, k in enumerate(kinds) if k == "x"
    ]
    codes = pa.array([n for n, _ in at], pa.int32())
    column = pa.DictionaryArray.from_arrays(codes, pa.array(names, pa.string()))
    batch = pa.record_batch({PARTITION: column, OFFSET: pa.array([o for _, o in at], pa.int64())})
    splitter = ChunkSplitter()
    splitter.add(Chunk(batch, tuple(rejects), [b"%d" % o for _, o in at]))
    found: dict[str, list[int]] = {name: [] for name in names}
    held = {f"t/{number}" for number in paused}
    for but in (held, set()):
        while (chunk := splitter.take(rows, but)) is not None:
            offsets = chunk.batch.column(OFFSET).to_pylist()
            assert chunk.raw == [b"%d" % offset for offset in offsets]
            here = set(chunk.batch.column(PARTITION).to_pylist()) | {reject.partition for reject in chunk.rejects}
            [name] = here
            assert name not in but
            both = sorted(offsets + [reject.offset for reject in chunk.rejects])
            assert len(both) <= rows
            assert len(both) == rows or name not in splitter.partitions
            found[name] += both
        assert splitter.partitions <= but
    assert found == {name: list(range(len(kinds))) for name, kinds in zip(names, partitions, strict=True)}
