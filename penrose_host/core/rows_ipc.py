"""Rows as Arrow IPC bytes and back, exactly: for checkpoints, and between processes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from penrose_host.contracts.batch import Ragged
from penrose_host.core.rows import Rows

if TYPE_CHECKING:
    import numpy.typing as npt

    from penrose_host.contracts.batch import Float32

__all__ = ["from_ipc", "to_ipc"]

_LAYOUT = b"penrose.rows"
_FIXED = ("partition", "offset", "event_time", "known_at")


def to_ipc(rows: Rows) -> bytes:
    """An Arrow IPC stream of one record batch; names and the order of columns stand in the schema's metadata."""
    arrays = [pa.array(getattr(rows, name)) for name in _FIXED]
    columns = [*_FIXED]
    width = rows.ids.shape[1]
    if width:
        arrays.append(pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(rows.ids).reshape(-1)), width))
        columns.append("ids")
    for name, ragged in rows.lists.items():
        arrays.append(pa.LargeListArray.from_arrays(pa.array(ragged.offsets), pa.array(ragged.values)))
        columns.append(f"list:{name}")
    for kind, members in (("numeric", rows.numeric), ("label", rows.labels), ("score", rows.scores or {})):
        arrays += [pa.array(column) for column in members.values()]
        columns += [f"{kind}:{name}" for name in members]
    layout = {
        "version": 1,
        "names": rows.names,
        "ids": width,
        "lists": list(rows.lists),
        "numeric": list(rows.numeric),
        "labels": list(rows.labels),
        "scores": None if rows.scores is None else list(rows.scores),
    }
    # The fields are found by their place, because names may be anything.
    schema = pa.schema(
        [pa.field(name, array.type) for name, array in zip(columns, arrays, strict=True)],
        metadata={_LAYOUT: json.dumps(layout)},
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.record_batch(arrays, schema=schema))
    data: bytes = sink.getvalue().to_pybytes()
    return data


def from_ipc(data: bytes) -> Rows:
    """The rows that `to_ipc` wrote; their arrays share `data`. Raises ValueError where it is something else."""
    with pa.ipc.open_stream(data) as reader:
        layout = _layout(reader.schema)
        batch = reader.read_next_batch()
    columns = iter(batch.columns)
    partition, offset, event_time, known_at = (_numbers(next(columns)) for _ in _FIXED)
    width = layout["ids"]
    ids = _numbers(next(columns).flatten()) if width else np.empty(0, dtype=np.int64)
    lists = {name: _ragged(next(columns)) for name in layout["lists"]}

    def floats(kind: str) -> dict[str, Float32]:
        return {name: _numbers(next(columns)) for name in layout[kind]}

    return Rows(
        tuple(layout["names"]),
        partition,
        offset,
        event_time,
        known_at,
        ids.reshape(batch.num_rows, width),
        lists,
        floats("numeric"),
        floats("labels"),
        None if layout["scores"] is None else floats("scores"),
    )


def _layout(schema: pa.Schema) -> dict[str, Any]:
    written = (schema.metadata or {}).get(_LAYOUT)
    layout: dict[str, Any] = json.loads(written) if written else {}
    if layout.get("version") != 1:
        raise ValueError("these bytes are not rows, or rows of a newer version")
    return layout


def _numbers(column: pa.Array) -> npt.NDArray[Any]:
    numbers: npt.NDArray[Any] = column.to_numpy()
    return numbers


def _ragged(column: pa.LargeListArray) -> Ragged:
    return Ragged(_numbers(column.values), _numbers(column.offsets))
