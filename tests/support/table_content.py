"""All that a native table holds, to compare before and after."""

from __future__ import annotations

from typing import Any

from penrose_tfplus import Table

__all__ = ["content"]


def content(table: Table) -> Any:
    """Keys, weights, slots, counts and times of the rows, and the counters; bytes, so that NaN equals NaN."""
    keys = table.keys()
    return (
        keys.tobytes(),
        table.lookup(keys).tobytes(),
        {name: values.tobytes() for name, values in table.slots(keys).items()},
        table.counts(keys).tobytes(),
        table.times(keys).tobytes(),
        table.candidates,
        table.counters,
    )
