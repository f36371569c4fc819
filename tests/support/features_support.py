"""Chunks for the feature encoder, and short ways to encode them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from penrose_host.contracts.batch import Chunk, Reject
from penrose_host.core.rows import Rows
from penrose_host.features.config import FeaturesConfig
from penrose_host.features.encoder import FeatureEncoder
from penrose_host.features.ids import FeatureHash, ids_of

T0 = 1_357_035_300_000_000  # 2013-01-01 10:15 UTC, a Tuesday


def encoder(**sections: Any) -> FeatureEncoder:
    return FeatureEncoder(FeaturesConfig.model_validate({"event_time": "ts", "labels": ["y"], **sections}))


def chunk(columns: dict[str, Any] | None = None, *, rows: int | None = None, rejects: tuple[Reject, ...] = ()) -> Chunk:
    """A chunk of these columns; those that every chunk has are filled in."""
    columns = {name: pa.array(values) for name, values in (columns or {}).items()}
    count = rows if rows is not None else len(next(iter(columns.values())))
    defaults = {
        "_partition": pa.array(["p"] * count, pa.string()),
        "_offset": pa.array(range(count), pa.int64()),
        "ts": pa.array(range(T0, T0 + count), pa.timestamp("us")),
        "y": pa.array([1.0] * count, pa.float32()),
    }
    return Chunk(pa.record_batch({**defaults, **columns}), rejects)


def ids(feature: str, values: list[Any]) -> list[int]:
    return ids_of(pa.array(values), FeatureHash.of(feature)).tolist()


def encode(chunk: Chunk, **sections: Any) -> Rows:
    rows, rejects = encoder(**sections).encode(chunk)
    assert rejects == ()
    return rows


def rejected(chunk: Chunk, **sections: Any) -> tuple[list[int], dict[int, str]]:
    """The offsets of the rows that were kept, and the reasons of the others."""
    rows, rejects = encoder(**sections).encode(chunk)
    return rows.offset.tolist(), {reject.offset: reject.reason for reject in rejects}


def listed(rows: Rows, rejects: tuple[Reject, ...]) -> list[Any]:
    """Rows and rejects in a form that `==` compares, in order of their offset."""
    ragged = rows.lists["tags"]
    out: list[Any] = [
        (
            offset,
            rows.names[rows.partition[row]],
            rows.ids[row].tolist(),
            ragged.values[ragged.offsets[row] : ragged.offsets[row + 1]].tolist(),
            rows.numeric["x"][row].item(),
            str(rows.labels["y"][row]),
        )
        for row, offset in enumerate(rows.offset.tolist())
    ]
    out += [(reject.offset, reject.reason, reject.raw) for reject in rejects]
    return sorted(out, key=lambda entry: entry[0])
