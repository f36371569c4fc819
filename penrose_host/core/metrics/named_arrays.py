"""NumPy arrays by name as Arrow IPC bytes, compressed, with a JSON object beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Arrays", "arrays_from_ipc", "arrays_to_ipc"]

Arrays: TypeAlias = Mapping[str, npt.NDArray[Any]]

_INFO = b"penrose.arrays"


def arrays_to_ipc(arrays: Arrays, info: Mapping[str, Any]) -> bytes:
    """An Arrow IPC stream: one row, a list column for each array; shapes and `info` in the schema's metadata."""
    import pyarrow as pa

    shapes = {name: array.shape for name, array in arrays.items()}
    columns = [
        pa.LargeListArray.from_arrays(pa.array([0, array.size], pa.int64()), pa.array(np.ravel(array)))
        for array in arrays.values()
    ]
    schema = pa.schema(
        [pa.field(name, column.type) for name, column in zip(arrays, columns, strict=True)],
        metadata={_INFO: json.dumps({"shapes": shapes, "info": info})},
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_batch(pa.record_batch(columns, schema=schema))
    data: bytes = sink.getvalue().to_pybytes()
    return data


def arrays_from_ipc(data: bytes) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """The arrays (read-only) and the object that `arrays_to_ipc` wrote. Raises ValueError for anything else."""
    import pyarrow as pa

    with pa.ipc.open_stream(data) as reader:
        written = (reader.schema.metadata or {}).get(_INFO)
        if written is None:
            raise ValueError("these bytes are not named arrays")
        batch = reader.read_next_batch()
    about = json.loads(written)
    arrays = {
        name: column.values.to_numpy().reshape(about["shapes"][name])
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    }
    return arrays, about["info"]
