"""Encodes a stream that is only scored: it needs no labels, and nobody waits for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from penrose_host.contracts.batch import Chunk
from penrose_host.features.encoder import FeatureEncoder

if TYPE_CHECKING:
    from penrose_host.contracts.batch import Reject
    from penrose_host.core.rows import Rows
    from penrose_host.features.config import FeaturesConfig

__all__ = ["UnlabelledEncoder"]


class UnlabelledEncoder(FeatureEncoder):
    """A label whose column the stream lacks is null; one that is there is known when its row arrives."""

    def __init__(self, config: FeaturesConfig) -> None:
        super().__init__(config.model_copy(update={"known_at": None, "label_delay": None}))
        needed = {use.column for use in self._input_uses} | {config.event_time.column}
        self._may_lack = {label.column for label in config.labels} - needed

    def encode(self, chunk: Chunk) -> tuple[Rows, tuple[Reject, ...]]:
        batch = chunk.batch
        for column in sorted(self._may_lack.difference(batch.schema.names)):
            batch = batch.append_column(column, pa.nulls(batch.num_rows, pa.float32()))
        return super().encode(Chunk(batch, chunk.rejects))
