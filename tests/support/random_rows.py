"""Rows of random bits, and a form of rows that `==` compares."""

from __future__ import annotations

from typing import Any

import numpy as np

from penrose_host.contracts.batch import Ragged
from penrose_host.core.rows import Rows


def random_rows(
    rng: np.random.Generator,
    count: int,
    *,
    names: list[str] | None = None,
    width: int = 2,
    lists: list[str] | None = None,
    numeric: list[str] | None = None,
    heads: list[str] | None = None,
    scored: bool = True,
) -> Rows:
    """Rows of random bits: floats of every kind, NaN payloads among them."""
    names = ["p"] if names is None else names
    heads = ["y"] if heads is None else heads

    def int64(*shape: int) -> Any:
        return rng.integers(-(1 << 63), 1 << 63, shape, dtype=np.int64)

    def float32() -> Any:
        return rng.integers(0, 1 << 32, count, dtype=np.uint32).view(np.float32)

    def ragged() -> Ragged:
        offsets = np.concatenate([[0], np.cumsum(rng.integers(0, 4, count))]).astype(np.int64)
        return Ragged(int64(int(offsets[-1])), offsets)

    return Rows(
        tuple(names),
        rng.integers(0, max(1, len(names)), count, dtype=np.int32),
        int64(count),
        int64(count),
        int64(count),
        int64(count, width),
        {name: ragged() for name in lists or []},
        {name: float32() for name in numeric or []},
        {name: float32() for name in heads},
        {name: float32() for name in heads} if scored else None,
    )


def as_bytes(rows: Rows) -> list[Any]:
    """Everything that rows hold, bit for bit, in a form that `==` compares."""
    out: list[Any] = [rows.names]
    for column in (rows.partition, rows.offset, rows.event_time, rows.known_at, rows.ids):
        out.append((column.dtype.str, column.shape, column.tobytes()))
    for name, ragged in rows.lists.items():
        out.append((name, ragged.values.dtype.str, ragged.values.tobytes(), ragged.offsets.tolist()))
    for columns in (rows.numeric, rows.labels, rows.scores):
        out.append(None if columns is None else [(k, c.dtype.str, c.tobytes()) for k, c in columns.items()])
    return out
